//! Which path of the admin listener does what.
//!
//! This module must not know sockets or connections.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use prometheus::Registry;

use super::access::Access;
use super::openapi::document;
use super::upload::Uploads;
use super::versions::{self, Target};
use crate::exchange::{contained, json, settle};
use crate::health;
use crate::methods::{self, READ_ONLY};
use crate::problem::{Kind, Problem};
use crate::{Handler, Readiness, Reply, Session, exposition, version};
use revisions::Revisions;

/// How long the rest of a body is waited for that nobody wants.
const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// The API of the admin listener.
pub struct Api {
    registry: Registry,
    readiness: Readiness,
    access: Access,
    uploads: Uploads,
    versions: OnceLock<Arc<Revisions>>,
    /// The document of this API.
    openapi: Bytes,
}

/// The paths that are open to everyone, and only tell.
pub(super) const OPEN: [&str; 6] = [
    "/metrics",
    "/health",
    "/health/live",
    "/health/ready",
    "/version",
    "/openapi.json",
];

impl Api {
    /// Tells what is in `registry`, and of the server's state. The versions are
    /// for those whom `access` lets in.
    pub fn new(registry: Registry, readiness: Readiness, access: Access, uploads: Uploads) -> Self {
        Self {
            registry,
            readiness,
            openapi: document(&access, &uploads),
            access,
            uploads,
            versions: OnceLock::new(),
        }
    }

    /// Manages these versions from now on. Until then, the server is starting;
    /// later calls change nothing.
    pub fn manage(&self, versions: Arc<Revisions>) {
        let _ = self.versions.set(versions);
    }

    async fn route(
        &self,
        head: &Parts,
        body: &mut Incoming,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let path = head.uri.path();
        if OPEN.contains(&path) {
            if let Some(answer) = methods::settled(&head.method, READ_ONLY)? {
                return Ok(answer);
            }
            return match path {
                "/metrics" => exposition::answer(&self.registry),
                "/version" => version::answer(&self.versions()?.status().live),
                "/openapi.json" => Ok(json(self.openapi.clone())),
                path => health::answer(path, &self.readiness),
            };
        }
        let target = Target::of(path).ok_or_else(not_found)?;
        self.access.check(head)?;
        target.check()?;
        if let Some(answer) = methods::settled(&head.method, target.allow())? {
            return Ok(answer);
        }
        versions::answer(target, self.versions()?, &self.uploads, head, body).await
    }

    fn versions(&self) -> Result<&Arc<Revisions>, Problem> {
        self.versions.get().ok_or_else(starting)
    }
}

impl Handler for Api {
    async fn answer(&self, request: Request<Incoming>, session: Session) -> Response<Reply> {
        let (head, mut body) = request.into_parts();
        let answer = contained(self.route(&head, &mut body)).await;
        settle(&session.id(), &head, body, BODY_PATIENCE, answer).map(Either::Left)
    }
}

/// The problem of versions before there are any.
pub(super) fn starting() -> Problem {
    Problem::new(
        Kind::Starting,
        "there is no version yet: the guest and the model are still being loaded",
    )
}

fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is nothing at this path; see `GET /metrics`, `GET /health/live`, \
         `GET /health/ready`, `GET /version` and `GET /versions`, or all paths at \
         `GET /openapi.json`",
    )
}
