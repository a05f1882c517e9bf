//! A version in use: it is counted what it does, and a version that is not trusted
//! is taken out of use when it fails too often.
//!
//! This module must not know what is done with a version that is.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::metrics::Counters;
use predictor::{Abandoned, ErrorKind, PredictError, Revision, Scorer, Scores};

/// A version from when it is brought into use until its last text is answered.
/// One that is brought into use again begins anew.
pub(super) struct Release {
    scorer: Arc<dyn Scorer>,
    pub(super) counters: Arc<Counters>,
    watched: Option<Watched>,
    /// Whether it is out of use for good: its calls are ended then, and no other
    /// begins.
    over: watch::Sender<bool>,
}

/// How the failures of a version that is not trusted are counted.
pub(super) struct Watched {
    late: Mutex<Late>,
    /// How much weight of failures is forgiven.
    allowed: u32,
    /// Told what is wrong, at each failure that is one too many.
    tell: Tell,
}

/// The calls of late, and those that failed.
#[derive(Clone, Copy, Default)]
struct Late {
    calls: u64,
    failures: u64,
    /// The failures by their weight.
    weight: u64,
}

/// What is told of a version that fails too often, with a sentence that says why.
pub(super) type Tell = Box<dyn Fn(&Release, String) + Send + Sync>;

/// Fewer failures than one of so many calls are those of some texts, and not of
/// the version: a text that it fails on, sent again and again among thousands of
/// others, does not take it out of use.
const CALLS_OF_A_FAILURE: u64 = 10;

/// How many calls are remembered at least: at so many, all counts are halved. So a version
/// that goes bad late is found out as soon as one that was bad from the start.
const LATE: u64 = 64;

/// How many times as many calls as may fail are remembered: halved, they must not be
/// forgiven once more.
const LATE_OF_ALLOWED: u64 = 2;

/// As how many failures a time-out counts. It has held a worker for as long as a
/// call may take: with as many of them as are forgiven of other failures, everybody
/// who waits for the workers would be late.
const WEIGHT_OF_A_TIMEOUT: u64 = 3;

/// How much of a failure's own words is told on, in characters: a guest may choose
/// them.
const MAX_REASON: usize = 500;

impl Watched {
    /// Up to `allowed` failures are forgiven, or fewer if some are time-outs.
    pub(super) fn new(allowed: u32, tell: Tell) -> Self {
        Self {
            late: Mutex::default(),
            allowed,
            tell,
        }
    }
}

impl Release {
    /// Brings a version into use; one that is not `watched` is trusted.
    pub(super) fn new(
        scorer: Arc<dyn Scorer>,
        counters: Arc<Counters>,
        watched: Option<Watched>,
    ) -> Arc<Self> {
        Arc::new(Self {
            scorer,
            counters,
            watched,
            over: watch::Sender::new(false),
        })
    }

    /// Whether it is out of use for good.
    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Takes it out of use: its calls end as soon as they can.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Waits until it is out of use.
    pub(super) async fn ended(&self) {
        // An error would mean that it is gone, and this borrows it.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// True once nobody wants the answers of a call, and when they would be of no
    /// use since the version is out of use.
    fn abandoned(&self, abandoned: &Abandoned) -> Abandoned {
        let (over, abandoned) = (self.over.subscribe(), Arc::clone(abandoned));
        Arc::new(move || *over.borrow() || abandoned())
    }

    fn count_call(&self) {
        if let Some(watched) = &self.watched {
            watched.count(None);
        }
    }

    fn count_failure(&self, weight: u64, why: &str) {
        self.counters.failures.inc();
        let Some(watched) = &self.watched else {
            return;
        };
        let late = watched.count(Some(weight));
        if late.weight > u64::from(watched.allowed) && late.weight * CALLS_OF_A_FAILURE > late.calls
        {
            let in_a_line = |letter: char| if letter.is_control() { ' ' } else { letter };
            let why: String = why.chars().take(MAX_REASON).map(in_a_line).collect();
            let (failures, calls) = (late.failures, late.calls);
            let reason =
                format!("{failures} of its last {calls} calls have failed, the last one: {why}");
            (watched.tell)(self, reason);
        }
    }
}

impl Watched {
    /// Counts a call, with its weight if it failed; gives the counts with it.
    fn count(&self, failed: Option<u64>) -> Late {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if late.calls >= LATE.max((u64::from(self.allowed) + 1) * LATE_OF_ALLOWED) {
            *late = Late {
                calls: late.calls / 2,
                failures: late.failures / 2,
                weight: late.weight / 2,
            };
        }
        late.calls += 1;
        late.failures += u64::from(failed.is_some());
        late.weight += failed.unwrap_or(0);
        *late
    }
}

impl Scorer for Release {
    fn revision(&self) -> &Arc<Revision> {
        self.scorer.revision()
    }

    fn score(&self, texts: &[String], abandoned: &Abandoned) -> Result<Vec<Scores>, PredictError> {
        if self.is_over() {
            let error = PredictError::new(ErrorKind::Failed, "the prediction failed");
            return Err(error.with_detail("the version is out of use since it failed too often"));
        }
        let abandoned = self.abandoned(abandoned);
        let call = || self.scorer.score(texts, &abandoned);
        let result = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(result) => result,
            Err(panic) => {
                self.count_failure(1, "the host panicked during a call of the guest");
                resume_unwind(panic);
            }
        };
        match &result {
            Ok(scores) if scores.len() == texts.len() => {
                self.counters.texts.inc_by(scores.len() as u64);
                self.count_call();
            }
            Ok(scores) => {
                let why = format!("{} answers to {} texts", scores.len(), texts.len());
                self.count_failure(1, &why);
            }
            // It was ended, and by nothing that it did.
            Err(_) if abandoned() => {}
            Err(error) if is_failure(error) => {
                let weight = match error.kind {
                    ErrorKind::TimedOut => WEIGHT_OF_A_TIMEOUT,
                    _ => 1,
                };
                self.count_failure(weight, error.detail.as_ref().unwrap_or(&error.message));
            }
            Err(_) => self.count_call(),
        }
        result
    }
}

/// Whether an error says that the version is bad: a text that it refuses and work
/// that is not taken on do not.
pub(super) fn is_failure(error: &PredictError) -> bool {
    match error.kind {
        ErrorKind::Failed | ErrorKind::TimedOut => true,
        ErrorKind::TooManyTexts { .. }
        | ErrorKind::TextTooLong { .. }
        | ErrorKind::InvalidText { .. }
        | ErrorKind::Overloaded { .. }
        | ErrorKind::Unavailable => false,
    }
}
