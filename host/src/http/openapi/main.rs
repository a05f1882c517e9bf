//! The document of the main listener: its operations, with the limits of the server
//! that runs.
//!
//! This module must not know how an operation is carried out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use utoipa::openapi::ComponentsBuilder;

use super::common::{self, DOCUMENTATION, OPERATION};
use super::{
    About, COMMON_RULES, Operations, bytes, content, document_of, header, reference, responses,
    with_schema,
};
use crate::http::body::BodyError;
use crate::http::memory::NoRoom;
use crate::http::metrics::Route;
use crate::http::options::{self, TIMEOUT};
use crate::http::paths::{PATHS, Row};
use crate::http::predict::{self, CACHE_HITS, GUEST, MODEL};
use crate::http::problem::{self, Kind, Problem};
use crate::http::{HttpConfig, media_type, request, version};
use crate::predictor::{ErrorKind, PredictError, Score, Scores, Version};
use crate::service::{Limits, Service};

/// What a server allows, and the version that answers when it starts: the examples
/// are of it.
pub(crate) struct Bounds {
    limits: Limits,
    max_body_bytes: usize,
    body_timeout: Duration,
    version: Arc<Version>,
}

impl Bounds {
    pub(crate) fn new(service: &Service, config: &HttpConfig) -> Self {
        Self {
            limits: service.limits().clone(),
            max_body_bytes: config.max_body_bytes,
            body_timeout: config.body_timeout,
            version: service.version(),
        }
    }
}

const TAGS: [(&str, &str); 3] = [
    ("Predictions", "What the server is for."),
    OPERATION,
    DOCUMENTATION,
];

/// The document of the main listener, where metrics are or are not.
pub(crate) fn document(bounds: &Bounds, has_metrics: bool) -> Bytes {
    let schemas = with_schema::<request::Document>(ComponentsBuilder::new());
    let schemas = with_schema::<predict::Document<'static>>(schemas);
    let schemas = with_schema::<version::Document>(schemas);
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
        .map(|row| Operations::new(row.path, row.allow, &[], |_| operation(row, bounds)))
        .collect();
    let mut document = super::document(about, paths);
    // The limits are known to the server that runs, and not to the type.
    let text = &mut document["components"]["schemas"]["PredictRequest"]["properties"]["text"];
    text["maxItems"] = bounds.limits.max_texts.into();
    text["items"]["maxLength"] = bounds.limits.max_text_bytes.into();
    text["items"]["description"] = format!(
        "At most {} bytes of UTF-8, and so at most as many characters.",
        bounds.limits.max_text_bytes
    )
    .into();
    bytes(&document)
}

/// The operation of a path: each has one, beside `HEAD` and `OPTIONS`.
fn operation(row: &Row, bounds: &Bounds) -> Value {
    match row.route {
        Route::Predict => predict(bounds),
        Route::Health => common::health(row.path),
        Route::Version => common::version(&bounds.version, &[]),
        Route::Metrics => common::metrics(),
        Route::OpenApi => common::openapi(),
        Route::Docs => docs(row.path),
        // No path leads there.
        Route::Other => Value::Null,
    }
}

fn predict(bounds: &Bounds) -> Value {
    let version = &bounds.version;
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
    let mut good = document_of(
        "The scores of all texts",
        "Predictions",
        &predict::Document::from(&answers[..texts.len()]),
    );
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
        GUEST.as_str(): named("guest", version.guest.short()),
        MODEL.as_str(): named("model", version.model.short()),
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
    json!({
        "operationId": "predict",
        "tags": ["Predictions"],
        "summary": "Score texts",
        "description": "One list of scores for each text, in the order of the texts; the \
            answer to a text does not depend on the texts beside it. Other fields of the \
            document are ignored, and `application/*+json` is taken as well.",
        "parameters": predict_parameters(bounds),
        "requestBody": {
            "description": format!("At most {} bytes, in UTF-8.", bounds.max_body_bytes),
            "required": true,
            "content": {"application/json": {
                "schema": reference("PredictRequest"),
                "example": {"text": texts},
            }},
        },
        "responses": responses(json!({"200": good}), &predict_problems(bounds)),
    })
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
    let (limit, patience) = (bounds.max_body_bytes, bounds.body_timeout);
    let mut problems = vec![
        BodyError::Incomplete.into(),
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
    problems.extend(request::texts(br#"{"text": ["I love it""#, max_texts).err());
    problems.extend(request::texts(br#"{"text": ["I love it", 1]}"#, usize::MAX).err());
    problems.extend(options::options(&with(TIMEOUT, "soon")).err());
    let media_type = media_type::require_json(&with(CONTENT_TYPE, "text/plain"));
    let unsupported = media_type.map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail));
    problems.extend(unsupported.err());
    problems
}

fn docs(path: &str) -> Value {
    let (id, content_type, summary) = match path {
        "/docs" => (
            "docs",
            "text/html; charset=utf-8",
            "The page that shows this document, and where it can be tried",
        ),
        "/docs/initializer.js" => (
            "docsInitializer",
            "text/javascript; charset=utf-8",
            "What starts the page",
        ),
        "/docs/swagger-ui.css" => (
            "docsStyle",
            "text/css; charset=utf-8",
            "How the page looks (Swagger UI)",
        ),
        _ => (
            "docsBundle",
            "text/javascript; charset=utf-8",
            "What the page is made by (Swagger UI)",
        ),
    };
    let mut good = content("The file", content_type);
    let text = |description: &str| header(description, json!({"type": "string"}));
    good["headers"] = json!({"Cache-Control": text("How long it may be kept.")});
    if path == "/docs" {
        good["headers"]["Content-Security-Policy"] =
            text("What the page may do: nothing but with this server.");
    }
    json!({
        "operationId": id,
        "tags": [DOCUMENTATION.0],
        "summary": summary,
        "responses": {"200": good},
    })
}
