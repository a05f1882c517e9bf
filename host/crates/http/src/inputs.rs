//! The form of request that Hugging Face's clients send, `{"inputs": ..}`: which options
//! it may hold, and what it is answered.
//!
//! It is that of Text Embeddings Inference (TEI), but for one thing: there, two strings
//! in a list are a pair, and here a list of strings is a list of texts. A request with
//! `parameters` is one to Hugging Face's Inference API, as `huggingface_hub` sends it,
//! which is answered with a list for each text, also if there is one text only.
//!
//! What a guest can not be asked for is refused, and never ignored: it truncates at the
//! model's limit, and gives scores and not logits.
//!
//! This module must not know how a document is read, or how the scores come about.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::predict::{List, Lists};
use super::problem::{FieldError, Problem};
use predictor::{Activation, ModelCard, PredictError, Scores, Side};

/// What is read, for the document of the API: it is read without ever making one.
#[derive(ToSchema)]
#[schema(
    as = InputsRequest,
    description = "The texts of a request, as clients of Hugging Face send them."
)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Document {
    inputs: Given,
    /// Logits instead of scores, which there are not.
    raw_scores: Option<bool>,
    /// Texts that are too long for the model are always truncated.
    truncate: Option<bool>,
    /// The end at which texts are cut, which is for the model to say.
    truncation_direction: Option<String>,
    parameters: Option<Parameters>,
}

/// One text, or a list of texts.
#[derive(ToSchema)]
#[schema(as = Inputs)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Given {
    One(String),
    Many(Vec<Element>),
}

/// A text; or, as TEI's clients send it in a list, a list of it alone.
#[derive(ToSchema)]
#[schema(as = Input)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Element {
    Text(String),
    Alone(Vec<String>),
}

/// What Hugging Face's Inference API may be asked for. With it, even if it is empty,
/// the answer is a list for each text, also if there is one text only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Parameters {
    /// So many labels of each text, the highest scores first; all if it is left out.
    #[schema(minimum = 1)]
    top_k: Option<usize>,
    /// How outputs of the model become scores, which is for the model to say.
    function_to_apply: Option<String>,
}

/// What a request in this form asks for beside its texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// Whether there is one text, and not a list.
    pub(crate) is_one: bool,
    /// Whether one text is answered like a list of it.
    pub(crate) is_nested: bool,
    /// The most labels of each text.
    pub(crate) top_k: Option<usize>,
}

/// The options, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    RawScores,
    Truncate,
    TruncationDirection,
    Parameters,
    TopK,
    FunctionToApply,
    /// Another one of the parameters.
    Other,
}

/// What an option is found to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found<'a> {
    Null,
    Bool(bool),
    Count(u64),
    Number,
    Text(&'a str),
    Array,
    Object,
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Count(_) | Self::Number => "a number",
            Self::Text(_) => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// What may be asked for of the model that is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    cut: Side,
    activation: Option<Activation>,
}

impl Default for Allowed {
    /// What may be asked for where nothing is known of the model.
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
            cut: model.cut,
            activation: model.activation,
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

impl Name {
    /// The option of this name in a document.
    pub(crate) fn in_document(key: &str) -> Option<Self> {
        Some(match key {
            "raw_scores" => Self::RawScores,
            "truncate" => Self::Truncate,
            "truncation_direction" => Self::TruncationDirection,
            "parameters" => Self::Parameters,
            _ => return None,
        })
    }

    /// The option of this name in `parameters`.
    pub(crate) fn in_parameters(key: &str) -> Self {
        match key {
            "top_k" => Self::TopK,
            "function_to_apply" => Self::FunctionToApply,
            _ => Self::Other,
        }
    }

    fn pointer(self) -> &'static str {
        match self {
            Self::RawScores => "/raw_scores",
            Self::Truncate => "/truncate",
            Self::TruncationDirection => "/truncation_direction",
            Self::Parameters | Self::Other => "/parameters",
            Self::TopK => "/parameters/top_k",
            Self::FunctionToApply => "/parameters/function_to_apply",
        }
    }
}

