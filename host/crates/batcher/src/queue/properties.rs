//! What holds for every sequence of requests, batches and departures.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use predictor::{CancellationToken, Digest, PredictError, Revision, Scores};

struct Never(Arc<Revision>);

impl Scorer for Never {
    fn revision(&self) -> &Arc<Revision> {
        &self.0
    }

    fn score(&self, _: &[String], _: &CancellationToken) -> Result<Vec<Scores>, PredictError> {
        unreachable!("nothing is scored here")
    }
}

fn scorer(number: u8) -> Arc<dyn Scorer> {
    let [guest, model] = [number, 0].map(|byte| Digest([byte; 32]));
    let revision = Revision::new(guest, model, Revision::NO_CONFIGURATION);
    Arc::new(Never(Arc::new(revision)))
}

#[derive(Clone, Debug)]
enum Event {
    /// A request of texts with so many tokens each, for one of two revisions.
    Request {
        client: u8,
        tokens: Vec<u32>,
        revision: u8,
    },
    /// A worker takes a batch, while so many others are idle.
    Take { limits: BatchLimits, idle: usize },
    /// A caller leaves: its text is removed.
    Leave(Index),
    /// A batch failed, and one of its texts is put back to be scored alone.
    PutBack(Index),
}

fn events(
    limits: impl Strategy<Value = BatchLimits> + 'static,
) -> impl Strategy<Value = Vec<Event>> {
    let request = (0..3_u8, vec(2..=512_u32, 1..12), 0..2_u8);
    let request = request.prop_map(|(client, tokens, revision)| Event::Request {
        client,
        tokens,
        revision,
    });
    let take = (limits, 0..4_usize).prop_map(|(limits, idle)| Event::Take { limits, idle });
    let event = prop_oneof![
        3 => request,
        6 => take,
        1 => any::<Index>().prop_map(Event::Leave),
        1 => any::<Index>().prop_map(Event::PutBack),
    ];
    vec(event, 0..60)
}

fn any_limits() -> impl Strategy<Value = BatchLimits> {
    (1..=16_usize, 1..=1024_u32).prop_map(|(texts, tokens)| BatchLimits { texts, tokens })
}

const ONE_BY_ONE: BatchLimits = BatchLimits {
    texts: 1,
    tokens: u32::MAX,
};

/// A text that was pushed, as the queue should know it.
#[derive(Clone, Copy, Debug)]
struct Known {
    text: usize,
    request: u64,
    tokens: u32,
    revision: u8,
    alone: bool,
}

/// The next text of a request that waits, since it became that.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The most requests that its client had waiting then.
    requests: u64,
    /// Batches that began with another text of the client.
    batches: u64,
    /// Texts of the client that were taken.
    texts: u64,
}

/// The queue, and what it should hold.
#[derive(Default)]
struct Model {
    queue: Queue<usize>,
    waiting: BTreeMap<Place, Known>,
    heads: BTreeMap<Place, Head>,
    taken: Vec<(Place, Known)>,
    texts: usize,
}

impl Model {
    fn entry(known: Known) -> Entry<usize> {
        Entry {
            text: known.text.to_string(),
            tokens: known.tokens,
            scorer: scorer(known.revision),
            long_texts: LongTexts::default(),
            alone: known.alone,
            request: known.request,
            waiter: known.text,
        }
    }

    /// Returns the places of the request's texts.
    fn request(&mut self, client: u8, tokens: &[u32], revision: u8) -> Vec<Place> {
        let client = Client::of_key(&client.to_string(), Weight::ALL[usize::from(client % 3)]);
        let (request, mut turn) = self.queue.begin(client);
        let mut places = Vec::new();
        for tokens in tokens {
            let known = Known {
                text: self.texts,
                request,
                tokens: *tokens,
                revision,
                alone: false,
            };
            self.texts += 1;
            let place = self.queue.push(client, &mut turn, Self::entry(known));
            assert!(
                self.waiting.insert(place, known).is_none(),
                "a place is taken"
            );
            places.push(place);
        }
        self.find_heads();
        places
    }

    /// The next text of each request of each client.
    fn next_texts(&self) -> BTreeMap<(Client, u64), Place> {
        let mut next = BTreeMap::new();
        for (place, known) in &self.waiting {
            next.entry((place.client, known.request)).or_insert(*place);
        }
        next
    }

