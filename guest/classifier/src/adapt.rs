//! Changes a tokenizer as Transformers does when it loads `tokenizer.json`: by
//! `tokenizer_config.json`, and by what the tokenizer's class does to any file.
//!
//! Where Transformers' versions 4 and 5 would make different tokenizers of the same files,
//! the files contradict each other, and the model is refused.

use fastsentiment_config::{Family, TokenizerSettings};
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{AddedToken, PostProcessor, Tokenizer};

use crate::bindings::Error;

/// Applies the settings of a model to its tokenizer.
pub(crate) fn adapt(tokenizer: &mut Tokenizer, settings: &TokenizerSettings) -> Result<(), Error> {
    let adapted = match settings.family {
        Family::Bert => bert(tokenizer, settings),
        Family::ByteLevel => byte_level(tokenizer, settings),
        Family::SentencePiece => sentence_piece(tokenizer, settings),
        Family::AsItIs => Ok(()),
    };
    adapted.map_err(|why| {
        Error::ModelUnsuitable(format!(
            "tokenizer_config.json and tokenizer.json contradict each other: {why}"
        ))
    })?;
    // Later, since the normalizer applies to tokens as well.
    add_tokens(tokenizer, settings).map_err(Error::ModelUnsuitable)
}

fn bert(tokenizer: &mut Tokenizer, settings: &TokenizerSettings) -> Result<(), String> {
    let class = &settings.class;
    let is_same = matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_))
        && matches!(
            tokenizer.get_pre_tokenizer(),
            Some(PreTokenizerWrapper::BertPreTokenizer(_))
        );
    let normalizer = match tokenizer.get_normalizer() {
        Some(NormalizerWrapper::BertNormalizer(normalizer)) if is_same => normalizer,
        _ => {
            return Err(not_of(
                class,
                "WordPiece with BERT's normalizer and pre-tokenizer",
            ));
        }
    };
    let normalizer = BertNormalizer::new(
        normalizer.clean_text,
        settings.chinese_chars.unwrap_or(true),
        settings.strip_accents,
        settings.lowercase.unwrap_or(true),
    );
    with_special_tokens(tokenizer, class)?;
    let changed = tokenizer.with_normalizer(Some(normalizer));
    changed.map(drop).map_err(|error| error.to_string())
}

fn byte_level(tokenizer: &mut Tokenizer, settings: &TokenizerSettings) -> Result<(), String> {
    let class = &settings.class;
    let is_bpe = matches!(tokenizer.get_model(), ModelWrapper::BPE(_));
    let pre_tokenizer = match tokenizer.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(pre_tokenizer))
            if is_bpe && tokenizer.get_normalizer().is_none() =>
        {
            *pre_tokenizer
        }
        _ => return Err(not_of(class, "byte-level BPE without a normalizer")),
    };
    let pre_tokenizer = pre_tokenizer.add_prefix_space(settings.add_prefix_space.unwrap_or(false));
    // GPT-2 has no special tokens around a text.
    if class != "GPT2Tokenizer" && class != "CodeGenTokenizer" {
        with_special_tokens(tokenizer, class)?;
    }
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    Ok(())
}

/// Only checked: how these classes use their settings differs between versions.
fn sentence_piece(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> Result<(), String> {
    let steps = match tokenizer.get_normalizer() {
        Some(NormalizerWrapper::Sequence(steps)) => steps.as_ref(),
        Some(step) => std::slice::from_ref(step),
        None => &[],
    };
    let lowercases = steps
        .iter()
        .any(|step| matches!(step, NormalizerWrapper::Lowercase(_)));
    let strips = steps
        .iter()
        .any(|step| matches!(step, NormalizerWrapper::StripAccents(_)));
    if let Some(stated) = settings.lowercase
        && stated != lowercases
    {
        return Err(differs("do_lower_case", stated, "normalizer"));
    }
    if let Some(stated) = settings.keep_accents
        && stated == strips
    {
        return Err(differs("keep_accents", stated, "normalizer"));
    }
    let splits = match tokenizer.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::Sequence(splits)) => splits.as_ref(),
        Some(split) => std::slice::from_ref(split),
        None => &[],
    };
    let scheme = splits.iter().find_map(|split| match split {
        PreTokenizerWrapper::Metaspace(split) => Some(split.prepend_scheme),
        _ => None,
    });
    match (settings.add_prefix_space, scheme) {
        (Some(true), Some(PrependScheme::Never)) | (Some(false), Some(PrependScheme::Always)) => {
            let stated = settings.add_prefix_space.unwrap_or_default();
            Err(differs("add_prefix_space", stated, "pre-tokenizer"))
        }
        _ => Ok(()),
    }
}

/// The class puts a token before and one after every text, so the file must as well.
fn with_special_tokens(tokenizer: &Tokenizer, class: &str) -> Result<(), String> {
    let added = tokenizer.get_post_processor();
    match added.map_or(0, |processor| processor.added_tokens(false)) {
        2 => Ok(()),
        added => Err(format!(
            "a {class} puts 2 special tokens around a text, and the file {added}"
        )),
    }
}

fn add_tokens(tokenizer: &mut Tokenizer, settings: &TokenizerSettings) -> Result<(), String> {
    tokenizer.set_encode_special_tokens(settings.split_special_tokens);
    let known = tokenizer.get_added_tokens_decoder();
    let is_known = |content: &str| known.values().any(|token| token.content == content);
    let mut tokens = Vec::new();
    for (id, token) in &settings.added_tokens {
        // A token without an id has its properties from the file, if that has it.
        if id.is_some() || !is_known(&token.content) {
            tokens.push(AddedToken {
                content: token.content.clone(),
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                normalized: token.normalized,
                special: token.special,
            });
        }
    }
    for content in &settings.special_tokens {
        let is_listed = tokens.iter().any(|token| token.content == *content);
        if tokenizer.token_to_id(content).is_some() && !is_known(content) && !is_listed {
            tokens.push(AddedToken {
                normalized: false,
                ..AddedToken::from(content.clone(), true)
            });
        }
    }
    let added = tokenizer.add_tokens(tokens);
    added.map_err(|error| format!("a token of tokenizer_config.json cannot be added: {error}"))?;
    for (id, token) in &settings.added_tokens {
        let found = tokenizer.token_to_id(&token.content);
        if id.is_some() && *id != found {
            return Err(format!(
                "tokenizer_config.json gives the token {:?} another id than tokenizer.json",
                token.content
            ));
        }
    }
    Ok(())
}

fn not_of(class: &str, parts: &str) -> String {
    format!(
        "a {class} is {parts}, and the file is not; with the `tokenizer_class` \
         PreTrainedTokenizerFast it is used as it is"
    )
}

fn differs(setting: &str, stated: bool, part: &str) -> String {
    format!("`{setting}` is {stated}, and the {part} of the file does otherwise")
}

#[cfg(test)]
mod tests;
