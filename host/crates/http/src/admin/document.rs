//! The documents of the versions API: how it writes them, and how its clients
//! read them.
//!
//! Digests are given in full, in 64 hexadecimal digits, and `short`, in 12; times
//! are those of RFC 3339, in UTC.
//!
//! This module must not know HTTP.

mod configurations;
mod models;
mod origin;
mod status;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use configurations::{Changes, ReceivedConfiguration, Shown, shown};
pub use models::{ModelEntry, ModelListing, UploadedModel};
pub use origin::Origin;
use predictor::Revision;
use revisions::KnownRevision;
use rollout::Share;
pub use status::{Condition, Declared, Role, Rollout, Status, Step, StepError};

/// What a version's answers are known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Name {
    /// SHA-256 that names the revision: over its guest, its model and its configuration.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub revision: String,
    /// The beginning of `revision`, by which a version can be named as well.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    pub revision_short: String,
    /// SHA-256 of the guest component.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub guest: String,
    /// The beginning of `guest`, by which a version can be named as well if no other one has
    /// that guest.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    pub short: String,
    /// SHA-256 over the model directory's files.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub model: String,
    /// The beginning of `model`.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    pub model_short: String,
    /// SHA-256 over the configuration; that of no bytes if there is none.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub configuration: String,
    /// What people call it, if it has a name.
    #[serde(default)]
    #[schema(required = true, pattern = "^[!-~]{1,100}$")]
    pub name: Option<String>,
}

/// All versions: `GET /versions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// The version that answers.
    pub live: Name,
    /// Set while the live version is on probation.
    #[schema(required = true)]
    pub probation: Option<Probation>,
    /// The trial that goes on, if one does.
    #[schema(required = true)]
    pub trial: Option<Trial>,
    /// Why the configured guest is not served, if that is because it cannot be.
    #[schema(required = true)]
    pub configured_fault: Option<String>,
    /// Those that were added last first.
    pub versions: Vec<Entry>,
}

/// One version: `GET /versions/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Which version it is.
    #[serde(flatten)]
    pub name: Name,
    /// What it is used for.
    pub standing: Standing,
    /// The share of the texts on which it is on trial.
    #[schema(required = true)]
    pub share: Option<f64>,
    /// Set if it was taken out of use because it failed.
    #[schema(required = true)]
    pub quarantine: Option<Quarantine>,
    /// How its answers compare with the live version's, if it is in its shadow.
    #[schema(required = true)]
    pub comparison: Option<Comparison>,
    /// Where its guest came from.
    pub origin: Origin,
    /// Where its model came from.
    pub model_origin: Origin,
    /// What its guest reads, by key; `null` for a value that is secret by the name of its key.
    #[serde(default)]
    pub settings: Shown,
    /// The size of its component.
    pub size_bytes: usize,
    /// When it was added.
    #[schema(format = DateTime)]
    pub added: String,
    /// When it was last made live, if it ever was.
    #[schema(format = DateTime, required = true)]
    pub activated: Option<String>,
    /// Texts that it has scored.
    pub texts: u64,
    /// Its calls that have failed, by a trap, a time-out or a bad answer.
    pub failures: u64,
}

/// What a version is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It answers.
    Live,
    /// It answers its share of the texts.
    Canary,
    /// It is given copies of its share of the texts, and its answers are dropped.
    Shadow,
    /// It is ready, and not used.
    Ready,
    /// It has failed, and is not made live again unless that is insisted on.
    Quarantined,
}

/// Why a version was taken out of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quarantine {
    /// A sentence for the operator.
    pub reason: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
}

/// The live version is not trusted yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Probation {
    /// How much longer, in seconds.
    pub left_s: f64,
    /// What takes its place if it fails too often.
    pub fallback: Name,
}

/// A version that is tried beside the live one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trial {
    /// Which version it is.
    #[serde(flatten)]
    pub name: Name,
    /// `canary` or `shadow`.
    pub standing: Standing,
    /// The share of the texts that it is given.
    pub share: f64,
    /// How its answers compare with the live version's, if it is in its shadow.
    #[schema(required = true)]
    pub comparison: Option<Comparison>,
}

/// How the answers of a version in the shadow compare with the live version's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// How many texts both have answered.
    pub texts: u64,
    /// For how many of them both have the same label first.
    pub agreed: u64,
    /// `agreed` / `texts`, once there is a text.
    #[schema(required = true)]
    pub agreement: Option<f64>,
    /// The mean, over texts, of the largest difference between the scores of a
    /// label.
    pub mean_difference: f64,
    /// The largest of these differences.
    pub largest_difference: f64,
    /// Texts that the version failed on.
    pub failed: u64,
    /// Texts that were not tried, since there was live work to do.
    pub skipped: u64,
}

/// What became of the live version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The version that is live now.
    pub live: Name,
    /// The one that was live before.
    pub before: Name,
    /// Whether these are two.
    pub changed: bool,
}

