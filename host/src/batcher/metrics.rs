//! What the batcher tells of itself.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    exponential_buckets,
};

use crate::predictor::{ErrorKind, PredictError};

/// The batcher's instruments.
pub struct Metrics {
    pub(super) queue_texts: IntGauge,
    pub(super) queue_tokens: IntGauge,
    pub(super) queue_seconds: Histogram,
    pub(super) batch_texts: Histogram,
    pub(super) batch_seconds: Histogram,
    pub(super) busy_workers: IntGauge,
    pub(super) refused: IntCounter,
    pub(super) abandoned: IntCounter,
    texts: IntCounterVec,
}

impl Metrics {
    /// Registers the instruments.
    ///
    /// # Errors
    ///
    /// If one of their names is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        // 100 microseconds to 26 seconds.
        let seconds = exponential_buckets(0.0001, 2.0, 19)?;
        let histogram = |name, help, buckets| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let texts = IntCounterVec::new(
            Opts::new(
                "fastsentiment_computed_texts_total",
                "Texts that were given to a guest, by outcome.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(texts.clone()))?;
        Ok(Self {
            queue_texts: gauge("fastsentiment_queue_texts", "Texts that wait for a worker.")?,
            queue_tokens: gauge(
                "fastsentiment_queue_tokens",
                "Tokens of the texts that wait for a worker, as estimated.",
            )?,
            queue_seconds: histogram(
                "fastsentiment_queue_duration_seconds",
                "How long texts waited for a worker.",
                seconds.clone(),
            )?,
            batch_texts: histogram(
                "fastsentiment_batch_texts",
                "Texts in each batch that was given to a guest.",
                exponential_buckets(1.0, 2.0, 8)?,
            )?,
            batch_seconds: histogram(
                "fastsentiment_batch_duration_seconds",
                "How long batches took, all of the guest and the model included.",
                seconds,
            )?,
            busy_workers: gauge(
                "fastsentiment_busy_workers",
                "Workers that are busy with a batch.",
            )?,
            refused: counter(
                "fastsentiment_refused_requests_total",
                "Requests that were refused because too much work was waiting.",
            )?,
            abandoned: counter(
                "fastsentiment_abandoned_texts_total",
                "Texts whose caller had gone before they were answered.",
            )?,
            texts,
        })
    }

    pub(super) fn count(&self, answer: Result<(), &PredictError>) {
        let outcome = match answer {
            Ok(()) => "ok",
            Err(error) => match error.kind {
                ErrorKind::InvalidText { .. } => "invalid_text",
                ErrorKind::TimedOut => "timed_out",
                ErrorKind::Unavailable => "unavailable",
                ErrorKind::TooManyTexts { .. }
                | ErrorKind::TextTooLong { .. }
                | ErrorKind::Overloaded { .. }
                | ErrorKind::Failed => "failed",
            },
        };
        self.texts.with_label_values(&[outcome]).inc();
    }
}
