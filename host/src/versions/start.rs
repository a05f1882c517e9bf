//! What a server begins with: the version that was live when the last one ended,
//! or the configured guest.
//!
//! A file that was changed while no server ran counts like one that is changed
//! while one does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use super::control::Versions;
use super::file::{self, Unfit};
use super::known::{Book, Entry};
use super::order::Order;
use super::state::{Configured, Keeper, Record, StateError, Store};
use super::{
    Loaded, Loader, Metrics, Options, Origin, Refusal, VersionsError, now, quarantine, watch,
};
use crate::predictor::{Digest, Priority, Scorer, Version};
use crate::rollout::{Fall, Rollout};

/// How often it is looked whether a version is trusted by now.
const NOTICE: Duration = Duration::from_secs(1);

/// Why there is no version to begin with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configured guest's file can not be read.
    #[error("the guest {path} can not be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The configured guest can not be served.
    #[error("{path}: {refusal}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Which step failed, and why.
        refusal: Refusal,
    },
    /// The state would not be safe where it was to be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The version that a server begins with.
pub struct Beginning {
    loader: Arc<dyn Loader>,
    options: Options,
    store: Option<Arc<Store>>,
    record: Record,
    loaded: Loaded,
    size: usize,
    /// What stands by for it, if it was on probation at the end, and its size.
    standby: Option<(Arc<dyn Scorer>, usize)>,
    /// The component, if it is not kept yet.
    component: Option<Vec<u8>>,
}

impl Beginning {
    /// Chooses the first version, and loads it: the one that was live at the end,
    /// if the configured guest's file is what it was then; the configured guest,
    /// if it is not, or if nothing is kept. Where that can not be served, or
    /// `measure` fails for it, the other is, and then those that were live before.
    /// If it was on probation, what stood by for it is loaded as well.
    ///
    /// # Errors
    ///
    /// If none can be served: what is wrong with the configured one. If other users
    /// can write to the state directory.
    pub fn choose<T>(
        loader: Arc<dyn Loader>,
        options: Options,
        measure: impl FnMut(&dyn Scorer) -> Result<T, Refusal>,
    ) -> Result<(Self, T), StartError> {
        let store = match &options.state {
            Some(dir) => Store::open(dir)?.map(Arc::new),
            None => None,
        };
        let record = store.as_ref().and_then(|store| store.read());
        let mut record = record.unwrap_or_default();
        let file = read_guest(&options);
        let configured = file.as_ref().ok();
        let configured = configured.map(|component| loader.version(component).guest);
        let order = Order::of(&record, configured);
        if configured.is_some() && configured != record.file() {
            record.configured = configured.map(|guest| Configured {
                guest,
                refused: None,
            });
        }
        let mut candidates = Candidates {
            loader: &*loader,
            store: store.as_deref(),
            options: &options,
            measure,
        };
        let found = match candidates.kept(&order.before) {
            Some(found) => {
                match &file {
                    Err(error) => not_served(error, &found.loaded),
                    Ok(_) => passed_over(&record, &found.loaded),
                }
                found
            }
            None => match candidates.configured(file) {
                Ok(found) => {
                    served_at_last(&mut record);
                    found
                }
                Err(error) => {
                    refused(&mut record, &error);
                    let Some(found) = candidates.kept(&order.after) else {
                        return Err(error);
                    };
                    not_served(&error, &found.loaded);
                    found
                }
            },
        };
        let live = found.loaded.scorer.version();
        let standby = candidates.standby(&record, &live.guest);
        let beginning = Self {
            loader,
            options,
            store,
            record,
            loaded: found.loaded,
            size: found.size,
            standby,
            component: found.component,
        };
        Ok((beginning, found.measured))
    }

    /// The version that is live once the versions have started.
    pub fn version(&self) -> &Arc<Version> {
        self.loaded.scorer.version()
    }

