//! The admin API: health, metrics, and the versions of the guest, for operators.

mod access;
mod configurations;
pub mod document;
mod id;
mod models;
mod openapi;
mod query;
mod refusal;
mod status;
mod token;
mod trials;
mod uploads;
mod versions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::{Router, middleware};
use prometheus::Registry;
use revisions::{DesiredState, Revisions};
use tower_http::normalize_path::NormalizePath;
use utoipa_axum::router::OpenApiRouter;

pub use access::Access;
pub use token::{Token, TokenError};
pub use uploads::Uploads;

use crate::layers;
use crate::observe::Observer;
use crate::problem::{Kind, Problem, no_version};
use crate::{Readiness, health, prometheus_text, version};

/// What the admin API is made of.
pub struct Admin {
    /// The metrics to publish.
    pub registry: Registry,
    /// The server's state, for probes.
    pub readiness: Readiness,
    /// Who may manage versions.
    pub access: Access,
    /// Limits on uploaded guests.
    pub uploads: Uploads,
    /// The rollout file that is in charge, if one is.
    pub desired: Option<Arc<DesiredState>>,
    /// Whether each finished request is logged.
    pub log_requests: bool,
}

/// The versions that the admin API manages, once they are loaded; clones share them.
#[derive(Clone, Default)]
pub struct Managed(Arc<OnceLock<Arc<Revisions>>>);

impl Managed {
    /// Manages these versions from now on. Later calls change nothing.
    pub fn set(&self, versions: Arc<Revisions>) {
        let _ = self.0.set(versions);
    }

    fn get(&self) -> Result<&Arc<Revisions>, Problem> {
        self.0.get().ok_or_else(no_version)
    }
}

/// What the handlers of versions, trials, models and configurations work with.
#[derive(Clone)]
struct Context {
    managed: Managed,
    uploads: Arc<Uploads>,
}

impl Context {
    /// How long a client may leave an upload without sending more of it.
    fn patience(&self) -> Duration {
        self.uploads.limits().1
    }
}

impl Admin {
    /// The routes, with the layers that every request passes.
    pub fn router(self, managed: &Managed) -> NormalizePath<Router> {
        let Self {
            registry,
            readiness,
            access,
            uploads,
            desired,
            log_requests,
        } = self;
        let live = {
            let managed = managed.clone();
            Arc::new(move || Ok(managed.get()?.status().live))
        };
        let document = crate::openapi::Document::default();
        let limits = uploads.limits();
        // For everybody who can connect.
        let open = OpenApiRouter::new()
            .merge(health::router(readiness))
            .merge(version::router(live))
            .merge(status::router(managed.clone(), desired))
            .merge(prometheus_text::router(registry))
            .merge(crate::openapi::router(Arc::clone(&document)));
        // For those who have access.
        let closed = OpenApiRouter::new()
            .merge(versions::router())
            .merge(trials::router())
            .merge(models::router())
            .merge(configurations::router())
            .with_state(Context {
                managed: managed.clone(),
                uploads: Arc::new(uploads),
            });
        let access = Arc::new(access);
        let (open, described_open) = open.split_for_parts();
        let (closed, described_closed) = closed.split_for_parts();
        let open = layers::answer_other_methods(open, &described_open);
        // Access is checked first, so that strangers do not even learn the methods.
        let check = middleware::from_fn_with_state(Arc::clone(&access), access::check);
        let closed = layers::answer_other_methods(closed, &described_closed).layer(check);
        let written = openapi::document(described_open, described_closed, &access, limits);
        let _ = document.set(Box::new(move || written.clone()));
        let observer = Observer {
            metrics: None,
            log_requests,
        };
        layers::stack(open.merge(closed), not_found, None, observer)
    }
}

/// There is nothing at a path.
fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is nothing at this path; see `GET /metrics`, `GET /health/live`, \
         `GET /health/ready`, `GET /version`, `GET /status`, `GET /versions` and `GET /models`, or all paths at \
         `GET /openapi.json`",
    )
}
