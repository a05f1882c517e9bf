//! Reads a model's configuration from its directory.

use std::path::Path;

use fastsentiment_config::{
    ADDED_TOKENS, CONFIG, Files, ModelConfig, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG,
};

use crate::bindings::Error;
use crate::read::{read, read_optional};

/// Reads the configuration files of a model directory.
pub(crate) fn read_config(dir: &Path) -> Result<ModelConfig, Error> {
    let config = read(&dir.join(CONFIG))?;
    let [tokenizer_config, special_tokens_map, added_tokens] =
        [TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS]
            .map(|name| read_optional(&dir.join(name)));
    let (tokenizer_config, special_tokens_map) = (tokenizer_config?, special_tokens_map?);
    let added_tokens = added_tokens?;
    let files = Files {
        config: &config,
        tokenizer_config: tokenizer_config.as_deref(),
        special_tokens_map: special_tokens_map.as_deref(),
        added_tokens: added_tokens.as_deref(),
    };
    ModelConfig::parse(files).map_err(|error| Error::ModelUnsuitable(error.to_string()))
}
