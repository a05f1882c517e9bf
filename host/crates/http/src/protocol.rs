//! The protocols in which texts can be sent to be scored: how each reads a request, and
//! writes its answer. What happens in between is `predict`, and the same for all.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use predictor::Digest;
use serde::Serialize;
use serde_json::Value;
use service::Predictions;

use crate::infer::{self, HEADER_LENGTH, Target};
use crate::problem::Problem;
use crate::request::{self, Form, Read};
use crate::scores::Document;
use crate::{Served, classify, media_type};

/// About how many bytes a label and its score take in an answer.
const SCORE_BYTES: usize = 48;

/// How a request and its answer are written.
pub(crate) enum Protocol {
    /// `POST /predict`
    Own,
    /// The same, with one text answered as Text Embeddings Inference does.
    Tei,
    /// The Open Inference Protocol.
    Infer(Target),
    /// `POST /classify`
    Classify,
}

/// The body of an answer.
pub(crate) struct Written {
    document: Vec<u8>,
    /// The length of the JSON in it, if something follows.
    json: Option<usize>,
}

impl Protocol {
    /// Whether texts may come as lines of JSON.
    pub(crate) fn has_lines(&self) -> bool {
        matches!(self, Self::Own | Self::Tei)
    }

    pub(crate) fn require_media_type(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Infer(target) if target.header.is_some() => {
                media_type::require_json_or_bytes(headers)
            }
            _ => media_type::require_json(headers),
        }
    }

    /// The only revision that may answer.
    pub(crate) fn revision(&self) -> Option<Digest> {
        match self {
            Self::Infer(target) => target.revision,
            Self::Own | Self::Tei | Self::Classify => None,
        }
    }

    /// Reads a request, of which at most `max_texts` texts are kept.
    pub(crate) fn read(
        self,
        body: &[u8],
        max_texts: usize,
        served: &Served,
    ) -> Result<Read, Problem> {
        match self {
            Self::Own => request::read(body, max_texts, || served.allowed()),
            Self::Tei => {
                let mut read = request::read(body, max_texts, || served.allowed())?;
                if let Form::Inputs(inputs) = &mut read.form {
                    inputs.is_tei = true;
                }
                Ok(read)
            }
            Self::Infer(target) => {
                let (texts, mut infer) = infer::read(body, target.header, max_texts)?;
                infer.model = target.model;
                Ok(Read::of(texts, Form::Infer(infer)))
            }
            Self::Classify => {
                let (texts, classify) = classify::read(body, max_texts, served)?;
                Ok(Read::of(texts, Form::Classify(classify)))
            }
        }
    }
}

impl Written {
    /// A document of JSON.
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, Problem> {
        Self::json_of(value, 0)
    }

    /// The same, which is about so many bytes long.
    fn json_of(value: &impl Serialize, size: usize) -> Result<Self, Problem> {
        let mut document = Vec::with_capacity(size);
        serde_json::to_writer(&mut document, value).map_err(|error| {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::failed()
        })?;
        let json = None;
        Ok(Self { document, json })
    }

    /// The document, if it is JSON alone.
    pub(crate) fn value(&self) -> Option<Value> {
        serde_json::from_slice(&self.document).ok()
    }

    /// The same, followed by binary tensors.
    pub(crate) fn followed_by(mut self, binary: &[u8]) -> Self {
        self.json = Some(self.document.len());
        self.document.extend_from_slice(binary);
        self
    }
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        let media_type = match self.json {
            None => "application/json",
            Some(_) => "application/octet-stream",
        };
        let mut response = Body::from(self.document).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(json) = self.json {
            headers.insert(HEADER_LENGTH, json.into());
        }
        response
    }
}

/// The answer of these revisions, in the form of the request.
pub(crate) fn write(
    predictions: &Predictions,
    form: &Form,
    revisions: &HeaderValue,
) -> Result<Written, Problem> {
    let scores = &*predictions.scores;
    let labels = scores.first().map_or(0, |scores| scores.len());
    let size = 32 + scores.len() * (2 + labels * SCORE_BYTES);
    match form {
        Form::Text => Written::json_of(&Document::from(scores), size),
        Form::Inputs(inputs) => Written::json_of(&inputs.answer(scores), size),
        Form::Infer(infer) => infer.write(predictions, revisions.to_str().unwrap_or_default()),
        Form::Classify(classify) => classify.write(predictions),
    }
}
