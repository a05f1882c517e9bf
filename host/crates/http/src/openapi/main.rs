//! The document of the main listener: its operations, with the limits of the server
//! that runs.
//!
//! This module must not know how an operation is carried out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};
use utoipa::openapi::ComponentsBuilder;

use super::common::{self, DOCUMENTATION, OPERATION};
use super::pages;
use super::{
    About, COMMON_RULES, Operations, bytes, document_of, header, inputs, lines, reference,
    responses, with_schema,
};
use crate::body::BodyError;
use crate::coding::{self, Coding};
use crate::info::{self, Served};
use crate::inputs::Allowed;
use crate::memory::NoRoom;
use crate::metrics::Route;
use crate::options::{self, TIMEOUT};
use crate::paths::{PATHS, Row};
use crate::predict::{self, CACHE_HITS, GUEST, MODEL, REVISION};
use crate::problem::{self, Kind, Problem};
use crate::routes::not_found;
use crate::{HttpConfig, health, media_type, request, version};
use predictor::{ErrorKind, PredictError, Revision, Score, Scores};
use service::{Limits, Service};

/// What a server allows, and the version that answers when it starts: the examples
/// are of it.
pub(crate) struct Bounds {
    pub(super) limits: Limits,
    pub(super) served: Served,
    config: HttpConfig,
    revision: Arc<Revision>,
}

impl Bounds {
    pub(crate) fn new(service: &Service, served: &Served, config: &HttpConfig) -> Self {
        Self {
            limits: service.limits().clone(),
            served: served.clone(),
            config: config.clone(),
            revision: service.revision(),
        }
    }
}

const TAGS: [(&str, &str); 4] = [
    ("Predictions", "What the server is for."),
    OPERATION,
    DOCUMENTATION,
    pages::PAGES,
];

/// The document of the main listener, where metrics are or are not.
pub(crate) fn document(bounds: &Bounds, has_metrics: bool) -> Bytes {
    let schemas = with_schema::<request::Document>(ComponentsBuilder::new());
    let schemas = with_schema::<predict::Document<'static>>(schemas);
    let schemas = lines::schemas(inputs::schemas(schemas));
    let schemas = with_schema::<info::Document>(schemas);
    let schemas = with_schema::<version::Document>(schemas);
    let schemas = with_schema::<health::Document>(schemas);
    let schemas = with_schema::<problem::Document<'static>>(schemas);
    let about = About {
        title: "FastSentiment",
        description: format!(
            "Sentiment prediction whose logic is a sandboxed WebAssembly component. \
             {COMMON_RULES}"
        ),
        tags: &TAGS,
        schemas: schemas.build(),
    };
    let paths = PATHS
        .iter()
        .filter(|row| has_metrics || row.route != Route::Metrics)
        .map(|row| {
            let problems = match row.route {
                // What stands for its name may be that of none.
                Route::Assets => vec![not_found()],
                _ => Vec::new(),
            };
            Operations::new(row.path, row.allow, &problems, |method| {
                operation(row, method, bounds)
            })
        })
        .collect();
    let mut document = super::document(about, paths);
    // The limits are known to the server that runs, and not to the type.
    let schemas = &mut document["components"]["schemas"];
    let text = &mut schemas["PredictRequest"]["properties"]["text"];
    text["maxItems"] = bounds.limits.max_texts.into();
    limit_text(&mut text["items"], bounds);
    inputs::limit(schemas, bounds);
    lines::limit(schemas, bounds);
    bytes(&document)
}

/// Adds what is allowed of a text to its schema.
pub(super) fn limit_text(text: &mut Value, bounds: &Bounds) {
    let most = bounds.limits.max_text_bytes;
    text["maxLength"] = most.into();
    text["description"] =
        format!("At most {most} bytes of UTF-8, and so at most as many characters.").into();
}

/// The operation of a method of a path.
fn operation(row: &Row, method: &str, bounds: &Bounds) -> Value {
    match row.route_of(method) {
        Route::Predict if row.path == "/" => predict_at_root(bounds),
        Route::Predict => predict(bounds),
        Route::Health => common::health(row.path),
        Route::Version => common::version(&bounds.revision, &[]),
        Route::Info => info(bounds),
        Route::Metrics => common::metrics(),
        Route::OpenApi => common::openapi(),
        Route::Docs | Route::Page => pages::page(row.path),
        Route::Assets => pages::asset(),
        // No path leads there.
        Route::Other => Value::Null,
    }
}

