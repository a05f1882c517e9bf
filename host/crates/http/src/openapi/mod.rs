//! Documents of OpenAPI 3.1, and what those of all listeners have in common.
//!
//! Schemas are those of the types that are sent and read (`utoipa`), paths and methods
//! those of the tables that requests are routed by, and problems those that the code
//! answers with: they are asked for here, and shown as they come.
//!
//! This module must not know the routes of any listener.

pub(crate) mod common;
mod inputs;
mod lines;
pub(crate) mod main;
mod pages;

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{Components, ComponentsBuilder};

use super::methods;
use super::problem::{Kind, Problem, TYPE};

/// The header that names a request, as documents spell it.
const REQUEST_ID: &str = "X-Request-Id";

/// The tag of what is at every path.
const COMMON: &str = "HEAD and OPTIONS";

/// What a document says beside its paths.
pub(crate) struct About {
    pub(crate) title: &'static str,
    pub(crate) description: String,
    /// Names of groups of operations, in the order in which they are shown, and
    /// what they have in common.
    pub(crate) tags: &'static [(&'static str, &'static str)],
    /// The schemas that operations refer to.
    pub(crate) schemas: Components,
}

/// A path of a document: itself, the methods that it takes, and its operations.
pub(crate) struct Operations {
    pub(crate) path: &'static str,
    pub(crate) item: Value,
}

impl Operations {
    /// The operations of a path: those that `describe` gives for each method, with
    /// `HEAD` and `OPTIONS` as they always are. `OPTIONS` can have these `problems`.
    pub(crate) fn new(
        path: &'static str,
        allow: &'static str,
        problems: &[Problem],
        describe: impl Fn(&str) -> Value,
    ) -> Self {
        let mut item = Map::new();
        let own = methods::each(allow).filter(|method| !["HEAD", "OPTIONS"].contains(method));
        for method in own {
            item.insert(method.to_ascii_lowercase(), describe(method));
        }
        if let Some(first) = item.values().next().cloned() {
            if methods::each(allow).any(|method| method == "HEAD") {
                item.insert("head".to_owned(), head(describe("GET")));
            }
            item.insert("options".to_owned(), options(&first, allow, problems));
        }
        let item = item.into();
        Self { path, item }
    }
}

/// The same as `GET`, without the content.
fn head(mut operation: Value) -> Value {
    rename(&mut operation, "Head");
    operation["summary"] = "The headers that `GET` would have".into();
    if let Some(responses) = operation["responses"].as_object_mut() {
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            response.remove("content");
        }
    }
    operation
}

fn options(like: &Value, allow: &'static str, problems: &[Problem]) -> Value {
    let allow = header(
        "The methods that the path takes.",
        json!({"type": "string", "const": allow}),
    );
    let mut operation = json!({
        "operationId": like["operationId"],
        "summary": "The methods that the path takes",
        "responses": responses(
            json!({"204": {"description": "The methods", "headers": {"Allow": allow}}}),
            problems,
        ),
    });
    // What is in the path itself has to be said for each method.
    let parameters = like["parameters"].as_array().into_iter().flatten();
    let in_path: Vec<_> = parameters
        .filter(|parameter| parameter["in"] == "path")
        .collect();
    if !in_path.is_empty() {
        operation["parameters"] = json!(in_path);
    }
    if let Some(security) = like.get("security") {
        operation["security"] = security.clone();
    }
    rename(&mut operation, "Options");
    operation
}

fn rename(operation: &mut Value, suffix: &str) {
    let name = operation["operationId"].as_str().unwrap_or_default();
    operation["operationId"] = format!("{name}{suffix}").into();
    operation["tags"] = json!([COMMON]);
}

/// A header of a response that always has it.
pub(crate) fn header(description: &str, schema: Value) -> Value {
    let mut header = json!({"description": description, "required": true});
    header["schema"] = schema;
    header
}

/// A response with a JSON document: of which schema, with which example.
pub(crate) fn document_of(description: &str, schema: &str, example: &impl Serialize) -> Value {
    // By way of its text, which has the digits that are sent.
    let text = serde_json::to_vec(example).unwrap_or_default();
    let example: Value = serde_json::from_slice(&text).unwrap_or_default();
    json!({
        "description": description,
        "content": {"application/json": {"schema": reference(schema), "example": example}},
    })
}

/// Adds the schema of a type, and of all types in it.
pub(crate) fn with_schema<T: ToSchema>(schemas: ComponentsBuilder) -> ComponentsBuilder {
    let mut inner = Vec::new();
    T::schemas(&mut inner);
    schemas.schemas_from_iter(inner).schema_from::<T>()
}

/// A response with content of another type.
pub(crate) fn content(description: &str, content_type: &str) -> Value {
    json!({
        "description": description,
        "content": {content_type: {"schema": {"type": "string"}}},
    })
}

/// What refers to a schema of the document's own.
pub(crate) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// Responses with those of problems added, one for each status.
pub(crate) fn responses(mut good: Value, problems: &[Problem]) -> Value {
    let mut by_status: BTreeMap<u16, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        let status = problem.kind.row().0.as_u16();
        by_status.entry(status).or_default().push(problem);
    }
    for (status, problems) in by_status {
        good[status.to_string()] = response(status, &problems);
    }
    good
}

