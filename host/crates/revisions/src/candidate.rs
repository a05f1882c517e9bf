//! Loads revisions: those that are added, and those from before the start.

use std::io::Read;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::control::Revisions;
use super::registry::Entry;
use super::state::KeptRevision;
use super::{Added, Guest, LoadError, Loaded, Model, Refusal, RevisionError, now};
use predictor::{Digest, Priority, Revision};

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
            component: Arc::clone(&entry.component),
            origin: entry.origin.clone(),
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
        let refused = |reason: String| RevisionError::ModelRefused(reason);
        let store = self.store.as_ref().ok_or(RevisionError::NoState)?;
        let most = self.options.max_model_bytes;
        let received = store.models().receive(archive, most);
        let received = received.map_err(|error| refused(error.to_string()))?;
        let digest = match self.loader.model(received.path()) {
            Ok(model) => model.digest,
            Err(LoadError::Refused(refusal)) => return Err(refused(refusal.reason)),
            Err(error) => return Err(error.into()),
        };
        // Nothing else says meanwhile which models are wanted.
        let mut registry = self.registry();
        let before = store.models().keep(received, digest);
        let before = before.map_err(|error| refused(error.to_string()))?;
        let (model, is_known) = registry.add_model(Arc::new(store.model(digest)));
        self.settle(&mut registry, None);
        drop(registry);
        drop(before);
        Ok((model, is_known))
    }

    /// Adds a revision without putting it into use. One that is known already is not loaded
    /// again, and waits for nothing.
    ///
    /// Once begun, this runs to its end even if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`RevisionError::Refused`] if the guest cannot be served with the model, and
    /// [`RevisionError::Unavailable`] if the host could not try it.
    pub async fn add(
        self: &Arc<Self>,
        guest: Guest,
        model: Arc<Model>,
    ) -> Result<Added, RevisionError> {
        let revisions = Arc::clone(self);
        let adding = tokio::spawn(async move {
            let added = revisions.add_one(guest, model).await;
            revisions.metrics.candidate(match &added {
                Ok(added) if added.known => Ok("known"),
                Ok(_) => Ok("ready"),
                Err(error) => Err(error),
            });
            added
        });
        adding.await.unwrap_or(Err(RevisionError::Ended))
    }

    async fn add_one(
        self: &Arc<Self>,
        guest: Guest,
        model: Arc<Model>,
    ) -> Result<Added, RevisionError> {
        let begun = Instant::now();
        let (guest, model, revision) = blocking(move || {
            let revision = revision(&guest.component, &model);
            (guest, model, revision)
        })
        .await?;
        if let Some(added) = self.known(&revision, begun) {
            return Ok(added);
        }
        let _loading = self.loading.lock().await;
        // The load before this one may have been of the same component.
        if let Some(added) = self.known(&revision, begun) {
            return Ok(added);
        }
        let revisions = Arc::clone(self);
        blocking(move || revisions.load(guest, model, begun)).await?
    }

    fn known(&self, revision: &Revision, begun: Instant) -> Option<Added> {
        let scorer = self.registry().scorer(revision).ok()?;
        Some(Added {
            revision: Arc::clone(scorer.revision()),
            known: true,
            compiled: false,
            took: begun.elapsed(),
        })
    }

    fn load(
        &self,
        guest: Guest,
        model: Arc<Model>,
        begun: Instant,
    ) -> Result<Added, RevisionError> {
        let Guest { component, origin } = guest;
        if component.len() > self.options.max_bytes {
            return Err(too_large(self.options.max_bytes).into());
        }
        let loading = Instant::now();
        let loaded = self.load_with(&component, &model);
        self.metrics.loaded(loading.elapsed());
        let loaded = loaded?;
        let revision = Arc::clone(loaded.scorer.revision());
        let mut registry = self.registry();
        registry.add(Entry {
            scorer: loaded.scorer,
            component: Arc::clone(&component),
            origin,
            model,
            card: loaded.card,
            added: now(),
            activated: None,
        });
        self.settle(&mut registry, Some((Arc::clone(&revision), component)));
        Ok(Added {
            revision,
            known: false,
            compiled: loaded.compiled,
            took: begun.elapsed(),
        })
    }

    /// Loads a component with a model. If there is no room for the model, those that are not
    /// in use make room.
    fn load_with(&self, component: &[u8], model: &Model) -> Result<Loaded, LoadError> {
        match self.loader.load(component, model, Priority::Background) {
            Err(LoadError::NoRoom(_)) if self.free_models() => {
                self.loader.load(component, model, Priority::Background)
            }
            loaded => loaded,
        }
    }

    /// Loads the revisions from before the start, one after another, while the server
    /// already serves.
    pub(super) async fn restore(revisions: Weak<Self>) {
        loop {
            let Some(revisions) = revisions.upgrade() else {
                return;
            };
            let loading = revisions.loading.lock().await;
            let Some(kept) = revisions.registry().absent.last().cloned() else {
                revisions.restore_trial();
                return;
            };
            let revision = Arc::clone(&kept.revision);
            let restore = {
                let revisions = Arc::clone(&revisions);
                move || revisions.restore_one(kept)
            };
            let restored = match blocking(restore).await {
                Ok(restored) => restored.map_err(RevisionError::from),
                Err(error) => Err(error),
            };
            match restored {
                Ok(()) => {}
                Err(RevisionError::Unavailable(reason)) => {
                    tracing::warn!(
                        guest = revision.guest().short(),
                        "a revision known before the start is not loaded yet: {reason}"
                    );
                    drop(loading);
                    drop(revisions);
                    tokio::time::sleep(RESTORE_AGAIN).await;
                }
                Err(reason) => {
                    tracing::warn!(
                        guest = revision.guest().short(),
                        "a revision known before the start is dropped: {reason}"
                    );
                    let mut registry = revisions.registry();
                    registry.give_up(&revision);
                    revisions.settle(&mut registry, None);
                }
            }
        }
    }

    fn restore_one(&self, kept: KeptRevision) -> Result<(), LoadError> {
        let unread = |reason: String| Refusal {
            step: "read",
            reason,
        };
        let store = self.store.as_ref();
        let store = store.ok_or_else(|| unread("no state is kept".to_owned()))?;
        let component = store.component(&kept.revision.guest(), self.options.max_bytes as u64);
        let component: Arc<[u8]> = component.map_err(|error| unread(error.to_string()))?.into();
        let model = self.registry().model(&kept.revision.model()).cloned();
        let model = model.ok_or_else(|| unread("its model is not there".to_owned()))?;
        // Nothing makes room for what is not in use itself.
        let loaded = self.loader.load(&component, &model, Priority::Background)?;
        let mut registry = self.registry();
        registry.add(Entry {
            scorer: loaded.scorer,
            component,
            origin: kept.origin,
            model,
            card: loaded.card,
            added: kept.added,
            activated: kept.activated,
        });
        self.settle(&mut registry, None);
        Ok(())
    }

    /// Resumes the trial from before the start.
    fn restore_trial(&self) {
        // Held throughout, so that the trial can be ended at any time.
        let mut registry = self.registry();
        let Some(kept) = registry.absent_trial.take() else {
            return;
        };
        match self.try_out(&mut registry, &kept.revision, kept.trial, kept.share) {
            Ok(()) => tracing::info!(guest = kept.revision.guest().short(), "the trial goes on"),
            Err(error) => {
                tracing::warn!("the trial before the start has ended: {error}");
                self.settle(&mut registry, None);
            }
        }
    }
}

/// The revision that a component and a model are.
pub(super) fn revision(component: &[u8], model: &Model) -> Arc<Revision> {
    let guest = Digest::of(component);
    Arc::new(Revision::new(
        guest,
        model.digest,
        Revision::NO_CONFIGURATION,
    ))
}

/// The wait before a revision from before the start is tried again.
const RESTORE_AGAIN: Duration = Duration::from_secs(10);

pub(super) fn too_large(most: usize) -> Refusal {
    Refusal {
        step: "size",
        reason: format!("the component is larger than {most} bytes"),
    }
}

/// Runs blocking work on a thread of its own, so that a panic ends only that thread. If no
/// thread can be started this is an error, where tokio's pool would panic.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RevisionError> {
    let (done, result) = oneshot::channel();
    let span = tracing::Span::current();
    thread::Builder::new()
        .name("versions".to_owned())
        .spawn(move || {
            let result = span.in_scope(work);
            // The caller may have left.
            let _ = done.send(result);
        })
        .map_err(|error| {
            RevisionError::Unavailable(format!("no thread can be started: {error}"))
        })?;
    result.await.map_err(|_| RevisionError::Ended)
}
