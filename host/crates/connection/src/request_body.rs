//! The body of a request as it arrives from the network.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use hyper::http::request::Parts;

use crate::Session;
use crate::activity::InFlight;
use crate::body::discard;

/// What a handler has said of its request.
#[derive(Default)]
pub(crate) struct Flags {
    /// Whether the connection closes after the answer.
    pub(crate) closes: AtomicBool,
    /// Whether the rest of the body is ignored, instead of read.
    pub(crate) is_ignored: AtomicBool,
    /// Whether the handler itself watches that the client reads the answer.
    pub(crate) is_watched: AtomicBool,
    /// Whether the request was refused for want of capacity.
    pub(crate) is_refused: AtomicBool,
}

/// A request body whose rest is read and discarded when it is dropped, so that the client
/// sees the answer and the connection can go on.
pub struct RequestBody {
    /// None once it has ended.
    body: Option<Incoming>,
    discards: bool,
    timeout: Duration,
    flags: Arc<Flags>,
    /// The connection is not idle while the rest is read.
    in_flight: Arc<InFlight>,
}

impl RequestBody {
    pub(crate) fn new(head: &Parts, body: Incoming, timeout: Duration, session: &Session) -> Self {
        Self {
            body: Some(body),
            // An HTTP/1 client that waits for `100 Continue` must not be told to go on,
            // which reading would do. HTTP/2 could refuse the rest of a body by itself,
            // but curl up to 7.88 and httpx take that for an error, and lose the answer.
            discards: head.version >= Version::HTTP_2 || !head.headers.contains_key(EXPECT),
            timeout,
            flags: Arc::clone(&session.flags),
            in_flight: Arc::clone(&session.in_flight),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if let Some(mut body) = unread
            && self.discards
            && !self.flags.is_ignored.load(Ordering::Acquire)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (timeout, in_flight) = (self.timeout, Arc::clone(&self.in_flight));
            runtime.spawn(async move {
                discard(&mut body, timeout).await;
                drop(in_flight);
            });
        }
    }
}