/// A version that was added: `POST /versions` and `POST /reload`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    /// Which version it is.
    pub version: Name,
    /// Whether it was known, and ready, before.
    pub known: bool,
    /// Whether it had to be compiled.
    pub compiled: bool,
    /// How long it took until it was ready, in milliseconds.
    pub took_ms: u64,
    /// What became of the live version, if the new one was to be made live.
    #[schema(required = true)]
    pub change: Option<Change>,
    /// The trial that has begun, if one was to.
    #[schema(required = true)]
    pub trial: Option<Trial>,
}

/// A version that a change was about: `DELETE /trial` and `DELETE /versions/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    /// The version whose trial has ended, or that was forgotten.
    pub version: Name,
}

impl From<&Revision> for Name {
    fn from(revision: &Revision) -> Self {
        Self {
            revision: revision.digest().to_string(),
            revision_short: revision.short(),
            guest: revision.guest().to_string(),
            short: revision.guest().short(),
            model: revision.model().to_string(),
            model_short: revision.model().short(),
            configuration: revision.configuration().digest().to_string(),
            name: revision.name().map(ToString::to_string),
        }
    }
}

impl Listing {
    /// Of what is in use, and what there is.
    pub(super) fn new(
        status: &rollout::Status,
        versions: &[KnownRevision],
        configured_fault: Option<String>,
    ) -> Self {
        let probation = |probation: &rollout::Probation| Probation {
            left_s: probation.left.as_secs_f64(),
            fallback: Name::from(&*probation.fallback),
        };
        Self {
            live: Name::from(&*status.live),
            probation: status.probation.as_ref().map(probation),
            trial: status.trial.as_ref().map(Trial::from),
            configured_fault,
            versions: versions
                .iter()
                .map(|known| Entry::new(status, known))
                .collect(),
        }
    }
}

impl Entry {
    /// Of a version, and what is in use.
    pub(super) fn new(status: &rollout::Status, known: &KnownRevision) -> Self {
        let (standing, share, quarantine) = match &known.standing {
            revisions::Standing::Live => (Standing::Live, None, None),
            revisions::Standing::OnTrial(trial, share) => {
                (Standing::from(*trial), Some(share.get()), None)
            }
            revisions::Standing::Ready => (Standing::Ready, None, None),
            revisions::Standing::Quarantined { reason, since } => {
                let quarantine = Quarantine {
                    reason: reason.clone(),
                    since: time(*since),
                };
                (Standing::Quarantined, None, Some(quarantine))
            }
        };
        let trial = status.trial.as_ref();
        let comparison = trial.filter(|trial| trial.revision == known.revision);
        Self {
            name: Name::from(&*known.revision),
            standing,
            share,
            quarantine,
            comparison: comparison
                .and_then(|trial| trial.comparison)
                .map(Comparison::from),
            origin: Origin::from(&known.origin),
            model_origin: Origin::from(&known.model_origin),
            settings: shown(known.revision.configuration()),
            size_bytes: known.size,
            added: time(known.added),
            activated: known.activated.map(time),
            texts: known.tally.texts,
            failures: known.tally.failures,
        }
    }
}

impl From<rollout::TrialKind> for Standing {
    fn from(trial: rollout::TrialKind) -> Self {
        match trial {
            rollout::TrialKind::Canary => Self::Canary,
            rollout::TrialKind::Shadow => Self::Shadow,
        }
    }
}

impl Trial {
    /// A trial that has just begun.
    pub(super) fn new(revision: &Revision, trial: rollout::TrialKind, share: Share) -> Self {
        Self {
            name: Name::from(revision),
            standing: Standing::from(trial),
            share: share.get(),
            comparison: None,
        }
    }
}

impl From<&rollout::TrialStatus> for Trial {
    fn from(trial: &rollout::TrialStatus) -> Self {
        Self {
            comparison: trial.comparison.map(Comparison::from),
            ..Self::new(&trial.revision, trial.kind, trial.share)
        }
    }
}

impl From<rollout::Comparison> for Comparison {
    fn from(comparison: rollout::Comparison) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "the digits of a percentage")]
        let agreement = comparison.agreed as f64 / comparison.texts as f64;
        Self {
            texts: comparison.texts,
            agreed: comparison.agreed,
            agreement: (comparison.texts > 0).then_some(agreement),
            mean_difference: comparison.mean_difference,
            largest_difference: comparison.largest_difference,
            failed: comparison.failed,
            skipped: comparison.skipped,
        }
    }
}

impl From<&revisions::Change> for Change {
    fn from(change: &revisions::Change) -> Self {
        Self {
            live: Name::from(&*change.live),
            before: Name::from(&*change.before),
            changed: change.live != change.before,
        }
    }
}

impl From<&revisions::Added> for Added {
    /// Of one with which nothing was done.
    fn from(added: &revisions::Added) -> Self {
        Self {
            version: Name::from(&*added.revision),
            known: added.known,
            compiled: added.compiled,
            took_ms: u64::try_from(added.took.as_millis()).unwrap_or(u64::MAX),
            change: None,
            trial: None,
        }
    }
}

/// A time in RFC 3339. One that a clock far from right has given is brought into
/// the years that this has, 1970 to 9999.
fn time(time: SystemTime) -> String {
    const END: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since.min(END)).to_string()
}
