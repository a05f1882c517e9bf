//! The HTTP APIs of the server: the public one ([`public`]) and the admin one ([`admin`]),
//! each an axum `Router` with its OpenAPI document.
//!
//! A request passes [`observe`](crate::observe) (its id, span, metrics and log line), the
//! layers of tower-http (CORS, compression, panics) and an extractor or two before its
//! handler. Handlers return a document or a [`Problem`](crate::problem); only this crate
//! turns a kind of failure into a status.
//!
//! This crate must not know how a prediction is made, how a guest is loaded, sockets, or
//! the process: it is given a [`Service`](service::Service) and
//! [`Versions`](revisions::Versions).

pub mod admin;
pub mod public;

mod assets;
mod bulk;
mod coding;
mod cors;
mod health;
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
mod request;
mod request_id;
mod server_timing;
mod version;

pub use cors::{Origin, OriginError};
pub use health::{Condition, Health, Readiness, State};
pub use info::Served;
pub use metrics::Metrics;
pub use predict::{predictions_json, texts_of};

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
