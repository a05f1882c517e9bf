//! Requests in the form that Hugging Face's clients send, `{"inputs": ..}`: which options
//! they may hold, and how they are answered.
//!
//! Hugging Face's Inference API and Text Embeddings Inference (TEI) take the same requests,
//! and answer one text differently: the API with a list of one list, which its Python and
//! JavaScript clients need, and TEI with a list of scores. So the answer depends on the
//! path. Unlike in TEI, two strings in a list are two texts, not a pair.
//!
//! An option that a guest cannot honour is refused, never ignored: guests return scores and
//! not logits, and truncate at the model's limit if they do.
//!
//! This module must not know how the scores come about.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::{FieldError, Problem};
use super::request::json::Object;
use super::request::{Texts, truncation};
use super::scores::{List, Lists};
use predictor::{Activation, LongTexts, ModelCard, PredictError, Scores, Side};

/// The texts of a request, as clients of Hugging Face send them.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct InputsRequest {
    // `InputsSeed` reads it, within a bound, before the options are read.
    #[serde(deserialize_with = "skip")]
    pub(crate) inputs: OneOrMany,
    /// Logits instead of scores, which are not available.
    raw_scores: Option<bool>,
    /// Whether a text that is too long for the model may be truncated, as it is by default.
    /// If not, it is refused.
    #[serde(default, deserialize_with = "truncation::read")]
    #[schema(value_type = Option<bool>)]
    truncate: LongTexts,
    /// The same, as in the other form.
    #[serde(default, deserialize_with = "truncation::read")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncation: LongTexts,
    /// The end at which texts are truncated, which depends on the model.
    truncation_direction: Option<String>,
    #[schema(value_type = Option<Parameters>)]
    parameters: Option<Object<Parameters>>,
}

/// One text, or a list of texts.
#[derive(ToSchema)]
#[schema(as = Inputs)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    #[schema(value_type = Vec<Input>)]
    Many(Texts),
}

/// A text; or, as TEI's clients send it in a list, a list of it alone.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum Input {
    Text(String),
    Alone([String; 1]),
}

/// Options of Hugging Face's Inference API.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The number of labels for each text, highest scores first; all by default.
    #[serde(default, deserialize_with = "top_k")]
    #[schema(minimum = 1)]
    top_k: Option<usize>,
    /// How outputs of the model become scores, which depends on the model.
    function_to_apply: Option<String>,
    /// The same as `truncate`, as pipelines of Transformers call it.
    #[serde(default, deserialize_with = "truncation::read")]
    #[schema(value_type = Option<bool>)]
    truncation: LongTexts,
}

fn skip<'de, D: Deserializer<'de>>(json: D) -> Result<OneOrMany, D::Error> {
    IgnoredAny::deserialize(json)?;
    Ok(OneOrMany::default())
}

/// Takes floats as well: to JSON Schema, and to clients that count in floats, 2.0 is a
/// whole number.
fn top_k<'de, D: Deserializer<'de>>(json: D) -> Result<Option<usize>, D::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number, and one that is too large becomes the largest"
    )]
    match Option::<f64>::deserialize(json) {
        Ok(None) => Ok(None),
        Ok(Some(count)) if count >= 1.0 && count.fract() == 0.0 => Ok(Some(count as usize)),
        _ => Err(D::Error::custom("must be a whole number, at least 1")),
    }
}

/// What a request in this form asks for beside its texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// Whether there is one text, and not a list.
    pub(crate) is_one: bool,
    /// Whether one text is answered as TEI does, with its scores in no list.
    pub(crate) is_tei: bool,
    /// The most labels of each text.
    pub(crate) top_k: Option<usize>,
}

/// What may be asked for of the model that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    cut: Side,
    activation: Option<Activation>,
}

impl Default for Allowed {
    /// The options where nothing is known about the model.
    fn default() -> Self {
        Self {
            cut: Side::Right,
            activation: None,
        }
    }
}

impl From<&ModelCard> for Allowed {
    fn from(model: &ModelCard) -> Self {
        Self {
            cut: model
                .description
                .limit
                .map_or(Side::Right, |limit| limit.cut),
            activation: model.description.activation,
        }
    }
}

impl Allowed {
    /// What `truncation_direction` may be, besides `null`.
    pub(crate) fn direction(self) -> [&'static str; 2] {
        match self.cut {
            Side::Left => ["left", "Left"],
            Side::Right => ["right", "Right"],
        }
    }

