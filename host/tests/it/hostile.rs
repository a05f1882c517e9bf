//! Guests for tests, assembled from the WebAssembly text of the sandbox crate: they
//! compile in an instant, and do what no compiler would generate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use predictor::Scores;
use sandbox::{Graphs, Guest, Limits, LoadError, ModelFiles, Runtime, load};

use crate::harness::{GENEROUS, fixture, runtime};

const EXPORT: &str = include_str!("../../crates/sandbox/tests/guests/export.wat");
const HOSTILE: &str = include_str!("../../crates/sandbox/tests/guests/hostile.wat");
const EXPLORER: &str = include_str!("../../crates/sandbox/tests/guests/explorer.wat");
const PREPARE: &str = r#"
    (func $prepare (canon lift (core func $code "prepare")))
    (export "prepare" (func $prepare))
"#;

/// The text of a guest that obeys orders; see `hostile.wat`.
pub(crate) fn hostile() -> String {
    format!("{HOSTILE}{EXPORT}")
}

/// The same with a `prepare`, which does `body` before it counts to 40.
pub(crate) fn prepared(body: &str) -> String {
    hostile().replace("(;prepare;)", body) + PREPARE
}

/// The text of a guest that explores its environment; see `explorer.wat`.
pub(crate) fn explorer() -> String {
    format!("{EXPLORER}{EXPORT}")
}

/// Assembles a component.
pub(crate) fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

/// Limits that a guest exceeds within seconds.
pub(crate) const TIGHT: Limits = Limits {
    memory: 16 << 20,
    call: Duration::from_secs(2),
    prepare: Duration::from_secs(5),
    instances: 4,
};

/// A runtime with tight limits and no model.
pub(crate) fn tight() -> Arc<Runtime> {
    runtime(TIGHT, Graphs::default())
}

/// A runtime with generous limits and no model.
pub(crate) fn roomy() -> Arc<Runtime> {
    runtime(GENEROUS, Graphs::default())
}

/// A model directory without golden answers: these guests would take their texts for
/// orders.
pub(crate) fn no_golden() -> PathBuf {
    fixture("tiny-int8")
}

/// The files of any model, for guests that read none.
pub(crate) fn some_files() -> ModelFiles {
    files(&no_golden())
}

/// The files of a model directory.
pub(crate) fn files(dir: &Path) -> ModelFiles {
    ModelFiles::read(dir).unwrap()
}

/// Loads a guest, without an artefact store.
pub(crate) fn load_text(runtime: &Arc<Runtime>, text: &str) -> Result<Guest, LoadError> {
    load(runtime, None, &component(text), &some_files())
}

/// The number in the only answer of one of these guests.
pub(crate) fn hundredths(answer: &[Scores]) -> u32 {
    assert_eq!((answer.len(), answer[0].len()), (1, 1));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a hundredth of a small number"
    )]
    let number = (answer[0][0].score * 100.0).round() as u32;
    number
}
