//! Metrics of the runs of models.

use prometheus::{
    Histogram, IntCounter, Registry, exponential_buckets, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
};
use wasmtime_wasi_nn::backend::NamedTensor;

/// The input that tells tokens from padding. Every text model of the Hugging Face Hub
/// has it.
const MASK: &str = "attention_mask";

/// The metrics of all models.
#[derive(Clone)]
pub struct Metrics {
    pub(super) seconds: Histogram,
    pub(super) failures: IntCounter,
    /// Runs that had the machine to themselves.
    pub(super) wide: IntCounter,
    rows: Histogram,
    tokens: IntCounter,
    padding: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// If one of their names is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = register_histogram_with_registry!(
            "fastsentiment_inference_duration_seconds",
            "How long runs of the model took.",
            // 100 microseconds to 26 seconds.
            exponential_buckets(0.0001, 2.0, 19)?,
            registry
        )?;
        let rows = register_histogram_with_registry!(
            "fastsentiment_inference_texts",
            "Texts in each run of the model.",
            exponential_buckets(1.0, 2.0, 8)?,
            registry
        )?;
        let failures = register_int_counter_with_registry!(
            "fastsentiment_inference_failures_total",
            "Runs of the model that failed or were ended.",
            registry
        )?;
        let wide = register_int_counter_with_registry!(
            "fastsentiment_inference_wide_total",
            "Runs of the model that used several cores, because nothing else was running.",
            registry
        )?;
        let tokens = register_int_counter_vec_with_registry!(
            "fastsentiment_inference_tokens_total",
            "Tokens that the model was run on: those of texts, and those that only pad \
             shorter texts to the length of the longest.",
            &["kind"],
            registry
        )?;
        Ok(Self {
            seconds,
            failures,
            wide,
            rows,
            tokens: tokens.with_label_values(&["text"]),
            padding: tokens.with_label_values(&["padding"]),
        })
    }

    /// Records the inputs of a run.
    pub(super) fn record(&self, inputs: &[NamedTensor]) {
        let Some(mask) = inputs.iter().find(|input| input.name == MASK) else {
            return;
        };
        let tensor = &mask.tensor;
        let Some(rows) = tensor.dimensions.first() else {
            return;
        };
        let elements: usize = tensor
            .dimensions
            .iter()
            .map(|size| *size as usize)
            .product();
        let width = tensor.data.len() / elements.max(1);
        let values = tensor.data.chunks_exact(width.max(1));
        let tokens = values
            .filter(|value| value.iter().any(|byte| *byte != 0))
            .count();
        self.rows.observe(f64::from(*rows));
        self.tokens.inc_by(tokens as u64);
        self.padding.inc_by(elements.saturating_sub(tokens) as u64);
    }
}
