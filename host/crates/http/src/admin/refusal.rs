//! Maps `VersionsError` to problem documents.

use crate::problem::{Kind, Problem};
use revisions::VersionsError;

impl From<VersionsError> for Problem {
    fn from(error: VersionsError) -> Self {
        let kind = match &error {
            VersionsError::Refused(refusal) => {
                return Self::guest_refused(refusal.step, error.to_string());
            }
            VersionsError::Unknown(_) => Kind::UnknownVersion,
            VersionsError::Ambiguous(_)
            | VersionsError::InUse(_)
            | VersionsError::NotLive { .. }
            | VersionsError::NothingBefore
            | VersionsError::Overtaken { .. }
            | VersionsError::Quarantined { .. }
            | VersionsError::IsLive(_)
            | VersionsError::NoTrial => Kind::Conflict,
            VersionsError::NotReady(_) => Kind::Starting,
            VersionsError::Unavailable(_) => Kind::Unavailable,
            VersionsError::Unreadable { .. } => Kind::GuestUnreadable,
            VersionsError::Ended => return Self::failed(),
        };
        Self::new(kind, error.to_string())
    }
}
