//! The document of the admin listener.
//!
//! This module must not know how an operation is carried out.

mod examples;
mod operations;

use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::openapi::ComponentsBuilder;

use super::access::Access;
use super::document::{Added, Gone, Listing};
use super::routes::{OPEN, starting};
use super::upload::Uploads;
use super::versions::{PATHS, Target};
use crate::methods::READ_ONLY;
use crate::openapi::common::{self, DOCUMENTATION, OPERATION};
use crate::openapi::{About, COMMON_RULES, Operations, bytes, document as whole, with_schema};
use crate::{health, problem, version};

use examples::example;
use operations::Described;

const VERSIONS: (&str, &str) = (
    "Versions",
    "See, add, try and change the versions of the guest. For the operator alone.",
);

/// The document of a listener with these rules and bounds.
pub(super) fn document(access: &Access, uploads: &Uploads) -> Bytes {
    let schemas = with_schema::<Listing>(ComponentsBuilder::new());
    let schemas = with_schema::<Added>(schemas);
    let schemas = with_schema::<Gone>(schemas);
    let schemas = with_schema::<version::Document>(schemas);
    let schemas = with_schema::<health::Document>(schemas);
    let schemas = with_schema::<problem::Document<'static>>(schemas);
    let about = About {
        title: "FastSentiment: the admin listener",
        description: format!(
            "Metrics, health, and the versions of the guest. {COMMON_RULES} A parameter that \
             a path does not take is refused."
        ),
        tags: &[VERSIONS, OPERATION, DOCUMENTATION],
        schemas: schemas.build(),
    };
    let open = OPEN
        .iter()
        .map(|path| Operations::new(path, READ_ONLY, &[], |_| open(path)));
    let refused = access.problems();
    let closed = PATHS.iter().filter_map(|path| {
        let target = Target::of(path)?;
        let mut problems = refused.clone();
        // As the path is here, with its braces, it names no version.
        problems.extend(target.check().err());
        Some(Operations::new(path, target.allow(), &problems, |method| {
            let mut operation = Described::new(target, method, uploads).operation(&refused);
            if access.has_token() {
                operation["security"] = json!([{"token": []}]);
            }
            operation
        }))
    });
    let mut document = whole(about, open.chain(closed).collect());
    document["components"]["securitySchemes"] = json!({"token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The server's admin token (`--admin-token-file`). Without one, \
            versions can be managed over a loopback address alone.",
    }});
    bytes(&document)
}

fn open(path: &str) -> Value {
    match path {
        "/metrics" => common::metrics(),
        "/version" => common::version(&example("the guest"), &[starting()]),
        "/openapi.json" => common::openapi(),
        path => common::health(path),
    }
}
