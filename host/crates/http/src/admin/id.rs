//! How a path or a query names a version.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use revisions::KnownRevision;
use utoipa::IntoParams;

use super::Context;
use crate::problem::{Kind, Problem};

/// The fewest digits of a digest that name a version.
const MIN_DIGITS: usize = 4;

/// The first digits of a digest, or all of them, in lower case: 4 to 64 hexadecimal ones.
pub(super) fn digits(text: &str) -> Option<String> {
    let is_hexadecimal = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_long_enough = (MIN_DIGITS..=64).contains(&text.len());
    (is_long_enough && is_hexadecimal).then(|| text.to_ascii_lowercase())
}

/// What names a version in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Id {
    /// The digest of the revision or the SHA-256 of its guest, or digits with which it
    /// alone begins.
    #[param(pattern = "^[0-9a-fA-F]{4,64}$")]
    id: String,
}

impl Id {
    /// Accepts 4 to 64 hexadecimal digits.
    pub(super) fn parse(id: &str) -> Result<Self, Problem> {
        if let Some(id) = digits(id) {
            return Ok(Self { id });
        }
        Err(Problem::new(
            Kind::UnknownVersion,
            "a version is named by the digest of its revision or of its guest, or by 4 or more \
             of the 64 hexadecimal digits that it begins with",
        ))
    }

    /// The problem of a text that cannot name a version.
    pub(super) fn problem() -> Option<Problem> {
        Self::parse("").err()
    }

    /// The version with this digest, or with the only digest that begins so.
    pub(super) fn find(&self, context: &Context) -> Result<KnownRevision, Problem> {
        Ok(context.managed.get()?.find(&self.id)?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(head, state).await;
        // What cannot be decoded names nothing.
        Self::parse(&path.map(|Path(id)| id).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hexadecimal_digits() {
        for id in ["1f3", "1f3g", "", "{id}", &"0".repeat(65)] {
            assert!(Id::parse(id).is_err(), "{id}");
        }
        for id in ["1f3a", "1F3A", &"Ab".repeat(32)] {
            assert_eq!(Id::parse(id).unwrap().id, id.to_lowercase());
        }
    }
}
