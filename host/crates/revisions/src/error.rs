//! What can be wrong with a wish to change versions.

use std::path::PathBuf;

use super::{LoadError, Refusal};

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// The component can not be served.
    #[error("the candidate was refused at the step `{}`: {}", .0.step, .0.reason)]
    Refused(#[from] Refusal),
    /// The host could not load the component, for a reason that passes.
    #[error("the candidate could not be loaded, which says nothing about it; try again: {0}")]
    Unavailable(String),
    /// No version has a digest that begins so.
    #[error("there is no version `{0}`")]
    Unknown(String),
    /// More than one version has a digest that begins so.
    #[error("more than one version begins with `{0}`; give more digits")]
    Ambiguous(String),
    /// The version can not be forgotten while texts are sent to it.
    #[error("the version {0} is in use")]
    InUse(String),
    /// No version was live before the one that is.
    #[error("there is no earlier version to go back to")]
    NothingBefore,
    /// The version was taken out of use because it failed.
    #[error("the version {guest} is quarantined: {reason}")]
    Quarantined {
        /// The version's guest, short.
        guest: String,
        /// Why it was taken out of use.
        reason: String,
    },
    /// The version is kept from before the start, and is still being loaded.
    #[error("the version {0} is still being loaded, as it is after a start; try again")]
    NotReady(String),
    /// The version that was to be left is not live any more.
    #[error("the version {given} is not live any more: {live} is")]
    NotLive {
        /// The version that was to be left, short.
        given: String,
        /// The version that is live, short.
        live: String,
    },
    /// While the configured guest was loaded, something else was decided.
    #[error(
        "the version {guest} is ready, and was not made live: while it was loaded, another \
             one was chosen; {live} is live"
    )]
    Overtaken {
        /// The version of the configured guest, short.
        guest: String,
        /// The version that is live, short.
        live: String,
    },
    /// The live version can not be tried beside itself.
    #[error("the version {0} is live already")]
    IsLive(String),
    /// No version is on trial.
    #[error("no version is on trial")]
    NoTrial,
    /// The configured guest's file can not be read.
    #[error("{path} can not be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The load ended without a result, as it does when the host stops or fails.
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
