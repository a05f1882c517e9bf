//! OpenAPI 3.1 documents. Paths, parameters and schemas come from the handlers and the
//! types that are really read and written (`utoipa`); problems are made by the code that
//! answers with them, and shown as they are sent. What is true of every path is added
//! here.

mod examples;
mod protocols;
pub(crate) mod public;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{OpenApi, RefOr, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::{Kind, Problem, TYPE};

/// The header with a request's id, as documents spell it.
const REQUEST_ID: &str = "X-Request-Id";

/// The tag of operations that most paths have.
const COMMON: &str = "HEAD and OPTIONS";

/// The extension in which a response waits that utoipa's types cannot express.
const RESPONSE: &str = "x-response";

/// What is true of every path.
pub(crate) const COMMON_RULES: &str = "\
    Errors are `application/problem+json` (RFC 9457), each with a type of its own. An \
    unknown path is 404; a method that a path does not take is 405, with `Allow`. Every \
    answer has an `X-Request-Id`, and a problem repeats it; `traceparent` (W3C Trace \
    Context) is recorded in the server's log. `HEAD` works wherever `GET` does, and \
    `OPTIONS` everywhere. A request of HTTP/1.1 without a `Host` header, or any with two \
    or with one that is no host, is 400 (`invalid-header`). A request whose head is not HTTP, or is larger than 64 KiB, is \
    refused with 400, 414 or 431 and no content, and its connection is closed.";

/// Declares a type that lists the problems of an operation for `#[utoipa::path]`.
macro_rules! problems {
    ($name:ident, $problems:expr $(,)?) => {
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses()
            -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>>
            {
                $crate::openapi::into_responses(&$problems)
            }
        }
    };
}
pub(crate) use problems;

/// Gives the document of a listener, once there is one.
pub(crate) type Document = Arc<OnceLock<Box<dyn Fn() -> Bytes + Send + Sync>>>;

/// Serves the document.
pub(crate) fn router(document: Document) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(openapi))
        .with_state(document)
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Documentation",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object))
)]
async fn openapi(State(document): State<Document>) -> impl IntoResponse {
    let document = document
        .get()
        .map(|document| document())
        .unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], document)
}

/// Problems as responses, one for each status.
pub(crate) fn into_responses(problems: &[Problem]) -> BTreeMap<String, RefOr<Response>> {
    let responses = responses_of(problems).into_iter();
    let wrapped = responses.map(|(status, value)| {
        let extensions = Extensions::builder().add(RESPONSE, value).build();
        let response = utoipa::openapi::ResponseBuilder::new().extensions(Some(extensions));
        (status, RefOr::T(response.build()))
    });
    wrapped.collect()
}

/// Problems as the values of responses, one for each status.
pub(crate) fn responses_of(problems: &[Problem]) -> BTreeMap<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        let status = problem.kind.row().0.as_u16();
        by_status.entry(status).or_default().push(problem);
    }
    let responses = by_status.into_iter();
    responses
        .map(|(status, problems)| (status.to_string(), response(status, &problems)))
        .collect()
}

