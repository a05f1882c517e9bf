//! `POST /classify`, as vLLM has it, and `POST /v1/classify`, as SGLang does: the probabilities
//! of all classes, in the order of the model. `GET /v1/models` names the model, for clients
//! that ask for it first.
//!
//! As everywhere, an option that a guest cannot honour is refused, never ignored.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use connection::Session;
use predictor::{PredictError, Scores};
use serde::{Serialize, Serializer};
use service::Predictions;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Served;
use crate::infer::{ALIAS, unknown_model};
use crate::inputs::{InputsSeed, OneOrMany};
use crate::openapi::problems;
use crate::predict::Predict;
use crate::problem::{FieldError, Problem};
use crate::protocol::{Protocol, Written};
use crate::request::fields::{OneField, skip};
use crate::request::json::Source;
use crate::request::{self, Texts};
use crate::request_id;

/// Texts to classify, as clients of vLLM send them. Fields that are not named here are
/// ignored.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct ClassifyRequest {
    /// The name of the model, or `fastsentiment`; it may be left out.
    model: Option<String>,
    // `InputsSeed` reads it, within a bound, before the options are read.
    #[serde(deserialize_with = "skip")]
    #[schema(value_type = OneOrMany)]
    #[expect(dead_code, reason = "only its schema is used")]
    input: (),
    /// Without it there would be logits, which are not available.
    use_activation: Option<bool>,
    /// The same by an earlier name.
    activation: Option<bool>,
    /// Texts that are too long for the model are always truncated, at its own limit.
    truncate_prompt_tokens: Option<i64>,
}

/// What a request asks for beside its texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Classify {
    model: String,
    /// The labels in the order of the model.
    labels: Vec<String>,
    /// Whether there is one text, and not a list.
    is_one: bool,
}

/// The classes of all texts.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClassifyResponse<'a> {
    /// Different for each answer.
    id: String,
    /// `list`
    #[schema(value_type = String)]
    object: &'static str,
    /// The time of the answer, in seconds since 1970.
    created: u64,
    /// The name of the model, as in the request.
    model: &'a str,
    #[schema(value_type = Vec<ClassifiedText>)]
    data: Classified<'a>,
}

/// The class of a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClassifiedText<'a> {
    /// The text's place in the request, from 0.
    index: usize,
    /// The label with the highest probability.
    label: &'a str,
    /// The probabilities of all labels, in the order of the model (`id2label` in `GET /info`);
    /// of labels that only the guest knows, after them, in alphabetical order.
    probs: Vec<f32>,
    /// How many labels there are.
    num_classes: usize,
}

struct Classified<'a> {
    scores: &'a [Scores],
    labels: &'a [String],
}

impl Serialize for Classified<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let each = self.scores.iter().enumerate();
        serializer.collect_seq(each.map(|(index, scores)| {
            let mut ordered: Vec<_> = scores.iter().collect();
            ordered.sort_by_key(|score| {
                let place = self.labels.iter().position(|label| **label == *score.label);
                (place.unwrap_or(usize::MAX), Arc::clone(&score.label))
            });
            ClassifiedText {
                index,
                label: scores.first().map_or("", |score| &score.label),
                probs: ordered.iter().map(|score| score.score).collect(),
                num_classes: scores.len(),
            }
        }))
    }
}

/// Reads a request, of which at most `max_texts` texts are kept.
///
/// # Errors
///
/// What is wrong with it; another model than the one that is served is
/// [`Kind::UnknownModel`](crate::problem::Kind::UnknownModel).
pub(crate) fn read(
    body: &[u8],
    max_texts: usize,
    served: &Served,
) -> Result<(Texts, Classify), Problem> {
    let json = request::body(Source::Classify, body)?;
    let (input, others) = json.read_with(OneField {
        name: "input",
        seed: InputsSeed { max: max_texts },
        expected: r#"an object such as {"input": ["I love it"]}"#,
    })?;
    let options: ClassifyRequest = request::read_options(json, others)?;
    let wrong = |pointer: &str, reason: &str| Err(FieldError::at(pointer, reason).into());
    for (pointer, activation) in [
        ("/use_activation", options.use_activation),
        ("/activation", options.activation),
    ] {
        if activation == Some(false) {
            let reason = "must be true or left out: guests return probabilities, and logits are \
                          not available";
            return wrong(pointer, reason);
        }
    }
    if options
        .truncate_prompt_tokens
        .is_some_and(|most| most != -1)
    {
        let reason = "must be -1 or left out: texts are truncated at the model's own limit";
        return wrong("/truncate_prompt_tokens", reason);
    }
    let (card, _) = (served.live)();
    let model = options.model.unwrap_or_else(|| card.name.clone());
    if model != card.name && model != ALIAS {
        return Err(unknown_model(&card.name));
    }
    let Some(input) = input else {
        return wrong("/input", "is missing");
    };
    let classify = Classify {
        model,
        labels: card.description.labels.clone(),
        is_one: matches!(input, OneOrMany::One(_)),
    };
    Ok((input.into_texts(max_texts), classify))
}

