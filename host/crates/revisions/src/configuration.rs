//! What guests are told when they ask for their configuration: what is configured, in a file
//! and as single values, and what was received.

use std::path::{Path, PathBuf};

use predictor::{Configuration, ConfigurationError, Revision, Router};

use crate::control::Revisions;
use crate::file::{self, Stamp, TomlFault, Unfit, parse_toml};
use crate::registry::Entry;
use crate::{Refusal, RevisionError};

/// How many configurations that were received are kept beside those of known revisions.
const MOST_RECEIVED: usize = 16;

/// The largest file that is read, in bytes: a configuration, and remarks.
const MOST_FILE_BYTES: usize = 64 << 10;

/// What the configuration of the configured guest is made of.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredValues {
    /// A file in TOML, if there is one.
    pub file: Option<PathBuf>,
    /// Single keys and values, which come before those of the file.
    pub set: Vec<(String, String)>,
}

/// Why a configuration cannot be read from a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationFileError {
    /// The file cannot be read.
    #[error("the configuration {path} can not be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// The file is in another format.
    #[error("the configuration {path}, line {line}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Single values make it none.
    #[error("the configuration, with the values that are set: {0}")]
    Values(#[from] ConfigurationError),
}

impl From<ConfigurationFileError> for RevisionError {
    fn from(error: ConfigurationFileError) -> Self {
        match error {
            ConfigurationFileError::Unreadable { path, reason } => {
                Self::Unreadable { path, reason }
            }
            error => Refusal {
                step: "configuration",
                reason: error.to_string(),
            }
            .into(),
        }
    }
}

impl ConfiguredValues {
    /// The configuration as it is now.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or if it and the single values make no configuration.
    pub fn read(&self) -> Result<Configuration, ConfigurationFileError> {
        let read = match &self.file {
            Some(path) => read_configuration(path)?,
            None => Configuration::NONE,
        };
        let set = self.set.iter().cloned();
        Ok(read.with(set.map(|(key, value)| (key, Some(value))))?)
    }

    /// Tells whether the file has changed, without reading it.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.file.as_ref().and_then(|path| Stamp::of(path).ok())
    }
}

/// Reads a configuration from a file in TOML: keys with strings, numbers and booleans.
///
/// # Errors
///
/// If it cannot be read, or is in another format.
pub fn read_configuration(path: &Path) -> Result<Configuration, ConfigurationFileError> {
    let unreadable = |reason: String| ConfigurationFileError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let (bytes, _) = file::read(path, MOST_FILE_BYTES).map_err(|unfit| match unfit {
        Unfit::TooLarge => unreadable(format!("it is larger than {MOST_FILE_BYTES} bytes")),
        Unfit::Unreadable(reason) => unreadable(reason),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
    parse_toml(&text).map_err(
        |TomlFault { line, reason }| ConfigurationFileError::Invalid {
            path: path.to_owned(),
            line,
            reason,
        },
    )
}

impl Revisions {
    /// Keeps a configuration for revisions to come: that of the known revision `base`, or else
    /// an empty one, with some keys changed or, with `None`, removed. Returns it, and whether
    /// it was known.
    ///
    /// # Errors
    ///
    /// If there is no such revision, or if the result is no configuration.
    pub fn receive_configuration(
        &self,
        base: Option<&Revision>,
        changes: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Result<(Configuration, bool), RevisionError> {
        let mut registry = self.registry();
        let base = match base {
            Some(base) => registry.find(base)?.revision().configuration().clone(),
            None => Configuration::NONE,
        };
        let received = base.with(changes).map_err(RevisionError::Configuration)?;
        let configurations = &mut registry.configurations;
        let before = configurations.len();
        configurations.retain(|known| *known != received);
        let is_known = configurations.len() < before;
        configurations.push(received.clone());
        let over = configurations.len().saturating_sub(MOST_RECEIVED);
        configurations.drain(..over);
        Ok((received, is_known))
    }

    /// The one configuration whose digest begins with `prefix`, of those that known revisions
    /// have or that were received last; that of the live revision without a prefix.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one.
    pub fn configuration(&self, prefix: Option<&str>) -> Result<Configuration, RevisionError> {
        let registry = self.registry();
        let Some(prefix) = prefix else {
            return Ok(self.rollout.live().configuration().clone());
        };
        let known = registry.entries.iter().map(Entry::revision);
        let known = known.map(|revision| revision.configuration());
        let all = known.chain(&registry.configurations);
        let mut found: Vec<_> = all
            .chain([&Configuration::NONE])
            .filter(|known| known.digest().to_string().starts_with(prefix))
            .collect();
        found.sort_by_key(|found| found.digest());
        found.dedup();
        match found[..] {
            [found] => Ok(found.clone()),
            _ => Err(RevisionError::UnknownConfiguration(prefix.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, set: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.toml");
        std::fs::write(&path, text).unwrap();
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let values = ConfiguredValues {
            file: Some(path.clone()),
            set: set.iter().copied().map(owned).collect(),
        };
        let read = values.read().map_err(|error| error.to_string());
        read.map(|read| read.iter().map(owned).collect())
            .map_err(|error| error.replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn values_are_what_was_written_and_single_ones_come_first() {
        let text = "margin = 0.30\nname = \"a b\" # a remark\nfast = true\nmost = 12\n";
        let read = read(text, &[("most", "13"), ("more", "")]).unwrap();
        let read: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            read,
            [
                ("fast", "true"),
                ("margin", "0.3"),
                ("more", ""),
                ("most", "13"),
                ("name", "a b")
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            (
                "a = 1\nb = [1]",
                "FILE, line 2: invalid type: sequence, expected a string, a number",
            ),
            (
                "a = 1\n[b]\nc = 2",
                "line 2: invalid type: map, expected a string",
            ),
            ("a", "line 1: "),
            (
                "\"a b\" = 1",
                "`a b` cannot be a key: keys have 1 to 256 bytes",
            ),
            (
                &format!("a = \"{}\"", "x".repeat(20_000)),
                "at most 16384 are allowed",
            ),
            (&"#".repeat(70_000), "it is larger than 65536 bytes"),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = read("", &[("a", &"x".repeat(16_383))]);
        assert!(error.is_ok());
        let error = read("b = \"c\"", &[("a", &"x".repeat(16_383))]).unwrap_err();
        assert!(error.contains("with the values that are set"), "{error}");
    }
}
