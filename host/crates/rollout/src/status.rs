//! What is told of the versions in use.

use std::sync::Arc;
use std::time::Duration;

use super::share::Share;
use predictor::Revision;

/// How a version is tried beside the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It answers its share of the texts.
    Canary,
    /// It is given copies of its share of the texts when there is nothing else to
    /// do. Its answers are compared with those of the live version, and dropped.
    Shadow,
}

/// What is in use.
#[derive(Clone, Debug)]
pub struct Status {
    /// The version that answers.
    pub live: Arc<Revision>,
    /// Set while the live version is on probation.
    pub probation: Option<Probation>,
    /// The trial that goes on, if one does.
    pub trial: Option<TrialStatus>,
}

/// The live version is not trusted yet.
#[derive(Clone, Debug)]
pub struct Probation {
    /// How much longer.
    pub left: Duration,
    /// What takes its place if it fails too often.
    pub fallback: Arc<Revision>,
}

/// A trial.
#[derive(Clone, Debug)]
pub struct TrialStatus {
    /// The version on trial.
    pub revision: Arc<Revision>,
    /// What is done with its answers.
    pub trial: Trial,
    /// The share of the texts that it is given.
    pub share: Share,
    /// How its answers compare, since the trial began; for a shadow only.
    pub comparison: Option<Comparison>,
}

/// How the answers of a version in the shadow compare with the live version's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// How many texts both have answered.
    pub texts: u64,
    /// For how many of them both have the same label first.
    pub agreed: u64,
    /// The mean, over texts, of the largest difference between the scores of a
    /// label. A label that only one of the two knows has a score of 0 in the other.
    pub mean_difference: f64,
    /// The largest of these differences.
    pub largest_difference: f64,
    /// Texts that the version failed on.
    pub failed: u64,
    /// Texts that were not tried, since there was live work to do.
    pub skipped: u64,
}

/// What a version has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Texts that it has scored.
    pub texts: u64,
    /// Its calls that have failed, by a trap, a time-out or a bad answer.
    pub failures: u64,
}

/// A version was taken out of use, since it failed too often.
#[derive(Clone, Debug)]
pub struct Fall {
    /// The version.
    pub revision: Arc<Revision>,
    /// What is live now. The version was on trial if this was live before.
    pub live: Arc<Revision>,
    /// What was wrong, in a sentence for the operator.
    pub reason: String,
}
