//! How an answer is written where several processes share it.
//!
//! Nothing that is read is trusted: a value that was cut short, altered, made
//! by another release or put under another key is not an answer.
//!
//! This module must not know how values travel.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::key::Key;
use predictor::{Score, Scores, contract};

/// Raised whenever the layout changes: a number of labels, in two bytes, and
/// of each the length in two bytes, the label in UTF-8, and the score in four;
/// at the end a checksum. Numbers are in little-endian order.
const FORMAT: u8 = 1;

/// How many bytes of the digest are the checksum.
const CHECKSUM: usize = 8;

/// An answer as bytes; none if it is too large to be worth it.
pub(super) fn encode(key: &Key, scores: &Scores) -> Option<Vec<u8>> {
    let mut bytes = vec![FORMAT];
    bytes.extend(u16::try_from(scores.len()).ok()?.to_le_bytes());
    for Score { label, score } in scores.iter() {
        bytes.extend(u16::try_from(label.len()).ok()?.to_le_bytes());
        bytes.extend(label.as_bytes());
        bytes.extend(score.to_le_bytes());
    }
    bytes.extend(checksum(key, &bytes));
    Some(bytes)
}

/// The answer in bytes that were found under a key; none if it is not one.
pub(super) fn decode(key: &Key, bytes: &[u8], labels: &Labels) -> Option<Scores> {
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if *sum != checksum(key, body) {
        return None;
    }
    let mut rest = body;
    let [FORMAT] = take(&mut rest)? else {
        return None;
    };
    let count = u16::from_le_bytes(take(&mut rest)?);
    let mut scores = Vec::with_capacity(count.into());
    for _ in 0..count {
        let length = u16::from_le_bytes(take(&mut rest)?);
        let (label, after) = rest.split_at_checked(length.into())?;
        rest = after;
        scores.push(Score {
            label: labels.shared(std::str::from_utf8(label).ok()?),
            score: f32::from_le_bytes(take(&mut rest)?),
        });
    }
    let pairs: Vec<_> = scores
        .iter()
        .map(|score| (&*score.label, score.score))
        .collect();
    let valid = rest.is_empty() && contract::broken(&pairs).is_none();
    valid.then(|| scores.into())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// The key is part of it, so that an answer to another text is none.
fn checksum(key: &Key, body: &[u8]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(key.0).chain_update(body);
    let digest: [u8; 32] = hash.finalize().into();
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest[..CHECKSUM]);
    sum
}

/// The labels that have been read, each kept in memory once.
#[derive(Default)]
pub(super) struct Labels(Mutex<HashSet<Arc<str>>>);

/// More labels than any model has whose answers can be worth keeping.
const MAX_LABELS: usize = 4096;

impl Labels {
    fn shared(&self, label: &str) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = known.get(label) {
            return Arc::clone(label);
        }
        if known.len() >= MAX_LABELS {
            known.clear();
        }
        let label = Arc::<str>::from(label);
        known.insert(Arc::clone(&label));
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::Digest;

    const KEY: Key = Digest([7; 32]);

    fn scores(scores: &[(&str, f32)]) -> Scores {
        let score = |(label, score): &(&str, f32)| Score {
            label: (*label).into(),
            score: *score,
        };
        scores.iter().map(score).collect()
    }

    fn decoded(bytes: &[u8]) -> Option<Scores> {
        decode(&KEY, bytes, &Labels::default())
    }

    #[test]
    fn what_was_written_is_read() {
        for written in [
            scores(&[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
            scores(&[("é", 1.0), ("b", 0.0), ("c", 0.0)]),
            scores(&[("only", f32::MIN_POSITIVE)]),
        ] {
            let bytes = encode(&KEY, &written).unwrap();
            assert_eq!(decoded(&bytes), Some(written));
        }
    }

    #[test]
    fn the_layout_is_that_of_its_format() {
        let bytes = encode(&KEY, &scores(&[("AB", 0.5)])).unwrap();
        let (body, sum) = bytes.split_at(bytes.len() - CHECKSUM);
        assert_eq!(body, [1, 1, 0, 2, 0, b'A', b'B', 0, 0, 0, 0x3f]);
        assert_eq!(sum.len(), 8);
    }

    #[test]
    fn labels_are_kept_once() {
        let labels = Labels::default();
        let bytes = encode(&KEY, &scores(&[("A", 0.5), ("B", 0.5)])).unwrap();
        let (one, two) = (decode(&KEY, &bytes, &labels), decode(&KEY, &bytes, &labels));
        assert!(Arc::ptr_eq(&one.unwrap()[0].label, &two.unwrap()[0].label));
        for number in 0..2 * MAX_LABELS {
            assert_eq!(*labels.shared(&number.to_string()), number.to_string());
        }
        assert!(labels.0.lock().unwrap().len() <= MAX_LABELS);
    }

    #[test]
    fn whatever_is_cut_or_altered_is_no_answer() {
        let bytes = encode(&KEY, &scores(&[("POSITIVE", 0.75), ("NEGATIVE", 0.25)])).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(decoded(&bytes[..length]), None, "{length}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                assert_eq!(decoded(&altered), None, "{at} {bit}");
            }
        }
        assert_eq!(decoded(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(decoded(b"a value of another application"), None);
        let other = Digest([8; 32]);
        assert_eq!(decode(&other, &bytes, &Labels::default()), None);
    }

    #[test]
    fn answers_that_break_the_contract_are_none_whoever_wrote_them() {
        for broken in [
            &[][..],
            &[("", 0.5)],
            &[("a", f32::NAN)],
            &[("a", 1.5)],
            &[("a", -0.1)],
            &[("a", 0.25), ("b", 0.75)],
        ] {
            let bytes = encode(&KEY, &scores(broken)).unwrap();
            assert_eq!(decoded(&bytes), None, "{broken:?}");
        }
        // Of another format, with a sum that is right.
        let mut body = vec![FORMAT + 1, 1, 0, 1, 0, b'a', 0, 0, 0, 0];
        body.extend(checksum(&KEY, &body));
        assert_eq!(decoded(&body), None);
    }
}
