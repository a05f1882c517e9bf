//! The file of keys.
//!
//! ```toml
//! [[key]]
//! name = "web"
//! sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! priority = "high"          # low, normal (the default) or high
//! requests-per-minute = 600  # no limit by default
//! tokens-per-minute = 50000  # no limit by default
//!
//! [[key]]
//! name = "batch"
//! sha256 = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
//! revoked = true
//! ```

use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use predictor::{Digest, Weight};
use serde::{Deserialize, Deserializer, de};

/// The most keys of a file: each has metrics of its own.
pub const MAX_KEYS: usize = 1000;

/// The most bytes of a name.
const MAX_NAME: usize = 64;

/// A key in a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// What people call it.
    #[serde(deserialize_with = "parsed")]
    pub name: KeyName,
    /// The SHA-256 of the secret that its holder sends.
    #[serde(deserialize_with = "parsed")]
    pub sha256: Digest,
    /// How its turns compare with those of others.
    #[serde(default, deserialize_with = "parsed")]
    pub priority: Weight,
    /// How many requests its holder may send in a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// How many estimated tokens they may have in a minute.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Whether it may not be used any more. Its holder is told so.
    #[serde(default)]
    pub revoked: bool,
}

/// The name of a key: letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Not the name of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {MAX_NAME} of the characters a-z, A-Z, 0-9, `.`, `_` and `-`")]
pub struct KeyNameError;

/// Why a file of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is not the TOML that it should be.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Nobody could ask for anything.
    #[error("it has no keys; each is a table `[[key]]` with `name` and `sha256`")]
    Empty,
    /// There are too many.
    #[error("it has {0} keys; at most {MAX_KEYS} are allowed")]
    TooMany(usize),
    /// Two keys have one name, or one secret.
    #[error("two keys have the {what} `{value}`")]
    Twice {
        /// Of what.
        what: &'static str,
        /// The value of both.
        value: String,
    },
}

impl KeyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyNameError)
        }
    }
}

/// Reads a file of keys.
///
/// # Errors
///
/// If it is not TOML of this form, has no keys or too many, or one of them twice.
pub fn entries(file: &[u8]) -> Result<Vec<Entry>, EntryError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        key: Vec<Entry>,
    }

    let line = |at: usize| file[..at].split(|byte| *byte == b'\n').count();
    let text = str::from_utf8(file).map_err(|error| EntryError::Syntax {
        line: line(error.valid_up_to()),
        reason: "it is not UTF-8".to_owned(),
    })?;
    let File { key } = toml::from_str(text).map_err(|error| EntryError::Syntax {
        line: line(error.span().map_or(0, |span| span.start.min(file.len()))),
        reason: error.message().lines().collect::<Vec<_>>().join(", "),
    })?;
    if key.is_empty() {
        return Err(EntryError::Empty);
    }
    if key.len() > MAX_KEYS {
        return Err(EntryError::TooMany(key.len()));
    }
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    let twice = |what, value| Err(EntryError::Twice { what, value });
    for entry in &key {
        if !names.insert(&entry.name) {
            return twice("name", entry.name.to_string());
        }
        if !digests.insert(entry.sha256) {
            return twice("sha256", entry.sha256.to_string());
        }
    }
    Ok(key)
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_full() {
        let digest = Digest::of(b"x");
        let file = format!(
            "# a comment\n[[key]]\nname = \"a.b-C_1\"\nsha256 = \"{digest}\"\n\
             priority = \"high\"\nrequests-per-minute = 1\ntokens-per-minute = 4294967295\n"
        );
        let [entry] = &entries(file.as_bytes()).unwrap()[..] else {
            panic!("one key")
        };
        assert_eq!(entry.name.as_str(), "a.b-C_1");
        assert_eq!((entry.sha256, entry.priority), (digest, Weight::High));
        assert_eq!(entry.requests_per_minute.map(NonZeroU32::get), Some(1));
        assert_eq!(entry.tokens_per_minute.map(NonZeroU32::get), Some(u32::MAX));
        assert!(!entry.revoked);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let digest = Digest::of(b"x");
        let key = |rest: &str| format!("[[key]]\nname = \"a\"\nsha256 = \"{digest}\"\n{rest}");
        let many = (0..=MAX_KEYS)
            .map(|n| format!("[[key]]\nname = \"{n}\"\nsha256 = \"{n:064}\"\n"))
            .collect::<Vec<_>>();
        for (file, words) in [
            (String::new(), "no keys"),
            ("[[key]]\n".to_owned(), "line 1: missing field `name`"),
            ("key = 1".to_owned(), "line 1: invalid type"),
            ("[[keys]]\n".to_owned(), "unknown field `keys`"),
            (key("burst = 1"), "line 4: unknown field `burst`"),
            (key("priority = \"urgent\""), "`low`, `normal` or `high`"),
            (key("requests-per-minute = 0"), "line 4: "),
            (key("requests-per-minute = -1"), "line 4: "),
            (key("tokens-per-minute = 4294967296"), "line 4: "),
            (key("").replace("\"a\"", "\"a b\""), "line 2: a name has"),
            (key("").replace("\"a\"", "\"\""), "line 2: a name has"),
            (
                "[[key]]\nname = \"a\"\nsha256 = \"12\"".to_owned(),
                "`12` is not a SHA-256",
            ),
            (key(&key("")), "two keys have the name `a`"),
            (
                key(&key("").replace("\"a\"", "\"b\"")),
                "two keys have the sha256",
            ),
            (many.concat(), "1001 keys; at most 1000"),
        ] {
            let error = entries(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let error = entries(b"a\n\xff").unwrap_err().to_string();
        assert_eq!(error, "line 2: it is not UTF-8");
    }
}
