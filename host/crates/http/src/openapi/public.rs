//! What the document of the public API owes to the running server: its limits, its
//! version, and examples that fit both.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use bytes::Bytes;
use connection::NoRoom;
use connection::body::BodyError;
use connection::decompress::Coding;
use predictor::{ErrorKind, PredictError, Revision, Score, Scores};
use serde::Serialize;
use serde_json::{Value, json};
use service::Limits;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::{About, COMMON_RULES, bytes, complete, reference, responses_of, with_request_id};
use crate::bulk::{ErrorLine, ScoredLine, TextLine};
use crate::inputs::{Allowed, Inputs, InputsRequest};
use crate::options::{TIMEOUT, options};
use crate::predict::{CACHE_HITS, GUEST, MODEL, REVISION};
use crate::problem::{Kind, Problem};
use crate::{HttpConfig, assets, coding, media_type, problem, request, scores, version};

const ABOUT_PREDICT: &str = "\
    One list of scores for each text, in the order of the texts; the answer to a text does \
    not depend on the texts beside it. Other fields of the document are ignored, and \
    `application/*+json` is accepted as well.\n\n\
    With `inputs` instead of `text`, the request and its answer are those of Hugging Face's \
    Text Embeddings Inference, and problems have its `error` and `error_type` as well: one \
    text gets its scores, a list of texts a list of scores for each. Two strings in a list \
    are two texts, not a pair. With `parameters`, one text gets a list of one list, as \
    `huggingface_hub` expects it.\n\n\
    With lines of JSON (`application/x-ndjson`), each line is a text and is answered with a \
    line, in their order, as answers are made: read while you send. Empty lines are \
    skipped. A problem with a line is its answer, with its number as `line`. An answer that \
    ends early says so in its last line, with `after_line`; what fails before the first \
    line is answered is a problem with a status, as otherwise. Of the headers of the answer \
    only `Content-Type` is there, since versions may change on the way.";

const TAGS: [(&str, &str); 4] = [
    ("Predictions", "What the server is for."),
    ("Operation", "For probes and operators."),
    (
        "Documentation",
        "This document, and the page that shows it.",
    ),
    ("Pages", "For people, in a browser."),
];

const NDJSON: &str = "application/x-ndjson";

/// What the running server knows.
pub(crate) struct Facts {
    pub(crate) limits: Limits,
    pub(crate) config: HttpConfig,
    pub(crate) live: Arc<Revision>,
    pub(crate) allowed: Allowed,
}

/// Schemas that no handler names.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    problem::Document<'static>,
    InputsRequest,
    TextLine,
    ScoredLine<'static>,
    ErrorLine<'static>,
    scores::LabelledScore<'static>,
)))]
struct Schemas;

/// The document of the public API.
pub(crate) fn document(mut described: OpenApi, facts: &Facts) -> Bytes {
    described.merge(Schemas::openapi());
    let about = About {
        title: "FastSentiment",
        description: format!(
            "Sentiment prediction whose logic is a sandboxed WebAssembly component. \
             {COMMON_RULES}"
        ),
        tags: &TAGS,
    };
    let paths = &mut described.paths.paths;
    let predict = paths.get("/predict").and_then(|item| item.post.clone());
    let root = paths.get_mut("/").and_then(|item| item.post.as_mut());
    if let (Some(predict), Some(root)) = (predict, root) {
        root.parameters = predict.parameters;
        root.request_body = predict.request_body;
        root.responses = predict.responses;
    }
    let mut document = complete(&described, &about);
    for path in ["/predict", "/"] {
        describe_predict(&mut document["paths"][path]["post"], facts);
    }
    document["paths"]["/predict"]["post"]["description"] = ABOUT_PREDICT.into();
    let live = version::Document::from(&*facts.live);
    let version = &mut document["paths"]["/version"]["get"]["responses"]["200"];
    version["content"]["application/json"]["example"] = json!(live);
    for method in ["get", "head", "options"] {
        let parameters = &mut document["paths"]["/assets/{build}/{file}"][method]["parameters"];
        parameters[0]["schema"]["enum"] = json!([assets::BUILD]);
        parameters[1]["schema"]["enum"] = assets::names().collect();
    }
    limit_schemas(&mut document["components"]["schemas"], facts);
    bytes(&document)
}

