//! What the document of the public API owes to the running server: its limits, its
//! version, and examples that fit both.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use predictor::Revision;
use serde_json::{Value, json};
use service::Limits;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::examples::{
    exact, example_answers, example_requests, example_scores, parameters, problems,
};
use super::{
    About, COMMON_RULES, bytes, complete, members, protocols, reference, responses_of,
    with_request_id,
};
use crate::bulk::{ErrorLine, ScoredLine, TextLine};
use crate::caller::{LIMIT, POLICY, REMAINING, RESET};
use crate::inputs::{Allowed, InputsRequest};
use crate::predict::{CACHE_HITS, GUEST, MODEL, NAME, REVISION};
use crate::{HttpConfig, Served, assets, classify, coding, problem, scores, version};

const ABOUT_PREDICT: &str = "\
    One list of scores for each text, in the order of the texts; the answer to a text does \
    not depend on the texts beside it. Other fields of the document are ignored, and \
    `application/*+json` is accepted as well.\n\n\
    With `inputs` instead of `text`, the request and its answer are those of Hugging Face's \
    Inference API: a list of scores for each text, even for one text. Problems have the \
    `error` and `error_type` of Text Embeddings Inference as well. Two strings in a list \
    are two texts, not a pair.\n\n\
    With lines of JSON (`application/x-ndjson`), each line is a text and is answered with a \
    line, in their order, as answers are made: read while you send. Empty lines are \
    skipped. A problem with a line is its answer, with its number as `line`. An answer that \
    ends early says so in its last line, with `after_line`; what fails before the first \
    line is answered is a problem with a status, as otherwise. Of the headers of the answer \
    only `Content-Type` is there, since versions may change on the way.";

const TAGS: [(&str, &str); 5] = [
    ("Predictions", "What the server is for."),
    (
        "Open Inference Protocol",
        "The same for clients of KServe, Triton, OpenVINO Model Server and Seldon (version 2, \
         with Triton's extension for binary tensors).",
    ),
    ("Operation", "For probes and operators."),
    (
        "Documentation",
        "This document, and the page that shows it.",
    ),
    ("Pages", "For people, in a browser."),
];

const TEI: &str = "/tei/predict";

/// The operations that take the same requests as others.
const ALIASES: [(&str, &[&str]); 3] = [
    ("/predict", &["/", TEI]),
    (
        "/v2/models/{name}/infer",
        &["/v2/models/{name}/versions/{version}/infer"],
    ),
    ("/classify", &["/v1/classify"]),
];

const NDJSON: &str = "application/x-ndjson";

/// What the running server knows.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) limits: Limits,
    pub(crate) config: HttpConfig,
    pub(crate) live: Arc<Revision>,
    pub(crate) allowed: Allowed,
    /// The name of the model that is live.
    pub(crate) model: String,
    /// Whether clients need an API key to have texts scored.
    pub(crate) needs_key: bool,
}

/// Gives the document of the public API: made anew when the model that is live allows other
/// things than the one before.
pub(crate) fn following(described: OpenApi, facts: Facts, served: Served) -> impl Fn() -> Bytes {
    let first = document(described.clone(), &facts);
    let latest = Mutex::new((facts.allowed, facts.model.clone(), first));
    move || {
        let (card, _) = (served.live)();
        let (allowed, model) = (Allowed::from(&*card), card.name.clone());
        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.0 != allowed || latest.1 != model {
            let facts = Facts {
                allowed,
                model: model.clone(),
                ..facts.clone()
            };
            *latest = (allowed, model, document(described.clone(), &facts));
        }
        latest.2.clone()
    }
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
    problem::InferError<'static>,
    problem::OpenAiError<'static>,
    classify::ClassifiedText<'static>,
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
    for (path, aliases) in ALIASES {
        let like = paths.get(path).and_then(|item| item.post.clone());
        for alias in aliases {
            let alias = paths.get_mut(*alias).and_then(|item| item.post.as_mut());
            if let (Some(like), Some(alias)) = (&like, alias) {
                alias.request_body.clone_from(&like.request_body);
                let answer = like.responses.responses.get_key_value("200");
                let answer = answer.map(|(status, answer)| (status.clone(), answer.clone()));
                alias.responses.responses.extend(answer);
            }
        }
    }
    let mut document = complete(&described, &about);
    for path in ["/predict", "/", TEI] {
        let operation = &mut document["paths"][path]["post"];
        describe_predict(operation, facts, path == TEI);
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
    protocols::describe(&mut document, facts);
    limit_schemas(&mut document["components"]["schemas"], facts);
    if facts.needs_key {
        require_keys(&mut document);
    }
    bytes(&document)
}

fn describe_predict(operation: &mut Value, facts: &Facts, is_tei: bool) {
    let Facts { limits, config, .. } = facts;
    let texts = ["A warm, funny film.", "The plot makes no sense."];
    let texts: Vec<_> = texts.iter().take(limits.max_texts).copied().collect();
    let answers = &example_scores()[..texts.len()];
    operation["parameters"] = parameters(limits);
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
    let each = json!({
        "description": "The scores of each text of `inputs`.",
        "type": "array",
        "items": scores,
    });
    let mut forms = vec![reference("Predictions"), each];
    if is_tei {
        forms.push(json!({"description": "The scores of one text.", "allOf": [scores]}));
    }
    success["content"]["application/json"] = json!({
        "schema": {"anyOf": forms},
        "examples": example_answers(answers, is_tei),
    });
    let line = json!({"anyOf": [reference("ScoredLine"), reference("ErrorLine")]});
    let lines = answers.iter().map(|scores| exact(&ScoredLine::of(scores)));
    success["content"][NDJSON] = lines_of(&line, lines);
    describe_headers(&mut success["headers"], facts);
    for (status, response) in responses_of(&problems(facts)) {
        operation["responses"][status] = with_request_id(response);
    }
}

/// Texts are scored for holders of API keys only.
fn require_keys(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({"key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of the server.",
    }});
    for item in members(&mut document["paths"]) {
        let Some(operation) = item.get_mut("post") else {
            continue;
        };
        operation["security"] = json!([{"key": []}]);
        for (name, description) in [
            (
                LIMIT,
                "How much the quota of the API key that is nearest to its end allows in a minute: \
                 requests, or tokens.",
            ),
            (REMAINING, "How much of it is left."),
            (RESET, "When it is full again, in seconds."),
        ] {
            operation["responses"]["200"]["headers"][name.as_str()] = json!({
                "description": description,
                "schema": {"type": "integer", "minimum": 0},
            });
        }
        operation["responses"]["200"]["headers"][POLICY.as_str()] = json!({
            "description": "All quotas of the API key.",
            "schema": {
                "type": "string",
                "examples": ["600;w=60;comment=\"requests\", 50000;w=60;comment=\"tokens\""],
            },
        });
    }
}

/// Lines come without these headers, so that none is required.
pub(super) fn describe_headers(headers: &mut Value, facts: &Facts) {
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
    headers[NAME.as_str()]["schema"] = json!({
        "type": "string",
        "pattern": "^[!-~]+(, [!-~]+)*$",
        "examples": ["neutral@1.2.0"],
    });
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
    let [direction, other] = facts.allowed.direction();
    options["truncation_direction"]["enum"] = json!([direction, other, null]);
    let parameters = &mut schemas["Parameters"];
    parameters["additionalProperties"] = false.into();
    parameters["properties"]["function_to_apply"]["enum"] = match facts.allowed.function() {
        Some(function) => json!([function, null]),
        None => json!([null]),
    };
}
