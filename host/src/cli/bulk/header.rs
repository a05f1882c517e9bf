//! Reads the beginning of CSV and TSV: which delimiter it has, and which columns.

use std::io;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::options::{Format, Quoting, TableOptions};
use super::records::{Fields, Records};
use super::source::Input;

/// The delimiters that are recognised in the header of CSV, the likeliest first.
const DELIMITERS: &[u8] = b",;\t|";

/// How fields are separated and quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quoting: Quoting,
}

impl Dialect {
    /// The usual one.
    pub(super) const CSV: Self = Self {
        delimiter: b',',
        quoting: Quoting::Double,
    };
}

/// The columns of a table.
pub(super) struct Header {
    pub(super) names: Fields,
    /// The index of the column with the texts.
    pub(super) column: usize,
    pub(super) dialect: Dialect,
    /// Whether the line before it names the delimiter (`sep=;`), as Excel writes it.
    has_sep_line: bool,
    /// Whether the delimiter was found from the columns.
    is_detected: bool,
}

/// Whether fields may be separated by a character: one that is in no quoted field's
/// beginning, no line end, and no score.
pub(super) fn is_delimiter(character: u8) -> bool {
    let is_other = !b"\0\r\n\"-.".contains(&character);
    character.is_ascii() && !character.is_ascii_alphanumeric() && is_other
}

impl Header {
    /// Which delimiter was found, if it is not the usual one.
    pub(super) fn note(&self) -> Option<String> {
        let delimiter = match self.dialect.delimiter {
            b',' => return None,
            b'\t' => "tabs".to_owned(),
            other => format!("`{}`", char::from(other)),
        };
        let note = format!("its fields are separated by {delimiter}; --delimiter sets another");
        self.is_detected.then_some(note)
    }

    /// The line before the header, if it has one.
    pub(super) fn sep_line(&self) -> Option<String> {
        let line = format!("sep={}\n", char::from(self.dialect.delimiter));
        self.has_sep_line.then_some(line)
    }

    /// Reads the header. A delimiter that is not given is the one of a `sep=` line, or of CSV
    /// the one with which there is a column `column`.
    pub(super) fn read(
        input: Input,
        format: Format,
        TableOptions { delimiter, quoting }: TableOptions,
        column: &str,
    ) -> anyhow::Result<(Records, Self)> {
        let dialect = |delimiter| Dialect { delimiter, quoting };
        let mut records = Records::new(input, dialect(b','));
        records.next()?;
        let sep = sep_line(records.raw());
        if sep.is_none() {
            records.go_back();
        }
        let is_detected = delimiter.or(sep).is_none() && format == Format::Csv;
        let dialect = dialect(match delimiter.or(sep) {
            Some(delimiter) => delimiter,
            None if is_detected => detect(&mut records, quoting, column)?,
            None => b'\t',
        });
        records.set_dialect(dialect);
        let Some(record) = records.next()? else {
            bail!("it is empty; its first line must be a header");
        };
        let names = record
            .fields
            .with_context(|| format!("line {}", record.line))?;
        let header = Self {
            column: find(&names, column)?,
            names,
            dialect,
            has_sep_line: sep.is_some(),
            is_detected,
        };
        Ok((records, header))
    }
}

/// The delimiter that a line `sep=;` names.
fn sep_line(line: &[u8]) -> Option<u8> {
    let ends = line.iter().rev().take_while(|byte| b"\r\n".contains(byte));
    let line = &line[..line.len() - ends.count()];
    let quoted = line
        .strip_prefix(b"\"")
        .and_then(|line| line.strip_suffix(b"\""));
    let (name, value) = quoted.unwrap_or(line).split_at_checked(4)?;
    match value {
        [delimiter] if name.eq_ignore_ascii_case(b"sep=") => {
            Some(*delimiter).filter(|delimiter| is_delimiter(*delimiter))
        }
        _ => None,
    }
}

/// The delimiter with which the header has a column `column`, or else the most columns.
fn detect(records: &mut Records, quoting: Quoting, column: &str) -> io::Result<u8> {
    let (mut best, mut most) = (b',', 1);
    for &delimiter in DELIMITERS {
        records.set_dialect(Dialect { delimiter, quoting });
        let record = records.next()?;
        records.go_back();
        let Some(Ok(names)) = record.map(|record| record.fields) else {
            continue;
        };
        if find(&names, column).is_ok() {
            return Ok(delimiter);
        }
        if names.len() > most {
            (best, most) = (delimiter, names.len());
        }
    }
    Ok(best)
}

/// The index of a column.
fn find(names: &Fields, column: &str) -> anyhow::Result<usize> {
    let mut found = (0..names.len()).filter(|at| names.get(*at) == Some(column.as_bytes()));
    let Some(at) = found.next() else {
        let names = names
            .iter()
            .map(|name| format!("`{}`", String::from_utf8_lossy(name)));
        let names: Vec<String> = names.collect();
        bail!(
            "there is no column `{column}`; the columns are {} (set the one with the texts with \
             --column)",
            names.join(", ")
        );
    };
    if found.next().is_some() {
        bail!("there are several columns `{column}`");
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_name_the_delimiter() {
        for (line, expected) in [
            (&b"sep=;"[..], Some(b';')),
            (b"sep=,\r\n", Some(b',')),
            (b"SEP=|\n", Some(b'|')),
            (b"\"sep=;\"\r", Some(b';')),
            (b"sep=\t", Some(b'\t')),
            (b"sep=\t\r\n", Some(b'\t')),
            (b"sep=", None),
            (b"sep=a", None),
            (b"sep=\"", None),
            (b"sep=;;", None),
            (b"separator;text", None),
            (b"sep", None),
            (b"", None),
        ] {
            assert_eq!(sep_line(line), expected, "{}", line.escape_ascii());
        }
    }
}
