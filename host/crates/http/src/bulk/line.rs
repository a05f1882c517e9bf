//! Reads a line of a bulk request: `"a text"` or `{"text": "a text"}`.
//!
//! This module must not know limits on texts, or how they are answered. Its
//! messages never repeat what the client sent.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use utoipa::ToSchema;

use crate::problem::{FieldError, Kind, Problem};
use predictor::{ErrorKind, PredictError};

/// Some files begin with this, and it means nothing.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What is read, for the document of the API: a text.
#[derive(ToSchema)]
#[schema(as = Line)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum TextLine {
    Text(String),
    /// Other fields are ignored.
    Object {
        text: String,
    },
}

/// The text of a line.
///
/// # Errors
///
/// A line that is not JSON is [`Kind::InvalidJson`]; JSON of another shape is
/// [`Kind::InvalidBody`].
pub(super) fn text(line: &[u8]) -> Result<String, Problem> {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|error| {
        let detail = format!("the line is not UTF-8 at byte {}", error.valid_up_to());
        Problem::new(Kind::InvalidJson, detail)
    })?;
    let value: Value = serde_json::from_str(line).map_err(|error| {
        // Serde's messages are fixed texts, since no type of ours makes it quote a
        // value; the line that they name is always the first.
        let column = error.column();
        let mut reason = error.to_string();
        reason.truncate(reason.rfind(" at line ").unwrap_or(reason.len()));
        let detail = format!("the line is not valid JSON: {reason} at column {column}");
        Problem::new(Kind::InvalidJson, detail)
    })?;
    match value {
        Value::Text(text) => Ok(text),
        Value::Object(Some(found)) => match *found {
            Value::Text(text) => Ok(text),
            other => Err(wrong(
                "/text",
                &format!("`/text` must be a string, found {other}"),
            )),
        },
        Value::Object(None) => Err(wrong("/text", "`/text` is missing; it must be a string")),
        other => Err(wrong(
            "",
            &format!(
                "the line must be a string or an object such as {{\"text\": \"I love it\"}}, \
                 found {other}"
            ),
        )),
    }
}

/// An error of a text as one of its line.
pub(super) fn problem(error: PredictError) -> Problem {
    let mut problem = match error.kind {
        ErrorKind::TextTooLong { .. } | ErrorKind::InvalidText { .. } => {
            wrong("/text", &error.message)
        }
        _ => return error.into(),
    };
    problem.kind = Kind::from(&error.kind);
    problem
}

fn wrong(pointer: &str, detail: &str) -> Problem {
    let errors = vec![FieldError {
        pointer: pointer.to_owned(),
        detail: detail.to_owned(),
    }];
    Problem::in_fields(Kind::InvalidBody, detail.to_owned(), errors)
}

/// Any JSON, of which no more is kept than is needed.
enum Value {
    Text(String),
    /// What its field `text` holds.
    Object(Option<Box<Value>>),
    /// Something else, by its name.
    Other(&'static str),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "a string",
            Self::Object(_) => "an object",
            Self::Other(name) => name,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut text = None;
        while let Some(key) = object.next_key::<String>()? {
            if key != "text" {
                object.next_value::<IgnoredAny>()?;
            } else if text.is_some() {
                return Err(A::Error::custom("the field `text` is given twice"));
            } else {
                text = Some(Box::new(object.next_value()?));
            }
        }
        Ok(Value::Object(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_and_an_object_are_texts() {
        for (line, expected) in [
            (r#""I love it""#, "I love it"),
            ("\u{feff} \"a\" \r", "a"),
            (r#"{"text": "b"}"#, "b"),
            (
                r#"{"id": [1, {"text": 2}], "text": "\u00e9\ud83d\ude00", "x": null}"#,
                "é😀",
            ),
            (r#"{"text": ""}"#, ""),
        ] {
            assert_eq!(text(line.as_bytes()).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn all_else_is_named_and_not_repeated() {
        use Kind::{InvalidBody, InvalidJson};
        let deep = "[".repeat(1000);
        for (line, kind, words) in [
            (&b"{}"[..], InvalidBody, "`/text` is missing"),
            (br#"{"texts": "secret"}"#, InvalidBody, "missing"),
            (br#"{"text": ["secret"]}"#, InvalidBody, "found an array"),
            (
                br#"{"text": {"text": "secret"}}"#,
                InvalidBody,
                "found an object",
            ),
            (br#"{"text": null}"#, InvalidBody, "found null"),
            (br#"["secret"]"#, InvalidBody, "found an array"),
            (b"1.5", InvalidBody, "found a number"),
            (b"true", InvalidBody, "found a boolean"),
            (
                br#"{"text": "secret", "text": "a"}"#,
                InvalidJson,
                "given twice",
            ),
            (br#"{"text": "secret"#, InvalidJson, "EOF"),
            (
                br#""a" "secret""#,
                InvalidJson,
                "trailing characters at column 5",
            ),
            (b"secret", InvalidJson, "expected value at column 1"),
            (b"\"a\xff\"", InvalidJson, "not UTF-8 at byte 2"),
            (br#""\ud800""#, InvalidJson, "hex escape"),
            (deep.as_bytes(), InvalidJson, "column"),
        ] {
            let problem = text(line).unwrap_err();
            assert_eq!(problem.kind, kind, "{}", problem.detail);
            assert!(problem.detail.contains(words), "{}", problem.detail);
            assert!(!problem.detail.contains("secret"), "{}", problem.detail);
        }
    }
}
