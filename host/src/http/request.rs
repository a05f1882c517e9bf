//! Reads the document that `POST /predict` takes: `{"text": ["..", ".."]}`.
//!
//! This module must not know limits on texts, or how they are answered. Its
//! messages never repeat what the client sent.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use utoipa::ToSchema;

use super::problem::{FieldError, Kind, Problem};

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

/// The texts of a document, of which the first `most` are kept: a body of empty
/// texts would otherwise take many times its own size.
///
/// # Errors
///
/// A document that is not JSON (RFC 8259 in UTF-8, nested at most 127 deep,
/// with one `text` at most) is [`Kind::InvalidJson`]; JSON of another shape is
/// [`Kind::InvalidBody`], with every wrong field.
pub(crate) fn texts(document: &[u8], most: usize) -> Result<Texts, Problem> {
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
        ..Reader::default()
    };
    let mut json = serde_json::Deserializer::from_str(document);
    At(Place::Document, &mut reader)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| {
            // Serde's messages are fixed texts with a line and a column, since
            // no type of ours makes it quote a value.
            Problem::new(
                Kind::InvalidJson,
                format!("the body is not valid JSON: {error}"),
            )
        })?;
    reader.finish()
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    most: usize,
    has_text: bool,
    texts: Texts,
    errors: Vec<FieldError>,
    unlisted: usize,
}

impl Reader {
    fn blame(&mut self, error: impl FnOnce() -> FieldError) {
        if self.errors.len() < MAX_LISTED {
            self.errors.push(error());
        } else {
            self.unlisted += 1;
        }
    }

    fn finish(mut self) -> Result<Texts, Problem> {
        if !self.has_text && self.errors.is_empty() {
            self.blame(|| FieldError {
                pointer: "/text".to_owned(),
                detail: "`/text` is missing; it must be an array of strings".to_owned(),
            });
        }
        let Some(first) = self.errors.first() else {
            return Ok(self.texts);
        };
        let detail = match self.errors.len() + self.unlisted {
            1 => first.detail.clone(),
            errors => format!("{} (errors in all: {errors})", first.detail),
        };
        Err(Problem::in_fields(Kind::InvalidBody, detail, self.errors))
    }
}

/// A place in the document; everything outside `text` is skipped.
#[derive(Clone, Copy)]
enum Place {
    Document,
    Texts,
    Text(usize),
    Elsewhere,
}

/// Reads the value at a place. It takes any JSON, so that the document is
/// known to be JSON as a whole before its fields are blamed, and so that the
/// blame is in our words.
struct At<'a>(Place, &'a mut Reader);

