//! Going to what the configured guest's file holds: when it has changed, and when
//! somebody asks for it.
//!
//! A load takes its time, and more may be decided meanwhile: of all that is asked
//! for, what was asked for last is done. Which content the file had is kept once it
//! is certain what becomes of it, and not before: if the process ends during the
//! load, the next one finds a file that has changed.

use std::sync::Arc;

use super::candidate::{blocking, too_large};
use super::control::Versions;
use super::metrics::Trigger;
use super::{Added, Change, Origin, VersionsError, file};
use predictor::{Digest, Router};

impl Versions {
    /// Reads the configured guest again, and makes it live if it is not: also if
    /// its file has not changed since another version was chosen.
    ///
    /// What has begun goes on to its end even if the future is dropped.
    ///
    /// # Errors
    ///
    /// If it can not be read or served, if it is quarantined, or if another version
    /// was chosen while it was loaded.
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
    /// had it before: then whatever was decided since then stands. So it does if somebody
    /// has chosen a version since there were so many `choices`, when this was first tried.
    pub(super) async fn follow_file(
        self: &Arc<Self>,
        component: Vec<u8>,
        guest: Digest,
        choices: u64,
    ) -> Result<Option<Change>, VersionsError> {
        {
            let mut book = self.book();
            if book.seen == Some(guest) || book.choices != choices {
                book.obstacle = None;
                self.settle(&mut book, None);
                return Ok(None);
            }
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
        let versions = Arc::clone(self);
        let swapping = tokio::spawn(async move {
            let added = versions.add_file(component, guest).await;
            versions.conclude(guest, added, trigger)
        });
        swapping.await.unwrap_or(Err(VersionsError::Ended))
    }

    async fn add_file(
        self: &Arc<Self>,
        component: Vec<u8>,
        guest: Digest,
    ) -> Result<Added, VersionsError> {
        if let Err(error) = self.want(guest) {
            self.metrics.candidate(Err(&error));
            return Err(error);
        }
        let origin = Origin::File(self.options.guest.clone());
        self.add(component, origin).await
    }

    /// Takes note of the content of the configured guest's file, and refuses it
    /// if it is quarantined.
    fn want(&self, guest: Digest) -> Result<(), VersionsError> {
        let mut book = self.book();
        // Before the load, so that a content that can not be served is not tried
        // again and again.
        book.seen = Some(guest);
        book.wanted = Some(guest);
        if self.rollout.live().guest == guest {
            return Ok(());
        }
        book.quarantine.admit(&guest)
    }

    /// Makes a content live that was added, if it is still to be.
    fn conclude(
        &self,
        guest: Digest,
        added: Result<Added, VersionsError>,
        trigger: Trigger,
    ) -> Result<(Added, Change), VersionsError> {
        let mut book = self.book();
        let live = self.rollout.live().guest;
        let overtaken = live != guest && book.wanted != Some(guest);
        let swapped = match added {
            Ok(_) if overtaken => Err(VersionsError::Overtaken {
                guest: guest.short(),
                live: live.short(),
            }),
            Ok(added) => self
                .make_live(&mut book, &guest, trigger)
                .map(|change| (added, change)),
            Err(error) => Err(error),
        };
        book.deal_with(guest, swapped.as_ref().err());
        self.settle(&mut book, None);
        swapped
    }

    /// Takes note that the configured guest's file cannot be used just now.
    pub(super) fn note_obstacle(&self, error: &VersionsError) {
        let mut book = self.book();
        book.obstacle = Some(error.to_string());
        self.settle(&mut book, None);
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
