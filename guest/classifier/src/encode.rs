//! Texts to token ids, as Transformers does with `truncation=True`.
//!
//! This module must not know what becomes of the ids.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationDirection, TruncationParams};

use crate::bindings::Error;
use crate::config::{ModelConfig, TruncationSide};
use crate::read::read;

/// A text as the model sees it: one row of a batch.
pub(crate) struct Row {
    /// Token ids, special tokens included.
    pub(crate) ids: Vec<u32>,
    /// The segment of each token.
    pub(crate) type_ids: Vec<u32>,
    /// 1 for each token, 0 where there is none.
    pub(crate) mask: Vec<u32>,
}

/// A model's tokenizer, set to the model's limit.
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
        // What the file says of padding and truncation is left over from
        // whatever wrote it; the model's own limit is what counts.
        // Only the end to cut is taken from there, as Transformers does.
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

    /// Encodes one text; `index` is its place in the request.
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
