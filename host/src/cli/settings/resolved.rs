//! What options have come to, and a file that says the same.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;

use clap::{Arg, ArgMatches, Command};

use super::fault::{Fault, Origin};
use super::file::{File, quoted};
use super::option::{Kind, Known};

/// What a secret is replaced with.
const HIDDEN: &str = "(hidden)";

/// The options of a command.
#[derive(Default)]
pub(in crate::cli) struct Resolved(Vec<Setting>);

struct Setting {
    option: Known,
    origin: Origin,
    /// None if nothing is said, and there is no default that could be written down.
    values: Vec<OsString>,
}

impl Resolved {
    /// Takes what comes first of what is right. Flags are looked at only if
    /// `with_flags`, since clap can tell as well what is wrong with them.
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
                let wrong = wrong(option, &values, |value| option.flag(Some(value)));
                if !with_flags || wrong.is_empty() {
                    return (Origin::Flag(option.name().to_owned()), values);
                }
                faults.extend(wrong);
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
                let wrong = wrong(option, &values, place);
                if wrong.is_empty() {
                    return (Origin::Variable(name.to_owned()), values);
                }
                faults.extend(wrong);
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

    /// Whether an option is among them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.option.name() == name)
    }

    /// The command, with what the file says for its options as their default: flags
    /// and variables come before it.
    pub(super) fn below_flags(&self, command: Command, name: &str) -> Command {
        let change = |arg: Arg| match arg.get_long().and_then(|name| self.get(name)) {
            Some(setting) if matches!(setting.origin, Origin::File(..)) => {
                Known::with_default(arg, &setting.values)
            }
            _ => arg,
        };
        everywhere(command, name, change)
    }

    /// The command, with what its options have come to as their default, whatever
    /// else would be said.
    pub(super) fn instead_of_flags(&self, command: Command, name: &str) -> Command {
        let change = |arg: Arg| match arg.get_long().and_then(|name| self.get(name)) {
            Some(setting) => Known::with_default(Known::without_variable(arg), &setting.values),
            None => arg,
        };
        everywhere(command, name, change)
    }

    /// A file that says the same, but for secrets.
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
            let of_it = |setting: &&Setting| setting.option.heading() == heading;
            for setting in self.0.iter().filter(of_it) {
                text.push_str(&setting.line());
            }
        }
        text
    }
}

/// The command with its arguments changed, those of all commands included.
fn everywhere(command: Command, name: &str, change: impl Fn(Arg) -> Arg + Copy) -> Command {
    command
        .mut_args(change)
        .mut_subcommand(name, |command| command.mut_args(change))
}

/// What is wrong with values, each at its place.
fn wrong(option: &Known, values: &[OsString], place: impl Fn(&OsStr) -> String) -> Vec<Fault> {
    let wrong = values.iter().filter_map(|value| {
        let what = option.check(value).err()?;
        Some(Fault::new(place(value), what))
    });
    wrong.collect()
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
            Kind::Switch => text.to_owned(),
            Kind::Number => match text.parse::<i128>() {
                Ok(number) => number.to_string(),
                // It is right, as the option's own parser has found.
                Err(_) => quoted(text),
            },
            Kind::Text => quoted(text),
        }
    }
}

/// What is shown of a secret, if there is something to hide: of a URL, the scheme, and
/// what is between its user and its parameters.
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
        // Which is which can not be told.
        _ => HIDDEN.to_owned(),
    };
    Some(format!("{scheme}://{shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_secrets_nothing_is_shown_but_where_they_lead() {
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
