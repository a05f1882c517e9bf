//! Reads the body of `POST /predict`: `{"text": ["..", ".."]}`, or `{"inputs": ..}` as
//! clients of Hugging Face send it.
//!
//! This module must not know limits on texts, or how they are answered.

pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod truncation;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use utoipa::ToSchema;

use super::classify::Classify;
use super::infer::Infer;
use super::inputs::{Allowed, Inputs, InputsRequest, InputsSeed, OneOrMany};
use super::problem::{FieldError, Kind, Problem};
use json::{Json, Skipped, Source, found_string};
use predictor::{LongTexts, PredictError};
use truncation::Truncation;

/// The longest string that an option may hold, in bytes. Serde's errors quote strings, so
/// that long ones would take much memory.
pub(crate) const MAX_OPTION_BYTES: usize = 256;

/// The texts of a request.
#[derive(Debug, ToSchema)]
pub(crate) struct PredictRequest {
    /// The texts to score. An empty text is allowed.
    #[schema(value_type = Vec<String>)]
    text: Texts,
    /// Whether a text that is too long for the model may be truncated, as it is by default.
    /// If not, it is refused.
    #[schema(value_type = Option<bool>)]
    truncation: LongTexts,
}

/// A list of texts. Only as many as a request may hold are kept: the strings of a body
/// of empty texts would take many times its size.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    /// The first texts, in the order of the request.
    pub(crate) kept: Vec<String>,
    /// How many there are in the request.
    pub(crate) given: usize,
}

impl Texts {
    /// Adds a text, which is only counted where `max` are kept.
    pub(crate) fn push(&mut self, text: impl Into<String>, max: usize) {
        if self.kept.len() < max {
            self.kept.push(text.into());
        }
        self.given += 1;
    }

    /// Reads an array whose elements are read as `T`.
    pub(crate) fn read<'de, T, A>(mut array: A, max: usize) -> Result<Self, A::Error>
    where
        T: Deserialize<'de> + Into<String>,
        A: SeqAccess<'de>,
    {
        let mut texts = Self::default();
        while let Some(text) = array.next_element::<T>()? {
            texts.push(text, max);
        }
        Ok(texts)
    }
}

/// The form of a request, and so of its answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"text": [..]}`
    Text,
    /// `{"inputs": ..}`
    Inputs(Inputs),
    /// The Open Inference Protocol.
    Infer(Infer),
    /// `{"input": ..}`
    Classify(Classify),
}

impl Form {
    /// The problem document for a failed prediction, for a client of this form.
    pub(crate) fn problem(&self, error: PredictError) -> Problem {
        match self {
            Self::Text => error.into(),
            Self::Inputs(inputs) => inputs.problem(error),
            Self::Infer(_) => Infer::problem(error),
            Self::Classify(classify) => classify.problem(error),
        }
    }
}

/// A request that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) texts: Texts,
    pub(crate) form: Form,
    pub(crate) long_texts: LongTexts,
}

impl Read {
    /// Of a form that says nothing of long texts.
    pub(crate) fn of(texts: Texts, form: Form) -> Self {
        Self {
            texts,
            form,
            long_texts: LongTexts::default(),
        }
    }
}

/// The texts of a request of the first form, however many there are.
///
/// # Errors
///
/// As for [`read`].
pub(crate) fn texts(bytes: &[u8]) -> Result<Vec<String>, Problem> {
    let read = read(bytes, usize::MAX, Allowed::default)?;
    match read.form {
        Form::Text => Ok(read.texts.kept),
        _ => Err(FieldError::at("/text", "is missing").into()),
    }
}

/// Reads a request, of which at most `max_texts` texts are kept.
///
/// # Errors
///
/// As for [`Json::read_with`]; options that the model does not allow are
/// [`Kind::InvalidBody`].
pub(crate) fn read(
    bytes: &[u8],
    max_texts: usize,
    allowed: impl FnOnce() -> Allowed,
) -> Result<Read, Problem> {
    let json = body(Source::Body, bytes)?;
    read_json(json, max_texts, allowed).map_err(|problem| {
        // Clients of `text` would ignore the fields that this adds, so that a hint is
        // enough where the form cannot be known for sure.
        if json.mentions("\"inputs\"") {
            problem.for_tei()
        } else {
            problem
        }
    })
}

/// The JSON that is the whole body of a request.
///
/// # Errors
///
/// As for [`Json::new`], and if there is none.
#[inline]
pub(crate) fn body(source: Source, bytes: &[u8]) -> Result<Json<'_>, Problem> {
    if bytes.is_empty() {
        let example = source.example();
        let detail = format!("the body is empty; it must be a JSON object such as {example}");
        return Err(Problem::new(Kind::InvalidJson, detail));
    }
    Json::new(source, bytes)
}

#[inline]
fn read_json(
    json: Json<'_>,
    max_texts: usize,
    allowed: impl FnOnce() -> Allowed,
) -> Result<Read, Problem> {
    match json.read_with(RequestSeed { max_texts })? {
        (Request::Text(PredictRequest { text, truncation }), _) => Ok(Read {
            texts: text,
            form: Form::Text,
            long_texts: truncation,
        }),
        (Request::Inputs(inputs, truncation), options) => {
            // Only now is it known that the options matter: beside `text` they may be
            // anything.
            let mut request = options.map_or_else(
                || Ok(InputsRequest::default()),
                |options| read_options(json, options),
            )?;
            request.inputs = inputs;
            request.truncation = truncation;
            let long_texts = request.long_texts();
            let (inputs, form) = request.accept(allowed())?;
            Ok(Read {
                texts: inputs.into_texts(max_texts),
                form: Form::Inputs(form),
                long_texts,
            })
        }
    }
}

