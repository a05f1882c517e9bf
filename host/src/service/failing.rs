//! Whether anything is answered at all.
//!
//! Requests that fail are nothing unusual while others are answered. If every one of them
//! fails, this replica is of no use, and its load balancer should know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntGauge, Registry, register_int_gauge_with_registry};

use crate::predictor::{ErrorKind, PredictError, Version};

/// From so many failures on without an answer between them, nothing is answered.
const FAILURES: i64 = 10;

/// How long after the last failure that holds. A replica that is sent no requests any more
/// would not find out that it could answer them: it is tried again.
const HOLDS: Duration = Duration::from_secs(30);

/// Counts the failures since the last answer.
pub(super) struct Failures {
    streak: IntGauge,
    /// When the last one was, and what was live then.
    last: Mutex<Option<(Instant, Arc<Version>)>>,
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
                "Failed predictions since the last one that was answered; from 10 on, the \
                 server is not ready.",
                registry
            )?,
            last: Mutex::default(),
        })
    }

    /// Takes note of what became of a text, or of several at once; `live` is asked for
    /// only if that is a failure.
    pub(super) fn note(&self, became: Result<(), &PredictError>, live: impl Fn() -> Arc<Version>) {
        match became.map_err(|error| &error.kind) {
            // A text that the guest refuses is answered.
            Ok(()) | Err(ErrorKind::InvalidText { .. }) => {
                // Nearly always it is 0, and then nothing is written that is shared.
                if self.streak.get() > 0 {
                    self.streak.set(0);
                }
            }
            Err(ErrorKind::Failed | ErrorKind::TimedOut) => {
                self.streak.inc();
                let last = (Instant::now(), live());
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
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

    /// Whether all predictions of late have failed, with the version that is live.
    pub(super) fn is_failing(&self, live: &Version) -> bool {
        if self.streak.get() < FAILURES {
            return false;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .is_some_and(|(at, version)| at.elapsed() < HOLDS && **version == *live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictor::Digest;

    fn version(number: u8) -> Arc<Version> {
        Arc::new(Version {
            guest: Digest([number; 32]),
            model: Digest([0; 32]),
        })
    }

    fn error(kind: ErrorKind) -> PredictError {
        PredictError::new(kind, "")
    }

    #[test]
    fn only_failures_without_an_answer_between_them_count() {
        let failures = Failures::new(&Registry::new()).unwrap();
        let live = version(1);
        let note = |became: Result<(), &PredictError>| failures.note(became, || live.clone());
        let failed = [ErrorKind::Failed, ErrorKind::TimedOut].map(error);
        for number in 0..FAILURES {
            assert!(!failures.is_failing(&live), "after {number}");
            note(Err(&failed[usize::from(number % 2 == 0)]));
            // What was not tried says nothing.
            note(Err(&error(ErrorKind::Unavailable)));
        }
        assert!(failures.is_failing(&live));
        // Another version has failed at nothing yet.
        assert!(!failures.is_failing(&version(2)));
        for answered in [Ok(()), Err(&error(ErrorKind::InvalidText { index: 0 }))] {
            note(answered);
            assert!(!failures.is_failing(&live));
            (0..FAILURES).for_each(|_| note(Err(&failed[0])));
            assert!(failures.is_failing(&live));
        }
    }

    #[test]
    fn a_server_that_is_asked_nothing_is_tried_again() {
        let failures = Failures::new(&Registry::new()).unwrap();
        let failed = error(ErrorKind::Failed);
        (0..FAILURES).for_each(|_| failures.note(Err(&failed), || version(1)));
        assert!(failures.is_failing(&version(1)));
        let long_ago = Instant::now().checked_sub(HOLDS).unwrap();
        *failures.last.lock().unwrap() = Some((long_ago, version(1)));
        assert!(!failures.is_failing(&version(1)));
        // One more failure is enough.
        failures.note(Err(&failed), || version(1));
        assert!(failures.is_failing(&version(1)));
    }
}
