//! What single steps of a request cost: those that grow with every text, and
//! those that a known text still pays for.
//!
//! `make bench` runs this after the bench of the guest. Criterion prints an
//! interval for each; a line `figure <name> <value>` with the median of a plain
//! loop follows, so that programs can read it like the other benches' figures.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can not run stops")]

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cache::Cache;
use criterion::Criterion;
use futures_util::FutureExt as _;
use http::{predictions_json, texts_of};
use predictor::{
    Answer, BoxFuture, CancellationToken, Digest, Pending, PredictError, Predictor, Priority,
    Request, RequestOptions, Revision, Score, Scorer, Scores, Source,
};
use service::Predictions;
use sha2::{Digest as _, Sha256};

/// How many texts a request has: one, and as many as one call of a guest takes.
const TEXTS: [usize; 2] = [1, 8];

/// How many steps a reading of the clock is for.
const STEPS: u32 = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    read_request(&mut criterion);
    hash(&mut criterion);
    recall(&mut criterion);
    write_answer(&mut criterion);
    criterion.final_summary();
}

/// A text of an ordinary length.
const TEXT: &str = "The plot is thin, but the actors make the most of every scene.";

/// From the JSON of a request to its texts.
fn read_request(criterion: &mut Criterion) {
    for texts in TEXTS {
        let body = serde_json::json!({"text": vec![TEXT; texts]}).to_string();
        measure(criterion, &format!("read_request_{texts}_texts"), || {
            texts_of(body.as_bytes()).unwrap()
        });
    }
}

/// The digest of a text, and of the versions beside it: most of a cache's key.
fn hash(criterion: &mut Criterion) {
    let text = [TEXT.as_bytes(), &[0; 64]].concat();
    measure(criterion, "hash_text", || Sha256::digest(&text));
}

/// From a request to answers that are kept in memory, the keys' digests
/// included.
fn recall(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let options = cache::Options {
        memory_bytes: 1 << 20,
        memory_ttl: Duration::from_secs(3600),
        ..cache::Options::default()
    };
    let registry = prometheus::Registry::new();
    let cache = Cache::start(&options, Arc::new(Below), &registry, runtime.handle()).unwrap();
    let scorer: Arc<dyn Scorer> = Arc::new(Below);
    for texts in TEXTS {
        let request = || Request {
            texts: (0..texts).map(|text| format!("{TEXT} {text}")).collect(),
            scorer: Arc::clone(&scorer),
            options: RequestOptions::default(),
            priority: Priority::Live,
        };
        // The first time, they are computed and kept.
        for pending in runtime.block_on(cache.predict(request())).unwrap() {
            runtime.block_on(pending).unwrap();
        }
        measure(criterion, &format!("recall_{texts}_texts"), || {
            let answers = cache.predict(request()).now_or_never().unwrap().unwrap();
            assert!(matches!(&answers[0], Pending::Ready(_)));
            answers
        });
    }
}

/// Answers at once.
struct Below;

impl Predictor for Below {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        let answer = |_| {
            Pending::Ready(Answer {
                scores: predictions(1).scores.remove(0),
                revision: Arc::clone(request.scorer.revision()),
                source: Source::Computed,
                work: None,
            })
        };
        let answers = request.texts.iter().map(answer).collect();
        Box::pin(std::future::ready(Ok(answers)))
    }
}

impl Scorer for Below {
    fn revision(&self) -> &Arc<Revision> {
        static VERSION: LazyLock<Arc<Revision>> =
            LazyLock::new(|| predictions(1).revisions.remove(0));
        &VERSION
    }

    fn score(&self, _: &[String], _: &CancellationToken) -> Result<Vec<Scores>, PredictError> {
        unreachable!("the layer below answers by itself")
    }
}

/// From scores to the JSON of an answer.
fn write_answer(criterion: &mut Criterion) {
    for texts in TEXTS {
        let predictions = predictions(texts);
        measure(criterion, &format!("write_answer_{texts}_texts"), || {
            predictions_json(&predictions).unwrap()
        });
    }
}

fn predictions(texts: usize) -> Predictions {
    let score = |label: &str, score: f32| Score {
        label: label.into(),
        score,
    };
    let scores: Scores = [
        score("POSITIVE", 0.998_690_9),
        score("NEGATIVE", 0.001_309_119_3),
    ]
    .into();
    Predictions {
        hits: 0,
        lookup: Duration::ZERO,
        work: None,
        scores: vec![scores; texts],
        revisions: vec![Arc::new(Revision::new(
            Digest([0; 32]),
            Digest([1; 32]),
            Revision::NO_CONFIGURATION,
        ))],
    }
}

/// Lets criterion measure a step, and prints its figure.
fn measure<T>(criterion: &mut Criterion, name: &str, mut step: impl FnMut() -> T) {
    criterion.bench_function(name, |bencher| bencher.iter(&mut step));
    let mut rounds: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..STEPS {
                black_box(step());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(STEPS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("figure {name}_ns {:.1}", rounds[rounds.len() / 2]);
}
