//! The kinds of problem, with their statuses and titles.

use axum::http::StatusCode;

use predictor::ErrorKind;

/// The kinds of problem that this API reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidJson,
    InvalidHeader,
    InvalidQuery,
    InvalidEncoding,
    IncompleteBody,
    Unauthorized,
    Forbidden,
    NotFound,
    UnknownVersion,
    UnknownModel,
    UnknownConfiguration,
    MethodNotAllowed,
    BodyTimeout,
    AnswerNotRead,
    Conflict,
    BodyTooLarge,
    LineTooLong,
    RateLimited,
    UnsupportedMediaType,
    UnsupportedContentEncoding,
    InvalidBody,
    TooManyTexts,
    TextTooLong,
    InvalidText,
    GuestRefused,
    ModelRefused,
    Failed,
    GuestUnreadable,
    Overloaded,
    Unavailable,
    Starting,
    Failing,
    Draining,
    TimedOut,
}

impl From<&ErrorKind> for Kind {
    fn from(kind: &ErrorKind) -> Self {
        match kind {
            ErrorKind::TooManyTexts { .. } => Self::TooManyTexts,
            ErrorKind::TextTooLong { .. } => Self::TextTooLong,
            ErrorKind::InvalidText { .. } => Self::InvalidText,
            ErrorKind::UnknownRevision => Self::UnknownVersion,
            ErrorKind::Overloaded { .. } => Self::Overloaded,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Failed => Self::Failed,
        }
    }
}

impl Kind {
    /// The table: status, the name that ends the `type`, and the title. A name
    /// once published keeps its meaning.
    pub(crate) fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidJson => (S::BAD_REQUEST, "invalid-json", "Not valid JSON"),
            Self::InvalidHeader => (S::BAD_REQUEST, "invalid-header", "Invalid header"),
            Self::InvalidQuery => (S::BAD_REQUEST, "invalid-query", "Invalid query"),
            Self::InvalidEncoding => (S::BAD_REQUEST, "invalid-encoding", "Body cannot be decoded"),
            Self::IncompleteBody => (S::BAD_REQUEST, "incomplete-body", "Incomplete body"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "Forbidden"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "Not found"),
            Self::UnknownVersion => (S::NOT_FOUND, "unknown-version", "Unknown version"),
            Self::UnknownModel => (S::NOT_FOUND, "unknown-model", "Unknown model"),
            Self::UnknownConfiguration => (
                S::NOT_FOUND,
                "unknown-configuration",
                "Unknown configuration",
            ),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            ),
            Self::BodyTimeout => (S::REQUEST_TIMEOUT, "body-timeout", "Body too slow"),
            Self::AnswerNotRead => (S::REQUEST_TIMEOUT, "answer-not-read", "Answer not read"),
            Self::Conflict => (S::CONFLICT, "conflict", "Conflict"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::RateLimited => (S::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Self::LineTooLong => (S::PAYLOAD_TOO_LARGE, "line-too-long", "Line too long"),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Unsupported media type",
            ),
            Self::UnsupportedContentEncoding => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-content-encoding",
                "Unsupported content coding",
            ),
            Self::InvalidBody => (S::UNPROCESSABLE_ENTITY, "invalid-body", "Wrong fields"),
            Self::TooManyTexts => (S::UNPROCESSABLE_ENTITY, "too-many-texts", "Too many texts"),
            Self::TextTooLong => (S::UNPROCESSABLE_ENTITY, "text-too-long", "Text too long"),
            Self::InvalidText => (S::UNPROCESSABLE_ENTITY, "invalid-text", "Invalid text"),
            Self::GuestRefused => (S::UNPROCESSABLE_ENTITY, "guest-refused", "Guest refused"),
            Self::ModelRefused => (S::UNPROCESSABLE_ENTITY, "model-refused", "Model refused"),
            Self::Failed => (S::INTERNAL_SERVER_ERROR, "failed", "Failed"),
            Self::GuestUnreadable => (
                S::INTERNAL_SERVER_ERROR,
                "guest-unreadable",
                "Guest unreadable",
            ),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
            Self::Starting => (S::SERVICE_UNAVAILABLE, "starting", "Starting"),
            Self::Failing => (S::SERVICE_UNAVAILABLE, "failing", "Failing"),
            Self::Draining => (S::SERVICE_UNAVAILABLE, "draining", "Draining"),
            Self::TimedOut => (S::GATEWAY_TIMEOUT, "timed-out", "Timed out"),
        }
    }
}
