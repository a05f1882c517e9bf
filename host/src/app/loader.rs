//! Loads revisions: guests in the sandbox, with one model.

use std::sync::Arc;

use tokio::runtime::Handle;

use predictor::{Digest, Priority, Revision};
use revisions::{LoadError, Loaded, Loader, Refusal};
use sandbox::{ArtifactStore, LoadedFrom, ModelFiles, Runtime, Step};

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
