//! Which path of the admin listener does what.
//!
//! This module must not know sockets or connections.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use prometheus::{Registry, TextEncoder};

use crate::http::exchange::{contained, settle};
use crate::http::health::{self, read_only};
use crate::http::problem::{Kind, Problem};
use crate::http::{Handler, Readiness};

/// How long the rest of a body is waited for that nobody wants.
const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// The API of the admin listener.
pub struct Api {
    registry: Registry,
    readiness: Readiness,
}

impl Api {
    /// Tells what is in `registry`, and of the server's state.
    pub fn new(registry: Registry, readiness: Readiness) -> Self {
        Self {
            registry,
            readiness,
        }
    }

    fn route(&self, head: &Parts) -> Result<Response<Full<Bytes>>, Problem> {
        match head.uri.path() {
            "/metrics" => {
                read_only(&head.method)?;
                self.metrics()
            }
            path @ ("/health" | "/health/live" | "/health/ready") => {
                health::answer(path, &head.method, &self.readiness)
            }
            _ => Err(Problem::new(
                Kind::NotFound,
                "there is nothing at this path; see `GET /metrics`, `GET /health/live` and \
                 `GET /health/ready`",
            )),
        }
    }

    fn metrics(&self) -> Result<Response<Full<Bytes>>, Problem> {
        let text = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|error| {
                tracing::error!(%error, "the metrics could not be written");
                Problem::failed()
            })?;
        let mut response = Response::new(Full::from(text));
        let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, format);
        Ok(response)
    }
}

impl Handler for Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let answer = contained(async { self.route(&head) }).await;
        settle(&head, body, BODY_PATIENCE, answer)
    }
}
