//! The lines of an answer, and how they reach the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use connection::body::discard;
use connection::decompress::Decompressed;
use http_body::Frame;
use predictor::Score;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::Exchange;
use crate::observe::Progress;
use crate::problem::{self, Problem};
use crate::scores::{LabelledScore, List};

/// How long the rest of a body is read after the last line of an answer that ended early,
/// so that the connection is not reset before the client has read that line.
const LINGER: Duration = Duration::from_secs(2);

/// Has nginx pass lines on as they are made.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The body of an answer, which its exchange sends piece by piece.
struct Streamed {
    pieces: mpsc::Receiver<Bytes>,
    is_complete: Arc<AtomicBool>,
    progress: Progress,
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.progress.end(self.is_complete.load(Ordering::Acquire));
    }
}

/// The exchange gave up: the client did not read, or a failure left nothing to say.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was given up")]
struct GivenUp;

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        Poll::Ready(match ready!(self.pieces.poll_recv(context)) {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if self.is_complete.load(Ordering::Acquire) => None,
            None => Some(Err(GivenUp)),
        })
    }
}

/// The response of an exchange whose `first` lines are there. A task of its own reads the
/// `body` and sends the rest.
pub(super) fn respond(
    mut exchange: Exchange,
    first: Option<Bytes>,
    mut body: Decompressed<Body>,
) -> Response {
    let (sender, pieces) = mpsc::channel(1);
    let is_complete = Arc::new(AtomicBool::new(false));
    let complete = Arc::clone(&is_complete);
    let progress = exchange.progress.clone();
    exchange.session.watch_answer();
    let sending = async move {
        let all_sent = exchange.run(first, &mut body, &sender).await;
        complete.store(all_sent, Ordering::Release);
        // It is read here, for as long as the client may need.
        exchange.session.ignore_rest();
        drop((sender, exchange));
        if all_sent {
            discard(body.get_mut(), LINGER).await;
        }
    };
    tokio::spawn(sending.in_current_span());
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (ACCEL_BUFFERING, "no"),
    ];
    let streamed = Streamed {
        pieces,
        is_complete,
        progress: progress.clone(),
    };
    let mut response = (headers, Body::new(streamed)).into_response();
    response.extensions_mut().insert(progress);
    response
}

/// A line with the scores of a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScoredLine<'a> {
    /// The scores of all labels, highest first.
    #[schema(value_type = Vec<LabelledScore>)]
    predictions: List<'a>,
}

impl<'a> ScoredLine<'a> {
    pub(crate) fn of(scores: &'a [Score]) -> Self {
        Self {
            predictions: List(scores),
        }
    }
}

/// A problem with a line, which then has `line`; or the last line of an answer that ends
/// early, which has `after_line`.
///
/// ```json
/// {"error": {
///   "type": "urn:fastsentiment:problem:invalid-body",
///   "title": "Wrong fields",
///   "status": 422,
///   "detail": "`/text` must be a string, found a number",
///   "errors": [{"pointer": "/text", "detail": "`/text` must be a string, found a number"}],
///   "line": 7
/// }}
/// ```
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorLine<'a> {
    error: problem::Document<'a>,
}

/// Writes the line of a text that has scores.
pub(super) fn predictions(out: &mut Vec<u8>, scores: &[Score]) -> Result<(), Problem> {
    write(out, &ScoredLine::of(scores))
}

/// Writes the line of a text that has none.
pub(super) fn error(out: &mut Vec<u8>, problem: &Problem, line: u64) {
    let error = problem::Document {
        line: Some(line),
        ..problem.document()
    };
    // Strings and numbers always serialise.
    let _ = write(out, &ErrorLine { error });
}

/// The last line of an answer that ends early, after the answer to a line.
pub(super) fn last(problem: &Problem, after: u64) -> Vec<u8> {
    let error = problem::Document {
        after_line: Some(after),
        ..problem.document()
    };
    let mut out = Vec::new();
    let _ = write(&mut out, &ErrorLine { error });
    out
}

fn write<T: Serialize>(out: &mut Vec<u8>, line: &T) -> Result<(), Problem> {
    let before = out.len();
    serde_json::to_writer(&mut *out, line).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        out.truncate(before);
        Problem::failed()
    })?;
    out.push(b'\n');
    Ok(())
}
