//! The texts that wait, and the order in which they are taken.
//!
//! The order is fair between requests, not between texts: the next text of a request has
//! its turn once every other request has been served as many tokens. This is self-clocked
//! fair queueing (Golestani, 1994); a turn here is called a finish tag there, and the
//! newest turn taken is its virtual time. So a short request does not wait for the whole of
//! a long one that came first; and because a long text counts for only a few short ones, it
//! is not overtaken for long.
//!
//! This module must not know threads, time or metrics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use predictor::Scorer;

/// A place in the queue: the turn, and a number that tells equal turns apart.
pub(super) type Place = (u64, u64);

/// A text that waits.
pub(super) struct Entry<T> {
    pub(super) text: String,
    /// Its estimated tokens.
    pub(super) tokens: u32,
    pub(super) scorer: Arc<dyn Scorer>,
    /// Whether it must be a batch of its own, because a batch with it has failed.
    pub(super) alone: bool,
    /// The request that it came in.
    pub(super) request: u64,
    /// What the batcher keeps with it.
    pub(super) waiter: T,
}

/// The largest batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchLimits {
    pub(super) texts: usize,
    /// Estimated, padding included.
    pub(super) tokens: u32,
}

/// The texts that wait.
pub(super) struct Queue<T> {
    entries: BTreeMap<Place, Entry<T>>,
    /// The tokens that wait, by request.
    requests: HashMap<u64, u64>,
    /// The newest turn taken.
    turn: u64,
    next_number: u64,
    next_request: u64,
    tokens: u64,
    load: u64,
}

/// How much of one request counts as load, in tokens. The rest of a longer request delays
/// nobody, because others have their turn between its texts.
const LOAD_OF_A_REQUEST: u64 = 2048;

/// The most that a text counts for when turns are given, in tokens. If a text of 512 tokens
/// counted for what it costs, some 50 short texts of everybody else would go first, and it
/// would be late.
const TURN_OF_A_TEXT: u32 = 64;

/// How many texts a batch looks at, after the first, for texts of like length.
const LOOK_AHEAD: usize = 128;

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            requests: HashMap::new(),
            turn: 0,
            next_number: 0,
            next_request: 0,
            tokens: 0,
            load: 0,
        }
    }
}

impl<T> Queue<T> {
    /// The number of texts that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The estimated tokens that wait.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The tokens that a new request competes with.
    pub(super) fn load(&self) -> u64 {
        self.load
    }

    /// Begins a request. Returns its number, and the turn that its texts start from.
    pub(super) fn begin(&mut self) -> (u64, u64) {
        self.next_request += 1;
        (self.next_request, self.turn)
    }

    /// Adds the next text of a request. `turn` is that of the text before, and becomes that
    /// of this one.
    pub(super) fn push(&mut self, turn: &mut u64, entry: Entry<T>) -> Place {
        self.next_number += 1;
        *turn += u64::from(entry.tokens.min(TURN_OF_A_TEXT));
        let place = (*turn, self.next_number);
        self.count(entry.request, i64::from(entry.tokens));
        self.entries.insert(place, entry);
        place
    }

    /// Puts a text back in its place.
    pub(super) fn put_back(&mut self, place: Place, entry: Entry<T>) {
        self.count(entry.request, i64::from(entry.tokens));
        self.entries.insert(place, entry);
    }

    /// Removes a text, if it is still there.
    pub(super) fn remove(&mut self, place: Place) -> Option<Entry<T>> {
        let entry = self.entries.remove(&place)?;
        self.count(entry.request, -i64::from(entry.tokens));
        Some(entry)
    }

    /// Takes the next text, and others of the same revision and of like length, within
    /// `limits`; but leaves their share to `idle` more workers.
    pub(super) fn take(&mut self, limits: BatchLimits, idle: usize) -> Vec<(Place, Entry<T>)> {
        let Some((first, head)) = self.entries.first_key_value() else {
            return Vec::new();
        };
        self.turn = self.turn.max(first.0);
        let share = self.tokens.div_ceil(idle as u64 + 1);
        let budget = u64::from(limits.tokens).min(share);
        let mut places = vec![*first];
        let mut longest = head.tokens;
        // Often there is no room for a second text.
        let has_room = 2 * u64::from(head.tokens) <= budget;
        for (place, entry) in has_room.then(|| self.like(head)).into_iter().flatten() {
            let max = longest.max(entry.tokens);
            let padded = (places.len() as u64 + 1) * u64::from(max);
            if places.len() >= limits.texts || padded > budget {
                break;
            }
            longest = max;
            places.push(place);
        }
        let taken = places.into_iter();
        taken
            .filter_map(|place| Some((place, self.remove(place)?)))
            .collect()
    }

    /// Takes everything.
    pub(super) fn clear(&mut self) -> Vec<Entry<T>> {
        let entries = std::mem::take(self).entries;
        entries.into_values().collect()
    }

    /// The texts that can share a batch with the first one, `head`, the most similar length
    /// first.
    fn like(&self, head: &Entry<T>) -> Vec<(Place, &Entry<T>)> {
        if head.alone {
            return Vec::new();
        }
        let difference = |entry: &Entry<T>| entry.tokens.abs_diff(head.tokens);
        let most = 4.max(head.tokens / 4);
        let mut like: Vec<(Place, &Entry<T>)> = self
            .entries
            .iter()
            .skip(1)
            .take(LOOK_AHEAD)
            .filter(|(_, entry)| !entry.alone && difference(entry) <= most)
            .filter(|(_, entry)| entry.scorer.revision() == head.scorer.revision())
            .map(|(place, entry)| (*place, entry))
            .collect();
        // The sort is stable: of two equally similar texts, the one whose turn is first.
        like.sort_by_key(|(_, entry)| difference(entry));
        like
    }

    fn count(&mut self, request: u64, change: i64) {
        let waiting = self.requests.entry(request).or_default();
        let before = (*waiting).min(LOAD_OF_A_REQUEST);
        *waiting = waiting.saturating_add_signed(change);
        let after = (*waiting).min(LOAD_OF_A_REQUEST);
        if *waiting == 0 {
            self.requests.remove(&request);
        }
        self.load = self.load + after - before;
        self.tokens = self.tokens.saturating_add_signed(change);
    }
}

#[cfg(test)]
mod properties;
