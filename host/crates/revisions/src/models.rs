//! The guests and models that a revision can be made of.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::candidate::blocking;
use super::control::Revisions;
use super::registry::Entry;
use super::state::Store;
use super::{Guest, LoadError, Model, Origin, Refusal, RevisionError};
use predictor::{Digest, ModelCard, Revision, Router};

impl Revisions {
    /// The guest of a known revision: of the one that `prefix` names, or of the live one.
    ///
    /// # Errors
    ///
    /// As [`Revisions::find`].
    pub fn guest(&self, prefix: Option<&str>) -> Result<Guest, RevisionError> {
        let revision = match prefix {
            // Revisions of one guest are as good as each other here.
            Some(prefix) => match self.guest_named(prefix) {
                Some(revision) => revision,
                None => self.find(prefix)?.revision,
            },
            None => self.status().live,
        };
        let registry = self.registry();
        registry.find(&revision).map(|entry| Guest {
            component: entry.component.clone(),
            origin: entry.origin.clone(),
            configuration: entry.revision().configuration().clone(),
            name: None,
        })
    }

    /// A ready revision whose guest begins with `prefix`, if that is one guest.
    fn guest_named(&self, prefix: &str) -> Option<Arc<Revision>> {
        let registry = self.registry();
        let revisions = registry.entries.iter().map(Entry::revision);
        let mut named: Vec<_> = revisions
            .filter(|revision| revision.guest().to_string().starts_with(prefix))
            .collect();
        named.dedup_by_key(|revision| revision.guest());
        match named[..] {
            [revision] => Some(Arc::clone(revision)),
            _ => None,
        }
    }

    /// The known models, the latest first.
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.registry().models().iter().rev().cloned().collect()
    }

    /// The known model whose digest begins with `prefix`, or the live revision's.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one.
    pub fn model(&self, prefix: Option<&str>) -> Result<Arc<Model>, RevisionError> {
        let live = self.status().live.model();
        let registry = self.registry();
        let is_meant = |model: &Model| match prefix {
            Some(prefix) => model.digest.to_string().starts_with(prefix),
            None => model.digest == live,
        };
        let mut found = registry
            .models()
            .iter()
            .rev()
            .filter(|model| is_meant(model));
        let prefix = || prefix.map_or_else(|| live.short(), str::to_owned);
        let first = found
            .next()
            .ok_or_else(|| RevisionError::UnknownModel(prefix()))?;
        if found.any(|other| other.digest != first.digest) {
            return Err(RevisionError::AmbiguousModel(prefix()));
        }
        Ok(Arc::clone(first))
    }

    /// Receives a model as a tar archive, and keeps it in the state directory. Returns it,
    /// and whether it was known. The archive is read on a thread that may block.
    ///
    /// # Errors
    ///
    /// If no state is kept, or if the archive is not one of a model directory.
    pub async fn receive_model(
        self: &Arc<Self>,
        archive: impl Read + Send + 'static,
    ) -> Result<(Arc<Model>, bool), RevisionError> {
        let revisions = Arc::clone(self);
        blocking(move || revisions.receive(archive)).await?
    }

    fn receive(&self, archive: impl Read) -> Result<(Arc<Model>, bool), RevisionError> {
        let store = self.store.as_ref().ok_or(RevisionError::NoState)?;
        let most = self.options.max_model_bytes;
        let refused = |reason: String| RevisionError::ModelRefused(reason);
        let dir = store.models().receive(archive, most);
        let dir = dir.map_err(|error| refused(error.to_string()))?;
        let digest = match self.loader.model(dir.path()) {
            Ok(model) => model.digest,
            Err(LoadError::Refused(Refusal { reason, .. })) => {
                // Where it is for now is nobody's concern.
                let here = format!("{}/", dir.path().display());
                return Err(refused(reason.replace(&here, "")));
            }
            Err(error) => return Err(error.into()),
        };
        let received = Unnamed { dir, digest };
        self.name(store, received, Origin::Upload)
    }

    /// Keeps a model that lies in a directory for a while.
    pub(super) fn take_over(
        &self,
        dir: &Path,
        origin: Origin,
    ) -> Result<Arc<Model>, RevisionError> {
        let store = self.store.as_ref().ok_or(RevisionError::NoState)?;
        let digest = self.loader.model(dir)?.digest;
        if let Some(known) = self.registry().model(&digest) {
            return Ok(Arc::clone(known));
        }
        let copied = Unnamed::copy(store, dir, digest)?;
        self.name(store, copied, origin).map(|(model, _)| model)
    }

    fn name(
        &self,
        store: &Store,
        unnamed: Unnamed,
        origin: Origin,
    ) -> Result<(Arc<Model>, bool), RevisionError> {
        // Nothing else says meanwhile which models are wanted.
        let mut registry = self.registry();
        let (model, before) = unnamed.name(store, origin)?;
        let (model, is_known) = registry.add_model(Arc::new(model));
        self.settle(&mut registry, None);
        drop(registry);
        drop(before);
        Ok((model, is_known))
    }

    /// What is known of the live revision beside its answers, and the most tokens of a batch
    /// of it; `None` only while the live revision is not known here.
    pub fn live_model(&self) -> Option<(Arc<ModelCard>, u32)> {
        let live = self.rollout.live();
        let registry = self.registry();
        let entry = registry.find(&live).ok()?;
        Some((Arc::clone(&entry.card), entry.scorer.batch_tokens()))
    }

    /// Forgets all revisions whose models are not in use, so that there is room for another
    /// model. Returns whether there were any.
    pub(super) fn free_models(&self) -> bool {
        let mut registry = self.registry();
        let before = registry.loaded_models();
        let in_use = self.in_use();
        self.forget_beyond(&mut registry, 1, &in_use);
        self.settle(&mut registry, None);
        registry.loaded_models() < before
    }
}

/// A model in the state directory, before it has its name there.
pub(super) struct Unnamed {
    dir: TempDir,
    digest: Digest,
}

impl Unnamed {
    /// A copy of a model that lies elsewhere.
    pub(super) fn copy(store: &Store, dir: &Path, digest: Digest) -> Result<Self, RevisionError> {
        let dir = store.models().copy(dir);
        let dir = dir.map_err(|error| RevisionError::ModelRefused(error.to_string()))?;
        Ok(Self { dir, digest })
    }

    /// Gives it the name of its digest. What had that name is deleted when it is dropped.
    pub(super) fn name(
        self,
        store: &Store,
        origin: Origin,
    ) -> Result<(Model, TempDir), RevisionError> {
        let before = store.models().keep(self.dir, self.digest);
        let before = before.map_err(|error| RevisionError::ModelRefused(error.to_string()))?;
        let model = store.model(self.digest);
        Ok((Model { origin, ..model }, before))
    }
}
