//! The operations of what browsers show: the pages, and what they are made of.
//!
//! This module must not know what the pages say.

use serde_json::{Map, Value, json};

use super::common::DOCUMENTATION;
use super::{content, header, responses};
use crate::{assets, routes};

/// The group of what is for people.
pub(crate) const PAGES: (&str, &str) = ("Pages", "For people, who see them in a browser.");

/// The operation of a page.
pub(crate) fn page(path: &str) -> Value {
    let (id, tag, summary) = match path {
        "/" => ("page", PAGES, "The page on which the server can be tried"),
        _ => (
            "docs",
            DOCUMENTATION,
            "The page that shows this document, and where it can be tried",
        ),
    };
    let text = |description: &str| header(description, json!({"type": "string"}));
    let headers = json!({
        "Cache-Control": text("That it may be kept, and has to be asked for."),
        "Content-Security-Policy": text("What the page may do: nothing but with this server."),
        "ETag": text("The version of the page."),
    });
    let mut good = content("The page", "text/html; charset=utf-8");
    good["headers"] = headers.clone();
    let known = json!({
        "description": "The client has this version of the page",
        "headers": headers,
    });
    json!({
        "operationId": id,
        "tags": [tag.0],
        "summary": summary,
        "parameters": [{
            "name": "If-None-Match",
            "in": "header",
            "description": "The `ETag` of a page that the client has.",
            "schema": {"type": "string"},
        }],
        "responses": {"200": good, "304": known},
    })
}

/// The operation of what pages are made of.
pub(crate) fn asset() -> Value {
    let types = assets::TYPES.map(|name| (name.to_owned(), json!({"schema": {"type": "string"}})));
    let good = json!({
        "description": "The file",
        "content": Map::from_iter(types),
        "headers": {"Cache-Control": header(
            "That it may be kept for ever.",
            json!({"type": "string"}),
        )},
    });
    let parameter = |name: &str, description: &str, values: Vec<&str>| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": description,
            "schema": {"type": "string", "enum": values},
        })
    };
    json!({
        "operationId": "asset",
        "tags": [PAGES.0],
        "summary": "What pages are made of",
        "parameters": [
            parameter("build", "Names this version of all files.", vec![assets::BUILD]),
            parameter("file", "The name of a file.", assets::names().collect()),
        ],
        "responses": responses(json!({"200": good}), &[routes::not_found()]),
    })
}
