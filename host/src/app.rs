//! Connects the layers; only this module knows all of them.
//!
//! This module must not know the process: sockets, signals, the command line and the
//! environment.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

pub mod alone;
mod calibrations;
mod engine;
mod loaded;
mod loader;
pub mod memory;
pub mod model_dir;
mod run_guest;
mod wide;

pub use run_guest::{RunGuestError, run_guest};

use loader::{LoadModelError, RevisionLoader, open_artifacts};
use model_dir::ModelDirError;
use wide::Wide;

use batcher::{Batcher, Calibration};
use cache::Cache;
use inference::{Library, LibraryError, ModelError, SessionOptions};
use predictor::{ModelCard, Predictor, Priority, Revision, Router};
use revisions::{Beginning, Loader, Origin, Revisions, StartError};
use rollout::Rollout;
use sandbox::{ArtifactError, Compiler, Graphs, Runtime};
use service::Service;

/// The ONNX file of a model directory, as Hugging Face Optimum names it.
pub const MODEL_FILE: &str = "model.onnx";

/// The configuration of all layers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model directory: `config.json`, `tokenizer.json`, `model.onnx`.
    pub model: PathBuf,
    /// The guest component.
    pub guest: PathBuf,
    /// The ONNX Runtime library; `None` for the one beside the binary.
    pub onnxruntime: Option<PathBuf>,
    /// The directory of compiled guests; `None` to compile at every start.
    pub artifacts: Option<PathBuf>,
    /// Whether somebody chose that directory. It is an error if such a one cannot be
    /// trusted; the default is then not used.
    pub artifacts_chosen: bool,
    /// The directory of guests that were compiled when the program was installed; it
    /// need not exist.
    pub shipped_artifacts: PathBuf,
    /// Compiles guests, within limits.
    pub compiler: Compiler,
    /// How many threads call guests.
    pub workers: NonZeroUsize,
    /// How many threads one run of the model uses; `None` for one, or for one per worker if
    /// nothing else is running.
    pub threads: Option<NonZeroUsize>,
    /// The most memory of a guest, in bytes.
    pub guest_memory: usize,
    /// The time limit of one call of a guest.
    pub guest_time: Duration,
    /// The time limit of a guest's `prepare`.
    pub prepare_time: Duration,
    /// How many tokens may wait for a worker.
    pub queue_tokens: u64,
    /// The most tokens of a batch, padding included; `None` to measure whether batches
    /// are faster.
    pub batch_tokens: Option<u32>,
    /// When a new version is trusted.
    pub rollout: rollout::Options,
    /// Which versions there are beside the configured guest.
    pub versions: revisions::Options,
    /// The cache of answers.
    pub cache: cache::Options,
    /// The limits of a request.
    pub limits: service::Limits,
}

