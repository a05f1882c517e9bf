//! clap's description of an option.

use std::any::TypeId;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};

use clap::builder::{OsStringValueParser, Resettable};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

/// The TOML type of an option's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Boolean,
    Number,
    /// A string.
    Text,
}

impl Kind {
    /// What is allowed, for an error.
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::Boolean => "must be true or false",
            Self::Number => "must be a number",
            Self::Text => "must be a string in quotes",
        }
    }
}

/// An option with a long name.
pub(super) struct Known(pub(super) Arg);

/// The options of a command, including the global ones.
pub(super) fn of_command(mut root: Command, name: &str) -> Vec<Known> {
    root.build();
    let command = root.find_subcommand(name);
    let all = command.into_iter().flat_map(Command::get_arguments);
    all.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        .filter(|arg| arg.get_long().is_some())
        .map(|arg| Known(arg.clone()))
        .collect()
}

/// The option that a misspelt name most likely means, according to clap.
pub(super) fn nearest(name: &str, options: &[Known]) -> Option<String> {
    let command = bare().args(options.iter().map(Known::isolated));
    let error = command.try_get_matches_from([format!("--{name}")]).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(flag) => flag.strip_prefix("--").map(str::to_owned),
        _ => None,
    }
}

/// The argument without its parser, variable and default.
pub(super) fn as_text(arg: Arg) -> Arg {
    let arg = arg.env(Resettable::Reset).default_values(NONE);
    if arg.get_action().takes_values() {
        arg.value_parser(OsStringValueParser::new())
    } else {
        arg
    }
}

const NONE: [&str; 0] = [];

/// A command without options.
fn bare() -> Command {
    Command::new("options")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
}

impl Known {
    /// Its long name.
    pub(super) fn name(&self) -> &str {
        self.0.get_long().unwrap_or_default()
    }

    /// Its environment variable.
    pub(super) fn variable(&self) -> Option<&str> {
        self.0.get_env().and_then(OsStr::to_str)
    }

    /// Its heading in the help.
    pub(super) fn heading(&self) -> &str {
        self.0.get_help_heading().unwrap_or("Other options")
    }

    /// Whether it is rejected on the command line.
    pub(super) fn is_hidden(&self) -> bool {
        self.0.is_hide_set()
    }

    /// Whether its value is secret, or contains a secret.
    pub(super) fn is_secret(&self) -> bool {
        self.0.is_hide_env_values_set()
    }

    /// Whether it takes several values.
    pub(super) fn is_repeatable(&self) -> bool {
        let several = self
            .0
            .get_num_args()
            .is_some_and(|number| number.max_values() > 1);
        matches!(self.0.get_action(), ArgAction::Append) || several
    }

    /// The type of its values.
    pub(super) fn kind(&self) -> Kind {
        let id = self.0.get_value_parser().type_id();
        let numbers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i32>(),
            TypeId::of::<i64>(),
            TypeId::of::<f32>(),
            TypeId::of::<f64>(),
            TypeId::of::<NonZeroU8>(),
            TypeId::of::<NonZeroU16>(),
            TypeId::of::<NonZeroU32>(),
            TypeId::of::<NonZeroU64>(),
            TypeId::of::<NonZeroUsize>(),
        ];
        if id == TypeId::of::<bool>() {
            Kind::Boolean
        } else if numbers.iter().any(|number| id == *number) {
            Kind::Number
        } else {
            Kind::Text
        }
    }

    /// Whether it takes a value on the command line.
    pub(super) fn takes_values(&self) -> bool {
        self.0.get_action().takes_values()
    }

    /// Its default: clap's, or the one that its help describes.
    pub(super) fn default(&self) -> Option<String> {
        let values = self.0.get_default_values();
        if !values.is_empty() {
            let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
            return Some(values.join(", "));
        }
        let help = self.help();
        let (_, words) = help.split_once("[default: ")?;
        // The description may contain brackets.
        words.rsplit_once(']').map(|(words, _)| words.to_owned())
    }

    /// The first paragraph of its help.
    pub(super) fn help(&self) -> String {
        let help = self
            .0
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Whether it was given on the command line.
    pub(super) fn is_flagged(&self, given: &ArgMatches) -> bool {
        given.value_source(self.0.get_id().as_str()) == Some(ValueSource::CommandLine)
    }

    /// Its values on the command line, which was parsed [`as_text`].
    pub(super) fn flagged(&self, given: &ArgMatches) -> Option<Vec<OsString>> {
        if !self.is_flagged(given) {
            return None;
        }
        if !self.takes_values() {
            return Some(vec!["true".into()]);
        }
        let values = given.get_raw(self.0.get_id().as_str())?;
        Some(values.map(OsStr::to_owned).collect())
    }

    /// The arguments that give it the same values on another command line.
    pub(super) fn arguments(&self, given: &ArgMatches) -> Vec<OsString> {
        let values = self.flagged(given).unwrap_or_default();
        let argument = |value: OsString| {
            if self.takes_values() {
                self.with_value(&value)
            } else {
                format!("--{}", self.name()).into()
            }
        };
        values.into_iter().map(argument).collect()
    }

    /// The option as it is written on a command line.
    pub(super) fn flag(&self, value: Option<&OsStr>) -> String {
        match value {
            Some(value) if self.takes_values() => {
                format!("--{} {}", self.name(), value.to_string_lossy())
            }
            _ => format!("--{}", self.name()),
        }
    }

    /// Why it is rejected on the command line.
    pub(super) fn why_not_a_flag(&self) -> String {
        format!(
            "not allowed on the command line, which other users can see: set {}, or use a file",
            self.variable().unwrap_or("the environment")
        )
    }

    /// `--name=value`.
    fn with_value(&self, value: &OsStr) -> OsString {
        let mut text = OsString::from(format!("--{}=", self.name()));
        text.push(value);
        text
    }

    /// The option without its defaults, its variable and its relations to other options.
    fn isolated(&self) -> Arg {
        let nothing = || Resettable::<Id>::Reset;
        let arg = self.0.clone();
        arg.env(Resettable::Reset)
            .default_values(NONE)
            .default_missing_values(NONE)
            .requires(nothing())
            .conflicts_with(nothing())
            .overrides_with(nothing())
            .required(false)
    }

    /// Parses a value with the option's own parser. The error says what is allowed.
    pub(super) fn check(&self, value: &OsStr) -> Result<(), String> {
        let mut arg = self.isolated();
        if !self.takes_values() {
            arg = arg.action(ArgAction::Set).num_args(1);
        }
        let command = bare().arg(arg);
        let Err(error) = command.try_get_matches_from([self.with_value(value)]) else {
            return Ok(());
        };
        if value.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if let Some(source) = error.source() {
            return Err(source.to_string());
        }
        Err(match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) if !values.is_empty() => {
                format!("must be one of: {}", values.join(", "))
            }
            _ => error.kind().to_string(),
        })
    }

    /// clap's default values.
    pub(super) fn defaults(&self) -> Vec<OsString> {
        let values = self.0.get_default_values().iter();
        values.map(|value| value.as_os_str().to_owned()).collect()
    }

    /// The argument with these values as its default, if there are any.
    pub(super) fn with_default(arg: Arg, values: &[OsString]) -> Arg {
        match values {
            [] => arg,
            values => arg.default_values(values),
        }
    }

    /// The argument without its environment variable.
    pub(super) fn without_variable(arg: Arg) -> Arg {
        arg.env(Resettable::Reset)
    }
}
