//! `GET /info`: what is served, as Text Embeddings Inference describes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use connection::OVERHEAD;
use predictor::{Description, ModelCard, Revision};
use serde::Serialize;
use service::{Limits, Service};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::HttpConfig;
use crate::inputs::Allowed;

/// Describes what is served.
#[derive(Clone)]
pub struct Served {
    /// The model that is live with what its guest says, and the most tokens that are scored together; 1 if each text
    /// is scored by itself.
    pub live: Arc<dyn Fn() -> (Arc<ModelCard>, u32) + Send + Sync>,
    /// The most texts that are scored together.
    pub batch_texts: usize,
    /// How many threads call guests.
    pub workers: usize,
}

impl Served {
    /// What may be asked for of the model that is live.
    pub(crate) fn allowed(&self) -> Allowed {
        Allowed::from(&*(self.live)().0)
    }

    /// The most tokens that are scored together.
    pub fn batch_tokens(&self) -> u32 {
        (self.live)().1
    }
}

/// What is served, as Text Embeddings Inference describes it.
#[derive(Serialize, ToSchema)]
#[schema(as = Info)]
pub(crate) struct Document {
    /// The name of the model directory.
    model_id: String,
    /// SHA-256 over the model directory's files, in hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    model_sha: String,
    /// The type of scores, whatever the type of the model's weights.
    model_dtype: &'static str,
    /// The name of the model directory.
    served_model_name: String,
    model_type: ModelType,
    /// How many requests with a body may be in flight. Requests may be refused with far
    /// fewer, since the queue is bounded by tokens.
    max_concurrent_requests: usize,
    /// The longest text that is not truncated, in tokens, special tokens included; `null`
    /// if the guest does not say.
    max_input_length: Option<usize>,
    /// The most tokens that are scored together.
    max_batch_tokens: usize,
    /// The most texts that are scored together.
    max_batch_requests: usize,
    /// The most texts in one request.
    max_client_batch_size: usize,
    /// Longer texts are truncated, unless a request or the guest's configuration says otherwise.
    #[schema(default = true)]
    auto_truncate: bool,
    /// How many threads tokenise and score texts.
    tokenization_workers: usize,
    /// The version of the program.
    version: &'static str,
    /// Unknown; see `/version`.
    #[schema(value_type = Option<String>, required = true)]
    sha: Option<&'static str>,
    /// Unknown.
    #[schema(value_type = Option<String>, required = true)]
    docker_label: Option<&'static str>,
}

/// The kind of the model.
#[derive(Serialize, ToSchema)]
struct ModelType {
    classifier: Classifier,
}

/// The labels, as the guest describes them; none if it does not.
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
        let (model, together) = (served.live)();
        let ModelCard { name, description } = &*model;
        let Description { labels, limit, .. } = description;
        let max_tokens = limit.map(|limit| limit.tokens);
        let together = together as usize;
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
            max_input_length: max_tokens,
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

/// What `GET /info` describes.
#[derive(Clone)]
pub(crate) struct Info {
    pub(crate) service: Arc<Service>,
    pub(crate) served: Arc<Served>,
    pub(crate) config: Arc<HttpConfig>,
}

/// Serves the description.
pub(crate) fn router(info: Info) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(describe))
        .with_state(info)
}

/// What is served, as Text Embeddings Inference describes it
#[utoipa::path(
    get,
    path = "/info",
    operation_id = "info",
    tag = "Operation",
    responses((status = 200, description = "What is served", body = Document))
)]
async fn describe(State(info): State<Info>) -> Json<Document> {
    let (live, limits) = (info.service.revision(), info.service.limits());
    Json(Document::new(&info.served, &live, limits, &info.config))
}
