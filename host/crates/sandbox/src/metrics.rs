//! Metrics of the calls of guests.

use std::time::Duration;

use prometheus::{
    Histogram, IntCounterVec, Registry, exponential_buckets, register_histogram_with_registry,
    register_int_counter_vec_with_registry,
};

use super::error::CallError;

/// The values of the label `outcome`.
const OUTCOMES: [&str; 13] = [
    "ok",
    "not_instantiated",
    "no_room",
    "trapped",
    "exited",
    "out_of_memory",
    "timed_out",
    "abandoned",
    "bad_answer",
    "invalid_text",
    "model_unsuitable",
    "inference_failed",
    "failed",
];

/// The metrics of the calls of all guests.
#[derive(Clone)]
pub struct Metrics {
    seconds: Histogram,
    calls: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// If one of their names is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = register_histogram_with_registry!(
            "fastsentiment_guest_call_duration_seconds",
            "How long calls of the guest took, from making an instance to its answer.",
            // 100 microseconds to 26 seconds.
            exponential_buckets(0.0001, 2.0, 19)?,
            registry
        )?;
        let calls = register_int_counter_vec_with_registry!(
            "fastsentiment_guest_calls_total",
            "Calls of the guest, by outcome.",
            &["outcome"],
            registry
        )?;
        // Exported as 0, so that the first of each is seen as an increase.
        for outcome in OUTCOMES {
            calls.with_label_values(&[outcome]);
        }
        Ok(Self { seconds, calls })
    }

    /// Records a call.
    pub(super) fn record<T>(&self, took: Duration, result: &Result<T, CallError>) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(CallError::Instantiate(_)) => "not_instantiated",
            Err(CallError::NoRoom(_)) => "no_room",
            Err(CallError::Trapped { .. }) => "trapped",
            Err(CallError::Exited(_)) => "exited",
            Err(CallError::OutOfMemory { .. }) => "out_of_memory",
            Err(CallError::TimedOut(_)) => "timed_out",
            Err(CallError::Abandoned) => "abandoned",
            Err(CallError::BadAnswer(_)) => "bad_answer",
            Err(CallError::InvalidText { .. }) => "invalid_text",
            Err(CallError::Model(_)) => "model_unsuitable",
            Err(CallError::Inference(_)) => "inference_failed",
            Err(CallError::Internal(_)) => "failed",
        };
        self.seconds.observe(took.as_secs_f64());
        self.calls.with_label_values(&[outcome]).inc();
    }
}