fn describe_predict(operation: &mut Value, facts: &Facts) {
    let Facts { limits, config, .. } = facts;
    let texts = ["A warm, funny film.", "The plot makes no sense."];
    let texts: Vec<_> = texts.iter().take(limits.max_texts).copied().collect();
    let answers = &example_scores()[..texts.len()];
    operation["parameters"][0]["description"] = format!(
        "Gives up, and cancels the work for the request, after so many milliseconds. It can \
         only shorten the server's own limit of {}.",
        limits.deadline.as_millis(),
    )
    .into();
    let body = &mut operation["requestBody"];
    body["required"] = true.into();
    body["description"] = format!(
        "At most {} bytes, in UTF-8; there may be any number of lines. The body may be \
         compressed with one of {}, as `Content-Encoding` says; limits apply to what is \
         decompressed.",
        config.max_body_bytes,
        coding::ACCEPTED,
    )
    .into();
    body["content"]["application/json"] = json!({
        "schema": {"oneOf": [reference("PredictRequest"), reference("InputsRequest")]},
        "examples": example_requests(&texts),
    });
    let lines = texts.iter().enumerate().map(|(nth, text)| match nth {
        0 => json!(text),
        _ => json!({"text": text}),
    });
    body["content"][NDJSON] = lines_of(&reference("Line"), lines);
    let success = &mut operation["responses"]["200"];
    let scores = json!({"type": "array", "items": reference("Score")});
    let inputs_answer = json!({"anyOf": [
        {"description": "The scores of one text.", "allOf": [scores]},
        {"description": "The scores of each text.", "type": "array", "items": scores},
    ]});
    success["content"]["application/json"] = json!({
        "schema": {"anyOf": [reference("Predictions"), inputs_answer]},
        "examples": example_answers(answers),
    });
    let line = json!({"anyOf": [reference("ScoredLine"), reference("ErrorLine")]});
    let lines = answers.iter().map(|scores| exact(&ScoredLine::of(scores)));
    success["content"][NDJSON] = lines_of(&line, lines);
    describe_headers(&mut success["headers"], facts);
    for (status, response) in responses_of(&problems(facts)) {
        operation["responses"][status] = with_request_id(response);
    }
}

/// Lines come without these headers, so that none is required.
fn describe_headers(headers: &mut Value, facts: &Facts) {
    for (name, digest) in [
        (GUEST, facts.live.guest().short()),
        (MODEL, facts.live.model().short()),
        (REVISION, facts.live.short()),
    ] {
        headers[name.as_str()]["schema"] = json!({
            "type": "string",
            "pattern": "^[0-9a-f]{12}(, [0-9a-f]{12})*$",
            "examples": [digest],
        });
    }
    headers[CACHE_HITS.as_str()]["schema"] =
        json!({"type": "integer", "minimum": 0, "maximum": facts.limits.max_texts});
    headers["Server-Timing"]["schema"] = json!({
        "type": "string",
        "pattern": "^[a-z]+;dur=[0-9]+\\.[0-9]{3}(, [a-z]+;dur=[0-9]+\\.[0-9]{3})*$",
        "examples": ["read;dur=0.021, parse;dur=0.004, cache;dur=0.011, queue;dur=0.030, \
            predict;dur=2.271, total;dur=2.402"],
    });
}

/// OpenAPI 3.1 has no word for lines: their schema is that of a string whose
/// `contentSchema` is that of each line.
fn lines_of(line: &Value, lines: impl Iterator<Item = Value>) -> Value {
    let lines = lines.map(|line| format!("{line}\n"));
    json!({
        "schema": {
            "type": "string",
            "contentMediaType": NDJSON,
            "contentSchema": line,
            "description": "Lines, each of the schema in `contentSchema`.",
        },
        "example": lines.collect::<String>(),
    })
}

