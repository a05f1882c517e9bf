//! Which calls count as failures, and when a revision on probation has had too many.
//!
//! Workers call this below the batcher, so it changes nothing by itself. A verdict is an
//! event: it is kept, and a channel that the rollout passes down says that there is one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::mpsc;

use predictor::{ErrorKind, PredictError};

/// The recent failures of a revision that is not trusted.
pub(super) struct Health {
    recent: Mutex<Recent>,
    /// The weight of failures that is tolerated.
    tolerated: u32,
    /// Why the revision should be taken out of use, once it should be.
    verdict: OnceLock<String>,
    /// Whether the revision stays in use whatever the verdict is.
    pardoned: AtomicBool,
    /// Sent to when there is a verdict.
    verdicts: mpsc::UnboundedSender<()>,
}

/// Counts of recent calls.
#[derive(Clone, Copy, Default)]
struct Recent {
    calls: u64,
    failures: u64,
    /// The sum of the failures' weights.
    weight: u64,
}

/// If fewer than one in this many calls fail, single texts are at fault and not the
/// revision: a text that it fails on, sent again and again among thousands of others, must
/// not take it out of use.
const CALLS_PER_FAILURE: u64 = 10;

/// Once this many calls have been counted, all counts are halved, so that a revision that
/// turns bad late is found out as soon as one that was bad from the start.
const RECENT_CALLS: u64 = 64;

/// At least this many times the tolerated failures are counted before counts are halved;
/// otherwise halving would forgive failures a second time.
const RECENT_PER_TOLERATED: u64 = 2;

/// How many other failures a time-out counts for. It has blocked a worker for as long as a
/// call may take, so fewer of them already make everybody late.
const TIMEOUT_WEIGHT: u64 = 3;

/// The longest part of an error that is repeated in a verdict, in characters. The guest may
/// have chosen the words.
const MAX_REASON: usize = 500;

impl Health {
    /// Tolerates failures up to a weight of `tolerated`, and sends to `verdicts` once there
    /// are more.
    pub(super) fn new(tolerated: u32, verdicts: mpsc::UnboundedSender<()>) -> Self {
        Self {
            recent: Mutex::default(),
            tolerated,
            verdict: OnceLock::new(),
            pardoned: AtomicBool::new(false),
            verdicts,
        }
    }

    /// Records a call, with its weight if it failed. Returns the counts with it.
    fn record(&self, failure: Option<u64>) -> Recent {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let tolerated = u64::from(self.tolerated);
        if recent.calls >= RECENT_CALLS.max((tolerated + 1) * RECENT_PER_TOLERATED) {
            *recent = Recent {
                calls: recent.calls / 2,
                failures: recent.failures / 2,
                weight: recent.weight / 2,
            };
        }
        recent.calls += 1;
        recent.failures += u64::from(failure.is_some());
        recent.weight += failure.unwrap_or(0);
        *recent
    }

    pub(super) fn record_success(&self) {
        self.record(None);
    }

    /// Records a failure that counts for `weight` of the usual ones.
    pub(super) fn record_failure(&self, weight: u64, why: &str) {
        let recent = self.record(Some(weight));
        let is_too_much = recent.weight > u64::from(self.tolerated)
            && recent.weight * CALLS_PER_FAILURE > recent.calls;
        if is_too_much {
            let in_a_line = |letter: char| if letter.is_control() { ' ' } else { letter };
            let why: String = why.chars().take(MAX_REASON).map(in_a_line).collect();
            let (failures, calls) = (recent.failures, recent.calls);
            let verdict =
                format!("{failures} of its last {calls} calls have failed, the last one: {why}");
            // The first verdict stands. The receiver ends with the server.
            if self.verdict.set(verdict).is_ok() {
                let _ = self.verdicts.send(());
            }
        }
    }

    /// Why the revision should be taken out of use, once it should be: a sentence for the
    /// operator.
    pub(super) fn verdict(&self) -> Option<&str> {
        self.verdict.get().map(String::as_str)
    }

    /// Keeps the revision in use whatever the verdict is.
    pub(super) fn pardon(&self) {
        self.pardoned.store(true, Ordering::Relaxed);
    }

    /// Whether the revision waits to be taken out of use.
    pub(super) fn is_condemned(&self) -> bool {
        self.verdict.get().is_some() && !self.pardoned.load(Ordering::Relaxed)
    }
}

/// How many failures an error counts for; `None` if it says nothing against the revision: a
/// text that the guest refuses, and work that was never begun.
pub(super) fn weight(error: &PredictError) -> Option<u64> {
    match error.kind {
        ErrorKind::Failed => Some(1),
        ErrorKind::TimedOut => Some(TIMEOUT_WEIGHT),
        ErrorKind::TooManyTexts { .. }
        | ErrorKind::TextTooLong { .. }
        | ErrorKind::UnknownRevision
        | ErrorKind::InvalidText { .. }
        | ErrorKind::Overloaded { .. }
        | ErrorKind::Unavailable => None,
    }
}