fn predict(bounds: &Bounds) -> Value {
    let revision = &bounds.revision;
    let all = ["A warm, funny film.", "The plot makes no sense."];
    let texts: Vec<_> = all.iter().take(bounds.limits.max_texts).collect();
    let scores = |first: (&str, f32), second: (&str, f32)| -> Scores {
        [first, second]
            .map(|(label, score)| Score {
                label: label.into(),
                score,
            })
            .into()
    };
    let answers = [
        scores(("POSITIVE", 0.998_690_9), ("NEGATIVE", 0.001_309_119_3)),
        scores(("NEGATIVE", 0.995_061_34), ("POSITIVE", 0.004_938_62)),
    ];
    let answers = &answers[..texts.len()];
    let mut good = json!({
        "description": "The scores of all texts, in the form of the request",
        "content": {
            "application/json": {
                "schema": {"anyOf": [reference("Predictions"), inputs::answer()]},
                "examples": inputs::answers(answers),
            },
            lines::MEDIA_TYPE: lines::answer(answers),
        },
    });
    let named = |what: &str, example: String| {
        header(
            &format!(
                "The first 12 digits of the SHA-256 of the {what} that made the answer; of \
                 each, if another version is on trial with a share of the texts."
            ),
            json!({
                "type": "string",
                "pattern": "^[0-9a-f]{12}(, [0-9a-f]{12})*$",
                "examples": [example],
            }),
        )
    };
    good["headers"] = json!({
        GUEST.as_str(): named("guest", revision.guest().short()),
        MODEL.as_str(): named("model", revision.model().short()),
        REVISION.as_str(): named("revision", revision.short()),
        CACHE_HITS.as_str(): header(
            "How many of the texts were answered from what was kept.",
            json!({"type": "integer", "minimum": 0, "maximum": bounds.limits.max_texts}),
        ),
        "Server-Timing": header(
            "Where the time went, in milliseconds (W3C Server Timing): `read`, from the head of \
             the request to the end of its body; `parse`; `cache`, until all texts were found or \
             handed on; of those that were computed the longest wait in the `queue`, and the \
             longest `predict`, a batch in the guest and the model (both may have begun for \
             another request); `total`, to the answer.",
            json!({
                "type": "string",
                "pattern": "^[a-z]+;dur=[0-9]+\\.[0-9]{3}(, [a-z]+;dur=[0-9]+\\.[0-9]{3})*$",
                "examples": ["read;dur=0.021, parse;dur=0.004, cache;dur=0.011, \
                    queue;dur=0.030, predict;dur=2.271, total;dur=2.402"],
            }),
        ),
    });
    // Lines come without them.
    for header in good["headers"]
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        header["required"] = false.into();
    }
    json!({
        "operationId": "predict",
        "tags": ["Predictions"],
        "summary": "Score texts",
        "description": format!(
            "One list of scores for each text, in the order of the texts; the answer to a \
             text does not depend on the texts beside it. Other fields of the document are \
             ignored, and `application/*+json` is taken as well.\n\n{}\n\n{}",
            inputs::ABOUT,
            lines::ABOUT,
        ),
        "parameters": predict_parameters(bounds),
        "requestBody": {
            "description": format!(
                "At most {} bytes, in UTF-8; lines may go on for ever. It may be packed with one \
                 of {}, as `Content-Encoding` says, and is as long as it is unpacked.",
                bounds.config.max_body_bytes,
                coding::ACCEPTED,
            ),
            "required": true,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [reference("PredictRequest"), reference("InputsRequest")]},
                    "examples": inputs::requests(&texts),
                },
                lines::MEDIA_TYPE: lines::request(&texts),
            },
        },
        "responses": responses(json!({"200": good}), &predict_problems(bounds)),
    })
}

/// The same, under another name.
fn predict_at_root(bounds: &Bounds) -> Value {
    let mut operation = predict(bounds);
    operation["operationId"] = "predictAtRoot".into();
    operation["summary"] = "The same as `POST /predict`".into();
    operation["description"] = "For clients that are given the server's address alone, as \
        those of Hugging Face may be."
        .into();
    operation
}

