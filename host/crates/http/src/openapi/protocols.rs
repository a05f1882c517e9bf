//! What the document of the public API says of other protocols than its own: the Open
//! Inference Protocol, and classification as vLLM has it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use service::Predictions;

use super::examples::{exact, parameters, problems};
use super::public::{Facts, describe_headers};
use super::{header, members, reference, responses_of, with_request_id};
use crate::infer::{ALIAS, HEADER_LENGTH};
use crate::problem::Shape;
use crate::{classify, coding, infer};

/// The operation that scores texts, with and without a version.
const INFER: [&str; 2] = [
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
];

const CLASSIFY: [&str; 2] = ["/classify", "/v1/classify"];

const BYTES: &str = "application/octet-stream";

/// Describes the operations of other protocols.
pub(super) fn describe(document: &mut Value, facts: &Facts) {
    let paths = &mut document["paths"];
    for path in INFER {
        describe_infer(&mut paths[path]["post"], facts);
    }
    for path in CLASSIFY {
        describe_classify(&mut paths[path]["post"], facts);
    }
    for (path, item) in paths.as_object_mut().into_iter().flatten() {
        let shape = Shape::of(path);
        if shape == Shape::Problem {
            continue;
        }
        for operation in members(item) {
            name_model(operation, facts);
            reshape(&mut operation["responses"], shape);
        }
    }
    let schemas = &mut document["components"]["schemas"];
    let max_texts = facts.limits.max_texts;
    schemas["InferInput"]["properties"]["data"]["maxItems"] = max_texts.into();
    let options = &mut schemas["ClassifyRequest"]["properties"];
    for activation in ["use_activation", "activation"] {
        options[activation]["enum"] = json!([true, null]);
    }
    options["truncate_prompt_tokens"]["enum"] = json!([-1, null]);
    options["model"]["enum"] = json!([facts.model, ALIAS, null]);
}

/// Says what the parameters in the path may be.
fn name_model(operation: &mut Value, facts: &Facts) {
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if parameter["in"] != "path" {
            continue;
        }
        if parameter["name"] == "name" {
            parameter["description"] = format!(
                "The name of the model: that of its directory, or `{ALIAS}`, whatever is live."
            )
            .into();
            parameter["schema"]["enum"] = json!([facts.model, ALIAS]);
        } else {
            parameter["description"] = "The digest of a revision that answers texts, or its \
                first 12 digits: the live one, or a canary."
                .into();
            parameter["schema"] = json!({
                "type": "string",
                "pattern": "^([0-9a-f]{12}|[0-9a-f]{64})$",
                "examples": [facts.live.short()],
            });
        }
    }
}

fn describe_infer(operation: &mut Value, facts: &Facts) {
    describe_common(operation, facts);
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(json!({
            "name": HEADER_LENGTH.as_str(),
            "in": "header",
            "description": "The length in bytes of the JSON at the beginning of the body, if \
                a binary tensor follows it.",
            "schema": {"type": "integer", "minimum": 0},
        }));
    }
    let json = json!({
        "id": "7",
        "inputs": [{
            "name": "text",
            "datatype": "BYTES",
            "shape": [1],
            "data": ["A warm, funny film."],
        }],
    });
    let binary = "JSON, in which the tensor of texts has a `binary_data_size` and no `data`, and \
        then the tensor: for each text the length of its UTF-8 in 4 bytes, little-endian, and \
        then the text.";
    operation["requestBody"]["content"] = json!({
        "application/json": {
            "schema": reference("InferRequest"),
            "examples": {"json": {"summary": "Texts in JSON", "value": json}},
        },
        BYTES: {"schema": {"type": "string", "description": binary}},
    });
    let success = &mut operation["responses"]["200"];
    let mut answer = Map::new();
    if let Some(example) = example_answer(json.to_string().as_bytes(), facts) {
        answer.insert("json".to_owned(), json!({"value": example}));
    }
    success["content"] = json!({
        "application/json": {"schema": reference("InferResponse"), "examples": answer},
        BYTES: {"schema": {
            "type": "string",
            "description": "JSON with a `binary_data_size` for each output that was asked for \
                in binary, and then these outputs: labels as texts in requests, and scores in 4 \
                bytes each, little-endian.",
        }},
    });
    describe_headers(&mut success["headers"], facts);
    let length = &mut success["headers"][HEADER_LENGTH.as_str()];
    *length = header(
        "The length in bytes of the JSON, if binary outputs follow it.",
        json!({"type": "integer", "minimum": 0}),
    );
    length["required"] = false.into();
}

