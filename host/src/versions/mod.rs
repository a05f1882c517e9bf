//! The versions that there are: adding one, making one live, going back.
//!
//! A candidate is loaded beside the live version, and every failure leaves that
//! one as it was. Loads are serial; what needs no load, such as a rollback, waits
//! for none.
//!
//! This module must not know guests or HTTP: a [`Loader`] makes a version of a
//! component's bytes, and the `rollout` sends texts to it.

mod error;
mod known;

pub use error::VersionsError;
pub use known::{Known, Origin, Standing};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use known::Book;

use crate::predictor::{Digest, Scorer, Version};
use crate::rollout::{Rollout, Share, Status, Trial};

/// Makes versions of components.
pub trait Loader: Send + Sync + 'static {
    /// What the answers of a component would be known by. This takes no longer
    /// than reading the bytes.
    fn version(&self, component: &[u8]) -> Version;

    /// Loads a component and tests it. This blocks, for seconds if the component
    /// was never seen before.
    ///
    /// # Errors
    ///
    /// If any step fails.
    fn load(&self, component: &[u8]) -> Result<Loaded, Refusal>;
}

/// A version that is ready to serve.
pub struct Loaded {
    /// What scores texts.
    pub scorer: Arc<dyn Scorer>,
    /// Whether it had to be compiled.
    pub compiled: bool,
}

/// Why a component can not be a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The step that failed, such as `self_test`.
    pub step: &'static str,
    /// What was wrong, in a sentence for the component's author.
    pub reason: String,
}

/// How many versions are known at once, and so ready to be made live.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configured guest, from which a version is made at the start.
    pub guest: PathBuf,
    /// The most versions. Beyond that, those that were in use longest ago are
    /// forgotten; the live one never is.
    pub keep: usize,
}

/// A version that was added.
#[derive(Clone, Debug)]
pub struct Added {
    /// The version.
    pub version: Arc<Version>,
    /// Whether it was known, and ready, before.
    pub known: bool,
    /// Whether it had to be compiled.
    pub compiled: bool,
    /// How long it took until it was ready.
    pub took: Duration,
}

/// What became of the live version.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that is live now.
    pub live: Arc<Version>,
    /// The one that was live before; the same if nothing has changed.
    pub before: Arc<Version>,
}

/// The versions that there are, and the ways to change which is in use.
pub struct Versions {
    loader: Arc<dyn Loader>,
    rollout: Arc<Rollout>,
    options: Options,
    /// Held while a candidate is loaded: one at a time, in the order of asking.
    loading: tokio::sync::Mutex<()>,
    book: Mutex<Book>,
}

impl Versions {
    /// Begins with the version that `rollout` began with.
    pub fn new(
        loader: Arc<dyn Loader>,
        rollout: Arc<Rollout>,
        first: Loaded,
        size: usize,
        options: Options,
    ) -> Arc<Self> {
        let origin = Origin::File(options.guest.clone());
        Arc::new(Self {
            loader,
            rollout,
            options,
            loading: tokio::sync::Mutex::default(),
            book: Mutex::new(Book::new(first.scorer, origin, size)),
        })
    }

