//! Which versions a start tries, and in which order.

use super::state::Record;
use predictor::Digest;

/// In which order versions are tried.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Those that come before the configured guest.
    pub(super) before: Vec<Digest>,
    /// Those that come after it.
    pub(super) after: Vec<Digest>,
}

impl Order {
    pub(super) fn of(record: &Record, configured: Option<Digest>) -> Self {
        let fit = |guest: &Digest| record.quarantined(guest).is_none();
        let mut kept: Vec<Digest> = Vec::new();
        for guest in record.history.iter().rev() {
            if fit(guest) && Some(*guest) != configured && !kept.contains(guest) {
                kept.push(*guest);
            }
        }
        let was_live = record.history.last().copied();
        let first = match configured {
            // Nothing has been deployed since, and another one was chosen.
            Some(guest) if fit(&guest) => {
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

    const A: Digest = Digest([1; 32]);
    const B: Digest = Digest([2; 32]);
    const C: Digest = Digest([3; 32]);

    fn order(
        (configured, history, quarantine): (Option<Digest>, &[Digest], &[Digest]),
        found: Option<Digest>,
    ) -> (Vec<Digest>, Vec<Digest>) {
        let quarantined = |guest: &Digest| Quarantined {
            guest: *guest,
            reason: String::new(),
            since: now(),
        };
        let record = Record {
            configured: configured.map(|guest| Configured {
                guest,
                refused: None,
            }),
            history: history.to_vec(),
            quarantine: quarantine.iter().map(quarantined).collect(),
            ..Record::default()
        };
        let order = Order::of(&record, found);
        (order.before, order.after)
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
        // What is quarantined is not gone back to either.
        assert_eq!(order((Some(A), &[A, B], &[A]), Some(A)), (vec![B], vec![]));
        assert_eq!(order((Some(A), &[A, B], &[B]), None), (vec![A], vec![]));
    }
}
