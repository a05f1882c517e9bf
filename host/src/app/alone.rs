//! Loads a guest by itself, without workers, batches and a cache, to try it text by text.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use inference::{Library, Model};
use predictor::{Description, RevisionName, Scores};
use revisions::ConfigurationFileError;
use sandbox::{CallError, Graphs, Guest, LoadError, LoadedFrom, ModelFiles, Printed};

use super::loader::open_artifacts;
use super::{AppError, Config, ModelDirError, model_dir, new_runtime, read_guest, session};

/// A guest that is loaded as a server would, self-test included.
pub struct Alone {
    guest: Guest,
    size: usize,
}

/// Why a guest cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// Something that it needs is missing.
    #[error(transparent)]
    App(#[from] AppError),
    /// Its configuration cannot be read.
    #[error(transparent)]
    Configuration(#[from] ConfigurationFileError),
    /// It is refused.
    #[error("the guest was refused at the step `{}`: {}", .0.step(), .0.in_a_line())]
    Load(LoadError),
}

/// A call of the guest with one text, in a fresh instance.
pub struct Called {
    /// Every label, highest score first.
    pub answer: Result<Scores, CallError>,
    /// How long it took to make the instance and to call it.
    pub time: Duration,
    /// The size of the instance's linear memories after the call, in bytes; 0 if there was no
    /// instance.
    pub memory: usize,
    /// What the instance has printed.
    pub printed: Printed,
}

impl Alone {
    /// Loads the configured guest. Without a model there is no graph for it to call, and
    /// `prepare` sees an empty directory; ONNX Runtime is not needed then.
    ///
    /// # Errors
    ///
    /// If the guest is refused, or something that it needs is missing.
    pub fn load(config: &Config, has_model: bool) -> Result<Self, AloneError> {
        let component = read_guest(&config.guest, config.compiler.limits().component)?;
        let artifacts = open_artifacts(config).map_err(AppError::from)?;
        let registry = prometheus::Registry::new();
        // Lives until the guest is prepared.
        let empty = tempfile::tempdir().map_err(AppError::from)?;
        let (files, graphs) = if has_model {
            let library = Library::open(config.onnxruntime.as_deref()).map_err(AppError::from)?;
            let graph = model_dir::check(&config.model).map_err(AppError::from)?;
            let dir = config.model.canonicalize();
            let dir = dir.unwrap_or_else(|_| config.model.clone());
            let files = read_files(&dir, graph.files)?;
            let metrics = inference::Metrics::new(&registry).map_err(AppError::from)?;
            let model = Model::load(&library, &graph.path, session(config), metrics);
            let model = model.map_err(AppError::from)?;
            let unchanged = files.check_unchanged().map_err(ModelDirError::from);
            unchanged.map_err(AppError::from)?;
            (files, Graphs::of(move || model.graph()))
        } else {
            (read_files(empty.path(), Vec::new())?, Graphs::default())
        };
        let metrics = sandbox::Metrics::new(&registry).map_err(AppError::from)?;
        let runtime = new_runtime(config, graphs, metrics)?;
        let configuration = config.versions.configuration.read()?;
        let artifacts = artifacts.as_ref();
        let guest = sandbox::load(&runtime, artifacts, &component, &files, &configuration);
        Ok(Self {
            guest: guest.map_err(AloneError::Load)?,
            size: component.len(),
        })
    }

    /// The size of the component, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What the guest calls itself.
    pub fn name(&self) -> Option<&RevisionName> {
        self.guest.revision().name()
    }

    /// What the guest says of itself; `None` if it says nothing.
    pub fn description(&self) -> Option<&Description> {
        self.guest.description()
    }

    /// Whether the guest was compiled, not found in the artefact store.
    pub fn compiled(&self) -> bool {
        self.guest.loaded_from() == LoadedFrom::Source
    }

    /// Calls the guest with one text. Must be called in a tokio runtime, on a thread that may
    /// block.
    pub async fn call(&self, text: String) -> Called {
        let begun = Instant::now();
        let mut instance = match self.guest.instantiate().await {
            Ok(instance) => instance,
            Err(error) => {
                return Called {
                    answer: Err(error),
                    time: begun.elapsed(),
                    memory: 0,
                    printed: Printed::default(),
                };
            }
        };
        let answer = instance.predict(&[text]).await;
        let time = begun.elapsed();
        Called {
            // One list for one text: the answer was checked.
            answer: answer.map(|all| all.into_iter().next().unwrap_or_else(|| Arc::new([]))),
            time,
            memory: instance.memory(),
            printed: instance.printed(),
        }
    }
}

fn read_files(dir: &Path, needed: Vec<PathBuf>) -> Result<ModelFiles, AppError> {
    let files = ModelFiles::read(dir, needed).map_err(ModelDirError::from);
    files.map_err(AppError::from)
}
