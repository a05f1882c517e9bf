//! Reads a model's configuration as Hugging Face Transformers does: `config.json`,
//! `tokenizer_config.json` and the two older files beside it.
//!
//! The default guest and the host both use it, so that a server describes a model by the
//! rules that its guest scores by.
//!
//! This crate must not know how texts are encoded, how a model is run, or where files are.

mod json;
mod labels;
mod tokenizer;

use serde::Deserialize;

pub use json::check as check_json;
pub use tokenizer::{AddedToken, Family, TokenizerSettings};

/// The names of the files, and so of the fields of [`Files`].
pub const CONFIG: &str = "config.json";
/// See [`CONFIG`].
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// See [`CONFIG`].
pub const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// See [`CONFIG`].
pub const ADDED_TOKENS: &str = "added_tokens.json";

/// The contents of the files; only the first has to exist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// [`CONFIG`].
    pub config: &'a [u8],
    /// [`TOKENIZER_CONFIG`].
    pub tokenizer_config: Option<&'a [u8]>,
    /// [`SPECIAL_TOKENS_MAP`].
    pub special_tokens_map: Option<&'a [u8]>,
    /// [`ADDED_TOKENS`].
    pub added_tokens: Option<&'a [u8]>,
}

/// Why a model cannot be served by these files.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is not JSON, or a value is not of the type that it has in Transformers.
    #[error("{file} is not as expected: {error}")]
    Malformed {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The labels do not name the outputs of the model.
    #[error("config.json: {0}")]
    Labels(String),
    /// The scores of such a model are no probabilities.
    #[error(
        "config.json: `problem_type` is regression, and the outputs of such a model are no \
         probabilities, which scores have to be"
    )]
    Regression,
    /// A problem that Transformers does not know.
    #[error(
        "config.json: `problem_type` is {0:?}, which is none of single_label_classification, \
         multi_label_classification and regression"
    )]
    UnknownProblem(String),
}

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
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    Right,
}

/// The configuration of a model.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The labels, in the order of the logits. No two are equal.
    pub labels: Vec<String>,
    /// The longest sequence, in tokens with special tokens; `None` if the files state no
    /// limit.
    pub max_tokens: Option<usize>,
    /// The side at which long texts are truncated, if `tokenizer_config.json` has it.
    pub truncation_side: Option<Side>,
    /// The id of padding.
    pub pad_id: u32,
    /// How logits become scores.
    pub activation: Activation,
    /// Whether the model has segments, so that its graph is likely to take
    /// `token_type_ids`.
    pub has_token_types: bool,
    /// Whether a text has the same scores in a batch, with padding, as alone: only then
    /// are texts run together. `None` if the file does not state it, so that it has to
    /// be measured.
    pub batch_invariant: Option<bool>,
    /// What is changed about `tokenizer.json`.
    pub tokenizer: TokenizerSettings,
}

/// The part of `config.json` that matters here. Numbers are floats because Python takes
/// either for the other.
#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    tokenizer_class: Option<String>,
    id2label: Option<labels::RawLabels>,
    num_labels: Option<f64>,
    max_position_embeddings: Option<f64>,
    /// The name of the same in GPT-2 and its descendants.
    n_positions: Option<f64>,
    pad_token_id: Option<f64>,
    problem_type: Option<String>,
    type_vocab_size: Option<f64>,
    #[serde(default)]
    fastsentiment: Extension,
}

/// The key `fastsentiment` of `config.json`, which this project's model tools write.
#[derive(Default, Deserialize)]
struct Extension {
    batch_invariant: Option<bool>,
}

/// Transformers writes a limit above this (1e30) if there is none.
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
    /// Reads the contents of a model's files.
    ///
    /// # Errors
    ///
    /// If a file is malformed, or if its model cannot be served.
    pub fn parse(files: Files) -> Result<Self, ConfigError> {
        let raw: RawConfig = json::parse(CONFIG, files.config)?;
        let labels = labels::labels(raw.id2label, raw.num_labels.and_then(count))?;
        let activation = match raw.problem_type.as_deref() {
            Some("regression") => return Err(ConfigError::Regression),
            Some("multi_label_classification") => Activation::Sigmoid,
            // As in the pipeline of Transformers.
            Some("single_label_classification") | None if labels.len() == 1 => Activation::Sigmoid,
            Some("single_label_classification") | None => Activation::Softmax,
            Some(other) => return Err(ConfigError::UnknownProblem(other.to_owned())),
        };
        let model_type = raw.model_type.unwrap_or_default();
        let settings = tokenizer::Settings::read(&files, &model_type, raw.tokenizer_class)?;
        let has_offset = OFFSET_POSITIONS.contains(&&*model_type);
        let pad_id = raw.pad_token_id.unwrap_or(f64::from(u8::from(has_offset)));
        let offset = if has_offset { pad_id + 1.0 } else { 0.0 };
        let positions = raw.max_position_embeddings.or(raw.n_positions);
        let positions = positions.and_then(|positions| count(positions - offset));
        Ok(Self {
            labels,
            max_tokens: positions.into_iter().chain(settings.max_tokens).min(),
            truncation_side: settings.truncation_side,
            // Some models have -1 for none. Padding is masked, so that any id will do.
            pad_id: count(pad_id).and_then(|id| id.try_into().ok()).unwrap_or(0),
            activation,
            has_token_types: raw.type_vocab_size.is_some_and(|size| size > 1.0),
            batch_invariant: raw.fastsentiment.batch_invariant,
            tokenizer: settings.tokenizer,
        })
    }
}

/// A number of things, at least 1; `None` for one that stands for no limit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is 1.0 to NO_LIMIT"
)]
fn count(number: f64) -> Option<usize> {
    (1.0..NO_LIMIT).contains(&number).then_some(number as usize)
}

#[cfg(test)]
mod tests;
