//! What the document says of the form that clients of Hugging Face send.
//!
//! This module must not know how such a request is read.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::ComponentsBuilder;

use super::main::{Bounds, limit_text};
use super::{reference, with_schema};
use crate::inputs::{Allowed, Inputs, InputsRequest};
use crate::predict;
use predictor::Scores;

/// For the description of `POST /predict`.
pub(super) const ABOUT: &str = "\
    With `inputs` instead of `text`, the request and its answer are those of Hugging \
    Face's Text Embeddings Inference, and problems have its `error` and `error_type` as \
    well: one text gets its scores, a list of texts a list of scores for each. Two strings \
    in a list are two texts, and no pair. With `parameters`, one text gets a list of one \
    list, as `huggingface_hub` expects it.";

/// The schemas of requests in this form.
pub(super) fn schemas(schemas: ComponentsBuilder) -> ComponentsBuilder {
    with_schema::<InputsRequest>(schemas)
}

/// Adds what is allowed to these schemas.
pub(super) fn limit(schemas: &mut Value, bounds: &Bounds) {
    let many = &mut schemas["Inputs"]["oneOf"];
    limit_text(&mut many[0], bounds);
    many[1]["maxItems"] = bounds.limits.max_texts.into();
    let element = &mut schemas["Input"]["oneOf"];
    limit_text(&mut element[0], bounds);
    limit_text(&mut element[1]["items"], bounds);
    element[1]["minItems"] = 1.into();
    element[1]["maxItems"] = 1.into();
    let allowed = Allowed::from(&bounds.served.model);
    let options = &mut schemas["InputsRequest"]["properties"];
    options["raw_scores"]["enum"] = json!([false, null]);
    options["truncate"]["enum"] = json!([true, null]);
    let [direction, other] = allowed.direction();
    options["truncation_direction"]["enum"] = json!([direction, other, null]);
    let parameters = &mut schemas["Parameters"];
    parameters["additionalProperties"] = false.into();
    let function = &mut parameters["properties"]["function_to_apply"];
    function["enum"] = match allowed.function() {
        Some(function) => json!([function, null]),
        None => json!([null]),
    };
}

/// The schema of an answer in this form.
pub(super) fn answer() -> Value {
    let scores = json!({"type": "array", "items": reference("Score")});
    json!({"anyOf": [
        {"description": "The scores of one text.", "allOf": [scores]},
        {"description": "The scores of each text.", "type": "array", "items": scores},
    ]})
}

/// Requests in all forms, of which pages show the first: the one of this server.
pub(super) fn requests(texts: &[&&str]) -> Value {
    let one = texts.first();
    json!({
        "default": {"summary": "Texts", "value": {"text": texts}},
        "inputs-one": {
            "summary": "One text, as for Text Embeddings Inference",
            "value": {"inputs": one, "raw_scores": false, "truncate": true},
        },
        "inputs": {
            "summary": "A list of texts, likewise",
            "value": {"inputs": texts},
        },
        "parameters": {
            "summary": "One text, as `huggingface_hub` asks for its best label",
            "value": {"inputs": one, "parameters": {"top_k": 1}},
        },
    })
}

/// The answers to them.
pub(super) fn answers(scores: &[Scores]) -> Value {
    let of = |inputs: Inputs, scores: &[Scores]| exact(&inputs.answer(scores));
    let first = scores.get(..1).unwrap_or_default();
    let all = Inputs::default();
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
        "default": {"summary": "Texts", "value": exact(&predict::Document::from(scores))},
        "inputs-one": {
            "summary": "One text, as Text Embeddings Inference answers it",
            "value": of(one, first),
        },
        "inputs": {"summary": "A list of texts, likewise", "value": of(all, scores)},
        "parameters": {
            "summary": "One text, as `huggingface_hub` expects it",
            "value": of(best, first),
        },
    })
}

/// By way of its text, which has the digits that are sent.
pub(super) fn exact(value: &impl Serialize) -> Value {
    let text = serde_json::to_vec(value).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
