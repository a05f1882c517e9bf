//! What Transformers changes about `tokenizer.json` when it loads a model.
//!
//! Transformers does not use the file as it is: the class of the tokenizer builds parts of
//! it anew from `tokenizer_config.json`. Versions 4 and 5 agree on what is applied here. The
//! classes are those that `AutoTokenizer` chooses.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ADDED_TOKENS, ConfigError, Files, SPECIAL_TOKENS_MAP, Side, TOKENIZER_CONFIG};
use crate::{count, json};

/// A kind of tokenizers that Transformers treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `BertTokenizer` and its relatives: words, cut into pieces.
    Bert,
    /// `RobertaTokenizer`, `GPT2Tokenizer` and their relatives: byte-level BPE.
    ByteLevel,
    /// `AlbertTokenizer` and others of `SentencePiece`.
    SentencePiece,
    /// The file is used as it is.
    AsItIs,
}

/// The settings of a tokenizer; `None` for one that is not stated.
#[derive(Clone, Debug)]
pub struct TokenizerSettings {
    /// The class of Transformers, without `Fast`; empty if it is not known.
    pub class: String,
    /// Its kind.
    pub family: Family,
    /// `do_lower_case`.
    pub lowercase: Option<bool>,
    /// `strip_accents`.
    pub strip_accents: Option<bool>,
    /// `keep_accents`.
    pub keep_accents: Option<bool>,
    /// `tokenize_chinese_chars`.
    pub chinese_chars: Option<bool>,
    /// `add_prefix_space`.
    pub add_prefix_space: Option<bool>,
    /// Whether special tokens in a text are text.
    pub split_special_tokens: bool,
    /// Tokens that are found in a text before it is tokenised, and the ids that they must
    /// have, if the files state them.
    pub added_tokens: Vec<(Option<u32>, AddedToken)>,
    /// Texts that are special tokens wherever the vocabulary has them.
    pub special_tokens: Vec<String>,
}

/// A token that is found in a text before it is tokenised.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the properties that a token has in the files"
)]
pub struct AddedToken {
    /// What is found.
    pub content: String,
    /// Whether it has to be a word of its own.
    #[serde(default)]
    pub single_word: bool,
    /// Whether spaces before it belong to it.
    #[serde(default)]
    pub lstrip: bool,
    /// Whether spaces after it belong to it.
    #[serde(default)]
    pub rstrip: bool,
    /// Whether it is looked for in the normalised text.
    #[serde(default)]
    pub normalized: bool,
    /// Whether it is special.
    #[serde(default)]
    pub special: bool,
}

impl AddedToken {
    fn special(content: &str) -> Self {
        Self {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }
}

/// The part of `tokenizer_config.json` that matters here.
#[derive(Default, Deserialize)]
struct Raw {
    tokenizer_class: Option<String>,
    model_max_length: Option<f64>,
    /// The old name of the same.
    max_len: Option<f64>,
    truncation_side: Option<Side>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    keep_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    add_prefix_space: Option<bool>,
    split_special_tokens: Option<bool>,
    added_tokens_decoder: Option<BTreeMap<String, AddedToken>>,
    /// Everything else, in which named tokens are looked for.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The settings, and those of `tokenizer_config.json` that are not about the tokens.
pub(crate) struct Settings {
    pub(crate) max_tokens: Option<usize>,
    pub(crate) truncation_side: Option<Side>,
    pub(crate) tokenizer: TokenizerSettings,
}

/// The class for a model type without one of its own, and the family of classes.
const BERT: [&str; 13] = [
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "DPRReaderTokenizer",
    "ElectraTokenizer",
    "FunnelTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MPNetTokenizer",
    "MobileBertTokenizer",
    "RetriBertTokenizer",
    "SplinterTokenizer",
    "SqueezeBertTokenizer",
];
const BYTE_LEVEL: [&str; 8] = [
    "BartTokenizer",
    "DebertaTokenizer",
    "GPT2Tokenizer",
    "LEDTokenizer",
    "LongformerTokenizer",
    "MvpTokenizer",
    "RobertaTokenizer",
    "CodeGenTokenizer",
];
const SENTENCE_PIECE: [&str; 8] = [
    "AlbertTokenizer",
    "BigBirdTokenizer",
    "CamembertTokenizer",
    "DebertaV2Tokenizer",
    "FNetTokenizer",
    "RemBertTokenizer",
    "XLMRobertaTokenizer",
    "XLNetTokenizer",
];

/// Model types whose `tokenizer_class` Transformers ignores: the file is used as it is.
const AS_IT_IS: [&str; 2] = ["modernbert", "modernbert-decoder"];

/// The class that Transformers takes for a type of model if the files name none.
fn class_of(model_type: &str) -> &'static str {
    match model_type {
        "bert" | "convbert" | "distilbert" | "electra" | "ernie" | "layoutlm" | "lxmert"
        | "megatron-bert" | "mobilebert" | "nomic_bert" | "squeezebert" => "BertTokenizer",
        "funnel" => "FunnelTokenizer",
        "mpnet" => "MPNetTokenizer",
        "bart"
        | "data2vec-text"
        | "ibert"
        | "lilt"
        | "longformer"
        | "mra"
        | "mvp"
        | "roberta"
        | "roberta-prelayernorm" => "RobertaTokenizer",
        "deberta" => "DebertaTokenizer",
        "gpt2" | "gpt_neo" | "gptj" | "opt" | "phi" => "GPT2Tokenizer",
        "albert" | "yoso" => "AlbertTokenizer",
        "big_bird" => "BigBirdTokenizer",
        "camembert" => "CamembertTokenizer",
        "deberta-v2" => "DebertaV2Tokenizer",
        "fnet" => "FNetTokenizer",
        "rembert" => "RemBertTokenizer",
        "xlm-roberta" | "xmod" => "XLMRobertaTokenizer",
        "xlnet" => "XLNetTokenizer",
        _ => "",
    }
}

/// The special tokens of a class that `tokenizer_config.json` need not name.
fn default_tokens(class: &str) -> &'static [&'static str] {
    match class {
        "FunnelTokenizer" => &["<unk>", "<sep>", "<pad>", "<cls>", "<mask>", "<s>", "</s>"],
        "MPNetTokenizer" => &["<s>", "</s>", "[UNK]", "<pad>", "<mask>"],
        "DebertaTokenizer" => &["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"],
        "GPT2Tokenizer" => &["<|endoftext|>"],
        _ if BERT.contains(&class) => &["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"],
        _ if BYTE_LEVEL.contains(&class) => &["<s>", "</s>", "<unk>", "<pad>", "<mask>"],
        _ => &[],
    }
}

