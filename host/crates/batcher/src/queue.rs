//! The texts that wait, and the order in which they are taken.
//!
//! The order is fair between clients, and between the requests of a client, not between
//! texts: the next text of a request has its turn once every other request of its client
//! has been served as many tokens, and the next text of a client once every other client
//! has. This is self-clocked fair queueing (Golestani, 1994) on two levels; a turn here is
//! called a finish tag there, and the newest turn taken is its virtual time. So a short
//! request does not wait for the whole of a long one that came first, nor for the many
//! requests of another client. The tokens of a client count by its weight.
//!
//! Turns alone would let short texts overtake a long one for as long as they come. So the
//! next text of a request is *late* once as many texts of its client have been taken as
//! the client had requests waiting, and [`MAX_OVERTAKEN`] more. Late texts go first: if not one
//! text overtook another, it would have been taken by then. While clients wait for answers
//! before they send more, letting texts overtake longer moves time from the median to the
//! slowest: mean latency is the same for every order.
//!
//! This module must not know threads, time or metrics.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use predictor::{Client, LongTexts, Scorer, Weight};

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    client: Client,
    /// Among the texts of the client.
    turn: u64,
    /// Tells equal turns apart.
    number: u64,
}

/// A text that waits.
pub(super) struct Entry<T> {
    pub(super) text: String,
    /// Its estimated tokens.
    pub(super) tokens: u32,
    pub(super) scorer: Arc<dyn Scorer>,
    pub(super) long_texts: LongTexts,
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
    /// Only clients with texts that wait.
    lanes: HashMap<Client, Lane<T>>,
    /// The turns of the lanes.
    turns: BTreeSet<(u64, Client)>,
    /// The newest turn of a lane that was taken.
    turn: u64,
    /// The newest turn of a text that was taken, in any lane.
    text_turn: u64,
    next_number: u64,
    next_request: u64,
    sums: Sums,
}

/// The texts of one client that wait.
struct Lane<T> {
    /// What a token counts for among the lanes.
    cost: u64,
    entries: BTreeMap<Place, Entry<T>>,
    requests: HashMap<u64, Waiting>,
    /// When the next text of each request is late, in texts taken, and the request.
    late: BTreeSet<(u64, u64)>,
    /// How many texts were taken.
    taken: u64,
    /// The newest turn taken.
    turn: u64,
    /// The turn that the lane has come to, among the lanes.
    served: u64,
    sums: Sums,
}

/// What waits of one request.
#[derive(Default)]
struct Waiting {
    tokens: u64,
    places: BTreeSet<Place>,
    /// When the first of them is late.
    late: u64,
}

/// What waits, in all lanes or in one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    texts: usize,
    /// Estimated.
    tokens: u64,
    /// The tokens that a new request competes with.
    load: u64,
}

/// How much of one request counts as load, in tokens. The rest of a longer request delays
/// nobody, because others have their turn between its texts.
const LOAD_OF_A_REQUEST: u64 = 2048;

/// The most that a text counts for when turns are given, in tokens. If a text of 512 tokens
/// counted for what it costs, some 50 short texts of everybody else would go first, and it
/// would be late.
const TURN_OF_A_TEXT: u32 = 64;

/// How many texts may overtake the next text of a request even if its client has few
/// requests; for example, short requests one long text of a bulk request.
const MAX_OVERTAKEN: u64 = 16;

/// How many texts a batch looks at, after the first, for texts of like length.
const LOOK_AHEAD: usize = 128;

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            turns: BTreeSet::new(),
            turn: 0,
            text_turn: 0,
            next_number: 0,
            next_request: 0,
            sums: Sums::default(),
        }
    }
}

impl<T> Queue<T> {
    /// The number of texts that wait.
    pub(super) fn len(&self) -> usize {
        self.sums.texts
    }

    /// The estimated tokens that wait.
    pub(super) fn tokens(&self) -> u64 {
        self.sums.tokens
    }

    /// The tokens that a new request competes with.
    pub(super) fn load(&self) -> u64 {
        self.sums.load
    }

    /// Whether a load of `limit` tokens leaves a client no room for another request. A
    /// client that asks for little has room beyond it, so that others cannot take it all.
    pub(super) fn is_full(&self, client: Client, limit: u64) -> bool {
        let own = self.lanes.get(&client).map_or(0, |lane| lane.sums.load);
        let clients = self.lanes.len() as u64 + u64::from(own == 0);
        self.sums.load >= limit && own >= limit / (2 * clients)
    }

