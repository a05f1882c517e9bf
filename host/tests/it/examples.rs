//! The guests in `guest/examples/`: each is loaded as any other guest, and
//! answers as its own documentation says.

use std::path::Path;
use std::sync::OnceLock;

use predictor::{Configuration, Score, Scores};
use sandbox::{Graphs, Guest, LoadError};
use serde_json::Value;

use crate::harness::{
    FIXTURES, default_model, example_path, fixture, graphs, load_configured, load_default,
    load_guest, onnxruntime, wait,
};
use crate::server_process::{run, run_with_input, subcommand_with};

fn example(name: &str) -> Vec<u8> {
    std::fs::read(example_path(name)).unwrap()
}

fn lexicon(dir: &Path) -> Guest {
    // There is no model for it to find.
    load_guest(&example("lexicon"), dir, Graphs::default()).unwrap()
}

fn predict(guest: &Guest, texts: &[String]) -> Vec<Scores> {
    wait(guest.predict(texts)).unwrap()
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn assert_is_distribution(text: &str, scores: &[Score]) {
    let sum: f32 = scores.iter().map(|score| score.score).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{text}: {scores:?}");
    assert!(
        scores.is_sorted_by(|a, b| a.score >= b.score),
        "{text}: {scores:?}"
    );
    for (at, score) in scores.iter().enumerate() {
        assert!((0.0..=1.0).contains(&score.score), "{text}: {scores:?}");
        let again = scores[..at].iter().any(|other| other.label == score.label);
        assert!(!again, "{text}: {scores:?}");
    }
}

#[test]
fn the_lexicon_knows_good_words_from_bad_ones() {
    let guest = lexicon(&default_model());
    let cases = [
        ("A wonderful film, warm and funny.", "POSITIVE"),
        ("I LOVE IT!!!", "POSITIVE"),
        ("Not bad at all.", "POSITIVE"),
        ("It starts out dull, but the ending is superb.", "POSITIVE"),
        ("A terrible waste of time.", "NEGATIVE"),
        ("It isn\u{2019}t very good.", "NEGATIVE"),
        ("Nobody will enjoy this.", "NEGATIVE"),
        ("The cast is nice but the plot is awful.", "NEGATIVE"),
    ];
    let answers = predict(&guest, &own(&cases.map(|(text, _)| text)));
    for ((text, label), scores) in cases.iter().zip(&answers) {
        assert_is_distribution(text, scores);
        assert_eq!(scores.len(), 2, "{text}: {scores:?}");
        assert_eq!(&*scores[0].label, *label, "{text}: {scores:?}");
        assert!(scores[0].score > 0.6, "{text}: {scores:?}");
    }
}

#[test]
fn the_lexicon_has_no_opinion_of_texts_without_any() {
    let guest = lexicon(&default_model());
    let texts = own(&[
        "",
        "  \n",
        "the table is round",
        "\u{5f88}\u{597d}",
        "\u{0}",
    ]);
    for scores in predict(&guest, &texts) {
        let scores: Vec<(&str, f32)> = scores.iter().map(|s| (&*s.label, s.score)).collect();
        assert_eq!(scores, [("POSITIVE", 0.5), ("NEGATIVE", 0.5)]);
    }
    assert!(predict(&guest, &[]).is_empty());
}

#[test]
fn the_lexicon_serves_beside_any_model_and_answers_the_same() {
    let texts = own(&["great", "not so great", "", &"dull ".repeat(20_000)]);
    let expected = predict(&lexicon(&default_model()), &texts);
    for name in FIXTURES {
        let guest = lexicon(&fixture(name));
        assert_eq!(predict(&guest, &texts), expected, "{name}");
        // Texts do not depend on those beside them.
        for (text, expected) in texts.iter().zip(&expected) {
            let alone = predict(&guest, std::slice::from_ref(text));
            assert_eq!(alone, std::slice::from_ref(expected), "{name}");
        }
    }
}

/// The lead below which `NEUTRAL` comes first by default, as the example documents it.
const MARGIN: f64 = 0.2;

/// A configuration with one key.
fn set(key: &str, value: &str) -> Configuration {
    let change = (key.to_owned(), Some(value.to_owned()));
    Configuration::NONE.with([change]).unwrap()
}

fn neutral() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| example("neutral"))
}

