//! The Open Inference Protocol, version 2 (KServe, Triton, OpenVINO Model Server, Seldon),
//! with Triton's extension for binary tensors. `POST .../infer` is one more way to write the
//! request and the answer of `POST /predict`; what is between them is the same.
//!
//! The model goes by the name of its directory, as in `GET /info`, and by [`ALIAS`], which
//! stays the same when another model is made live. Its versions are the revisions that
//! answer texts: the live one, and a canary.
//!
//! This module must not know how a prediction is made, nor what limits a request has.

mod answer;
mod binary;
mod request;
mod routes;
mod values;

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use predictor::{Digest, PredictError};

use crate::problem::{Kind, Problem};
pub(crate) use request::read;
pub(crate) use routes::{Inference, router, unknown_model};

/// The length of the JSON at the beginning of a body, if binary tensors follow it.
pub(crate) const HEADER_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// The name of the model that does not depend on which one is live.
pub(crate) const ALIAS: &str = "fastsentiment";

/// What a request asks for beside its texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Infer {
    /// The name of the model, as in the request's path.
    pub(crate) model: String,
    id: Option<String>,
    outputs: Vec<Wanted>,
    /// How long the client waits.
    pub(crate) timeout: Option<Duration>,
}

/// An output that is wanted.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    output: Output,
    binary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Labels,
    Scores,
}

impl Output {
    fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Scores => "scores",
        }
    }

    fn datatype(self) -> &'static str {
        match self {
            Self::Labels => "BYTES",
            Self::Scores => "FP32",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let all = [Self::Labels, Self::Scores];
        all.into_iter().find(|output| output.name() == name)
    }
}

impl Infer {
    /// The problem of a failed prediction.
    pub(crate) fn problem(error: PredictError) -> Problem {
        Problem::of_texts(error, |text| match text {
            Some(index) => format!("/inputs/0/data/{index}"),
            None => "/inputs/0/data".to_owned(),
        })
    }
}

/// What the path and the head of a request ask for.
pub(crate) struct Target {
    /// The name of the model.
    pub(crate) model: String,
    /// The only revision that may answer, if there is one.
    pub(crate) revision: Option<Digest>,
    /// The length of the JSON, if binary tensors follow it.
    pub(crate) header: Option<usize>,
}

/// The length of the JSON at the beginning of the body, if something follows it.
pub(crate) fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let mut values = headers.get_all(HEADER_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = value.to_str().unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number || values.next().is_some() {
        let detail = format!(
            "`{HEADER_LENGTH}` must be given once, as the length in bytes of the JSON at the \
             beginning of the body"
        );
        return Err(Problem::new(Kind::InvalidHeader, detail));
    }
    // A number too large to parse is beyond any body.
    Ok(Some(digits.parse().unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests;
