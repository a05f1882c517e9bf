//! The operations of the versions API.
//!
//! This module must not know who may carry them out.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use super::VERSIONS;
use super::examples::{
    added, change, entry, example, gone, quarantined, refused, unavailable, unexpected, unknown,
};
use crate::admin::document::{Added, Listing, Name, Standing, Trial};
use crate::admin::query::{flag, share};
use crate::admin::routes::starting;
use crate::admin::upload::{Uploads, require_component};
use crate::admin::versions::{FEWEST_DIGITS, Target};
use crate::body::BodyError;
use crate::memory::NoRoom;
use crate::openapi::{document_of, header, responses};
use crate::problem::{Kind, Problem};
use revisions::RevisionError;

/// An operation of the versions API.
pub(super) struct Described {
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    good: Value,
    problems: Vec<Problem>,
}

impl Described {
    pub(super) fn new(target: Target<'_>, method: &str, uploads: &Uploads) -> Self {
        match (target, method) {
            (Target::All, "POST") => Self::upload(uploads),
            (Target::All, _) => Self::listing(),
            (Target::One(_), "DELETE") => Self::remove(),
            (Target::One(_), _) => Self::one(),
            (Target::Activate(_), _) => Self::activate(),
            (Target::Try(_, trial), _) => Self::begin_trial(trial),
            (Target::Trial, _) => Self::end_trial(),
            (Target::Promote, _) => Self::promote(),
            (Target::Rollback, _) => Self::rollback(),
            (Target::Reload, _) => Self::reload(),
        }
    }

    /// The operation, which can also have the problems of those who may not.
    pub(super) fn operation(mut self, refused: &[Problem]) -> Value {
        self.problems.extend(refused.iter().cloned());
        self.problems.push(starting());
        let mut operation = json!({
            "operationId": self.id,
            "tags": [VERSIONS.0],
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": responses(self.good, &self.problems),
        });
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }

    fn listing() -> Self {
        let listing = Listing {
            live: Name::from(&example("the guest")),
            probation: None,
            trial: None,
            configured_fault: None,
            versions: vec![entry()],
        };
        Self {
            id: "listVersions",
            summary: "All versions, and which is in use for what",
            parameters: Vec::new(),
            body: None,
            good: json!({"200": document_of("The versions", "Listing", &listing)}),
            problems: unexpected([]),
        }
    }