/// The texts of the included model's golden answers, less the very long ones.
fn texts() -> Vec<String> {
    let golden = std::fs::read(default_model().join("golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let answers = golden["answers"].as_array().unwrap().iter();
    let texts: Vec<String> = answers
        .filter_map(|answer| answer["text"].as_str())
        .map(str::to_owned)
        .collect();
    assert!(texts.len() > 50, "{} texts", texts.len());
    texts
}

/// Holds the example's answer to a text against the default guest's.
fn assert_follows(text: &str, found: &[Score], model: &[Score], margin: f64) -> bool {
    assert_is_distribution(text, found);
    assert_eq!(found.len(), model.len() + 1, "{text}: {found:?}");
    let (best, second) = (f64::from(model[0].score), f64::from(model[1].score));
    let lead = best - second;
    let weight = best * (2.0 - lead / margin).max(0.0);
    let sum = 1.0 + weight;
    for score in found {
        let of_model = model.iter().find(|of_model| of_model.label == score.label);
        let expected = match of_model {
            Some(of_model) => f64::from(of_model.score) / sum,
            None => {
                assert_eq!(&*score.label, "NEUTRAL", "{text}: {found:?}");
                weight / sum
            }
        };
        let difference = (f64::from(score.score) - expected).abs();
        assert!(difference < 1e-5, "{text}: {found:?} of {model:?}");
    }
    let leads = &*found[0].label == "NEUTRAL";
    assert_eq!(leads, lead < margin, "{text}: {found:?} of {model:?}");
    if lead > 2.0 * margin + 1e-6 {
        let of_model = found.iter().filter(|score| &*score.label != "NEUTRAL");
        assert!(of_model.eq(model), "{text}: {found:?} of {model:?}");
    }
    leads
}

/// Asks both guests the same, and gives how many answers were close and clear.
fn assert_neutral(dir: &Path) -> (usize, usize) {
    let neutral = load_guest(neutral(), dir, graphs(dir)).unwrap();
    assert_neutral_by(&neutral, dir, MARGIN)
}

/// The same for a guest with this margin.
fn assert_neutral_by(neutral: &Guest, dir: &Path, margin: f64) -> (usize, usize) {
    let default = load_default(dir, graphs(dir)).unwrap();
    let (mut close, mut clear) = (0, 0);
    // Some at a time, since a call may hand the host only so much.
    for texts in texts().chunks(16) {
        let answers = predict(neutral, texts);
        let models = predict(&default, texts);
        for ((text, found), model) in texts.iter().zip(&answers).zip(&models) {
            if assert_follows(text, found, model, margin) {
                close += 1;
            } else {
                clear += 1;
            }
        }
    }
    (close, clear)
}

macro_rules! neutral_follows_the_model {
    ($($test:ident: $dir:expr;)*) => {$(
        #[test]
        fn $test() {
            let (close, clear) = assert_neutral(&$dir);
            assert!(close > 0, "no answer of the model is close");
            assert!(clear > 0, "no answer of the model is clear");
        }
    )*};
}

// Every model whose labels exclude each other, and none of which is neutral.
neutral_follows_the_model! {
    neutral_follows_the_default_model: default_model();
    neutral_follows_tiny_bert: fixture("tiny-bert");
    neutral_follows_tiny_distilbert_5: fixture("tiny-distilbert-5");
    neutral_follows_tiny_fp16: fixture("tiny-fp16");
    neutral_follows_tiny_f32: fixture("tiny-f32");
}

#[test]
fn neutral_refuses_models_that_its_rule_does_not_fit() {
    let cases = [
        ("tiny-roberta", "already has the label \"neutral\""),
        ("tiny-multilabel", "labels that exclude each other"),
        ("tiny-int32", "between two labels, but the model has 1"),
    ];
    for (name, why) in cases {
        let dir = fixture(name);
        let refused = load_guest(neutral(), &dir, graphs(&dir)).err().unwrap();
        assert!(matches!(refused, LoadError::Prepare(_)), "{refused:?}");
        assert!(refused.to_string().contains(why), "{name}: {refused}");
    }
}

#[test]
fn neutral_takes_its_margin_from_the_configuration() {
    let dir = default_model();
    let load = |value| load_configured(neutral(), &dir, graphs(&dir), &set("margin", value));
    let (by_default, _) = assert_neutral(&dir);
    let wide = load("0.9").unwrap();
    let (close, _) = assert_neutral_by(&wide, &dir, f64::from(0.9_f32));
    assert!(close > by_default, "{close} after {by_default}");
    let refused = load("0.3 or so").err().unwrap();
    assert!(matches!(refused, LoadError::Prepare(_)), "{refused:?}");
    let why = "the setting `margin` must be a number from 0.01 to 1, and is \"0.3 or so\"";
    assert!(refused.to_string().contains(why), "{refused}");
}

/// Asserts that a guest as a command prints what `predict` prints of it.
fn assert_is_command(name: &str, model: &Path) {
    let texts = ["It is not bad.", "- \"quoted\"", ""];
    let path = example_path(name);
    let command = |command| subcommand_with(command, model, &path, &onnxruntime());
    let expected = run(command("predict").arg("--").args(texts));
    assert!(expected.status.success(), "{expected:?}");
    let answer: Value = serde_json::from_slice(&expected.stdout).unwrap();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), texts.len());
    let by_arguments = run(command("run-guest").arg("--").args(texts));
    let lines = texts.map(|text| format!("{text}\n")).concat();
    let by_lines = run_with_input(&mut command("run-guest"), &lines);
    for output in [by_arguments, by_lines] {
        assert!(output.status.success(), "{output:?}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found, answer);
    }
}

#[test]
fn examples_are_commands() {
    assert_is_command("lexicon", &fixture("tiny-bert"));
    assert_is_command("neutral", &fixture("tiny-bert"));
}

#[test]
fn the_lexicon_is_small() {
    let size = example("lexicon").len();
    assert!(size < 150_000, "{size} bytes");
}
