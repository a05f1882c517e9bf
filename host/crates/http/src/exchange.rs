//! What every listener does with a request, whatever its routes: it is always
//! answered, also after a panic, and a body that nobody wants is dealt with.
//!
//! This module must not know routes, sockets or connections.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use serde::Serialize;

use super::body;
use super::bulk::Streamed;
use super::connection::Session;
use super::problem::Problem;

/// How much of a refused body is still read, in bytes. A client that sends it
/// all before it looks for the answer would otherwise find the connection
/// reset, and the answer lost with it.
pub(crate) const MAX_DISCARDED: usize = 64 * 1024 * 1024;

/// What a listener answers with: a document, or lines as they are made.
pub type Reply = Either<Full<Bytes>, Streamed>;

/// What answers the requests of a listener.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. It is dropped if its client leaves. The session is to be
    /// kept until the answer is made.
    fn answer(
        &self,
        request: Request<Incoming>,
        session: Session,
    ) -> impl Future<Output = Response<Reply>> + Send;

    /// Is told, whenever it changes, how many connections are open.
    fn connections(&self, _open: usize) {}
}

/// Resolves as `future` does, or to a problem if it panics. Unlike a task of
/// its own, it ends with the connection that waits for it, and so does its
/// work. What the panic says stays with the process's panic hook: it may hold
/// a text.
pub(crate) async fn contained<T>(
    future: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
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

/// The answer to a request of this id and head, of whose body this is left. What
/// still comes of the body is waited for no longer than `patience`.
pub(crate) fn settle(
    id: &HeaderValue,
    head: &Parts,
    body: Incoming,
    patience: Duration,
    answer: Result<Response<Full<Bytes>>, Problem>,
) -> Response<Full<Bytes>> {
    let mut response = answer.unwrap_or_else(|problem| problem.into_response_to(id));
    if head.method == Method::HEAD {
        let length = response.body().size_hint().lower();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        *response.body_mut() = Full::default();
    }
    // HTTP/2 can refuse the rest of a body by itself.
    if head.version < Version::HTTP_2 && !body.is_end_stream() {
        settle_body(head, body, patience, &mut response);
    }
    response
}

/// Decides what becomes of a body that was not read to its end.
fn settle_body(
    head: &Parts,
    body: Incoming,
    patience: Duration,
    response: &mut Response<Full<Bytes>>,
) {
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        // There is no telling where the next request would begin.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    } else if !head.headers.contains_key(EXPECT) {
        // A client that waits for `100 Continue` is not to be told to go on,
        // and reading would tell it. Any other is already sending.
        tokio::spawn(body::discard(body, MAX_DISCARDED, patience));
    }
}

/// A value as a JSON document with status 200.
pub(crate) fn document<T: Serialize>(value: &T) -> Result<Response<Full<Bytes>>, Problem> {
    let document = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::failed()
    })?;
    Ok(json(document.into()))
}

/// A JSON document with status 200.
pub(crate) fn json(document: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(document));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
