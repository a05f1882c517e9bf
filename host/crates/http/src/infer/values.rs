//! Values of requests that are bounded as they are read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::request::json::found_string;

/// How many elements of a list are kept that should have one or two.
const FEW: usize = 3;

/// A list that should have a few elements, of which only the first are kept.
pub(super) struct Few<T> {
    pub(super) kept: Vec<T>,
    pub(super) given: usize,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct FewVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Few<T>, A::Error> {
                let (mut kept, mut given) = (Vec::new(), 0);
                while let Some(element) = array.next_element()? {
                    if kept.len() < FEW {
                        kept.push(element);
                    }
                    given += 1;
                }
                Ok(Few { kept, given })
            }
        }

        json.deserialize_seq(FewVisitor(PhantomData))
    }
}

/// A whole number; what is too large becomes the largest.
///
/// Floats are taken as well: to JSON Schema, and to clients that count in floats, 2.0 is a
/// whole number.
pub(super) struct Whole(pub(super) usize);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, at least 0")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Whole, E> {
        Err(found_string(&self))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Whole, E> {
        Ok(Whole(usize::try_from(number).unwrap_or(usize::MAX)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
        let number = usize::try_from(number);
        let number = number.map_err(|_| E::custom("must be a whole number, at least 0"));
        number.map(Whole)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number, and one that is too large becomes the largest"
    )]
    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
        if number >= 0.0 && number.fract() == 0.0 {
            Ok(Whole(number as usize))
        } else {
            Err(E::custom("must be a whole number, at least 0"))
        }
    }
}