fn describe_classify(operation: &mut Value, facts: &Facts) {
    describe_common(operation, facts);
    let request = json!({"model": facts.model, "input": ["A warm, funny film."]});
    operation["requestBody"]["content"] = json!({"application/json": {
        "schema": reference("ClassifyRequest"),
        "examples": {"texts": {"summary": "A list of texts", "value": request}},
    }});
    let success = &mut operation["responses"]["200"];
    let predictions = predictions();
    let answer = classify::example(&facts.model, &predictions);
    success["content"] = json!({"application/json": {
        "schema": reference("ClassifyResponse"),
        "examples": {"texts": {"value": exact(&answer)}},
    }});
    describe_headers(&mut success["headers"], facts);
}

/// What all requests with texts have in common with `POST /predict`.
fn describe_common(operation: &mut Value, facts: &Facts) {
    let headers = parameters(&facts.limits);
    let own = operation["parameters"].as_array().cloned();
    let all = own.into_iter().flatten();
    operation["parameters"] = all
        .chain(headers.as_array().into_iter().flatten().cloned())
        .collect();
    let body = &mut operation["requestBody"];
    body["required"] = true.into();
    body["description"] = format!(
        "At most {} bytes. The body may be compressed with one of {}, as `Content-Encoding` \
         says; limits apply to what is decompressed.",
        facts.config.max_body_bytes,
        coding::ACCEPTED,
    )
    .into();
    for (status, response) in responses_of(&problems(facts)) {
        operation["responses"][status] = with_request_id(response);
    }
}

/// Gives problems the shape of the protocol: its status, its media type and its schema.
fn reshape(responses: &mut Value, shape: Shape) {
    let schema = match shape {
        Shape::Problem => return,
        Shape::Infer => "InferError",
        Shape::OpenAi => "OpenAiError",
    };
    let Some(responses) = responses.as_object_mut() else {
        return;
    };
    let mut shaped: BTreeMap<String, Value> = BTreeMap::new();
    for (status, mut response) in std::mem::take(responses) {
        let content = response.get_mut("content").and_then(Value::as_object_mut);
        let problem = content.and_then(|content| content.remove("application/problem+json"));
        let Some(mut problem) = problem else {
            // One that is no error.
            shaped.insert(status, response);
            continue;
        };
        for example in members(&mut problem["examples"]) {
            example["value"] = shape.example(&example["value"]);
        }
        problem["schema"] = reference(schema);
        let status = status
            .parse()
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.map_or_else(String::new, |status| {
            shape.status(status).as_u16().to_string()
        });
        match shaped.get_mut(&status) {
            Some(other) => join(other, &response, &problem),
            None => {
                response["content"] = json!({shape.media_type(): problem});
                shaped.insert(status, response);
            }
        }
    }
    responses.extend(shaped);
}

/// Adds the problems of one response to those of another.
fn join(other: &mut Value, response: &Value, problem: &Value) {
    let both = [&other["description"], &response["description"]];
    let both = both.map(|description| description.as_str().unwrap_or_default());
    other["description"] = both.join("; ").into();
    for content in members(&mut other["content"]) {
        let examples = content["examples"].as_object_mut();
        let more = problem["examples"].as_object().cloned();
        if let (Some(examples), Some(more)) = (examples, more) {
            examples.extend(more);
        }
    }
}

/// The answer to a request of the Open Inference Protocol.
fn example_answer(request: &[u8], facts: &Facts) -> Option<Value> {
    let (_, mut infer) = infer::read(request, None, 1).ok()?;
    infer.model.clone_from(&facts.model);
    let written = infer.write(&predictions(), &facts.live.short()).ok()?;
    written.value()
}

fn predictions() -> Predictions {
    let [first, _] = super::examples::example_scores();
    Predictions {
        scores: vec![first],
        ..Predictions::default()
    }
}
