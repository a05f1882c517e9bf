//! Single flight: whoever asks for a text that is being computed waits for that answer,
//! instead of having it computed again.
//!
//! A flight lives as long as anybody waits for it, whoever began it. When the last caller
//! leaves, it is dropped, and with it the work below.
//!
//! This module must not know how an answer is computed or where it is cached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use tokio::sync::Notify;

use super::key::Key;
use predictor::{Answer, BoxFuture, PredictError, Scores};

/// How a flight ends.
pub(super) type Landing = Result<Answer, PredictError>;

/// An answer that any number of callers can wait for.
pub(super) type Flight = Shared<BoxFuture<Landing>>;

/// Everything that is being computed.
#[derive(Default)]
pub(super) struct Flights {
    entries: Mutex<Entries>,
    /// Notified when reservations have become flights or were dropped.
    settled: Notify,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    last_number: u64,
}

enum Entry {
    /// A caller is about to have it computed. The layer below has not accepted the work yet,
    /// and may refuse it.
    Reserved,
    /// It is being computed.
    Flying {
        number: u64,
        flight: WeakShared<BoxFuture<Landing>>,
    },
}

/// What a caller has to do for an answer.
pub(super) enum Part {
    /// Nothing: it has just been computed.
    Found(Scores),
    /// Wait with others.
    Join(Flight),
    /// Have it computed.
    Lead,
}

impl Flights {
    /// Says for each key what its caller has to do. `find` looks among the answers that
    /// have been computed already. No key may occur twice.
    ///
    /// This waits for keys that another caller has reserved, until the layer below has
    /// accepted or refused that caller's work: a refusal is for that caller alone, and not
    /// for those who would have joined. A caller that waits holds no reservation, so there
    /// can be no deadlock.
    pub(super) async fn claim(
        self: &Arc<Self>,
        keys: &[Key],
        find: impl Fn(&Key) -> Option<Scores>,
    ) -> (Vec<Part>, Reservation) {
        loop {
            let settled = {
                let mut entries = self.lock();
                let by_key = &entries.by_key;
                let reserved = |key| matches!(by_key.get(key), Some(Entry::Reserved));
                if !keys.iter().any(reserved) {
                    return self.divide(&mut entries, keys, find);
                }
                // Created under the lock, so that no notification is missed.
                self.settled.notified()
            };
            settled.await;
        }
    }

    fn divide(
        self: &Arc<Self>,
        entries: &mut Entries,
        keys: &[Key],
        find: impl Fn(&Key) -> Option<Scores>,
    ) -> (Vec<Part>, Reservation) {
        let mut led = Vec::new();
        let part = |key: &Key| {
            if let Some(Entry::Flying { flight, .. }) = entries.by_key.get(key) {
                // It is gone if its last caller is just leaving.
                if let Some(flight) = flight.upgrade() {
                    return Part::Join(flight);
                }
            }
            // A flight caches its answer before it removes its entry. So, under the lock,
            // an answer is found here or there.
            if let Some(scores) = find(key) {
                return Part::Found(scores);
            }
            entries.by_key.insert(*key, Entry::Reserved);
            led.push(*key);
            Part::Lead
        };
        let parts = keys.iter().map(part).collect();
        let reservation = Reservation {
            flights: Arc::clone(self),
            keys: led,
        };
        (parts, reservation)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics while the lock is held. No flight may be dropped meanwhile
        // either, because that takes the lock to remove its entry.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys that are about to be computed. When dropped, it releases those that have not become
/// flights.
pub(super) struct Reservation {
    flights: Arc<Flights>,
    keys: Vec<Key>,
}

impl Reservation {
    /// Makes flights of the work that the layer below has accepted: one future for each
    /// reserved key, in their order.
    pub(super) fn launch(self, futures: Vec<BoxFuture<Landing>>) -> Vec<Flight> {
        let mut launched = Vec::with_capacity(futures.len());
        let mut entries = self.flights.lock();
        for (key, future) in self.keys.iter().zip(futures) {
            entries.last_number += 1;
            let number = entries.last_number;
            let entry = EntryOfFlight {
                flights: Arc::clone(&self.flights),
                key: *key,
                number,
            };
            let flight = async move {
                let _entry = entry;
                future.await
            };
            let flight = flight.boxed().shared();
            if let Some(weak) = flight.downgrade() {
                let flight = weak;
                let flying = Entry::Flying { number, flight };
                entries.by_key.insert(*key, flying);
            }
            launched.push(flight);
        }
        drop(entries);
        launched
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut entries = self.flights.lock();
        for key in &self.keys {
            if let Some(Entry::Reserved) = entries.by_key.get(key) {
                entries.by_key.remove(key);
            }
        }
        drop(entries);
        self.flights.settled.notify_waiters();
    }
}

/// The entry of a flight. It is removed when the flight has landed, or when nobody waits
/// for it.
struct EntryOfFlight {
    flights: Arc<Flights>,
    key: Key,
    number: u64,
}

impl Drop for EntryOfFlight {
    fn drop(&mut self) {
        let mut entries = self.flights.lock();
        // The key may belong to another flight by now.
        if let Some(Entry::Flying { number, .. }) = entries.by_key.get(&self.key)
            && *number == self.number
        {
            entries.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
