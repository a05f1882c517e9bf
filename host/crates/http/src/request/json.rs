//! Reads JSON into a type, and explains why it does not fit.
//!
//! This module must not know what the types are for. Its messages never repeat what the
//! client sent.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Error;
use serde_path_to_error::{Path, Segment, Track};

use crate::problem::{FieldError, Kind, Problem};

/// How serde names what it found, and the name in JSON. Serde's message goes on with
/// the value, which is left out.
const TYPES: [(&str, &str); 7] = [
    ("null", "null"),
    ("boolean", "a boolean"),
    ("integer", "a number"),
    ("floating point", "a number"),
    ("string", "a string"),
    ("sequence", "an array"),
    ("map", "an object"),
];

/// What serde says of half a surrogate pair, in its two messages.
const HALF_PAIR: [&str; 2] = [
    "lone leading surrogate in hex escape",
    "unexpected end of hex escape",
];

/// Literals that JSON does not have, although some libraries write them, Python's for
/// one.
const NOT_JSON: [&str; 2] = ["NaN", "Infinity"];

/// The fields that hold texts.
const KNOWN: [&str; 4] = ["text", "inputs", "data", "input"];

/// Where a JSON text comes from, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The whole body of a request.
    Body,
    /// One line of newline-delimited JSON.
    Line,
    /// The body of a request of the Open Inference Protocol, or the JSON that it begins with.
    Infer,
    /// The body of a request for classification.
    Classify,
}

impl Source {
    /// A valid text, for messages.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Body => r#"{"text": ["I love it"]}"#,
            Self::Line => r#"{"text": "I love it"}"#,
            Self::Infer => {
                r#"{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["I love it"]}]}"#
            }
            Self::Classify => r#"{"input": ["I love it"]}"#,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body | Self::Infer | Self::Classify => "the body",
            Self::Line => "the line",
        })
    }
}

/// A text that should be JSON (RFC 8259), nested at most 127 levels deep.
#[derive(Clone, Copy)]
pub(crate) struct Json<'a> {
    text: &'a str,
    source: Source,
}

impl<'a> Json<'a> {
    /// Skips a byte order mark, as RFC 8259 allows.
    ///
    /// # Errors
    ///
    /// Bytes that are not UTF-8 are [`Kind::InvalidJson`].
    #[inline]
    pub(crate) fn new(source: Source, bytes: &'a [u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let detail = format!("{source} is not UTF-8 at byte {}", error.valid_up_to());
            Problem::new(Kind::InvalidJson, detail)
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Ok(Self { text, source })
    }

    /// Whether the text contains this string, which may be anywhere in it.
    pub(crate) fn mentions(self, string: &str) -> bool {
        self.text.contains(string)
    }