    /// Adds a version without sending it any text. A component that is known
    /// already is found, not loaded.
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
        let adding = tokio::spawn(async move { versions.add_one(component, origin).await });
        adding.await.unwrap_or(Err(VersionsError::Ended))
    }

    async fn add_one(
        self: Arc<Self>,
        component: Vec<u8>,
        origin: Origin,
    ) -> Result<Added, VersionsError> {
        let begun = Instant::now();
        let _loading = self.loading.lock().await;
        let load = {
            let (versions, begun) = (Arc::clone(&self), begun);
            move || {
                let version = Arc::new(versions.loader.version(&component));
                if versions.book().find(&version.guest).is_some() {
                    return Ok(Added {
                        version,
                        known: true,
                        compiled: false,
                        took: begun.elapsed(),
                    });
                }
                let size = component.len();
                let loaded = versions.loader.load(&component)?;
                versions.keep(loaded.scorer, origin, size);
                Ok(Added {
                    version,
                    known: false,
                    compiled: loaded.compiled,
                    took: begun.elapsed(),
                })
            }
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.unwrap_or(Err(VersionsError::Ended))
    }

    fn keep(&self, scorer: Arc<dyn Scorer>, origin: Origin, size: usize) {
        let mut book = self.book();
        book.add(scorer, origin, size);
        book.forget_beyond(self.options.keep);
    }

    /// Makes a version live that was added before. Nothing changes if it is live
    /// already. One that is quarantined is made live only if it is insisted on.
    ///
    /// # Errors
    ///
    /// If there is no such version, or if it is quarantined.
    pub fn activate(&self, guest: &Digest, _insist: bool) -> Result<Change, VersionsError> {
        let mut book = self.book();
        let before = book.live();
        let scorer = book.activate(guest)?;
        let live = Arc::clone(scorer.version());
        if live != before {
            self.rollout.activate(scorer, true);
            tracing::info!(
                guest = live.guest.short(),
                before = before.guest.short(),
                "swapped"
            );
        }
        Ok(Change { live, before })
    }

    /// Makes the version live that was live before the one that is. Given the
    /// version to be left, nothing is done if that is not live any more, so that
    /// who asks twice does not go back twice.
    ///
    /// # Errors
    ///
    /// If there was none, if it is not known any more, or if `from` is not live.
    pub fn rollback(&self, from: Option<&Digest>) -> Result<Change, VersionsError> {
        let mut book = self.book();
        let before = book.live();
        if let Some(given) = from.filter(|from| **from != before.guest) {
            return Err(VersionsError::NotLive {
                given: given.short(),
                live: before.guest.short(),
            });
        }
        let scorer = book.step_back()?;
        let live = Arc::clone(scorer.version());
        self.rollout.activate(scorer, false);
        tracing::info!(
            guest = live.guest.short(),
            before = before.guest.short(),
            "rolled back"
        );
        Ok(Change { live, before })
    }

    /// Reads the configured guest again, and makes it live if it is another one.
    ///
    /// # Errors
    ///
    /// If it can not be read or served.
    pub async fn reload(self: &Arc<Self>) -> Result<(Added, Change), VersionsError> {
        let path = self.options.guest.clone();
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
        let component = read.map_err(|_| VersionsError::Ended)?;
        let component = component.map_err(|error| VersionsError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let added = self.add(component, Origin::File(path)).await?;
        let change = self.activate(&added.version.guest, false)?;
        Ok((added, change))
    }

    /// Tries a version beside the live one with a share of the texts; a trial that
    /// goes on ends.
    ///
    /// # Errors
    ///
    /// If there is no such version, if it is quarantined, or if it is live.
    pub fn begin_trial(
        &self,
        guest: &Digest,
        trial: Trial,
        share: Share,
    ) -> Result<(), VersionsError> {
        let book = self.book();
        let scorer = book.find(guest);
        let scorer = scorer.ok_or_else(|| VersionsError::Unknown(guest.short()))?;
        if book.live().guest == *guest {
            return Err(VersionsError::IsLive(guest.short()));
        }
        self.rollout.begin_trial(Arc::clone(scorer), trial, share);
        Ok(())
    }

    /// Makes the version live that is on trial.
    ///
    /// # Errors
    ///
    /// If none is.
    pub fn promote(&self) -> Result<Change, VersionsError> {
        let trial = self.rollout.status().trial.ok_or(VersionsError::NoTrial)?;
        self.activate(&trial.version.guest, false)
    }

    /// Ends the trial, and leaves the live version live.
    ///
    /// # Errors
    ///
    /// If no version is on trial.
    pub fn end_trial(&self) -> Result<Arc<Version>, VersionsError> {
        self.rollout.end_trial().ok_or(VersionsError::NoTrial)
    }

    /// What is in use, and how it does.
    pub fn status(&self) -> Status {
        self.rollout.status()
    }

    /// Forgets a version.
    ///
    /// # Errors
    ///
    /// If there is no such version, or if it is in use.
    pub fn remove(&self, guest: &Digest) -> Result<(), VersionsError> {
        self.book().remove(guest)
    }

    /// All versions, those that were added last first.
    pub fn list(&self) -> Vec<Known> {
        self.book().list()
    }

    /// The one version whose guest's digest begins with `prefix`, in hexadecimal
    /// digits.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one.
    pub fn find(&self, prefix: &str) -> Result<Known, VersionsError> {
        let mut found = self.list().into_iter().filter(|known| {
            !prefix.is_empty() && known.version.guest.to_string().starts_with(prefix)
        });
        match (found.next(), found.next()) {
            (Some(known), None) => Ok(known),
            (None, _) => Err(VersionsError::Unknown(prefix.to_owned())),
            (Some(_), Some(_)) => Err(VersionsError::Ambiguous(prefix.to_owned())),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time, as it is told to people.
fn now() -> SystemTime {
    SystemTime::now()
}
