//! Makes what is configured live, a guest's file, its configuration and a model's directory:
//! when one of them has changed, and when somebody asks for it.
//!
//! A load takes time, and more may be decided meanwhile: the last decision wins. A content
//! is recorded as settled once its outcome is certain, and not before: if the process ends
//! during the load, the next start finds a changed file.

use std::sync::Arc;

use bytes::Bytes;

use super::candidate::{blocking, revision, too_large};
use super::control::Revisions;
use super::metrics::Trigger;
use super::{Added, Change, Guest, LoadError, Model, Origin, RevisionError, file};
use predictor::{Revision, Router};

/// What is configured, as it was read.
pub(super) struct Content {
    pub(super) component: Bytes,
    pub(super) model: Arc<Model>,
    pub(super) revision: Arc<Revision>,
}

impl Revisions {
    /// Reads what is configured again and makes it live, even if nothing has changed since
    /// another revision was chosen. With a rollout file, that is followed again.
    ///
    /// Once begun, this runs to its end even if the future is dropped.
    ///
    /// # Errors
    ///
    /// If it cannot be read or served, if it is quarantined, or if another revision was
    /// chosen while it was loaded.
    pub async fn reload(self: &Arc<Self>) -> Result<(Added, Change), RevisionError> {
        if let Some(desired) = &self.options.rollout {
            return self.resume(desired).await;
        }
        let revisions = Arc::clone(self);
        let read = blocking(move || {
            let read = file::read(&revisions.options.guest, revisions.options.max_bytes);
            let (component, _) = read.map_err(|unfit| revisions.unfit(unfit))?;
            revisions.content(component)
        });
        match read.await? {
            Ok(content) => self.swap_to(content, Trigger::Signal).await,
            Err(error) => {
                self.metrics.candidate(Err(&error));
                Err(error)
            }
        }
    }

    /// What is configured, given the component that is in the guest's file.
    pub(super) fn content(&self, component: Vec<u8>) -> Result<Content, RevisionError> {
        let dir = &self.options.model;
        let model = self.loader.model(dir).map_err(|error| match error {
            LoadError::Unavailable(reason) => RevisionError::Unreadable {
                path: dir.clone(),
                reason,
            },
            error => error.into(),
        })?;
        let configuration = self.options.configuration.read()?;
        let (model, _) = self.registry().add_model(Arc::new(model));
        let component: Bytes = component.into();
        Ok(Content {
            revision: revision(&component, &configuration, &model),
            component,
            model,
        })
    }

    /// Makes a new content of what is configured live. If it was the same before, later
    /// decisions stand; so they do if somebody has chosen a revision since this was first
    /// tried, when there had been `choices` choices.
    pub(super) async fn follow(
        self: &Arc<Self>,
        content: Content,
        choices: u64,
    ) -> Result<Option<Change>, RevisionError> {
        {
            let mut registry = self.registry();
            if registry.seen.as_ref() == Some(&content.revision) || registry.choices != choices {
                registry.obstacle = None;
                self.settle(&mut registry, None);
                return Ok(None);
            }
        }
        let swapped = self.swap_to(content, Trigger::File).await;
        swapped.map(|(_, change)| Some(change))
    }

    async fn swap_to(
        self: &Arc<Self>,
        content: Content,
        trigger: Trigger,
    ) -> Result<(Added, Change), RevisionError> {
        let revisions = Arc::clone(self);
        let swapping = tokio::spawn(async move {
            let revision = Arc::clone(&content.revision);
            let added = revisions.add_configured(content).await;
            revisions.conclude(&revision, added, trigger)
        });
        swapping.await.unwrap_or(Err(RevisionError::Ended))
    }

    async fn add_configured(self: &Arc<Self>, content: Content) -> Result<Added, RevisionError> {
        if let Err(error) = self.want(&content.revision) {
            self.metrics.candidate(Err(&error));
            return Err(error);
        }
        let origin = Origin::File(self.options.guest.clone());
        let guest = Guest {
            component: content.component,
            origin,
            configuration: content.revision.configuration().clone(),
            name: None,
        };
        self.add(guest, content.model).await
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
                revision: revision.short(),
                live: live.short(),
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