    /// Reads a value of type `T`.
    ///
    /// # Errors
    ///
    /// As for [`Json::read_with`].
    pub(crate) fn read<T: Deserialize<'a>>(self) -> Result<T, Problem> {
        self.read_with(PhantomData)
    }

    /// Reads the value that `seed` reads.
    ///
    /// # Errors
    ///
    /// Text that is not JSON as a whole, or names a field twice, is
    /// [`Kind::InvalidJson`]; JSON of another shape is [`Kind::InvalidBody`], with the
    /// first wrong field.
    #[inline]
    pub(crate) fn read_with<S>(self, seed: S) -> Result<S::Value, Problem>
    where
        S: DeserializeSeed<'a> + Copy,
    {
        self.parse(seed).map_err(|error| self.explain(seed, &error))
    }

    #[inline]
    fn parse<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, Error> {
        let mut json = serde_json::Deserializer::from_str(self.text);
        let value = seed.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }

    /// Reads the text again, this time with the path to the error: paths would cost
    /// good requests too much.
    #[cold]
    fn explain<S: DeserializeSeed<'a>>(self, seed: S, error: &Error) -> Problem {
        // A wrong field is reported only if the text is JSON as a whole.
        if error.is_data()
            && let Err(error) = self.parse(PhantomData::<Skipped>)
        {
            return self.invalid_json(&error, "");
        }
        let mut track = Track::new();
        let mut json = serde_json::Deserializer::from_str(self.text);
        let json = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        // The result is the same again.
        drop(seed.deserialize(json));
        let path = track.path();
        if !error.is_data() {
            // Other keys are the client's own.
            let mut segments = path.iter();
            let is_known = segments.all(|segment| match segment {
                Segment::Map { key } => KNOWN.contains(&&**key),
                _ => true,
            });
            let pointer = if is_known {
                pointer(&path)
            } else {
                String::new()
            };
            return self.invalid_json(error, &pointer);
        }
        let message = without_position(error);
        if message.starts_with("duplicate field ") {
            return self.invalid_json(error, "");
        }
        self.wrong_field(&path, &message).into()
    }

    /// Serde's messages on syntax are fixed: none of them quotes a value.
    fn invalid_json(self, error: &Error, pointer: &str) -> Problem {
        use std::fmt::Write;
        let mut detail = format!("{} is not valid JSON: ", self.source);
        let (line, column) = (error.line(), error.column());
        let message = without_position(error);
        // Writing to a string does not fail.
        _ = match self.not_json(line, column) {
            Some(literal) => write!(detail, "{literal} is not a JSON value"),
            None if HALF_PAIR.contains(&&*message) => {
                detail.write_str("an escape (`\\u`) is one half of a surrogate pair")
            }
            None => detail.write_str(&message),
        };
        _ = match self.source {
            Source::Line => write!(detail, " at column {column}"),
            _ => write!(detail, " at line {line} column {column}"),
        };
        if !pointer.is_empty() {
            _ = write!(detail, ", in `{pointer}`");
        }
        Problem::new(Kind::InvalidJson, detail)
    }

    /// The literal that JSON does not have at this line and column, counted from 1.
    fn not_json(self, line: usize, column: usize) -> Option<&'static str> {
        let line = self.text.split('\n').nth(line.checked_sub(1)?)?;
        let rest = line.get(column.checked_sub(1)?..)?;
        NOT_JSON.into_iter().find(|name| rest.starts_with(name))
    }

    /// What is wrong at the end of this path, from serde's message without the value or
    /// the name that it quotes.
    fn wrong_field(self, path: &Path, message: &str) -> FieldError {
        let mut place = pointer(path);
        let expected = message.rsplit_once(", expected ");
        let reason = if message.starts_with("must ") {
            message.to_owned()
        } else if let Some(field) = message.strip_prefix("missing field `") {
            place = format!("{place}/{}", field.trim_end_matches('`'));
            format!(
                "is missing; send an object such as {}",
                self.source.example()
            )
        } else if message.starts_with("unknown field ") {
            // The path ends with the client's own name.
            place = pointer(path.iter().rev().skip(1).rev());
            let known = expected.map_or("other fields", |(_, known)| known);
            let known = known.trim_start_matches("one of ");
            format!("must hold {known} and nothing else")
        } else if let Some((found, expected)) = expected
            && let Some(found) = found.strip_prefix("invalid type: ")
            && let Some((_, found)) = TYPES.iter().find(|(name, _)| found.starts_with(name))
        {
            format!("must be {expected}, found {found}")
        } else {
            "has the wrong type".to_owned()
        };
        if place.is_empty() {
            return FieldError {
                detail: format!("{} {reason}", self.source),
                pointer: place,
            };
        }
        FieldError::at(place, &reason)
    }
}

impl FieldError {
    /// What is wrong at this place: `reason` goes on after the pointer, such as "must be
    /// a string".
    pub(crate) fn at(pointer: impl Into<String>, reason: &str) -> Self {
        let pointer = pointer.into();
        let detail = format!("`{pointer}` {reason}");
        Self { pointer, detail }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::in_fields(Kind::InvalidBody, error.detail.clone(), vec![error])
    }
}

/// A path as a JSON Pointer. All names in it are the API's own, and need no escapes.
fn pointer<'a>(path: impl IntoIterator<Item = &'a Segment>) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Map { key } => format!("/{key}"),
        Segment::Seq { index } => format!("/{index}"),
        _ => String::new(),
    };
    path.into_iter().map(part).collect()
}

fn without_position(error: &Error) -> String {
    let mut message = error.to_string();
    message.truncate(message.rfind(" at line ").unwrap_or(message.len()));
    message
}

/// A struct that is read from an object. What serde derives would take an array of the
/// fields as well.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(Object)
    }
}

/// The error of a visitor that found a string. Serde's own would quote it, escaped, which
/// can take six times as much memory as the body.
pub(crate) fn found_string<E: de::Error>(expected: &dyn de::Expected) -> E {
    E::invalid_type(de::Unexpected::Other("string"), expected)
}

/// Any JSON value, of which nothing is kept. Unlike `IgnoredAny`, it is checked in full:
/// half surrogate pairs and deep nesting are errors.
#[derive(Clone, Copy, Default)]
pub(crate) struct Skipped {
    /// The length of the longest string or name in it, in bytes.
    pub(crate) longest: usize,
}

impl Skipped {
    /// Notes the strings of another value.
    pub(crate) fn add(&mut self, other: Self) {
        self.longest = self.longest.max(other.longest);
    }
}

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Self::default())
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, string: &str) -> Result<Self, E> {
        let longest = string.len();
        Ok(Self { longest })
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<Self, A::Error> {
        while let Some(element) = array.next_element()? {
            self.add(element);
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = object.next_entry()? {
            self.add(name);
            self.add(value);
        }
        Ok(self)
    }
}
