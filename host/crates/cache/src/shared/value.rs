//! The encoding of an answer in Redis.
//!
//! Nothing that is read is trusted. A value that was truncated, altered, written by another
//! release or moved to another key is not an answer.
//!
//! This module must not know how values are transported.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::key::Key;
use predictor::{Score, Scores, contract};

/// The first byte. Raise it whenever the layout changes: the number of labels (2 bytes);
/// for each its length (2 bytes), the label in UTF-8, and the score (4 bytes); at the end a
/// checksum. Numbers are little-endian.
const FORMAT: u8 = 1;

/// The length of the checksum, in bytes.
const CHECKSUM: usize = 8;

/// The longest value, in bytes: that of the largest answer that the contract allows.
pub(super) const MAX_VALUE: usize =
    3 + contract::MAX_LABELS * (2 + 4) + contract::MAX_LABELS_BYTES + CHECKSUM;

/// An answer as bytes; `None` if it does not fit the format.
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

/// The answer in the bytes that are stored under a key; `None` if they are not one, or one
/// that no guest may give.
pub(super) fn decode(key: &Key, bytes: &[u8], labels: &Labels) -> Option<Scores> {
    if bytes.len() > MAX_VALUE {
        return None;
    }
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if *sum != checksum(key, body) {
        return None;
    }
    let mut rest = body;
    let [FORMAT] = take(&mut rest)? else {
        return None;
    };
    let count = u16::from_le_bytes(take(&mut rest)?);
    let mut scores = Vec::with_capacity(usize::from(count).min(contract::MAX_LABELS));
    for _ in 0..count {
        let length = u16::from_le_bytes(take(&mut rest)?);
        let (label, after) = rest.split_at_checked(length.into())?;
        rest = after;
        let label = std::str::from_utf8(label).ok()?;
        scores.push((label, f32::from_le_bytes(take(&mut rest)?)));
    }
    if !rest.is_empty() || contract::broken(&scores).is_some() {
        return None;
    }
    let score = |(label, score)| Score {
        label: labels.shared(label),
        score,
    };
    Some(scores.into_iter().map(score).collect())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// The key is part of the checksum, so that the answer to another text is rejected.
fn checksum(key: &Key, body: &[u8]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(key.0).chain_update(body);
    let digest: [u8; 32] = hash.finalize().into();
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest[..CHECKSUM]);
    sum
}

/// Interns the labels that are read.
#[derive(Default)]
pub(super) struct Labels(Mutex<HashSet<Arc<str>>>);

/// More labels than any model has whose answers are worth caching.
const MAX_LABELS: usize = 4096;

impl Labels {
    #[cfg(any(test, fuzzing))]
    fn is_empty(&self) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.is_empty()
    }

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

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