impl Classify {
    /// The problem of a failed prediction.
    pub(crate) fn problem(&self, error: PredictError) -> Problem {
        Problem::of_texts(error, |text| match text {
            Some(index) if !self.is_one => format!("/input/{index}"),
            _ => "/input".to_owned(),
        })
    }

    /// The answer to a request.
    pub(crate) fn write(&self, predictions: &Predictions) -> Result<Written, Problem> {
        Written::json(&ClassifyResponse {
            id: format!("classify-{}", request_id::new().as_hyphenated()),
            created: now(),
            ..answer(&self.model, &self.labels, predictions)
        })
    }
}

fn answer<'a>(
    model: &'a str,
    labels: &'a [String],
    predictions: &'a Predictions,
) -> ClassifyResponse<'a> {
    let scores = &predictions.scores;
    ClassifyResponse {
        id: "classify-019f0a3c-2b1d-7c43-9f00-5b6c0e6f8a11".to_owned(),
        object: "list",
        created: 1_790_000_000,
        model,
        data: Classified { scores, labels },
    }
}

/// An answer for documentation.
pub(crate) fn example<'a>(model: &'a str, predictions: &'a Predictions) -> ClassifyResponse<'a> {
    answer(model, &[], predictions)
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct Classifier {
    pub(crate) predict: Predict,
    pub(crate) served: Served,
}

/// Serves both paths, and the names of models.
pub(crate) fn router(classifier: Classifier) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(classify))
        .routes(routes!(classify_v1))
        .routes(routes!(models))
        .with_state(classifier)
}

problems!(ClassifyProblems, [unknown_model("default")]);

/// Classify texts as vLLM does
#[utoipa::path(
    post,
    path = "/classify",
    operation_id = "classify",
    tag = "Predictions",
    request_body(content((ClassifyRequest = "application/json"))),
    responses(
        (status = 200, description = "The classes of all texts", body = ClassifyResponse<'static>),
        ClassifyProblems,
    ),
)]
async fn classify(
    State(classifier): State<Classifier>,
    Extension(session): Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    let answer = classifier
        .predict
        .respond(request, session, Protocol::Classify);
    answer.await
}

/// Classify texts as SGLang does
///
/// The same as `POST /classify`.
#[utoipa::path(
    post,
    path = "/v1/classify",
    operation_id = "classifyV1",
    tag = "Predictions",
    responses((status = 200, description = "As for `POST /classify`"), ClassifyProblems),
)]
async fn classify_v1(
    state: State<Classifier>,
    session: Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    classify(state, session, request).await
}

/// The models, as OpenAI's API lists them.
#[derive(Serialize, ToSchema)]
struct Models {
    /// `list`
    #[schema(value_type = String)]
    object: &'static str,
    /// The model that is live.
    #[schema(min_items = 1, max_items = 1, value_type = Vec<ListedModel>)]
    data: [ListedModel; 1],
}

/// A model, as OpenAI's API describes it.
#[derive(Serialize, ToSchema)]
struct ListedModel {
    /// The name of the model directory.
    id: String,
    /// `model`
    #[schema(value_type = String)]
    object: &'static str,
    /// Unknown, and so the time of the answer, in seconds since 1970.
    created: u64,
    /// `fastsentiment`
    #[schema(value_type = String)]
    owned_by: &'static str,
}

/// The name of the model, as OpenAI's API lists it
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "models",
    tag = "Operation",
    responses((status = 200, description = "The model that is live", body = Models))
)]
async fn models(State(classifier): State<Classifier>) -> Json<Models> {
    let (card, _) = (classifier.served.live)();
    Json(Models {
        object: "list",
        data: [ListedModel {
            id: card.name.clone(),
            object: "model",
            created: now(),
            owned_by: ALIAS,
        }],
    })
}

#[cfg(test)]
mod tests;
