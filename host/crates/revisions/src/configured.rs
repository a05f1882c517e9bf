//! Makes the content of the configured guest's file live: when the file has changed, and
//! when somebody asks for it.
//!
//! A load takes time, and more may be decided meanwhile: the last decision wins. A content
//! is recorded as settled once its outcome is certain, and not before: if the process ends
//! during the load, the next start finds a changed file.

use std::sync::Arc;

use super::candidate::{blocking, too_large};
use super::control::Revisions;
use super::metrics::Trigger;
use super::{Added, Change, Origin, RevisionError, file};
use predictor::{Revision, Router};

impl Revisions {
    /// Reads the configured guest again and makes it live, even if its file has not changed
    /// since another revision was chosen.
    ///
    /// Once begun, this runs to its end even if the future is dropped.
    ///
    /// # Errors
    ///
    /// If it cannot be read or served, if it is quarantined, or if another revision was
    /// chosen while it was loaded.
    pub async fn reload(self: &Arc<Self>) -> Result<(Added, Change), RevisionError> {
        let revisions = Arc::clone(self);
        let read = blocking(move || {
            let read = file::read(&revisions.options.guest, revisions.options.max_bytes);
            let (component, _) = read.map_err(|unfit| revisions.unfit(unfit))?;
            let revision = revisions.revision(&component);
            Ok((component, revision))
        });
        match read.await? {
            Ok((component, revision)) => {
                self.swap_to_file(component, revision, Trigger::Signal)
                    .await
            }
            Err(error) => {
                self.metrics.candidate(Err(&error));
                Err(error)
            }
        }
    }

    /// Makes a new content of the configured guest's file live. If the file had the same
    /// content before, later decisions stand; so they do if somebody has chosen a revision
    /// since this was first tried, when there had been `choices` choices.
    pub(super) async fn follow_file(
        self: &Arc<Self>,
        component: Vec<u8>,
        revision: Arc<Revision>,
        choices: u64,
    ) -> Result<Option<Change>, RevisionError> {
        {
            let mut registry = self.registry();
            if registry.seen.as_ref() == Some(&revision) || registry.choices != choices {
                registry.obstacle = None;
                self.settle(&mut registry, None);
                return Ok(None);
            }
        }
        let swapped = self.swap_to_file(component, revision, Trigger::File).await;
        swapped.map(|(_, change)| Some(change))
    }

    async fn swap_to_file(
        self: &Arc<Self>,
        component: Vec<u8>,
        revision: Arc<Revision>,
        trigger: Trigger,
    ) -> Result<(Added, Change), RevisionError> {
        let revisions = Arc::clone(self);
        let swapping = tokio::spawn(async move {
            let added = revisions.add_file(component, &revision).await;
            revisions.conclude(&revision, added, trigger)
        });
        swapping.await.unwrap_or(Err(RevisionError::Ended))
    }

    async fn add_file(
        self: &Arc<Self>,
        component: Vec<u8>,
        revision: &Arc<Revision>,
    ) -> Result<Added, RevisionError> {
        if let Err(error) = self.want(revision) {
            self.metrics.candidate(Err(&error));
            return Err(error);
        }
        let origin = Origin::File(self.options.guest.clone());
        self.add(component, origin).await
    }

    /// Records the content of the configured guest's file as wanted, and refuses it if it is
    /// quarantined.
    fn want(&self, revision: &Arc<Revision>) -> Result<(), RevisionError> {
        let mut registry = self.registry();
        // Before the load, so that a content that cannot be served is not tried again and
        // again.
        registry.seen = Some(Arc::clone(revision));
        registry.wanted = Some(Arc::clone(revision));
        if self.rollout.live() == *revision {
            return Ok(());
        }
        registry.quarantine.admit(revision)
    }

    /// Makes a content live that was added, if it is still wanted.
    fn conclude(
        &self,
        revision: &Arc<Revision>,
        added: Result<Added, RevisionError>,
        trigger: Trigger,
    ) -> Result<(Added, Change), RevisionError> {
        let mut registry = self.registry();
        let live = self.rollout.live();
        let overtaken = live != *revision && registry.wanted.as_ref() != Some(revision);
        let swapped = match added {
            Ok(_) if overtaken => Err(RevisionError::Overtaken {
                guest: revision.guest().short(),
                live: live.guest().short(),
            }),
            Ok(added) => self
                .make_live(&mut registry, revision, trigger)
                .map(|change| (added, change)),
            Err(error) => Err(error),
        };
        registry.settle_file(revision, swapped.as_ref().err());
        self.settle(&mut registry, None);
        swapped
    }

    /// Records that the configured guest's file cannot be used at the moment.
    pub(super) fn record_obstacle(&self, error: &RevisionError) {
        let mut registry = self.registry();
        registry.obstacle = Some(error.to_string());
        self.settle(&mut registry, None);
    }

    pub(super) fn unfit(&self, unfit: file::Unfit) -> RevisionError {
        match unfit {
            file::Unfit::TooLarge => too_large(self.options.max_bytes).into(),
            file::Unfit::Unreadable(reason) => RevisionError::Unreadable {
                path: self.options.guest.clone(),
                reason,
            },
        }
    }
}
