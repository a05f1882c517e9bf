//! Loads revisions: guests in the sandbox, with a model.
//!
//! A model is loaded with its first guest and freed with its last, when nobody waits for an
//! answer of it any more. Guests of one model share it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::runtime::Handle;

use batcher::{Calibration, Clock};
use inference::{Library, ModelError, SessionOptions};
use predictor::{
    Configuration, Description, Digest, ErrorKind, ModelCard, PredictError, Priority, Revision,
};
use revisions::{LoadError, Loaded, Loader, Model, Origin, Refusal};
use sandbox::{
    ArtifactError, ArtifactStore, Graphs, Guest, LoadedFrom, ModelFiles, ModelFilesError, Runtime,
    Step,
};

use super::calibrations::Calibrations;
use super::loaded::LoadedRevision;
use super::model_dir::{self, ModelDirError, name, real};
use super::wide::Wide;
use super::{Config, memory};

/// Loads guests with models.
pub(super) struct RevisionLoader {
    pub(super) library: Arc<Library>,
    pub(super) session: SessionOptions,
    pub(super) wide: Wide,
    pub(super) metrics: inference::Metrics,
    /// Without a model.
    pub(super) runtime: Arc<Runtime>,
    pub(super) artifacts: Option<ArtifactStore>,
    /// The most tokens of a batch, if that is configured.
    pub(super) batch_tokens: Option<u32>,
    /// Runs background loads to their end.
    pub(super) executor: Handle,
    pub(super) known: Mutex<HashMap<Digest, Known>>,
}

/// A model whose files have been read.
pub(super) struct Known {
    files: Files,
    loaded: Weak<LoadedModel>,
}

/// The files of a model.
#[derive(Clone)]
struct Files {
    all: ModelFiles,
    /// The path of the graph below the directory.
    graph: PathBuf,
}

