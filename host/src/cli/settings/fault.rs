//! Errors in settings, and where a value came from.

use std::fmt;
use std::path::PathBuf;

use crate::cli::terminal::escape;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line; the long name of the option.
    Flag(String),
    /// An environment variable; its name.
    Variable(String),
    /// A configuration file, and the line number from 1.
    File(PathBuf, usize),
    /// The option's default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// An error in the settings, as one line: the place, the error, and what is allowed.
#[derive(Debug)]
pub(in crate::cli) struct Fault(String);

impl Fault {
    /// An error at a place.
    pub(super) fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::of(format!("{place}: {what}"))
    }

    /// An error without a place. Line breaks in the text become spaces, and what else cannot
    /// be seen is escaped.
    pub(in crate::cli) fn of(text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        Self(escape(&words.join(" ")).into_owned())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
