//! The guests that a start may begin with.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use super::super::file::{self, Unfit};
use super::super::state::{Record, Store};
use super::super::{LoadError, Loaded, Loader, Options, Origin};
use super::StartError;
use predictor::{Digest, Priority, Revision, Scorer};

/// A revision that is loaded at the start.
pub(super) struct First {
    pub(super) loaded: Loaded,
    pub(super) size: usize,
    /// Where it came from, unless the state says so.
    pub(super) origin: Origin,
    /// The component, unless the state has it.
    pub(super) component: Option<Vec<u8>>,
}

impl First {
    pub(super) fn revision(&self) -> &Arc<Revision> {
        self.loaded.scorer.revision()
    }

    /// Marks its component as kept already.
    fn kept(self) -> Self {
        Self {
            component: None,
            ..self
        }
    }
}

/// What is needed to try a guest.
pub(super) struct Candidates<'a, M> {
    pub(super) loader: &'a dyn Loader,
    pub(super) store: Option<&'a Store>,
    pub(super) options: &'a Options,
    pub(super) measure: M,
}

impl<T, M: FnMut(&dyn Scorer) -> Result<T, LoadError>> Candidates<'_, M> {
    /// Loads a component. The server serves nobody before that.
    fn load(&self, component: Vec<u8>, origin: Origin) -> Result<First, LoadError> {
        Ok(First {
            loaded: self.loader.load(&component, Priority::Live)?,
            size: component.len(),
            origin,
            component: Some(component),
        })
    }

    fn test(&mut self, component: Vec<u8>, origin: Origin) -> Result<(First, T), LoadError> {
        let first = self.load(component, origin)?;
        let measured = (self.measure)(&*first.loaded.scorer)?;
        Ok((first, measured))
    }

    fn revision(&self, component: &[u8]) -> Revision {
        self.loader.revision(Digest::of(component))
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
    pub(super) fn kept(&mut self, revisions: &[Arc<Revision>]) -> Option<(First, T)> {
        self.store?;
        revisions.iter().find_map(|revision| {
            let found = self.kept_component(revision).and_then(|component| {
                let tested = self.test(component, self.configured_origin());
                let (first, measured) = tested.map_err(|error| error.to_string())?;
                Ok((first.kept(), measured))
            });
            let warn = |reason: &String| {
                tracing::warn!(
                    "the version {} was live before the start, and CANNOT BE SERVED: {reason}",
                    revision.guest().short()
                );
            };
            found.inspect_err(warn).ok()
        })
    }

    pub(super) fn configured(
        &mut self,
        file: Result<Vec<u8>, StartError>,
    ) -> Result<(First, T), StartError> {
        let path = self.options.guest.clone();
        let found = self.test(file?, self.configured_origin());
        found.map_err(|error| match error {
            LoadError::Refused(refusal) => StartError::Refused { path, refusal },
            LoadError::Unavailable(reason) => StartError::Unavailable { path, reason },
        })
    }

    /// The fallback guest, unless it is the one that is configured.
    pub(super) fn fallback(&mut self, configured: Option<&Revision>) -> Option<(First, T)> {
        let (component, origin) = self.fallback_component(configured)?;
        let found = self.test(component, origin);
        found.inspect_err(|error| unusable_fallback(error)).ok()
    }

    /// The component of the fallback guest, unless it is `other`.
    fn fallback_component(&self, other: Option<&Revision>) -> Option<(Vec<u8>, Origin)> {
        let path = self.options.fallback.as_ref()?;
        let component = read_guest(path, self.options.max_bytes);
        let component = component
            .inspect_err(|error| unusable_fallback(error))
            .ok()?;
        (Some(&self.revision(&component)) != other).then(|| (component, Origin::File(path.clone())))
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
            let component = self.kept_component(revision);
            let loaded = component.and_then(|component| {
                let loaded = self.load(component, self.configured_origin());
                loaded.map(First::kept).map_err(|error| error.to_string())
            });
            let warn = |reason: &String| {
                tracing::warn!(
                    "the version {}, which was trusted before the start, cannot stand by for {}: \
                     {reason}",
                    revision.guest().short(),
                    live.guest().short()
                );
            };
            loaded.inspect_err(warn).ok()
        });
        trusted.or_else(|| {
            let (component, origin) = self.fallback_component(Some(live))?;
            if !fit(&self.revision(&component)) {
                return None;
            }
            let loaded = self.load(component, origin);
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
