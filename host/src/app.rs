//! Wires the layers together: the only place that knows all of them.
//!
//! This module must not know the process: sockets, signals, the command line
//! and the environment stay in the binary.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

mod engine;
mod loader;
mod model_card;

use loader::GuestLoader;

use batcher::{Batcher, Calibration};
use cache::Cache;
use inference::{Library, LibraryError, Model, ModelError, SessionOptions};
use predictor::{ErrorKind, Predictor, Revision, Router, Scorer};
use revisions::{Beginning, LoadError, Origin, Refusal, Revisions, StartError};
use rollout::Rollout;
use sandbox::{
    ArtifactError, ArtifactStore, Compiler, Graphs, ModelFiles, ModelFilesError, Runtime,
};
use service::Service;

/// The ONNX file of a model directory, as Hugging Face Optimum names it.
pub const MODEL_FILE: &str = "model.onnx";

/// Everything that has to be decided before anything is loaded.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model directory: `config.json`, `tokenizer.json`, `model.onnx`.
    pub model: PathBuf,
    /// The guest component.
    pub guest: PathBuf,
    /// The ONNX Runtime library; `None` for the one beside the binary.
    pub onnxruntime: Option<PathBuf>,
    /// Where compiled guests are kept; `None` to compile at every start.
    pub artifacts: Option<PathBuf>,
    /// Where compiled guests are that came with the program, if any did.
    pub shipped_artifacts: PathBuf,
    /// What compiles guests, and within which limits.
    pub compiler: Compiler,
    /// How many threads call guests.
    pub workers: NonZeroUsize,
    /// How many threads one inference uses.
    pub threads: NonZeroUsize,
    /// The largest memory of a guest, in bytes.
    pub guest_memory: usize,
    /// The longest that one call of a guest may take.
    pub guest_time: Duration,
    /// The longest that a guest's `prepare` may take.
    pub prepare_time: Duration,
    /// How many tokens may wait for a worker.
    pub queue_tokens: u64,
    /// The most tokens of a batch, padding included; `None` to measure whether
    /// batches pay.
    pub batch_tokens: Option<u32>,
    /// When a new version is trusted.
    pub rollout: rollout::Options,
    /// Which versions there are beside the configured guest.
    pub versions: revisions::Options,
    /// What is kept of earlier answers.
    pub cache: cache::Options,
    /// What a single request may ask for.
    pub limits: service::Limits,
}

/// Why the application can not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// ONNX Runtime is missing or unusable.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The model directory can not be read.
    #[error("the model directory can not be used: {0}")]
    ModelFiles(#[from] ModelFilesError),
    /// ONNX Runtime can not load the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// This machine can not run WebAssembly.
    #[error("WebAssembly can not be run on this machine: {0}")]
    Runtime(String),
    /// The guest's file can not be read.
    #[error("the guest {path} can not be read: {reason}")]
    ReadGuest {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Compiled guests would not be safe where they were to be kept.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// There is no guest to begin with.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Two metrics have one name.
    #[error("the metrics can not be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system gives no more threads.
    #[error("a thread can not be started")]
    Threads(#[from] std::io::Error),
}

/// The most tokens of a batch where batches pay. With more, the models measured
/// gained no more and waited longer (`make bench-serve`).
const BATCH_TOKENS: u32 = 256;

/// The most texts of a batch; shorter ones than tens of tokens there are few.
const BATCH_TEXTS: usize = 32;

/// Instances beyond one per worker, for a guest that is being loaded.
const SPARE_INSTANCES: u32 = 4;

/// The loaded layers, ready to serve.
pub struct App {
    service: Arc<Service>,
    revisions: Arc<Revisions>,
    revision: Arc<Revision>,
    origin: Origin,
    compiled: bool,
    onnxruntime: PathBuf,
    onnxruntime_version: String,
    calibration: Calibration,
    batch_tokens: u32,
    served: http::Served,
}

impl App {
    /// Loads the library, the model and the guest, and registers the metrics of
    /// all layers. This takes seconds for a guest that is new to this machine.
    /// `runtime` runs what goes on beside requests.
    ///
    /// # Errors
    ///
    /// If any of them is missing or does not fit the others.
    pub fn load(
        config: &Config,
        registry: &prometheus::Registry,
        runtime: &Handle,
    ) -> Result<Self, AppError> {
        Self::load_and_tell(config, registry, runtime, || {})
    }

    /// The same, which tells when the model is loaded: the guest is what takes longer.
    ///
    /// # Errors
    ///
    /// As [`App::load`].
    pub fn load_and_tell(
        config: &Config,
        registry: &prometheus::Registry,
        runtime: &Handle,
        model_is_loaded: impl FnOnce(),
    ) -> Result<Self, AppError> {
        let library = Library::open(config.onnxruntime.as_deref())?;
        let model = load_model(&library, config, inference::Metrics::new(registry)?)?;
        model_is_loaded();
        let metrics = sandbox::Metrics::new(registry)?;
        let loader = GuestLoader {
            runtime: new_runtime(config, Graphs::of(move || model.graph()), metrics)?,
            artifacts: open_artifacts(config)?,
            files: ModelFiles::read(&config.model)?,
            executor: runtime.clone(),
        };
        let options = config.versions.clone();
        let (first, calibration) = Beginning::choose(Arc::new(loader), options, measure)?;
        let revision = Arc::clone(first.revision());
        let (origin, compiled) = (first.origin().clone(), first.compiled());
        let options = batching(config, &calibration);
        let batcher = Batcher::start(options, batcher::Metrics::new(registry)?)?;
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
            onnxruntime: library.path().to_owned(),
            onnxruntime_version: library.version().to_owned(),
            calibration,
            batch_tokens: options.batch_tokens,
            served: http::Served {
                model: model_card::read(&config.model),
                batch_tokens: options.batch_tokens,
                batch_texts: options.batch_texts,
                workers: options.workers,
            },
        })
    }

    /// The uppermost layer below the edges.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The revisions that there are.
    pub fn revisions(&self) -> &Arc<Revisions> {
        &self.revisions
    }

    /// The revision that makes its first answers.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Where the guest comes from that its first answers are made by.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the guest had to be compiled.
    pub fn compiled(&self) -> bool {
        self.compiled
    }

    /// The ONNX Runtime library in use.
    pub fn onnxruntime(&self) -> &Path {
        &self.onnxruntime
    }

    /// The version of the ONNX Runtime library in use, such as `1.24.0`.
    pub fn onnxruntime_version(&self) -> &str {
        &self.onnxruntime_version
    }

    /// What texts cost alone and together.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// What there is to say of what is served.
    pub fn served(&self) -> &http::Served {
        &self.served
    }

    /// The most tokens in a batch; 1 if every text is scored by itself.
    pub fn batch_tokens(&self) -> u32 {
        self.batch_tokens
    }
}

