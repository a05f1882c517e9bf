//! What people call a revision.

use std::fmt;
use std::str::FromStr;

/// A name for people, such as `neutral@1.2.0`: 1 to 100 visible ASCII characters, so that it
/// fits into headers, logs and tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionName(String);

/// A text that is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 100 visible ASCII characters without spaces, such as `neutral@1.2.0`")]
pub struct RevisionNameError;

impl RevisionName {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RevisionName {
    type Err = RevisionNameError;

    fn from_str(text: &str) -> Result<Self, RevisionNameError> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_visible && (1..=100).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(RevisionNameError)
    }
}

impl fmt::Display for RevisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_visible() {
        let long = "x".repeat(100);
        for name in ["a", "neutral@1.2.0", "wasi:nn/guest", &long] {
            assert_eq!(name.parse::<RevisionName>().unwrap().as_str(), name);
        }
        for wrong in [
            "",
            "two words",
            "tab\t",
            "é",
            "\u{202e}",
            &format!("{long}x"),
        ] {
            assert_eq!(
                wrong.parse::<RevisionName>(),
                Err(RevisionNameError),
                "{wrong}"
            );
        }
    }
}
