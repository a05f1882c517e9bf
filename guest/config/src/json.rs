//! JSON as Python reads it.
//!
//! Python's `json` writes and reads `NaN`, `Infinity` and `-Infinity`, so files that
//! Transformers has written may have them. It also takes the last of equal keys.

use std::borrow::Cow;

use memchr::memmem;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ConfigError;

/// The words for numbers that JSON does not have; the minus belongs to the number.
const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];

/// Reads a file's contents. Numbers that JSON does not have are read as `null`: no limit
/// and no default.
pub(crate) fn parse<T: DeserializeOwned>(
    file: &'static str,
    contents: &[u8],
) -> Result<T, ConfigError> {
    // Not at once, since a structure would refuse equal keys.
    let value: Result<Value, _> = serde_json::from_slice(&strict(contents));
    value
        .and_then(serde_json::from_value)
        .map_err(|error| ConfigError::Malformed { file, error })
}

/// Whether Python would read these bytes as JSON.
///
/// # Errors
///
/// If it would not.
pub fn check(contents: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<serde::de::IgnoredAny>(&strict(contents)).map(drop)
}

/// The same with `null` in place of the words that JSON does not have.
fn strict(contents: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(contents, b"NaN")
        .or(memmem::find(contents, b"Infinity"))
        .is_none()
    {
        return Cow::Borrowed(contents);
    }
    let mut strict = Vec::with_capacity(contents.len());
    let mut rest = contents;
    let mut in_string = false;
    while let Some((byte, after)) = rest.split_first() {
        let word = WORDS
            .iter()
            .find(|word| !in_string && rest.starts_with(word));
        if let Some(word) = word {
            strict.extend_from_slice(b"null");
            rest = &rest[word.len()..];
            continue;
        }
        // An escaped character does not end the string.
        let taken = if in_string && *byte == b'\\' { 2 } else { 1 };
        in_string ^= *byte == b'"';
        let taken = taken.min(after.len() + 1);
        strict.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(strict)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        parse("config.json", text.as_bytes()).unwrap()
    }

    #[test]
    fn numbers_of_python_are_null() {
        let value = read(r#"{"a": NaN, "b": [Infinity, -Infinity, -1.5], "c": 1e30}"#);
        assert_eq!(
            value,
            json!({"a": null, "b": [null, null, -1.5], "c": 1e30})
        );
    }

    #[test]
    fn words_in_strings_are_left_alone() {
        let text = r#"{"NaN": "a \" NaN", "b": "\\", "c": "-Infinity", "d": NaN, "e": "NaN"}"#;
        let expected = json!({
            "NaN": "a \" NaN", "b": "\\", "c": "-Infinity", "d": null, "e": "NaN"
        });
        assert_eq!(read(text), expected);
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(read(r#"{"a": 1, "a": 2}"#), json!({"a": 2}));
    }

    #[test]
    fn what_python_refuses_is_an_error() {
        for text in ["", "nan", "{\"a\": NaN,}", "-NaN", "\"NaN", "NaN\\"] {
            assert!(check(text.as_bytes()).is_err(), "{text:?}");
        }
        check(b"{\"a\": NaN}").unwrap();
    }
}
