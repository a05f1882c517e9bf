//! Converts texts to token ids, as Transformers does with `truncation=True`, and for windows
//! with `return_overflowing_tokens=True`.
//!
//! This module must not know how the ids are used.

use std::fmt::Display;
use std::path::Path;

use fastsentiment_config::{ModelConfig, Side};
use serde::Deserialize;
use tokenizers::{
    Encoding, Model, OffsetType, PostProcessor, PreTokenizer, Tokenizer, TruncationDirection,
    TruncationParams,
};

use crate::adapt::adapt;
use crate::bindings::{self, Error, InvalidText, Limit};
use crate::long_texts::LongTexts;
use crate::read::read;

/// The most tokens of a row, which the contract limits by the size of an input.
const MAX_TOKENS: usize = 8192;

/// The most windows of a text. Each is a run of the model, so that this bounds what one text
/// can cost; as many of BERT's take about 6 s on one core, within the default limit for a call.
const MAX_WINDOWS: usize = 8;

/// A window shares one token in so many with the one before it, so that most sentences are
/// whole in one of them.
const OVERLAP: usize = 4;

/// The tokens of a text, or of a window of it: one row of a batch.
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
pub(crate) struct Encoder {
    tokenizer: Tokenizer,
    direction: TruncationDirection,
    long_texts: LongTexts,
}

/// A Gothic and a Runic letter, which vocabularies lack, so that a tokenizer needs its unknown
/// token.
const UNKNOWN: &str = "\u{10348} \u{16a0}";

/// The part of `tokenizer.json` that says what is wrong with it, if the library does not.
#[derive(Deserialize)]
struct RawTokenizer {
    model: Option<RawModel>,
}

#[derive(Deserialize)]
struct RawModel {
    r#type: Option<String>,
}

/// The types that the library has.
const TYPES: [&str; 4] = ["BPE", "Unigram", "WordLevel", "WordPiece"];