impl Settings {
    pub(crate) fn read(
        files: &Files,
        model_type: &str,
        class: Option<String>,
    ) -> Result<Self, ConfigError> {
        let raw: Raw = optional(TOKENIZER_CONFIG, files.tokenizer_config)?;
        let class = raw.tokenizer_class.clone().or(class);
        let class = class.unwrap_or_else(|| class_of(model_type).to_owned());
        let class = class.strip_suffix("Fast").unwrap_or(&class).to_owned();
        let family = match &*class {
            _ if AS_IT_IS.contains(&model_type) => Family::AsItIs,
            class if BERT.contains(&class) => Family::Bert,
            class if BYTE_LEVEL.contains(&class) => Family::ByteLevel,
            class if SENTENCE_PIECE.contains(&class) => Family::SentencePiece,
            _ => Family::AsItIs,
        };
        let limit = raw.model_max_length.or(raw.max_len);
        let default_tokens = default_tokens(&class).iter();
        let special_tokens = default_tokens.map(ToString::to_string).collect();
        Ok(Self {
            max_tokens: limit.and_then(count),
            truncation_side: raw.truncation_side,
            tokenizer: TokenizerSettings {
                family,
                lowercase: raw.do_lower_case,
                strip_accents: raw.strip_accents,
                keep_accents: raw.keep_accents,
                chinese_chars: raw.tokenize_chinese_chars,
                add_prefix_space: raw.add_prefix_space,
                split_special_tokens: raw.split_special_tokens.unwrap_or(false),
                added_tokens: added_tokens(files, raw)?,
                special_tokens,
                class,
            },
        })
    }
}

/// The tokens that the files beside `tokenizer.json` add, in order.
fn added_tokens(files: &Files, raw: Raw) -> Result<Vec<(Option<u32>, AddedToken)>, ConfigError> {
    let mut added = BTreeMap::new();
    let mut named = named_tokens(&raw.others);
    if let Some(decoder) = raw.added_tokens_decoder {
        for (id, token) in decoder {
            added.insert(id.trim().parse().ok(), token);
        }
    } else {
        // The two older files count only without the newer list.
        let map: Map<String, Value> = optional(SPECIAL_TOKENS_MAP, files.special_tokens_map)?;
        named.extend(named_tokens(&map));
        let ids: BTreeMap<String, u32> = optional(ADDED_TOKENS, files.added_tokens)?;
        for (content, id) in ids {
            let special = named.iter().any(|token| token.content == content);
            let token = AddedToken {
                normalized: !special,
                special,
                ..AddedToken::special(&content)
            };
            added.insert(Some(id), token);
        }
    }
    named.retain(|token| !added.values().any(|other| other.content == token.content));
    let named = named.into_iter().map(|token| (None, token));
    Ok(added.into_iter().chain(named).collect())
}

/// The tokens with a role, such as `sep_token`, and further special tokens.
fn named_tokens(settings: &Map<String, Value>) -> Vec<AddedToken> {
    let mut tokens: Vec<AddedToken> = Vec::new();
    let mut add = |value: &Value| {
        let token = match value {
            Value::String(content) => Some(AddedToken::special(content)),
            Value::Object(_) => AddedToken::deserialize(value).ok(),
            _ => None,
        };
        if let Some(token) = token
            && !tokens.iter().any(|other| other.content == token.content)
        {
            tokens.push(AddedToken {
                special: true,
                ..token
            });
        }
    };
    for (key, value) in settings {
        match (&**key, value) {
            ("additional_special_tokens" | "extra_special_tokens", Value::Array(values)) => {
                values.iter().for_each(&mut add);
            }
            ("extra_special_tokens", Value::Object(values)) => {
                values.values().for_each(&mut add);
            }
            (key, value) if key.ends_with("_token") => add(value),
            _ => {}
        }
    }
    tokens
}

/// A file's contents, or nothing if there is no such file.
fn optional<T: Default + serde::de::DeserializeOwned>(
    file: &'static str,
    contents: Option<&[u8]>,
) -> Result<T, ConfigError> {
    contents.map_or_else(|| Ok(T::default()), |contents| json::parse(file, contents))
}