    /// Keeps `heads` to the next texts of requests. Call it whenever these change.
    fn find_heads(&mut self) {
        let next = self.next_texts();
        let before = std::mem::take(&mut self.heads);
        let requests = |client: Client, of: &mut dyn Iterator<Item = Client>| {
            of.filter(|other| *other == client).count() as u64
        };
        for ((client, _), place) in &next {
            let known = before.get(place).copied();
            let head = known.unwrap_or_else(|| Head {
                requests: requests(*client, &mut before.keys().map(|place| place.client)).max(
                    requests(*client, &mut next.keys().map(|(client, _)| *client)),
                ),
                batches: 0,
                texts: 0,
            });
            self.heads.insert(*place, head);
        }
    }

    fn take(&mut self, limits: BatchLimits, idle: usize) -> Vec<(Place, Known)> {
        let batch = self.queue.take(limits, idle);
        let Some((first, _)) = batch.first() else {
            assert!(self.waiting.is_empty());
            return Vec::new();
        };
        let mut places = self.waiting.keys();
        let next = places.find(|place| place.client == first.client);
        let is_late = self.heads[first].texts > MAX_OVERTAKEN;
        assert!(next == Some(first) || is_late, "the first of its client");
        let heads = self.heads.iter_mut();
        for (_, head) in heads.filter(|(place, _)| place.client == first.client) {
            head.batches += 1;
        }
        let take = |(place, entry): (Place, Entry<usize>)| {
            let known = self.waiting.remove(&place).expect("it waits, and once");
            assert_eq!(known.text, entry.waiter);
            let heads = self.heads.iter_mut();
            for (_, head) in heads.filter(|(other, _)| other.client == place.client) {
                head.texts += 1;
            }
            self.find_heads();
            (place, known)
        };
        let batch: Vec<_> = batch.into_iter().map(take).collect();
        self.taken.extend(&batch);
        batch
    }

    /// One of the texts that wait.
    fn leave(&mut self, index: Index) {
        if self.waiting.is_empty() {
            return;
        }
        let place = *self
            .waiting
            .keys()
            .nth(index.index(self.waiting.len()))
            .unwrap();
        let known = self.waiting.remove(&place);
        let removed = self.queue.remove(place).map(|entry| entry.waiter);
        assert_eq!(removed, known.map(|known| known.text));
        assert!(self.queue.remove(place).is_none(), "it was removed");
        self.find_heads();
    }

    fn put_back(&mut self, index: Index) {
        if self.taken.is_empty() {
            return;
        }
        let (place, known) = self.taken.swap_remove(index.index(self.taken.len()));
        let known = Known {
            alone: true,
            ..known
        };
        self.queue.put_back(place, Self::entry(known));
        self.waiting.insert(place, known);
        self.find_heads();
    }

    fn check_counts(&self) {
        let mut of_requests = BTreeMap::<u64, u64>::new();
        for known in self.waiting.values() {
            *of_requests.entry(known.request).or_default() += u64::from(known.tokens);
        }
        assert_eq!(self.queue.len(), self.waiting.len());
        assert_eq!(self.queue.tokens(), of_requests.values().sum::<u64>());
        let load = of_requests
            .values()
            .map(|tokens| LOAD_OF_A_REQUEST.min(*tokens));
        assert_eq!(self.queue.load(), load.sum::<u64>());
    }
}

/// What a text counts for when turns are given.
fn counted(known: &Known) -> u64 {
    u64::from(known.tokens.min(TURN_OF_A_TEXT))
}

