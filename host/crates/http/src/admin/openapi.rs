//! What the document of the admin API says beside its handlers: who may use it, its
//! limits, and examples of its problems.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use connection::body::BodyError;
use predictor::Digest;
use revisions::{Refusal, RevisionError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::access::Access;
use super::id::Id;
use super::query::Query;

use crate::openapi::{
    About, COMMON_RULES, bytes, complete, members, responses_of, with_request_id,
};
use crate::problem::{self, Problem, no_version};

const TAGS: [(&str, &str); 3] = [
    (
        "Versions",
        "List, add, try and change the versions of the guest. For operators only.",
    ),
    ("Operation", "For probes and operators."),
    ("Documentation", "This document."),
];

/// Schemas that no handler names.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(problem::Document<'static>)))]
struct Schemas;

/// The document of a listener with these rules for whoever uses the `closed` paths, and
/// these limits on a component's size and the time that it may take to arrive.
pub(super) fn document(
    open: OpenApi,
    closed: OpenApi,
    access: &Access,
    (limit, patience): (usize, Duration),
) -> Bytes {
    let is_closed: HashSet<String> = closed.paths.paths.keys().cloned().collect();
    let mut described = open;
    described.merge(closed);
    described.merge(Schemas::openapi());
    let about = About {
        title: "FastSentiment: the admin listener",
        description: format!(
            "Metrics, health, and the versions of the guest. {COMMON_RULES} A parameter that \
             a path does not take is refused."
        ),
        tags: &TAGS,
    };
    let mut document = complete(&described, &about);
    let refused = responses_of(&access.problems());
    if let Some(paths) = document["paths"].as_object_mut() {
        let items = paths
            .iter_mut()
            .filter(|(path, _)| is_closed.contains(*path));
        for operation in items.flat_map(|(_, item)| members(item)) {
            for (status, response) in &refused {
                operation["responses"][status] = with_request_id(response.clone());
            }
            if access.has_token() {
                operation["security"] = json!([{"token": []}]);
            }
        }
    }
    let add = &mut document["paths"]["/versions"]["post"];
    let too_large = [
        BodyError::TooLarge { limit }.into(),
        BodyError::TimedOut { patience }.into(),
    ];
    for (status, response) in responses_of(&too_large) {
        add["responses"][status] = with_request_id(response);
    }
    let body = &mut add["requestBody"];
    body["required"] = false.into();
    body["description"] =
        format!("A WebAssembly component of at most {limit} bytes; nothing if `guest` is given.")
            .into();
    for content in members(&mut body["content"]) {
        content["schema"] = json!({"type": "string", "format": "binary", "maxLength": limit});
    }
    for status in ["200", "201"] {
        add["responses"][status]["links"] = links();
    }
    let send = &mut document["paths"]["/configurations"]["post"];
    for (status, response) in responses_of(&[BodyError::TimedOut { patience }.into()]) {
        send["responses"][status] = with_request_id(response);
    }
    let changes = &mut document["components"]["schemas"]["Changes"];
    // Without `=`, spaces and control characters.
    changes["propertyNames"] =
        json!({"pattern": "^[^=\\s\\u0000-\\u001f\\u007f-\\u009f]+$", "maxLength": 256});
    changes["additionalProperties"]["type"] = json!(["string", "number", "boolean", "null"]);
    let upload = &mut document["paths"]["/models"]["post"];
    for (status, response) in responses_of(&[BodyError::TimedOut { patience }.into()]) {
        upload["responses"][status] = with_request_id(response);
    }
    upload["requestBody"]["required"] = true.into();
    for content in members(&mut upload["requestBody"]["content"]) {
        content["schema"] = json!({"type": "string", "format": "binary"});
    }
    document["components"]["securitySchemes"] = json!({"token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The server's admin token (`--admin-token-file`), or the one that it has \
            made at its start (`--run-dir`).",
    }});
    bytes(&document)
}

/// What can be done with a version that was added.
fn links() -> Value {
    let link = |operation: &str| {
        json!({
            "operationId": operation,
            "parameters": {"id": "$response.body#/version/revision"},
        })
    };
    json!({
        "show": link("showVersion"),
        "activate": link("activateVersion"),
        "tryAsCanary": link("tryAsCanary"),
        "tryAsShadow": link("tryAsShadow"),
        "remove": link("removeVersion"),
    })
}

// ---- Examples of problems, made as they are made elsewhere ----

/// The problems that every operation with parameters `T` can have, and `more`.
pub(super) fn common<T: DeserializeOwned>(more: Vec<Problem>) -> Vec<Problem> {
    let unknown_parameter = Query::<T>::unknown_parameter();
    [unknown_parameter, more, vec![no_version()]].concat()
}

/// A digest that a revision might have.
pub(super) fn example(revision: &str) -> Digest {
    Digest::of(revision.as_bytes())
}

pub(super) fn unknown() -> Vec<Problem> {
    let mut problems: Vec<_> = Id::problem().into_iter().collect();
    problems.extend([
        RevisionError::Unknown("0123456789ab".to_owned()).into(),
        RevisionError::Ambiguous("0123".to_owned()).into(),
    ]);
    problems
}

pub(super) fn quarantined() -> Problem {
    let revision = example("another revision").short();
    let reason = "5 of its last 5 calls failed".to_owned();
    RevisionError::Quarantined { revision, reason }.into()
}

pub(super) fn refused() -> Problem {
    let step = "contract";
    let reason = "the component does not export `predict`".to_owned();
    RevisionError::Refused(Refusal { step, reason }).into()
}

pub(super) fn declared() -> Problem {
    RevisionError::Declared("rollout.toml".into()).into()
}

pub(super) fn unavailable() -> Problem {
    let reason = "no thread can be started: Resource temporarily unavailable (os error 11)";
    RevisionError::Unavailable(reason.to_owned()).into()
}
