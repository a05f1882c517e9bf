//! Reports on the revisions in use.

use std::sync::Arc;
use std::time::Duration;

use super::share::Share;
use predictor::Revision;

/// How a revision becomes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whatever becomes of its calls, it stays live.
    Trusted,
    /// If it fails too often, the revision that was trusted last takes its place.
    OnProbation,
}

/// How a revision is tried beside the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialKind {
    /// It answers its share of the texts.
    Canary,
    /// It scores copies of its share of the texts while the machine is otherwise idle. Its
    /// answers are compared with those of the live revision, and dropped.
    Shadow,
}

impl TrialKind {
    /// `canary` or `shadow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

/// The revisions in use.
#[derive(Clone, Debug)]
pub struct Status {
    /// The revision that answers.
    pub live: Arc<Revision>,
    /// Set while the live revision is on probation.
    pub probation: Option<Probation>,
    /// The current trial.
    pub trial: Option<TrialStatus>,
}

/// The live revision is not trusted yet.
#[derive(Clone, Debug)]
pub struct Probation {
    /// How much longer.
    pub left: Duration,
    /// The revision that takes its place if it fails too often.
    pub fallback: Arc<Revision>,
}

/// A trial.
#[derive(Clone, Debug)]
pub struct TrialStatus {
    /// The revision on trial.
    pub revision: Arc<Revision>,
    /// What is done with its answers.
    pub kind: TrialKind,
    /// The share of the texts that it is given.
    pub share: Share,
    /// How its answers compare, since the trial began; for a shadow only.
    pub comparison: Option<Comparison>,
}

/// How the answers of a shadow compare with those of the live revision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The number of texts that both have answered.
    pub texts: u64,
    /// For how many of them both put the same label first.
    pub agreed: u64,
    /// The mean, over texts, of the largest difference between the scores of a label. A
    /// label that only one of the two has scores 0 in the other.
    pub mean_difference: f64,
    /// The largest of these differences.
    pub largest_difference: f64,
    /// Texts that the shadow failed on.
    pub failed: u64,
    /// Texts that were left out because there was live work to do.
    pub skipped: u64,
}

/// What a revision has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Texts that it has scored.
    pub texts: u64,
    /// Calls that failed, by a trap, a time-out or a bad answer.
    pub failures: u64,
}

/// A revision was taken out of use because it failed too often.
#[derive(Clone, Debug)]
pub struct Demotion {
    /// The revision.
    pub revision: Arc<Revision>,
    /// The revision that is live now. If it was live before, the demoted one was on trial.
    pub live: Arc<Revision>,
    /// What went wrong: a sentence for the operator.
    pub reason: String,
}