/// Reads all of a request but its texts.
///
/// # Errors
///
/// As for [`Json::read_with`], and if a string is too long for an option.
#[inline(never)]
pub(crate) fn read_options<'a, T: Deserialize<'a>>(
    json: Json<'a>,
    options: Skipped,
) -> Result<T, Problem> {
    if options.longest > MAX_OPTION_BYTES {
        let detail = format!(
            "the body must hold no option with a string of more than {MAX_OPTION_BYTES} bytes"
        );
        let pointer = String::new();
        return Err(FieldError { pointer, detail }.into());
    }
    json.read()
}

/// A request in either form.
enum Request {
    Text(PredictRequest),
    Inputs(OneOrMany, LongTexts),
}

/// The fields of a request.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Text,
    Inputs,
    Truncation,
    #[serde(rename = "text_pair")]
    Pair,
    /// One that matters with `inputs` only.
    #[serde(
        rename = "raw_scores",
        alias = "truncate",
        alias = "truncation_direction",
        alias = "parameters"
    )]
    Option,
    #[serde(other)]
    Unknown,
}

/// Reads a request in one pass, so that its texts are bounded as they are read. Of its
/// options, if there are any, it is known only how long they are.
#[derive(Clone, Copy)]
struct RequestSeed {
    max_texts: usize,
}

impl<'de> DeserializeSeed<'de> for RequestSeed {
    type Value = (Request, Option<Skipped>);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed {
    type Value = (Request, Option<Skipped>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object such as {}", Source::Body.example())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(found_string(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let max = self.max_texts;
        let (mut request, mut options) = (None, None::<Skipped>);
        let mut truncation = None;
        while let Some(field) = object.next_key()? {
            match (field, &request) {
                (Field::Text, None) => {
                    let text = object.next_value_seed(TextsSeed::<String>::new(max))?;
                    let truncation = LongTexts::default();
                    request = Some(Request::Text(PredictRequest { text, truncation }));
                }
                (Field::Inputs, None) => {
                    let inputs = object.next_value_seed(InputsSeed { max })?;
                    request = Some(Request::Inputs(inputs, LongTexts::default()));
                }
                (Field::Text, Some(Request::Text(_))) => {
                    return Err(A::Error::duplicate_field("text"));
                }
                (Field::Inputs, Some(Request::Inputs(..))) => {
                    return Err(A::Error::duplicate_field("inputs"));
                }
                (Field::Text | Field::Inputs, Some(_)) => object.next_value_seed(SecondForm)?,
                (Field::Truncation, _) if truncation.is_some() => {
                    return Err(A::Error::duplicate_field("truncation"));
                }
                (Field::Truncation, _) => {
                    truncation = Some(object.next_value_seed(Truncation)?);
                }
                (Field::Pair, _) => object.next_value_seed(NoPair)?,
                (Field::Option, _) => {
                    let option = object.next_value()?;
                    options.get_or_insert_default().add(option);
                }
                (Field::Unknown, _) => {
                    object.next_value::<Skipped>()?;
                }
            }
        }
        let given = truncation.unwrap_or_default();
        if let Some(
            Request::Text(PredictRequest { truncation, .. }) | Request::Inputs(_, truncation),
        ) = &mut request
        {
            *truncation = given;
        }
        match request {
            Some(request) => Ok((request, options)),
            None => Err(A::Error::missing_field("text")),
        }
    }
}

/// Refuses the second texts of pairs: the scores of the first ones alone would not be what
/// their client asks for.
pub(crate) struct NoPair;

impl<'de> DeserializeSeed<'de> for NoPair {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match Option::<Skipped>::deserialize(json)? {
            None => Ok(()),
            Some(_) => Err(D::Error::custom(
                "must be left out: pairs of texts cannot be scored",
            )),
        }
    }
}

/// Refuses `text` beside `inputs`.
struct SecondForm;

impl<'de> DeserializeSeed<'de> for SecondForm {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom(
            "must be left out: only one of `text` and `inputs` can be given",
        ))
    }
}

/// Reads an array of texts, each of which is read as `T`.
pub(crate) struct TextsSeed<T> {
    max: usize,
    element: PhantomData<T>,
}

impl<T> TextsSeed<T> {
    /// Keeps `max` texts.
    pub(crate) fn new(max: usize) -> Self {
        let element = PhantomData;
        Self { max, element }
    }
}

impl<'de, T: Deserialize<'de> + Into<String>> DeserializeSeed<'de> for TextsSeed<T> {
    type Value = Texts;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Texts, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de> + Into<String>> Visitor<'de> for TextsSeed<T> {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Texts, E> {
        Err(found_string(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Texts, A::Error> {
        Texts::read::<T, A>(array, self.max)
    }
}

#[cfg(test)]
pub(crate) mod properties;
#[cfg(test)]
mod tests;
