//! The HTTP APIs of the server: the public one ([`public`]) and the admin one ([`admin`]),
//! each an axum `Router` with its OpenAPI document.
//!
//! This crate must not know how a prediction is made, how a guest is loaded, sockets, or
//! the process. It is given a [`Service`](service::Service), the
//! [`Revisions`](revisions::Revisions) once they are loaded, and settings.
//!
//! # The path of a request
//!
//! `observe` gives every request its id, a span for its log lines, metrics and
//! `Server-Timing`. Layers of tower-http follow: CORS, compression, and a problem after a
//! panic. Handlers read extractors, call the service, and return a document or a
//! `Problem`. A problem is a response with a status and no body until `observe` writes its
//! document, which holds the request's id. `problem/kind.rs` is the only place that knows
//! which kind of failure has which status.
//!
//! Whatever is spawned for a request takes its span along, so that every log line about it
//! has its id. No line holds anything of a text; a test looks for one in the log after
//! everything that can fail.
//!
//! # Bulk requests
//!
//! `POST /predict` with lines of JSON (`bulk`) reads texts without end and answers them as
//! they are scored. It holds one line, and the texts that [`service::Bulk`] takes.
//!
//! # OpenAPI
//!
//! Operations and schemas are derived from handlers and from the types that are really
//! read and written. Problems in the document are made by the code that answers with
//! them. `openapi::complete` adds what is true of every path (`HEAD`, `OPTIONS`, request
//! ids), and `openapi::public` the limits of the running server.
//!
//! # The admin API
//!
//! Whoever can upload a guest can answer every request. So the versions API requires a
//! token, or a loopback listener and a request that no web page can have sent
//! (`admin::Access`). Metrics and health are open, for probes and Prometheus. It answers
//! 503 until versions are loaded (`admin::Managed`). An uploaded component is limited in
//! size, in time, and, with all that wait to be loaded, in memory.
//!
//! # Pages
//!
//! `/` and `/docs` are HTML with a policy that allows this server only. Their files are in a
//! directory named after a digest of them all (`build.rs`) and cached forever; pages are
//! revalidated. So no page runs with the files of another version, even while servers are
//! replaced one by one. The page is a client of the API like any other.

pub mod admin;
pub mod public;

mod assets;
mod authorization;
mod bulk;
mod caller;
mod classify;
mod coding;
mod cors;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod health;
mod host;
mod infer;
mod info;
mod inputs;
mod layers;
mod media_type;
mod metrics;
mod observe;
mod openapi;
mod options;
mod pages;
mod predict;
mod problem;
mod prometheus_text;
mod protocol;
mod request;
mod request_id;
mod scores;
mod server_timing;
mod version;

pub use cors::{Origin, OriginError};
pub use health::{Condition, Health, Readiness, State};
pub use info::Served;
pub use metrics::Metrics;
pub use predict::texts_of;
pub use scores::predictions_json;

use std::time::Duration;

/// Limits on the bodies of requests, and other settings of the public API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How many bytes the bodies of all requests in flight may take together, with 4 KiB
    /// for each request beside its body; at least `max_body_bytes`.
    pub body_memory: usize,
    /// How long a request's body may take to arrive as a whole. In a bulk request, how
    /// long either side may be silent.
    pub body_timeout: Duration,
    /// The origins whose pages may read answers in a browser.
    pub cors_origins: Vec<Origin>,
    /// Whether each finished request is logged.
    pub log_requests: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 8 * 1024 * 1024,
            body_memory: 256 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            cors_origins: Vec::new(),
            log_requests: false,
        }
    }
}
