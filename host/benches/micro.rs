//! What single steps of a request cost: those that grow with every text, and
//! those that a known text still pays for.
//!
//! `make bench` runs this after the bench of the guest. Criterion prints an
//! interval for each; a line `figure <name> <value>` with the median of a plain
//! loop follows, so that programs can read it like the other benches' figures.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can not run stops")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::Criterion;
use fastsentiment::http::predictions_json;
use fastsentiment::predictor::{Digest, Score, Scores, Version};
use fastsentiment::service::Predictions;

/// How many texts a request has: one, and as many as one call of a guest takes.
const TEXTS: [usize; 2] = [1, 8];

/// How many steps a reading of the clock is for.
const STEPS: u32 = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    write_answer(&mut criterion);
    criterion.final_summary();
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
        scores: vec![scores; texts],
        version: Arc::new(Version {
            guest: Digest([0; 32]),
            model: Digest([1; 32]),
        }),
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
