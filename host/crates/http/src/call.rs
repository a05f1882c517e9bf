//! A request from its head to the end of its answer, whatever is asked for: it is
//! named to its client, its stages are timed, and a line of the log can be written
//! about it.
//!
//! This module must not know routes. Nothing of a body gets into a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Either;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tracing::Span;

use super::exchange::Reply;
use super::identity::{self, REQUEST_ID};
use predictor::Work;

/// Where the time of an answer went (W3C Server Timing).
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The target of the lines about requests, so that they can be chosen by it.
const TARGET: &str = "fastsentiment::request";

/// How much of a path is in a line, in bytes: a client chooses it.
const MAX_PATH: usize = 256;

/// A request on its way.
pub(crate) struct Call {
    id: HeaderValue,
    span: Span,
    begun: Instant,
    line: Option<Line>,
}

/// What is known of an answer to texts beside the answer. Whoever makes the answer
/// puts it into the extensions of the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// How many texts were answered.
    pub(crate) texts: u64,
    /// How many of them from what was kept.
    pub(crate) hits: u64,
    pub(crate) stages: Stages,
}

/// The stages of an answer to texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    /// When the whole of the body was there.
    pub(crate) received: Instant,
    /// How long it took to find the texts in it.
    pub(crate) parsing: Duration,
    /// How long it took until all that had to be computed was handed on.
    pub(crate) lookup: Duration,
    /// What was done for the texts that were computed: the longest of each.
    pub(crate) work: Option<Work>,
}

/// The texts of an answer that is made in pieces, so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    texts: AtomicU64,
    hits: AtomicU64,
}

impl Counts {
    /// One more text is answered.
    pub(crate) fn add(&self, is_hit: bool) {
        self.texts.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(u64::from(is_hit), Ordering::Relaxed);
    }
}

/// A line of the log about a request, to be written when it has ended. Dropped
/// before, it says so.
pub(crate) struct Line {
    method: Method,
    uri: Uri,
    span: Span,
    begun: Instant,
    status: Option<StatusCode>,
    texts: Option<(u64, u64)>,
}

impl Call {
    /// A request of which the head has come, about which a line `is_logged`.
    pub(crate) fn begin<B>(request: &Request<B>, is_logged: bool) -> Self {
        let id = identity::id(request.headers());
        let span = identity::span(&id, request.headers());
        let begun = Instant::now();
        let line = is_logged.then(|| Line {
            method: request.method().clone(),
            uri: request.uri().clone(),
            span: span.clone(),
            begun,
            status: None,
            texts: None,
        });
        Self {
            id,
            span,
            begun,
            line,
        }
    }

    /// What it is known by.
    pub(crate) fn id(&self) -> HeaderValue {
        self.id.clone()
    }

    /// What its lines in the log belong to.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Its answer has been made, or begun.
    pub(crate) fn end(self, mut response: Response<Reply>) -> Response<Reply> {
        let outcome = response.extensions_mut().remove::<Outcome>();
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.id);
        if let Some(outcome) = &outcome {
            outcome.stages.tell(self.begun, headers);
        }
        if let Some(mut line) = self.line {
            line.status = Some(response.status());
            line.texts = outcome.map(|outcome| (outcome.texts, outcome.hits));
            match response.body_mut() {
                Either::Left(_) => line.end(),
                Either::Right(streamed) => streamed.tell(line),
            }
        }
        response
    }
}

impl Stages {
    /// Adds the header of a request that began so: milliseconds, as its standard
    /// says.
    fn tell(&self, begun: Instant, headers: &mut HeaderMap) {
        let (queued, scored) = match self.work {
            Some(work) => (Some(work.queued), Some(work.scored)),
            None => (None, None),
        };
        let mut text = Vec::with_capacity(112);
        for (name, took) in [
            ("read", Some(self.received.saturating_duration_since(begun))),
            ("parse", Some(self.parsing)),
            ("cache", Some(self.lookup)),
            ("queue", queued),
            ("predict", scored),
            ("total", Some(begun.elapsed())),
        ] {
            let Some(took) = took else {
                continue;
            };
            if !text.is_empty() {
                text.extend(b", ");
            }
            text.extend(name.as_bytes());
            text.extend(b";dur=");
            add_millis(&mut text, took);
        }
        let text = HeaderValue::from_maybe_shared(Bytes::from(text));
        headers.extend(text.map(|text| (SERVER_TIMING, text)));
    }
}

/// Adds a duration in milliseconds with three decimal places. Every answer to texts
/// has some of them, and what the standard library's formatting does takes as long as
/// finding a text in the cache.
fn add_millis(text: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_secs().saturating_mul(1_000_000);
    let mut micros = micros.saturating_add(u64::from(duration.subsec_micros()));
    // The digits from the last to the first; a `u64` has 20 at most.
    let mut digits = [b'0'; 21];
    let mut at = digits.len();
    while at > digits.len() - 5 || micros > 0 {
        at -= 1;
        if at == digits.len() - 4 {
            digits[at] = b'.';
            continue;
        }
        digits[at] += u8::try_from(micros % 10).unwrap_or_default();
        micros /= 10;
    }
    text.extend(&digits[at..]);
}

impl Line {
    /// The last piece of an answer was taken, or the client left before that.
    pub(crate) fn end_of_pieces(mut self, counts: &Arc<Counts>, is_complete: bool) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.texts = Some((count(&counts.texts), count(&counts.hits)));
        if !is_complete {
            self.status = None;
        }
        self.end();
    }

    fn end(self) {
        drop(self);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let path = self.uri.path();
        let path = &path[..path.floor_char_boundary(MAX_PATH)];
        let method = self.method.as_str();
        let duration_ms = self.begun.elapsed().as_secs_f64() * 1000.0;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_in_milliseconds() {
        let begun = Instant::now();
        let millis = Duration::from_micros;
        let mut stages = Stages {
            received: begun + millis(1_500),
            parsing: millis(12),
            lookup: millis(0),
            work: Some(Work {
                queued: millis(2_000_007),
                scored: millis(1_234_567),
            }),
        };
        let told = |stages: &Stages| {
            let mut headers = HeaderMap::new();
            stages.tell(begun, &mut headers);
            let told = headers[SERVER_TIMING].to_str().unwrap().to_owned();
            let (stages, total) = told.split_once(", total;dur=").unwrap();
            assert!(total.parse::<f64>().unwrap() >= 0.0);
            stages.to_owned()
        };
        assert_eq!(
            told(&stages),
            "read;dur=1.500, parse;dur=0.012, cache;dur=0.000, queue;dur=2000.007, \
             predict;dur=1234.567"
        );
        stages.work = Some(Work {
            queued: Duration::MAX,
            scored: millis(999),
        });
        let longest = "queue;dur=18446744073709551.615, predict;dur=0.999";
        assert!(told(&stages).ends_with(longest), "{}", told(&stages));
        stages.work = None;
        assert_eq!(
            told(&stages),
            "read;dur=1.500, parse;dur=0.012, cache;dur=0.000"
        );
    }
}
