//! `GET /info`: what is served, in the words of Text Embeddings Inference.
//!
//! This module must not know how a model is read or run: what it tells is given to it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::HttpConfig;
use super::memory::OVERHEAD;
use predictor::{ModelCard, Revision};
use service::Limits;

/// What there is to say of what is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// What the model directory says.
    pub model: ModelCard,
    /// The most tokens that are scored together; 1 if each text is scored by itself.
    pub batch_tokens: u32,
    /// The most texts that are scored together.
    pub batch_texts: usize,
    /// How many threads call guests.
    pub workers: usize,
}

/// What is served, as Text Embeddings Inference tells it.
#[derive(Serialize, ToSchema)]
#[schema(as = Info)]
pub(crate) struct Document {
    /// What the model directory is called.
    model_id: String,
    /// SHA-256 over the model directory's files, in hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    model_sha: String,
    /// The type of scores, whatever the model's weights are kept in.
    model_dtype: &'static str,
    /// What the model directory is called.
    served_model_name: String,
    model_type: ModelType,
    /// How many requests with a body there can be at a time. Far fewer may be refused:
    /// what waits is bounded by its tokens.
    max_concurrent_requests: usize,
    /// The longest text that is not truncated, in tokens, special tokens included; `null`
    /// if the model's files do not say.
    max_input_length: Option<usize>,
    /// The most tokens that are scored together.
    max_batch_tokens: usize,
    /// The most texts that are scored together.
    max_batch_requests: usize,
    /// The most texts in one request.
    max_client_batch_size: usize,
    /// Longer texts are always truncated.
    #[schema(default = true)]
    auto_truncate: bool,
    /// How many threads tokenise, and score, texts.
    tokenization_workers: usize,
    /// The version of the program.
    version: &'static str,
    /// Not known: what this server is made of is in `/version`.
    #[schema(value_type = Option<String>, required = true)]
    sha: Option<&'static str>,
    /// Not known.
    #[schema(value_type = Option<String>, required = true)]
    docker_label: Option<&'static str>,
}

/// The kind of the model.
#[derive(Serialize, ToSchema)]
struct ModelType {
    classifier: Classifier,
}

/// The labels, as the model's `config.json` has them; a guest may answer with others.
#[derive(Serialize, ToSchema)]
struct Classifier {
    #[schema(value_type = BTreeMap<String, String>)]
    id2label: BTreeMap<usize, String>,
    label2id: BTreeMap<String, usize>,
}

impl Document {
    pub(crate) fn new(
        served: &Served,
        live: &Revision,
        limits: &Limits,
        config: &HttpConfig,
    ) -> Self {
        let ModelCard {
            name,
            labels,
            max_tokens,
            ..
        } = &served.model;
        let together = served.batch_tokens as usize;
        Self {
            model_id: name.clone(),
            model_sha: live.model().to_string(),
            model_dtype: "float32",
            served_model_name: name.clone(),
            model_type: ModelType {
                classifier: Classifier {
                    id2label: labels.iter().cloned().enumerate().collect(),
                    label2id: labels.iter().cloned().zip(0..).collect(),
                },
            },
            max_concurrent_requests: config.body_memory / OVERHEAD,
            max_input_length: *max_tokens,
            // A longer text is scored all the same, by itself.
            max_batch_tokens: together.max(max_tokens.unwrap_or_default()),
            max_batch_requests: if together > 1 { served.batch_texts } else { 1 },
            max_client_batch_size: limits.max_texts,
            auto_truncate: true,
            tokenization_workers: served.workers,
            version: env!("CARGO_PKG_VERSION"),
            sha: None,
            docker_label: None,
        }
    }
}
