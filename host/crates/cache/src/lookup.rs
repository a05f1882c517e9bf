//! The way of a request through the cache: memory, Redis, flights, and the layer below for
//! the rest.
//!
//! This module must not know how any of them works inside.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use prometheus::Registry;

use super::Options;
use super::flight::{Flights, Landing, Part};
use super::key::{Key, Keys};
use super::memory::Memory;
use super::metrics::Metrics;
use super::shared::{Found, Outbox, Shared};
use predictor::{
    Answer, BoxFuture, Pending, PredictError, Predictor, Priority, Request, RequestOptions,
    Revision, Scorer, Scores, Source,
};

/// The part of a cache that its futures share.
pub(super) struct Inner {
    pub(super) below: Arc<dyn Predictor>,
    memory: Option<Arc<Memory>>,
    shared: Option<Shared>,
    flights: Arc<Flights>,
    engine: String,
    metrics: Metrics,
}

/// How much of a request was in memory.
pub(super) enum Recalled {
    /// All of it.
    All(Vec<Pending>),
    /// A part of it, or nothing.
    Part(Lookup),
}

/// A request some of whose texts are not answered yet.
pub(super) struct Lookup {
    answers: Vec<Option<Pending>>,
    /// The texts without an answer, each once.
    wanted: Vec<Wanted>,
    scorer: Arc<dyn Scorer>,
    options: RequestOptions,
    since: Instant,
}

/// A text without an answer.
struct Wanted {
    key: Key,
    text: String,
    /// Its positions in the request.
    places: Vec<usize>,
}

impl Inner {
    pub(super) fn new(
        options: &Options,
        below: Arc<dyn Predictor>,
        shared: Option<Shared>,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        Ok(Self {
            below,
            memory: Memory::new(options.memory_bytes, options.memory_ttl, registry)?,
            shared,
            flights: Arc::default(),
            engine: options.engine.clone(),
            metrics: Metrics::new(registry)?,
        })
    }

    /// Answers from memory. Most requests may end here; they cost no more than the keys of
    /// their texts and the vector of their answers.
    pub(super) fn recall(&self, request: Request) -> Recalled {
        let keys = self.keys(&request);
        let revision = Arc::clone(request.scorer.revision());
        let mut answers = Vec::with_capacity(request.texts.len());
        for text in &request.texts {
            let key = keys.of(text);
            match self.find(&key) {
                Some(scores) => {
                    answers.push(Pending::Ready(answer(scores, &revision, Source::Memory)));
                }
                None => return Recalled::Part(self.recall_rest(request, &keys, answers, key)),
            }
        }
        self.metrics.memory_hits.inc_by(answers.len() as u64);
        Recalled::All(answers)
    }

    /// Continues after the first text that is not in memory, whose key is `missing`.
    fn recall_rest(
        &self,
        request: Request,
        keys: &Keys,
        found: Vec<Pending>,
        missing: Key,
    ) -> Lookup {
        let at = found.len();
        let revision = Arc::clone(request.scorer.revision());
        let mut lookup = Lookup::new(request.scorer, request.options);
        lookup.answers.extend(found.into_iter().map(Some));
        let mut known = HashMap::new();
        for (place, text) in request.texts.into_iter().enumerate().skip(at) {
            let key = if place == at { missing } else { keys.of(&text) };
            match self.find(&key) {
                Some(scores) => {
                    let answer = answer(scores, &revision, Source::Memory);
                    lookup.answers.push(Some(Pending::Ready(answer)));
                }
                None => lookup.want(&mut known, key, text),
            }
        }
        let misses = lookup.answers.iter().filter(|answer| answer.is_none());
        let misses = misses.count() as u64;
        let hits = lookup.answers.len() as u64 - misses;
        if self.memory.is_some() {
            self.metrics.memory_hits.inc_by(hits);
            self.metrics.memory_misses.inc_by(misses);
        }
        lookup
    }

    /// Answers the texts that were not in memory.
    pub(super) async fn complete(
        self: Arc<Self>,
        mut lookup: Lookup,
    ) -> Result<Vec<Pending>, PredictError> {
        let revision = Arc::clone(lookup.scorer.revision());
        if let Some(shared) = &self.shared {
            self.fetch(shared, &mut lookup).await;
        }
        let keys: Vec<Key> = lookup.wanted.iter().map(|wanted| wanted.key).collect();
        let (parts, reservation) = self.flights.claim(&keys, |key| self.find(key)).await;
        let since = lookup.since.elapsed();
        self.metrics.lookup_seconds.observe(since.as_secs_f64());
        let mut led = Vec::new();
        for (part, wanted) in parts.into_iter().zip(std::mem::take(&mut lookup.wanted)) {
            match part {
                Part::Found(scores) => {
                    let answer = answer(scores, &revision, Source::Memory);
                    lookup.fill(&wanted.places, || Pending::Ready(answer.clone()));
                }
                Part::Join(flight) => {
                    self.metrics.joined.inc_by(wanted.places.len() as u64);
                    lookup.fill(&wanted.places, || Pending::Later(flight.clone().boxed()));
                }
                Part::Lead => led.push(wanted),
            }
        }
        if led.is_empty() {
            return lookup.answers();
        }
        let scorer = Arc::clone(&lookup.scorer);
        let (led, futures) = self.compute(scorer, lookup.options, led).await?;
        for (flight, places) in reservation.launch(futures).into_iter().zip(led) {
            self.metrics.joined.inc_by(places.len() as u64 - 1);
            lookup.fill(&places, || Pending::Later(flight.clone().boxed()));
        }
        lookup.answers()
    }