    /// Begins a request. Returns its number, and the turn that its texts start from.
    pub(super) fn begin(&mut self, client: Client) -> (u64, u64) {
        self.next_request += 1;
        let lane = self.lanes.get(&client);
        (
            self.next_request,
            lane.map_or(self.text_turn, |lane| lane.turn),
        )
    }

    /// Adds the next text of a request. `turn` is that of the text before, and becomes that
    /// of this one.
    pub(super) fn push(&mut self, client: Client, turn: &mut u64, entry: Entry<T>) -> Place {
        self.next_number += 1;
        *turn += entry.turn();
        let place = Place {
            client,
            turn: *turn,
            number: self.next_number,
        };
        self.put_back(place, entry);
        place
    }

    /// Puts a text back in its place.
    pub(super) fn put_back(&mut self, place: Place, entry: Entry<T>) {
        self.change(place.client, |lane| lane.insert(place, entry));
    }

    /// Removes a text, if it is still there.
    pub(super) fn remove(&mut self, place: Place) -> Option<Entry<T>> {
        self.change(place.client, |lane| lane.remove(place))
    }

    /// Takes the next text, and others of the same revision and of like length, within
    /// `limits` and those of the revision; but leaves their share to `idle` more workers.
    pub(super) fn take(&mut self, limits: BatchLimits, idle: usize) -> Vec<(Place, Entry<T>)> {
        let Some((first, head)) = self.first() else {
            return Vec::new();
        };
        let share = self.sums.tokens.div_ceil(idle as u64 + 1);
        let most = limits.tokens.min(head.scorer.batch_tokens());
        let budget = u64::from(most).min(share);
        let mut places = vec![first];
        let mut longest = head.tokens;
        // Often there is no room for a second text.
        let has_room = 2 * u64::from(head.tokens) <= budget;
        for (place, entry) in has_room
            .then(|| self.like(first, head))
            .into_iter()
            .flatten()
        {
            let max = longest.max(entry.tokens);
            let padded = (places.len() as u64 + 1) * u64::from(max);
            if places.len() >= limits.texts || padded > budget {
                break;
            }
            longest = max;
            places.push(place);
        }
        if let Some((turn, _)) = self.turns.first() {
            self.turn = self.turn.max(*turn);
        }
        self.text_turn = self.text_turn.max(first.turn);
        if let Some(lane) = self.lanes.get_mut(&first.client) {
            lane.turn = lane.turn.max(first.turn);
        }
        let take = |place: Place| {
            let entry = self.change(place.client, |lane| {
                lane.taken += 1;
                let entry = lane.remove(place)?;
                lane.served += lane.cost * entry.turn();
                Some(entry)
            });
            Some((place, entry?))
        };
        places.into_iter().filter_map(take).collect()
    }

    /// Takes everything.
    pub(super) fn clear(&mut self) -> Vec<Entry<T>> {
        let lanes = std::mem::take(self).lanes.into_values();
        lanes.flat_map(|lane| lane.entries.into_values()).collect()
    }

    /// The next text.
    fn first(&self) -> Option<(Place, &Entry<T>)> {
        let (_, client) = self.turns.first()?;
        self.lanes.get(client)?.first()
    }

    /// All texts, those of the client whose turn it is first.
    fn in_order(&self) -> impl Iterator<Item = (Place, &Entry<T>)> {
        let lanes = self.turns.iter();
        let lanes = lanes.filter_map(|(_, client)| self.lanes.get(client));
        let entries = lanes.flat_map(|lane| &lane.entries);
        entries.map(|(place, entry)| (*place, entry))
    }

    /// The texts that can share a batch with the one at `first`, the most similar length
    /// first.
    fn like(&self, first: Place, head: &Entry<T>) -> Vec<(Place, &Entry<T>)> {
        if head.alone {
            return Vec::new();
        }
        let difference = |entry: &Entry<T>| entry.tokens.abs_diff(head.tokens);
        let most = 4.max(head.tokens / 4);
        let mut like: Vec<(Place, &Entry<T>)> = self
            .in_order()
            .filter(|(place, _)| *place != first)
            .take(LOOK_AHEAD)
            .filter(|(_, entry)| !entry.alone && difference(entry) <= most)
            .filter(|(_, entry)| entry.scorer.revision() == head.scorer.revision())
            .filter(|(_, entry)| entry.long_texts == head.long_texts)
            .collect();
        // The sort is stable: of two equally similar texts, the one whose turn is first.
        like.sort_by_key(|(_, entry)| difference(entry));
        like
    }