/// The response of a status: which types it can have, with one problem of each.
fn response(status: u16, problems: &[&Problem]) -> Value {
    let (mut titles, mut types) = (Vec::new(), Vec::new());
    let (mut examples, mut headers) = (Map::new(), Map::new());
    for problem in problems {
        let (_, name, title) = problem.kind.row();
        let example = json!({"summary": title, "value": problem.document()});
        if !titles.contains(&title) {
            titles.push(title);
            types.push(format!("{TYPE}{name}"));
        }
        let key = (1..=problems.len())
            .map(|nth| {
                if nth > 1 {
                    format!("{name}-{nth}")
                } else {
                    name.to_owned()
                }
            })
            .find(|key| !examples.contains_key(key));
        examples.extend(key.map(|key| (key, example)));
        let answer = (*problem).clone().into_response();
        headers.extend(answer.headers().keys().filter_map(described));
    }
    let mut response = json!({
        "description": titles.join("; "),
        "content": {"application/problem+json": {
            "schema": {"allOf": [
                reference("Problem"),
                {"properties": {"status": {"const": status}, "type": {"enum": types}}},
            ]},
            "examples": examples,
        }},
    });
    if !headers.is_empty() {
        response["headers"] = headers.into();
    }
    response
}

/// A header that problems come with.
fn described(name: &HeaderName) -> Option<(String, Value)> {
    let (name, described) = match *name {
        RETRY_AFTER => (
            "Retry-After",
            header(
                "When another try is worth while, in seconds.",
                json!({"type": "integer", "minimum": 1}),
            ),
        ),
        WWW_AUTHENTICATE => (
            "WWW-Authenticate",
            header(
                "What to show.",
                json!({"type": "string", "const": "Bearer"}),
            ),
        ),
        ACCEPT_ENCODING => ("Accept-Encoding", {
            let mut header = header(
                "What the body may be packed with, if that is what is wrong.",
                json!({"type": "string"}),
            );
            header["required"] = false.into();
            header
        }),
        ALLOW => (
            "Allow",
            header(
                "The methods that the path takes.",
                json!({"type": "string"}),
            ),
        ),
        _ => return None,
    };
    Some((name.to_owned(), described))
}

/// The document of these paths.
pub(crate) fn document(about: About, paths: Vec<Operations>) -> Value {
    let paths: Map<_, _> = paths
        .into_iter()
        .map(|Operations { path, item }| (path.to_owned(), item))
        .collect();
    let About {
        title,
        description,
        tags,
        schemas,
    } = about;
    let tags = tags.iter().copied();
    let tags = tags.chain([(COMMON, "What there is at every path that is read.")]);
    let mut components = json!(schemas);
    components["headers"] = json!({REQUEST_ID: header(
        "What the request is known by in the server's log: what the client has sent under \
         this name, if it is 1 to 128 letters, digits and `-_.:/+=@`, or else a new UUID.",
        json!({"type": "string", "minLength": 1, "maxLength": 128}),
    )});
    // Of what is in no operation, since every operation is one that there is.
    components["responses"] = json!({
        "NotFound": response(404, &[&Problem::new(
            Kind::NotFound,
            "there is nothing at this path",
        )]),
        "MethodNotAllowed": response(405, &[&Problem::method_not_allowed(methods::READ_ONLY)]),
    });
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": env!("CARGO_PKG_VERSION"),
            "description": description,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        // Where the document lies, also behind a proxy that serves it below another path.
        "servers": [{"url": "./", "description": "this server"}],
        "tags": tags
            .map(|(name, description)| json!({"name": name, "description": description}))
            .collect::<Vec<_>>(),
        "paths": paths,
        "components": components,
    });
    name_requests(&mut document);
    document
}

/// Says of every response that it names its request.
fn name_requests(document: &mut Value) {
    let operations = members(&mut document["paths"]).flat_map(members);
    for operation in operations {
        members(&mut operation["responses"]).for_each(name_request);
    }
    members(&mut document["components"]["responses"]).for_each(name_request);
}

fn name_request(response: &mut Value) {
    response["headers"][REQUEST_ID] = json!({"$ref": format!("#/components/headers/{REQUEST_ID}")});
}

fn members(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_object_mut().into_iter().flat_map(Map::values_mut)
}

/// What is true of every path, for the description of a document.
pub(crate) const COMMON_RULES: &str = "\
    Errors are `application/problem+json` (RFC 9457), each of a type of its own. A path \
    that there is not is 404; a method that a path does not take is 405, with `Allow`. \
    Every answer has an `X-Request-Id`, and a problem repeats it; `traceparent` (W3C Trace \
    Context) is taken for the server's log. `HEAD` answers wherever `GET` does, and `OPTIONS` everywhere. A request whose head is \
    no HTTP, or is larger than 64 KiB, is refused with 400, 414 or 431 and no content, and \
    its connection is closed.";

/// A document as it is sent.
pub(crate) fn bytes(document: &Value) -> Bytes {
    document.to_string().into()
}
