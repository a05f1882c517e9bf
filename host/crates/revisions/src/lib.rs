//! The registry of revisions: adds them, makes them live, goes back, and remembers all that
//! across restarts.
//!
//! This crate decides, and `rollout` carries it out. A decision holds one lock for the time
//! of a pointer store (`control.rs`): it waits for no load, no disk and no request.
//!
//! **Candidates** (`candidate.rs`) are a guest and a model. They are loaded beside the live
//! revision, one at a time, each on a thread of its own, and to the end even if the caller
//! leaves. Every failure leaves the live revision as it was. A revision that is known already
//! is found without a load. A load that fails for a passing reason
//! ([`LoadError::Unavailable`]) is no verdict on the component, and may be tried again.
//!
//! **Models** are known by the digests of their files. The loader has one in memory for as
//! long as a scorer of it lives, so forgetting revisions frees their models. A model that
//! does not fit ([`LoadError::NoRoom`]) is tried again after all models are freed that no
//! revision in use has.
//!
//! **Decisions** come from the admin API, from what is configured (a guest's file and a
//! model's directory), and from SIGHUP. A *change of content* of what is configured is a
//! decision like any other: the revision is
//! remembered, good or bad, so that the same content written again is none. SIGHUP means
//! "go to what is configured", whether or not the file has changed. Both need a load
//! (`configured.rs`), during which more may be decided. The last decision wins: if the
//! file's content is no longer wanted when it is ready, it is kept and not made live, with
//! a warning. So the file never undoes what an operator chose after it. A demotion is
//! nobody's decision, and a deployed file is made live all the same.
//!
//! **The file** and the directory (`watch/`) are looked at once a second, by their paths, so
//! the links of Kubernetes volumes need no care; they are read once they are the same at two
//! looks. If it
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
//! file. Each known component, and each model that was uploaded, lies beside the document
//! under its digest. One thread writes the state by renaming, and only the latest state;
//! nobody waits for it, and a full disk costs a warning. The directory is locked: a second
//! server runs without state and says so. A directory that others own or can write to is
//! refused, because whoever writes there decides what is live.
//!
//! **A rollout file** (`desired/`) declares what should run, in place of what is configured.
//! It is followed by the same steps: what it names becomes a guest and a model here, and a
//! candidate, and is then put into its role. Changes by hand have to be asked for as overrides
//! (`by_hand.rs`). A start tries what is declared live and what is declared trusted before
//! anything else, and is then reported as degraded if it is not the former.
//!
//! **Tags** of registries (`desired/tags.rs`) that were given in place of the guest's file or
//! the model's directory are followed in the same way, and looked up from time to time.
//!
//! **Start** (`start.rs`):
//!
//! - If what is configured is as it was, what was live is live. If it has changed, it is,
//!   unless it is quarantined. If one cannot be read, loaded or measured, the other is
//!   tried, then what was live before, and then the fallback guest, with an error in the
//!   log: the server starts with a good revision rather than not at all, and with a
//!   quarantined one if there is nothing else. A file that was refused is not tried again,
//!   and every start says so.
//! - A revision that was not trusted at the end, or not known, is on probation for the full
//!   time. What was trusted before stands by for it, or else the fallback guest; that is
//!   loaded before anything is served.
//! - A guest whose model is gone is loaded with the configured one.
//! - A component is used only if its digest is right. A document that cannot be read is
//!   moved to `state.json.damaged`, and the start is as if there was none.
//! - The other revisions, and the trial, are loaded while the server serves; until then
//!   they are "not ready", not unknown.
//!
//! This crate must not know what is in guests and models, or HTTP: a [`Loader`] makes a
//! revision of a component's bytes and a directory, and the `rollout` sends texts to it.

mod by_hand;
mod candidate;
mod configuration;
mod configured;
mod control;
mod desired;
mod error;
mod file;
mod metrics;
mod models;
mod naming;
mod order;
mod quarantine;
mod registry;
mod source;
mod start;
mod state;
mod watch;

