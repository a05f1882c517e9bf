//! Making versions of components: of what is given, and of what was kept over a
//! restart.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::control::Versions;
use super::known::Entry;
use super::state::KeptVersion;
use super::{Added, Origin, Refusal, VersionsError, now};
use crate::predictor::{Digest, Priority};

impl Versions {
    /// Adds a version without sending it any text. A component that is known
    /// already is found, not loaded, and waits for nothing.
    ///
    /// What has begun goes on to its end even if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`VersionsError::Refused`] if the component can not be served.
    pub async fn add(
        self: &Arc<Self>,
        component: Vec<u8>,
        origin: Origin,
    ) -> Result<Added, VersionsError> {
        let versions = Arc::clone(self);
        let adding = tokio::spawn(async move {
            let added = versions.add_one(component, origin).await;
            versions.metrics.candidate(match &added {
                Ok(added) if added.known => Ok("known"),
                Ok(_) => Ok("ready"),
                Err(error) => Err(error),
            });
            added
        });
        adding.await.unwrap_or(Err(VersionsError::Ended))
    }

    async fn add_one(
        self: &Arc<Self>,
        component: Vec<u8>,
        origin: Origin,
    ) -> Result<Added, VersionsError> {
        let begun = Instant::now();
        let versions = Arc::clone(self);
        let (component, guest) = blocking(move || {
            let guest = versions.loader.version(&component).guest;
            (component, guest)
        })
        .await?;
        if let Some(added) = self.known(&guest, begun) {
            return Ok(added);
        }
        let _loading = self.loading.lock().await;
        // The one that was loaded before it may have been the same.
        if let Some(added) = self.known(&guest, begun) {
            return Ok(added);
        }
        let versions = Arc::clone(self);
        blocking(move || versions.load(component, origin, begun)).await?
    }

    fn known(&self, guest: &Digest, begun: Instant) -> Option<Added> {
        let scorer = self.book().scorer(guest).ok()?;
        Some(Added {
            version: Arc::clone(scorer.version()),
            known: true,
            compiled: false,
            took: begun.elapsed(),
        })
    }

    fn load(
        &self,
        component: Vec<u8>,
        origin: Origin,
        begun: Instant,
    ) -> Result<Added, VersionsError> {
        if component.len() > self.options.max_bytes {
            return Err(too_large(self.options.max_bytes).into());
        }
        let loading = Instant::now();
        let loaded = self.loader.load(&component, Priority::Background);
        self.metrics.loaded(loading.elapsed());
        let loaded = loaded?;
        let version = Arc::clone(loaded.scorer.version());
        let mut book = self.book();
        book.add(Entry {
            scorer: loaded.scorer,
            origin,
            size: component.len(),
            added: now(),
            activated: None,
        });
        self.settle(&mut book, Some((version.guest, component)));
        Ok(Added {
            version,
            known: false,
            compiled: loaded.compiled,
            took: begun.elapsed(),
        })
    }

    /// Loads what is known from before the start, one after another. A server is
    /// ready before that.
    pub(super) async fn restore(versions: Weak<Self>) {
        loop {
            let Some(versions) = versions.upgrade() else {
                return;
            };
            let _loading = versions.loading.lock().await;
            let Some(kept) = versions.book().absent.last().cloned() else {
                versions.restore_trial();
                return;
            };
            let guest = kept.guest;
            let restore = {
                let versions = Arc::clone(&versions);
                move || versions.restore_one(kept)
            };
            if let Err(reason) = blocking(restore)
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
            {
                tracing::warn!(
                    guest = guest.short(),
                    "a version known before the start is given up: {reason}"
                );
                let mut book = versions.book();
                book.give_up(&guest);
                versions.settle(&mut book, None);
            }
        }
    }

    fn restore_one(&self, kept: KeptVersion) -> Result<(), String> {
        let store = self.store.as_ref().ok_or("no state is kept")?;
        let component = store.component(&kept.guest, self.options.max_bytes as u64);
        let component = component.map_err(|error| error.to_string())?;
        let loaded = self.loader.load(&component, Priority::Background);
        let loaded = loaded.map_err(|refusal| format!("{}: {refusal}", refusal.step))?;
        let mut book = self.book();
        book.add(Entry {
            scorer: loaded.scorer,
            origin: kept.origin,
            size: component.len(),
            added: kept.added,
            activated: kept.activated,
        });
        self.settle(&mut book, None);
        Ok(())
    }

    /// Goes on with the trial that went on before the start.
    fn restore_trial(&self) {
        // Held throughout, so that the trial can be ended at any time.
        let mut book = self.book();
        let Some(kept) = book.absent_trial.take() else {
            return;
        };
        match self.try_out(&mut book, &kept.guest, kept.trial, kept.share) {
            Ok(()) => tracing::info!(guest = kept.guest.short(), "the trial goes on"),
            Err(error) => {
                tracing::warn!("the trial before the start has ended: {error}");
                self.settle(&mut book, None);
            }
        }
    }
}

pub(super) fn too_large(most: usize) -> Refusal {
    Refusal {
        step: "size",
        reason: format!("the component is larger than {most} bytes"),
    }
}

/// Runs what blocks on a thread that serves nothing. A panic ends it, and nothing
/// else.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VersionsError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| VersionsError::Ended)
}
