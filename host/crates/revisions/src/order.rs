//! The order in which a start tries revisions.

use std::sync::Arc;

use super::state::Record;
use predictor::Revision;

/// The revisions to try, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Before the configured guest.
    pub(super) before: Vec<Arc<Revision>>,
    /// After it.
    pub(super) after: Vec<Arc<Revision>>,
}

impl Order {
    pub(super) fn of(record: &Record, configured: Option<&Arc<Revision>>) -> Self {
        let fit = |revision: &Revision| record.quarantined(revision).is_none();
        let mut kept: Vec<Arc<Revision>> = Vec::new();
        for revision in record.history.iter().rev() {
            if fit(revision) && Some(revision) != configured && !kept.contains(revision) {
                kept.push(Arc::clone(revision));
            }
        }
        let was_live = record.history.last();
        let first = match configured {
            // Nothing has been deployed since another revision was chosen.
            Some(revision) if fit(revision) => {
                let as_it_was = record.file() == configured && was_live != configured;
                usize::from(as_it_was && !kept.is_empty())
            }
            Some(_) | None => kept.len(),
        };
        let after = kept.split_off(first);
        Self {
            before: kept,
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Configured;
    use super::super::{Quarantined, now};
    use super::*;
    use predictor::Digest;

    const A: u8 = 1;
    const B: u8 = 2;
    const C: u8 = 3;

    fn revision(guest: u8) -> Arc<Revision> {
        let (guest, model) = (Digest([guest; 32]), Digest([0; 32]));
        Arc::new(Revision::new(guest, model, Revision::NO_CONFIGURATION))
    }

    fn guests(revisions: &[Arc<Revision>]) -> Vec<u8> {
        let guest = |revision: &Arc<Revision>| revision.guest().0[0];
        revisions.iter().map(guest).collect()
    }

    fn order(
        (configured, history, quarantine): (Option<u8>, &[u8], &[u8]),
        found: Option<u8>,
    ) -> (Vec<u8>, Vec<u8>) {
        let quarantined = |guest: &u8| Quarantined {
            revision: revision(*guest),
            reason: String::new(),
            since: now(),
        };
        let record = Record {
            configured: configured.map(|guest| Configured {
                revision: revision(guest),
                refused: None,
            }),
            history: history.iter().map(|guest| revision(*guest)).collect(),
            quarantine: quarantine.iter().map(quarantined).collect(),
            ..Record::default()
        };
        let order = Order::of(&record, found.map(revision).as_ref());
        (guests(&order.before), guests(&order.after))
    }

    #[test]
    fn a_file_as_it_was_leaves_what_was_live() {
        // B was chosen while A was configured.
        let kept: (_, &[_], &[_]) = (Some(A), &[A, B], &[]);
        assert_eq!(order(kept, Some(A)), (vec![B], vec![]));
        assert_eq!(
            order((Some(A), &[A, C, B], &[]), Some(A)),
            (vec![B], vec![C])
        );
        // A was live itself.
        assert_eq!(order((Some(A), &[B, A], &[]), Some(A)), (vec![], vec![B]));
    }

    #[test]
    fn a_file_that_has_changed_comes_first() {
        assert_eq!(
            order((Some(A), &[A, B], &[]), Some(C)),
            (vec![], vec![B, A])
        );
        assert_eq!(order((None, &[], &[]), Some(C)), (vec![], vec![]));
    }

    #[test]
    fn a_file_that_is_quarantined_or_gone_comes_last() {
        let quarantined: (_, &[_], &[_]) = (Some(A), &[A, B], &[C]);
        assert_eq!(order(quarantined, Some(C)), (vec![B, A], vec![]));
        assert_eq!(order((Some(A), &[A, B], &[]), None), (vec![B, A], vec![]));
        // A quarantined revision is not gone back to either.
        assert_eq!(order((Some(A), &[A, B], &[A]), Some(A)), (vec![B], vec![]));
        assert_eq!(order((Some(A), &[A, B], &[B]), None), (vec![A], vec![]));
    }
}
