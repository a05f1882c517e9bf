//! What a server begins with: the version that was live when the last one ended,
//! or the configured guest.
//!
//! A file that was changed while no server ran counts like one that is changed
//! while one does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use super::control::Versions;
use super::file::{self, Unfit};
use super::known::{Book, Entry};
use super::state::{Keeper, Record, StateError, Store};
use super::{Loaded, Loader, Metrics, Options, Origin, Refusal, now, watch};
use crate::predictor::{Digest, Priority, Scorer};
use crate::rollout::{Fall, Rollout};

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
    /// The component, if it is not kept yet.
    component: Option<Vec<u8>>,
}

impl Beginning {
    /// Chooses the first version, and loads it: the one that was live at the end,
    /// if the configured guest's file is what it was then; the configured guest,
    /// if it is not, or if nothing is kept. Where that can not be served, or
    /// `measure` fails for it, the other is, and then those that were live before.
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
        record.configured = configured.or(record.configured);
        let mut candidates = Candidates {
            loader: &*loader,
            store: store.as_deref(),
            options: &options,
            measure,
        };
        let found = match candidates.kept(&order.before) {
            Some(found) => {
                if let Err(error) = &file {
                    not_served(error, &found.loaded);
                }
                found
            }
            None => match candidates.configured(file) {
                Ok(found) => found,
                Err(error) => {
                    let Some(found) = candidates.kept(&order.after) else {
                        return Err(error);
                    };
                    not_served(&error, &found.loaded);
                    found
                }
            },
        };
        let beginning = Self {
            loader,
            options,
            store,
            record,
            loaded: found.loaded,
            size: found.size,
            component: found.component,
        };
        Ok((beginning, found.measured))
    }

    /// The version.
    pub fn scorer(&self) -> &Arc<dyn Scorer> {
        &self.loaded.scorer
    }

    /// Whether it had to be compiled.
    pub fn compiled(&self) -> bool {
        self.loaded.compiled
    }
}

impl Versions {
    /// Goes on from what was chosen, which `rollout` has to have begun with;
    /// `fallen` is what it tells of. `runtime` runs what goes on beside requests.
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
        let first = beginning.loaded.scorer;
        let guest = first.version().guest;
        let kept = record.versions.iter().find(|kept| kept.guest == guest);
        let configured = || Origin::File(options.guest.clone());
        let first = Entry {
            origin: kept.map_or_else(configured, |kept| kept.origin.clone()),
            added: kept.map_or_else(now, |kept| kept.added),
            activated: kept.and_then(|kept| kept.activated),
            scorer: first,
            size: beginning.size,
        };
        let book = Book::new(first, record, options.keep);
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
            while let Some(fall) = fallen.recv().await {
                match weak.upgrade() {
                    Some(versions) => versions.fell(&fall),
                    None => return,
                }
            }
        });
        if watch {
            watch::start(&versions, runtime);
        }
        versions
    }
}

/// In which order versions are tried.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    /// Those that come before the configured guest.
    before: Vec<Digest>,
    /// Those that come after it.
    after: Vec<Digest>,
}

impl Order {
    fn of(record: &Record, configured: Option<Digest>) -> Self {
        let fit = |guest: &Digest| {
            let mut quarantine = record.quarantine.iter();
            quarantine.all(|entry| entry.guest != *guest)
        };
        let mut kept: Vec<Digest> = Vec::new();
        for guest in record.history.iter().rev() {
            if fit(guest) && Some(*guest) != configured && !kept.contains(guest) {
                kept.push(*guest);
            }
        }
        let was_live = record.history.last().copied();
        let first = match configured {
            // Nothing has been deployed since, and another one was chosen.
            Some(guest) if fit(&guest) => {
                let as_it_was = record.configured == configured && was_live != configured;
                usize::from(as_it_was && !kept.is_empty())
            }
            Some(guest) => {
                tracing::warn!(guest = guest.short(), "the configured guest is quarantined");
                kept.len()
            }
            None => kept.len(),
        };
        let after = kept.split_off(first);
        Self {
            before: kept,
            after,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::Quarantined;

    const A: Digest = Digest([1; 32]);
    const B: Digest = Digest([2; 32]);
    const C: Digest = Digest([3; 32]);

    fn order(
        (configured, history, quarantine): (Option<Digest>, &[Digest], &[Digest]),
        found: Option<Digest>,
    ) -> (Vec<Digest>, Vec<Digest>) {
        let quarantined = |guest: &Digest| Quarantined {
            guest: *guest,
            reason: String::new(),
            since: now(),
        };
        let record = Record {
            configured,
            history: history.to_vec(),
            quarantine: quarantine.iter().map(quarantined).collect(),
            ..Record::default()
        };
        let order = Order::of(&record, found);
        (order.before, order.after)
    }

    #[test]
    fn a_file_as_it_was_leaves_what_was_live() {
        // B was chosen while A was configured.
        let kept: (_, &[_], &[_]) = (Some(A), &[A, B], &[]);
        assert_eq!(order(kept, Some(A)), (vec![B], vec![]));
        assert_eq!(
            order((Some(A), &[A, C, B], &[]), Some(A)),
            (vec![B], vec![C])
        );
        // A was live itself.
        assert_eq!(order((Some(A), &[B, A], &[]), Some(A)), (vec![], vec![B]));
    }

    #[test]
    fn a_file_that_has_changed_comes_first() {
        assert_eq!(
            order((Some(A), &[A, B], &[]), Some(C)),
            (vec![], vec![B, A])
        );
        assert_eq!(order((None, &[], &[]), Some(C)), (vec![], vec![]));
    }

    #[test]
    fn a_file_that_is_quarantined_or_gone_comes_last() {
        let quarantined: (_, &[_], &[_]) = (Some(A), &[A, B], &[C]);
        assert_eq!(order(quarantined, Some(C)), (vec![B, A], vec![]));
        assert_eq!(order((Some(A), &[A, B], &[]), None), (vec![B, A], vec![]));
        // What is quarantined is not gone back to either.
        assert_eq!(order((Some(A), &[A, B], &[A]), Some(A)), (vec![B], vec![]));
        assert_eq!(order((Some(A), &[A, B], &[B]), None), (vec![A], vec![]));
    }
}
