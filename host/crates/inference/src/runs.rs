//! How the model is run for one call of a guest, and ended.
//!
//! ONNX Runtime keeps the memory of its largest run for the next one. That is
//! right for runs of the usual size, and wrong for a guest that asks once for
//! as much as it may: after such a run, what is not in use is given back.

use ort::session::RunOptions;
use wasmtime_wasi_nn::backend::NamedTensor;

/// The elements of the largest input of a run, such as the tokens of all its
/// texts, up to which memory is kept. The default guest goes no further, unless
/// a single text is longer.
const USUAL_ELEMENTS: usize = 512;

/// The options of runs that are ended together.
pub(super) struct Runs {
    usual: RunOptions,
    large: RunOptions,
}

impl Runs {
    pub(super) fn new() -> ort::Result<Self> {
        let mut large = RunOptions::new()?;
        large.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        Ok(Self {
            usual: RunOptions::new()?,
            large,
        })
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

    /// Ends the runs that are under way, at the next operator, and those that
    /// would follow.
    pub(super) fn terminate(&self) {
        // It only sets a flag; there is nothing that could be done about an
        // error, and the run would then end by itself.
        let _ = self.usual.terminate();
        let _ = self.large.terminate();
    }
}