/// A model that is loaded.
pub(super) struct LoadedModel {
    pub(super) files: ModelFiles,
    /// What clients call it.
    name: String,
    /// The graph's file.
    pub(super) path: PathBuf,
    pub(super) model: Arc<inference::Model>,
    /// Its guests run in this, and so keep the sessions.
    runtime: Arc<Runtime>,
    /// What texts cost with each guest.
    calibrations: Calibrations,
}

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadModelError {
    #[error(transparent)]
    Dir(#[from] ModelDirError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{0} holds another model by now")]
    Replaced(PathBuf),
    #[error("{0}")]
    NoRoom(String),
    /// No thread could be started.
    #[error(transparent)]
    Host(sandbox::LoadError),
}

impl From<ModelFilesError> for LoadModelError {
    fn from(error: ModelFilesError) -> Self {
        ModelDirError::from(error).into()
    }
}

impl From<LoadModelError> for LoadError {
    fn from(error: LoadModelError) -> Self {
        let reason = error.to_string();
        match error {
            LoadModelError::NoRoom(_) => Self::NoRoom(reason),
            LoadModelError::Dir(ModelDirError::Files(ModelFilesError::Changed { .. })) => {
                refused(&reason)
            }
            // It may be there, or be whole, in a moment.
            LoadModelError::Host(_)
            | LoadModelError::Dir(ModelDirError::Missing(_) | ModelDirError::Files(_)) => {
                Self::Unavailable(reason)
            }
            LoadModelError::Dir(_) | LoadModelError::Model(_) | LoadModelError::Replaced(_) => {
                refused(&reason)
            }
        }
    }
}

fn refused(reason: &str) -> LoadError {
    let reason = reason.trim_end_matches(['.', ' ']).to_owned();
    let step = "model";
    Refusal { step, reason }.into()
}

impl RevisionLoader {
    /// Reads the files of a model, to take their digest. Files that were read before are read
    /// again only if they have changed.
    pub(super) fn read(&self, dir: &Path) -> Result<Model, LoadModelError> {
        let real = real(dir);
        let known = self.known();
        let mut same = known.values().map(|known| &known.files);
        let same = same.find(|files| files.all.dir() == real).cloned();
        drop(known);
        let files = match same.filter(|files| files.all.check_unchanged().is_ok()) {
            Some(files) => files,
            None => {
                let graph = model_dir::check(dir)?;
                Files {
                    graph: graph.file().to_owned(),
                    all: ModelFiles::read(&real, graph.files)?,
                }
            }
        };
        let digest = files.all.digest();
        let mut known = self.known();
        known.retain(|of, known| *of == digest || known.loaded.strong_count() > 0);
        known
            .entry(digest)
            .and_modify(|known| known.files = files.clone())
            .or_insert(Known {
                files,
                loaded: Weak::new(),
            });
        Ok(Model {
            digest,
            dir: dir.to_owned(),
            origin: Origin::File(dir.to_owned()),
        })
    }

    /// A model, loaded unless it is already; beside other work only if there is room.
    pub(super) fn model(
        &self,
        model: &Model,
        priority: Priority,
    ) -> Result<Arc<LoadedModel>, LoadModelError> {
        let files = match self.known().get(&model.digest) {
            None => None,
            Some(known) => match known.loaded.upgrade() {
                Some(loaded) => return Ok(loaded),
                None => Some(known.files.clone()),
            },
        };
        let files = self.files(model, files)?;
        if priority == Priority::Background {
            memory::require_room(files.all.size()).map_err(LoadModelError::NoRoom)?;
        }
        let path = files.all.dir().join(&files.graph);
        let (library, session) = (Arc::clone(&self.library), self.session);
        let (metrics, file) = (self.metrics.clone(), path.clone());
        let load = move || inference::Model::load(&library, &file, session, metrics);
        let session = Arc::new(self.aside(priority, load).map_err(LoadModelError::Host)??);
        files.all.check_unchanged()?;
        let graphs = Arc::clone(&session);
        let loaded = Arc::new(LoadedModel {
            name: match model.origin {
                Origin::File(_) => name(&model.dir),
                // Its directory is named by its digest.
                Origin::Upload | Origin::Artifact(_) => model.digest.short(),
            },
            runtime: self.runtime.with_graphs(Graphs::of(move || graphs.graph())),
            files: files.all,
            path,
            model: session,
            calibrations: Calibrations::default(),
        });
        if let Some(known) = self.known().get_mut(&model.digest) {
            known.loaded = Arc::downgrade(&loaded);
        }
        Ok(loaded)
    }

    /// The files of a model: those that are known, if they are still there, or have only been
    /// moved there.
    fn files(&self, model: &Model, known: Option<Files>) -> Result<Files, LoadModelError> {
        let files = known.map(|files| Files {
            all: files.all.at(real(&model.dir)),
            ..files
        });
        let changed = match files.map(|files| files.all.check_unchanged().map(|()| files)) {
            Some(Ok(files)) => return Ok(files),
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.read(&model.dir)?;
        let known = self.known();
        let found = known.get(&model.digest).map(|known| known.files.clone());
        found.ok_or_else(|| match changed {
            Some(error) => error.into(),
            None => LoadModelError::Replaced(model.dir.clone()),
        })
    }

    fn guest(
        &self,
        component: &Bytes,
        configuration: &Configuration,
        model: &LoadedModel,
        priority: Priority,
    ) -> Result<Guest, LoadError> {
        let (runtime, artifacts) = (&model.runtime, self.artifacts.as_ref());
        let loaded = match priority {
            Priority::Live => {
                sandbox::load(runtime, artifacts, component, &model.files, configuration)
            }
            Priority::Background => {
                let (component, files) = (component.clone(), &model.files);
                let aside =
                    sandbox::load_aside(runtime, artifacts, component, files, configuration);
                self.executor.block_on(aside)
            }
        };
        loaded.map_err(|error| {
            let (step, reason) = (error.step(), error.in_a_line());
            match step {
                // The host is to blame; the same guest may load later.
                Step::Host => LoadError::Unavailable(reason),
                step => LoadError::Refused(Refusal {
                    step: step.as_str(),
                    reason,
                }),
            }
        })
    }

    /// Measures a guest with a model, unless that was done before.
    fn measure(
        &self,
        guest: &Arc<Guest>,
        model: &LoadedModel,
        priority: Priority,
    ) -> Result<Calibration, LoadError> {
        let digest = guest.revision().guest();
        if let Some(known) = model.calibrations.get(&digest) {
            return Ok(known);
        }
        let clock = match priority {
            Priority::Live => Clock::Wall,
            Priority::Background => Clock::Thread,
        };
        let guest = Arc::clone(guest);
        let measured = self.aside(priority, move || Calibration::measure(&*guest, clock));
        let measured = measured.map_err(|error| LoadError::Unavailable(error.in_a_line()))?;
        let calibration = measured.map_err(not_measured)?;
        self.wide.widen(self, model, &calibration, priority);
        model.calibrations.keep(digest, calibration);
        Ok(calibration)
    }

    /// Does a part of a load: here, or if others are served meanwhile, on a thread of low
    /// priority.
    pub(super) fn aside<T: Send + 'static>(
        &self,
        priority: Priority,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, sandbox::LoadError> {
        match priority {
            Priority::Live => Ok(work()),
            Priority::Background => self.executor.block_on(sandbox::aside(work)),
        }
    }

    /// What a text costs with a revision that is loaded, alone and in a batch; and how many
    /// threads it has if nothing else is running, if these are more.
    pub(super) fn measured(&self, revision: &Revision) -> Option<(Calibration, Option<usize>)> {
        let loaded = self.known().get(&revision.model())?.loaded.upgrade()?;
        let calibration = loaded.calibrations.get(&revision.guest())?;
        Some((calibration, loaded.model.wide_threads()))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loader for RevisionLoader {
    fn model(&self, dir: &Path) -> Result<Model, LoadError> {
        Ok(self.read(dir)?)
    }

    fn stamp(&self, dir: &Path) -> Option<Digest> {
        ModelFiles::stamp(dir)
    }

    fn load(
        &self,
        component: &Bytes,
        configuration: &Configuration,
        model: &Model,
        priority: Priority,
    ) -> Result<Loaded, LoadError> {
        let model = self.model(model, priority)?;
        let guest = Arc::new(self.guest(component, configuration, &model, priority)?);
        let calibration = self.measure(&guest, &model, priority)?;
        let description = guest.description().cloned();
        let description = description.unwrap_or(Description::UNKNOWN);
        let batches_pay = description.batches && calibration.batches_pay();
        Ok(Loaded {
            compiled: guest.loaded_from() == LoadedFrom::Source,
            card: Arc::new(ModelCard {
                name: model.name.clone(),
                description,
            }),
            scorer: Arc::new(LoadedRevision {
                guest,
                batch_tokens: match self.batch_tokens {
                    None if !batches_pay => 1,
                    _ => u32::MAX,
                },
                model,
            }),
        })
    }
}

/// The error of a guest that cannot be measured: requests would fail too.
fn not_measured(error: PredictError) -> LoadError {
    let is_transient = error.kind == ErrorKind::Unavailable;
    // The texts are the host's own, so nothing of a client is in it.
    let detail = error.full_detail.or(error.detail);
    let reason = detail.unwrap_or(error.message);
    let reason = format!("the guest cannot be measured: {reason}");
    if is_transient {
        return LoadError::Unavailable(reason);
    }
    let step = "measure";
    Refusal { step, reason }.into()
}

/// Opens the artefact directory. Without one, a start takes seconds longer, so one that
/// cannot be created is a warning. One that others could put code into is not used, and
/// is an error if somebody chose it.
pub(super) fn open_artifacts(config: &Config) -> Result<Option<ArtifactStore>, ArtifactError> {
    let Some(dir) = &config.artifacts else {
        return Ok(None);
    };
    match ArtifactStore::open(dir) {
        Ok(store) => Ok(Some(store.with_shipped(&config.shipped_artifacts))),
        Err(error @ ArtifactError::Shared { .. }) if config.artifacts_chosen => Err(error),
        Err(error) => {
            tracing::warn!("{error}; the guest is compiled at every start");
            Ok(None)
        }
    }
}
