//! The models that revisions are made with.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::Model;
use super::{Origin, Registry};
use predictor::Digest;

impl Registry {
    /// The known models.
    pub(in super::super) fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// The known model of a digest.
    pub(in super::super) fn model(&self, digest: &Digest) -> Option<&Arc<Model>> {
        self.models
            .iter()
            .rev()
            .find(|known| known.digest == *digest)
    }

    /// Adds a model, and says whether it was known before. A model in another place than
    /// before is read from there.
    pub(in super::super) fn add_model(&mut self, model: Arc<Model>) -> (Arc<Model>, bool) {
        let mut models = self.models.iter();
        let known = models.position(|known| *known == model);
        match known {
            Some(at) if matches!(model.origin, Origin::File(_)) => {
                (Arc::clone(&self.models[at]), true)
            }
            // The latest uploads are kept.
            Some(at) => {
                let model = self.models.remove(at);
                self.models.push(Arc::clone(&model));
                (model, true)
            }
            None => {
                self.models.push(Arc::clone(&model));
                (model, false)
            }
        }
    }

    fn has_model(&self, model: &Model) -> bool {
        let absent = self.absent.iter().map(|kept| kept.revision.model());
        let ready = self.entries.iter().map(|entry| entry.model.digest);
        ready.chain(absent).any(|known| known == model.digest)
    }

    /// Forgets models that no known revision has, except for the configured one and the
    /// `most` uploads that are latest.
    pub(in super::super) fn forget_models(&mut self, most: usize) {
        let is_file = |model: &Model| matches!(model.origin, Origin::File(_));
        let configured = self
            .models
            .iter()
            .rev()
            .find(|model| is_file(model))
            .cloned();
        let mut uploads = 0;
        let mut kept: Vec<_> = std::mem::take(&mut self.models);
        kept.reverse();
        kept.retain(|model| {
            if self.has_model(model) || configured.as_ref() == Some(model) {
                return true;
            }
            uploads += usize::from(!is_file(model));
            !is_file(model) && uploads <= most
        });
        kept.reverse();
        self.models = kept;
    }

    /// How many models the known revisions have.
    pub(in super::super) fn loaded_models(&self) -> usize {
        let models = self.entries.iter().map(|entry| entry.model.digest);
        models.collect::<HashSet<_>>().len()
    }
}
