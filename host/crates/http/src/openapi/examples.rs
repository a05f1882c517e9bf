//! Examples for the document of the public API, and what its requests may carry.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use connection::NoRoom;
use connection::body::BodyError;
use connection::decompress::Coding;
use predictor::{Client, ErrorKind, PredictError, Score, Scores};
use serde::Serialize;
use serde_json::{Value, json};
use service::Limits;

use super::public::Facts;
use crate::inputs::{Allowed, Inputs};
use crate::options::{TIMEOUT, options};
use crate::problem::Problem;
use crate::{caller, coding, media_type, request, scores};

/// The headers that `POST /predict` reads.
pub(super) fn parameters(limits: &Limits) -> Value {
    json!([
        {
            "name": TIMEOUT.as_str(),
            "in": "header",
            "description": format!(
                "Gives up, and cancels the work for the request, after so many milliseconds. \
                 It can only shorten the server's own limit of {}.",
                limits.deadline.as_millis(),
            ),
            "schema": {"type": "integer", "minimum": 1, "examples": [250]},
        },
        {
            "name": "Cache-Control",
            "in": "header",
            "description": "`no-store` neither reads nor fills the cache; `no-cache` and \
                `max-age=0` compute anew and cache the result. Other directives are ignored.",
            "schema": {"type": "string", "examples": ["no-cache"]},
        },
        {
            "name": "X-Request-Id",
            "in": "header",
            "description": "The id of the request; see the header of this name in the answer. \
                An invalid id is ignored.",
            "schema": {"type": "string", "examples": ["order-7/item-3"]},
        },
        {
            "name": "traceparent",
            "in": "header",
            "description": "The trace and the span that the request is a part of (W3C Trace \
                Context), for the server's log. An invalid value is ignored.",
            "schema": {
                "type": "string",
                "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            },
        },
    ])
}

/// Requests in all forms. Pages show the first.
pub(super) fn example_requests(texts: &[&str]) -> Value {
    let one = texts.first();
    json!({
        "default": {"summary": "Texts", "value": {"text": texts}},
        "inputs-one": {
            "summary": "One text, as clients of Hugging Face send it",
            "value": {"inputs": one, "raw_scores": false, "truncate": true},
        },
        "inputs": {"summary": "A list of texts, likewise", "value": {"inputs": texts}},
        "parameters": {
            "summary": "The best label of one text, likewise",
            "value": {"inputs": one, "parameters": {"top_k": 1}},
        },
    })
}

/// The answers to these requests.
pub(super) fn example_answers(scores: &[Scores], is_tei: bool) -> Value {
    let of = |inputs: Inputs, scores: &[Scores]| exact(&inputs.answer(scores));
    let first = scores.get(..1).unwrap_or_default();
    let one = Inputs {
        is_one: true,
        is_tei,
        ..Inputs::default()
    };
    let best = Inputs {
        top_k: Some(1),
        ..one.clone()
    };
    json!({
        "default": {"summary": "Texts", "value": exact(&scores::Document::from(scores))},
        "inputs-one": {
            "summary": "One text, as clients of Hugging Face send it",
            "value": of(one, first),
        },
        "inputs": {
            "summary": "A list of texts, likewise",
            "value": of(Inputs::default(), scores),
        },
        "parameters": {
            "summary": "The best label of one text, likewise",
            "value": of(best, first),
        },
    })
}

pub(super) fn example_scores() -> [Scores; 2] {
    let scores = |first: (&str, f32), second: (&str, f32)| -> Scores {
        [first, second]
            .map(|(label, score)| Score {
                label: label.into(),
                score,
            })
            .into()
    };
    [
        scores(("POSITIVE", 0.998_690_9), ("NEGATIVE", 0.001_309_119_3)),
        scores(("NEGATIVE", 0.995_061_34), ("POSITIVE", 0.004_938_62)),
    ]
}

/// A value by way of its text, which has the digits that are sent.
pub(super) fn exact(value: &impl Serialize) -> Value {
    let text = serde_json::to_vec(value).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// One problem of each kind that `POST /predict` can have, made as it is made there.
pub(super) fn problems(facts: &Facts) -> Vec<Problem> {
    let Limits {
        max_texts,
        max_text_bytes,
        deadline,
        ..
    } = facts.limits;
    let failure = |kind, message: String| Problem::from(PredictError::new(kind, message));
    let with =
        |name: HeaderName, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
    let too_many = max_texts.saturating_add(1);
    let too_long = max_text_bytes.saturating_add(1);
    let (limit, patience) = (facts.config.max_body_bytes, facts.config.body_timeout);
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
            "the guest cannot score this text".to_owned(),
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
    // The code that reads these finds what is wrong with them.
    let read = |document| request::read(document, 1, Allowed::default).err();
    problems.extend(read(br#"{"text": ["I love it""#));
    problems.extend(read(br#"{"text": ["I love it", 1]}"#));
    problems.extend(read(br#"{"inputs": "I love it", "raw_scores": true}"#));
    problems.extend(options(&with(TIMEOUT, "soon"), Client::default()).err());
    problems.extend(media_type::require_json(&with(CONTENT_TYPE, "text/plain")).err());
    problems.extend(coding::of_request(&with(CONTENT_ENCODING, "deflate")).err());
    if facts.needs_key {
        problems.extend(caller::problems());
    }
    problems
}
