//! Converts texts to token ids, as Transformers does with `truncation=True`.
//!
//! This module must not know how the ids are used.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationDirection, TruncationParams};

use crate::bindings::Error;
use crate::config::{ModelConfig, TruncationSide};
use crate::read::read;

/// The tokens of a text: one row of a batch.
pub(crate) struct Row {
    /// Token ids, special tokens included.
    pub(crate) ids: Vec<u32>,
    /// The segment of each token.
    pub(crate) type_ids: Vec<u32>,
    /// 1 for each token, 0 for padding.
    pub(crate) mask: Vec<u32>,
}

/// A model's tokenizer, which truncates to the model's limit.
#[derive(Clone)]
pub(crate) struct Encoder(Tokenizer);

impl Encoder {
    /// Reads a directory's `tokenizer.json`.
    pub(crate) fn read(dir: &Path, config: &ModelConfig) -> Result<Self, Error> {
        let file = dir.join("tokenizer.json");
        let unsuitable = |error: tokenizers::Error| {
            Error::ModelUnsuitable(format!("{} is not as expected: {error}", file.display()))
        };
        let mut tokenizer = Tokenizer::from_bytes(read(&file)?).map_err(unsuitable)?;
        // As in Transformers, the model's limit replaces the padding and truncation of
        // the file, except for the side to truncate.
        tokenizer.with_padding(None);
        let side = tokenizer.get_truncation().map(|params| params.direction);
        let direction = match config.truncation_side {
            Some(TruncationSide::Left) => TruncationDirection::Left,
            Some(TruncationSide::Right) => TruncationDirection::Right,
            None => side.unwrap_or(TruncationDirection::Right),
        };
        let truncation = config.max_tokens.map(|max_length| TruncationParams {
            max_length,
            direction,
            ..TruncationParams::default()
        });
        tokenizer.with_truncation(truncation).map_err(unsuitable)?;
        Ok(Self(tokenizer))
    }

    /// Tokenises one text; `index` is its position in the call.
    pub(crate) fn encode(&self, index: usize, text: &str) -> Result<Row, Error> {
        let encoding = self.0.encode_fast(text, true).map_err(|error| {
            Error::Internal(format!("text {index} could not be tokenised: {error}"))
        })?;
        Ok(Row {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
            mask: encoding.get_attention_mask().to_vec(),
        })
    }
}
