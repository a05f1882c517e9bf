//! `POST /predict`: a document of texts in, a document of scores out.
//!
//! This module must not know how the scores come about.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;

use super::problem::Problem;
use super::request;
use super::routes::json_response;
use crate::predictor::{Digest, ErrorKind, PredictError, Score};
use crate::service::{Options, Predictions, Service};

/// The first digits of the digest of the guest that made the answer.
const GUEST: HeaderName = HeaderName::from_static("x-fastsentiment-guest");

/// The first digits of the digest of the model that made the answer.
const MODEL: HeaderName = HeaderName::from_static("x-fastsentiment-model");

/// Bodies up to this many bytes are parsed where they are. At some hundred
/// bytes per microsecond that is less than half a millisecond, not much more
/// than a change of threads costs; 8 MiB would keep every other connection of
/// the thread waiting for tens of milliseconds.
const PARSE_IN_PLACE: usize = 64 * 1024;

/// Answers the document in `body`.
pub(crate) async fn answer(
    service: &Service,
    body: Vec<u8>,
) -> Result<Response<Full<Bytes>>, Problem> {
    let texts = if body.len() <= PARSE_IN_PLACE {
        request::texts(&body)
    } else {
        let parsed = tokio::task::spawn_blocking(move || request::texts(&body));
        parsed.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a body could not be parsed");
            Err(Problem::failed())
        })
    }?;
    let predictions = service
        .predict(texts, Options::default())
        .await
        .inspect_err(log)?;
    respond(&predictions)
}

/// The answer's document: a list for each text, in the order of the texts.
#[derive(Serialize)]
struct Document<'a> {
    predictions: Vec<Vec<LabelledScore<'a>>>,
}

#[derive(Serialize)]
struct LabelledScore<'a> {
    label: &'a str,
    /// Written with as many digits as tell it from every other `f32`.
    score: f32,
}

impl<'a> From<&'a Predictions> for Document<'a> {
    fn from(predictions: &'a Predictions) -> Self {
        let texts = predictions.scores.iter();
        Self {
            predictions: texts
                .map(|scores| scores.iter().map(LabelledScore::from).collect())
                .collect(),
        }
    }
}

impl<'a> From<&'a Score> for LabelledScore<'a> {
    fn from(Score { label, score }: &'a Score) -> Self {
        Self {
            label,
            score: *score,
        }
    }
}

/// The document with which `POST /predict` answers, for use without HTTP.
///
/// # Errors
///
/// None that is known; what the serialiser reports is passed on.
pub fn predictions_json(predictions: &Predictions) -> serde_json::Result<String> {
    serde_json::to_string(&Document::from(predictions))
}

fn respond(predictions: &Predictions) -> Result<Response<Full<Bytes>>, Problem> {
    let mut response = json_response(&Document::from(predictions))?;
    let headers = response.headers_mut();
    headers.insert(GUEST, short(&predictions.version.guest)?);
    headers.insert(MODEL, short(&predictions.version.model)?);
    Ok(response)
}

fn short(digest: &Digest) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(digest.short()).map_err(|error| {
        tracing::error!(%error, "a digest cannot be a header");
        Problem::failed()
    })
}

/// What a client does wrong is its own business, and what is shed under load
/// must not add the load of a log line each.
fn log(error: &PredictError) {
    let PredictError {
        kind,
        message,
        detail,
    } = error;
    let detail = detail.as_deref();
    match kind {
        ErrorKind::Failed => tracing::error!(reason = message, detail, "a prediction failed"),
        ErrorKind::TimedOut | ErrorKind::Unavailable => {
            tracing::warn!(reason = message, detail, "a prediction was not made");
        }
        ErrorKind::Overloaded { .. }
        | ErrorKind::TooManyTexts { .. }
        | ErrorKind::TextTooLong { .. }
        | ErrorKind::InvalidText { .. } => {
            tracing::debug!(reason = message, detail, "a request was refused");
        }
    }
}
