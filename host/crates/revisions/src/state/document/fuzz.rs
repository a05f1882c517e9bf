//! What holds for every `state.json`. For fuzzing (`host/fuzz`), and for the test that tries
//! its corpus.

use super::{Digest, KnownModels, Record};

/// Reads a document. What could be read can be written and read again.
///
/// # Panics
///
/// If something does not hold.
pub fn state(json: &[u8]) {
    let models = KnownModels {
        configured: Digest([7; 32]),
        kept: vec![Digest([8; 32])],
    };
    match Record::parse(json, &models) {
        Ok(record) => {
            let written = record.to_json().unwrap_or_default();
            assert_eq!(Record::parse(&written, &models), Ok(record));
        }
        Err(reason) => assert!(reason.len() < 8 * json.len() + 200, "{reason}"),
    }
}

#[test]
fn the_corpus_holds() {
    testing::replay("state", state);
}
