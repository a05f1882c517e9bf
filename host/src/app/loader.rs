//! Loads revisions: guests in the sandbox, with one model.

use std::sync::Arc;

use tokio::runtime::Handle;

use predictor::{Digest, Priority, Revision};
use revisions::{LoadError, Loaded, Loader, Refusal};
use sandbox::{ArtifactError, ArtifactStore, LoadedFrom, ModelFiles, Runtime, Step};

use super::Config;

/// Loads guests with the model of this process.
pub(super) struct GuestLoader {
    pub(super) runtime: Arc<Runtime>,
    pub(super) artifacts: Option<ArtifactStore>,
    pub(super) files: ModelFiles,
    /// Runs background loads to their end.
    pub(super) executor: Handle,
}

impl Loader for GuestLoader {
    fn revision(&self, guest: Digest) -> Revision {
        sandbox::revision(guest, &self.files)
    }

    fn load(&self, component: &[u8], priority: Priority) -> Result<Loaded, LoadError> {
        let (runtime, artifacts) = (&self.runtime, self.artifacts.as_ref());
        let loaded = match priority {
            Priority::Live => sandbox::load(runtime, artifacts, component, &self.files),
            Priority::Background => {
                let aside = sandbox::load_aside(runtime, artifacts, component.into(), &self.files);
                self.executor.block_on(aside)
            }
        };
        let guest = loaded.map_err(|error| {
            let (step, reason) = (error.step(), error.in_a_line());
            match step {
                // The host is to blame; the same guest may load later.
                Step::Host => LoadError::Unavailable(reason),
                step => LoadError::Refused(Refusal {
                    step: step.as_str(),
                    reason,
                }),
            }
        })?;
        Ok(Loaded {
            compiled: guest.loaded_from() == LoadedFrom::Source,
            scorer: Arc::new(guest),
        })
    }
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
