//! The operations that every listener has.
//!
//! This module must not know what else a listener has.

use serde_json::{Value, json};

use super::{content, document_of, responses};
use crate::health::Condition;
use crate::problem::Problem;
use crate::{exposition, health, version};
use predictor::Revision;

/// The group of what tells how the server does.
pub(crate) const OPERATION: (&str, &str) =
    ("Operation", "For probes, and for those who run the server.");

/// The group of what tells of the API.
pub(crate) const DOCUMENTATION: (&str, &str) = (
    "Documentation",
    "This document, and the page that shows it.",
);

/// The operation of a path of health, which every listener has.
pub(crate) fn health(path: &str) -> Value {
    let (id, summary, good, problems) = match path {
        "/health/ready" => (
            "ready",
            "Whether the server wants requests",
            document_of(
                "It does",
                "Ready",
                &health::ready(vec![Condition::ConfiguredGuestNotServed]),
            ),
            vec![
                health::starting(false),
                health::starting(true),
                health::failing(),
                health::draining(),
            ],
        ),
        path => {
            let id = path.rsplit('/').next();
            let example: Value = serde_json::from_str(health::LIVE).unwrap_or_default();
            let good = json!({
                "description": "It does",
                "content": {"application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["status"],
                        "properties": {"status": {"const": example["status"]}},
                    },
                    "example": example,
                }},
            });
            let summary = "Whether the process lives";
            (id.unwrap_or_default(), summary, good, Vec::new())
        }
    };
    json!({
        "operationId": id,
        "tags": [OPERATION.0],
        "summary": summary,
        "responses": responses(json!({"200": good}), &problems),
    })
}

/// The operation of `/metrics`, wherever it is.
pub(crate) fn metrics() -> Value {
    let good = content("The metrics", exposition::FORMAT);
    json!({
        "operationId": "metrics",
        "tags": [OPERATION.0],
        "summary": "All metrics, in the text format of Prometheus",
        "responses": responses(json!({"200": good}), &[Problem::failed()]),
    })
}

/// The operation of `/version`, with what it can have for `problems`.
pub(crate) fn version(live: &Revision, problems: &[Problem]) -> Value {
    let good = document_of("The version", "Version", &version::Document::from(live));
    json!({
        "operationId": "version",
        "tags": [OPERATION.0],
        "summary": "What this server is, and what makes its answers",
        "responses": responses(json!({"200": good}), problems),
    })
}

/// The operation of the document itself, which every listener has.
pub(crate) fn openapi() -> Value {
    json!({
        "operationId": "openapi",
        "tags": [DOCUMENTATION.0],
        "summary": "This document",
        "responses": {"200": {
            "description": "A document of OpenAPI 3.1",
            "content": {"application/json": {"schema": {
                "type": "object",
                "required": ["openapi", "info", "paths"],
            }}},
        }},
    })
}