impl Inputs {
    /// Takes an option. `null` is as if it was left out.
    ///
    /// # Errors
    ///
    /// If it can not be had: what is wrong, without what the client sent.
    pub(crate) fn set(
        &mut self,
        name: Name,
        found: Found<'_>,
        allowed: Allowed,
    ) -> Result<(), FieldError> {
        let wanted = match (name, found) {
            (Name::Other, _) => "may hold `top_k` and `function_to_apply` and nothing else".into(),
            (_, Found::Null)
            | (Name::RawScores, Found::Bool(false))
            | (Name::Truncate, Found::Bool(true)) => return Ok(()),
            (Name::RawScores, Found::Bool(true)) => {
                "must be false: guests give scores, and their logits are not known".into()
            }
            (Name::Truncate, Found::Bool(false)) => "must be true, or left out: texts that are \
                 too long for the model are always truncated, and whether one was is not known"
                .into(),
            (Name::RawScores | Name::Truncate, _) => format!("must be a boolean, found {found}"),
            (Name::TruncationDirection, Found::Text(text)) => {
                let directions = allowed.direction();
                if directions.contains(&text) {
                    return Ok(());
                }
                format!("must be \"{}\", as the model wants it", directions[0])
            }
            (Name::Parameters, Found::Object) => {
                self.is_nested = true;
                return Ok(());
            }
            (Name::Parameters, _) => format!("must be an object, found {found}"),
            (Name::TopK, Found::Count(count @ 1..)) => {
                // More than fits is more than there are.
                self.top_k = Some(usize::try_from(count).unwrap_or(usize::MAX));
                return Ok(());
            }
            (Name::TopK, _) => "must be a whole number from 1".into(),
            (Name::FunctionToApply, Found::Text(text)) => match allowed.function() {
                Some(function) if function == text => return Ok(()),
                Some(function) => format!("must be \"{function}\", as the model wants it"),
                None => "must be left out: the model's files do not say what it may be".into(),
            },
            (Name::TruncationDirection | Name::FunctionToApply, _) => {
                format!("must be a string, found {found}")
            }
        };
        let pointer = name.pointer();
        Err(FieldError {
            pointer: pointer.to_owned(),
            detail: format!("`{pointer}` {wanted}"),
        })
    }

    /// The answer to a request, to be written as JSON.
    pub(crate) fn answer<'a>(&self, scores: &'a [Scores]) -> Answer<'a> {
        let most = self.top_k.unwrap_or(usize::MAX);
        match scores {
            [scores] if self.is_one && !self.is_nested => Answer::One(List::of(scores, most)),
            scores => Answer::Each(Lists::of(scores, most)),
        }
    }

    /// What went wrong below, for a client of this form.
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
mod tests {
    use super::*;

    const ALLOWED: Allowed = Allowed {
        cut: Side::Right,
        activation: Some(Activation::Softmax),
    };

    #[test]
    fn what_a_guest_does_anyway_can_be_asked_for() {
        let mut inputs = Inputs::default();
        for (name, found) in [
            (Name::RawScores, Found::Bool(false)),
            (Name::RawScores, Found::Null),
            (Name::Truncate, Found::Bool(true)),
            (Name::Truncate, Found::Null),
            (Name::TruncationDirection, Found::Text("right")),
            (Name::TruncationDirection, Found::Text("Right")),
            (Name::TruncationDirection, Found::Null),
            (Name::FunctionToApply, Found::Text("softmax")),
            (Name::FunctionToApply, Found::Null),
            (Name::TopK, Found::Null),
            (Name::Parameters, Found::Null),
        ] {
            assert_eq!(inputs.set(name, found, ALLOWED), Ok(()), "{name:?}");
        }
        assert_eq!(inputs, Inputs::default());
        inputs.set(Name::TopK, Found::Count(2), ALLOWED).unwrap();
        inputs
            .set(Name::Parameters, Found::Object, ALLOWED)
            .unwrap();
        assert_eq!((inputs.top_k, inputs.is_nested), (Some(2), true));
    }

    #[test]
    fn what_it_does_not_is_refused_with_what_is_allowed() {
        for (name, found, words) in [
            (Name::RawScores, Found::Bool(true), "must be false"),
            (
                Name::RawScores,
                Found::Text("secret"),
                "a boolean, found a string",
            ),
            (Name::Truncate, Found::Bool(false), "always truncated"),
            (Name::Truncate, Found::Count(1), "a boolean, found a number"),
            (Name::TruncationDirection, Found::Text("left"), "\"right\""),
            (
                Name::TruncationDirection,
                Found::Text("secret"),
                "\"right\"",
            ),
            (
                Name::TruncationDirection,
                Found::Array,
                "a string, found an array",
            ),
            (Name::FunctionToApply, Found::Text("none"), "\"softmax\""),
            (
                Name::FunctionToApply,
                Found::Object,
                "a string, found an object",
            ),
            (Name::TopK, Found::Count(0), "from 1"),
            (Name::TopK, Found::Number, "from 1"),
            (Name::Parameters, Found::Array, "an object, found an array"),
            (Name::Other, Found::Null, "`top_k` and `function_to_apply`"),
        ] {
            let error = Inputs::default().set(name, found, ALLOWED).unwrap_err();
            assert!(error.detail.contains(words), "{}", error.detail);
            assert!(!error.detail.contains("secret"), "{}", error.detail);
            assert_eq!(error.pointer, name.pointer());
        }
        let unknown = Allowed {
            cut: Side::Left,
            activation: None,
        };
        let set = |name, text| Inputs::default().set(name, Found::Text(text), unknown);
        assert_eq!(set(Name::TruncationDirection, "left"), Ok(()));
        assert!(set(Name::TruncationDirection, "right").is_err());
        assert!(set(Name::FunctionToApply, "softmax").is_err());
    }
}
