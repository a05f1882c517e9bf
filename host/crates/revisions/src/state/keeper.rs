//! Writes the state on a thread of its own, so that nobody waits for the disk.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::{Record, Store};
use predictor::Digest;

/// Writes the latest state. When dropped, it first writes what is left.
pub(in super::super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

type Components = HashMap<Digest, Bytes>;

/// What is to be written. It is bounded, however slow the disk is: the latest record, and
/// the components that it names.
#[derive(Default)]
struct Work {
    record: Option<Record>,
    components: Components,
    closed: bool,
}

impl Keeper {
    pub(in super::super) fn start(store: Arc<Store>) -> Option<Self> {
        let shared = Arc::<Shared>::default();
        let builder = std::thread::Builder::new().name("state".to_owned());
        let thread = builder.spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_to(&store)
        });
        match thread {
            Ok(thread) => Some(Self {
                shared,
                thread: Some(thread),
            }),
            Err(error) => {
                tracing::warn!(%error, "NO STATE IS KEPT: its thread cannot be started");
                None
            }
        }
    }

    /// Has a record written, and a component that it names and that was not given before.
    /// The caller holds the lock on the registry, so that the last record is the newest.
    pub(in super::super) fn keep(&self, record: Record, component: Option<(Digest, Bytes)>) {
        let mut work = self.shared.work();
        work.components.extend(component);
        work.replace(record);
        self.shared.changed.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.work().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // If it panicked, that has been logged.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn replace(&mut self, record: Record) {
        let named = |guest: &Digest| record.names(guest);
        self.components.retain(|guest, _| named(guest));
        self.record = Some(record);
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, store: &Store) {
        while let Some((record, components)) = self.next() {
            let unwritten = write(store, &record, components);
            let mut work = self.work();
            // Tried again with the next change, if it is still named then.
            for (guest, component) in unwritten {
                work.components.entry(guest).or_insert(component);
            }
            if let Some(record) = work.record.take() {
                work.replace(record);
            }
        }
    }

    fn next(&self) -> Option<(Record, Components)> {
        let mut work = self.work();
        loop {
            if let Some(record) = work.record.take() {
                return Some((record, std::mem::take(&mut work.components)));
            }
            if work.closed {
                return None;
            }
            work = self
                .changed
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes the components, and then the record that names them. Returns the components that
/// could not be written.
fn write(store: &Store, record: &Record, mut components: Components) -> Components {
    let warn = |error: std::io::Error| {
        tracing::warn!(
            dir = %store.dir().display(), %error,
            "THE STATE CANNOT BE WRITTEN: a restart now would go back to an earlier one"
        );
    };
    components.retain(|guest, component| match store.put(guest, component) {
        Ok(()) => false,
        Err(error) => {
            warn(error);
            true
        }
    });
    if let Err(error) = store.write_record(record) {
        warn(error);
    }
    components
}
