//! Directories whose files say more than the fixtures do, against Transformers: what
//! `tokenizer_config.json` changes about `tokenizer.json`, and what Python reads as JSON.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::golden::{Golden, assert_close};
use super::recorder::Recorder;
use super::reference::{TOLERANCE, ask_python, ask_server, python};
use crate::harness::{copy_of, fixture};

/// Accents, capitals, Chinese characters, and texts of special tokens.
const TEXT: &str = "Tr\u{e8}s BON Film \u{7d20}\u{6674} [MASK] <mask> :-) the film";

fn set(dir: &Path, name: &str, values: &Value) {
    let file = dir.join(name);
    let text = fs::read(&file).unwrap_or_else(|_| b"{}".to_vec());
    let mut object: Value = serde_json::from_slice(&text).unwrap();
    for (key, value) in values.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(key)),
            value => object[key] = value.clone(),
        }
    }
    fs::write(file, object.to_string()).unwrap();
}

/// A copy of a fixture with these values in its files; those that are null are removed.
fn model(name: &str, config: &Value, tokenizer_config: &Value) -> TempDir {
    let dir = copy_of(name);
    fs::remove_file(dir.path().join("golden.json")).unwrap();
    set(dir.path(), "config.json", config);
    set(dir.path(), "tokenizer_config.json", tokenizer_config);
    dir
}

/// Asserts that ids and scores are those of Transformers, and that they are not those of the
/// fixture, so that the settings matter.
fn assert_settings(name: &str, dir: &Path) {
    let Some(python) = python() else { return };
    let golden = Golden::read(&fixture(name));
    let mut texts = golden.texts();
    texts.push(TEXT.to_owned());
    let truth = ask_python(&python, dir, &texts);
    let recorder = Recorder::new(dir);
    for (text, truth) in texts.iter().zip(&truth) {
        assert_eq!(recorder.row(text).ids, truth.ids, "{text:?}");
    }
    let same = golden.answers.iter().zip(&truth).all(|(golden, truth)| {
        let ids: Vec<i64> = golden.ids.iter().map(|id| i64::from(*id)).collect();
        ids == truth.ids
    });
    assert!(!same, "the settings change nothing");
    let sockets = tokio::runtime::Runtime::new().unwrap();
    let answers = sockets.block_on(ask_server(dir, &texts));
    for ((text, found), truth) in texts.iter().zip(&answers).zip(&truth) {
        assert_close(text, found, &truth.scores, TOLERANCE);
    }
}

#[test]
fn a_cased_bert_tokenizer_and_the_json_of_python() {
    let dir = model(
        "tiny-int32",
        &json!({"id2label": {"0": 7}, "label2id": null, "pad_token_id": -1}),
        &json!({
            "do_lower_case": false, "strip_accents": false, "tokenize_chinese_chars": false,
            "additional_special_tokens": ["film"]
        }),
    );
    let file = dir.path().join("config.json");
    let text = fs::read_to_string(&file).unwrap();
    let replaced = text.replace("\"initializer_range\":0.3", "\"initializer_range\":NaN");
    assert_ne!(text, replaced);
    fs::write(file, replaced).unwrap();
    assert_settings("tiny-int32", dir.path());
}

#[test]
fn a_space_before_a_text_and_the_old_name_of_the_limit() {
    let settings = json!({
        "add_prefix_space": true, "model_max_length": null, "max_len": 16,
        "additional_special_tokens": ["it"]
    });
    let dir = model("tiny-roberta", &json!({}), &settings);
    assert_settings("tiny-roberta", dir.path());
}

#[test]
fn a_class_that_leaves_the_file_as_it_is() {
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false,
        "split_special_tokens": true
    });
    let dir = model("tiny-bert", &json!({}), &settings);
    assert_settings("tiny-bert", dir.path());
}
