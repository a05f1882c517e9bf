//! The guest as a command: texts as arguments, or as lines on standard input;
//! JSON in the shape of the HTTP API on standard output.
//!
//! It lets a guest be tried with nothing but a WebAssembly runtime.

use std::io::{BufRead, Write};

use serde::Serialize;

use crate::bindings::exports::fastsentiment::predict::predictor::Score;
use crate::{Component, describe, predictor};

wasip2::cli::command::export!(Component);

#[derive(Serialize)]
struct Answer {
    predictions: Vec<Vec<LabelScore>>,
}

#[derive(Serialize)]
struct LabelScore {
    label: String,
    score: f32,
}

impl wasip2::exports::cli::run::Guest for Component {
    fn run() -> Result<(), ()> {
        run().map_err(|error| {
            // Nothing can be done about a standard error that is gone too.
            let _ = writeln!(std::io::stderr(), "error: {error}");
        })
    }
}

fn run() -> Result<(), String> {
    let texts = texts()?;
    let predictions = predictor()
        .and_then(|predictor| predictor.predict(&texts))
        .map_err(|error| describe(&error))?
        .into_iter()
        .map(|scores| scores.into_iter().map(LabelScore::from).collect())
        .collect();
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &Answer { predictions }).map_err(|error| error.to_string())?;
    writeln!(out).map_err(|error| error.to_string())
}

/// The arguments, or, without any, the lines of standard input.
fn texts() -> Result<Vec<String>, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        return Ok(arguments);
    }
    std::io::stdin()
        .lock()
        .lines()
        .collect::<Result<_, _>>()
        .map_err(|error| format!("standard input can not be read: {error}"))
}

impl From<Score> for LabelScore {
    fn from(score: Score) -> Self {
        Self {
            label: score.label,
            score: score.score,
        }
    }
}
