//! The registry of revisions: adds them, makes them live, goes back, and remembers all that
//! across restarts.
//!
//! This crate decides, and `rollout` carries it out. A decision holds one lock for the time
//! of a pointer store (`control.rs`): it waits for no load, no disk and no request.
//!
//! **Candidates** (`candidate.rs`) are loaded beside the live revision, one at a time, each
//! on a thread of its own, and to the end even if the caller leaves. Every failure leaves
//! the live revision as it was. A component that is known already is found without a load.
//! A load that fails for a passing reason ([`LoadError::Unavailable`]) is no verdict on the
//! component, and may be tried again.
//!
//! **Decisions** come from the admin API, from the configured guest's file, and from
//! SIGHUP. A *change of content* of the file is a decision like any other: the revision is
//! remembered, good or bad, so that the same content written again is none. SIGHUP means
//! "go to what is configured", whether or not the file has changed. Both need a load
//! (`configured.rs`), during which more may be decided. The last decision wins: if the
//! file's content is no longer wanted when it is ready, it is kept and not made live, with
//! a warning. So the file never undoes what an operator chose after it. A demotion is
//! nobody's decision, and a deployed file is made live all the same.
//!
//! **The file** (`watch/`) is looked at once a second, by its path, so the links of
//! Kubernetes volumes need no care; it is read once it is the same at two looks. If it
//! vanishes, the live revision stays. Content that cannot be served is refused once, with
//! the step and the reason in the log. What fails for a passing reason, or by a panic, is
//! tried again after 1, 2, 4 seconds and so on, up to two minutes, unless somebody chooses
//! a revision meanwhile.
//!
//! **Quarantine** (`quarantine.rs`). A revision that the rollout takes out of use is never
//! gone back to, and is refused until somebody insists; neither a file nor a restart
//! insists. At most 64 are remembered.
//!
//! **State** (`state/`). One JSON document names what was live, in order, what is known and
//! what is quarantined, the trial, the fallback of a revision on probation, and the content
//! of the file that was *settled* last: made live, refused, or overruled. If the process
//! ended during a load, its content was not settled, and the next start finds a changed
//! file. Each known component lies beside the document under its digest. One thread writes
//! them by renaming, and only the latest state; nobody waits for it, and a full disk costs
//! a warning. The directory is locked: a second server runs without state and says so. A
//! directory that others own or can write to is refused, because whoever writes there
//! decides what is live.
//!
//! **Start** (`start.rs`):
//!
//! - If the file is as it was, what was live is live. If it has changed, the file is,
//!   unless it is quarantined. If one cannot be read, loaded or measured, the other is
//!   tried, then what was live before, and then the fallback guest, with an error in the
//!   log: the server starts with a good revision rather than not at all, and with a
//!   quarantined one if there is nothing else. A file that was refused is not tried again,
//!   and every start says so.
//! - A revision that was not trusted at the end, or not known, is on probation for the full
//!   time. What was trusted before stands by for it, or else the fallback guest; that is
//!   loaded before anything is served.
//! - A component is used only if its digest is right. A document that cannot be read is
//!   moved to `state.json.damaged`, and the start is as if there was none.
//! - The other revisions, and the trial, are loaded while the server serves; until then
//!   they are "not ready", not unknown.
//!
//! This crate must not know guests, models or HTTP: a [`Loader`] makes a revision of a
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
#[cfg(any(test, fuzzing))]
pub use state::fuzz;
pub use state::{StateError, check_state_dir};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use predictor::{Digest, Priority, Revision, Scorer};

/// Makes revisions of components.
pub trait Loader: Send + Sync + 'static {
    /// The revision of a guest, given the SHA-256 of its component's bytes.
    fn revision(&self, guest: Digest) -> Revision;

    /// Loads a component and tests it. This blocks, for seconds if the component is new to
    /// this machine; with [`Priority::Background`] it yields to live traffic.
    ///
    /// # Errors
    ///
    /// If any step fails: the error says whether the component is at fault.
    fn load(&self, component: &[u8], priority: Priority) -> Result<Loaded, LoadError>;
}

/// A revision that is ready to serve.
pub struct Loaded {
    /// Scores texts.
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
    /// The host could not try it, because it lacked a thread or memory, for example. This is
    /// no verdict on the component, which may load later.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a component was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The step that failed, such as `self_test`.
    pub step: &'static str,
    /// What is wrong: a sentence for the component's author.
    pub reason: String,
}

/// Options of the registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configured guest's file.
    pub guest: PathBuf,
    /// The fallback guest's file, if any. A start falls back to it if the configured guest
    /// cannot be served, and it stands by for a guest that is not trusted yet.
    pub fallback: Option<PathBuf>,
    /// The most revisions that are ready at a time. Beyond that, those that have been out of
    /// use for longest are forgotten; one that is in use never is.
    pub keep: usize,
    /// The largest component, in bytes.
    pub max_bytes: usize,
    /// The directory of the state; `None` to keep no state.
    pub state: Option<PathBuf>,
    /// Whether a change of the configured guest's file makes the new content live.
    pub watch: bool,
}

/// A revision that was added.
#[derive(Clone, Debug)]
pub struct Added {
    /// The revision.
    pub revision: Arc<Revision>,
    /// Whether it was ready before.
    pub known: bool,
    /// Whether it had to be compiled.
    pub compiled: bool,
    /// How long it took until it was ready.
    pub took: Duration,
}

/// A change of the live revision.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision that is live now.
    pub live: Arc<Revision>,
    /// The one that was live before; the same one if nothing has changed.
    pub before: Arc<Revision>,
}

fn now() -> SystemTime {
    SystemTime::now()
}
