//! Goes through any JSON, and takes texts and options from where they belong.
//!
//! This module must not know what is made of them.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::{EXAMPLE, Reader};
use crate::inputs::{Found, Name};
use crate::problem::FieldError;

/// A place in the document; everything outside the texts and the options is skipped.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Document,
    Texts,
    Text(usize),
    Inputs,
    Input(usize),
    /// In the list that holds one text alone, as its first element or a later one.
    Alone(usize, usize),
    Option(Name),
    Elsewhere,
}

impl Place {
    /// The place of a field in the object at this place.
    fn field(self, key: &str) -> Self {
        match self {
            Self::Document => match key {
                "text" => Self::Texts,
                "inputs" => Self::Inputs,
                key => Name::in_document(key).map_or(Self::Elsewhere, Self::Option),
            },
            Self::Option(Name::Parameters) => Self::Option(Name::in_parameters(key)),
            _ => Self::Elsewhere,
        }
    }

    /// The place of an element in the array at this place.
    fn element(self, index: usize) -> Self {
        match self {
            Self::Texts => Self::Text(index),
            Self::Inputs => Self::Input(index),
            Self::Input(at) => Self::Alone(at, index),
            _ => Self::Elsewhere,
        }
    }
}

/// Reads the value at a place. It takes any JSON, so that the document is
/// known to be JSON as a whole before its fields are blamed, and so that the
/// blame is in our words.
pub(super) struct At<'a>(pub(super) Place, pub(super) &'a mut Reader);

impl At<'_> {
    #[expect(clippy::unnecessary_wraps, reason = "what the visitors must return")]
    fn found<E>(self, found: Found<'_>) -> Result<(), E> {
        let Self(place, reader) = self;
        match place {
            Place::Document => reader.errors.add(|| FieldError {
                pointer: String::new(),
                detail: format!("the body must be an object such as {EXAMPLE}, found {found}"),
            }),
            Place::Texts => reader.errors.add(|| FieldError {
                pointer: "/text".to_owned(),
                detail: format!("`/text` must be an array of strings, found {found}"),
            }),
            Place::Text(index) => reader.errors.add(|| FieldError {
                pointer: format!("/text/{index}"),
                detail: format!("`/text/{index}` must be a string, found {found}"),
            }),
            Place::Inputs => reader.errors.add(|| FieldError {
                pointer: "/inputs".to_owned(),
                detail: format!("`/inputs` must be a string or an array of strings, found {found}"),
            }),
            Place::Input(index) => reader.errors.add(|| FieldError {
                pointer: format!("/inputs/{index}"),
                detail: format!("`/inputs/{index}` must be a string, found {found}"),
            }),
            Place::Alone(index, inner) => reader.errors.add(|| FieldError {
                pointer: format!("/inputs/{index}/{inner}"),
                detail: format!("`/inputs/{index}/{inner}` must be a string, found {found}"),
            }),
            Place::Option(name) => {
                if let Err(error) = reader.inputs.set(name, found, reader.allowed) {
                    reader.option_errors.add(|| error);
                }
            }
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
        self.found(Found::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.found(Found::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.found(Found::Number)
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.found(Found::Count(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        // To JSON Schema, and to clients who count in floats, 2.0 is a whole number.
        if value < 0.0 || value.fract() != 0.0 {
            return self.found(Found::Number);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number, and one that is too large becomes the largest"
        )]
        let count = value as u64;
        self.found(Found::Count(count))
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.0 {
            Place::Text(_) | Place::Input(_) | Place::Alone(_, 0) => self.1.keep(text),
            Place::Inputs => {
                self.1.inputs.is_one = true;
                self.1.keep(text);
            }
            // More than one is blamed on the list.
            Place::Alone(..) => {}
            _ => return self.found(Found::Text(text)),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Self(place, reader) = self;
        let mut index = 0;
        while array
            .next_element_seed(At(place.element(index), reader))?
            .is_some()
        {
            index += 1;
        }
        match place {
            Place::Texts | Place::Inputs => Ok(()),
            Place::Input(at) => {
                if index != 1 {
                    reader.errors.add(|| pair(at, index));
                }
                Ok(())
            }
            _ => At(place, reader).found(Found::Array),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let Self(place, reader) = self;
        while let Some(key) = object.next_key::<String>()? {
            let inner = place.field(&key);
            let seen = match inner {
                Place::Texts => Some(("text", &mut reader.has_text)),
                Place::Inputs => Some(("inputs", &mut reader.has_inputs)),
                _ => None,
            };
            if let Some((field, seen)) = seen
                && std::mem::replace(seen, true)
            {
                let message = format_args!("the field `{field}` is given twice");
                return Err(A::Error::custom(message));
            }
            object.next_value_seed(At(inner, reader))?;
        }
        match place {
            Place::Document => Ok(()),
            _ => At(place, reader).found(Found::Object),
        }
    }
}

/// A list within a list is one text alone. Two are a pair for a model that compares
/// texts, which none here does.
fn pair(index: usize, found: usize) -> FieldError {
    let pointer = format!("/inputs/{index}");
    FieldError {
        detail: format!(
            "`{pointer}` must be a string, or an array of one string, found an array of {found}; \
             pairs of texts can not be scored"
        ),
        pointer,
    }
}