    /// Answers from Redis, and caches what it finds in memory.
    async fn fetch(&self, shared: &Shared, lookup: &mut Lookup) {
        let keys: Vec<Key> = lookup.wanted.iter().map(|wanted| wanted.key).collect();
        let found = shared.get(&keys).await;
        let revision = Arc::clone(lookup.scorer.revision());
        let texts =
            |wanted: &[Wanted]| wanted.iter().map(|wanted| wanted.places.len() as u64).sum();
        let values = match found {
            Found::Values(values) => values,
            Found::Failed => return self.metrics.redis_errors.inc_by(texts(&lookup.wanted)),
            Found::Skipped => return self.metrics.redis_skipped.inc_by(texts(&lookup.wanted)),
        };
        for (scores, wanted) in values.into_iter().zip(std::mem::take(&mut lookup.wanted)) {
            let Some(scores) = scores else {
                self.metrics.redis_misses.inc_by(wanted.places.len() as u64);
                lookup.wanted.push(wanted);
                continue;
            };
            self.metrics.redis_hits.inc_by(wanted.places.len() as u64);
            if let Some(memory) = &self.memory {
                memory.put(wanted.key, Arc::clone(&scores));
            }
            let answer = answer(scores, &revision, Source::Shared);
            lookup.fill(&wanted.places, || Pending::Ready(answer.clone()));
        }
    }

    /// Has every text computed, whatever is cached or in flight.
    pub(super) async fn renew(
        self: Arc<Self>,
        request: Request,
    ) -> Result<Vec<Pending>, PredictError> {
        let keys = self.keys(&request);
        let mut lookup = Lookup::new(request.scorer, request.options);
        let mut known = HashMap::new();
        for text in request.texts {
            lookup.want(&mut known, keys.of(&text), text);
        }
        let wanted = std::mem::take(&mut lookup.wanted);
        let scorer = Arc::clone(&lookup.scorer);
        let (led, futures) = self.compute(scorer, lookup.options, wanted).await?;
        for (future, places) in futures.into_iter().zip(led) {
            let shared = future.shared();
            lookup.fill(&places, || Pending::Later(shared.clone().boxed()));
        }
        lookup.answers()
    }

    /// Has texts computed and cached. Returns the positions of each, and its future.
    async fn compute(
        self: &Arc<Self>,
        scorer: Arc<dyn Scorer>,
        options: RequestOptions,
        wanted: Vec<Wanted>,
    ) -> Result<(Vec<Vec<usize>>, Vec<BoxFuture<Landing>>), PredictError> {
        let mut places = Vec::with_capacity(wanted.len());
        let mut keys = Vec::with_capacity(wanted.len());
        let mut texts = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            places.push(wanted.places);
            keys.push(wanted.key);
            texts.push(wanted.text);
        }
        let revision = Arc::clone(scorer.revision());
        let request = Request {
            texts,
            scorer,
            options,
            // Later callers may wait for the same flight.
            priority: Priority::Live,
        };
        let pending = self.below.predict(request).await?;
        if pending.len() != keys.len() {
            let counts = format!("{} answers to {} texts", pending.len(), keys.len());
            return Err(PredictError::failed(counts));
        }
        // One outbox for the request, so that its answers are written together.
        let outbox = self.shared.as_ref().map(|shared| Arc::new(shared.outbox()));
        let keeping = keys.into_iter().zip(pending).map(|(key, pending)| {
            let (inner, revision) = (Arc::clone(self), Arc::clone(&revision));
            let outbox = outbox.clone();
            async move {
                let answer = pending.await?;
                // The key was made for the revision that was asked.
                if answer.revision == revision {
                    inner.keep(key, &answer.scores, outbox.as_deref());
                }
                Ok(answer)
            }
            .boxed()
        });
        let futures = keeping.collect();
        Ok((places, futures))
    }

    fn keep(&self, key: Key, scores: &Scores, outbox: Option<&Outbox>) {
        if let Some(memory) = &self.memory {
            memory.put(key, Arc::clone(scores));
        }
        if let Some(outbox) = outbox {
            outbox.put(key, Arc::clone(scores));
        }
    }

    fn find(&self, key: &Key) -> Option<Scores> {
        self.memory.as_ref().and_then(|memory| memory.get(key))
    }

    fn keys(&self, request: &Request) -> Keys {
        let long_texts = request.options.long_texts;
        Keys::new(request.scorer.revision(), &self.engine, long_texts)
    }
}

impl Lookup {
    fn new(scorer: Arc<dyn Scorer>, options: RequestOptions) -> Self {
        Self {
            answers: Vec::new(),
            wanted: Vec::new(),
            scorer,
            options,
            since: Instant::now(),
        }
    }

    /// Adds a text that has to be answered. `known` maps keys to positions in `wanted`.
    fn want(&mut self, known: &mut HashMap<Key, usize>, key: Key, text: String) {
        let place = self.answers.len();
        self.answers.push(None);
        let at = *known.entry(key).or_insert(self.wanted.len());
        match self.wanted.get_mut(at) {
            Some(wanted) => wanted.places.push(place),
            None => self.wanted.push(Wanted {
                key,
                text,
                places: vec![place],
            }),
        }
    }

    /// Answers one text at all of its positions.
    fn fill(&mut self, places: &[usize], answer: impl Fn() -> Pending) {
        for place in places {
            self.answers[*place] = Some(answer());
        }
    }

    /// The answers, none of which is missing by now.
    fn answers(self) -> Result<Vec<Pending>, PredictError> {
        let answers: Option<Vec<Pending>> = self.answers.into_iter().collect();
        answers.ok_or_else(|| PredictError::failed("a text was lost in the cache"))
    }
}

fn answer(scores: Scores, revision: &Arc<Revision>, source: Source) -> Answer {
    Answer {
        scores,
        revision: Arc::clone(revision),
        source,
        work: None,
    }
}