pub use configuration::{ConfigurationFileError, ConfiguredValues, read_configuration};
pub use control::Revisions;
pub use desired::file::{Desired, DesiredError, DesiredTrial, Parts, Pull};
pub use desired::{
    Condition, ConditionKind, DesiredReport, DesiredState, ErrorReport, Report, Role, RoleReport,
    StepReport, Tags,
};
pub use error::RevisionError;
pub use metrics::Metrics;
pub use quarantine::Quarantined;
pub use registry::{KnownRevision, Origin, Standing};
pub use source::Source;
pub use start::{Beginning, StartError};
#[cfg(any(test, fuzzing))]
pub use state::fuzz;
pub use state::{StateError, check_state_dir};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use predictor::{Configuration, Digest, ModelCard, Priority, Revision, RevisionName, Scorer};

/// Makes revisions of components and models.
pub trait Loader: Send + Sync + 'static {
    /// The model in a directory. This reads the files to take their digest, and loads
    /// nothing.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read, or cannot be a model directory.
    fn model(&self, dir: &Path) -> Result<Model, LoadError>;

    /// Tells whether the files of a model directory have changed, without reading them:
    /// equal stamps, equal files. `None` if the directory cannot be read.
    fn stamp(&self, dir: &Path) -> Option<Digest>;

    /// Loads a component with a model and a configuration, and tests it. This blocks, for seconds if the
    /// component is new to this machine, or if no other revision has the model loaded; with
    /// [`Priority::Background`] it yields to live traffic.
    ///
    /// # Errors
    ///
    /// If any step fails: the error says whether the component or the model is at fault.
    fn load(
        &self,
        component: &Bytes,
        configuration: &Configuration,
        model: &Model,
        priority: Priority,
    ) -> Result<Loaded, LoadError>;
}

/// A model directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// SHA-256 over its files.
    pub digest: Digest,
    /// Where it is.
    pub dir: PathBuf,
    /// Where it came from.
    pub origin: Origin,
}

/// A revision that is ready to serve.
pub struct Loaded {
    /// Scores texts. The model is loaded for as long as a scorer of it lives.
    pub scorer: Arc<dyn Scorer>,
    /// What is known of it beside its answers.
    pub card: Arc<ModelCard>,
    /// Whether the component had to be compiled.
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
    /// There is not enough memory for one more model.
    #[error("{0}")]
    NoRoom(String),
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
    /// The configured model's directory.
    pub model: PathBuf,
    /// The configuration of the configured guest.
    pub configuration: ConfiguredValues,
    /// The fallback guest's file, if any. A start falls back to it if the configured guest
    /// cannot be served, and it stands by for a guest that is not trusted yet.
    pub fallback: Option<PathBuf>,
    /// The most revisions that are ready at a time. Beyond that, those that have been out of
    /// use for longest are forgotten; one that is in use never is.
    pub keep: usize,
    /// The most models that are loaded at a time, unless more are in use.
    pub keep_models: usize,
    /// The largest component, in bytes.
    pub max_bytes: usize,
    /// The largest model that is uploaded, in bytes: all of its files together.
    pub max_model_bytes: u64,
    /// The directory of the state; `None` to keep no state.
    pub state: Option<PathBuf>,
    /// Whether a change of the configured guest's file, or of a file of the configured model,
    /// makes the new content live. With a rollout file, it does not.
    pub watch: bool,
    /// The rollout file that is in charge, if one is.
    pub rollout: Option<Arc<DesiredState>>,
}

/// A guest that is to be a part of a revision, with what it reads.
#[derive(Clone)]
pub struct Guest {
    /// The component.
    pub component: Bytes,
    /// Where it came from.
    pub origin: Origin,
    /// What it is told when it asks for its configuration.
    pub configuration: Configuration,
    /// What the revision is to be called; by default what the component calls itself.
    pub name: Option<RevisionName>,
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
