//! What waits, and in which order it is taken.
//!
//! The order is fair between requests and not between texts: a request's next
//! text has its turn once every other request has had as many tokens' worth as
//! it. This is self-clocked fair queueing (Golestani, 1994), where a turn is
//! called a finish tag and the newest turn taken is the virtual time. So a short
//! request does not wait for all of a long one that came before it. And since a
//! long text counts for a few short ones only, it is not passed over for long.
//!
//! This module must not know threads, time or metrics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use predictor::Scorer;

/// A place in the queue: the turn, and a number that tells equal turns apart.
pub(super) type Place = (u64, u64);

/// A text that waits, and what belongs to it.
pub(super) struct Entry<T> {
    pub(super) text: String,
    /// About how many tokens it has.
    pub(super) tokens: u32,
    pub(super) scorer: Arc<dyn Scorer>,
    /// Whether it must not share a batch, since it did before and that failed.
    pub(super) alone: bool,
    /// The request that it came in.
    pub(super) request: u64,
    /// What else its owner needs to know.
    pub(super) attached: T,
}

/// How large a batch may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) texts: usize,
    /// Padding included.
    pub(super) tokens: u32,
}

/// The texts that wait.
pub(super) struct Queue<T> {
    entries: BTreeMap<Place, Entry<T>>,
    /// The tokens that wait of each request.
    requests: HashMap<u64, u64>,
    /// The turn of what was taken last.
    turn: u64,
    next_number: u64,
    next_request: u64,
    tokens: u64,
    load: u64,
}

/// How much of one request counts as load, in tokens: beyond this, the rest of
/// a request delays nobody, since others have their turn between its texts.
const LOAD_OF_A_REQUEST: u64 = 2048;

/// What a text counts for at most when turns are given, in tokens. A text of 512
/// would have to let everybody else go first some 50 times, and be late, if it
/// counted for what it costs.
const TURN_OF_A_TEXT: u32 = 64;

/// How far behind the first text a batch looks for texts of like length.
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
    /// How many texts wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// About how many tokens wait.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How much a newcomer has to share the workers with, in tokens.
    pub(super) fn load(&self) -> u64 {
        self.load
    }

    /// Begins a request: its number, and the turn from which its texts count.
    pub(super) fn begin(&mut self) -> (u64, u64) {
        self.next_request += 1;
        (self.next_request, self.turn)
    }

    /// Adds a request's next text; its turn comes after `turn`, which becomes
    /// its own.
    pub(super) fn push(&mut self, turn: &mut u64, entry: Entry<T>) -> Place {
        self.next_number += 1;
        *turn += u64::from(entry.tokens.min(TURN_OF_A_TEXT));
        let place = (*turn, self.next_number);
        self.count(entry.request, i64::from(entry.tokens));
        self.entries.insert(place, entry);
        place
    }

    /// Puts a text back to where it was.
    pub(super) fn put_back(&mut self, place: Place, entry: Entry<T>) {
        self.count(entry.request, i64::from(entry.tokens));
        self.entries.insert(place, entry);
    }

    /// Takes a text out, if it is still there.
    pub(super) fn remove(&mut self, place: Place) -> Option<Entry<T>> {
        let entry = self.entries.remove(&place)?;
        self.count(entry.request, -i64::from(entry.tokens));
        Some(entry)
    }

    /// Takes the next text and others like it: of one version, of like length,
    /// within `bounds`; but leaves enough for `idle` more workers.
    pub(super) fn take(&mut self, bounds: Bounds, idle: usize) -> Vec<(Place, Entry<T>)> {
        let Some((first, head)) = self.entries.first_key_value() else {
            return Vec::new();
        };
        self.turn = self.turn.max(first.0);
        let share = self.tokens.div_ceil(idle as u64 + 1);
        let budget = u64::from(bounds.tokens).min(share);
        let mut places = vec![*first];
        let mut longest = head.tokens;
        // Often there is no room for a second one.
        let has_room = 2 * u64::from(head.tokens) <= budget;
        for (place, entry) in has_room.then(|| self.like(head)).into_iter().flatten() {
            let max = longest.max(entry.tokens);
            let padded = (places.len() as u64 + 1) * u64::from(max);
            if places.len() >= bounds.texts || padded > budget {
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

    /// Takes all that waits.
    pub(super) fn clear(&mut self) -> Vec<Entry<T>> {
        let entries = std::mem::take(self).entries;
        entries.into_values().collect()
    }

    /// The texts that can share a batch with the first one, `head`: those whose
    /// length is the most like its own come first.
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
        // Stable: of two that are as like, the one whose turn is first.
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
