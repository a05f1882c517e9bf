//! Metrics of the batcher.

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, Registry, exponential_buckets,
    register_histogram_with_registry, register_int_counter_vec_with_registry,
    register_int_counter_with_registry, register_int_gauge_with_registry,
};

use predictor::{ErrorKind, PredictError};

/// The instruments of the batcher.
pub struct Metrics {
    pub(super) queue_texts: IntGauge,
    pub(super) queue_tokens: IntGauge,
    pub(super) queue_seconds: Histogram,
    pub(super) batch_texts: Histogram,
    pub(super) batch_seconds: Histogram,
    pub(super) busy_workers: IntGauge,
    pub(super) refused: IntCounter,
    pub(super) cancelled: IntCounter,
    pub(super) set_aside: IntCounter,
    pub(super) background_texts: IntGauge,
    pub(super) preempted: IntCounter,
    texts: IntCounterVec,
}

impl Metrics {
    /// Registers the instruments.
    ///
    /// # Errors
    ///
    /// If a metric of one of these names is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        // 100 microseconds to 26 seconds.
        let seconds = exponential_buckets(0.0001, 2.0, 19)?;
        let texts = register_int_counter_vec_with_registry!(
            "fastsentiment_computed_texts_total",
            "Texts that were given to a guest, by outcome.",
            &["outcome"],
            registry
        )?;
        // Created with 0, so that the first event of a kind is an increase.
        for outcome in ["ok", "invalid_text", "timed_out", "unavailable", "failed"] {
            texts.with_label_values(&[outcome]);
        }
        Ok(Self {
            queue_texts: register_int_gauge_with_registry!(
                "fastsentiment_queue_texts",
                "Texts that wait for a worker.",
                registry
            )?,
            queue_tokens: register_int_gauge_with_registry!(
                "fastsentiment_queue_tokens",
                "Tokens of the texts that wait for a worker, as estimated.",
                registry
            )?,
            queue_seconds: register_histogram_with_registry!(
                "fastsentiment_queue_duration_seconds",
                "How long texts waited for a worker.",
                seconds.clone(),
                registry
            )?,
            batch_texts: register_histogram_with_registry!(
                "fastsentiment_batch_texts",
                "Texts in each batch that was given to a guest.",
                exponential_buckets(1.0, 2.0, 8)?,
                registry
            )?,
            batch_seconds: register_histogram_with_registry!(
                "fastsentiment_batch_duration_seconds",
                "How long batches took, all of the guest and the model included.",
                seconds,
                registry
            )?,
            busy_workers: register_int_gauge_with_registry!(
                "fastsentiment_busy_workers",
                "Workers that are busy with a batch.",
                registry
            )?,
            refused: register_int_counter_with_registry!(
                "fastsentiment_refused_requests_total",
                "Times that texts were refused because too much work was waiting; those of bulk \
                 requests are offered again.",
                registry
            )?,
            cancelled: register_int_counter_with_registry!(
                "fastsentiment_abandoned_texts_total",
                "Texts whose caller had gone before they were answered.",
                registry
            )?,
            set_aside: register_int_counter_with_registry!(
                "fastsentiment_set_aside_texts_total",
                "Texts that took far longer than expected while others waited, and were left \
                 to a thread for such texts.",
                registry
            )?,
            background_texts: register_int_gauge_with_registry!(
                "fastsentiment_background_texts",
                "Texts that wait in the background: nobody waits for them, and no other \
                 metric of the queue or of batches counts them.",
                registry
            )?,
            preempted: register_int_counter_with_registry!(
                "fastsentiment_background_given_up_texts_total",
                "Texts in the background that were given up for others.",
                registry
            )?,
            texts,
        })
    }

    /// How many workers have a batch, for who wants to know whether there is any other.
    pub fn busy_workers(&self) -> &IntGauge {
        &self.busy_workers
    }

    pub(super) fn record(&self, answer: Result<(), &PredictError>) {
        let outcome = match answer {
            Ok(()) => "ok",
            Err(error) => match error.kind {
                ErrorKind::InvalidText { .. } => "invalid_text",
                ErrorKind::TimedOut => "timed_out",
                ErrorKind::Unavailable => "unavailable",
                ErrorKind::TooManyTexts { .. }
                | ErrorKind::TextTooLong { .. }
                | ErrorKind::UnknownRevision
                | ErrorKind::Overloaded { .. }
                | ErrorKind::Failed => "failed",
            },
        };
        self.texts.with_label_values(&[outcome]).inc();
    }
}