    fn upload(uploads: &Uploads) -> Self {
        let (limit, patience) = uploads.bounds();
        let unsupported = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("a/b"))]);
        let unsupported = require_component(&unsupported)
            .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail));
        let mut problems = unexpected(["activate", "canary", "shadow"]);
        problems.extend(unsupported.err());
        problems.extend([
            BodyError::Incomplete.into(),
            BodyError::TimedOut { patience }.into(),
            BodyError::TooLarge { limit }.into(),
            BodyError::NoRoom(NoRoom).into(),
            refused(),
            unavailable(),
            quarantined(),
            RevisionError::IsLive(example("the guest").guest().short()).into(),
            RevisionError::Ended.into(),
        ]);
        let mut created = document_of("It was added", "Added", &added());
        let mut known = document_of(
            "It was known already",
            "Added",
            &Added {
                known: true,
                compiled: false,
                took_ms: 0,
                ..added()
            },
        );
        for added in [&mut created, &mut known] {
            added["links"] = links();
        }
        created["headers"] = json!({"Location": header(
            "Where it is.",
            json!({"type": "string", "pattern": "^/versions/[0-9a-f]{64}$"}),
        )});
        let component = json!({"schema": {
            "type": "string",
            "format": "binary",
            "maxLength": limit,
        }});
        Self {
            id: "addVersion",
            summary: "Add a version, and make it live or try it if that is asked for",
            parameters: vec![
                query(
                    "activate",
                    "Make it live.",
                    json!({"type": "boolean", "default": false}),
                ),
                share_of("canary", "Let it answer this share of the texts."),
                share_of(
                    "shadow",
                    "Give it copies of this share of the texts, and compare its answers. Only \
                     one of the three can be asked for.",
                ),
            ],
            body: Some(json!({
                "description": format!("A WebAssembly component of at most {limit} bytes."),
                "required": true,
                "content": {
                    "application/wasm": component,
                    "application/octet-stream": component,
                },
            })),
            good: json!({
                "200": known,
                "201": created,
            }),
            problems,
        }
    }

    fn one() -> Self {
        Self {
            id: "showVersion",
            summary: "One version",
            parameters: vec![id()],
            body: None,
            good: json!({"200": document_of("The version", "Entry", &entry())}),
            problems: [unexpected([]), unknown()].concat(),
        }
    }

    fn remove() -> Self {
        let in_use = RevisionError::InUse(example("the guest").guest().short());
        Self {
            id: "removeVersion",
            summary: "Forget a version that is not in use",
            parameters: vec![id()],
            good: json!({"200": document_of("It is forgotten", "Gone", &gone())}),
            problems: [unexpected([]), unknown(), vec![in_use.into()]].concat(),
            body: None,
        }
    }

    fn activate() -> Self {
        let mut problems: Vec<_> = flag("force", Some("yes")).err().into_iter().collect();
        problems.extend(unknown());
        problems.push(quarantined());
        Self {
            id: "activateVersion",
            summary: "Make a version live",
            parameters: vec![
                id(),
                query(
                    "force",
                    "Also if it is quarantined.",
                    json!({"type": "boolean", "default": false}),
                ),
            ],
            body: None,
            good: json!({"200": document_of("It is live", "Change", &change())}),
            problems,
        }
    }

    fn begin_trial(trial: rollout::Trial) -> Self {
        let (id_of, summary, required) = match trial {
            rollout::Trial::Canary => ("tryAsCanary", "Let a version answer some texts", true),
            rollout::Trial::Shadow => (
                "tryAsShadow",
                "Give a version copies of texts, and compare its answers",
                false,
            ),
        };
        let version = example("another guest");
        let begun = Trial {
            name: Name::from(&version),
            standing: Standing::from(trial),
            share: 0.1,
            comparison: None,
        };
        let mut of_texts = share_of("share", "The share of the texts; all, if it is optional.");
        of_texts["required"] = required.into();
        let mut problems: Vec<_> = share("share", "half").err().into_iter().collect();
        problems.extend(unknown());
        problems.extend([
            RevisionError::IsLive(version.guest().short()).into(),
            quarantined(),
        ]);
        Self {
            id: id_of,
            summary,
            parameters: vec![id(), of_texts],
            body: None,
            good: json!({"200": document_of("The trial has begun", "Trial", &begun)}),
            problems,
        }
    }

    fn end_trial() -> Self {
        Self {
            id: "endTrial",
            summary: "End the trial that goes on",
            parameters: Vec::new(),
            body: None,
            good: json!({"200": document_of("It has ended", "Gone", &gone())}),
            problems: [unexpected([]), vec![RevisionError::NoTrial.into()]].concat(),
        }
    }

    fn promote() -> Self {
        Self {
            id: "promote",
            summary: "Make the version on trial live",
            parameters: Vec::new(),
            body: None,
            good: json!({"200": document_of("It is live", "Change", &change())}),
            problems: [unexpected([]), vec![RevisionError::NoTrial.into()]].concat(),
        }
    }

    fn rollback() -> Self {
        let mut problems = unexpected(["from"]);
        problems.extend(unknown());
        problems.extend([
            RevisionError::NothingBefore.into(),
            RevisionError::NotLive {
                given: example("another guest").guest().short(),
                live: example("the guest").guest().short(),
            }
            .into(),
        ]);
        let from = query(
            "from",
            "Only if this version is live.",
            json!({"type": "string", "pattern": id_pattern()}),
        );
        Self {
            id: "rollback",
            summary: "Go back to the version that was live before",
            parameters: vec![from],
            body: None,
            good: json!({"200": document_of("It is live", "Change", &change())}),
            problems,
        }
    }

    fn reload() -> Self {
        let reloaded = Added {
            change: Some(change()),
            ..added()
        };
        let mut problems = unexpected([]);
        problems.extend([
            refused(),
            unavailable(),
            RevisionError::Overtaken {
                guest: example("another guest").guest().short(),
                live: example("the guest").guest().short(),
            }
            .into(),
            quarantined(),
            RevisionError::Unreadable {
                path: "guest.wasm".into(),
                reason: "No such file or directory (os error 2)".to_owned(),
            }
            .into(),
            RevisionError::Ended.into(),
        ]);
        Self {
            id: "reload",
            summary: "Read the file of the configured guest again, and make it live",
            parameters: Vec::new(),
            body: None,
            good: json!({"200": document_of("It is live", "Added", &reloaded)}),
            problems,
        }
    }
}

// ---- Parameters ----

fn query(name: &str, description: &str, schema: Value) -> Value {
    let mut parameter = json!({"name": name, "in": "query", "description": description});
    parameter["schema"] = schema;
    parameter
}

fn share_of(name: &str, description: &str) -> Value {
    let schema = json!({
        "type": "number",
        "format": "double",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "examples": [0.1],
    });
    query(name, description, schema)
}

fn id() -> Value {
    json!({
        "name": "id",
        "in": "path",
        "required": true,
        "description": "The SHA-256 of the version's guest, or what it alone begins with.",
        "schema": {"type": "string", "pattern": id_pattern()},
    })
}

/// What can be done with a version that has been added.
fn links() -> Value {
    let link = |operation: &str| {
        json!({
            "operationId": operation,
            "parameters": {"id": "$response.body#/version/guest"},
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

fn id_pattern() -> String {
    format!("^[0-9a-fA-F]{{{FEWEST_DIGITS},64}}$")
}