/// Loads what a guest needs to be run as a command, and runs it with this
/// process's standard input and output. Gives the command's exit code.
///
/// # Errors
///
/// If something is missing, or if the guest is no command or traps.
pub async fn run_guest(config: &Config, arguments: &[String]) -> Result<i32, RunGuestError> {
    let library = Library::open(config.onnxruntime.as_deref()).map_err(AppError::from)?;
    let registry = prometheus::Registry::new();
    let metrics = inference::Metrics::new(&registry).map_err(AppError::from)?;
    let model = load_model(&library, config, metrics)?;
    let metrics = sandbox::Metrics::new(&registry).map_err(AppError::from)?;
    let runtime = new_runtime(config, Graphs::of(move || model.graph()), metrics)?;
    let component = read_guest(&config.guest, config.compiler.limits().component)?;
    Ok(sandbox::run_command(&runtime, &component, &config.model, arguments).await?)
}

/// Why a guest could not be run as a command.
#[derive(Debug, thiserror::Error)]
pub enum RunGuestError {
    /// Something that it needs is missing.
    #[error(transparent)]
    App(#[from] AppError),
    /// The guest failed.
    #[error(transparent)]
    Command(#[from] sandbox::CommandError),
}

/// Opens the artefact directory. Without one a start takes seconds longer, so
/// that a home which can not be written to is no reason not to serve; one that
/// others can write to is.
fn open_artifacts(config: &Config) -> Result<Option<ArtifactStore>, ArtifactError> {
    let opened = config.artifacts.as_deref().map(ArtifactStore::open);
    let shipped = &config.shipped_artifacts;
    match opened.map(|opened| opened.map(|store| store.with_shipped(shipped))) {
        Some(Err(error @ ArtifactError::Unusable { .. })) => {
            tracing::warn!("{error}; the guest is compiled at each start");
            Ok(None)
        }
        opened => opened.transpose(),
    }
}

/// Measures the first version. One that fails at it would fail at requests.
fn measure(scorer: &dyn Scorer) -> Result<Calibration, LoadError> {
    Calibration::measure(scorer).map_err(|error| {
        let is_passing = error.kind == ErrorKind::Unavailable;
        let reason = error.detail.unwrap_or(error.message);
        let reason = format!("the guest can not be measured: {reason}");
        if is_passing {
            return LoadError::Unavailable(reason);
        }
        let step = "measure";
        Refusal { step, reason }.into()
    })
}

/// How batches are formed: as is asked for, or as pays.
fn batching(config: &Config, calibration: &Calibration) -> batcher::Options {
    let pays = if calibration.batches_pay() {
        BATCH_TOKENS
    } else {
        1
    };
    batcher::Options {
        workers: config.workers.get(),
        batch_texts: BATCH_TEXTS,
        batch_tokens: config.batch_tokens.unwrap_or(pays),
        queue_tokens: config.queue_tokens,
        tokens_per_second: calibration.tokens_per_second(),
    }
}

/// Puts the cache before a layer, if anything is to be kept.
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

fn load_model(
    library: &Library,
    config: &Config,
    metrics: inference::Metrics,
) -> Result<Model, AppError> {
    let options = SessionOptions {
        threads: config.threads.get(),
    };
    Ok(Model::load(
        library,
        &config.model.join(MODEL_FILE),
        options,
        metrics,
    )?)
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

/// Reads a guest, unless it is larger than `limit`, in bytes.
fn read_guest(path: &Path, limit: usize) -> Result<Vec<u8>, AppError> {
    let unread = |reason: String| AppError::ReadGuest {
        path: path.to_owned(),
        reason,
    };
    sandbox::read_component(path, limit)
        .map_err(|error| unread(error.to_string()))?
        .map_err(|error| unread(error.to_string()))
}
