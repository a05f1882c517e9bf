//! Errors as clients see them: problem details (RFC 9457). This is the only place where a
//! kind of failure becomes a status.

mod kind;
mod shape;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::response::{IntoResponse, Response};
use connection::body::BodyError;
use predictor::{ErrorKind, PredictError};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::coding;
pub(crate) use kind::Kind;
pub(crate) use shape::{InferError, OpenAiError, Shape};

/// `Retry-After` unless more is known; it counts in whole seconds.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The prefix of all problem types.
pub(crate) const TYPE: &str = "urn:fastsentiment:problem:";

/// What is wrong with one part of a request's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// Where: a JSON Pointer (RFC 6901), such as `/text/3`; the empty string
    /// points to the whole document.
    pub(crate) pointer: String,
    /// What is wrong there and what is allowed, for a person to read.
    pub(crate) detail: String,
}

/// A failure as the client sees it. As `application/problem+json`:
///
/// ```json
/// {
///   "type": "urn:fastsentiment:problem:invalid-body",
///   "title": "Wrong fields",
///   "status": 422,
///   "detail": "`/text/3` must be a string, found a number",
///   "errors": [
///     {"pointer": "/text/3", "detail": "`/text/3` must be a string, found a number"}
///   ],
///   "request_id": "0199a3c2-6f57-7b1c-8d3e-0a9f5c2b7e41"
/// }
/// ```
///
/// `errors` is present only where parts of the body are wrong, `step` only where a
/// guest was refused, and `missing` only where a server is starting. Programs should
/// look at `type`, `errors[].pointer` and `step`; the other texts are for people and may
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    /// What was wrong and what is allowed, for people; never a text of a request.
    pub(crate) detail: Cow<'static, str>,
    /// The parts of the body that are wrong.
    pub(crate) errors: Vec<FieldError>,
    /// The step at which a guest was refused.
    step: Option<&'static str>,
    /// Whether the document has the fields of Text Embeddings Inference as well.
    is_tei: bool,
    /// When to try again, for the `Retry-After` header.
    retry_after: Option<Duration>,
    /// What a starting server still has to load.
    missing: Missing,
}

/// What a starting server still has to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Nothing,
    Guest,
    ModelAndGuest,
}

impl Missing {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Guest => &["guest"],
            Self::ModelAndGuest => &["model", "guest"],
        }
    }
}

/// What went wrong (RFC 9457). Programs should look at `type`,
/// `errors[].pointer` and `step`; the other texts are for people and may change.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// The kind of problem. A name once published keeps its meaning.
    #[schema(value_type = String, format = "uri", pattern = "^urn:fastsentiment:problem:[a-z-]+$")]
    pub(crate) r#type: Name<'a>,
    /// The kind of problem, for a person.
    pub(crate) title: &'a str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub(crate) status: u16,
    /// What was wrong and what is allowed, for a person.
    pub(crate) detail: &'a str,
    /// The parts of the body that are wrong; absent where there are none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    pub(crate) errors: &'a [FieldError],
    /// The step at which a guest was refused; absent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub(crate) step: Option<&'static str>,
    /// The same as `detail`, for clients of Text Embeddings Inference; present for
    /// requests with `inputs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub(crate) error: Option<&'a str>,
    /// The kind of error for such clients; present where `error` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) error_type: Option<ErrorType>,
    /// What a starting server still has to load: `model`, `guest`; absent elsewhere.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pub(crate) missing: &'a [&'static str],
    /// The id of the request, as in the header `x-request-id`. The server's log has it in
    /// every line about the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, max_length = 128)]
    pub(crate) request_id: Option<&'a str>,
    /// The number of the line that is wrong, from 1, in answers to lines of JSON; empty
    /// lines count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false, minimum = 1)]
    pub(crate) line: Option<u64>,
    /// The last line that was answered, in the last line of an answer that ends early.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false, minimum = 0)]
    pub(crate) after_line: Option<u64>,
}

/// The kinds of error of Text Embeddings Inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum ErrorType {
    /// The request is wrong.
    Validation,
    /// Too much work is waiting.
    Overloaded,
    /// The server cannot predict at the moment.
    Unhealthy,
    /// The prediction failed, or took too long.
    Backend,
}

impl From<Kind> for ErrorType {
    fn from(kind: Kind) -> Self {
        let (status, ..) = kind.row();
        match status {
            _ if matches!(kind, Kind::Overloaded | Kind::RateLimited) => Self::Overloaded,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unhealthy,
            status if status.is_server_error() => Self::Backend,
            _ => Self::Validation,
        }
    }
}

