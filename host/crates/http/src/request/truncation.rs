//! Reads `truncation`, as clients of Transformers call it: whether a text that is too long
//! for the model may be truncated.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use super::json::found_string;
use predictor::LongTexts;

/// Reads a boolean or null, for an option that is `false` to have long texts refused.
///
/// # Errors
///
/// If it is something else.
pub(crate) fn read<'de, D: Deserializer<'de>>(json: D) -> Result<LongTexts, D::Error> {
    Truncation.deserialize(json)
}

/// See [`read`].
pub(crate) struct Truncation;

impl<'de> DeserializeSeed<'de> for Truncation {
    type Value = LongTexts;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<LongTexts, D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for Truncation {
    type Value = LongTexts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean")
    }

    fn visit_bool<E>(self, allowed: bool) -> Result<LongTexts, E> {
        Ok(if allowed {
            LongTexts::AsConfigured
        } else {
            LongTexts::Refuse
        })
    }

    fn visit_unit<E>(self) -> Result<LongTexts, E> {
        Ok(LongTexts::AsConfigured)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<LongTexts, E> {
        Err(found_string(&self))
    }
}
