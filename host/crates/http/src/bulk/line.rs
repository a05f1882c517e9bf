//! Reads a line of a bulk request: `"a text"` or `{"text": "a text"}`, which may hold
//! `truncation` as well.
//!
//! This module must not know limits on texts, or how they are answered.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use utoipa::ToSchema;

use crate::problem::{FieldError, Kind, Problem};
use crate::request::json::{Json, Source};
use crate::request::{NoPair, truncation};
use predictor::{ErrorKind, LongTexts, PredictError};

/// One text.
#[derive(ToSchema)]
#[schema(as = Line)]
#[serde(untagged)]
pub(crate) enum TextLine {
    Text(String),
    Object(#[schema(inline)] TextObject),
}

/// Other fields are ignored.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TextObject {
    text: String,
    /// Whether the text may be truncated if it is too long for the model, as it is by default.
    /// If not, it is refused.
    #[serde(default, deserialize_with = "truncation::read")]
    #[schema(value_type = Option<bool>)]
    truncation: LongTexts,
    #[serde(default, deserialize_with = "no_pair")]
    #[schema(ignore)]
    #[expect(dead_code, reason = "it is only refused")]
    text_pair: (),
}

fn no_pair<'de, D: Deserializer<'de>>(json: D) -> Result<(), D::Error> {
    NoPair.deserialize(json)
}

impl<'de> Deserialize<'de> for TextLine {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(LineVisitor)
    }
}

struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = TextLine;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let example = Source::Line.example();
        write!(f, "a string or an object such as {example}")
    }

    fn visit_str<E>(self, text: &str) -> Result<TextLine, E> {
        Ok(TextLine::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<TextLine, A::Error> {
        TextObject::deserialize(MapAccessDeserializer::new(object)).map(TextLine::Object)
    }
}

/// The text of a line, and what is to become of it if it is too long.
///
/// # Errors
///
/// As for [`Json::read`].
pub(crate) fn read(line: &[u8]) -> Result<(String, LongTexts), Problem> {
    Ok(match Json::new(Source::Line, line)?.read()? {
        TextLine::Text(text) => (text, LongTexts::default()),
        TextLine::Object(object) => (object.text, object.truncation),
    })
}

/// The problem document for the text of a line that was not scored.
pub(super) fn problem(error: PredictError) -> Problem {
    match error.kind {
        ErrorKind::TextTooLong { .. } | ErrorKind::InvalidText { .. } => {
            let errors = vec![FieldError {
                pointer: "/text".to_owned(),
                detail: error.message.clone(),
            }];
            Problem::in_fields(Kind::from(&error.kind), error.message, errors)
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::inputs::Allowed;
    use crate::request;
    use crate::request::properties::{escaped, value};

    fn text(line: &[u8]) -> Result<String, Problem> {
        read(line).map(|(text, _)| text)
    }

    #[test]
    fn truncation_may_be_forbidden_for_a_line() {
        for (line, expected) in [
            (r#""a""#, LongTexts::AsConfigured),
            (r#"{"text": "a"}"#, LongTexts::AsConfigured),
            (
                r#"{"truncation": true, "text": "a"}"#,
                LongTexts::AsConfigured,
            ),
            (
                r#"{"truncation": null, "text": "a"}"#,
                LongTexts::AsConfigured,
            ),
            (r#"{"text": "a", "truncation": false}"#, LongTexts::Refuse),
        ] {
            let expected = Ok(("a".to_owned(), expected));
            assert_eq!(read(line.as_bytes()), expected, "{line}");
        }
        let problem = read(br#"{"text": "a", "truncation": "secret"}"#).unwrap_err();
        assert_eq!(
            problem.detail,
            "`/truncation` must be a boolean, found a string"
        );
    }

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
            (
                br#"{"text": "a", "text_pair": "secret"}"#,
                InvalidBody,
                "`/text_pair` must be left out: pairs",
            ),
            (br#"["secret"]"#, InvalidBody, "found an array"),
            (b"1.5", InvalidBody, "found a number"),
            (b"true", InvalidBody, "found a boolean"),
            (
                br#"{"text": "secret", "text": "a"}"#,
                InvalidJson,
                "duplicate field",
            ),
            (br#"{"text": "secret"#, InvalidJson, "EOF"),
            (
                br#""a" "secret""#,
                InvalidJson,
                "trailing characters at column 5",
            ),
            (b"secret", InvalidJson, "expected value at column 1"),
            (b"\"a\xff\"", InvalidJson, "not UTF-8 at byte 2"),
            (br#""\ud800""#, InvalidJson, "surrogate pair"),
            (deep.as_bytes(), InvalidJson, "column"),
        ] {
            let problem = text(line).unwrap_err();
            assert_eq!(problem.kind, kind, "{}", problem.detail);
            assert!(problem.detail.contains(words), "{}", problem.detail);
            assert!(!problem.detail.contains("secret"), "{}", problem.detail);
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text: String) {
            for quoted in [json!(text).to_string(), escaped(&text)] {
                for line in [quoted.clone(), format!(r#"{{"id": 1, "text": {quoted}}}"#)] {
                    prop_assert_eq!(&super::read(line.as_bytes()).unwrap().0, &text);
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let is_json = serde_json::from_slice::<Value>(&line).is_ok();
            let found = text(&line);
            let is_refused = found.is_err_and(|problem| problem.kind == Kind::InvalidJson);
            prop_assert_eq!(is_refused, !is_json);
        }

        #[test]
        fn a_line_is_what_an_element_of_a_body_is(value in value()) {
            let body = json!({"text": [value]}).to_string();
            let body = request::read(body.as_bytes(), 1, Allowed::default);
            let body = body.map(|mut read| read.texts.kept.remove(0));
            let object = text(json!({"text": value}).to_string().as_bytes());
            match (body, object) {
                (Ok(body), Ok(object)) => {
                    prop_assert_eq!(&body, &object);
                    prop_assert_eq!(body, text(value.to_string().as_bytes()).unwrap());
                }
                (Err(body), Err(object)) => {
                    prop_assert_eq!(body.kind, object.kind);
                    let object = object.detail.replace("`/text`", "`/text/0`");
                    prop_assert_eq!(body.detail, object);
                }
                (body, object) => prop_assert!(false, "{body:?} but {object:?}"),
            }
        }
    }
}
