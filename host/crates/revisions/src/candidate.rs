//! Loads revisions: those that are added, and those from before the start.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::control::Revisions;
use super::naming;
use super::registry::Entry;
use super::state::KeptRevision;
use super::{Added, Guest, LoadError, Loaded, Model, Refusal, RevisionError, now};
use predictor::{Configuration, Digest, Priority, Revision};

impl Revisions {
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
            let revision = revision(&guest.component, &guest.configuration, &model);
            (guest, model, revision)
        })
        .await?;
        if let Some(added) = self.known(&revision, begun) {
            return naming::keeps(added, guest.name.as_ref());
        }
        let _loading = self.loading.lock().await;
        // The load before this one may have been of the same component.
        if let Some(added) = self.known(&revision, begun) {
            return naming::keeps(added, guest.name.as_ref());
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
        let Guest {
            component,
            origin,
            configuration,
            name,
        } = guest;
        if component.len() > self.options.max_bytes {
            return Err(too_large(self.options.max_bytes).into());
        }
        let loading = Instant::now();
        let loaded = self.load_with(&component, &configuration, &model);
        self.metrics.loaded(loading.elapsed());
        let loaded = naming::called(loaded?, name.as_ref());
        let revision = Arc::clone(loaded.scorer.revision());
        let mut registry = self.registry();
        registry.add(Entry {
            scorer: loaded.scorer,
            component: component.clone(),
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

    /// Loads a component with a configuration and a model. If there is no room for the model,
    /// those that are not in use make room.
    fn load_with(
        &self,
        component: &Bytes,
        configuration: &Configuration,
        model: &Model,
    ) -> Result<Loaded, LoadError> {
        let load = || {
            let aside = Priority::Background;
            self.loader.load(component, configuration, model, aside)
        };
        match load() {
            Err(LoadError::NoRoom(_)) if self.free_models() => load(),
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
        let component: Bytes = component.map_err(|error| unread(error.to_string()))?.into();
        let model = self.registry().model(&kept.revision.model()).cloned();
        let model = model.ok_or_else(|| unread("its model is not there".to_owned()))?;
        // Nothing makes room for what is not in use itself.
        let configuration = kept.revision.configuration();
        let loaded = self
            .loader
            .load(&component, configuration, &model, Priority::Background)?;
        let loaded = naming::called(loaded, kept.revision.name());
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
        match self.try_out(&mut registry, &kept.revision, kept.kind, kept.share) {
            Ok(()) => tracing::info!(guest = kept.revision.guest().short(), "the trial goes on"),
            Err(error) => {
                tracing::warn!("the trial before the start has ended: {error}");
                self.settle(&mut registry, None);
            }
        }
    }
}

/// The revision that a component, a configuration and a model are.
pub(super) fn revision(
    component: &[u8],
    configuration: &Configuration,
    model: &Model,
) -> Arc<Revision> {
    let (guest, configuration) = (Digest::of(component), configuration.clone());
    Arc::new(Revision::new(guest, model.digest, configuration))
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
