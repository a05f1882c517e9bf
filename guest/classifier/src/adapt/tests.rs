//! The expected ids are those of Transformers 5.23, `AutoTokenizer.from_pretrained` of a
//! directory with these files.

use std::path::Path;

use fastsentiment_config::{Files, ModelConfig};
use serde_json::{Value, json};

use super::*;

/// A text with accents, capitals, Chinese characters, and texts of special tokens.
const TEXT: &str = "Tr\u{e8}s BON Film \u{7d20}\u{6674} [MASK] <mask> :-) @user it";

/// How many tokens the end of the text has, from the first special token on.
const END: usize = 15;

/// The tokenizer of a fixture with these settings, and with a change of `tokenizer.json`.
fn changed(
    fixture: &str,
    tokenizer_config: &Value,
    change: impl FnOnce(&mut Value),
) -> Result<Tokenizer, Error> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/tests/fixtures/models");
    let file = fixtures.join(fixture).join("tokenizer.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    change(&mut file);
    let config = ModelConfig::parse(Files {
        config: b"{}",
        tokenizer_config: Some(tokenizer_config.to_string().as_bytes()),
        ..Files::default()
    });
    let mut tokenizer = Tokenizer::from_bytes(file.to_string()).unwrap();
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).unwrap();
    adapt(&mut tokenizer, &config.unwrap().tokenizer)?;
    Ok(tokenizer)
}

fn ids(fixture: &str, tokenizer_config: &Value) -> Vec<u32> {
    let tokenizer = changed(fixture, tokenizer_config, |_| {}).unwrap();
    tokenizer
        .encode_fast(TEXT, true)
        .unwrap()
        .get_ids()
        .to_vec()
}

/// With the class of a tokenizer, whose settings these are.
fn of(class: &str, mut settings: Value) -> Value {
    settings["tokenizer_class"] = json!(class);
    settings
}

/// The ids before the first special token of the text.
fn beginning(settings: Value) -> Vec<u32> {
    let mut ids = ids("tiny-int32", &of("BertTokenizer", settings));
    assert_eq!(ids.split_off(ids.len() - END)[..3], [4, 55, 317]);
    ids
}

#[test]
fn a_bert_tokenizer_normalises_as_its_settings_say() {
    let plain = [2, 16, 197, 15, 32, 209, 180, 1, 1];
    assert_eq!(beginning(json!({})), plain);
    assert_eq!(
        beginning(json!({"do_lower_case": true, "strip_accents": null})),
        plain
    );
    assert_eq!(
        beginning(json!({"do_lower_case": false})),
        [2, 1, 1, 1, 1, 1]
    );
    assert_eq!(
        beginning(json!({"strip_accents": false})),
        [2, 1, 32, 209, 180, 1, 1]
    );
    let together = [2, 16, 197, 15, 32, 209, 180, 1];
    assert_eq!(
        beginning(json!({"tokenize_chinese_chars": false})),
        together
    );
}

#[test]
fn another_class_leaves_the_file_as_it_is() {
    let settings = of("PreTrainedTokenizerFast", json!({"do_lower_case": false}));
    let plain = of("BertTokenizerFast", json!({}));
    assert_eq!(ids("tiny-int32", &settings), ids("tiny-int32", &plain));
}

#[test]
fn a_byte_level_tokenizer_puts_a_space_before_a_text_if_its_settings_say_so() {
    let first = |settings| ids("tiny-roberta", &of("RobertaTokenizer", settings))[..4].to_vec();
    assert_eq!(first(json!({})), [0, 55, 461, 105]);
    assert_eq!(first(json!({"add_prefix_space": false})), [0, 55, 461, 105]);
    assert_eq!(first(json!({"add_prefix_space": true})), [0, 474, 461, 105]);
}

#[test]
fn special_tokens_are_text_if_the_settings_say_so() {
    let settings = of("BertTokenizer", json!({"split_special_tokens": true}));
    let expected = [
        2, 16, 197, 15, 32, 209, 180, 1, 1, 85, 317, 15, 45, 86, 55, 317, 15, 45, 56, 50, 52, 67,
        93, 78, 454, 12, 223, 3,
    ];
    assert_eq!(ids("tiny-int32", &settings), expected);
}

#[test]
fn tokens_that_the_file_lacks_are_added() {
    let named = json!({"additional_special_tokens": ["BON"]});
    let expected = [0, 55, 461, 105, 86, 224, 512, 224];
    let found = ids("tiny-roberta", &of("RobertaTokenizer", named.clone()));
    assert_eq!(found[..8], expected);
    let found = ids("tiny-multilabel", &of("XLMRobertaTokenizer", named));
    assert_eq!(found[..7], [0, 256, 14, 125, 11, 512, 4]);
    let listed = |id: &str| json!({"added_tokens_decoder": {id: {"content": "BON"}}});
    let found = ids("tiny-roberta", &of("RobertaTokenizer", listed("512")));
    assert_eq!(found[..8], expected);
    let other = of("RobertaTokenizer", listed("600"));
    let error = changed("tiny-roberta", &other, |_| {}).unwrap_err();
    let error = crate::describe(&error);
    assert!(error.contains("\"BON\" another id"), "{error}");
}

/// Asserts that these settings are refused beside a changed `tokenizer.json`.
fn assert_contradiction(
    fixture: &str,
    settings: &Value,
    change: impl FnOnce(&mut Value),
    words: &str,
) {
    let error = changed(fixture, settings, change).expect_err(words);
    let error = crate::describe(&error);
    let both = "tokenizer_config.json and tokenizer.json contradict each other";
    assert!(
        error.starts_with(both) && error.contains(words),
        "{words:?}: {error}"
    );
}

#[test]
fn settings_that_the_file_cannot_follow_are_refused() {
    let bert = of("BertTokenizer", json!({}));
    let unchanged = |_: &mut Value| {};
    assert_contradiction(
        "tiny-roberta",
        &bert,
        unchanged,
        "BertTokenizer is WordPiece",
    );
    let no_normalizer = |file: &mut Value| file["normalizer"] = Value::Null;
    assert_contradiction(
        "tiny-int32",
        &bert,
        no_normalizer,
        "PreTrainedTokenizerFast",
    );
    let no_processor = |file: &mut Value| file["post_processor"] = Value::Null;
    assert_contradiction("tiny-int32", &bert, no_processor, "2 special tokens");
    let roberta = of("RobertaTokenizer", json!({}));
    assert_contradiction("tiny-int32", &roberta, unchanged, "byte-level BPE");
    for (settings, words) in [
        (json!({"do_lower_case": true}), "`do_lower_case` is true"),
        (json!({"keep_accents": false}), "`keep_accents` is false"),
        (
            json!({"add_prefix_space": false}),
            "`add_prefix_space` is false",
        ),
    ] {
        let settings = of("XLMRobertaTokenizer", settings);
        assert_contradiction("tiny-multilabel", &settings, unchanged, words);
    }
}
