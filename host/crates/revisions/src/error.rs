//! Why a change was refused.

use std::path::PathBuf;

use super::{LoadError, Refusal};
use predictor::{ConfigurationError, RevisionName};

/// Why a change was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// The component cannot be served.
    #[error("the candidate was refused at the step `{}`: {}", .0.step, .0.reason)]
    Refused(#[from] Refusal),
    /// The host could not load the component, for a passing reason.
    #[error("the candidate could not be loaded, which says nothing about it; try again: {0}")]
    Unavailable(String),
    /// No revision has a digest that begins like this.
    #[error("there is no version `{0}`")]
    Unknown(String),
    /// Several revisions have a digest that begins like this, or the same guest.
    #[error(
        "more than one version begins with `{0}`, or has that guest; give more digits, or name \
         the revision"
    )]
    Ambiguous(String),
    /// The revision is here under another name, or under none.
    #[error(
        "the version {revision} is here already, {}, and is not renamed: remove it, and add it \
         again",
        .name.as_ref().map_or("without a name".to_owned(), |name| format!("called {name}"))
    )]
    OtherName {
        /// The revision, short.
        revision: String,
        /// Its name.
        name: Option<RevisionName>,
    },
    /// The revision is in use, and cannot be forgotten.
    #[error("the version {0} is in use")]
    InUse(String),
    /// No revision was live before the one that is.
    #[error("there is no earlier version to go back to")]
    NothingBefore,
    /// The revision was taken out of use because it failed.
    #[error("the version {revision} is quarantined: {reason}")]
    Quarantined {
        /// The revision, short.
        revision: String,
        /// Why it was taken out of use.
        reason: String,
    },
    /// The revision is known from before the start, and is still being loaded.
    #[error("the version {0} is still being loaded, as it is after a start; try again")]
    NotReady(String),
    /// The revision to go back from is no longer live.
    #[error("the version {given} is not live any more: {live} is")]
    NotLive {
        /// The revision to go back from, short.
        given: String,
        /// The one that is live, short.
        live: String,
    },
    /// While the configured guest was loaded, another revision was chosen.
    #[error(
        "the version {revision} is ready, and was not made live: while it was loaded, another \
             one was chosen; {live} is live"
    )]
    Overtaken {
        /// The configured revision, short.
        revision: String,
        /// The one that is live, short.
        live: String,
    },
    /// The revision is live, and cannot be tried beside itself.
    #[error("the version {0} is live already")]
    IsLive(String),
    /// No revision is on trial.
    #[error("no version is on trial")]
    NoTrial,
    /// No model has a digest that begins like this.
    #[error("there is no model `{0}`: upload it first")]
    UnknownModel(String),
    /// Several models have a digest that begins like this.
    #[error("more than one model begins with `{0}`; give more digits")]
    AmbiguousModel(String),
    /// Not one configuration has a digest that begins like this.
    #[error("there is no configuration `{0}`, or more than one that begins so: send it first")]
    UnknownConfiguration(String),
    /// What was received is no configuration.
    #[error(transparent)]
    Configuration(ConfigurationError),
    /// What was uploaded is not a model.
    #[error("the model was refused: {0}")]
    ModelRefused(String),
    /// The server has no place to keep an uploaded model.
    #[error(
        "the server keeps no state, so that it has no place for a model: start it with \
         `--state DIR`, or put the model into the directory of `--model`"
    )]
    NoState,
    /// A rollout file is in charge.
    #[error(
        "the rollout file {} decides what is used: change it, or override it until it changes \
         (`--override`, or `?override=true`)",
        .0.display()
    )]
    Declared(PathBuf),
    /// The configured guest's file cannot be read.
    #[error("{path} can not be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// The load ended without a result, because the host stops or panicked.
    #[error("the load was ended for a reason that is in the server's log")]
    Ended,
}

impl RevisionError {
    /// Whether the same may succeed later, though nothing is changed here.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            // It may be pushed, signed or repaired where it comes from.
            Self::Refused(refusal) => ["fetch", "verify"].contains(&refusal.step),
            Self::Unavailable(_) | Self::Unreadable { .. } | Self::NotReady(_) | Self::Ended => {
                true
            }
            _ => false,
        }
    }
}

impl From<LoadError> for RevisionError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Refused(refusal) => Self::Refused(refusal),
            LoadError::Unavailable(reason) | LoadError::NoRoom(reason) => Self::Unavailable(reason),
        }
    }
}
