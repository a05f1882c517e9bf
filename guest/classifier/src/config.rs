//! Reads a model's configuration: `config.json` and `tokenizer_config.json`.
//!
//! This module must not know how texts are encoded or how the model is run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::bindings::Error;
use crate::read::read;

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The labels exclude each other: the scores of a text add up to 1.
    Softmax,
    /// Labels are independent of each other.
    Sigmoid,
}

/// An end of a text.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TruncationSide {
    Left,
    Right,
}

/// The configuration of a model.
pub(crate) struct ModelConfig {
    /// The labels, in the order of the logits.
    pub(crate) labels: Vec<String>,
    /// The longest sequence, in tokens with special tokens; `None` if the files state no
    /// limit.
    pub(crate) max_tokens: Option<usize>,
    /// The side at which long texts are truncated, if `tokenizer_config.json` has it.
    pub(crate) truncation_side: Option<TruncationSide>,
    /// The id of padding.
    pub(crate) pad_id: u32,
    /// How logits become scores.
    pub(crate) activation: Activation,
    /// Whether the model has segments, so that its graph is likely to take
    /// `token_type_ids`.
    pub(crate) has_token_types: bool,
    /// Whether a text has the same scores in a batch, with padding, as alone: only then
    /// are texts run together. `None` if the file does not state it, so that it has to
    /// be measured.
    pub(crate) batch_invariant: Option<bool>,
}

/// The part of `config.json` that matters here.
#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    model_type: String,
    id2label: Option<BTreeMap<String, String>>,
    num_labels: Option<usize>,
    max_position_embeddings: Option<usize>,
    /// The name of the same in GPT-2 and its descendants.
    n_positions: Option<usize>,
    pad_token_id: Option<u32>,
    problem_type: Option<String>,
    type_vocab_size: Option<usize>,
    #[serde(default)]
    fastsentiment: Extension,
}

/// The key `fastsentiment` of `config.json`, which this project's model tools write.
#[derive(Default, Deserialize)]
struct Extension {
    batch_invariant: Option<bool>,
}

/// The part of `tokenizer_config.json` that matters here. The length is a
/// float because Transformers writes 1e30 for "no limit".
#[derive(Default, Deserialize)]
struct RawTokenizerConfig {
    model_max_length: Option<f64>,
    /// The old name of the same.
    max_len: Option<f64>,
    truncation_side: Option<TruncationSide>,
}

/// Transformers writes a limit above this if there is none.
const NO_LIMIT: f64 = 1e9;

/// Model types whose position table begins after the padding id, as in their
/// `create_position_ids_from_input_ids` in Transformers: two of RoBERTa's 514 positions
/// are never used. Their padding id defaults to 1.
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

impl ModelConfig {
    /// Reads the configuration files of a model directory.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let raw: RawConfig = read_json(&dir.join("config.json"))?;
        let tokenizer_file = dir.join("tokenizer_config.json");
        let tokenizer: RawTokenizerConfig = if tokenizer_file.exists() {
            read_json(&tokenizer_file)?
        } else {
            RawTokenizerConfig::default()
        };
        Self::from_raw(raw, &tokenizer).map_err(Error::ModelUnsuitable)
    }

    fn from_raw(raw: RawConfig, tokenizer: &RawTokenizerConfig) -> Result<Self, String> {
        let labels = labels(raw.id2label, raw.num_labels)?;
        let activation = match raw.problem_type.as_deref() {
            Some("multi_label_classification") => Activation::Sigmoid,
            Some("regression") => {
                return Err("config.json: a regression model has no labels to score".to_owned());
            }
            // As in the pipeline of Transformers.
            _ if labels.len() == 1 => Activation::Sigmoid,
            _ => Activation::Softmax,
        };
        let has_offset = OFFSET_POSITIONS.contains(&raw.model_type.as_str());
        let pad_id = raw.pad_token_id.unwrap_or(u32::from(has_offset));
        let offset = if has_offset { pad_id as usize + 1 } else { 0 };
        let positions = raw.max_position_embeddings.or(raw.n_positions);
        let positions = positions.map(|positions| positions.saturating_sub(offset));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the filter leaves 1.0 to NO_LIMIT"
        )]
        let tokenizer_limit = tokenizer
            .model_max_length
            .or(tokenizer.max_len)
            .filter(|limit| (1.0..NO_LIMIT).contains(limit))
            .map(|limit| limit as usize);
        Ok(Self {
            labels,
            max_tokens: positions.into_iter().chain(tokenizer_limit).min(),
            truncation_side: tokenizer.truncation_side,
            pad_id,
            activation,
            has_token_types: raw.type_vocab_size.is_some_and(|size| size > 1),
            batch_invariant: raw.fastsentiment.batch_invariant,
        })
    }
}

