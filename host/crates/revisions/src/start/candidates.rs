//! The guests that a start may begin with.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use super::super::candidate::revision;
use super::super::file::{self, Unfit};
use super::super::state::{Record, Store};
use super::super::{LoadError, Loaded, Loader, Model, Options, Origin};
use super::StartError;
use predictor::{Digest, Priority, Revision};

/// A revision that is loaded at the start.
pub(super) struct First {
    pub(super) loaded: Loaded,
    pub(super) component: Arc<[u8]>,
    pub(super) model: Arc<Model>,
    /// Where the guest came from, unless the state says so.
    pub(super) origin: Origin,
    /// Whether the state has the component.
    pub(super) is_kept: bool,
}

impl First {
    pub(super) fn revision(&self) -> &Arc<Revision> {
        self.loaded.scorer.revision()
    }

    fn kept(self) -> Self {
        Self {
            is_kept: true,
            ..self
        }
    }
}

/// What is needed to try a guest.
pub(super) struct Candidates<'a> {
    pub(super) loader: &'a dyn Loader,
    pub(super) store: Option<&'a Store>,
    pub(super) options: &'a Options,
    pub(super) configured_model: &'a Arc<Model>,
}

impl Candidates<'_> {
    /// Loads a component with a model. The server serves nobody before that.
    fn load(
        &self,
        component: Vec<u8>,
        model: &Arc<Model>,
        origin: Origin,
    ) -> Result<First, LoadError> {
        Ok(First {
            loaded: self.loader.load(&component, model, Priority::Live)?,
            component: component.into(),
            model: Arc::clone(model),
            origin,
            is_kept: false,
        })
    }

    /// Loads a component with the configured model.
    fn load_here(&self, component: Vec<u8>, origin: Origin) -> Result<First, LoadError> {
        self.load(component, self.configured_model, origin)
    }

    /// Loads a revision from the state.
    fn load_kept(&self, revision: &Revision) -> Result<First, String> {
        let component = self.kept_component(revision)?;
        let model = self.model(&revision.model());
        let loaded = self.load(component, &model, self.configured_origin());
        loaded.map(First::kept).map_err(|error| error.to_string())
    }

    /// A model: the configured one, or else one in the state directory.
    fn model(&self, digest: &Digest) -> Arc<Model> {
        match self.store {
            Some(store) if self.configured_model.digest != *digest => {
                Arc::new(store.model(*digest))
            }
            _ => Arc::clone(self.configured_model),
        }
    }

    fn configured_origin(&self) -> Origin {
        Origin::File(self.options.guest.clone())
    }

    fn kept_component(&self, revision: &Revision) -> Result<Vec<u8>, String> {
        let store = self.store.ok_or("no state is kept")?;
        let component = store.component(&revision.guest(), self.options.max_bytes as u64);
        component.map_err(|error| error.to_string())
    }

    /// The first of these that can be served.
    pub(super) fn kept(&self, revisions: &[Arc<Revision>]) -> Option<First> {
        self.store?;
        revisions.iter().find_map(|revision| {
            let found = self.load_kept(revision);
            let warn = |reason: &String| {
                tracing::warn!(
                    "the version {} was live before the start, and CANNOT BE SERVED: {reason}",
                    revision.short()
                );
            };
            found.inspect_err(warn).ok()
        })
    }

    pub(super) fn configured(
        &self,
        file: Result<Vec<u8>, StartError>,
    ) -> Result<First, StartError> {
        let path = self.options.guest.clone();
        let found = self.load_here(file?, self.configured_origin());
        found.map_err(|error| match error {
            LoadError::Refused(refusal) => StartError::Refused { path, refusal },
            LoadError::Unavailable(reason) | LoadError::NoRoom(reason) => {
                StartError::Unavailable { path, reason }
            }
        })
    }

    /// The fallback guest, unless it is the one that is configured.
    pub(super) fn fallback(&self, configured: Option<&Revision>) -> Option<First> {
        let (component, origin) = self.fallback_component(configured)?;
        let found = self.load_here(component, origin);
        found.inspect_err(|error| unusable_fallback(error)).ok()
    }

    /// The component of the fallback guest, unless it is `other`.
    fn fallback_component(&self, other: Option<&Revision>) -> Option<(Vec<u8>, Origin)> {
        let path = self.options.fallback.as_ref()?;
        let component = read_guest(path, self.options.max_bytes);
        let component = component
            .inspect_err(|error| unusable_fallback(error))
            .ok()?;
        let fallback = revision(&component, self.configured_model);
        (Some(&*fallback) != other).then(|| (component, Origin::File(path.clone())))
    }

    /// The fallback for the live revision: none if that was trusted at the end; otherwise
    /// what was trusted then, or else the fallback guest.
    pub(super) fn standby(&self, record: &Record, live: &Arc<Revision>) -> Option<First> {
        let was_live = record.history.last() == Some(live);
        if was_live && record.standby.is_none() {
            return None;
        }
        let fit =
            |revision: &Revision| *revision != **live && record.quarantined(revision).is_none();
        let trusted = record.standby.as_ref().or_else(|| record.history.last());
        let trusted = trusted.filter(|revision| fit(revision));
        let trusted = trusted.and_then(|revision| {
            let loaded = self.load_kept(revision);
            let warn = |reason: &String| {
                tracing::warn!(
                    "the version {}, which was trusted before the start, cannot stand by for {}: \
                     {reason}",
                    revision.short(),
                    live.short()
                );
            };
            loaded.inspect_err(warn).ok()
        });
        trusted.or_else(|| {
            let (component, origin) = self.fallback_component(Some(live))?;
            if !fit(&revision(&component, self.configured_model)) {
                return None;
            }
            let loaded = self.load_here(component, origin);
            loaded.inspect_err(|error| unusable_fallback(error)).ok()
        })
    }
}

fn unusable_fallback(error: &dyn Display) {
    tracing::warn!("the fallback guest cannot be used: {error}");
}

/// Reads a component of at most `most` bytes.
pub(super) fn read_guest(path: &Path, most: usize) -> Result<Vec<u8>, StartError> {
    let reason = match file::read(path, most) {
        Ok((component, _)) => return Ok(component),
        Err(Unfit::TooLarge) => format!("it is larger than {most} bytes"),
        Err(Unfit::Unreadable(reason)) => reason,
    };
    Err(StartError::Unreadable {
        path: path.to_owned(),
        reason,
    })
}
