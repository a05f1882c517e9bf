//! Changes by hand, which override a rollout file.

use super::control::Revisions;
use super::metrics::Trigger;
use super::registry::Registry;
use super::{Change, RevisionError};
use predictor::Revision;

impl Revisions {
    /// Whether a change by hand may be made: a rollout file that is in charge has to be
    /// overridden.
    ///
    /// # Errors
    ///
    /// If there is such a file, and the change does not override it.
    pub fn permit(&self, overriding: bool) -> Result<(), RevisionError> {
        match &self.options.rollout {
            Some(desired) if !overriding => match desired.path() {
                Some(file) => Err(RevisionError::Declared(file.to_owned())),
                // The last decision counts, as with the configured guest's file.
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Makes a revision live that somebody chose.
    pub(super) fn choose(
        &self,
        registry: &mut Registry,
        revision: &Revision,
    ) -> Result<Change, RevisionError> {
        let change = self.make_live(registry, revision, Trigger::Api)?;
        registry.record_choice();
        self.made_by_hand();
        Ok(change)
    }

    /// Records a change by hand. The caller holds the lock on the registry.
    pub(super) fn made_by_hand(&self) {
        if let Some(desired) = &self.options.rollout {
            desired.overridden();
        }
    }
}
