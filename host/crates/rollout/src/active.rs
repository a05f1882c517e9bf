//! A revision in use: counts its calls, and has those of a revision that is not trusted yet
//! judged (`probation.rs`).
//!
//! This module must not know the routes, or what becomes of a revision that fails.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tokio::sync::watch;

use super::metrics::Counters;
use super::probation::{self, Health};
use predictor::{CancellationToken, PredictError, Revision, Scorer, Scores};

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
        self.health.as_ref()?.verdict()
    }

    /// Keeps it in use whatever the verdict is: it is trusted, and nothing else answers.
    pub(super) fn pardon(&self) {
        if let Some(health) = &self.health {
            health.pardon();
        }
    }

    /// Whether it waits to be taken out of use. No call begins meanwhile: workers are
    /// faster than the task that does it.
    fn is_condemned(&self) -> bool {
        self.health.as_ref().is_some_and(Health::is_condemned)
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
            health.record_success();
        }
    }

    fn record_failure(&self, weight: u64, why: &str) {
        self.counters.failures.inc();
        if let Some(health) = &self.health {
            health.record_failure(weight, why);
        }
    }

    /// Calls the scorer with texts, unless the revision is out of use, and counts what comes
    /// of it.
    fn counted(
        &self,
        texts: &[String],
        cancellation: &CancellationToken,
        call: impl FnOnce(&CancellationToken) -> Result<Vec<Scores>, PredictError>,
    ) -> Result<Vec<Scores>, PredictError> {
        if *self.retired.borrow() || self.is_condemned() {
            return Err(PredictError::failed("the revision was taken out of use"));
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
            Err(error) => match probation::weight(error) {
                Some(weight) => {
                    let why = error.detail.as_ref().unwrap_or(&error.message);
                    self.record_failure(weight, why);
                }
                None => self.record_success(),
            },
        }
        result
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
