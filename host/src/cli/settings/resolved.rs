//! The values of options, where they came from, and a configuration file with the same
//! values.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;

use clap::{Arg, ArgMatches, Command};

use super::fault::{Fault, Origin};
use super::file::{File, quoted};
use super::option::{Kind, Known};

/// The replacement for a secret.
const HIDDEN: &str = "(hidden)";

/// The options of a command with their values.
#[derive(Default)]
pub(in crate::cli) struct Resolved(Vec<Setting>);

struct Setting {
    option: Known,
    origin: Origin,
    /// Empty if the option is not set, and has no default in clap.
    values: Vec<OsString>,
}

impl Resolved {
    /// Resolves each option to the valid value of the highest precedence. Flags are validated
    /// only if `with_flags`: otherwise clap reports invalid ones itself.
    pub(super) fn of(
        options: Vec<Known>,
        file: &File,
        given: &ArgMatches,
        variable: impl Fn(&str) -> Option<OsString>,
        with_flags: bool,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut resolve = |option: &Known| {
            if let Some(values) = option.flagged(given).filter(|_| !option.is_hidden()) {
                let invalid = validate(option, &values, |value| option.flag(Some(value)));
                if !with_flags || invalid.is_empty() {
                    return (Origin::Flag(option.name().to_owned()), values);
                }
                faults.extend(invalid);
            }
            let variable = option
                .variable()
                .and_then(|name| Some((name, variable(name)?)));
            if let Some((name, value)) = variable {
                let values = vec![value];
                let place = |value: &OsStr| {
                    if option.is_secret() {
                        name.to_owned()
                    } else {
                        format!("{name}={}", value.to_string_lossy())
                    }
                };
                let invalid = validate(option, &values, place);
                if invalid.is_empty() {
                    return (Origin::Variable(name.to_owned()), values);
                }
                faults.extend(invalid);
            }
            file.get(option.name())
                .cloned()
                .unwrap_or_else(|| (Origin::Default, option.defaults()))
        };
        let all = options.into_iter().map(|option| {
            let (origin, values) = resolve(&option);
            Setting {
                option,
                origin,
                values,
            }
        });
        Self(all.collect())
    }

    /// Whether the command has an option.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.option.name() == name)
    }

    /// The command with the file's values as defaults, below flags and variables.
    pub(super) fn as_defaults_from_file(&self, command: Command, name: &str) -> Command {
        let change = |arg: Arg| match arg.get_long().and_then(|name| self.get(name)) {
            Some(setting) if matches!(setting.origin, Origin::File(..)) => {
                Known::with_default(arg, &setting.values)
            }
            _ => arg,
        };
        everywhere(command, name, change)
    }

    /// The command with all values as defaults, and without variables.
    pub(super) fn as_defaults(&self, command: Command, name: &str) -> Command {
        let change = |arg: Arg| match arg.get_long().and_then(|name| self.get(name)) {
            Some(setting) => Known::with_default(Known::without_variable(arg), &setting.values),
            None => arg,
        };
        everywhere(command, name, change)
    }

    /// A configuration file with the same values, except for secrets.
    pub(in crate::cli) fn toml(&self) -> String {
        let mut headings: Vec<&str> = Vec::new();
        for setting in &self.0 {
            if !headings.contains(&setting.option.heading()) {
                headings.push(setting.option.heading());
            }
        }
        let mut text = String::new();
        for heading in headings {
            let _ = writeln!(text, "\n# {heading}");
            let is_under = |setting: &&Setting| setting.option.heading() == heading;
            for setting in self.0.iter().filter(is_under) {
                text.push_str(&setting.line());
            }
        }
        text
    }
}

/// Changes the options of a command, including the global ones.
fn everywhere(command: Command, name: &str, change: impl Fn(Arg) -> Arg + Copy) -> Command {
    command
        .mut_args(change)
        .mut_subcommand(name, |command| command.mut_args(change))
}

/// The errors in an option's values; `place` says where a value is.
fn validate(option: &Known, values: &[OsString], place: impl Fn(&OsStr) -> String) -> Vec<Fault> {
    let invalid = values.iter().filter_map(|value| {
        let what = option.check(value).err()?;
        Some(Fault::new(place(value), what))
    });
    invalid.collect()
}

impl Setting {
    fn line(&self) -> String {
        let (name, origin) = (self.option.name(), &self.origin);
        if self.values.is_empty() {
            let default = self.option.default().unwrap_or("none".to_owned());
            return format!("# {name}: {default}  # default\n");
        }
        let texts: Vec<_> = self
            .values
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        let hidden: Vec<_> = texts.iter().map(|text| hidden(text)).collect();
        if self.option.is_secret() && hidden.iter().any(Option::is_some) {
            let shown = hidden.into_iter().flatten().collect::<Vec<_>>().join(", ");
            return format!("# {name} = {}  # {origin}; hidden\n", quoted(&shown));
        }
        let values: Vec<_> = texts.iter().map(|text| self.value(text)).collect();
        let value = if self.option.is_repeatable() {
            format!("[{}]", values.join(", "))
        } else {
            values.join(", ")
        };
        format!("{name} = {value}  # {origin}\n")
    }

    fn value(&self, text: &str) -> String {
        match self.option.kind() {
            Kind::Boolean => text.to_owned(),
            Kind::Number => match text.parse::<i128>() {
                Ok(number) => number.to_string(),
                // Valid according to the option's parser, such as 0.5.
                Err(_) => quoted(text),
            },
            Kind::Text => quoted(text),
        }
    }
}

/// The visible part of a secret, or `None` if nothing has to be hidden. Of a URL, the
/// credentials and the query are hidden.
fn hidden(text: &str) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Some(HIDDEN.to_owned());
    };
    let shown = match (rest.rfind('@'), rest.find('?')) {
        (None, None) => return None,
        (Some(user), None) => format!("{HIDDEN}@{}", &rest[user + 1..]),
        (None, Some(parameters)) => format!("{}?{HIDDEN}", &rest[..parameters]),
        (Some(user), Some(parameters)) if user < parameters => {
            format!("{HIDDEN}@{}?{HIDDEN}", &rest[user + 1..parameters])
        }
        // The `@` may belong to either part.
        _ => HIDDEN.to_owned(),
    };
    Some(format!("{scheme}://{shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credentials_and_the_query_of_a_url_are_hidden() {
        for (text, shown) in [
            ("0123456789abcdef", Some("(hidden)")),
            ("", Some("(hidden)")),
            ("redis://u:p@h:1/0", Some("redis://(hidden)@h:1/0")),
            ("redis://:p@ss@h", Some("redis://(hidden)@h")),
            ("redis://h:1/0", None),
            ("unix:///a/b", None),
            ("unix:///a/b?db=1&pass=p", Some("unix:///a/b?(hidden)")),
            ("unix:///a/b?pass=p@p", Some("unix://(hidden)")),
            ("redis://:p@h/1?x=y", Some("redis://(hidden)@h/1?(hidden)")),
            ("redis://:p?p@h", Some("redis://(hidden)")),
        ] {
            assert_eq!(hidden(text).as_deref(), shown, "{text}");
        }
    }
}
