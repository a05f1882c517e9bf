//! A revision in use: counts its calls and failures, and judges a revision that is not
//! trusted yet.
//!
//! Workers call this below the batcher, so it changes nothing by itself. A verdict is an
//! event: it is kept in [`ActiveRevision::verdict`], and a channel that the rollout passes
//! down says that there is one.
//!
//! This module must not know the routes, or what becomes of a revision that fails.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{mpsc, watch};

use super::metrics::Counters;
use predictor::{CancellationToken, ErrorKind, LongTexts, PredictError, Revision, Scorer, Scores};

/// A revision, from when it is put into use until its last text is answered. If it is put
/// into use again, it starts over.
pub(super) struct ActiveRevision {
    scorer: Arc<dyn Scorer>,
    pub(super) counters: Arc<Counters>,
    /// `None` for a trusted revision.
    health: Option<Health>,
    /// Whether it is out of use for good: running calls end, and none begins.
    retired: watch::Sender<bool>,
}

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

    fn record_failure(&self, weight: u64, why: &str) {
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
}

impl ActiveRevision {
    /// Puts a revision into use; without `health` it is trusted.
    pub(super) fn new(
        scorer: Arc<dyn Scorer>,
        counters: Arc<Counters>,
        health: Option<Health>,
    ) -> Arc<Self> {
        Arc::new(Self {
            scorer,
            counters,
            health,
            retired: watch::Sender::new(false),
        })
    }

    /// Why it should be taken out of use: a sentence for the operator. `None` as long as it
    /// should not.
    pub(super) fn verdict(&self) -> Option<&str> {
        self.health.as_ref()?.verdict.get().map(String::as_str)
    }

    /// Keeps it in use whatever the verdict is: it is trusted, and nothing else answers.
    pub(super) fn pardon(&self) {
        if let Some(health) = &self.health {
            health.pardoned.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it waits to be taken out of use. No call begins meanwhile: workers are
    /// faster than the task that does it.
    fn is_condemned(&self) -> bool {
        self.health.as_ref().is_some_and(|health| {
            health.verdict.get().is_some() && !health.pardoned.load(Ordering::Relaxed)
        })
    }

    /// Takes it out of use for good: its calls end as soon as they can.
    pub(super) fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// Waits until it is out of use.
    pub(super) async fn retired(&self) {
        // An error would mean that `self` is gone.
        let _ = self.retired.subscribe().wait_for(|retired| *retired).await;
    }

    /// Cancelled once nobody wants the results of a call, or once the revision is out of
    /// use.
    fn cancellation(&self, of_callers: &CancellationToken) -> CancellationToken {
        let (retired, of_callers) = (self.retired.subscribe(), of_callers.clone());
        CancellationToken::new(move || *retired.borrow() || of_callers.is_cancelled())
    }

    fn record_success(&self) {
        if let Some(health) = &self.health {
            health.record(None);
        }
    }

    fn record_failure(&self, weight: u64, why: &str) {
        self.counters.failures.inc();
        if let Some(health) = &self.health {
            health.record_failure(weight, why);
        }
    }
}

impl Scorer for ActiveRevision {
    fn revision(&self) -> &Arc<Revision> {
        self.scorer.revision()
    }

    fn batch_tokens(&self) -> u32 {
        self.scorer.batch_tokens()
    }

    fn score(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.counted(texts, cancellation, |cancellation| {
            self.scorer.score(texts, cancellation)
        })
    }

    fn score_whole(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.counted(texts, cancellation, |cancellation| {
            self.scorer.score_whole(texts, cancellation)
        })
    }
}

/// A revision in use, for texts that must not be truncated.
pub(super) struct Whole(pub(super) Arc<ActiveRevision>);

impl Scorer for Whole {
    fn revision(&self) -> &Arc<Revision> {
        self.0.revision()
    }

    fn batch_tokens(&self) -> u32 {
        self.0.batch_tokens()
    }

    fn long_texts(&self) -> LongTexts {
        LongTexts::Refuse
    }

    fn score(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.0.score_whole(texts, cancellation)
    }
}

impl ActiveRevision {
    /// Calls the scorer with texts, unless the revision is out of use, and counts what comes
    /// of it.
    fn counted(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
        call: impl FnOnce(&CancellationToken) -> Result<Vec<Scores>, PredictError>,
    ) -> Result<Vec<Scores>, PredictError> {
        if *self.retired.borrow() || self.is_condemned() {
            let error = PredictError::new(ErrorKind::Failed, "the prediction failed");
            return Err(error.with_detail("the revision was taken out of use"));
        }
        let cancellation = self.cancellation(cancellation);
        let call = || call(&cancellation);
        let result = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(result) => result,
            Err(panic) => {
                self.record_failure(1, "the host panicked during a call of the guest");
                resume_unwind(panic);
            }
        };
        match &result {
            Ok(scores) if scores.len() == texts.len() => {
                self.counters.texts.inc_by(scores.len() as u64);
                self.record_success();
            }
            Ok(scores) => {
                let why = format!("{} answers to {} texts", scores.len(), texts.len());
                self.record_failure(1, &why);
            }
            // The call was ended from outside, which says nothing about the revision.
            Err(_) if cancellation.is_cancelled() => {}
            Err(error) if is_failure(error) => {
                let weight = match error.kind {
                    ErrorKind::TimedOut => TIMEOUT_WEIGHT,
                    _ => 1,
                };
                self.record_failure(weight, error.detail.as_ref().unwrap_or(&error.message));
            }
            Err(_) => self.record_success(),
        }
        result
    }
}

/// Whether an error counts against the revision. A text that the guest refuses and work
/// that was never begun do not.
pub(super) fn is_failure(error: &PredictError) -> bool {
    match error.kind {
        ErrorKind::Failed | ErrorKind::TimedOut => true,
        ErrorKind::TooManyTexts { .. }
        | ErrorKind::TextTooLong { .. }
        | ErrorKind::UnknownRevision
        | ErrorKind::InvalidText { .. }
        | ErrorKind::Overloaded { .. }
        | ErrorKind::Unavailable => false,
    }
}
