//! The self-test against the golden answers of a model directory.

use std::path::Path;

use predictor::Configuration;
use sandbox::{Guest, LoadError, Step, load};
use serde_json::{Value, json};

use crate::harness::{GENEROUS, copy_of, graphs, guest, loading, runtime};
use crate::hostile::{component, files, hostile, load_text, roomy};

/// A guest with the labels `good` and `bad` that finds every text `good`.
fn always_good() -> String {
    hostile()
        .replace(
            "(i32.store (local.get $at) (i32.const 32))",
            "(i32.store (local.get $at) (i32.const 200))",
        )
        .replace(
            "(call $answer (local.get $count) (i32.const 1)\n        (f32.div",
            "(call $answer (local.get $count) (i32.const 2)\n        (f32.div",
        )
        .replace(
            "(data (i32.const 16) \"COUNT\")",
            r#"(data (i32.const 200)
                 "\e0\00\00\00\04\00\00\00\66\66\66\3f\e4\00\00\00\03\00\00\00\cd\cc\cc\3d")
               (data (i32.const 224) "goodbad")"#,
        )
}

/// Loads a guest beside golden answers: for each a label and its score.
fn load_beside(text: &str, answers: &[(&str, f64)]) -> Result<Guest, LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let answers: Vec<Value> = answers
        .iter()
        .map(|(top, score)| {
            let other = if *top == "good" { "bad" } else { "good" };
            // No order to these guests.
            json!({"text": "A text.", "scores": {*top: score, other: 1.0 - score}})
        })
        .collect();
    let document = json!({"answers": answers}).to_string();
    std::fs::write(dir.path().join("golden.json"), document).unwrap();
    load(
        &roomy(),
        None,
        &component(text),
        &files(dir.path()),
        &Configuration::NONE,
    )
}

fn assert_says(error: &LoadError, words: &[&str]) {
    assert_eq!(error.step(), Step::SelfTest, "{error:?}");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{word:?} is not in: {error}"
        );
    }
}

#[test]
fn a_guest_that_always_says_the_same_is_refused() {
    let both = [("good", 0.95), ("bad", 0.5), ("bad", 0.97), ("good", 0.99)];
    let error = load_beside(&always_good(), &both).err().expect("refused");
    assert!(matches!(error, LoadError::WrongAnswers(_)), "{error:?}");
    // Text 1 is not clear.
    assert_says(&error, &["text 2", "`good`", "`bad`", "1 of 3"]);
}

#[test]
fn a_guest_that_agrees_where_it_is_clear_is_accepted() {
    let clear = [("good", 0.95), ("bad", 0.6), ("good", 0.99), ("bad", 0.89)];
    load_beside(&always_good(), &clear).unwrap();
}

#[test]
fn a_guest_with_labels_of_its_own_is_accepted() {
    let both = [("good", 0.95), ("bad", 0.95), ("good", 0.99)];
    load_beside(&hostile(), &both).unwrap();
}

#[test]
fn a_guest_that_fails_at_a_golden_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // An order to trap.
    let document = json!({"answers": [{"text": "trap", "scores": {"good": 1.0}}]});
    std::fs::write(dir.path().join("golden.json"), document.to_string()).unwrap();
    let loaded = load(
        &roomy(),
        None,
        &component(&hostile()),
        &files(dir.path()),
        &Configuration::NONE,
    );
    let error = loaded.err().expect("refused");
    assert!(matches!(error, LoadError::SelfTest(_)), "{error:?}");
}

#[test]
fn golden_answers_that_cannot_be_read_are_named() {
    for damaged in ["", "{}", "[1", r#"{"answers": [{"text": "a"}]}"#] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("golden.json");
        std::fs::write(&path, damaged).unwrap();
        let loaded = load(
            &roomy(),
            None,
            &component(&hostile()),
            &files(dir.path()),
            &Configuration::NONE,
        );
        let error = loaded.err().expect("refused");
        assert!(matches!(error, LoadError::Golden { .. }), "{error:?}");
        assert_says(&error, &[path.to_str().unwrap()]);
    }
}

/// Swaps the labels of all golden answers.
fn swap_labels(dir: &Path) {
    let path = dir.join("golden.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let turned = text
        .replace("\"good\"", "\"x\"")
        .replace("\"bad\"", "\"good\"");
    std::fs::write(&path, turned.replace("\"x\"", "\"bad\"")).unwrap();
}

#[test]
fn the_default_guest_is_held_to_the_answers_of_its_model() {
    let dir = copy_of("tiny-bert");
    swap_labels(dir.path());
    let runtime = runtime(GENEROUS, graphs(dir.path()));
    let _loading = loading();
    let load = || {
        load(
            &runtime,
            None,
            guest(),
            &files(dir.path()),
            &Configuration::NONE,
        )
    };
    let error = load().err().expect("refused");
    assert_says(&error, &["`good`", "`bad`", "8 of 8"]);

    // Answers that were written for another model say nothing of this one.
    let config = dir.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n").unwrap();
    load().unwrap();
}

#[test]
fn the_guest_of_these_tests_works() {
    let guest = load_text(&roomy(), &always_good()).unwrap();
    let answers = crate::harness::wait(guest.predict(&["a".to_owned()])).unwrap();
    let labels: Vec<&str> = answers[0].iter().map(|score| &*score.label).collect();
    assert_eq!(labels, ["good", "bad"]);
}