    /// Changes the lane of a client, and keeps the turns and the sums of all lanes right.
    fn change<R>(&mut self, client: Client, change: impl FnOnce(&mut Lane<T>) -> R) -> R {
        let lane = self.lanes.entry(client).or_insert_with(|| Lane {
            cost: cost(client.weight()),
            entries: BTreeMap::new(),
            requests: HashMap::new(),
            late: BTreeSet::new(),
            taken: 0,
            turn: self.text_turn,
            served: self.turn,
            sums: Sums::default(),
        });
        let (turn, sums) = (lane.next_turn(), lane.sums);
        let result = change(lane);
        self.sums.texts = self.sums.texts - sums.texts + lane.sums.texts;
        self.sums.tokens = self.sums.tokens - sums.tokens + lane.sums.tokens;
        self.sums.load = self.sums.load - sums.load + lane.sums.load;
        let next = lane.next_turn();
        if turn != next {
            if let Some(turn) = turn {
                self.turns.remove(&(turn, client));
            }
            if let Some(next) = next {
                self.turns.insert((next, client));
            }
        }
        if next.is_none() {
            self.lanes.remove(&client);
        }
        result
    }
}

impl<T> Lane<T> {
    /// The turn of the lane's first text among those of other lanes.
    fn next_turn(&self) -> Option<u64> {
        let (_, entry) = self.first()?;
        Some(self.served + self.cost * entry.turn())
    }

    /// The next text: the latest one, or the one whose turn it is.
    fn first(&self) -> Option<(Place, &Entry<T>)> {
        let late = self.late.first().filter(|(late, _)| *late <= self.taken);
        let late = late.and_then(|(_, request)| self.requests.get(request)?.places.first());
        let place = late.or_else(|| self.entries.keys().next())?;
        self.entries
            .get_key_value(place)
            .map(|(place, entry)| (*place, entry))
    }

    fn insert(&mut self, place: Place, entry: Entry<T>) {
        self.sums.texts += 1;
        self.change(&entry, |waiting, tokens| {
            waiting.places.insert(place);
            waiting.tokens += tokens;
        });
        self.entries.insert(place, entry);
    }

    fn remove(&mut self, place: Place) -> Option<Entry<T>> {
        let entry = self.entries.remove(&place)?;
        self.sums.texts -= 1;
        self.change(&entry, |waiting, tokens| {
            waiting.places.remove(&place);
            waiting.tokens -= tokens;
        });
        Some(entry)
    }

    /// Changes what waits of the request of `entry`, and keeps the sums, and when its next
    /// text is late, right.
    fn change(&mut self, entry: &Entry<T>, change: impl FnOnce(&mut Waiting, u64)) {
        let request = entry.request;
        let waiting = self.requests.entry(request).or_default();
        let (tokens, first) = (waiting.tokens, waiting.places.first().copied());
        change(waiting, u64::from(entry.tokens));
        let load = |tokens: u64| tokens.min(LOAD_OF_A_REQUEST);
        self.sums.load = self.sums.load + load(waiting.tokens) - load(tokens);
        self.sums.tokens = self.sums.tokens + waiting.tokens - tokens;
        let next = waiting.places.first().copied();
        if first == next {
            return;
        }
        self.late.remove(&(waiting.late, request));
        if next.is_none() {
            self.requests.remove(&request);
            return;
        }
        let requests = self.requests.len() as u64;
        if let Some(waiting) = self.requests.get_mut(&request) {
            waiting.late = self.taken + requests + MAX_OVERTAKEN;
            self.late.insert((waiting.late, request));
        }
    }
}

/// What a token of a client of this weight counts for among those of other clients.
fn cost(weight: Weight) -> u64 {
    match weight {
        Weight::High => 1,
        Weight::Normal => 4,
        Weight::Low => 16,
    }
}

impl<T> Entry<T> {
    /// What the text counts for when turns are given.
    fn turn(&self) -> u64 {
        u64::from(self.tokens.min(TURN_OF_A_TEXT))
    }
}

#[cfg(test)]
mod properties;
