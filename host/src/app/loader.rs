//! How versions are made of components: by the guest layer, for one model.

use std::sync::Arc;

use crate::guest::{self, ArtifactStore, Guest, LoadError, LoadedFrom, ModelFiles, Runtime};
use crate::predictor::Version;
use crate::versions::{Loaded, Loader, Refusal};

/// What all guests of a process share.
pub(super) struct GuestLoader {
    pub(super) runtime: Arc<Runtime>,
    pub(super) artifacts: Option<ArtifactStore>,
    pub(super) files: ModelFiles,
}

impl GuestLoader {
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
        let guest = self.guest(component).map_err(|error| Refusal {
            step: step(&error),
            reason: error.to_string(),
        })?;
        Ok(Loaded {
            compiled: guest.loaded_from() == LoadedFrom::Source,
            scorer: Arc::new(guest),
        })
    }
}

fn step(error: &LoadError) -> &'static str {
    match error {
        LoadError::Compile(_) => "compile",
        LoadError::Contract(_) => "contract",
        LoadError::Prepare(_) => "prepare",
        LoadError::SelfTest(_) => "self_test",
    }
}