/// The type of a problem, written without an allocation: an overloaded server has no
/// time to waste.
pub(crate) struct Name<'a>(&'a str);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{TYPE}{}", self.0))
    }
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            step: None,
            is_tei: false,
            retry_after: None,
            missing: Missing::Nothing,
        }
    }

    /// Says when to try again.
    #[must_use]
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A problem in parts of the body.
    pub(crate) fn in_fields(kind: Kind, detail: String, errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(kind, detail)
        }
    }

    /// A guest that cannot be served, and the step that found it.
    pub(crate) fn guest_refused(step: &'static str, detail: String) -> Self {
        Self {
            step: Some(step),
            ..Self::new(Kind::GuestRefused, detail)
        }
    }

    /// A server that is starting, and what it still has to load.
    pub(crate) fn missing(detail: &'static str, missing: Missing) -> Self {
        Self {
            missing,
            ..Self::new(Kind::Starting, detail)
        }
    }

    /// A method that the path does not take; it takes those in `allow`.
    pub(crate) fn method_not_allowed(allow: &str) -> Self {
        Self::new(Kind::MethodNotAllowed, format!("this path takes {allow}"))
    }

    /// An internal failure, about which a client learns nothing more.
    pub(crate) fn failed() -> Self {
        Self::new(
            Kind::Failed,
            "the request failed; the server's log says why",
        )
    }

    /// The same with `error` and `error_type`, for clients of Text Embeddings Inference.
    pub(crate) fn for_tei(self) -> Self {
        Self {
            is_tei: true,
            ..self
        }
    }

    /// What went wrong with texts. `pointer` gives the place of a text in the body, or of
    /// all of them. The detail for the log is left out, and so is the whole message of an
    /// internal failure.
    pub(crate) fn of_texts(
        error: PredictError,
        pointer: impl FnOnce(Option<usize>) -> String,
    ) -> Self {
        let kind = Kind::from(&error.kind);
        let pointer = match error.kind {
            ErrorKind::TooManyTexts { .. } => pointer(None),
            ErrorKind::TextTooLong { index, .. } | ErrorKind::InvalidText { index } => {
                pointer(Some(index))
            }
            ErrorKind::Overloaded { retry_after } => {
                return Self::new(kind, error.message).retry_after(retry_after);
            }
            ErrorKind::UnknownRevision | ErrorKind::TimedOut | ErrorKind::Unavailable => {
                return Self::new(kind, error.message);
            }
            ErrorKind::Failed => return Self::failed(),
        };
        let detail = format!("`{pointer}`: {}", error.message);
        let errors = vec![FieldError {
            pointer,
            detail: detail.clone(),
        }];
        Self::in_fields(kind, detail, errors)
    }

    /// The document that the client gets.
    pub(crate) fn document(&self) -> Document<'_> {
        let (status, name, title) = self.kind.row();
        Document {
            r#type: Name(name),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            step: self.step,
            error: self.is_tei.then_some(&*self.detail),
            error_type: self.is_tei.then(|| self.kind.into()),
            missing: self.missing.names(),
            request_id: None,
            line: None,
            after_line: None,
        }
    }

    /// The headers that depend on the problem.
    pub(crate) fn headers(&self) -> Vec<(axum::http::HeaderName, HeaderValue)> {
        let (status, ..) = self.kind.row();
        let mut headers = Vec::new();
        if self.kind == Kind::UnsupportedContentEncoding {
            let accepted = HeaderValue::from_static(coding::ACCEPTED);
            headers.push((ACCEPT_ENCODING, accepted));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.push((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || self.retry_after.is_some() {
            let known = self.retry_after.unwrap_or_default();
            let wait = known.max(MIN_RETRY_AFTER);
            let started = u64::from(wait.subsec_nanos() > 0);
            let seconds = wait.as_secs().saturating_add(started);
            headers.push((RETRY_AFTER, seconds.into()));
        }
        headers
    }
}

impl IntoResponse for Problem {
    /// A response without a body: [`render`] writes it once the request's id is known.
    fn into_response(self) -> Response {
        let mut response = self.kind.row().0.into_response();
        response.headers_mut().extend(self.headers());
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the document of a problem into the response to the request with this id.
pub(crate) fn render(response: &mut Response, request_id: &HeaderValue, shape: Shape) {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return;
    };
    let document = Document {
        request_id: request_id.to_str().ok(),
        ..problem.document()
    };
    let document = shape.write(&document);
    *response.status_mut() = shape.status(response.status());
    let headers = response.headers_mut();
    headers.insert(axum::http::header::CONTENT_LENGTH, document.len().into());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(shape.media_type()));
    *response.body_mut() = Body::from(document);
}

/// There is no version before the guest and the model are loaded.
pub(crate) fn no_version() -> Problem {
    Problem::new(
        Kind::Starting,
        "there is no version yet: the guest and the model are still being loaded",
    )
}

impl From<PredictError> for Problem {
    fn from(error: PredictError) -> Self {
        Self::of_texts(error, |text| match text {
            Some(index) => format!("/text/{index}"),
            None => "/text".to_owned(),
        })
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge { .. } => Kind::BodyTooLarge,
            BodyError::TimedOut { .. } => Kind::BodyTimeout,
            BodyError::Incomplete => Kind::IncompleteBody,
            BodyError::Broken { .. } => Kind::InvalidEncoding,
            BodyError::NoRoom(_) | BodyError::Evicted => Kind::Overloaded,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests;
