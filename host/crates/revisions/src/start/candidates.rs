//! The guests that a start may begin with.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::super::candidate::revision;
use super::super::desired::fetch::{Fetched, Fetcher, Installed};
use super::super::file::{self, Unfit};
use super::super::naming;
use super::super::state::Record;
use super::super::{
    DesiredState, Guest, LoadError, Loaded, Model, Options, Origin, Parts, RevisionError, Role,
};
use super::StartError;
use predictor::{Configuration, Digest, Priority, Revision};

/// A revision that is loaded at the start.
pub(super) struct First {
    pub(super) loaded: Loaded,
    pub(super) component: Bytes,
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
    pub(super) installed: &'a Installed,
    pub(super) options: &'a Options,
}

impl Candidates<'_> {
    /// Loads a component with a model. The server serves nobody before that.
    fn load(
        &self,
        component: impl Into<Bytes>,
        configuration: &Configuration,
        model: &Arc<Model>,
        origin: Origin,
    ) -> Result<First, LoadError> {
        let component = component.into();
        Ok(First {
            loaded: self
                .installed
                .loader
                .load(&component, configuration, model, Priority::Live)?,
            component,
            model: Arc::clone(model),
            origin,
            is_kept: false,
        })
    }

    /// Loads a component with the configured model.
    fn load_here(
        &self,
        component: Vec<u8>,
        configuration: &Configuration,
        origin: Origin,
    ) -> Result<First, LoadError> {
        self.load(component, configuration, &self.installed.model, origin)
    }

    /// What a rollout file declares live, and what stands by for it; if that cannot be
    /// loaded, what it declares trusted. `None` without a rollout file, too.
    pub(super) fn declared(&self, record: &Record) -> Option<(First, Option<First>)> {
        let desired = self.options.rollout.as_ref()?;
        let goal = Handle::current().block_on(desired.at_start(self.installed))?;
        let fetcher = Fetcher::new(&goal, self.installed);
        let fetcher = fetcher.inspect_err(|error| desired.failed(Role::Live, error));
        let fetcher = fetcher.ok()?;
        let in_role = |role, parts: &Parts| {
            let loaded = self.load_declared(record, desired, role, parts, &fetcher);
            loaded.inspect_err(|error| desired.failed(role, error)).ok()
        };
        let configured = Parts::default();
        let trusted = goal.trusted.as_ref().unwrap_or(&configured);
        let Some(live) = in_role(Role::Live, &goal.live) else {
            let trusted = in_role(Role::Trusted, goal.trusted.as_ref()?)?;
            tracing::error!(
                "WHAT IS DECLARED LIVE IS NOT SERVED: {}, which is declared trusted, is",
                trusted.revision().short()
            );
            return Some((trusted, None));
        };
        let revision = Arc::clone(live.revision());
        let standby = self.standby(record, &revision, || {
            let trusted = in_role(Role::Trusted, trusted)?;
            (*trusted.revision() != revision).then_some(trusted)
        });
        Some((live, standby))
    }

    fn load_declared(
        &self,
        record: &Record,
        desired: &DesiredState,
        role: Role,
        parts: &Parts,
        fetcher: &Fetcher,
    ) -> Result<First, RevisionError> {
        desired.begin(role, "fetch");
        let Fetched {
            guest:
                Guest {
                    component,
                    origin,
                    configuration,
                    ..
                },
            model,
            signed_by,
            is_pulled,
        } = Handle::current().block_on(fetcher.fetch(parts))?;
        if is_pulled {
            desired.has_fetched();
        }
        desired.begin(role, "load");
        let model = self.installed.keep(model)?;
        let wanted = revision(&component, &configuration, &model);
        desired.found(role, &wanted, signed_by);
        if let Some(entry) = record.quarantined(&wanted) {
            return Err(RevisionError::Quarantined {
                revision: wanted.short(),
                reason: entry.reason.clone(),
            });
        }
        Ok(self.load(component, &configuration, &model, origin)?)
    }

    /// Loads a revision from the state.
    fn load_kept(&self, revision: &Revision) -> Result<First, String> {
        let component = self.kept_component(revision)?;
        let model = self.model(&revision.model());
        let loaded = self.load(
            component,
            revision.configuration(),
            &model,
            self.configured_origin(),
        );
        let called = |first: First| First {
            loaded: naming::called(first.loaded, revision.name()),
            ..first
        };
        loaded
            .map(called)
            .map(First::kept)
            .map_err(|error| error.to_string())
    }

    /// A model: the configured one, or else one in the state directory.
    fn model(&self, digest: &Digest) -> Arc<Model> {
        match &self.installed.store {
            Some(store) if self.installed.model.digest != *digest => Arc::new(store.model(*digest)),
            _ => Arc::clone(&self.installed.model),
        }
    }

    fn configured_origin(&self) -> Origin {
        Origin::File(self.options.guest.clone())
    }

    fn kept_component(&self, revision: &Revision) -> Result<Vec<u8>, String> {
        let store = self.installed.store.as_ref().ok_or("no state is kept")?;
        let component = store.component(&revision.guest(), self.options.max_bytes as u64);
        component.map_err(|error| error.to_string())
    }

    /// The first of these that can be served.
    pub(super) fn kept(&self, revisions: &[Arc<Revision>]) -> Option<First> {
        self.installed.store.as_ref()?;
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

    /// Reads the configured guest's file, and its configuration.
    pub(super) fn read_configured(&self) -> Result<(Vec<u8>, Configuration), StartError> {
        let component = read_guest(&self.options.guest, self.options.max_bytes)?;
        Ok((component, self.options.configuration.read()?))
    }

    pub(super) fn configured(
        &self,
        read: Result<(Vec<u8>, Configuration), StartError>,
    ) -> Result<First, StartError> {
        let path = self.options.guest.clone();
        let (component, configuration) = read?;
        let found = self.load_here(component, &configuration, self.configured_origin());
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
        let found = self.load_here(component, FALLBACK, origin);
        found.inspect_err(|error| unusable_fallback(error)).ok()
    }

    /// The component of the fallback guest, unless it is `other`.
    fn fallback_component(&self, other: Option<&Revision>) -> Option<(Vec<u8>, Origin)> {
        let path = self.options.fallback.as_ref()?;
        let component = read_guest(path, self.options.max_bytes);
        let component = component
            .inspect_err(|error| unusable_fallback(error))
            .ok()?;
        let fallback = revision(&component, FALLBACK, &self.installed.model);
        (Some(&*fallback) != other).then(|| (component, Origin::File(path.clone())))
    }

    /// The fallback for the live revision: none if that was trusted at the end; otherwise
    /// what was trusted then, or else what is declared trusted, or else the fallback guest.
    pub(super) fn standby(
        &self,
        record: &Record,
        live: &Arc<Revision>,
        declared: impl FnOnce() -> Option<First>,
    ) -> Option<First> {
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
        trusted.or_else(declared).or_else(|| {
            let (component, origin) = self.fallback_component(Some(live))?;
            if !fit(&revision(&component, FALLBACK, &self.installed.model)) {
                return None;
            }
            let loaded = self.load_here(component, FALLBACK, origin);
            loaded.inspect_err(|error| unusable_fallback(error)).ok()
        })
    }
}

/// The configuration of the fallback guest: what is configured may be what is wrong.
const FALLBACK: &Configuration = &Revision::NO_CONFIGURATION;

fn unusable_fallback(error: &dyn Display) {
    tracing::warn!("the fallback guest cannot be used: {error}");
}

/// Reads a component of at most `most` bytes.
fn read_guest(path: &Path, most: usize) -> Result<Vec<u8>, StartError> {
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
