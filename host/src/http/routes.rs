//! From a request to its answer: routing, the order of the checks, and the
//! promise that every request gets an answer, whatever happens on the way.
//!
//! This module must not know sockets or connections.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use serde::Serialize;
use serde_json::json;

use super::problem::{Kind, Problem};
use super::{HttpConfig, body, media_type, predict};
use crate::service::Service;

/// How much of a refused body is still read, in bytes. A client that sends it
/// all before it looks for the answer would otherwise find the connection
/// reset, and the answer lost with it.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;

/// The API, for any number of connections.
pub(crate) struct Api {
    service: Arc<Service>,
    max_body_bytes: usize,
    body_timeout: Duration,
}

impl Api {
    pub(crate) fn new(service: Arc<Service>, config: &HttpConfig) -> Self {
        Self {
            service,
            max_body_bytes: config.max_body_bytes,
            body_timeout: config.body_timeout,
        }
    }

    /// Answers a request, if need be with a problem.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, mut body) = request.into_parts();
        let routed = contained(self.route(&head, &mut body)).await;
        let mut response = routed.unwrap_or_else(Problem::into_response);

        if head.method == Method::HEAD {
            let length = response.body().size_hint().lower();
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            *response.body_mut() = Full::default();
        }
        // HTTP/2 can refuse the rest of a body by itself.
        if head.version < Version::HTTP_2 {
            self.settle_body(&head, body, &mut response);
        }
        response
    }

    async fn route(
        &self,
        head: &Parts,
        body: &mut Incoming,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        match (head.uri.path(), &head.method) {
            ("/predict", &Method::POST) => {
                media_type::require_json(&head.headers)
                    .map_err(|detail| Problem::new(Kind::UnsupportedMediaType, detail))?;
                let body = body::read(body, self.max_body_bytes, self.body_timeout).await?;
                predict::answer(&self.service, body).await
            }
            ("/predict", _) => Err(Problem::method_not_allowed("POST")),
            ("/health", &Method::GET | &Method::HEAD) => json_response(&json!({"status": "ok"})),
            ("/health", _) => Err(Problem::method_not_allowed("GET, HEAD")),
            _ => Err(Problem::new(
                Kind::NotFound,
                "there is nothing at this path; see `POST /predict` and `GET /health`",
            )),
        }
    }

    /// Decides what becomes of a body that was not read to its end.
    fn settle_body(&self, head: &Parts, body: Incoming, response: &mut Response<Full<Bytes>>) {
        if body.is_end_stream() {
            return;
        }
        if response.status() == StatusCode::REQUEST_TIMEOUT {
            // There is no telling where the next request would begin.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        } else if !head.headers.contains_key(EXPECT) {
            // A client that waits for `100 Continue` is not to be told to go
            // on, and reading would tell it. Any other is already sending.
            tokio::spawn(body::discard(body, MAX_DISCARDED, self.body_timeout));
        }
    }
}

/// A document with status 200.
pub(crate) fn json_response(document: &impl Serialize) -> Result<Response<Full<Bytes>>, Problem> {
    let bytes = serde_json::to_vec(document).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::failed()
    })?;
    let mut response = Response::new(Full::from(bytes));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Resolves as `future` does, or to a problem if it panics. Unlike a task of
/// its own, it ends with the connection that waits for it, and so does its
/// work. What the panic says stays with the process's panic hook: it may hold
/// a text.
async fn contained<T>(future: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // After a panic the future is not polled again, and what it borrows is
        // only used to refuse the rest of the body.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            tracing::error!("a request ended in a panic");
            Poll::Ready(Err(Problem::failed()))
        })
    })
    .await
}