    /// What `function_to_apply` may be, besides `null`.
    pub(crate) fn function(self) -> Option<&'static str> {
        self.activation.map(|activation| match activation {
            Activation::Softmax => "softmax",
            Activation::Sigmoid => "sigmoid",
        })
    }
}

impl InputsRequest {
    /// What is to become of texts that are too long.
    pub(crate) fn long_texts(&self) -> LongTexts {
        let parameters = self.parameters.as_ref();
        let parameters = parameters.map(|Object(parameters)| parameters.truncation);
        let given = [
            self.truncate,
            self.truncation,
            parameters.unwrap_or_default(),
        ];
        if given.contains(&LongTexts::Refuse) {
            LongTexts::Refuse
        } else {
            LongTexts::AsConfigured
        }
    }

    /// The texts, and what is asked for beside them.
    ///
    /// # Errors
    ///
    /// The first option that cannot be honoured.
    pub(crate) fn accept(self, allowed: Allowed) -> Result<(OneOrMany, Inputs), FieldError> {
        if self.raw_scores == Some(true) {
            let reason = "must be false: guests return scores, and logits are not available";
            return Err(FieldError::at("/raw_scores", reason));
        }
        let directions = allowed.direction();
        if let Some(direction) = &self.truncation_direction
            && !directions.contains(&&**direction)
        {
            let reason = format!("must be \"{}\", as the model requires", directions[0]);
            return Err(FieldError::at("/truncation_direction", &reason));
        }
        let parameters = self
            .parameters
            .map_or_else(Parameters::default, |Object(parameters)| parameters);
        if let Some(function) = &parameters.function_to_apply
            && allowed.function() != Some(function)
        {
            let reason = match allowed.function() {
                Some(function) => format!("must be \"{function}\", as the model requires"),
                None => "must be left out: the guest does not name one".to_owned(),
            };
            return Err(FieldError::at("/parameters/function_to_apply", &reason));
        }
        let options = Inputs {
            is_one: matches!(self.inputs, OneOrMany::One(_)),
            is_tei: false,
            top_k: parameters.top_k,
        };
        Ok((self.inputs, options))
    }
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Texts::default())
    }
}

impl OneOrMany {
    /// The texts, of which at most `max` are kept.
    pub(crate) fn into_texts(self, max: usize) -> Texts {
        match self {
            Self::One(text) => {
                let mut texts = Texts::default();
                texts.push(text, max);
                texts
            }
            Self::Many(texts) => texts,
        }
    }
}

/// Reads one text or a list, of which at most `max` texts are kept.
#[derive(Clone, Copy)]
pub(crate) struct InputsSeed {
    pub(crate) max: usize,
}

impl<'de> DeserializeSeed<'de> for InputsSeed {
    type Value = OneOrMany;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<OneOrMany, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for InputsSeed {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<OneOrMany, A::Error> {
        Texts::read::<Input, A>(array, self.max).map(OneOrMany::Many)
    }
}

impl From<Input> for String {
    fn from(input: Input) -> Self {
        match input {
            Input::Text(text) | Input::Alone([text]) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or an array of one string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Input, E> {
        Ok(Input::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Input, A::Error> {
        let first: Option<String> = array.next_element()?;
        let mut count = usize::from(first.is_some());
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        match first {
            Some(text) if count == 1 => Ok(Input::Alone([text])),
            // In TEI, two strings are a pair for a model that compares texts.
            _ => Err(A::Error::custom(format_args!(
                "must be a string, or an array of one string, found an array of {count}; \
                 pairs of texts cannot be scored"
            ))),
        }
    }
}

impl Inputs {
    /// The answer to a request, to be written as JSON.
    pub(crate) fn answer<'a>(&self, scores: &'a [Scores]) -> Answer<'a> {
        let most = self.top_k.unwrap_or(usize::MAX);
        match scores {
            [scores] if self.is_one && self.is_tei => Answer::One(List::of(scores, most)),
            scores => Answer::Each(Lists::of(scores, most)),
        }
    }

    /// The problem document for a failed prediction, for a client of this form.
    pub(crate) fn problem(&self, error: PredictError) -> Problem {
        let pointer = |text: Option<usize>| match text {
            Some(index) if !self.is_one => format!("/inputs/{index}"),
            _ => "/inputs".to_owned(),
        };
        Problem::of_texts(error, pointer).for_tei()
    }
}

/// The scores of one text, or those of each.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer<'a> {
    One(List<'a>),
    Each(Lists<'a>),
}

#[cfg(test)]
mod tests;
