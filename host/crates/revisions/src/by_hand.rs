//! Changes by hand, which override a rollout file.

use super::RevisionError;
use super::control::Revisions;

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

    /// Records a change by hand. The caller holds the lock on the registry.
    pub(super) fn made_by_hand(&self) {
        if let Some(desired) = &self.options.rollout {
            desired.overridden();
        }
    }
}
