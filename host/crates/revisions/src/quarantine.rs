//! The revisions that have failed in use, and are not used again unless somebody insists.
//!
//! An entry outlives the revision: even after it is forgotten and added again, it stays
//! out of use.

use std::sync::Arc;
use std::time::SystemTime;

use super::RevisionError;
use predictor::Revision;

/// The most entries. Beyond that, the oldest is dropped.
const MOST: usize = 64;

/// The longest reason, in bytes.
const REASON: usize = 1024;

/// A revision that has failed in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The revision.
    pub revision: Arc<Revision>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
}

/// All entries, the latest at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Quarantine(Vec<Quarantined>);

impl Quarantine {
    pub(super) fn add(&mut self, mut entry: Quarantined) {
        cut(&mut entry.reason);
        self.lift(&entry.revision);
        self.0.push(entry);
        let over = self.0.len().saturating_sub(MOST);
        self.0.drain(..over);
    }

    pub(super) fn lift(&mut self, revision: &Revision) {
        self.0.retain(|entry| *entry.revision != *revision);
    }

    pub(super) fn find(&self, revision: &Revision) -> Option<&Quarantined> {
        self.0.iter().find(|entry| *entry.revision == *revision)
    }

    /// Refuses a quarantined revision.
    pub(super) fn admit(&self, revision: &Revision) -> Result<(), RevisionError> {
        match self.find(revision) {
            None => Ok(()),
            Some(entry) => Err(RevisionError::Quarantined {
                revision: revision.short(),
                reason: entry.reason.clone(),
            }),
        }
    }

    pub(super) fn list(&self) -> &[Quarantined] {
        &self.0
    }
}

/// Cuts a reason to the length that is kept.
pub(super) fn cut(reason: &mut String) {
    reason.truncate(reason.floor_char_boundary(REASON));
}

#[cfg(test)]
mod tests {
    use predictor::Digest;

    use super::*;

    fn revision(number: u8) -> Arc<Revision> {
        let guest = Digest([number; 32]);
        let model = Digest([0; 32]);
        Arc::new(Revision::new(guest, model, Revision::NO_CONFIGURATION))
    }

    fn failed(number: u8, reason: &str) -> Quarantined {
        Quarantined {
            revision: revision(number),
            reason: reason.to_owned(),
            since: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_failed_first_is_let_go_when_there_are_too_many() {
        let mut quarantine = Quarantine::default();
        for number in 0..=64 {
            quarantine.add(failed(number, "traps"));
        }
        assert_eq!(quarantine.list().len(), MOST);
        assert_eq!(quarantine.admit(&revision(0)), Ok(()));
        assert!(quarantine.admit(&revision(1)).is_err());
    }

    #[test]
    fn a_content_is_named_once_with_its_last_reason() {
        let mut quarantine = Quarantine::default();
        quarantine.add(failed(1, "traps"));
        quarantine.add(failed(2, "traps"));
        quarantine.add(failed(1, "late"));
        assert_eq!(quarantine.list().len(), 2);
        assert_eq!(quarantine.find(&revision(1)).unwrap().reason, "late");
        quarantine.lift(&revision(1));
        assert_eq!(quarantine.admit(&revision(1)), Ok(()));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut quarantine = Quarantine::default();
        quarantine.add(failed(1, &"é".repeat(REASON)));
        quarantine.add(failed(2, &format!("x{}", "é".repeat(REASON))));
        let lengths: Vec<_> = quarantine.list().iter().map(|e| e.reason.len()).collect();
        assert_eq!(lengths, [REASON, REASON - 1]);
    }
}