    /// What a rollout has to begin with: the version, or what stands by for it.
    pub fn scorer(&self) -> &Arc<dyn Scorer> {
        let standby = self.standby.as_ref();
        standby.map_or(&self.loaded.scorer, |(scorer, _)| scorer)
    }

    /// Whether it had to be compiled.
    pub fn compiled(&self) -> bool {
        self.loaded.compiled
    }
}

impl Versions {
    /// Goes on from what was chosen. `rollout` has to have begun with its scorer, and
    /// not to have been asked anything yet; `fallen` is what it tells of. `runtime` runs what goes on beside requests.
    pub fn start(
        beginning: Beginning,
        rollout: Arc<Rollout>,
        mut fallen: UnboundedReceiver<Fall>,
        metrics: Metrics,
        runtime: &Handle,
    ) -> Arc<Self> {
        let Beginning {
            options, record, ..
        } = beginning;
        let entry = |scorer: Arc<dyn Scorer>, size| {
            let guest = scorer.version().guest;
            let kept = record.versions.iter().find(|kept| kept.guest == guest);
            let configured = || Origin::File(options.guest.clone());
            Entry {
                origin: kept.map_or_else(configured, |kept| kept.origin.clone()),
                added: kept.map_or_else(now, |kept| kept.added),
                activated: kept.and_then(|kept| kept.activated),
                scorer,
                size,
            }
        };
        let first = entry(beginning.loaded.scorer, beginning.size);
        let guest = first.guest();
        let standby = beginning.standby.map(|(scorer, size)| entry(scorer, size));
        if let Some(standby) = &standby {
            rollout.activate(Arc::clone(&first.scorer), true);
            tracing::info!(
                guest = guest.short(),
                standby = standby.guest().short(),
                "the version was on probation at the end, and its probation begins again"
            );
        }
        let mut book = Book::new(first, record, options.keep);
        if let Some(standby) = standby {
            book.add(standby);
        }
        let keeper = beginning.store.clone().and_then(Keeper::start);
        let watch = options.watch;
        let versions = Arc::new(Self {
            loader: beginning.loader,
            rollout,
            options,
            metrics,
            loading: tokio::sync::Mutex::default(),
            book: Mutex::new(book),
            store: beginning.store,
            keeper,
        });
        let component = beginning.component.map(|component| (guest, component));
        versions.settle(&mut versions.book(), component);
        let weak = Arc::downgrade(&versions);
        runtime.spawn(Self::restore(weak.clone()));
        runtime.spawn(async move {
            loop {
                let told = tokio::time::timeout(NOTICE, fallen.recv()).await;
                let Some(versions) = weak.upgrade() else {
                    return;
                };
                match told {
                    Ok(Some(fall)) => versions.fell(&fall),
                    Ok(None) => return,
                    Err(_) => versions.notice_trust(),
                }
            }
        });
        if watch {
            watch::start(&versions, runtime);
        }
        versions
    }
}

/// What is tried, and how.
struct Candidates<'a, M> {
    loader: &'a dyn Loader,
    store: Option<&'a Store>,
    options: &'a Options,
    measure: M,
}

struct Found<T> {
    loaded: Loaded,
    size: usize,
    component: Option<Vec<u8>>,
    measured: T,
}

