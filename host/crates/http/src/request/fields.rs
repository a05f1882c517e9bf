//! Reads one field of an object, which may be large, and skips the others.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor,
};

use super::json::{Skipped, found_string};

/// Reads an object: its field `name` by `seed`, and of all others only how long their
/// strings are.
#[derive(Clone, Copy)]
pub(crate) struct OneField<S> {
    pub(crate) name: &'static str,
    pub(crate) seed: S,
    /// What the object is, for messages.
    pub(crate) expected: &'static str,
}

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for OneField<S> {
    type Value = (Option<S::Value>, Skipped);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for OneField<S> {
    type Value = (Option<S::Value>, Skipped);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(found_string(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut others) = (None, Skipped::default());
        while let Some((is_it, name)) = object.next_key_seed(Is(self.name))? {
            if !is_it {
                others.add(name);
                others.add(object.next_value()?);
            } else if found.is_none() {
                found = Some(object.next_value_seed(self.seed)?);
            } else {
                return Err(A::Error::duplicate_field(self.name));
            }
        }
        Ok((found, others))
    }
}

/// Skips a field that [`OneField`] has read.
pub(crate) fn skip<'de, D: Deserializer<'de>>(json: D) -> Result<(), D::Error> {
    IgnoredAny::deserialize(json).map(|_| ())
}

/// Reads whether the name of a field is this one, and how long it is.
struct Is(&'static str);

impl<'de> DeserializeSeed<'de> for Is {
    type Value = (bool, Skipped);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Is {
    type Value = (bool, Skipped);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let longest = name.len();
        Ok((name == self.0, Skipped { longest }))
    }
}
