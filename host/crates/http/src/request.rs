//! Reads the document that `POST /predict` takes: `{"text": ["..", ".."]}`, or
//! `{"inputs": ..}` as clients of Hugging Face send it.
//!
//! This module must not know limits on texts, or how they are answered. Its
//! messages never repeat what the client sent.

mod visitor;

use serde::de::DeserializeSeed;
use utoipa::ToSchema;

use super::inputs::{Allowed, Inputs};
use super::problem::{FieldError, Kind, Problem};
use predictor::PredictError;
use visitor::{At, Place};

/// The most field errors listed in one answer. They tend to have one cause,
/// and an answer should not grow with the mistakes in a request.
const MAX_LISTED: usize = 16;

/// What a document looks like, for messages.
const EXAMPLE: &str = r#"{"text": ["I love it"]}"#;

/// What is read, for the document of the API: [`texts`] reads it without ever making
/// one.
#[derive(ToSchema)]
#[schema(as = PredictRequest, description = "The texts of a request.")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Document {
    /// The texts to be scored. An empty text is a text. Each is truncated at the
    /// model's limit.
    text: Vec<String>,
}

/// The texts of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    /// The texts, in their order, as far as they were to be kept.
    pub(crate) kept: Vec<String>,
    /// How many there are.
    pub(crate) given: usize,
}

/// The form of a document, and so of its answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"text": [..]}`
    Text,
    /// `{"inputs": ..}`
    Inputs(Inputs),
}

impl Form {
    /// What went wrong below, for a client of this form.
    pub(crate) fn problem(&self, error: PredictError) -> Problem {
        match self {
            Self::Text => error.into(),
            Self::Inputs(inputs) => inputs.problem(error),
        }
    }
}

/// A document that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) texts: Texts,
    pub(crate) form: Form,
}

/// The texts of a document of the first form, however many there are.
///
/// # Errors
///
/// As for [`read`].
pub(crate) fn texts(document: &[u8]) -> Result<Vec<String>, Problem> {
    let read = read(document, usize::MAX, Allowed::default())?;
    match read.form {
        Form::Text => Ok(read.texts.kept),
        Form::Inputs(_) => Err(missing_text().into()),
    }
}

/// Reads a document, of whose texts the first `most` are kept: a body of empty
/// texts would otherwise take many times its own size.
///
/// # Errors
///
/// A document that is not JSON (RFC 8259 in UTF-8, nested at most 127 deep,
/// with one `text` or `inputs` at most) is [`Kind::InvalidJson`]; JSON of another
/// shape is [`Kind::InvalidBody`], with every wrong field.
pub(crate) fn read(document: &[u8], most: usize, allowed: Allowed) -> Result<Read, Problem> {
    if document.is_empty() {
        let detail = format!("the body is empty; it must be a JSON object such as {EXAMPLE}");
        return Err(Problem::new(Kind::InvalidJson, detail));
    }
    let document = std::str::from_utf8(document).map_err(|error| {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Problem::new(Kind::InvalidJson, detail)
    })?;
    let mut reader = Reader {
        most,
        allowed,
        ..Reader::default()
    };
    let mut json = serde_json::Deserializer::from_str(document);
    At(Place::Document, &mut reader)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| {
            // Serde's messages are fixed texts with a line and a column, since
            // no type of ours makes it quote a value.
            let detail = format!("the body is not valid JSON: {error}");
            let problem = Problem::new(Kind::InvalidJson, detail);
            if reader.has_inputs {
                problem.for_tei()
            } else {
                problem
            }
        })?;
    reader.finish()
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    most: usize,
    allowed: Allowed,
    has_text: bool,
    has_inputs: bool,
    texts: Texts,
    inputs: Inputs,
    errors: Blame,
    /// What is wrong with the options of the form `inputs`; in the other form, those
    /// are fields like any other.
    option_errors: Blame,
}

/// What is wrong, as far as it is listed.
#[derive(Default)]
struct Blame {
    errors: Vec<FieldError>,
    unlisted: usize,
}

impl Blame {
    fn add(&mut self, error: impl FnOnce() -> FieldError) {
        if self.errors.len() < MAX_LISTED {
            self.errors.push(error());
        } else {
            self.unlisted += 1;
        }
    }
}

impl From<Blame> for Problem {
    fn from(Blame { errors, unlisted }: Blame) -> Self {
        let first = errors
            .first()
            .map_or_else(String::new, |error| error.detail.clone());
        let detail = match errors.len() + unlisted {
            1 => first,
            errors => format!("{first} (errors in all: {errors})"),
        };
        Self::in_fields(Kind::InvalidBody, detail, errors)
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::in_fields(Kind::InvalidBody, error.detail.clone(), vec![error])
    }
}

fn missing_text() -> FieldError {
    FieldError {
        pointer: "/text".to_owned(),
        detail: "`/text` is missing; it must be an array of strings".to_owned(),
    }
}

impl Reader {
    fn finish(mut self) -> Result<Read, Problem> {
        if self.has_text && self.has_inputs {
            self.errors.add(|| FieldError {
                pointer: "/inputs".to_owned(),
                detail: "`/inputs` is another form of `/text`: only one of them can be given"
                    .to_owned(),
            });
        } else if !self.has_text && !self.has_inputs && self.errors.errors.is_empty() {
            self.errors.add(missing_text);
        }
        if self.has_inputs {
            for error in self.option_errors.errors {
                self.errors.add(|| error);
            }
            self.errors.unlisted += self.option_errors.unlisted;
        }
        if !self.errors.errors.is_empty() {
            let problem = Problem::from(self.errors);
            return Err(if self.has_inputs {
                problem.for_tei()
            } else {
                problem
            });
        }
        Ok(Read {
            texts: self.texts,
            form: if self.has_inputs {
                Form::Inputs(self.inputs)
            } else {
                Form::Text
            },
        })
    }

    fn keep(&mut self, text: &str) {
        if self.texts.kept.len() < self.most {
            self.texts.kept.push(text.to_owned());
        }
        self.texts.given += 1;
    }
}

#[cfg(test)]
mod tests;
