//! Reads a model's description from the files of its directory.
//!
//! The rules are those of the default guest, which shares `fastsentiment-config`. Another
//! guest may interpret the files differently, or need none of them, so a file that is missing
//! or malformed is not an error.

use std::fs;
use std::path::Path;

use fastsentiment_config::{
    ADDED_TOKENS, CONFIG, Files, ModelConfig, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG,
};
use serde::Deserialize;

use predictor::{Activation, ModelCard, Side};

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
    Left,
    Right,
}

/// The model card of a directory.
pub(super) fn read(dir: &Path) -> ModelCard {
    let file: Option<RawTokenizer> =
        contents(dir, "tokenizer.json").and_then(|contents| serde_json::from_slice(&contents).ok());
    let file = file.and_then(|file| file.truncation).unwrap_or_default();
    let own = file.direction.map(|direction| match direction {
        RawSide::Left => Side::Left,
        RawSide::Right => Side::Right,
    });
    let config = config(dir);
    let stated = config.as_ref().and_then(|config| config.truncation_side);
    let stated = stated.map(|side| match side {
        fastsentiment_config::Side::Left => Side::Left,
        fastsentiment_config::Side::Right => Side::Right,
    });
    let max_tokens = config.as_ref().and_then(|config| config.max_tokens);
    ModelCard {
        name: name(dir),
        max_tokens: max_tokens.or(file.max_length),
        cut: stated.or(own).unwrap_or(Side::Right),
        activation: config.as_ref().map(|config| match config.activation {
            fastsentiment_config::Activation::Softmax => Activation::Softmax,
            fastsentiment_config::Activation::Sigmoid => Activation::Sigmoid,
        }),
        labels: config.map(|config| config.labels).unwrap_or_default(),
    }
}

/// What the default guest reads from a directory, if it can use it.
fn config(dir: &Path) -> Option<ModelConfig> {
    let config = contents(dir, CONFIG)?;
    let [tokenizer_config, special_tokens_map, added_tokens] =
        [TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS].map(|name| contents(dir, name));
    let files = Files {
        config: &config,
        tokenizer_config: tokenizer_config.as_deref(),
        special_tokens_map: special_tokens_map.as_deref(),
        added_tokens: added_tokens.as_deref(),
    };
    ModelConfig::parse(files)
        .inspect_err(|error| {
            tracing::debug!(dir = %dir.display(), %error, "the model cannot be described");
        })
        .ok()
}

fn contents(dir: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(dir.join(name)).ok()
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
    fn a_model_is_described_as_the_default_guest_uses_it() {
        let config = (
            "config.json",
            r#"{"id2label": {"1": "b", "0": 5}, "problem_type": "multi_label_classification",
                "max_position_embeddings": 512, "initializer_range": NaN}"#,
        );
        let described = card(&[config]);
        assert_eq!(described.labels, ["5", "b"]);
        assert_eq!(described.activation, Some(Activation::Sigmoid));
        assert_eq!(described.max_tokens, Some(512));
        let tokenizer = ("tokenizer_config.json", r#"{"max_len": 64}"#);
        assert_eq!(card(&[config, tokenizer]).max_tokens, Some(64));
        let plain = card(&[("config.json", "{}")]);
        assert_eq!(plain.activation, Some(Activation::Softmax));
        // The default guest refuses it.
        let gap = card(&[("config.json", r#"{"id2label": {"1": "a"}}"#)]);
        assert!(gap.labels.is_empty() && gap.activation.is_none());
    }

    #[test]
    fn the_limit_of_the_tokenizer_counts_if_there_is_no_other() {
        let own = ("tokenizer.json", r#"{"truncation": {"max_length": 32}}"#);
        assert_eq!(card(&[own]).max_tokens, Some(32));
        let config = ("config.json", r#"{"max_position_embeddings": 512}"#);
        assert_eq!(card(&[config, own]).max_tokens, Some(512));
    }

    #[test]
    fn the_truncation_side_is_that_of_the_tokenizer() {
        let tokenizer = (
            "tokenizer.json",
            r#"{"truncation": {"direction": "Left"}, "model": {}}"#,
        );
        assert_eq!(card(&[tokenizer]).cut, Side::Left);
        let config = ("config.json", "{}");
        let stated = ("tokenizer_config.json", r#"{"truncation_side": "right"}"#);
        assert_eq!(card(&[tokenizer, config, stated]).cut, Side::Right);
    }
}
