//! What the service tells of the requests that it was given.

use prometheus::{
    Histogram, IntCounter, Registry, exponential_buckets, register_histogram_with_registry,
    register_int_counter_vec_with_registry,
};

use crate::predictor::{ErrorKind, PredictError};

/// What can become of a request; the names are the label's values.
const OUTCOMES: [&str; 9] = [
    "ok",
    "too_many_texts",
    "text_too_long",
    "invalid_text",
    "overloaded",
    "timed_out",
    "unavailable",
    "failed",
    CANCELLED,
];

/// The outcome of a request whose caller has left.
const CANCELLED: &str = "cancelled";

/// The service's instruments. Those of each outcome are found beforehand, so
/// that a request costs no look-up.
pub struct Metrics {
    outcomes: [Counters; OUTCOMES.len()],
    texts: Histogram,
}

struct Counters {
    requests: IntCounter,
    texts: IntCounter,
}

impl Metrics {
    /// Registers the instruments.
    ///
    /// # Errors
    ///
    /// If one of their names is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = register_int_counter_vec_with_registry!(
            "fastsentiment_predict_requests_total",
            "Requests for predictions, by what became of them; `cancelled` are those whose \
             caller had left.",
            &["outcome"],
            registry
        )?;
        let texts = register_int_counter_vec_with_registry!(
            "fastsentiment_predict_texts_total",
            "Texts of the requests for predictions, by what became of the request.",
            &["outcome"],
            registry
        )?;
        let sizes = register_histogram_with_registry!(
            "fastsentiment_predict_request_texts",
            "Texts in each request for predictions.",
            exponential_buckets(1.0, 2.0, 11)?,
            registry
        )?;
        Ok(Self {
            outcomes: OUTCOMES.map(|outcome| Counters {
                requests: requests.with_label_values(&[outcome]),
                texts: texts.with_label_values(&[outcome]),
            }),
            texts: sizes,
        })
    }

    /// Counts a request of so many texts, once, when its outcome is known.
    pub(super) fn begin(&self, texts: usize) -> Counted<'_> {
        Counted {
            metrics: self,
            texts,
            outcome: CANCELLED,
        }
    }
}

/// A request; dropped without an end, it counts as cancelled.
pub(super) struct Counted<'a> {
    metrics: &'a Metrics,
    texts: usize,
    outcome: &'static str,
}

impl Counted<'_> {
    /// What became of the request.
    pub(super) fn end(mut self, answer: Result<(), &PredictError>) {
        self.outcome = match answer {
            Ok(()) => "ok",
            Err(error) => match error.kind {
                ErrorKind::TooManyTexts { .. } => "too_many_texts",
                ErrorKind::TextTooLong { .. } => "text_too_long",
                ErrorKind::InvalidText { .. } => "invalid_text",
                ErrorKind::Overloaded { .. } => "overloaded",
                ErrorKind::TimedOut => "timed_out",
                ErrorKind::Unavailable => "unavailable",
                ErrorKind::Failed => "failed",
            },
        };
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Metrics { outcomes, texts } = self.metrics;
        if let Some(at) = OUTCOMES.iter().position(|name| *name == self.outcome) {
            outcomes[at].requests.inc();
            outcomes[at].texts.inc_by(self.texts as u64);
        }
        #[expect(clippy::cast_precision_loss, reason = "texts are counted in thousands")]
        texts.observe(self.texts as f64);
    }
}