impl Encoder {
    /// Reads a directory's `tokenizer.json`. Texts are truncated to the limit of the
    /// configuration, or if that has none, to the file's own.
    pub(crate) fn read(
        dir: &Path,
        config: &ModelConfig,
        long_texts: LongTexts,
    ) -> Result<Self, Error> {
        let file = dir.join("tokenizer.json");
        let unsuitable = |why: &dyn Display| {
            Error::ModelUnsuitable(format!("{} is not as expected: {why}", file.display()))
        };
        let bytes = read(&file)?;
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|error| match unsupported(&bytes) {
                Some(why) => unsuitable(&why),
                None => unsuitable(&error),
            })?;
        adapt(&mut tokenizer, &config.tokenizer)?;
        // As in Transformers, the model's limit replaces the padding and truncation of
        // the file, except for the side to truncate.
        tokenizer.with_padding(None);
        let own = tokenizer.get_truncation();
        let max_tokens = config.max_tokens.or(own.map(|params| params.max_length));
        let direction = match config.truncation_side {
            Some(Side::Left) => TruncationDirection::Left,
            Some(Side::Right) => TruncationDirection::Right,
            None => own.map_or(TruncationDirection::Right, |params| params.direction),
        };
        let mut encoder = Self {
            tokenizer,
            direction,
            long_texts,
        };
        if let Some(max_tokens) = max_tokens {
            encoder.truncate_to(max_tokens)?;
        }
        let trial = encoder.tokenizer.encode_fast(UNKNOWN, true);
        trial.map_err(|error| unsuitable(&format!("it cannot encode every text: {error}")))?;
        Ok(encoder)
    }

    /// The longest row, in tokens; `None` if texts are not truncated yet.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        let truncation = self.tokenizer.get_truncation();
        truncation.map(|params| params.max_length)
    }

    /// The longest text that is scored as a whole, and how longer ones are truncated, if they
    /// are.
    pub(crate) fn limit(&self) -> Option<Limit> {
        let tokens = match self.long_texts {
            LongTexts::Truncate | LongTexts::Refuse => self.max_tokens()?,
            LongTexts::Window(_) => self.tokens_of(MAX_WINDOWS)?,
        };
        Some(Limit {
            tokens: tokens.try_into().unwrap_or(u32::MAX),
            cut: match self.direction {
                TruncationDirection::Left => bindings::Side::Left,
                TruncationDirection::Right => bindings::Side::Right,
            },
        })
    }

    /// How many tokens so many full windows have together, each once, special tokens included.
    fn tokens_of(&self, windows: usize) -> Option<usize> {
        let max_tokens = self.max_tokens()?;
        let room = max_tokens - self.special_tokens();
        Some(max_tokens + (windows - 1) * (room - room / OVERLAP))
    }

    /// How many special tokens each row has.
    fn special_tokens(&self) -> usize {
        let processor = self.tokenizer.get_post_processor();
        processor.map_or(0, |processor| processor.added_tokens(false))
    }

    /// Truncates texts to `max_tokens`, special tokens included.
    pub(crate) fn truncate_to(&mut self, max_tokens: usize) -> Result<(), Error> {
        let special = self.special_tokens();
        if max_tokens <= special {
            return Err(Error::ModelUnsuitable(format!(
                "the model's limit is {max_tokens} tokens, and the {special} special tokens of \
                 tokenizer.json leave none for a text"
            )));
        }
        let truncation = TruncationParams {
            max_length: max_tokens.min(MAX_TOKENS),
            direction: self.direction,
            ..TruncationParams::default()
        };
        let truncated = self.tokenizer.with_truncation(Some(truncation));
        let truncated = truncated.map_err(|error| Error::ModelUnsuitable(error.to_string()));
        truncated.map(drop)
    }

    /// Tokenises the beginning of a text, or its end, as the model truncates; `index` is its
    /// position in the call.
    pub(crate) fn encode_truncated(&self, index: usize, text: &str) -> Result<Row, Error> {
        let encoding = self.tokenizer.encode_fast(text, true);
        let encoding = encoding.map_err(|error| not_tokenised(index, &error))?;
        Ok(Row::from(&encoding))
    }

    /// Tokenises one text. The rows are its windows, and one if it is not longer than the
    /// limit.
    ///
    /// # Errors
    ///
    /// If the text is too long for what becomes of long texts.
    pub(crate) fn encode(
        &self,
        index: usize,
        text: &str,
        long_texts: LongTexts,
    ) -> Result<Vec<Row>, Error> {
        let windows = match long_texts {
            LongTexts::Truncate => return Ok(vec![self.encode_truncated(index, text)?]),
            LongTexts::Refuse => 1,
            LongTexts::Window(_) => MAX_WINDOWS,
        };
        let failed = |error: tokenizers::Error| not_tokenised(index, &error);
        let mut encoding = self.all_tokens(text).map_err(failed)?;
        let special = self.special_tokens();
        let tokens = encoding.len() + special;
        if let (Some(limit), Some(allowed)) = (self.max_tokens(), self.tokens_of(windows)) {
            if tokens > allowed {
                return Err(Error::InvalidText(InvalidText {
                    index: index.try_into().unwrap_or(u32::MAX),
                    reason: format!("the text has {tokens} tokens; at most {allowed} are allowed"),
                }));
            }
            let room = limit - special;
            encoding.truncate(room, room / OVERLAP, self.direction);
        }
        let encoding = self.tokenizer.post_process(encoding, None, true);
        let encoding = encoding.map_err(failed)?;
        let windows = [&encoding].into_iter().chain(encoding.get_overflowing());
        Ok(windows.map(Row::from).collect())
    }

    /// All tokens of a text, without special tokens around it. (The library's own functions
    /// stop at the limit, and then know neither the number of tokens nor further windows.)
    fn all_tokens(&self, text: &str) -> tokenizers::Result<Encoding> {
        let tokenizer = &self.tokenizer;
        let added = tokenizer.get_added_vocabulary();
        let mut tokens = added.extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut tokens)?;
        }
        let model = tokenizer.get_model();
        tokens.tokenize(|part| model.tokenize(part.get()))?;
        tokens.into_encoding(None, 0, OffsetType::None)
    }
}

fn not_tokenised(index: usize, error: &tokenizers::Error) -> Error {
    Error::Internal(format!("text {index} could not be tokenised: {error}"))
}

impl From<&Encoding> for Row {
    fn from(encoding: &Encoding) -> Self {
        Self {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
            mask: encoding.get_attention_mask().to_vec(),
        }
    }
}

/// What is wrong with a tokenizer that the library cannot read, if it is its type.
fn unsupported(bytes: &[u8]) -> Option<String> {
    let raw: RawTokenizer = serde_json::from_slice(bytes).ok()?;
    let Some(model) = raw.model else {
        return Some("it has no `model`".to_owned());
    };
    let ty = model.r#type.filter(|ty| !TYPES.contains(&ty.as_str()))?;
    let known = TYPES.join(", ");
    Some(format!(
        "its `model` is of the type {ty:?}, which is none of {known}"
    ))
}
