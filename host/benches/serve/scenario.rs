//! What clients ask for: texts that are new, known, or a mix.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::{Api, Connection, request};
use crate::corpus::{Corpus, Lengths, Rng};
use crate::load::{Load, Outcome};
use crate::process::Server;

/// How many texts are asked for again and again.
const KNOWN: usize = 512;

/// Connections on which a server is taught: enough that no process gets none.
const TEACHERS: usize = 16;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Every text is new.
    Misses(Lengths),
    /// 95 of 100 requests are for texts that were asked for before.
    Mix95,
    /// All are.
    Hits,
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) clients: usize,
    /// Texts in a request.
    pub(crate) texts: usize,
}

const fn scenario(name: &'static str, kind: Kind, clients: usize, texts: usize) -> Scenario {
    Scenario {
        name,
        kind,
        clients,
        texts,
    }
}

pub(crate) const SCENARIOS: [Scenario; 11] = [
    scenario("misses_c1", Kind::Misses(Lengths::Short), 1, 1),
    scenario("misses_c10", Kind::Misses(Lengths::Short), 10, 1),
    scenario("misses_c64", Kind::Misses(Lengths::Short), 64, 1),
    scenario("misses8_c10", Kind::Misses(Lengths::Short), 10, 8),
    scenario("mixed_c64", Kind::Misses(Lengths::Mixed), 64, 1),
    scenario("mix95_c1", Kind::Mix95, 1, 1),
    scenario("mix95_c10", Kind::Mix95, 10, 1),
    scenario("mix95_c64", Kind::Mix95, 64, 1),
    scenario("hits_c1", Kind::Hits, 1, 1),
    scenario("hits_c10", Kind::Hits, 10, 1),
    scenario("hits_c64", Kind::Hits, 64, 1),
];

impl Scenario {
    /// The share of texts that the cache of a server should know.
    pub(crate) fn expected_hits(&self) -> std::ops::RangeInclusive<f64> {
        match self.kind {
            Kind::Misses(_) => 0.0..=0.01,
            Kind::Mix95 => 0.92..=0.98,
            Kind::Hits => 0.99..=1.0,
        }
    }
}

/// The requests of a model's scenarios.
pub(crate) struct Traffic {
    corpus: Corpus,
    /// For each API.
    known: [(Api, Vec<Vec<u8>>); 2],
    /// Counts new texts, whose lengths follow from it.
    made: AtomicUsize,
}

impl Traffic {
    pub(crate) fn new(corpus: Corpus) -> Self {
        let known = corpus.texts(Lengths::Short, KNOWN);
        Self {
            known: [Api::Ours, Api::Tei].map(|api| {
                let request = |text: &String| api.request(std::slice::from_ref(text));
                (api, known.iter().map(request).collect())
            }),
            corpus,
            made: AtomicUsize::new(0),
        }
    }

    /// The requests of known texts to a server.
    fn known(&self, server: &Server) -> &[Vec<u8>] {
        let [(api, first), (_, other)] = &self.known;
        if *api == server.api { first } else { other }
    }

    /// A request of this server's API, of texts that were never asked for.
    pub(crate) fn new_texts(&self, lengths: Lengths, texts: usize, rng: &mut Rng) -> Vec<u8> {
        self.new_texts_by(Api::Ours, lengths, texts, rng)
    }

    fn new_texts_by(&self, api: Api, lengths: Lengths, texts: usize, rng: &mut Rng) -> Vec<u8> {
        let first = self.made.fetch_add(texts, Ordering::Relaxed);
        let texts: Vec<String> = (first..first + texts)
            .map(|n| self.corpus.text(lengths.nth(n), rng))
            .collect();
        api.request(&texts)
    }

    /// Brings a server into the state in which it is measured; gives the length
    /// of an answer.
    pub(crate) fn wear_in(&self, server: &Server) -> usize {
        let texts = self.corpus.every_word();
        let requests: Vec<Vec<u8>> = texts.into_iter().map(|text| request(&[text])).collect();
        let next = AtomicUsize::new(0);
        // Enough clients that every worker of the server has its share.
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut connection = Connection::to(server.address);
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let request = match requests.get(at) {
                            Some(request) => request,
                            None => match self.known(server).get(at - requests.len()) {
                                Some(request) => request,
                                None => break,
                            },
                        };
                        assert_eq!(connection.exchange(request).unwrap().status, 200);
                    }
                });
            }
        });
        let mut connection = Connection::to(server.address);
        let answer = connection.exchange(&self.known(server)[0]).unwrap();
        connection.body(&answer).len()
    }

    /// Has every process of a server answer each known text: each has a cache of its
    /// own, and which of them gets a connection is left to chance.
    pub(crate) fn teach(&self, server: &Server) {
        std::thread::scope(|scope| {
            for client in 0..TEACHERS {
                scope.spawn(move || {
                    let mut connection = Connection::to(server.address);
                    // They begin at different texts, so as to share the work.
                    let first = client * KNOWN / TEACHERS;
                    for request in self.known(server).iter().cycle().skip(first).take(KNOWN) {
                        assert_eq!(connection.exchange(request).unwrap().status, 200);
                    }
                });
            }
        });
    }

    /// Texts of many lengths.
    pub(crate) fn samples(&self, count: usize) -> Vec<String> {
        self.corpus.texts(Lengths::Mixed, count)
    }

    pub(crate) fn run(&self, scenario: &Scenario, server: &Server, slice: Duration) -> Outcome {
        let known = |rng: &mut Rng| Cow::Borrowed(&self.known(server)[rng.below(KNOWN)][..]);
        let new = |lengths, rng: &mut Rng| {
            Cow::Owned(self.new_texts_by(server.api, lengths, scenario.texts, rng))
        };
        let requests = |rng: &mut Rng| match scenario.kind {
            Kind::Misses(lengths) => new(lengths, rng),
            Kind::Mix95 if rng.below(100) >= 95 => new(Lengths::Short, rng),
            Kind::Mix95 | Kind::Hits => known(rng),
        };
        Load {
            clients: scenario.clients,
            duration: slice,
            texts: scenario.texts,
            requests: &requests,
        }
        .run(server)
    }
}
