//! What holds for any bytes that are said to be a component. For fuzzing (`host/fuzz`), and
//! for the test that tries its corpus.

use super::{Counts, LoadError, MAX_FUNCTIONS, MAX_PARTS, check_structure};

/// Counts what a component declares.
///
/// # Panics
///
/// If something does not hold.
pub fn limits(bytes: &[u8]) {
    const MEMORY: usize = 1 << 20;
    match check_structure(bytes, MEMORY) {
        Ok(()) => {
            let counts = Counts::of(bytes).unwrap_or_default();
            assert!(counts.functions <= MAX_FUNCTIONS && counts.parts <= MAX_PARTS);
            assert!(counts.memory_bytes <= MEMORY as u64);
        }
        Err(LoadError::Size(reason) | LoadError::Compile(reason)) => {
            assert!(reason.len() < bytes.len() + 1000, "{reason}");
        }
        Err(other) => unreachable!("an error of another step: {other}"),
    }
}

#[test]
fn the_corpus_holds() {
    testing::replay("limits", limits);
}
