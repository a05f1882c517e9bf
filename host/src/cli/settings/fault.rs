//! What is wrong with a value, and where it came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line, by the long name of an option.
    Flag(String),
    /// A variable of the environment.
    Variable(String),
    /// A file, and a line of it; the first one is 1.
    File(PathBuf, usize),
    /// What it is if nobody says anything.
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

/// Something wrong with what was asked for, in a line: where, what, and what is
/// allowed.
#[derive(Debug)]
pub(in crate::cli) struct Fault(String);

impl Fault {
    /// A fault at a place.
    pub(super) fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::of(format!("{place}: {what}"))
    }

    /// A fault that needs no place. Ends of lines in it become spaces.
    pub(in crate::cli) fn of(text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        Self(words.join(" "))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
