//! What the document says of lines of JSON.
//!
//! OpenAPI 3.1 has no word for the lines of a document: its schema is that of a string,
//! whose `contentSchema` is that of each line.
//!
//! This module must not know how lines are read or answered.

use serde_json::{Value, json};
use utoipa::openapi::ComponentsBuilder;

use super::inputs::exact;
use super::main::{Bounds, limit_text};
use super::{reference, with_schema};
use crate::bulk;
use predictor::Scores;

pub(super) const MEDIA_TYPE: &str = "application/x-ndjson";

/// For the description of `POST /predict`.
pub(super) const ABOUT: &str = "\
    With lines of JSON (`application/x-ndjson`), each line is a text and is answered with \
    a line, in their order, as answers are made: read while you send. Empty lines are \
    skipped. What is wrong with a line is its answer, with its number as `line`. An answer \
    that ends early says so in its last line, with `after_line`; what goes wrong before the \
    first line is answered is a problem with a status, as otherwise. Of the headers of the \
    answer only `Content-Type` is there, since versions may change on the way.";

/// The schemas of lines.
pub(super) fn schemas(schemas: ComponentsBuilder) -> ComponentsBuilder {
    let schemas = with_schema::<bulk::TextLine>(schemas);
    let schemas = with_schema::<bulk::ScoredLine<'static>>(schemas);
    with_schema::<bulk::ErrorLine<'static>>(schemas)
}

/// Adds what is allowed to these schemas.
pub(super) fn limit(schemas: &mut Value, bounds: &Bounds) {
    let line = &mut schemas["Line"]["oneOf"];
    limit_text(&mut line[0], bounds);
    limit_text(&mut line[1]["properties"]["text"], bounds);
}

/// The content of a request: these texts, in both forms that a line may have.
pub(super) fn request(texts: &[&&str]) -> Value {
    let lines = texts.iter().enumerate().map(|(nth, text)| match nth {
        0 => json!(text),
        _ => json!({"text": text}),
    });
    content(&reference("Line"), lines)
}

/// The content of an answer.
pub(super) fn answer(scores: &[Scores]) -> Value {
    let lines = scores
        .iter()
        .map(|scores| exact(&bulk::ScoredLine::of(scores)));
    let line = json!({"anyOf": [reference("ScoredLine"), reference("ErrorLine")]});
    content(&line, lines)
}

fn content(line: &Value, lines: impl Iterator<Item = Value>) -> Value {
    let lines = lines.map(|line| format!("{line}\n"));
    json!({
        "schema": {
            "type": "string",
            "contentMediaType": MEDIA_TYPE,
            "contentSchema": line,
            "description": "Lines, each of the schema that `contentSchema` names.",
        },
        "example": lines.collect::<String>(),
    })
}
