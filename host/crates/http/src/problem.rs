//! Everything that a client may be told went wrong, as problem details
//! (RFC 9457), and the only place where a kind of failure becomes a status.
//!
//! This module must not know how a request is read or answered.

mod kind;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::body::BodyError;
use super::coding;
pub(crate) use kind::Kind;
use predictor::{ErrorKind, PredictError};

/// When a server that can not answer now is worth another try, unless more is
/// known: `Retry-After` counts in whole seconds.
const RETRY_AFTER_AT_LEAST: Duration = Duration::from_secs(1);

/// What the types of all problems begin with.
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
/// `errors` is present only where parts of the body are to blame, `step` only where a
/// guest was refused, and `missing` only where a server is starting. Programs should
/// look at `type`, `errors[].pointer` and `step`; the other texts are for people and may
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    /// For a person: what was wrong and what is allowed, never a text.
    pub(crate) detail: Cow<'static, str>,
    /// The parts of the body that are to blame.
    pub(crate) errors: Vec<FieldError>,
    /// The step at which a guest was refused.
    step: Option<&'static str>,
    /// Whether it is told in the words of Text Embeddings Inference as well.
    is_tei: bool,
    /// The methods that the path does take, for the `Allow` header.
    allow: Option<&'static str>,
    /// When another try is worth while, for the `Retry-After` header.
    retry_after: Option<Duration>,
    /// What a server that is starting has to load still.
    missing: Missing,
}

/// What a server has to load still.
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

/// What went wrong, as problem details (RFC 9457). Programs should look at `type`,
/// `errors[].pointer` and `step`; the other texts are for people and may change.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// The kind of problem. A name once published keeps its meaning.
    #[schema(value_type = String, format = "uri", pattern = "^urn:fastsentiment:problem:[a-z-]+$")]
    r#type: Name<'a>,
    /// The kind of problem, for a person.
    title: &'a str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong and what is allowed, for a person.
    detail: &'a str,
    /// The parts of the body that are to blame; absent where there are none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    errors: &'a [FieldError],
    /// The step at which a guest was refused; absent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    step: Option<&'static str>,
    /// The same as `detail`, for clients of Text Embeddings Inference: present in what
    /// is said of a document with `inputs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<&'a str>,
    /// What such clients know of it; present where `error` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    error_type: Option<ErrorType>,
    /// What a server that is starting has to load still: `model`, `guest`; absent
    /// elsewhere.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    missing: &'a [&'static str],
    /// What the request is known by, as in the header `x-request-id`: whoever runs the
    /// server finds the lines of its log by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, max_length = 128)]
    request_id: Option<&'a str>,
}

/// The kinds of error that Text Embeddings Inference knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum ErrorType {
    /// The request is to blame.
    Validation,
    /// There is too much to do.
    Overloaded,
    /// The server does not predict at the moment.
    Unhealthy,
    /// The prediction failed, or took too long.
    Backend,
}

impl From<Kind> for ErrorType {
    fn from(kind: Kind) -> Self {
        let (status, ..) = kind.row();
        match status {
            _ if kind == Kind::Overloaded => Self::Overloaded,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unhealthy,
            status if status.is_server_error() => Self::Backend,
            _ => Self::Validation,
        }
    }
}

/// Written in place: a server that is overloaded has no time to waste.
struct Name<'a>(&'a str);

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
            allow: None,
            retry_after: None,
            missing: Missing::Nothing,
        }
    }

    /// A problem in parts of the body.
    pub(crate) fn in_fields(kind: Kind, detail: String, errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(kind, detail)
        }
    }

    /// A guest that can not be served, and at which step that was found.
    pub(crate) fn guest_refused(step: &'static str, detail: String) -> Self {
        Self {
            step: Some(step),
            ..Self::new(Kind::GuestRefused, detail)
        }
    }

    /// A server that is starting, and what it has to load still.
    pub(crate) fn missing(detail: &'static str, missing: Missing) -> Self {
        Self {
            missing,
            ..Self::new(Kind::Starting, detail)
        }
    }

    /// A method that the path does not take; it takes those in `allow`.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(Kind::MethodNotAllowed, format!("this path takes {allow}"))
        }
    }

    /// A failure of ours about which a client can learn nothing more.
    pub(crate) fn failed() -> Self {
        Self::new(
            Kind::Failed,
            "the request failed for a reason that is in the server's log",
        )
    }

    /// The same for a client of Text Embeddings Inference, which looks for `error` and
    /// `error_type`.
    pub(crate) fn for_tei(self) -> Self {
        Self {
            is_tei: true,
            ..self
        }
    }

    /// What went wrong with texts, where `pointer` says which place of the body is that
    /// of a text, or of all of them. The detail for the log is left behind; so is the
    /// whole text of a failure of ours, about which there is nothing that a client
    /// should know.
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
                return Self {
                    retry_after: Some(retry_after),
                    ..Self::new(kind, error.message)
                };
            }
            ErrorKind::TimedOut | ErrorKind::Unavailable => {
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
        }
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        self.respond(None)
    }

    /// The answer to the request of this id.
    pub(crate) fn into_response_to(self, id: &HeaderValue) -> Response<Full<Bytes>> {
        self.respond(id.to_str().ok())
    }

    fn respond(self, request_id: Option<&str>) -> Response<Full<Bytes>> {
        let (status, ..) = self.kind.row();
        let document = serde_json::to_vec(&Document {
            request_id,
            ..self.document()
        });
        // Strings and a number always serialise; if they did not, the status
        // would still say enough.
        let mut response = Response::new(Full::from(document.unwrap_or_default()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.kind == Kind::UnsupportedContentEncoding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding::ACCEPTED));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let known = self.retry_after.unwrap_or_default();
            let wait = known.max(RETRY_AFTER_AT_LEAST);
            let started = u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, (wait.as_secs().saturating_add(started)).into());
        }
        response
    }
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
            BodyError::NoRoom(_) => Kind::Overloaded,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests;
