//! What holds for all values that Redis may return. For fuzzing (`host/fuzz`), and for the
//! test that tries its corpus.

use super::{Key, Labels, checksum, contract, decode, encode};
use predictor::Digest;

const KEY: Key = Digest([7; 32]);

/// Decodes a value with this body. Its checksum is right, so that it gets into the parser.
///
/// # Panics
///
/// If something does not hold.
pub fn value(body: &[u8]) {
    let mut bytes = body.to_vec();
    bytes.extend(checksum(&KEY, body));
    let labels = Labels::default();
    let Some(scores) = decode(&KEY, &bytes, &labels) else {
        assert!(labels.is_empty(), "labels of no answer are kept");
        return;
    };
    let pairs: Vec<_> = scores
        .iter()
        .map(|score| (&*score.label, score.score))
        .collect();
    assert_eq!(contract::broken(&pairs), None);
    assert_eq!(encode(&KEY, &scores), Some(bytes));
}

#[test]
fn the_corpus_holds() {
    testing::replay("value", value);
}
