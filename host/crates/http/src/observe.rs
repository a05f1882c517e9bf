//! Observes every request: its id, its span in the log, metrics, `Server-Timing`, and a
//! line in the log once it has ended.
//!
//! Nothing of a body gets into a log line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument as _, Span};

use crate::Metrics;
use crate::problem::{self, Shape};
use crate::request_id::{self, REQUEST_ID};
use crate::server_timing::{SERVER_TIMING, Stages};

/// The target of log lines about requests, by which they can be filtered.
const TARGET: &str = "fastsentiment::request";

/// How much of a method and of a path is logged, in bytes. Clients choose both, and
/// either may fill the head of a request.
const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 256;

/// What observes the requests of a listener.
#[derive(Clone)]
pub(crate) struct Observer {
    /// The admin listener counts no requests.
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// Whether each finished request is logged.
    pub(crate) log_requests: bool,
}

/// What a handler reports about an answer to texts, in the response's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// How many texts were answered.
    pub(crate) texts: u64,
    /// How many of them came from the cache.
    pub(crate) hits: u64,
    pub(crate) stages: Stages,
}

/// Counts the texts of an answer that is streamed. Its handler puts it into the response's
/// extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    texts: AtomicU64,
    hits: AtomicU64,
    /// Set once, if the request is logged.
    line: std::sync::Mutex<Option<Line>>,
}

/// A log line about a request, written when this is dropped.
#[derive(Debug)]
struct Line {
    method: Method,
    uri: Uri,
    span: Span,
    started: Instant,
    /// None if the answer did not become complete.
    status: Option<StatusCode>,
    texts: Option<(u64, u64)>,
}

/// Observes a request on its way to its handler and back.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id::of(request.headers());
    let span = request_id::span(&id, request.headers());
    let measured = observer.metrics.as_ref().map(|metrics| {
        let path = request.extensions().get::<MatchedPath>();
        metrics.begin(request.method(), path.map(MatchedPath::as_str))
    });
    let mut line = observer.log_requests.then(|| Line {
        method: request.method().clone(),
        uri: request.uri().clone(),
        span: span.clone(),
        started,
        status: None,
        texts: None,
    });
    let shape = Shape::of(request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    problem::render(&mut response, &id, shape);
    if let Some(measured) = measured {
        measured.end(response.status());
    }
    let outcome = response.extensions_mut().remove::<Outcome>();
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if let Some(timing) = outcome.and_then(|outcome| outcome.stages.header(started)) {
        headers.insert(SERVER_TIMING, timing);
    }
    if let Some(line) = &mut line {
        line.status = Some(response.status());
        line.texts = outcome.map(|outcome| (outcome.texts, outcome.hits));
    }
    // A streamed answer is logged when its last piece is sent.
    if let (Some(progress), Some(line)) = (response.extensions().get::<Progress>(), line) {
        progress.log_at_end(line);
    }
    response
}

impl Progress {
    /// Counts one more answered text.
    pub(crate) fn add(&self, is_hit: bool) {
        self.0.texts.fetch_add(1, Ordering::Relaxed);
        self.0.hits.fetch_add(u64::from(is_hit), Ordering::Relaxed);
    }

    fn log_at_end(&self, line: Line) {
        let slot = self.0.line.lock();
        *slot.unwrap_or_else(std::sync::PoisonError::into_inner) = Some(line);
    }

    /// The last piece was sent, or the client left before that.
    pub(crate) fn end(&self, is_complete: bool) {
        let slot = self.0.line.lock();
        let line = slot
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(mut line) = line {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            line.texts = Some((count(&self.0.texts), count(&self.0.hits)));
            if !is_complete {
                line.status = None;
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let method = start(self.method.as_str(), MAX_METHOD);
        let path = start(self.uri.path(), MAX_PATH);
        let duration_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let duration_ms = (duration_ms * 1000.0).round() / 1000.0;
        let (texts, cache_hits) = self.texts.unzip();
        match self.status.map(|status| status.as_u16()) {
            Some(status) => tracing::info!(
                target: TARGET, parent: &self.span,
                method, path, status, duration_ms, texts, cache_hits,
                "request finished"
            ),
            None => tracing::info!(
                target: TARGET, parent: &self.span,
                method, path, duration_ms, texts, cache_hits,
                "request ended before its answer was complete"
            ),
        }
    }
}

/// The first bytes of a text, at most this many.
fn start(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
