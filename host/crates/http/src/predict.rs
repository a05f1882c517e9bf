//! `POST /predict`: a document of texts in, a document of scores out.
//!
//! This module must not know how the scores come about.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};
use tracing::Span;
use utoipa::ToSchema;

use super::body::Whole;
use super::call::{Outcome, Stages};
use super::exchange::json;
use super::inputs::Allowed;
use super::memory::Held;
use super::problem::Problem;
use super::request::{self, Form, Read};
use predictor::{Digest, ErrorKind, PredictError, Revision, Score, Scores};
use service::{Options, Predictions, Service};

/// The first digits of the digests of the guests that made the answer: one, unless
/// another one is on trial with a share of the texts.
pub(crate) const GUEST: HeaderName = HeaderName::from_static("x-fastsentiment-guest");

/// The same for the models.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("x-fastsentiment-model");

/// The same for the revisions, of which guest and model are parts.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("x-fastsentiment-revision");

/// How many of the texts were answered from what was kept.
pub(crate) const CACHE_HITS: HeaderName = HeaderName::from_static("x-fastsentiment-cache-hits");

/// Bodies up to this many bytes are parsed where they are. At some hundred
/// bytes per microsecond that is less than half a millisecond, not much more
/// than a change of threads costs; 8 MiB would keep every other connection of
/// the thread waiting for tens of milliseconds.
const PARSE_IN_PLACE: usize = 64 * 1024;

/// About how many bytes a label and its score take in an answer.
const SCORE_BYTES: usize = 48;

/// The route, with what it keeps from one request to the next.
pub(crate) struct Predict {
    service: Arc<Service>,
    allowed: Allowed,
    named: ArcSwapOption<Named>,
}

/// The revisions of an answer and their headers.
struct Named {
    revisions: Vec<Arc<Revision>>,
    guest: HeaderValue,
    model: HeaderValue,
    revision: HeaderValue,
}

impl Predict {
    pub(crate) fn new(service: Arc<Service>, allowed: Allowed) -> Self {
        Self {
            service,
            allowed,
            named: ArcSwapOption::empty(),
        }
    }

    /// Answers the document in a body.
    pub(crate) async fn answer(
        &self,
        options: Options,
        body: Whole,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let received = Instant::now();
        // The room is given back with the answer: until then the texts take it.
        let (Read { texts, form }, _held) = self.parse(body).await?;
        let parsing = received.elapsed();
        let predictions = if texts.given > texts.kept.len() {
            Err(self.service.too_many(texts.given))
        } else {
            self.service.predict(texts.kept, options).await
        };
        let predictions = predictions.map_err(|error| {
            log(&error, options);
            form.problem(error)
        })?;
        let mut response = self.respond(&predictions, &form)?;
        response.extensions_mut().insert(Outcome {
            texts: predictions.scores.len() as u64,
            hits: predictions.hits as u64,
            stages: Stages {
                received,
                parsing,
                lookup: predictions.lookup,
                work: predictions.work,
            },
        });
        Ok(response)
    }

    async fn parse(&self, body: Whole) -> Result<(Read, Held), Problem> {
        let (most, allowed) = (self.service.max_texts(), self.allowed);
        let is_short = body.bytes.len() <= PARSE_IN_PLACE;
        let parse = move || Ok((request::read(&body.bytes, most, allowed)?, body.held));
        if is_short {
            return parse();
        }
        let span = Span::current();
        let parsed = tokio::task::spawn_blocking(move || span.in_scope(parse)).await;
        parsed.unwrap_or_else(|error| {
            tracing::error!(%error, "a body could not be parsed");
            Err(Problem::failed())
        })
    }

    fn respond(
        &self,
        predictions: &Predictions,
        form: &Form,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let labels = predictions.scores.first().map_or(0, |scores| scores.len());
        let size = 32 + predictions.scores.len() * (2 + labels * SCORE_BYTES);
        let mut document = Vec::with_capacity(size);
        let scores = &*predictions.scores;
        match form {
            Form::Text => serde_json::to_writer(&mut document, &Document::from(scores)),
            Form::Inputs(inputs) => serde_json::to_writer(&mut document, &inputs.answer(scores)),
        }
        .map_err(|error| {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::failed()
        })?;
        let mut response = json(document.into());
        let named = self.named(&predictions.revisions)?;
        let headers = response.headers_mut();
        headers.insert(GUEST, named.guest.clone());
        headers.insert(MODEL, named.model.clone());
        headers.insert(REVISION, named.revision.clone());
        headers.insert(CACHE_HITS, predictions.hits.into());
        Ok(response)
    }

