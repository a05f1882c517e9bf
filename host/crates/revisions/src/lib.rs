//! The versions that there are: adding one, making one live, going back.
//!
//! A candidate is loaded beside the live version, and every failure leaves that
//! one as it was. Loads are serial; what needs no load, such as a rollback, waits
//! for none. A version that fails in use is quarantined. What is decided is kept
//! across restarts, and a change of the configured guest's file is a decision too.
//!
//! This module must not know guests or HTTP: a [`Loader`] makes a version of a
//! component's bytes, and the `rollout` sends texts to it.

mod candidate;
mod configured;
mod control;
mod error;
mod file;
mod metrics;
mod order;
mod quarantine;
mod registry;
mod start;
mod state;
mod watch;

pub use control::Revisions;
pub use error::RevisionError;
pub use metrics::Metrics;
pub use quarantine::Quarantined;
pub use registry::{KnownRevision, Origin, Standing};
pub use start::{Beginning, StartError};
pub use state::StateError;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use predictor::{Digest, Priority, Revision, Scorer};

/// Makes versions of components.
pub trait Loader: Send + Sync + 'static {
    /// The revision of a guest, given the SHA-256 of its component's bytes.
    fn revision(&self, guest: Digest) -> Revision;

    /// Loads a component and tests it. This blocks, for seconds if the component
    /// was never seen before; in the background, it leaves the machine to those who
    /// are served meanwhile.
    ///
    /// # Errors
    ///
    /// If any step fails: the error says whether the component is to blame.
    fn load(&self, component: &[u8], priority: Priority) -> Result<Loaded, LoadError>;
}

/// A version that is ready to serve.
pub struct Loaded {
    /// What scores texts.
    pub scorer: Arc<dyn Scorer>,
    /// Whether it had to be compiled.
    pub compiled: bool,
}

/// Why a component was not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The component cannot be served.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The host could not try it, for want of a thread or of memory, say. This is no
    /// verdict on the component, which may well load later.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a component can not be a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The step that failed, such as `self_test`.
    pub step: &'static str,
    /// What was wrong, in a sentence for the component's author.
    pub reason: String,
}

/// Which versions there are, and what decides of them beside requests.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configured guest, from which a version is made at the start.
    pub guest: PathBuf,
    /// What a start falls back to if the configured guest cannot be served, and what
    /// stands by for a guest that nothing vouches for yet; `None` for nothing.
    pub fallback: Option<PathBuf>,
    /// The most versions that are known at once, and so ready to be made live.
    /// Beyond that, those that were in use longest ago are forgotten; one that is
    /// in use never is.
    pub keep: usize,
    /// The largest component, in bytes.
    pub max_bytes: usize,
    /// The directory that keeps all this across restarts; `None` to keep nothing.
    pub state: Option<PathBuf>,
    /// Whether a change of the configured guest's file makes it live.
    pub watch: bool,
}

/// A version that was added.
#[derive(Clone, Debug)]
pub struct Added {
    /// The version.
    pub revision: Arc<Revision>,
    /// Whether it was known, and ready, before.
    pub known: bool,
    /// Whether it had to be compiled.
    pub compiled: bool,
    /// How long it took until it was ready.
    pub took: Duration,
}

/// What became of the live version.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that is live now.
    pub live: Arc<Revision>,
    /// The one that was live before; the same if nothing has changed.
    pub before: Arc<Revision>,
}

/// The time, as it is told to people.
fn now() -> SystemTime {
    SystemTime::now()
}
