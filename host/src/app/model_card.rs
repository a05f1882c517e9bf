//! Reads a model's description from the files of its directory.
//!
//! The rules are those of Transformers, and of the default guest
//! (`guest/classifier/src/config.rs`). Another guest may interpret the files
//! differently, or need none of them, so a file that is missing or malformed is not an
//! error.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use predictor::{Activation, ModelCard, Side};

/// The part of `config.json` that matters here.
#[derive(Default, Deserialize)]
struct RawConfig {
    #[serde(default)]
    model_type: String,
    id2label: Option<BTreeMap<String, String>>,
    num_labels: Option<usize>,
    max_position_embeddings: Option<usize>,
    n_positions: Option<usize>,
    pad_token_id: Option<usize>,
    problem_type: Option<String>,
}

/// The part of `tokenizer_config.json`. The length is a float because Transformers
/// writes 1e30 for "no limit".
#[derive(Default, Deserialize)]
struct RawTokenizerConfig {
    model_max_length: Option<f64>,
    max_len: Option<f64>,
    truncation_side: Option<RawSide>,
}

/// The part of `tokenizer.json`.
#[derive(Default, Deserialize)]
struct RawTokenizer {
    truncation: Option<RawTruncation>,
}

#[derive(Default, Deserialize)]
struct RawTruncation {
    direction: Option<RawSide>,
    max_length: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
enum RawSide {
    #[serde(rename = "left", alias = "Left")]
    Left,
    #[serde(rename = "right", alias = "Right")]
    Right,
}

/// Transformers writes a limit above this if there is none.
const NO_LIMIT: f64 = 1e9;

/// The most labels that the contract allows.
const MAX_LABELS: usize = 1000;

/// Model types whose position table begins after the padding id, which defaults to 1.
const OFFSET_POSITIONS: [&str; 14] = [
    "camembert",
    "data2vec-text",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
];

/// The model card of a directory.
pub(super) fn read(dir: &Path) -> ModelCard {
    let config: Option<RawConfig> = json(&dir.join("config.json"));
    let is_read = config.is_some();
    let config = config.unwrap_or_default();
    let tokenizer: RawTokenizerConfig =
        json(&dir.join("tokenizer_config.json")).unwrap_or_default();
    let file: RawTokenizer = json(&dir.join("tokenizer.json")).unwrap_or_default();
    let file = file.truncation.unwrap_or_default();
    let cut = tokenizer.truncation_side.or(file.direction);
    let labels = if is_read { labels(&config) } else { Vec::new() };
    ModelCard {
        name: name(dir),
        max_tokens: max_tokens(&config, tokenizer.model_max_length.or(tokenizer.max_len))
            .or(file.max_length),
        cut: match cut {
            Some(RawSide::Left) => Side::Left,
            Some(RawSide::Right) | None => Side::Right,
        },
        activation: match config.problem_type.as_deref() {
            _ if !is_read => None,
            Some("multi_label_classification") => Some(Activation::Sigmoid),
            _ if labels.len() == 1 => Some(Activation::Sigmoid),
            _ => Some(Activation::Softmax),
        },
        labels,
    }
}

/// The last part of the path; clients must not learn the whole path.
fn name(dir: &Path) -> String {
    let real = dir.canonicalize();
    // A link keeps its own name.
    let named = dir
        .file_name()
        .or(real.as_deref().ok().and_then(Path::file_name));
    named.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The labels in the order of the outputs; empty if their numbers have gaps.
fn labels(config: &RawConfig) -> Vec<String> {
    let Some(names) = &config.id2label else {
        let count = config.num_labels.unwrap_or(2).min(MAX_LABELS);
        return (0..count).map(|id| format!("LABEL_{id}")).collect();
    };
    let label = |id: usize| names.get(&id.to_string()).cloned();
    let labels: Option<_> = (0..names.len()).map(label).collect();
    labels.unwrap_or_default()
}

fn max_tokens(config: &RawConfig, tokenizer: Option<f64>) -> Option<usize> {
    let offset = if OFFSET_POSITIONS.contains(&config.model_type.as_str()) {
        config.pad_token_id.unwrap_or(1) + 1
    } else {
        0
    };
    let positions = config.max_position_embeddings.or(config.n_positions);
    let positions = positions.map(|positions| positions.saturating_sub(offset));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the filter leaves 1.0 to NO_LIMIT"
    )]
    let tokenizer = tokenizer
        .filter(|limit| (1.0..NO_LIMIT).contains(limit))
        .map(|limit| limit as usize);
    positions.into_iter().chain(tokenizer).min()
}

