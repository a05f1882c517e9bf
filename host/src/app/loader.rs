//! How versions are made of components: by the guest layer, for one model.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::guest::{self, ArtifactStore, Guest, LoadError, LoadedFrom, ModelFiles, Runtime};
use crate::predictor::Version;
use crate::versions::{Loaded, Loader, Refusal};

/// What all guests of a process share.
pub(super) struct GuestLoader {
    pub(super) runtime: Arc<Runtime>,
    pub(super) artifacts: Option<ArtifactStore>,
    pub(super) files: ModelFiles,
    /// What waits for loads.
    pub(super) executor: Handle,
}

impl GuestLoader {
    /// Loads a guest at once, with nothing beside it that it could disturb.
    pub(super) fn guest(&self, component: &[u8]) -> Result<Guest, LoadError> {
        guest::load(
            &self.runtime,
            self.artifacts.as_ref(),
            component,
            &self.files,
        )
    }
}

impl Loader for GuestLoader {
    fn version(&self, component: &[u8]) -> Version {
        guest::version(component, &self.files)
    }

    fn load(&self, component: &[u8]) -> Result<Loaded, Refusal> {
        let artifacts = self.artifacts.as_ref();
        let aside = guest::load_aside(&self.runtime, artifacts, component.into(), &self.files);
        let guest = self.executor.block_on(aside).map_err(|error| Refusal {
            step: error.step().as_str(),
            reason: error.to_string(),
        })?;
        Ok(Loaded {
            compiled: guest.loaded_from() == LoadedFrom::Source,
            scorer: Arc::new(guest),
        })
    }
}
