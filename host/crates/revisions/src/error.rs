//! Why a change was refused.

use std::path::PathBuf;

use super::{LoadError, Refusal};

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
    /// Several revisions have a digest that begins like this.
    #[error("more than one version begins with `{0}`; give more digits")]
    Ambiguous(String),
    /// The revision is in use, and cannot be forgotten.
    #[error("the version {0} is in use")]
    InUse(String),
    /// No revision was live before the one that is.
    #[error("there is no earlier version to go back to")]
    NothingBefore,
    /// The revision was taken out of use because it failed.
    #[error("the version {guest} is quarantined: {reason}")]
    Quarantined {
        /// The revision's guest, short.
        guest: String,
        /// Why it was taken out of use.
        reason: String,
    },
    /// The revision is known from before the start, and is still being loaded.
    #[error("the version {0} is still being loaded, as it is after a start; try again")]
    NotReady(String),
    /// The revision to go back from is no longer live.
    #[error("the version {given} is not live any more: {live} is")]
    NotLive {
        /// The guest to go back from, short.
        given: String,
        /// The guest that is live, short.
        live: String,
    },
    /// While the configured guest was loaded, another revision was chosen.
    #[error(
        "the version {guest} is ready, and was not made live: while it was loaded, another \
             one was chosen; {live} is live"
    )]
    Overtaken {
        /// The configured guest, short.
        guest: String,
        /// The guest that is live, short.
        live: String,
    },
    /// The revision is live, and cannot be tried beside itself.
    #[error("the version {0} is live already")]
    IsLive(String),
    /// No revision is on trial.
    #[error("no version is on trial")]
    NoTrial,
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

impl From<LoadError> for RevisionError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Refused(refusal) => Self::Refused(refusal),
            LoadError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}
