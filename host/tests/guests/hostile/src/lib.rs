//! A malicious guest for the tests of the host: a text that begins with `do` is an
//! order. Every other text gets the label GOOD and a score that depends on the text, so
//! that a test can tell whether an answer belongs to its text.
//!
//! What an order finds out, if the host lets it finish, is the label of its answer.

#![cfg(target_arch = "wasm32")]
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the host must survive it"
)]

mod doors;
mod tensors;

#[expect(
    unsafe_code,
    clippy::same_length_and_capacity,
    reason = "made by `wit-bindgen`, which passes pointers over the component's boundary"
)]
mod bindings {
    //! Bindings of the contract, made by `wit-bindgen`.

    wit_bindgen::generate!({
        path: "../../../../wit",
        world: "fastsentiment:predict/prepared-guest",
        generate_all,
    });

    use super::Component;
    export!(Component);
}

use std::sync::OnceLock;

use bindings::exports::fastsentiment::predict::predictor::{Error, Guest, InvalidText, Score};

/// The component: what the host calls.
struct Component;

/// What answers depend on beside their texts, if `prepare` was ordered so.
static WHIM: OnceLock<String> = OnceLock::new();

/// The answer to one text.
type Outcome = Result<Vec<Score>, Error>;

impl Guest for Component {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        let answers: Result<Vec<_>, _> = texts.iter().map(|text| answer(text)).collect();
        let mut answers = answers?;
        if let Some(whim) = WHIM.get() {
            answers.fill(follow(whim, texts.len()));
        }
        if texts.iter().any(|text| text == "do answer once more") {
            answers.push(found("more"));
        }
        Ok(answers)
    }
}

impl bindings::Guest for Component {
    /// Obeys the file `order` of the model directory, if there is one.
    fn prepare() {
        if let Ok(order) = std::fs::read_to_string("/model/order") {
            let _ = answer(order.trim());
        }
    }
}

fn answer(text: &str) -> Outcome {
    match text.strip_prefix("do ") {
        Some(order) => obey(order),
        None => Ok(one("GOOD", number(text))),
    }
}

fn follow(whim: &str, texts: usize) -> Vec<Score> {
    match whim {
        "the clock" => {
            let begun = std::time::SystemTime::UNIX_EPOCH;
            let now = begun.elapsed().unwrap_or_default();
            found(now.as_nanos())
        }
        "the company" => one("GOOD", if texts == 1 { 0.5 } else { 0.0 }),
        other => panic!("nothing depends on `{other}`"),
    }
}

/// A score that hardly any other text has.
fn number(text: &str) -> f32 {
    let sum = text.bytes().fold(7_u16, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u16::from(byte)) % 1000
    });
    f32::from(sum) / 1000.0
}

fn one(label: impl Into<String>, score: f32) -> Vec<Score> {
    let label = label.into();
    vec![Score { label, score }]
}

/// An answer with the finding of an order as its label.
fn found(what: impl std::fmt::Display) -> Vec<Score> {
    // A label must not be empty, nor long.
    one(what.to_string().chars().take(300).collect::<String>(), 1.0)
}

fn obey(order: &str) -> Outcome {
    let (order, argument) = order.split_once(": ").unwrap_or((order, ""));
    Ok(match order {
        "loop" => loop {
            std::hint::black_box(());
        },
        "recurse" => one("GOOD", recurse(1.0)),
        "take memory" => take_memory(),
        "panic" => panic!("{argument}"),
        "exit" => std::process::exit(argument.parse().unwrap_or(0)),
        "abort" => std::process::abort(),
        // The same on every machine.
        "take time" => {
            let begun = std::time::Instant::now();
            while begun.elapsed() < std::time::Duration::from_millis(4) {}
            one("GOOD", number(argument))
        }
        "score" => one("GOOD", argument.parse().unwrap_or(f32::NAN)),
        "answer once more" => found("one"),
        "depend on" => {
            let _ = WHIM.set(argument.to_owned());
            found("whim")
        }
        "labels of" => argument
            .split('|')
            .flat_map(|label| one(label, 0.5))
            .collect(),
        "label" => one("x".repeat(argument.parse().unwrap_or(0)), 0.5),
        "labels" => {
            let labels = 0..argument.parse().unwrap_or(0);
            labels
                .flat_map(|label| one(format!("GOOD{label}"), 0.5))
                .collect()
        }
        "label twice" => [one("GOOD", 0.5), one("GOOD", 0.5)].concat(),
        "refuse" => {
            return Err(Error::InvalidText(InvalidText {
                index: 0,
                reason: "x".repeat(argument.parse().unwrap_or(0)),
            }));
        }
        "refuse with" => {
            let reason = argument.to_owned();
            return Err(Error::InvalidText(InvalidText { index: 0, reason }));
        }
        "fail with" => return Err(Error::Internal(argument.to_owned())),
        "fail" => return Err(Error::Internal("x".repeat(argument.parse().unwrap_or(0)))),
        "say" => {
            println!("{argument}");
            eprintln!("{argument}");
            found("said")
        }
        other => match doors::obey(other).or_else(|| tensors::obey(other)) {
            Some(outcome) => found(outcome),
            None => panic!("there is no order `{other}`"),
        },
    })
}

fn recurse(number: f32) -> f32 {
    if number < 0.0 {
        return number;
    }
    // The addition after the call keeps this from being compiled to a loop.
    std::hint::black_box(recurse(number + 1.0)) + number
}

/// Takes all memory, and writes to it so that the system has to provide it.
fn take_memory() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}
