//! Single flight: what is being computed, so that whoever wants the same
//! meanwhile waits for that instead of having it computed again.
//!
//! A flight lives as long as anybody waits for it, whoever began it. Its last
//! waiter's leaving drops it, and with it the work below.
//!
//! This module must not know how an answer comes about or where it is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use tokio::sync::Notify;

use super::key::Key;
use predictor::{Answer, BoxFuture, PredictError, Scores};

/// How a flight ends.
pub(super) type Landing = Result<Answer, PredictError>;

/// An answer that any number of waiters can wait for.
pub(super) type Flight = Shared<BoxFuture<Landing>>;

/// All that is being computed.
#[derive(Default)]
pub(super) struct Flights {
    entries: Mutex<Entries>,
    /// Told whenever reservations have become flights, or were given up.
    settled: Notify,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    last_number: u64,
}

enum Entry {
    /// Somebody is about to have it computed: the layer below has not taken
    /// the work on yet, and may refuse it.
    Reserved,
    /// It is being computed.
    Flying {
        number: u64,
        flight: WeakShared<BoxFuture<Landing>>,
    },
}

/// What whoever wants an answer has to do.
pub(super) enum Part {
    /// Nothing: it has just been found.
    Found(Scores),
    /// Wait with others.
    Join(Flight),
    /// Have it computed.
    Lead,
}

impl Flights {
    /// Says for each key what its asker has to do; `find` looks among what has
    /// been computed already. No key may come twice.
    ///
    /// Keys that somebody else has reserved are waited for: that is over as
    /// soon as the layer below has taken the work on or refused it, and a
    /// refusal is then for the one who was refused, and not for those who would
    /// have joined. Whoever waits holds no reservation.
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
                // Made under the lock, so that no end is missed.
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
                // It is gone if its last waiter is leaving just now.
                if let Some(flight) = flight.upgrade() {
                    return Part::Join(flight);
                }
            }
            // A flight keeps its answer before its entry goes, so that under
            // the lock it is found either here or there.
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
        // Nothing that can panic is done under the lock. Nor may a flight be
        // dropped under it: its entry is removed under the lock as well.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys that are about to be computed. Dropped, it gives up those of which
/// no flight has become.
pub(super) struct Reservation {
    flights: Arc<Flights>,
    keys: Vec<Key>,
}

impl Reservation {
    /// Makes flights of what the layer below has taken on: one future for each
    /// key to be led, in their order.
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

/// The entry of a flight, which goes when the flight has landed or nobody
/// waits for it.
struct EntryOfFlight {
    flights: Arc<Flights>,
    key: Key,
    number: u64,
}

impl Drop for EntryOfFlight {
    fn drop(&mut self) {
        let mut entries = self.flights.lock();
        // The key may be someone else's by now.
        if let Some(Entry::Flying { number, .. }) = entries.by_key.get(&self.key)
            && *number == self.number
        {
            entries.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::{Digest, ErrorKind};

    const KEYS: [Key; 2] = [Digest([1; 32]), Digest([2; 32])];

    fn entries(flights: &Flights) -> usize {
        flights.lock().by_key.len()
    }

    /// Reserves both keys, of which nobody else has any.
    fn reserve(flights: &Arc<Flights>) -> Reservation {
        let claim = flights.claim(&KEYS, |_| None).now_or_never();
        let (parts, reservation) = claim.expect("nobody has reserved them");
        assert!(parts.iter().all(|part| matches!(part, Part::Lead)));
        reservation
    }

    fn failing() -> BoxFuture<Landing> {
        std::future::ready(Err(PredictError::new(ErrorKind::Failed, "as told"))).boxed()
    }

    #[test]
    fn no_entry_outlives_what_it_stands_for() {
        let flights = Arc::<Flights>::default();
        drop(reserve(&flights));
        assert_eq!(entries(&flights), 0, "given up before it was taken on");

        let never = || std::future::pending().boxed();
        let launched = reserve(&flights).launch(vec![never(), never()]);
        assert_eq!(entries(&flights), 2);
        let follower = launched[1].clone();
        drop(launched);
        assert_eq!(entries(&flights), 1, "one has a follower");
        drop(follower);
        assert_eq!(entries(&flights), 0, "nobody waits");

        let launched = reserve(&flights).launch(vec![failing(), failing()]);
        for flight in &launched {
            assert!(flight.clone().now_or_never().unwrap().is_err());
        }
        assert_eq!(entries(&flights), 0, "they have landed, and are still held");

        // Fewer were taken on than were asked for.
        let launched = reserve(&flights).launch(vec![never()]);
        assert_eq!(entries(&flights), 1);
        drop(launched);
        assert_eq!(entries(&flights), 0);
    }

    #[test]
    fn what_was_computed_meanwhile_is_found() {
        let flights = Arc::<Flights>::default();
        let scores: Scores = [].into();
        let find = |key: &Key| (*key == KEYS[0]).then(|| Arc::clone(&scores));
        let claim = flights.claim(&KEYS, find).now_or_never();
        let (parts, _reservation) = claim.unwrap();
        assert!(matches!(parts[..], [Part::Found(_), Part::Lead]));
        assert_eq!(entries(&flights), 1);
    }
}