fn predict_parameters(bounds: &Bounds) -> Value {
    json!([
        {
            "name": TIMEOUT.as_str(),
            "in": "header",
            "description": format!(
                "Gives up, and ends the work for the request, after so many milliseconds; \
                 it can only shorten the server's own limit of {}.",
                bounds.limits.deadline.as_millis(),
            ),
            "schema": {"type": "integer", "minimum": 1, "examples": [250]},
        },
        {
            "name": "Cache-Control",
            "in": "header",
            "description": "`no-store` neither uses nor keeps answers; `no-cache` and \
                `max-age=0` compute anew and keep the result. All else is ignored.",
            "schema": {"type": "string", "examples": ["no-cache"]},
        },
        {
            "name": "X-Request-Id",
            "in": "header",
            "description": "What the request is to be known by; see the answer's header of \
                this name. What is no such id is ignored.",
            "schema": {"type": "string", "examples": ["order-7/item-3"]},
        },
        {
            "name": "traceparent",
            "in": "header",
            "description": "The trace and the span that the request is a part of (W3C Trace \
                Context), for the lines of the server's log. What is no valid one is ignored.",
            "schema": {
                "type": "string",
                "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            },
        },
    ])
}

/// One problem of each kind that `POST /predict` can have, made as it is made there.
fn predict_problems(bounds: &Bounds) -> Vec<Problem> {
    let Limits {
        max_texts,
        max_text_bytes,
        deadline,
        ..
    } = bounds.limits;
    let failure = |kind, message: String| Problem::from(PredictError::new(kind, message));
    let with = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
    let too_many = max_texts.saturating_add(1);
    let too_long = max_text_bytes.saturating_add(1);
    let (limit, patience) = (bounds.config.max_body_bytes, bounds.config.body_timeout);
    let mut problems = vec![
        BodyError::Incomplete.into(),
        BodyError::Broken {
            coding: Coding::Gzip,
        }
        .into(),
        BodyError::TimedOut { patience }.into(),
        BodyError::TooLarge { limit }.into(),
        failure(
            ErrorKind::TooManyTexts {
                given: too_many,
                allowed: max_texts,
            },
            format!("the request holds {too_many} texts; at most {max_texts} are allowed"),
        ),
        failure(
            ErrorKind::TextTooLong {
                index: 3,
                given: too_long,
                allowed: max_text_bytes,
            },
            format!(
                "the text is {too_long} bytes long in UTF-8; at most {max_text_bytes} are allowed"
            ),
        ),
        failure(
            ErrorKind::InvalidText { index: 0 },
            "the guest can not score this text".to_owned(),
        ),
        Problem::failed(),
        failure(
            ErrorKind::Overloaded {
                retry_after: Duration::from_secs(1),
            },
            "more texts are waiting than may wait; try again later".to_owned(),
        ),
        BodyError::NoRoom(NoRoom).into(),
        failure(
            ErrorKind::Unavailable,
            "the server is not predicting at the moment".to_owned(),
        ),
        failure(
            ErrorKind::TimedOut,
            format!("the answer was not ready within {deadline:?}"),
        ),
    ];
    // What is wrong with these is found by what reads them.
    let read = |document| request::read(document, 1, Allowed::default()).err();
    problems.extend(read(br#"{"text": ["I love it""#));
    problems.extend(read(br#"{"text": ["I love it", 1]}"#));
    problems.extend(read(br#"{"inputs": "I love it", "truncate": false}"#));
    problems.extend(options::options(&with(TIMEOUT, "soon")).err());
    let media_type = media_type::require_json(&with(CONTENT_TYPE, "text/plain"));
    let unsupported = media_type.map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail));
    problems.extend(unsupported.err());
    problems.extend(coding::of_request(&with(CONTENT_ENCODING, "deflate")).err());
    problems
}

fn info(bounds: &Bounds) -> Value {
    let Bounds {
        served,
        revision,
        limits,
        config,
    } = bounds;
    let example = info::Document::new(served, revision, limits, config);
    json!({
        "operationId": "info",
        "tags": [OPERATION.0],
        "summary": "What is served, as Text Embeddings Inference tells it",
        "responses": {"200": document_of("What is served", "Info", &example)},
    })
}
