//! The HTTP edge: routes, JSON and status codes over HTTP/1.1 and HTTP/2
//! without TLS.
//!
//! This module must not know how a prediction is made: it sees the
//! [`Service`](service::Service) and the words of
//! [`predictor`](predictor), and nothing below them. It must not know
//! the process either: the socket and the moment to stop are given to it.

mod activity;
pub mod admin;
mod assets;
pub(crate) mod body;
mod bulk;
mod call;
mod coding;
mod connection;
mod content;
mod cors;
mod docs;
pub(crate) mod exchange;
pub(crate) mod exposition;
pub(crate) mod health;
mod identity;
mod info;
mod inputs;
mod media_type;
pub(crate) mod memory;
pub(crate) mod methods;
mod metrics;
pub(crate) mod openapi;
mod options;
mod pack;
mod page;
mod paths;
mod predict;
pub(crate) mod problem;
mod request;
mod routes;
mod server;
mod stream;
pub(crate) mod version;

pub use bulk::Streamed;
pub use connection::Session;
pub use cors::{Origin, OriginError};
pub use exchange::{Handler, Reply};
pub use health::{Condition, Health, Readiness, State};
pub use info::Served;
pub use metrics::Metrics;
pub use predict::{predictions_json, texts_of};
pub use routes::Api;
pub use server::serve;

use std::time::Duration;

/// The bounds on what clients may hold of this server, and whose pages may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How many bytes the bodies of all requests in flight may take together,
    /// with 4 KiB for each request beside its body; at least `max_body_bytes`.
    pub body_memory: usize,
    /// How long a new connection may take until the head of its first request
    /// is complete.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive as a whole; of a bulk request,
    /// how long either side may be silent.
    pub body_timeout: Duration,
    /// How long a connection that has had a request may go on without one,
    /// between requests or with the head of the next one half sent.
    pub idle_timeout: Duration,
    /// How long requests in flight may go on after their client has closed its
    /// side of the connection: it may still wait for the answer, or be gone.
    pub half_close: Duration,
    /// How long connections are still accepted after shutdown was asked for.
    pub drain_delay: Duration,
    /// How long requests in flight may go on after that.
    pub drain: Duration,
    /// How long a connection of HTTP/1 may be idle after that before it is closed: its
    /// client may just be sending a request.
    pub close_grace: Duration,
    /// The most connections served at a time, at least 1; more wait unaccepted
    /// in the kernel's queue.
    pub max_connections: usize,
    /// The origins whose pages may ask from a browser.
    pub cors_origins: Vec<Origin>,
    /// Whether there is a line in the log about each request that has ended.
    pub log_requests: bool,
}

impl Default for HttpConfig {
    /// The idle timeout is longer than the 60 seconds for which common load
    /// balancers keep a connection, so that they are the ones to close it: a
    /// server that closes first races with their next request.
    fn default() -> Self {
        Self {
            max_body_bytes: 8 * 1024 * 1024,
            body_memory: 256 * 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            half_close: Duration::from_secs(1),
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(25),
            close_grace: Duration::from_secs(1),
            max_connections: 4096,
            cors_origins: Vec::new(),
            log_requests: false,
        }
    }
}