proptest! {
    /// Every text comes out once, unless its caller leaves; each batch begins with the text
    /// whose turn it is, and keeps to its limits; and the counts are right throughout.
    #[test]
    fn batches_keep_to_their_limits_and_lose_nothing(events in events(any_limits())) {
        let mut model = Model::default();
        for event in &events {
            match event {
                Event::Request { client, tokens, revision } => {
                    model.request(*client, tokens, *revision);
                }
                Event::Leave(index) => model.leave(*index),
                Event::PutBack(index) => model.put_back(*index),
                Event::Take { limits, idle } => {
                    let all = model.queue.tokens();
                    let batch = model.take(*limits, *idle);
                    let longest = batch.iter().map(|(_, known)| known.tokens).max();
                    let padded = u64::from(longest.unwrap_or(0)) * batch.len() as u64;
                    if batch.len() > 1 {
                        prop_assert!(batch.len() <= limits.texts);
                        prop_assert!(padded <= u64::from(limits.tokens));
                        // The idle workers get their share.
                        prop_assert!(padded <= all.div_ceil(*idle as u64 + 1));
                        let first = batch[0].1;
                        prop_assert!(batch.iter().all(|(_, it)| it.revision == first.revision));
                        prop_assert!(batch.iter().all(|(_, known)| !known.alone));
                    }
                }
            }
            model.check_counts();
        }
        let limits = BatchLimits { texts: 8, tokens: 512 };
        while !model.take(limits, 0).is_empty() {}
        prop_assert!(model.waiting.is_empty());
        model.check_counts();
    }

    /// However many texts come, and however short, the next text of a request waits for a
    /// bounded number of batches of its client: as many as there were requests, twice, and a
    /// few more.
    #[test]
    fn no_text_is_overtaken_for_ever(
        events in events(any_limits()),
        stream in vec(2..=64_u32, 0..120),
    ) {
        let mut model = Model::default();
        let check = |model: &Model| {
            for (place, head) in &model.heads {
                let most = 2 * head.requests + MAX_OVERTAKEN;
                prop_assert!(head.batches <= most, "{place:?} {head:?}");
            }
            Ok(())
        };
        for event in events {
            match event {
                Event::Request { client, tokens, revision } => {
                    model.request(client, &tokens, revision);
                }
                Event::Leave(index) => model.leave(index),
                Event::PutBack(index) => model.put_back(index),
                Event::Take { limits, idle } => {
                    model.take(limits, idle);
                }
            }
            check(&model)?;
        }
        // Each time a text is taken, another comes.
        let limits = BatchLimits { texts: 1, tokens: u32::MAX };
        for tokens in stream {
            model.take(limits, 0);
            model.request(0, &[tokens], 0);
            check(&model)?;
        }
    }

    /// One at a time, before a text has its turn each request of its client that came later
    /// is served no more than the text's own request up to it, in the tokens that turns
    /// count; texts that were late aside.
    #[test]
    fn no_later_request_overtakes_by_more_than_a_request_has_asked_for(
        events in events(Just(ONE_BY_ONE)),
    ) {
        let mut model = Model::default();
        // For each text, by its place: what its request had asked for, up to it.
        let mut asked = BTreeMap::new();
        // For each text that waits: what later requests were served since it came.
        let mut served = BTreeMap::<Place, BTreeMap<u64, u64>>::new();
        for event in events {
            match event {
                Event::Request { client, tokens, revision } => {
                    let mut sum = 0;
                    for place in model.request(client, &tokens, revision) {
                        sum += counted(&model.waiting[&place]);
                        asked.insert(place, sum);
                        served.insert(place, BTreeMap::new());
                    }
                }
                Event::Take { limits, idle } => {
                    let before = model.waiting.clone();
                    for (of, taken) in model.take(limits, idle) {
                        served.remove(&of);
                        let mut places = before.keys();
                        if places.find(|place| place.client == of.client) != Some(&of) {
                            continue;
                        }
                        for (place, by) in &mut served {
                            let Some(waiting) = model.waiting.get(place) else { continue };
                            if place.client == of.client && waiting.request < taken.request {
                                let sum = by.entry(taken.request).or_default();
                                *sum += counted(&taken);
                                prop_assert!(*sum <= asked[place], "{waiting:?} {taken:?}");
                            }
                        }
                    }
                }
                Event::Leave(index) => model.leave(index),
                // A text that is put back has had its turn.
                Event::PutBack(_) => {}
            }
        }
    }

    /// One at a time, clients that have texts waiting all the time are served by their weights:
    /// the tokens that turns count, each for what it costs, differ by those of a text for each.
    #[test]
    fn no_client_is_served_more_than_its_weight_allows(
        requests in vec((0..3_u8, vec(2..=512_u32, 1..12)), 0..40),
        takes in 0..200_usize,
    ) {
        let mut model = Model::default();
        for (client, tokens) in &requests {
            model.request(*client, tokens, 0);
        }
        let mut served = BTreeMap::<Client, u64>::new();
        for place in model.waiting.keys() {
            served.insert(place.client, 0);
        }
        for _ in 0..takes {
            for (place, taken) in model.take(ONE_BY_ONE, 0) {
                let cost = cost(place.client.weight()) * counted(&taken);
                *served.entry(place.client).or_default() += cost;
            }
            served.retain(|client, _| model.waiting.keys().any(|place| place.client == *client));
            let text = |client: &Client| u64::from(TURN_OF_A_TEXT) * cost(client.weight());
            let most = served.iter().map(|(client, sum)| sum.saturating_sub(text(client)));
            let least = served.iter().map(|(client, sum)| sum + text(client));
            prop_assert!(most.max() <= least.min(), "{served:?}");
        }
    }
}
