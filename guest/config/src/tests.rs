//! Tests of what files say together.

use super::*;

/// The configuration of these files.
fn read(config: &str, tokenizer_config: &str) -> Result<ModelConfig, ConfigError> {
    ModelConfig::parse(Files {
        config: config.as_bytes(),
        tokenizer_config: Some(tokenizer_config.as_bytes()),
        ..Files::default()
    })
}

fn config(config: &str) -> ModelConfig {
    read(config, "{}").unwrap()
}

fn tokenizer(model_type: &str, tokenizer_config: &str) -> TokenizerSettings {
    let config = format!(r#"{{"model_type": "{model_type}"}}"#);
    read(&config, tokenizer_config).unwrap().tokenizer
}

#[test]
fn labels_are_in_the_order_of_their_ids() {
    let names: Vec<_> = (0..12)
        .rev()
        .map(|id| format!(r#""{id}": "L{id}""#))
        .collect();
    let labels = config(&format!(r#"{{"id2label": {{{}}}}}"#, names.join(", "))).labels;
    assert_eq!((labels.len(), &*labels[2], &*labels[11]), (12, "L2", "L11"));
}

#[test]
fn labels_may_be_numbers_and_booleans() {
    let labels = config(r#"{"id2label": {"0": 5, "1": true, "2": -1.5, "3": "no"}}"#).labels;
    assert_eq!(labels, ["5", "true", "-1.5", "no"]);
}

#[test]
fn labels_without_names_are_those_of_transformers() {
    assert_eq!(config("{}").labels, ["LABEL_0", "LABEL_1"]);
    assert_eq!(
        config(r#"{"id2label": null, "num_labels": 1}"#).labels,
        ["LABEL_0"]
    );
    // Names count, as in Transformers.
    let both = config(r#"{"id2label": {"0": "a", "1": "b", "2": "c"}, "num_labels": 5}"#);
    assert_eq!(both.labels, ["a", "b", "c"]);
}

#[test]
fn labels_that_do_not_name_the_outputs_are_refused() {
    let cases = [
        (r#"{"0": "a", "2": "b"}"#, "unexpected id \"2\""),
        (r#"{"0": "a", "x": "b"}"#, "unexpected id \"x\""),
        (r#"{"0": "a", "00": "b"}"#, "unexpected id"),
        (r#"{"0": "a", "1": null}"#, "the id 1 no name, but null"),
        (
            r#"{"0": "x", "1": "y", "2": "x"}"#,
            "ids 0 and 2 the same label \"x\"",
        ),
        // They are the same in an answer.
        (r#"{"0": 1, "1": "1"}"#, "ids 0 and 1 the same label"),
        ("{}", "is empty"),
    ];
    for (labels, words) in cases {
        let error = read(&format!(r#"{{"id2label": {labels}}}"#), "{}").unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let error = read(r#"{"num_labels": 1001}"#, "{}")
        .unwrap_err()
        .to_string();
    assert!(error.contains("1001 labels"), "{error}");
}

#[test]
fn the_problem_decides_how_logits_become_scores() {
    let activation = |config: &str| read(config, "{}").map(|config| config.activation);
    let several = r#"{"problem_type": "multi_label_classification"}"#;
    assert_eq!(activation(several).unwrap(), Activation::Sigmoid);
    assert_eq!(
        activation(r#"{"id2label": {"0": "toxic"}}"#).unwrap(),
        Activation::Sigmoid
    );
    let one = r#"{"problem_type": "single_label_classification"}"#;
    assert_eq!(activation(one).unwrap(), Activation::Softmax);
    for refused in ["regression", "ranking"] {
        let config = format!(r#"{{"problem_type": "{refused}"}}"#);
        let error = activation(&config).unwrap_err().to_string();
        assert!(
            error.contains(refused) && error.starts_with("config.json"),
            "{error}"
        );
    }
}

#[test]
fn the_smaller_limit_counts() {
    let limit = |config, tokenizer| read(config, tokenizer).unwrap().max_tokens;
    let bert = r#"{"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 1}"#;
    assert_eq!(limit(bert, "{}"), Some(512));
    assert_eq!(limit(bert, r#"{"model_max_length": 128}"#), Some(128));
    assert_eq!(
        limit(
            bert,
            r#"{"model_max_length": 1000000000000000019884624838656}"#
        ),
        Some(512)
    );
    assert_eq!(limit(bert, r#"{"max_len": 64}"#), Some(64));
    let roberta = r#"{"model_type": "roberta", "max_position_embeddings": 514}"#;
    assert_eq!(limit(roberta, "{}"), Some(512));
    assert_eq!(limit(r#"{"n_positions": 1024}"#, "{}"), Some(1024));
    // As XLNet has it.
    assert_eq!(limit(r#"{"max_position_embeddings": -1}"#, "{}"), None);
    assert_eq!(limit(r#"{"max_position_embeddings": NaN}"#, "{}"), None);
    assert_eq!(limit("{}", "{}"), None);
}

#[test]
fn padding_without_an_id_is_any_token() {
    assert_eq!(config(r#"{"pad_token_id": -1}"#).pad_id, 0);
    assert_eq!(config(r#"{"pad_token_id": null}"#).pad_id, 0);
    assert_eq!(config(r#"{"pad_token_id": 7}"#).pad_id, 7);
    assert_eq!(config(r#"{"model_type": "roberta"}"#).pad_id, 1);
}

#[test]
fn the_class_of_the_tokenizer_is_that_of_transformers() {
    let family = |model_type, tokenizer_config| tokenizer(model_type, tokenizer_config).family;
    assert_eq!(family("distilbert", "{}"), Family::Bert);
    assert_eq!(family("roberta", "{}"), Family::ByteLevel);
    assert_eq!(family("xlm-roberta", "{}"), Family::SentencePiece);
    assert_eq!(family("unheard-of", "{}"), Family::AsItIs);
    let bert = r#"{"tokenizer_class": "BertTokenizerFast"}"#;
    assert_eq!(family("roberta", bert), Family::Bert);
    assert_eq!(family("modernbert", bert), Family::AsItIs);
    let as_it_is = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    assert_eq!(family("bert", as_it_is), Family::AsItIs);
    let in_config = r#"{"model_type": "roberta", "tokenizer_class": "BertTokenizer"}"#;
    assert_eq!(config(in_config).tokenizer.family, Family::Bert);
}

fn contents(tokens: &[(Option<u32>, AddedToken)]) -> Vec<(Option<u32>, &str, bool)> {
    tokens
        .iter()
        .map(|(id, token)| (*id, &*token.content, token.special))
        .collect()
}

#[test]
fn added_tokens_come_from_the_list_and_from_their_roles() {
    let settings = tokenizer(
        "bert",
        r#"{
            "added_tokens_decoder": {
                "101": {"content": "[CLS]", "special": true},
                "9": {"content": ":-)", "normalized": true, "lstrip": true}
            },
            "cls_token": "[CLS]",
            "mask_token": {"content": "[MASK]", "lstrip": true, "__type": "AddedToken"},
            "additional_special_tokens": ["@user"],
            "add_bos_token": false
        }"#,
    );
    let expected = [
        (Some(9), ":-)", false),
        (Some(101), "[CLS]", true),
        (None, "@user", true),
        (None, "[MASK]", true),
    ];
    assert_eq!(contents(&settings.added_tokens), expected);
    let (_, smile) = &settings.added_tokens[0];
    assert!(smile.lstrip && smile.normalized && !smile.rstrip);
    assert!(settings.added_tokens[3].1.lstrip);
}

#[test]
fn the_older_files_count_without_the_list() {
    let files = |tokenizer_config| Files {
        config: b"{}",
        tokenizer_config: Some(tokenizer_config),
        special_tokens_map: Some(br#"{"sep_token": "[S]"}"#),
        added_tokens: Some(br#"{"[S]": 7, "word": 8}"#),
    };
    let read = |tokenizer_config: &'static [u8]| {
        let config = ModelConfig::parse(files(tokenizer_config)).unwrap();
        config.tokenizer.added_tokens
    };
    let expected = [(Some(7), "[S]", true), (Some(8), "word", false)];
    assert_eq!(contents(&read(b"{}")), expected);
    assert!(read(br#"{"added_tokens_decoder": {}}"#).is_empty());
}

#[test]
fn a_malformed_file_is_named() {
    let cases = [
        (read("{", "{}"), "config.json is not as expected: EOF"),
        (
            read("{}", "[1]"),
            "tokenizer_config.json is not as expected",
        ),
        (
            read("{}", r#"{"truncation_side": "middle"}"#),
            "unknown variant `middle`",
        ),
        (
            read("{}", r#"{"do_lower_case": "yes"}"#),
            "tokenizer_config.json",
        ),
    ];
    for (result, words) in cases {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}
