//! The configuration file: TOML without tables, whose keys are the names of options.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::option::{Kind, Known};
use crate::cli::terminal;

/// The maximum size of a configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The valid values of a configuration file.
#[derive(Default)]
pub(super) struct File {
    values: BTreeMap<String, (Origin, Vec<OsString>)>,
}

impl File {
    /// Reads a file. `origin` is where its path was set. Invalid entries are left out, and
    /// reported in `faults`.
    pub(super) fn read(
        path: &Path,
        origin: Origin,
        keys: &[Known],
        faults: &mut Vec<Fault>,
    ) -> Self {
        match text(path) {
            Ok(text) => Self::parse(path, &text, keys, faults),
            Err(reason) => {
                let what = format!(
                    "the configuration file {} cannot be read: {reason}",
                    path.display()
                );
                faults.push(Fault::new(origin, what));
                Self::default()
            }
        }
    }

    /// The values of an option, and where they are.
    pub(super) fn get(&self, key: &str) -> Option<&(Origin, Vec<OsString>)> {
        self.values.get(key)
    }

    fn parse(path: &Path, text: &str, keys: &[Known], faults: &mut Vec<Fault>) -> Self {
        let line = |span: Range<usize>| {
            let before = text.get(..span.start).unwrap_or(text);
            Origin::File(path.to_owned(), before.matches('\n').count() + 1)
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mut reported: Vec<Origin> = Vec::new();
            for error in errors {
                let origin = line(error.span().unwrap_or_default());
                // Further errors in a line are usually caused by the first one.
                if !reported.contains(&origin) {
                    let what = format!("invalid TOML: {}", error.message());
                    faults.push(Fault::new(&origin, what));
                    reported.push(origin);
                }
            }
            return Self::default();
        }
        let mut values = BTreeMap::new();
        let mut entries: Vec<_> = table.into_inner().into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let origin = line(key.span());
            let (key, value) = (key.into_inner(), value.get_ref());
            match values_of(&key, value, keys) {
                // An empty list means that the option is not set.
                Ok(given) if given.is_empty() => {}
                Ok(given) => drop(values.insert(key.into_owned(), (origin, given))),
                Err(what) => faults.push(Fault::new(origin, what)),
            }
        }
        Self { values }
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_BYTES {
        return Err(std::io::Error::other(format!(
            "it has {length} bytes, more than the maximum of {MAX_BYTES}"
        )));
    }
    std::fs::read_to_string(path)
}

/// The values of a key, or what is wrong with them.
fn values_of(key: &str, value: &DeValue<'_>, keys: &[Known]) -> Result<Vec<OsString>, String> {
    if matches!(value, DeValue::Table(_)) {
        return Err(format!(
            "`{key}` is a table or a dotted key: keys are the long names of options, without tables"
        ));
    }
    let Some(option) = keys.iter().find(|option| option.name() == key) else {
        return Err(unknown(key, keys));
    };
    let written = |value: &DeValue<'_>| {
        if option.is_secret() {
            format!("{key} = (hidden)")
        } else {
            format!("{key} = {}", in_toml(value))
        }
    };
    let several = match value {
        DeValue::Array(values) if option.is_repeatable() => {
            values.iter().map(Spanned::get_ref).collect()
        }
        DeValue::Array(_) => {
            return Err(format!(
                "{}: must be a single value, not a list",
                written(value)
            ));
        }
        one => vec![one],
    };
    let mut given = Vec::new();
    for one in several {
        let value = match_kind(one, option.kind()).map_err(|allowed| {
            // The option's own error is more specific, if there is one.
            let own = option.check(in_toml(one).as_ref()).err();
            format!("{}: {}", written(one), own.unwrap_or(allowed.to_owned()))
        })?;
        let value = OsString::from(value);
        option
            .check(&value)
            .map_err(|wrong| format!("{}: {wrong}", written(one)))?;
        given.push(value);
    }
    Ok(given)
}

/// Converts a value to the text that an option's parser takes. The error says what kind of
/// value the option takes.
fn match_kind(value: &DeValue<'_>, kind: Kind) -> Result<String, &'static str> {
    match (value, kind) {
        // A string holds what an environment variable would.
        (DeValue::String(text), _) => Ok(text.clone().into_owned()),
        (DeValue::Boolean(is), Kind::Boolean) => Ok(is.to_string()),
        (DeValue::Integer(number), Kind::Number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            number
                .map(|number| number.to_string())
                .map_err(|_| kind.allowed())
        }
        (DeValue::Float(number), Kind::Number) => Ok(number.as_str().to_owned()),
        _ => Err(kind.allowed()),
    }
}

fn unknown(key: &str, keys: &[Known]) -> String {
    match super::option::nearest(key, keys) {
        Some(nearest) => format!("unknown key `{key}`; did you mean `{nearest}`?"),
        None => format!(
            "unknown key `{key}`; keys are the long names of the options in `fastsentiment serve \
             --help`"
        ),
    }
}

/// A value as it could be written in the file.
fn in_toml(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(is) => is.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(values) => {
            let values: Vec<_> = values
                .iter()
                .map(|value| in_toml(value.get_ref()))
                .collect();
            format!("[{}]", values.join(", "))
        }
        DeValue::Table(_) => "{ ... }".to_owned(),
    }
}

/// A string in quotes, on one line.
pub(super) fn quoted(text: &str) -> String {
    // TOML has JSON's escapes.
    let json = serde_json::Value::from(text).to_string();
    terminal::toml(&json).into_owned()
}

/// Parses a file that has this text. Returns the errors too.
#[cfg(test)]
pub(super) fn parsed(text: &str, keys: &[Known]) -> (File, Vec<String>) {
    let mut faults = Vec::new();
    let file = File::parse(Path::new("c.toml"), text, keys, &mut faults);
    (file, faults.iter().map(ToString::to_string).collect())
}
