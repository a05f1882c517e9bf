//! The lines of an answer, and how they get to the client.
//!
//! This module must not know how lines are read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, Version};
use serde::{Serialize, Serializer};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::Exchange;
use crate::body;
use crate::call::{Counts, Line};
use crate::content::Content;
use crate::exchange::MAX_DISCARDED;
use crate::predict::{LabelledScore, List};
use crate::problem::{FieldError, Problem};
use predictor::Score;

/// How long what a client goes on sending is read after the last line of an answer
/// that ended early, so that it is not reset before it has read that line.
const LINGER: Duration = Duration::from_secs(2);

/// Lines that are sent as they are made.
pub struct Streamed {
    pieces: mpsc::Receiver<Bytes>,
    /// Set before the last piece is taken.
    is_complete: Arc<AtomicBool>,
    counts: Arc<Counts>,
    /// What is to be written to the log when all has been taken.
    line: Option<Line>,
}

impl Streamed {
    /// Has a line written when the answer has ended.
    pub(crate) fn tell(&mut self, line: Line) {
        self.line = Some(line);
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.end_of_pieces(&self.counts, self.is_complete.load(Ordering::Acquire));
        }
    }
}

/// The answer was given up half way: its client must not take it for complete.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was given up")]
pub struct GivenUp;

impl Body for Streamed {
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

/// Answers with an exchange that has begun with these lines; `body` is what is left
/// of the request. What is done for it ends when the answer is dropped.
pub(crate) fn respond(
    (mut exchange, first): (Exchange, Option<Bytes>),
    version: Version,
    mut body: Content,
) -> Response<Streamed> {
    let (sender, pieces) = mpsc::channel(1);
    let is_complete = Arc::new(AtomicBool::new(false));
    let complete = Arc::clone(&is_complete);
    let counts = Arc::clone(&exchange.counts);
    let sending = async move {
        let all_sent = exchange.run(first, &mut body, &sender).await;
        complete.store(all_sent, Ordering::Release);
        drop((sender, exchange));
        let body = body.into_inner();
        // HTTP/2 can refuse the rest of a body by itself.
        if all_sent && version < Version::HTTP_2 && !body.is_end_stream() {
            body::discard(body, MAX_DISCARDED, LINGER).await;
        }
    };
    tokio::spawn(sending.in_current_span());
    let mut response = Response::new(Streamed {
        pieces,
        is_complete,
        counts,
        line: None,
    });
    let lines = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, lines);
    response
}

/// Writes the line of a text that has scores.
pub(super) fn predictions(out: &mut Vec<u8>, scores: &[Score]) -> Result<(), Problem> {
    write(out, &ScoredLine::of(scores))
}

/// The answer to a line that holds a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScoredLine<'a> {
    /// The scores of all labels, highest first.
    #[schema(value_type = Vec<LabelledScore>)]
    predictions: List<'a>,
}

impl<'a> ScoredLine<'a> {
    /// The line of a text with these scores.
    pub(crate) fn of(scores: &'a [Score]) -> Self {
        Self {
            predictions: List(scores),
        }
    }
}

/// Writes the line of a line that has none.
pub(super) fn error(out: &mut Vec<u8>, problem: &Problem, line: u64) {
    // Strings and numbers always serialise.
    let _ = write(out, &ErrorLine::of(problem, Some(line), None));
}

/// The last line of an answer that ends early, after the answer to a line.
pub(super) fn last(problem: &Problem, after: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = write(&mut out, &ErrorLine::of(problem, None, Some(after)));
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

/// A problem in a line:
///
/// ```json
/// {"error": {
///   "type": "urn:fastsentiment:problem:invalid-body",
///   "title": "Wrong fields",
///   "status": 422,
///   "detail": "`/text` must be a string, found a number",
///   "line": 7,
///   "errors": [{"pointer": "/text", "detail": "`/text` must be a string, found a number"}]
/// }}
/// ```
///
/// The last line of an answer that ends early has `after_line` instead of `line`:
/// the last line that was answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorLine<'a> {
    error: Members<'a>,
}

/// What is wrong with a line, or why an answer ends early.
#[derive(Serialize, ToSchema)]
#[schema(as = LineProblem)]
struct Members<'a> {
    /// The kind of problem, as in a problem document.
    #[schema(value_type = String, format = "uri", pattern = "^urn:fastsentiment:problem:[a-z-]+$")]
    r#type: Name,
    /// The kind of problem, for a person.
    title: &'static str,
    /// The status of an answer that would have this problem.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong and what is allowed, for a person.
    detail: &'a str,
    /// The number of the line, from 1; empty lines count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false, minimum = 1)]
    line: Option<u64>,
    /// The last line that was answered, in the last line of an answer that ends early.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false, minimum = 0)]
    after_line: Option<u64>,
    /// The parts of the line that are to blame; absent where there are none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    errors: &'a [FieldError],
}

struct Name(&'static str);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("urn:fastsentiment:problem:{}", self.0))
    }
}

impl<'a> ErrorLine<'a> {
    fn of(problem: &'a Problem, line: Option<u64>, after_line: Option<u64>) -> Self {
        let (status, name, title) = problem.kind.row();
        Self {
            error: Members {
                r#type: Name(name),
                title,
                status: status.as_u16(),
                detail: &problem.detail,
                line,
                after_line,
                errors: &problem.errors,
            },
        }
    }
}
