//! Maps `RevisionError` to problem documents.

use crate::problem::{Kind, Problem};
use revisions::RevisionError;

impl From<RevisionError> for Problem {
    fn from(error: RevisionError) -> Self {
        let kind = match &error {
            RevisionError::Refused(refusal) => {
                return Self::guest_refused(refusal.step, error.to_string());
            }
            RevisionError::Unknown(_) => Kind::UnknownVersion,
            RevisionError::UnknownModel(_) => Kind::UnknownModel,
            RevisionError::UnknownConfiguration(_) => Kind::UnknownConfiguration,
            RevisionError::Configuration(_) => Kind::InvalidBody,
            RevisionError::ModelRefused(_) => Kind::ModelRefused,
            RevisionError::NoState
            | RevisionError::Declared(_)
            | RevisionError::AmbiguousModel(_)
            | RevisionError::Ambiguous(_)
            | RevisionError::InUse(_)
            | RevisionError::OtherName { .. }
            | RevisionError::NotLive { .. }
            | RevisionError::NothingBefore
            | RevisionError::Overtaken { .. }
            | RevisionError::Quarantined { .. }
            | RevisionError::IsLive(_)
            | RevisionError::NoTrial => Kind::Conflict,
            RevisionError::NotReady(_) => Kind::Starting,
            RevisionError::Unavailable(_) => Kind::Unavailable,
            RevisionError::Unreadable { .. } => Kind::GuestUnreadable,
            RevisionError::Ended => return Self::failed(),
        };
        Self::new(kind, error.to_string())
    }
}
