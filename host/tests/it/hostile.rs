//! Loads the guests that are assembled from WebAssembly text.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use predictor::Configuration;
use sandbox::{Graphs, Guest, Limits, LoadError, ModelFiles, Runtime, load};

use crate::harness::{GENEROUS, fixture, runtime};

#[path = "../../crates/sandbox/tests/guests/mod.rs"]
mod guests;

pub(crate) use guests::{component, explorer, hostile, hundredths, prepared};

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
    ModelFiles::read(dir, []).unwrap()
}

/// Loads a guest, without an artefact store.
pub(crate) fn load_text(runtime: &Arc<Runtime>, text: &str) -> Result<Guest, LoadError> {
    load(
        runtime,
        None,
        &component(text),
        &some_files(),
        &Configuration::NONE,
    )
}