/// Why the layers cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// ONNX Runtime is missing or unusable.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The model directory lacks something, has a damaged file, or changed meanwhile.
    #[error(transparent)]
    ModelDir(#[from] ModelDirError),
    /// ONNX Runtime cannot load the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// This machine cannot run WebAssembly.
    #[error("WebAssembly cannot be run on this machine: {0}")]
    Runtime(String),
    /// The guest's file cannot be read.
    #[error("the guest {path} cannot be read: {reason}")]
    ReadGuest {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// Others can write to the directory of compiled guests.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// The host lacks something to load the model.
    #[error("the model cannot be loaded: {0}")]
    Host(String),
    /// No guest could be loaded.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Two metrics have the same name.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system starts no more threads.
    #[error("a thread cannot be started: {0}")]
    Threads(#[from] std::io::Error),
}

/// The most tokens of a batch if batches are faster. More tokens made the measured
/// models no faster, and texts waited longer (`make bench-serve`).
const BATCH_TOKENS: u32 = 256;

/// The most texts of a batch. Few texts are so short that this matters.
const BATCH_TEXTS: usize = 32;

/// Instances in addition to one per worker: for texts set aside, and for a guest being loaded.
const SPARE_INSTANCES: u32 = 4;

/// The loaded layers, ready to serve.
pub struct App {
    service: Arc<Service>,
    revisions: Arc<Revisions>,
    revision: Arc<Revision>,
    origin: Origin,
    compiled: bool,
    card: Arc<ModelCard>,
    library: Arc<Library>,
    calibration: Calibration,
    wide_threads: Option<usize>,
    batching: batcher::Options,
}

impl From<LoadModelError> for AppError {
    fn from(error: LoadModelError) -> Self {
        match error {
            LoadModelError::Dir(error) => error.into(),
            LoadModelError::Model(error) => error.into(),
            LoadModelError::NoRoom(_) | LoadModelError::Replaced(_) | LoadModelError::Host(_) => {
                Self::Host(error.to_string())
            }
        }
    }
}

impl App {
    /// Loads the library, the model and the guest, and registers the metrics of all
    /// layers. This takes seconds for a guest that is not in the artefact store.
    /// `runtime` runs background tasks.
    ///
    /// # Errors
    ///
    /// If one of them is missing or does not fit the others.
    pub fn load(
        config: &Config,
        registry: &prometheus::Registry,
        runtime: &Handle,
    ) -> Result<Self, AppError> {
        Self::load_with(config, registry, runtime, || {})
    }

    /// Like [`App::load`], and calls `on_model_loaded` when only the guest is missing,
    /// which takes longer to load than the model.
    ///
    /// # Errors
    ///
    /// As [`App::load`].
    pub fn load_with(
        config: &Config,
        registry: &prometheus::Registry,
        runtime: &Handle,
        on_model_loaded: impl FnOnce(),
    ) -> Result<Self, AppError> {
        let library = Arc::new(Library::open(config.onnxruntime.as_deref())?);
        let metrics = sandbox::Metrics::new(registry)?;
        let loader = Arc::new(RevisionLoader {
            library: Arc::clone(&library),
            session: session(config),
            wide: Wide::new(config.workers, config.threads),
            metrics: inference::Metrics::new(registry)?,
            runtime: new_runtime(config, Graphs::default(), metrics)?,
            artifacts: open_artifacts(config)?,
            batch_tokens: config.batch_tokens,
            executor: runtime.clone(),
            known: Mutex::default(),
        });
        let model = loader.read(&config.model)?;
        // Freed if another model turns out to be live, as a rollout file may well want.
        let configured = match &config.versions.rollout {
            None => Some(loader.model(&model, Priority::Live)?),
            Some(_) => None,
        };
        on_model_loaded();
        let options = config.versions.clone();
        let first = Beginning::choose(Arc::clone(&loader) as Arc<dyn Loader>, model, options)?;
        let (calibration, wide_threads) = loader
            .measured(first.revision())
            .ok_or_else(|| AppError::Host("the guest was not measured".to_owned()))?;
        drop(configured);
        let revision = Arc::clone(first.revision());
        let (origin, compiled) = (first.origin().clone(), first.compiled());
        let card = Arc::clone(first.card());
        let batching = batching(config, &calibration);
        let metrics = batcher::Metrics::new(registry)?;
        library.watch(metrics.busy_workers().clone());
        let batcher = Batcher::start(batching, metrics)?;
        let kept = cache::Options {
            engine: engine::name(&library),
            ..config.cache.clone()
        };
        let below = cached(&kept, Arc::new(batcher), registry, runtime)?;
        let scorer = Arc::clone(first.scorer());
        let metrics = rollout::Metrics::new(registry)?;
        let (rollout, demotions) = Rollout::start(scorer, below, config.rollout, metrics, runtime);
        let service = Service::new(
            Arc::clone(&rollout) as Arc<dyn Router>,
            config.limits.clone(),
            service::Metrics::new(registry)?,
        );
        let metrics = revisions::Metrics::new(registry)?;
        let revisions = Revisions::start(first, rollout, demotions, metrics, runtime)?;
        Ok(Self {
            service: Arc::new(service),
            revisions,
            revision,
            origin,
            compiled,
            card,
            library,
            calibration,
            wide_threads,
            batching,
        })
    }

    /// The layer that the HTTP API and the command line call.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The revisions that there are.
    pub fn revisions(&self) -> &Arc<Revisions> {
        &self.revisions
    }

    /// The revision that is live at first.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Where the guest of that version came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether that guest was compiled, not found in the artefact store.
    pub fn compiled(&self) -> bool {
        self.compiled
    }

    /// The ONNX Runtime library in use.
    pub fn onnxruntime(&self) -> &Path {
        self.library.path()
    }

    /// The version of the ONNX Runtime library in use, such as `1.24.0`.
    pub fn onnxruntime_version(&self) -> &str {
        self.library.version()
    }

    /// A function that returns the memory of earlier runs of models to the system.
    pub fn models_memory(&self) -> impl Fn() + Send + Sync + use<> + 'static {
        let library = Arc::clone(&self.library);
        move || library.return_memory()
    }

    /// The measured cost of texts, alone and in batches.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// How many threads work on a text that is alone on the machine, if these are more than
    /// on any other.
    pub fn wide_threads(&self) -> Option<usize> {
        self.wide_threads
    }

    /// What `GET /info` reports.
    pub fn served(&self) -> http::Served {
        let revisions = Arc::clone(&self.revisions);
        let (card, tokens) = (Arc::clone(&self.card), self.batching.batch_tokens);
        http::Served {
            live: Arc::new(move || {
                let live = revisions.live_model();
                let (card, most) = live.unwrap_or_else(|| (Arc::clone(&card), tokens));
                (card, most.min(tokens))
            }),
            batch_texts: self.batching.batch_texts,
            workers: self.batching.workers,
        }
    }

    /// The most tokens in a batch of the revision that is live; 1 if every text is scored by
    /// itself.
    pub fn batch_tokens(&self) -> u32 {
        self.served().batch_tokens()
    }
}

/// The options of batches. A revision for which batches are no faster limits them itself.
fn batching(config: &Config, calibration: &Calibration) -> batcher::Options {
    batcher::Options {
        workers: config.workers.get(),
        batch_texts: BATCH_TEXTS,
        batch_tokens: config.batch_tokens.unwrap_or(BATCH_TOKENS),
        queue_tokens: config.queue_tokens,
        tokens_per_second: calibration.tokens_per_second(),
        patience: batcher::PATIENCE,
    }
}

/// Puts the cache in front of a layer, unless the cache is off.
fn cached(
    options: &cache::Options,
    below: Arc<dyn Predictor>,
    registry: &prometheus::Registry,
    runtime: &Handle,
) -> Result<Arc<dyn Predictor>, AppError> {
    if options.keep_nothing() {
        return Ok(below);
    }
    Ok(Arc::new(Cache::start(options, below, registry, runtime)?))
}

fn session(config: &Config) -> SessionOptions {
    SessionOptions {
        threads: config.threads.map_or(1, NonZeroUsize::get),
    }
}

fn new_runtime(
    config: &Config,
    graphs: Graphs,
    metrics: sandbox::Metrics,
) -> Result<Arc<Runtime>, AppError> {
    let workers = u32::try_from(config.workers.get()).unwrap_or(u32::MAX);
    let limits = sandbox::Limits {
        memory: config.guest_memory,
        call: config.guest_time,
        prepare: config.prepare_time,
        instances: workers.saturating_add(SPARE_INSTANCES),
    };
    Runtime::new(limits, config.compiler.clone(), graphs, metrics)
        .map_err(|error| AppError::Runtime(format!("{error:#}")))
}

/// Reads a guest of at most `limit` bytes.
fn read_guest(path: &Path, limit: usize) -> Result<Vec<u8>, AppError> {
    let unread = |reason: String| AppError::ReadGuest {
        path: path.to_owned(),
        reason,
    };
    sandbox::read_component(path, limit)
        .map_err(|error| unread(error.to_string()))?
        .map_err(|error| unread(error.to_string()))
}
