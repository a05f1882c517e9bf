//! Metrics of the service.

use prometheus::{
    Histogram, IntCounter, IntGauge, Registry, exponential_buckets,
    register_histogram_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_with_registry,
};

use super::failing::Failures;
use predictor::{ErrorKind, PredictError};

/// The outcomes of a request, as values of the label `outcome`.
const OUTCOMES: [&str; 10] = [
    "ok",
    "too_many_texts",
    "text_too_long",
    "unknown_revision",
    "invalid_text",
    "overloaded",
    "timed_out",
    "unavailable",
    "failed",
    CANCELLED,
];

/// The outcome of a request whose caller has left.
const CANCELLED: &str = "cancelled";

/// The instruments of the service. Those of each outcome are looked up beforehand, so that a
/// request costs no look-up.
pub struct Metrics {
    outcomes: [Counters; OUTCOMES.len()],
    texts: Histogram,
    pub(super) bulk: IntGauge,
    pub(super) failures: Failures,
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
    /// If a metric of one of these names is registered already.
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
            "Texts of the requests for predictions, by what became of the request; those of bulk \
             requests by what became of the text.",
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
            failures: Failures::new(registry)?,
            bulk: register_int_gauge_with_registry!(
                "fastsentiment_bulk_requests_in_flight",
                "Bulk requests that are being answered.",
                registry
            )?,
        })
    }

    /// Begins a request with this many texts. It is counted when its outcome is known.
    pub(super) fn begin(&self, texts: usize) -> Counted<'_> {
        Counted {
            metrics: self,
            texts,
            outcome: CANCELLED,
        }
    }
}

/// Bulk requests.
impl Metrics {
    /// Counts a text of a bulk request.
    pub(super) fn count_text(&self, answer: Result<(), &PredictError>) {
        if let Some(counters) = self.of(outcome(answer)) {
            counters.texts.inc();
        }
    }

    /// Counts a bulk request of `texts` texts that has ended: because it was refused as a
    /// whole, because its caller left before `left` of them were answered, or as it should.
    pub(super) fn end_bulk(&self, texts: u64, refused: Option<&PredictError>, left: u64) {
        let became = match refused {
            None if left > 0 => CANCELLED,
            _ => outcome(refused.map_or(Ok(()), Err)),
        };
        if let Some(counters) = self.of(became) {
            counters.requests.inc();
            counters.texts.inc_by(left);
        }
        self.observe_size(texts);
        self.bulk.dec();
    }

    fn of(&self, outcome: &str) -> Option<&Counters> {
        let at = OUTCOMES.iter().position(|name| *name == outcome)?;
        self.outcomes.get(at)
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    fn observe_size(&self, texts: u64) {
        self.texts.observe(texts as f64);
    }
}

/// A request in progress. Dropped without an outcome, it counts as cancelled.
pub(super) struct Counted<'a> {
    metrics: &'a Metrics,
    texts: usize,
    outcome: &'static str,
}

impl Counted<'_> {
    /// Ends the request with its outcome.
    pub(super) fn end(mut self, answer: Result<(), &PredictError>) {
        self.outcome = outcome(answer);
    }
}

fn outcome(answer: Result<(), &PredictError>) -> &'static str {
    match answer {
        Ok(()) => "ok",
        Err(error) => match error.kind {
            ErrorKind::TooManyTexts { .. } => "too_many_texts",
            ErrorKind::TextTooLong { .. } => "text_too_long",
            ErrorKind::UnknownRevision => "unknown_revision",
            ErrorKind::InvalidText { .. } => "invalid_text",
            ErrorKind::Overloaded { .. } => "overloaded",
            ErrorKind::TimedOut => "timed_out",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Failed => "failed",
        },
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.metrics.of(self.outcome) {
            counters.requests.inc();
            counters.texts.inc_by(self.texts as u64);
        }
        self.metrics.observe_size(self.texts as u64);
    }
}