/// The labels in the order of the logits. Without names they are `LABEL_0`, `LABEL_1`
/// and so on, as in Transformers.
fn labels(
    id2label: Option<BTreeMap<String, String>>,
    num_labels: Option<usize>,
) -> Result<Vec<String>, String> {
    let Some(names) = id2label else {
        let count = num_labels.unwrap_or(2);
        return Ok((0..count).map(|id| format!("LABEL_{id}")).collect());
    };
    let mut labels = vec![None; names.len()];
    for (id, name) in names {
        let place = id.parse::<usize>().ok().and_then(|id| labels.get_mut(id));
        match place {
            Some(place) if place.is_none() => *place = Some(name),
            _ => {
                return Err(format!(
                    "config.json: `id2label` has the unexpected id {id:?}"
                ));
            }
        }
    }
    // Every id was in range and none came twice, so no place is empty.
    let labels: Vec<String> = labels.into_iter().flatten().collect();
    if labels.is_empty() {
        return Err("config.json: `id2label` is empty".to_owned());
    }
    Ok(labels)
}

fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    let name = file.display();
    serde_json::from_slice(&read(file)?)
        .map_err(|error| Error::ModelUnsuitable(format!("{name} is not as expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str, tokenizer: &str) -> Result<ModelConfig, String> {
        let raw = serde_json::from_str(json).expect("the test's JSON parses");
        let tokenizer = serde_json::from_str(tokenizer).expect("the test's JSON parses");
        ModelConfig::from_raw(raw, &tokenizer)
    }

    #[test]
    fn labels_follow_the_numbers_not_the_order_of_the_keys() {
        let names: Vec<String> = (0..12).map(|id| format!("\"{id}\": \"L{id}\"")).collect();
        let json = format!("{{\"id2label\": {{{}}}}}", names.join(", "));
        let config = config(&json, "{}").expect("valid");
        assert_eq!(config.labels[2], "L2");
        assert_eq!(config.labels[10], "L10");
    }

    #[test]
    fn labels_without_names_are_numbered() {
        assert_eq!(
            config("{}", "{}").expect("valid").labels,
            ["LABEL_0", "LABEL_1"]
        );
    }

    #[test]
    fn a_gap_in_the_labels_is_refused() {
        assert!(config(r#"{"id2label": {"0": "a", "2": "b"}}"#, "{}").is_err());
        assert!(config(r#"{"id2label": {}}"#, "{}").is_err());
    }

    #[test]
    fn the_lower_limit_counts() {
        let bert = r#"{"max_position_embeddings": 512}"#;
        let limit = |tokenizer: &str| config(bert, tokenizer).expect("valid").max_tokens;
        assert_eq!(limit("{}"), Some(512));
        assert_eq!(limit(r#"{"model_max_length": 128}"#), Some(128));
        assert_eq!(
            limit(r#"{"model_max_length": 1000000000000000019884624838656}"#),
            Some(512)
        );
        assert_eq!(limit(r#"{"max_len": 64}"#), Some(64));
        assert_eq!(
            limit(r#"{"max_len": 64, "model_max_length": 128}"#),
            Some(128)
        );
        let of_gpt2 = config(r#"{"n_positions": 1024}"#, "{}").expect("valid");
        assert_eq!(of_gpt2.max_tokens, Some(1024));
        assert_eq!(config("{}", "{}").expect("valid").max_tokens, None);
    }

    #[test]
    fn roberta_starts_its_positions_after_the_padding_id() {
        let json = r#"{"model_type": "roberta", "max_position_embeddings": 514}"#;
        let roberta = config(json, "{}").expect("valid");
        assert_eq!((roberta.max_tokens, roberta.pad_id), (Some(512), 1));
    }

    #[test]
    fn the_problem_type_chooses_the_activation() {
        let of = |json: &str| config(json, "{}").map(|config| config.activation);
        assert_eq!(of("{}"), Ok(Activation::Softmax));
        assert_eq!(
            of(r#"{"problem_type": "multi_label_classification"}"#),
            Ok(Activation::Sigmoid)
        );
        assert_eq!(
            of(r#"{"id2label": {"0": "toxic"}}"#),
            Ok(Activation::Sigmoid)
        );
        assert!(of(r#"{"problem_type": "regression"}"#).is_err());
    }
}