fn json<T: DeserializeOwned>(file: &Path) -> Option<T> {
    let bytes = fs::read(file).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| {
            tracing::debug!(file = %file.display(), %error, "a file of the model is not as expected");
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The card of a directory of these files.
    fn card(files: &[(&str, &str)]) -> ModelCard {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let card = read(dir.path());
        assert_eq!(dir.path().file_name().unwrap().to_str(), Some(&*card.name));
        card
    }

    #[test]
    fn a_directory_without_valid_files_has_an_empty_card() {
        let card = card(&[("config.json", "[]"), ("tokenizer.json", "nonsense")]);
        assert!(card.labels.is_empty());
        assert_eq!((card.max_tokens, card.cut), (None, Side::Right));
        assert_eq!(card.activation, None);
    }

    #[test]
    fn labels_are_in_the_order_of_their_numbers() {
        let names: Vec<_> = (0..12)
            .rev()
            .map(|id| format!(r#""{id}": "L{id}""#))
            .collect();
        let config = format!(r#"{{"id2label": {{{}}}}}"#, names.join(", "));
        let card = card(&[("config.json", &config)]);
        assert_eq!(card.labels[2], "L2");
        assert_eq!(card.labels.len(), 12);
        assert_eq!(card.activation, Some(Activation::Softmax));
        let gap = super::tests::card(&[("config.json", r#"{"id2label": {"1": "a"}}"#)]);
        assert!(gap.labels.is_empty());
        let unnamed = super::tests::card(&[("config.json", r#"{"num_labels": 3}"#)]);
        assert_eq!(unnamed.labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    }

    #[test]
    fn independent_labels_have_a_sigmoid() {
        for config in [
            r#"{"problem_type": "multi_label_classification"}"#,
            r#"{"id2label": {"0": "toxic"}}"#,
        ] {
            let card = card(&[("config.json", config)]);
            assert_eq!(card.activation, Some(Activation::Sigmoid), "{config}");
        }
    }

    #[test]
    fn the_smaller_limit_counts() {
        let limit = |config, tokenizer| {
            card(&[
                ("config.json", config),
                ("tokenizer_config.json", tokenizer),
            ])
            .max_tokens
        };
        let bert = r#"{"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 1}"#;
        assert_eq!(limit(bert, "{}"), Some(512));
        assert_eq!(limit(bert, r#"{"model_max_length": 128}"#), Some(128));
        assert_eq!(limit(bert, r#"{"model_max_length": 1e30}"#), Some(512));
        let roberta = r#"{"model_type": "roberta", "max_position_embeddings": 514}"#;
        assert_eq!(limit(roberta, "{}"), Some(512));
        assert_eq!(limit(r#"{"n_positions": 1024}"#, "{}"), Some(1024));
        assert_eq!(limit(bert, r#"{"max_len": 64}"#), Some(64));
        assert_eq!(limit("{}", "{}"), None);
        let own = ("tokenizer.json", r#"{"truncation": {"max_length": 32}}"#);
        assert_eq!(card(&[own]).max_tokens, Some(32));
        assert_eq!(card(&[("config.json", bert), own]).max_tokens, Some(512));
    }

    #[test]
    fn the_truncation_side_is_that_of_the_tokenizer() {
        let tokenizer = (
            "tokenizer.json",
            r#"{"truncation": {"direction": "Left"}, "model": {}}"#,
        );
        assert_eq!(card(&[tokenizer]).cut, Side::Left);
        let config = ("tokenizer_config.json", r#"{"truncation_side": "right"}"#);
        assert_eq!(card(&[tokenizer, config]).cut, Side::Right);
    }
}
