//! What a guest is told when it asks for its configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::Digest;

/// The most bytes of all keys and values together. Data belongs into the model's directory.
const MOST_BYTES: usize = 16 << 10;
/// The most bytes of a key.
const MOST_KEY_BYTES: usize = 256;

/// Starts the bytes that the digest is taken over, so that it can never equal a digest of
/// something else.
const DOMAIN: &[u8] = b"fastsentiment configuration 1\0";

/// What the name of a key contains whose value is shown to nobody.
const SECRET: [&str; 5] = ["secret", "password", "credential", "api_key", "apikey"];

/// Keys and values that a guest reads through `wasi:config/store`, 16 KiB in all. Cheap to
/// clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Configuration(Option<Arc<Values>>);

#[derive(PartialEq, Eq)]
struct Values {
    digest: Digest,
    values: BTreeMap<String, String>,
}

/// Keys and values that cannot be a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// A key is not one.
    #[error(
        "`{}` cannot be a key: keys have 1 to {MOST_KEY_BYTES} bytes, without spaces, control \
         characters and `=`",
        .0.escape_debug()
    )]
    Key(String),
    /// There is too much of it.
    #[error("its keys and values have {0} bytes together; at most {MOST_BYTES} are allowed")]
    TooLarge(usize),
}

impl Configuration {
    /// No keys.
    pub const NONE: Self = Self(None);

    /// The configuration with these values.
    ///
    /// # Errors
    ///
    /// If it has too many bytes, or a key that is not allowed.
    pub fn new(values: BTreeMap<String, String>) -> Result<Self, ConfigurationError> {
        if values.is_empty() {
            return Ok(Self::NONE);
        }
        let foreign = |found: char| found == '=' || found.is_whitespace() || found.is_control();
        let mut bytes = 0;
        for (key, value) in &values {
            if key.is_empty() || key.len() > MOST_KEY_BYTES || key.contains(foreign) {
                let mut key = key.clone();
                key.truncate(key.floor_char_boundary(MOST_KEY_BYTES));
                return Err(ConfigurationError::Key(key));
            }
            bytes += key.len() + value.len();
        }
        if bytes > MOST_BYTES {
            return Err(ConfigurationError::TooLarge(bytes));
        }
        let mut hash = Sha256::new().chain_update(DOMAIN);
        for part in values.iter().flat_map(|(key, value)| [key, value]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest = Digest(hash.finalize().into());
        Ok(Self(Some(Arc::new(Values { digest, values }))))
    }

    /// The configuration with other values for some keys; `None` removes a key.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with(
        &self,
        changes: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Result<Self, ConfigurationError> {
        let mut values = self.values().cloned().unwrap_or_default();
        for (key, value) in changes {
            match value {
                Some(value) => values.insert(key, value),
                None => values.remove(&key),
            };
        }
        Self::new(values)
    }

    fn values(&self) -> Option<&BTreeMap<String, String>> {
        self.0.as_ref().map(|of| &of.values)
    }

    /// SHA-256 over keys and values; that of no bytes if there are none.
    pub fn digest(&self) -> Digest {
        self.0.as_ref().map_or(Digest::EMPTY, |of| of.digest)
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values().into_iter().flatten();
        values.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Keys and values for people to see: `None` for the value of a key whose name says that
    /// it is secret (it contains `secret`, `password`, `credential` or `api_key`).
    pub fn shown(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.iter().map(|(key, value)| {
            let name = key.to_ascii_lowercase().replace('-', "_");
            let is_secret = SECRET.iter().any(|secret| name.contains(secret));
            (key, (!is_secret).then_some(value))
        })
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Configuration {
    /// With all values, secret ones as well.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Configuration {
    /// Reads a map; numbers and booleans become the strings that they are written as.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = BTreeMap::<String, ConfigurationValue>::deserialize(deserializer)?;
        let values = values.into_iter().map(|(key, value)| (key, value.0));
        Self::new(values.collect()).map_err(de::Error::custom)
    }
}

/// A value as people write it: a string, a number or a boolean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationValue(pub String);

impl<'de> Deserialize<'de> for ConfigurationValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyScalar)
    }
}

struct AnyScalar;

impl Visitor<'_> for AnyScalar {
    type Value = ConfigurationValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(ConfigurationValue(value.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(ConfigurationValue(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(ConfigurationValue(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(ConfigurationValue(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        // With a decimal point, unlike `Display`.
        Ok(ConfigurationValue(format!("{value:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, &str)]) -> Result<Configuration, ConfigurationError> {
        let values = values
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()));
        Configuration::new(values.collect())
    }

    #[test]
    fn the_digest_tells_keys_and_values_apart() {
        assert_eq!(of(&[]).unwrap(), Configuration::NONE);
        assert_eq!(Configuration::NONE.digest(), Digest::EMPTY);
        let all = [
            of(&[("a", "")]),
            of(&[("a", "b")]),
            of(&[("ab", "")]),
            of(&[("a", "b"), ("c", "")]),
            of(&[("a", ""), ("b", "c")]),
        ];
        let digests = all.map(|one| one.unwrap().digest());
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest) && *digest != Digest::EMPTY);
        }
        // Servers of different releases share caches and states under it.
        assert_eq!(digests[1].short(), "14595578037c");
    }

    #[test]
    fn keys_can_be_set_and_removed() {
        let one = of(&[("a", "1"), ("b", "2")]).unwrap();
        let changes = [("a", None), ("c", Some("3"))];
        let changes = changes.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(
            one.with(changes).unwrap(),
            of(&[("b", "2"), ("c", "3")]).unwrap()
        );
    }

    #[test]
    fn what_is_too_much_or_no_key_is_refused() {
        assert!(of(&[("k", &"v".repeat(MOST_BYTES - 1))]).is_ok());
        let size = MOST_BYTES + 1;
        let error = of(&[("k", &"v".repeat(MOST_BYTES))]).unwrap_err();
        assert_eq!(error, ConfigurationError::TooLarge(size));
        for key in ["", "a b", "a=b", "a\n", &"é".repeat(200)] {
            let error = of(&[(key, "")]).unwrap_err();
            assert!(matches!(error, ConfigurationError::Key(_)), "{key}");
        }
    }

    #[test]
    fn secret_values_are_not_shown() {
        let one = of(&[("API-KEY", "x"), ("max_tokens", "9"), ("db.Password", "y")]).unwrap();
        let shown: Vec<_> = one.shown().collect();
        assert_eq!(
            shown,
            [
                ("API-KEY", None),
                ("db.Password", None),
                ("max_tokens", Some("9"))
            ]
        );
        assert!(!format!("{one:?}").contains('y'));
    }
}