impl At<'_> {
    #[expect(clippy::unnecessary_wraps, reason = "what the visitors must return")]
    fn found<E>(self, found: &str) -> Result<(), E> {
        match self.0 {
            Place::Document => self.1.blame(|| FieldError {
                pointer: String::new(),
                detail: format!("the body must be an object such as {EXAMPLE}, found {found}"),
            }),
            Place::Texts => self.1.blame(|| FieldError {
                pointer: "/text".to_owned(),
                detail: format!("`/text` must be an array of strings, found {found}"),
            }),
            Place::Text(index) => self.1.blame(|| FieldError {
                pointer: format!("/text/{index}"),
                detail: format!("`/text/{index}` must be a string, found {found}"),
            }),
            Place::Elsewhere => {}
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.found("null")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.found("a boolean")
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.found("a number")
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.found("a number")
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.found("a number")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if let Place::Text(_) = self.0 {
            let texts = &mut self.1.texts;
            if texts.kept.len() < self.1.most {
                texts.kept.push(text.to_owned());
            }
            texts.given += 1;
            return Ok(());
        }
        self.found("a string")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Self(place, reader) = self;
        let mut index = 0;
        loop {
            let inner = match place {
                Place::Texts => Place::Text(index),
                Place::Document | Place::Text(_) | Place::Elsewhere => Place::Elsewhere,
            };
            if array.next_element_seed(At(inner, reader))?.is_none() {
                break;
            }
            index += 1;
        }
        match place {
            Place::Texts => Ok(()),
            _ => At(place, reader).found("an array"),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let Self(place, reader) = self;
        while let Some(key) = object.next_key::<String>()? {
            let inner = match place {
                Place::Document if key == "text" => Place::Texts,
                _ => Place::Elsewhere,
            };
            if let Place::Texts = inner {
                if reader.has_text {
                    return Err(A::Error::custom("the field `text` is given twice"));
                }
                reader.has_text = true;
            }
            object.next_value_seed(At(inner, reader))?;
        }
        match place {
            Place::Document => Ok(()),
            _ => At(place, reader).found("an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &[u8]) -> Result<Vec<String>, Problem> {
        super::texts(document, 100).map(|texts| texts.kept)
    }

    /// The pointers and the first detail of a document of the wrong shape.
    fn blamed(document: &str) -> (Vec<String>, String) {
        let problem = texts(document.as_bytes()).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidBody, "{document}");
        let pointers = problem.errors.into_iter().map(|error| error.pointer);
        (pointers.collect(), problem.detail.into_owned())
    }

    fn invalid(document: &[u8]) -> String {
        let problem = texts(document).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidJson, "{document:?}");
        problem.detail.into_owned()
    }

    #[test]
    fn texts_keep_their_order_and_other_fields_are_ignored() {
        let document =
            r#" {"a": [{"text": 1}], "text": ["b", "", "\u00e9\ud83d\ude00"], "c": null} "#;
        assert_eq!(texts(document.as_bytes()).unwrap(), ["b", "", "é😀"]);
        assert!(texts(br#"{"text": []}"#).unwrap().is_empty());
    }

    #[test]
    fn texts_beyond_the_limit_are_counted_and_not_kept() {
        let found = super::texts(br#"{"text": ["a", "b", "", "", ""]}"#, 2).unwrap();
        assert_eq!((found.kept.len(), found.given), (2, 5));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let document = r#"{"text": ["a", 1, "b", null, [2], {"text": []}, true]}"#;
        let (pointers, detail) = blamed(document);
        assert_eq!(
            pointers,
            ["/text/1", "/text/3", "/text/4", "/text/5", "/text/6"]
        );
        assert_eq!(
            detail,
            "`/text/1` must be a string, found a number (errors in all: 5)"
        );
    }

    #[test]
    fn many_wrong_fields_are_counted_but_not_listed() {
        let document = format!(r#"{{"text": [{}0]}}"#, "0,".repeat(99));
        let (pointers, detail) = blamed(&document);
        assert_eq!(pointers.len(), MAX_LISTED);
        assert!(detail.ends_with("(errors in all: 100)"), "{detail}");
    }

    #[test]
    fn the_shape_around_the_texts_is_checked() {
        for (document, pointer, words) in [
            ("{}", "/text", "missing"),
            (r#"{"texts": ["a"]}"#, "/text", "missing"),
            (r#"{"text": null}"#, "/text", "found null"),
            (r#"{"text": "secret"}"#, "/text", "found a string"),
            (r#"{"text": {"a": 1}}"#, "/text", "found an object"),
            (r#"["secret"]"#, "", "found an array"),
            (r#""secret""#, "", "found a string"),
            ("1.5", "", "found a number"),
            ("null", "", "found null"),
        ] {
            let (pointers, detail) = blamed(document);
            assert_eq!(pointers, [pointer], "{document}");
            assert!(detail.contains(words), "{document}: {detail}");
            assert!(!detail.contains("secret"), "{document}: {detail}");
        }
    }

    #[test]
    fn what_is_not_json_says_where() {
        for (document, words) in [
            (&b""[..], "empty"),
            (b" ", "line 1 column 1"),
            (b"{\"text\": [\n\"secret\" 1]}", "line 2 column 10"),
            (br#"{"text": ["secret"]} x"#, "trailing characters"),
            (br#"{"text": ["secret"#, "EOF"),
            (br#"{"text": [], "text": []}"#, "given twice"),
            (br#"{"text": [], "\u0074ext": []}"#, "given twice"),
            (br#"{"text": ["\ud800"]}"#, "hex escape"),
            (br#"{"text": ["\udc00"]}"#, "surrogate"),
            (br#"{"text": ["\ud800\ud800"]}"#, "surrogate"),
            (br#"{"text": [], "other": "\ud800"}"#, "hex escape"),
            (b"{\"text\": [\"a\xff\"]}", "byte 12"),
            // The wrong field comes first, but it is not JSON as a whole.
            (br#"{"text": [1], }"#, "line 1"),
        ] {
            let detail = invalid(document);
            assert!(detail.contains(words), "{detail}");
            assert!(!detail.contains("secret"), "{detail}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_wherever_it_is() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for document in [
            deep.clone(),
            format!(r#"{{"text": {deep}}}"#),
            format!(r#"{{"other": {deep}, "text": []}}"#),
            "[".repeat(1_000_000),
        ] {
            assert!(invalid(document.as_bytes()).contains("recursion limit"));
        }
    }
}
