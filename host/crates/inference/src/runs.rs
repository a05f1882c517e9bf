//! The runs for one instance of a guest: their options, through which they can be ended,
//! and whether the instance has the machine to itself.
//!
//! ONNX Runtime keeps the memory of its largest run for the next one. That is right
//! for runs of the usual size, but not for a guest that makes the largest possible run
//! once: after a large run, unused memory is returned. What the others have used is returned
//! from time to time ([`Library::return_memory`](super::Library::return_memory)).

use std::sync::Arc;

use ort::session::RunOptions;
use wasmtime_wasi_nn::backend::NamedTensor;

use super::activity::{Activity, Counted};

/// The most elements of an input, such as the tokens of all texts, of a run whose
/// memory is kept. The default guest stays within this, unless a single text is longer.
const USUAL_ELEMENTS: usize = 512;

/// The options of runs that end together.
pub(super) struct Runs {
    usual: RunOptions,
    large: RunOptions,
    activity: Arc<Activity>,
    /// Whether there was nothing else when the instance was made.
    began_alone: bool,
    _graph: Counted,
}

/// The options of a run that returns unused memory at its end.
pub(super) fn shrinking() -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
    Ok(options)
}

impl Runs {
    pub(super) fn new(activity: Arc<Activity>) -> ort::Result<Self> {
        let graph = Activity::open_graph(&activity);
        Ok(Self {
            usual: RunOptions::new()?,
            large: shrinking()?,
            began_alone: activity.is_one(),
            activity,
            _graph: graph,
        })
    }

    /// Whether the instance has had the machine to itself so far. A thread that is between
    /// two batches on a busy machine looks idle for a moment, but not for as long as it takes
    /// from the making of an instance to its first run.
    pub(super) fn are_alone(&self) -> bool {
        self.began_alone && self.activity.is_one()
    }

    /// The options of a run on these inputs.
    pub(super) fn options(&self, inputs: &[NamedTensor]) -> &RunOptions {
        let elements = |input: &NamedTensor| {
            let sizes = input.tensor.dimensions.iter();
            sizes.fold(1_usize, |product, size| {
                product.saturating_mul(*size as usize)
            })
        };
        if inputs.iter().map(elements).max() > Some(USUAL_ELEMENTS) {
            &self.large
        } else {
            &self.usual
        }
    }

    /// Ends the current run at its next operator, and later runs at once.
    pub(super) fn terminate(&self) {
        // This only sets a flag. If it failed, the run would end by itself.
        let _ = self.usual.terminate();
        let _ = self.large.terminate();
    }
}