/// The response of a status: the types that it can have, with an example of each problem.
fn response(status: u16, problems: &[&Problem]) -> Value {
    let (mut titles, mut types) = (Vec::new(), Vec::new());
    let (mut examples, mut headers) = (Map::new(), Map::new());
    for problem in problems {
        let (_, name, title) = problem.kind.row();
        if !titles.contains(&title) {
            titles.push(title);
            types.push(format!("{TYPE}{name}"));
        }
        let nth = (1..).map(|nth| match nth {
            1 => name.to_owned(),
            nth => format!("{name}-{nth}"),
        });
        let example = json!({"summary": title, "value": problem.document()});
        let key = nth
            .take(problems.len())
            .find(|key| !examples.contains_key(key));
        examples.extend(key.map(|key| (key, example)));
        let names = problem.headers().into_iter().map(|(name, _)| name);
        headers.extend(names.filter_map(|name| described(&name)));
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

/// A header of problems.
fn described(name: &HeaderName) -> Option<(String, Value)> {
    let (name, schema, description) = match *name {
        RETRY_AFTER => (
            "Retry-After",
            json!({"type": "integer", "minimum": 1}),
            "When to try again, in seconds.",
        ),
        WWW_AUTHENTICATE => (
            "WWW-Authenticate",
            json!({"type": "string", "const": "Bearer"}),
            "How to authenticate.",
        ),
        ACCEPT_ENCODING => (
            "Accept-Encoding",
            json!({"type": "string"}),
            "The content codings of request bodies, if the coding is what is wrong.",
        ),
        _ => return None,
    };
    let mut header = header(description, schema);
    header["required"] = (name != "Accept-Encoding").into();
    Some((name.to_owned(), header))
}

/// A header that a response always has.
fn header(description: &str, schema: Value) -> Value {
    let mut header = json!({"description": description, "required": true});
    header["schema"] = schema;
    header
}

/// A reference to a schema of the document.
pub(crate) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// What a document says beside its paths.
pub(crate) struct About {
    pub(crate) title: &'static str,
    pub(crate) description: String,
    /// Names and descriptions of groups of operations, in the order of pages.
    pub(crate) tags: &'static [(&'static str, &'static str)],
}

/// Adds what is true of every path to what handlers say of themselves.
pub(crate) fn complete(described: &OpenApi, about: &About) -> Value {
    let mut document = json!(described);
    let tags = about.tags.iter().copied();
    let tags = tags.chain([(COMMON, "Methods that every readable path has.")]);
    document["openapi"] = "3.1.0".into();
    document["info"] = json!({
        "title": about.title,
        "version": env!("CARGO_PKG_VERSION"),
        "description": about.description,
        "license": {"name": "MIT", "identifier": "MIT"},
    });
    // Relative, for proxies that serve the document below another path.
    document["servers"] = json!([{"url": "./", "description": "this server"}]);
    document["tags"] = tags
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect();
    document["components"]["headers"] = json!({REQUEST_ID: header(
        "The id of the request in the server's log: what the client sent under this name, \
         if it is 1 to 128 letters, digits and `-_.:/+=@`, or else a new UUID.",
        json!({"type": "string", "minLength": 1, "maxLength": 128}),
    )});
    // No operation refers to these, since every operation is one that exists.
    document["components"]["responses"] = json!({
        "NotFound": response(404, &[&Problem::new(
            Kind::NotFound,
            "there is nothing at this path",
        )]),
        "MethodNotAllowed": response(405, &[&Problem::method_not_allowed("GET, HEAD, OPTIONS")]),
    });
    for item in members(&mut document["paths"]) {
        for operation in members(item) {
            members(&mut operation["responses"]).for_each(unwrap_response);
        }
        add_common_methods(item);
        for operation in members(item) {
            members(&mut operation["responses"]).for_each(add_request_id);
        }
    }
    members(&mut document["components"]["responses"]).for_each(add_request_id);
    document
}

fn unwrap_response(response: &mut Value) {
    if let Some(inner) = response.get_mut(RESPONSE) {
        *response = inner.take();
    }
}

fn add_request_id(response: &mut Value) {
    response["headers"][REQUEST_ID] = json!({"$ref": format!("#/components/headers/{REQUEST_ID}")});
}

/// A response that is added after the others.
pub(crate) fn with_request_id(mut response: Value) -> Value {
    add_request_id(&mut response);
    response
}

/// Adds `HEAD`, if there is `GET`, and `OPTIONS` to the operations of a path.
fn add_common_methods(item: &mut Value) {
    let Some(operations) = item.as_object_mut() else {
        return;
    };
    let Some(first) = operations.values().next().cloned() else {
        return;
    };
    if let Some(get) = operations.get("get").cloned() {
        operations.insert("head".to_owned(), head(get));
    }
    let mut allow: Vec<_> = operations.keys().map(|name| name.to_uppercase()).collect();
    allow.push("OPTIONS".to_owned());
    allow.sort_unstable();
    operations.insert("options".to_owned(), options(&first, &allow.join(", ")));
    // Pages list operations in this order.
    operations.sort_keys();
}

/// The operation of `GET` without the content.
fn head(mut operation: Value) -> Value {
    rename(&mut operation, "Head");
    operation["summary"] = "The headers of `GET`".into();
    for response in members(&mut operation["responses"]) {
        if let Some(response) = response.as_object_mut() {
            response.remove("content");
        }
    }
    operation
}

fn options(like: &Value, allow: &str) -> Value {
    let header = header(
        "The methods that the path takes.",
        json!({"type": "string", "const": allow}),
    );
    let mut operation = json!({
        "operationId": like["operationId"],
        "summary": "The methods that the path takes",
        "responses": {"204": {"description": "The methods", "headers": {"Allow": header}}},
    });
    // Parameters of the path belong to every method.
    let parameters = like["parameters"].as_array().into_iter().flatten();
    let in_path: Vec<_> = parameters
        .filter(|parameter| parameter["in"] == "path")
        .collect();
    if !in_path.is_empty() {
        operation["parameters"] = json!(in_path);
    }
    rename(&mut operation, "Options");
    operation
}

fn rename(operation: &mut Value, suffix: &str) {
    let name = operation["operationId"].as_str().unwrap_or_default();
    operation["operationId"] = format!("{name}{suffix}").into();
    operation["tags"] = json!([COMMON]);
}

/// The values of an object.
pub(crate) fn members(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_object_mut().into_iter().flat_map(Map::values_mut)
}

/// A document as it is sent.
pub(crate) fn bytes(document: &Value) -> Bytes {
    document.to_string().into()
}
