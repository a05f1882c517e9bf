//! Where a guest or a model is to be had.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use artifacts::{Reference, ReferenceError, SCHEME};
use serde::Deserialize;

/// A path, or a reference such as `oci://registry.example/guests/neutral:v2`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Source {
    /// A file or directory on this machine.
    Path(PathBuf),
    /// An artifact in a registry.
    Artifact(Reference),
}

impl FromStr for Source {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.starts_with(SCHEME) {
            return text.parse().map(Self::Artifact);
        }
        Ok(Self::Path(text.into()))
    }
}

impl TryFrom<String> for Source {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Artifact(reference) => reference.fmt(f),
        }
    }
}
