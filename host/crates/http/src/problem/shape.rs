//! The documents that errors are written as: problem details, unless the path belongs to
//! another protocol, whose clients look for their own.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Document, FieldError, Name, TYPE};

/// How an error is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Problem details (RFC 9457).
    Problem,
    /// As the Open Inference Protocol says.
    Infer,
    /// As OpenAI's API and vLLM do.
    OpenAi,
}

/// What went wrong, as the Open Inference Protocol says it.
#[derive(Serialize, ToSchema)]
pub(crate) struct InferError<'a> {
    /// What was wrong and what is allowed, for a person.
    error: &'a str,
}

/// What went wrong, as OpenAI's API and vLLM say it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAiError<'a> {
    error: OpenAiErrorDetail<'a>,
}

#[derive(Serialize, ToSchema)]
struct OpenAiErrorDetail<'a> {
    /// What was wrong and what is allowed, for a person.
    message: &'a str,
    /// The kind of error.
    #[schema(value_type = String)]
    r#type: &'static str,
    /// The field that is wrong, if one is.
    param: Option<&'a str>,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    code: u16,
}

impl Shape {
    /// The shape of errors at a path, whether or not there is anything.
    pub(crate) fn of(path: &str) -> Self {
        let is_below = |root: &str| {
            let rest = path.strip_prefix(root);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_below("/v2") {
            Self::Infer
        } else if is_below("/v1") || is_below("/classify") {
            Self::OpenAi
        } else {
            Self::Problem
        }
    }

    /// The status that the error has in this shape: neither protocol knows 422.
    pub(crate) fn status(self, status: StatusCode) -> StatusCode {
        match self {
            Self::Infer | Self::OpenAi if status == StatusCode::UNPROCESSABLE_ENTITY => {
                StatusCode::BAD_REQUEST
            }
            _ => status,
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::Infer | Self::OpenAi => "application/json",
        }
    }

    /// The error with the fields of `document`.
    pub(crate) fn write(self, document: &Document<'_>) -> Vec<u8> {
        let written = match self {
            Self::Problem => serde_json::to_vec(document),
            Self::Infer => serde_json::to_vec(&InferError {
                error: document.detail,
            }),
            Self::OpenAi => serde_json::to_vec(&self.open_ai(document)),
        };
        // Strings and a number always serialise; if they did not, the status would still say
        // enough.
        written.unwrap_or_default()
    }

    /// The error of a problem document, for documentation.
    pub(crate) fn example(self, problem: &Value) -> Value {
        let text = |name: &str| problem[name].as_str().unwrap_or_default();
        let pointer = problem["errors"][0]["pointer"].as_str();
        let errors = pointer.map(|pointer| FieldError {
            pointer: pointer.to_owned(),
            detail: String::new(),
        });
        let status = problem["status"].as_u64().unwrap_or_default();
        let kind = text("type");
        let written = self.write(&Document {
            r#type: Name(kind.strip_prefix(TYPE).unwrap_or(kind)),
            title: text("title"),
            status: u16::try_from(status).unwrap_or_default(),
            detail: text("detail"),
            errors: errors.as_slice(),
            step: None,
            error: None,
            error_type: None,
            missing: &[],
            request_id: None,
            line: None,
            after_line: None,
        });
        serde_json::from_slice(&written).unwrap_or_default()
    }

    fn open_ai<'a>(self, document: &Document<'a>) -> OpenAiError<'a> {
        let status = StatusCode::from_u16(document.status).unwrap_or_default();
        let status = self.status(status);
        let field = document.errors.first().map(|error| &*error.pointer);
        OpenAiError {
            error: OpenAiErrorDetail {
                message: document.detail,
                r#type: match status {
                    StatusCode::UNAUTHORIZED => "AuthenticationError",
                    StatusCode::FORBIDDEN => "PermissionDeniedError",
                    StatusCode::NOT_FOUND => "NotFoundError",
                    StatusCode::TOO_MANY_REQUESTS => "RateLimitError",
                    status if status.is_server_error() => "InternalServerError",
                    _ => "BadRequestError",
                },
                param: field.and_then(|pointer| pointer.split('/').nth(1)),
                code: status.as_u16(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_errors_of_its_protocol() {
        for (path, shape) in [
            ("/v2", Shape::Infer),
            ("/v2/nothing", Shape::Infer),
            ("/v20", Shape::Problem),
            ("/classify", Shape::OpenAi),
            ("/v1/chat/completions", Shape::OpenAi),
            ("/classifyx", Shape::Problem),
            ("/predict", Shape::Problem),
            ("/", Shape::Problem),
        ] {
            assert_eq!(Shape::of(path), shape, "{path}");
        }
    }
}
