//! Making versions of components: of what is uploaded, of the configured guest's
//! file, and of what was kept over a restart.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::control::Versions;
use super::known::Entry;
use super::metrics::Trigger;
use super::state::KeptVersion;
use super::{Added, Change, Origin, Refusal, VersionsError, file, now};
use crate::predictor::{Digest, Priority, Router};

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
        let (component, added) = blocking(move || {
            let added = versions.find_component(&component, begun);
            (component, added)
        })
        .await?;
        if let Some(added) = added {
            return Ok(added);
        }
        let _loading = self.loading.lock().await;
        let versions = Arc::clone(self);
        blocking(move || versions.load(component, origin, begun)).await?
    }

    fn find_component(&self, component: &[u8], begun: Instant) -> Option<Added> {
        let version = self.loader.version(component);
        let scorer = self.book().scorer(&version.guest).ok()?;
        Some(Added {
            version: Arc::clone(scorer.version()),
            known: true,
            compiled: false,
            took: begun.elapsed(),
        })
    }

    /// Loads a component, unless the one that was loaded before it was the same.
    fn load(
        &self,
        component: Vec<u8>,
        origin: Origin,
        begun: Instant,
    ) -> Result<Added, VersionsError> {
        if component.len() > self.options.max_bytes {
            return Err(too_large(self.options.max_bytes).into());
        }
        if let Some(added) = self.find_component(&component, begun) {
            return Ok(added);
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

    /// Reads the configured guest again, and makes it live if it is not: also if
    /// its file has not changed since another version was chosen.
    ///
    /// # Errors
    ///
    /// If it can not be read or served, or if it is quarantined.
    pub async fn reload(self: &Arc<Self>) -> Result<(Added, Change), VersionsError> {
        let versions = Arc::clone(self);
        let read = blocking(move || {
            let read = file::read(&versions.options.guest, versions.options.max_bytes);
            let (component, _) = read.map_err(|unfit| versions.unfit(unfit))?;
            let guest = versions.loader.version(&component).guest;
            Ok((component, guest))
        });
        match read.await? {
            Ok((component, guest)) => self.swap_to_file(component, guest, Trigger::Signal).await,
            Err(error) => {
                self.metrics.candidate(Err(&error));
                Err(error)
            }
        }
    }

    /// Makes a content of the configured guest's file live, unless the file has
    /// had it before: then whatever was decided since then stands.
    pub(super) async fn follow_file(
        self: &Arc<Self>,
        component: Vec<u8>,
    ) -> Result<Option<Change>, VersionsError> {
        let versions = Arc::clone(self);
        let (component, guest) = blocking(move || {
            let guest = versions.loader.version(&component).guest;
            (component, guest)
        })
        .await?;
        if self.book().configured == Some(guest) {
            return Ok(None);
        }
        let swapped = self.swap_to_file(component, guest, Trigger::File).await;
        swapped.map(|(_, change)| Some(change))
    }

    async fn swap_to_file(
        self: &Arc<Self>,
        component: Vec<u8>,
        guest: Digest,
        trigger: Trigger,
    ) -> Result<(Added, Change), VersionsError> {
        // Before the load, so that a content that can not be served is not tried
        // again and again.
        if let Err(error) = self.configure(guest) {
            self.metrics.candidate(Err(&error));
            return Err(error);
        }
        let origin = Origin::File(self.options.guest.clone());
        let added = self.add(component, origin).await?;
        let change = self.make_live(&mut self.book(), &added.version.guest, trigger)?;
        Ok((added, change))
    }

    /// Takes note of the content of the configured guest's file, and refuses it
    /// if it is quarantined.
    fn configure(&self, guest: Digest) -> Result<(), VersionsError> {
        let mut book = self.book();
        book.configured = Some(guest);
        self.settle(&mut book, None);
        if self.rollout.live().guest == guest {
            return Ok(());
        }
        book.quarantine.admit(&guest)
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
        let Some(kept) = self.book().absent_trial.take() else {
            return;
        };
        match self.begin_trial(&kept.guest, kept.trial, kept.share) {
            Ok(()) => tracing::info!(guest = kept.guest.short(), "the trial goes on"),
            Err(error) => tracing::warn!("the trial before the start has ended: {error}"),
        }
    }

    pub(super) fn unfit(&self, unfit: file::Unfit) -> VersionsError {
        match unfit {
            file::Unfit::TooLarge => too_large(self.options.max_bytes).into(),
            file::Unfit::Unreadable(reason) => VersionsError::Unreadable {
                path: self.options.guest.clone(),
                reason,
            },
        }
    }
}

fn too_large(most: usize) -> Refusal {
    Refusal {
        step: "size",
        reason: format!("the component is larger than {most} bytes"),
    }
}

/// Runs what blocks on a thread that serves nothing. A panic ends it, and nothing
/// else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VersionsError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| VersionsError::Ended)
}
