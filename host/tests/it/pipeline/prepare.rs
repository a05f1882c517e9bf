//! Model directories that the default guest cannot use: loading it fails with a message
//! that names the file and what is wrong with it.

use std::path::Path;

use predictor::Configuration;
use sandbox::{LoadError, load};

use crate::harness::{GENEROUS, copy_of, graphs, guest, loading, runtime};
use crate::hostile::files;

/// Breaks a copy of a fixture, and returns the error of the load.
fn complaint(name: &str, break_it: impl FnOnce(&Path)) -> String {
    let dir = copy_of(name);
    break_it(dir.path());
    let runtime = runtime(GENEROUS, graphs(dir.path()));
    let _loading = loading();
    let error = load(
        &runtime,
        None,
        guest(),
        &files(dir.path()),
        &Configuration::NONE,
    )
    .err()
    .expect("it is refused");
    assert!(matches!(error, LoadError::Prepare(_)), "{error:?}");
    error.to_string()
}

fn assert_holds(complaint: &str, words: &[&str]) {
    for word in words {
        assert!(complaint.contains(word), "{word:?} is not in: {complaint}");
    }
}

fn change(dir: &Path, name: &str, from: &str, to: &str) {
    let path = dir.join(name);
    let before = std::fs::read_to_string(&path).unwrap();
    let after = before.replace(from, to);
    assert_ne!(before, after, "{name} has no {from}");
    std::fs::write(path, after).unwrap();
}

#[test]
fn a_missing_tokenizer_is_named() {
    let said = complaint("tiny-bert", |dir| {
        std::fs::remove_file(dir.join("tokenizer.json")).unwrap();
    });
    assert_holds(&said, &["/model/tokenizer.json", "No such file"]);
}

#[test]
fn a_broken_tokenizer_is_named() {
    let said = complaint("tiny-bert", |dir| {
        std::fs::write(dir.join("tokenizer.json"), r#"{"version": "1.0"}"#).unwrap();
    });
    assert_holds(&said, &["/model/tokenizer.json", "is not as expected"]);
}

#[test]
fn a_missing_configuration_is_named() {
    let said = complaint("tiny-bert", |dir| {
        std::fs::remove_file(dir.join("config.json")).unwrap();
    });
    assert_holds(&said, &["/model/config.json", "No such file"]);
}

#[test]
fn a_broken_configuration_is_named() {
    let said = complaint("tiny-bert", |dir| {
        change(dir, "config.json", "{", "{,");
    });
    assert_holds(&said, &["config.json", "line 1 column 2"]);
}

#[test]
fn labels_that_do_not_fit_the_graph_are_named() {
    let said = complaint("tiny-roberta", |dir| {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["id2label"] = serde_json::json!({"0": "bad", "1": "good"});
        std::fs::write(path, config.to_string()).unwrap();
    });
    assert_holds(&said, &["`logits`", "[1, 3]", "[1, 2]", "config.json"]);
}