/// Writes limits into schemas: they are known to the running server, and not to a type.
fn limit_schemas(schemas: &mut Value, facts: &Facts) {
    let Limits {
        max_texts,
        max_text_bytes,
        ..
    } = facts.limits;
    let limit_text = |text: &mut Value| {
        text["maxLength"] = max_text_bytes.into();
        text["description"] =
            format!("At most {max_text_bytes} bytes of UTF-8, and so at most as many characters.")
                .into();
    };
    let texts = &mut schemas["PredictRequest"]["properties"]["text"];
    texts["maxItems"] = max_texts.into();
    limit_text(&mut texts["items"]);
    let line = &mut schemas["Line"]["oneOf"];
    limit_text(&mut line[0]);
    limit_text(&mut line[1]["properties"]["text"]);
    let inputs = &mut schemas["Inputs"]["oneOf"];
    limit_text(&mut inputs[0]);
    inputs[1]["maxItems"] = max_texts.into();
    let input = &mut schemas["Input"]["oneOf"];
    limit_text(&mut input[0]);
    limit_text(&mut input[1]["items"]);
    input[1]["minItems"] = 1.into();
    input[1]["maxItems"] = 1.into();
    let options = &mut schemas["InputsRequest"]["properties"];
    options["raw_scores"]["enum"] = json!([false, null]);
    options["truncate"]["enum"] = json!([true, null]);
    let [direction, other] = facts.allowed.direction();
    options["truncation_direction"]["enum"] = json!([direction, other, null]);
    let parameters = &mut schemas["Parameters"];
    parameters["additionalProperties"] = false.into();
    parameters["properties"]["function_to_apply"]["enum"] = match facts.allowed.function() {
        Some(function) => json!([function, null]),
        None => json!([null]),
    };
}

/// Requests in all forms. Pages show the first.
fn example_requests(texts: &[&str]) -> Value {
    let one = texts.first();
    json!({
        "default": {"summary": "Texts", "value": {"text": texts}},
        "inputs-one": {
            "summary": "One text, as for Text Embeddings Inference",
            "value": {"inputs": one, "raw_scores": false, "truncate": true},
        },
        "inputs": {"summary": "A list of texts, likewise", "value": {"inputs": texts}},
        "parameters": {
            "summary": "One text, as `huggingface_hub` asks for its best label",
            "value": {"inputs": one, "parameters": {"top_k": 1}},
        },
    })
}

/// The answers to these requests.
fn example_answers(scores: &[Scores]) -> Value {
    let of = |inputs: Inputs, scores: &[Scores]| exact(&inputs.answer(scores));
    let first = scores.get(..1).unwrap_or_default();
    let one = Inputs {
        is_one: true,
        ..Inputs::default()
    };
    let best = Inputs {
        is_nested: true,
        top_k: Some(1),
        ..one.clone()
    };
    json!({
        "default": {"summary": "Texts", "value": exact(&scores::Document::from(scores))},
        "inputs-one": {
            "summary": "One text, as Text Embeddings Inference answers it",
            "value": of(one, first),
        },
        "inputs": {
            "summary": "A list of texts, likewise",
            "value": of(Inputs::default(), scores),
        },
        "parameters": {
            "summary": "One text, as `huggingface_hub` expects it",
            "value": of(best, first),
        },
    })
}

fn example_scores() -> [Scores; 2] {
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
fn exact(value: &impl Serialize) -> Value {
    let text = serde_json::to_vec(value).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// One problem of each kind that `POST /predict` can have, made as it is made there.
fn problems(facts: &Facts) -> Vec<Problem> {
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
    let read = |document| request::read(document, 1, Allowed::default()).err();
    problems.extend(read(br#"{"text": ["I love it""#));
    problems.extend(read(br#"{"text": ["I love it", 1]}"#));
    problems.extend(read(br#"{"inputs": "I love it", "truncate": false}"#));
    problems.extend(options(&with(TIMEOUT, "soon")).err());
    let media_type = media_type::require_json(&with(CONTENT_TYPE, "text/plain"));
    let unsupported = media_type.map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail));
    problems.extend(unsupported.err());
    problems.extend(coding::of_request(&with(CONTENT_ENCODING, "deflate")).err());
    problems
}
