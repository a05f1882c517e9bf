//! The runs for one instance of a guest: their options, through which they can be ended,
//! and whether the instance has the machine to itself.
//!
//! ONNX Runtime keeps the memory of its largest run for the next one. That is right
//! for runs of the usual size, but not for a guest that makes the largest possible run
//! once: after a large run, unused memory is returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ort::session::RunOptions;
use wasmtime_wasi_nn::backend::NamedTensor;

/// The most elements of an input, such as the tokens of all texts, of a run whose
/// memory is kept. The default guest stays within this, unless a single text is longer.
const USUAL_ELEMENTS: usize = 512;

/// The options of runs that end together.
pub(super) struct Runs {
    usual: RunOptions,
    large: RunOptions,
    open: Open,
}

/// Counts a graph for as long as it is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runs {
    /// `open` counts the graphs of all models.
    pub(super) fn new(open: Arc<AtomicUsize>) -> ort::Result<Self> {
        let mut large = RunOptions::new()?;
        large.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        Ok(Self {
            usual: RunOptions::new()?,
            large,
            open: Open::new(open),
        })
    }

    /// Whether no other instance has a graph. Another may get one at any time: this only
    /// decides how many threads a run begins with.
    pub(super) fn are_alone(&self) -> bool {
        self.open.0.load(Ordering::Relaxed) == 1
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
