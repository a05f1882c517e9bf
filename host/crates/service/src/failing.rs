//! Whether anything is answered at all.
//!
//! Requests that fail are nothing unusual while others are answered. If every one of them
//! fails, this replica is of no use, and its load balancer should know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntGauge, Registry, register_int_gauge_with_registry};

use predictor::{ErrorKind, PredictError, Revision};

/// From so many failures on without an answer between them, nothing is answered.
const FAILURES: i64 = 10;

/// If nothing was answered for so long: while anybody is, others can send what fails as
/// often as they like.
const UNANSWERED: Duration = Duration::from_secs(5);

/// How long after the last failure that holds. A replica that is sent no requests any more
/// would not find out that it could answer them: it is tried again.
const HOLDS: Duration = Duration::from_secs(30);

/// Counts the failures since the last answer.
pub(super) struct Failures {
    streak: IntGauge,
    /// The failures that the count is of.
    span: Mutex<Option<Span>>,
}

/// The first and the last failure since an answer.
struct Span {
    first: Instant,
    last: Instant,
    /// What was live at the last one.
    live: Arc<Revision>,
}

impl Failures {
    /// Registers the count.
    ///
    /// # Errors
    ///
    /// If its name is taken.
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

    /// Takes note of what became of a text, or of several at once; `live` is asked for
    /// only if that is a failure.
    pub(super) fn note(&self, became: Result<(), &PredictError>, live: impl Fn() -> Arc<Revision>) {
        match became.map_err(|error| &error.kind) {
            // A text that the guest refuses is answered.
            Ok(()) | Err(ErrorKind::InvalidText { .. }) => {
                // Nearly always it is 0, and then nothing is written that is shared.
                if self.streak.get() > 0 {
                    self.streak.set(0);
                }
            }
            Err(ErrorKind::Failed | ErrorKind::TimedOut) => {
                self.note_failure(Instant::now(), live());
            }
            // It was not tried.
            Err(
                ErrorKind::TooManyTexts { .. }
                | ErrorKind::TextTooLong { .. }
                | ErrorKind::Overloaded { .. }
                | ErrorKind::Unavailable,
            ) => {}
        }
    }

    fn note_failure(&self, at: Instant, live: Arc<Revision>) {
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

    /// Whether all predictions of late have failed, with the version that is live.
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

    /// So many failures, the first one some time ago.
    fn fail(failures: &Failures, live: u8, first: Duration, last: Duration) {
        let ago = |time| Instant::now().checked_sub(time).unwrap();
        failures.note_failure(ago(first), revision(live));
        (1..FAILURES).for_each(|_| failures.note_failure(ago(last), revision(live)));
    }

    #[test]
    fn only_failures_without_an_answer_between_them_count() {
        let failures = Failures::new(&Registry::new()).unwrap();
        let note = |became: Result<(), &PredictError>| failures.note(became, || revision(1));
        for kind in [ErrorKind::Failed, ErrorKind::TimedOut, ErrorKind::Failed] {
            note(Err(&error(kind)));
        }
        // What was not tried says nothing.
        note(Err(&error(ErrorKind::Unavailable)));
        assert_eq!(failures.streak.get(), 3);
        note(Ok(()));
        assert_eq!(failures.streak.get(), 0);
        for answered in [Ok(()), Err(&error(ErrorKind::InvalidText { index: 0 }))] {
            fail(&failures, 1, UNANSWERED, Duration::ZERO);
            assert!(failures.is_failing(&revision(1)));
            // Another version has failed at nothing yet.
            assert!(!failures.is_failing(&revision(2)));
            note(answered);
            assert!(!failures.is_failing(&revision(1)));
        }
    }

    #[test]
    fn a_burst_of_failures_is_not_all_there_is() {
        let failures = Failures::new(&Registry::new()).unwrap();
        fail(&failures, 1, Duration::ZERO, Duration::ZERO);
        assert!(!failures.is_failing(&revision(1)));
        // Too few.
        let failures = Failures::new(&Registry::new()).unwrap();
        failures.note_failure(Instant::now().checked_sub(UNANSWERED).unwrap(), revision(1));
        assert!(!failures.is_failing(&revision(1)));
    }

    #[test]
    fn a_server_that_is_asked_nothing_is_tried_again() {
        let failures = Failures::new(&Registry::new()).unwrap();
        fail(&failures, 1, 2 * HOLDS, HOLDS);
        assert!(!failures.is_failing(&revision(1)));
        // One more failure is enough.
        failures.note_failure(Instant::now(), revision(1));
        assert!(failures.is_failing(&revision(1)));
    }
}