impl<T, M: FnMut(&dyn Scorer) -> Result<T, Refusal>> Candidates<'_, M> {
    fn test(&mut self, component: &[u8]) -> Result<Found<T>, Refusal> {
        // Nobody is served before it is done.
        let loaded = self.loader.load(component, Priority::Live)?;
        let measured = (self.measure)(&*loaded.scorer)?;
        Ok(Found {
            loaded,
            size: component.len(),
            component: None,
            measured,
        })
    }

    /// The first of these that can be served.
    fn kept(&mut self, guests: &[Digest]) -> Option<Found<T>> {
        let store = self.store?;
        guests.iter().find_map(|guest| {
            let component = store.component(guest, self.options.max_bytes as u64);
            let component = component.map_err(|error| error.to_string());
            let found = component
                .and_then(|component| self.test(&component).map_err(|refusal| refusal.reason));
            let warn = |reason: &String| {
                tracing::warn!(
                    "the version {} was live before the start, and CAN NOT BE SERVED: {reason}",
                    guest.short()
                );
            };
            found.inspect_err(warn).ok()
        })
    }

    /// What stood by at the end for the version that is live again.
    fn standby(&self, record: &Record, live: &Digest) -> Option<(Arc<dyn Scorer>, usize)> {
        let fit = |guest: &Digest| guest != live && record.quarantined(guest).is_none();
        let was_live = record.history.last() == Some(live);
        let guest = record.standby.filter(|guest| was_live && fit(guest))?;
        let component = self.store?.component(&guest, self.options.max_bytes as u64);
        let component = component.map_err(|error| error.to_string());
        let loaded = component.and_then(|component| {
            let loaded = self.loader.load(&component, Priority::Live);
            let loaded = loaded.map_err(|refusal| refusal.reason)?;
            Ok((loaded.scorer, component.len()))
        });
        let warn = |reason: &String| {
            tracing::warn!(
                "the version {} was on probation before the start, and is TRUSTED NOW: the one \
                 that stood by for it, {}, can not be served: {reason}",
                live.short(),
                guest.short()
            );
        };
        loaded.inspect_err(warn).ok()
    }

    fn configured(&mut self, file: Result<Vec<u8>, StartError>) -> Result<Found<T>, StartError> {
        let component = file?;
        let found = self.test(&component);
        let found = found.map_err(|refusal| StartError::Refused {
            path: self.options.guest.clone(),
            refusal,
        })?;
        Ok(Found {
            component: Some(component),
            ..found
        })
    }
}

fn not_served(error: &StartError, instead: &Loaded) {
    tracing::error!(
        "THE CONFIGURED GUEST IS NOT SERVED: {error}; the version {} is, which was live before",
        instead.scorer.version().guest.short()
    );
}

/// Tells of a configured guest that is readable, and that another version was live
/// instead of, if that is because it could not be.
fn passed_over(record: &Record, instead: &Loaded) {
    let Some(Configured {
        guest,
        refused: Some(reason),
    }) = &record.configured
    else {
        return;
    };
    // Said where it was found out.
    if record.quarantined(guest).is_none() {
        tracing::error!(
            "THE CONFIGURED GUEST IS NOT SERVED: {} was refused when its file was deployed, and is \
             not tried again before that changes, or SIGHUP: {reason}; the version {} is, which \
             was live before",
            guest.short(),
            instead.scorer.version().guest.short()
        );
    }
}

/// Takes note that the configured guest is the first version.
fn served_at_last(record: &mut Record) {
    let Some(configured) = &mut record.configured else {
        return;
    };
    configured.refused = None;
    let guest = configured.guest;
    if let Some(entry) = record.quarantined(&guest) {
        tracing::error!(
            "THE CONFIGURED GUEST {} IS SERVED ALTHOUGH IT IS QUARANTINED ({}): no other version \
             can be",
            guest.short(),
            entry.reason
        );
    }
}

/// Takes note of why the configured guest can not be served, if that is certain.
fn refused(record: &mut Record, error: &StartError) {
    if let (StartError::Refused { refusal, .. }, Some(configured)) = (error, &mut record.configured)
    {
        let mut reason = VersionsError::from(refusal.clone()).to_string();
        quarantine::cut(&mut reason);
        configured.refused = Some(reason);
    }
}

fn read_guest(options: &Options) -> Result<Vec<u8>, StartError> {
    let read = file::read(&options.guest, options.max_bytes);
    let reason = match read {
        Ok((component, _)) => return Ok(component),
        Err(Unfit::TooLarge) => format!("it is larger than {} bytes", options.max_bytes),
        Err(Unfit::Unreadable(reason)) => reason,
    };
    Err(StartError::Unreadable {
        path: options.guest.clone(),
        reason,
    })
}
