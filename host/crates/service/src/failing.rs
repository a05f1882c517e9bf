//! Whether anything is answered at all.
//!
//! Some failures are normal while other requests are answered. If every request fails, this
//! replica is useless, and its load balancer should know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntGauge, Registry, register_int_gauge_with_registry};

use predictor::{ErrorKind, PredictError, Revision};

/// The number of failures in a row from which nothing counts as answered.
const FAILURES: i64 = 10;

/// The failures must span at least this time, so that a burst of bad requests is not
/// mistaken for a replica that answers nothing.
const UNANSWERED: Duration = Duration::from_secs(5);

/// The verdict ends this long after the last failure. Without requests, a replica would
/// never find out that it can answer again.
const HOLDS: Duration = Duration::from_secs(30);

/// The failures since the last answer.
pub(super) struct Failures {
    streak: IntGauge,
    /// When they happened.
    span: Mutex<Option<Span>>,
}

/// The first and the last failure since an answer.
struct Span {
    first: Instant,
    last: Instant,
    /// The revision that was live at the last one.
    live: Arc<Revision>,
}

impl Failures {
    /// Registers the metric.
    ///
    /// # Errors
    ///
    /// If a metric of this name is registered already.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            streak: register_int_gauge_with_registry!(
                "fastsentiment_failures_since_answer",
                "Failed predictions since the last one that was answered; from 10 on, after 5 \
                 seconds, the server is not ready.",
                registry
            )?,
            span: Mutex::default(),
        })
    }

    /// Records the outcome of a text. `live` is called only for a failure.
    pub(super) fn record(
        &self,
        outcome: Result<(), &PredictError>,
        live: impl Fn() -> Arc<Revision>,
    ) {
        match outcome.map_err(|error| &error.kind) {
            // A text that the guest refuses has been answered.
            Ok(()) | Err(ErrorKind::InvalidText { .. }) => {
                // Nearly always 0; then no shared memory is written.
                if self.streak.get() > 0 {
                    self.streak.set(0);
                }
            }
            Err(ErrorKind::Failed | ErrorKind::TimedOut) => {
                self.record_failure(Instant::now(), live());
            }
            // Nothing was tried.
            Err(
                ErrorKind::TooManyTexts { .. }
                | ErrorKind::TextTooLong { .. }
                | ErrorKind::UnknownRevision
                | ErrorKind::Overloaded { .. }
                | ErrorKind::Unavailable,
            ) => {}
        }
    }

    fn record_failure(&self, at: Instant, live: Arc<Revision>) {
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = self.streak.get() == 0;
        self.streak.inc();
        let before = span.take().filter(|_| !is_first);
        *span = Some(Span {
            first: before.map_or(at, |span| span.first),
            last: at,
            live,
        });
    }

    /// Whether all recent predictions have failed, with the revision that is live.
    pub(super) fn is_failing(&self, live: &Revision) -> bool {
        if self.streak.get() < FAILURES {
            return false;
        }
        let span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        span.as_ref().is_some_and(|span| {
            *span.live == *live && span.first.elapsed() >= UNANSWERED && span.last.elapsed() < HOLDS
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::Digest;

    fn revision(number: u8) -> Arc<Revision> {
        Arc::new(Revision::new(
            Digest([number; 32]),
            Digest([0; 32]),
            Revision::NO_CONFIGURATION,
        ))
    }

    fn error(kind: ErrorKind) -> PredictError {
        PredictError::new(kind, "")
    }

    /// Enough failures, the first of them `first` ago and the others `last` ago.
    fn fail(failures: &Failures, live: u8, first: Duration, last: Duration) {
        let ago = |time| Instant::now().checked_sub(time).unwrap();
        failures.record_failure(ago(first), revision(live));
        (1..FAILURES).for_each(|_| failures.record_failure(ago(last), revision(live)));
    }

    #[test]
    fn only_failures_without_an_answer_between_them_count() {
        let failures = Failures::new(&Registry::new()).unwrap();
        let record = |outcome: Result<(), &PredictError>| failures.record(outcome, || revision(1));
        for kind in [ErrorKind::Failed, ErrorKind::TimedOut, ErrorKind::Failed] {
            record(Err(&error(kind)));
        }
        // An error without a try says nothing.
        record(Err(&error(ErrorKind::Unavailable)));
        assert_eq!(failures.streak.get(), 3);
        record(Ok(()));
        assert_eq!(failures.streak.get(), 0);
        for answered in [Ok(()), Err(&error(ErrorKind::InvalidText { index: 0 }))] {
            fail(&failures, 1, UNANSWERED, Duration::ZERO);
            assert!(failures.is_failing(&revision(1)));
            // Another revision has not failed yet.
            assert!(!failures.is_failing(&revision(2)));
            record(answered);
            assert!(!failures.is_failing(&revision(1)));
        }
    }

    #[test]
    fn a_burst_of_failures_is_not_enough() {
        let failures = Failures::new(&Registry::new()).unwrap();
        fail(&failures, 1, Duration::ZERO, Duration::ZERO);
        assert!(!failures.is_failing(&revision(1)));
        // Too few.
        let failures = Failures::new(&Registry::new()).unwrap();
        failures.record_failure(Instant::now().checked_sub(UNANSWERED).unwrap(), revision(1));
        assert!(!failures.is_failing(&revision(1)));
    }

    #[test]
    fn a_server_that_is_asked_nothing_is_tried_again() {
        let failures = Failures::new(&Registry::new()).unwrap();
        fail(&failures, 1, 2 * HOLDS, HOLDS);
        assert!(!failures.is_failing(&revision(1)));
        // One more failure is enough.
        failures.record_failure(Instant::now(), revision(1));
        assert!(failures.is_failing(&revision(1)));
    }
}