    /// The headers of revisions, which are nearly always those of the last answer.
    fn named(&self, revisions: &[Arc<Revision>]) -> Result<Arc<Named>, Problem> {
        if let Some(named) = &*self.named.load()
            && named.revisions == revisions
        {
            return Ok(Arc::clone(named));
        }
        let named = Arc::new(Named {
            revisions: revisions.to_vec(),
            guest: short(revisions.iter().map(|revision| revision.guest()))?,
            model: short(revisions.iter().map(|revision| revision.model()))?,
            revision: short(revisions.iter().map(|revision| revision.digest()))?,
        });
        self.named.store(Some(Arc::clone(&named)));
        Ok(named)
    }
}

/// The scores of the texts of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = Predictions)]
pub(crate) struct Document<'a> {
    /// For each text, in the order of the texts, the scores of all labels, highest
    /// first.
    #[schema(value_type = Vec<Vec<LabelledScore>>)]
    predictions: Lists<'a>,
}

impl<'a> From<&'a [Scores]> for Document<'a> {
    fn from(scores: &'a [Scores]) -> Self {
        Self {
            predictions: Lists::of(scores, usize::MAX),
        }
    }
}

/// The scores of each text, the highest of them.
pub(crate) struct Lists<'a> {
    scores: &'a [Scores],
    most: usize,
}

impl<'a> Lists<'a> {
    /// The `most` highest scores of each text.
    pub(crate) fn of(scores: &'a [Scores], most: usize) -> Self {
        Self { scores, most }
    }
}

impl Serialize for Lists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let each = self.scores.iter();
        serializer.collect_seq(each.map(|scores| List::of(scores, self.most)))
    }
}

/// The scores of one text.
pub(crate) struct List<'a>(pub(crate) &'a [Score]);

impl<'a> List<'a> {
    /// The `most` highest scores of a text.
    pub(crate) fn of(scores: &'a [Score], most: usize) -> Self {
        Self(&scores[..most.min(scores.len())])
    }
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(LabelledScore::from))
    }
}

/// How well a label fits a text.
#[derive(Serialize, ToSchema)]
#[schema(as = Score)]
pub(crate) struct LabelledScore<'a> {
    /// One of the labels of the model, or of the guest.
    label: &'a str,
    /// Written with as many digits as tell it from every other `f32`.
    score: f32,
}

impl<'a> From<&'a Score> for LabelledScore<'a> {
    fn from(Score { label, score }: &'a Score) -> Self {
        Self {
            label,
            score: *score,
        }
    }
}

/// The texts of a document that `POST /predict` takes, for use without HTTP.
///
/// # Errors
///
/// If the document is not one: what is wrong with it, for a person.
pub fn texts_of(document: &[u8]) -> Result<Vec<String>, String> {
    request::texts(document).map_err(|problem| problem.detail.into_owned())
}

/// The document with which `POST /predict` answers, for use without HTTP.
///
/// # Errors
///
/// None that is known; what the serialiser reports is passed on.
pub fn predictions_json(predictions: &Predictions) -> serde_json::Result<String> {
    serde_json::to_string(&Document::from(&*predictions.scores))
}

/// What digests begin with, each once.
fn short(digests: impl Iterator<Item = Digest>) -> Result<HeaderValue, Problem> {
    let mut names: Vec<String> = digests.map(|digest| digest.short()).collect();
    names.dedup();
    HeaderValue::try_from(names.join(", ")).map_err(|error| {
        tracing::error!(%error, "digests cannot be a header");
        Problem::failed()
    })
}

/// What a client does wrong is its own business, and what is shed under load
/// must not add the load of a log line each. Nothing of a text is logged.
pub(crate) fn log(error: &PredictError, options: Options) {
    let PredictError {
        kind,
        message,
        detail,
    } = error;
    let detail = detail.as_deref();
    match kind {
        ErrorKind::Failed => tracing::error!(reason = message, detail, "a prediction failed"),
        ErrorKind::TimedOut if options.timeout.is_some() => {
            tracing::debug!(reason = message, detail, "a client waited no longer");
        }
        ErrorKind::TimedOut | ErrorKind::Unavailable => {
            tracing::warn!(reason = message, detail, "a prediction was not made");
        }
        // The guest may have put anything of the text into its reason.
        ErrorKind::InvalidText { index } => tracing::debug!(index, "a guest refused a text"),
        ErrorKind::Overloaded { .. }
        | ErrorKind::TooManyTexts { .. }
        | ErrorKind::TextTooLong { .. } => {
            tracing::debug!(reason = message, detail, "a request was refused");
        }
    }
}
