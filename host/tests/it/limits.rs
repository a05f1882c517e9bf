//! A malicious guest, built from Rust like other guests: whatever it does, the host
//! enforces its limits and reports what happened. Its orders are in
//! `tests/guests/hostile`; guests that no compiler would generate are in the
//! tests of the sandbox crate.

#[cfg(target_os = "linux")]
mod cost;
mod hanging;
mod orders;
mod prepare;
mod server;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use predictor::Configuration;
use sandbox::{ArtifactStore, Guest, Limits, LoadError, load};

use crate::harness::{artifacts, build_guest, graphs, loading, runtime};
use crate::hostile::files;
pub(crate) use server::resident_mib;

/// The hostile guest's file, built once for a run of the tests.
pub(crate) fn hostile_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build_guest("hostile-guest"))
}

/// Loads the hostile guest with a model directory.
fn load_hostile(limits: Limits, model: &Path) -> Result<Guest, LoadError> {
    let bytes = std::fs::read(hostile_path()).unwrap();
    let runtime = runtime(limits, graphs(model));
    let _loading = loading();
    let store = ArtifactStore::open(&artifacts()).unwrap();
    load(
        &runtime,
        Some(&store),
        &bytes,
        &files(model),
        &Configuration::NONE,
    )
}

/// The score of the hostile guest for a text that is not an order, in thousandths.
fn number(text: &str) -> u16 {
    text.bytes().fold(7, |sum: u16, byte| {
        sum.wrapping_mul(31).wrapping_add(u16::from(byte)) % 1000
    })
}
