//! Reads the rows of a file: CSV, TSV, JSON Lines or lines of text.

use std::io::{self, BufRead, Read};
use std::time::SystemTime;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::Format;
use super::header::Header;
use super::options::TableOptions;
use super::records::{Fields, Record as CsvRecord, Records};
use super::source::{Input, Source, UTF_8_MARK};
use super::writer::PREDICTION;

/// The maximum length of a row, in bytes.
pub(super) const MAX_ROW: u64 = 16 << 20;

/// How many rows the reading thread passes on at a time.
const BATCH_ROWS: usize = 256;

/// The size from which on a batch is passed on even if it has fewer rows, in bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// A position between two rows, from which reading can resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// In bytes from the beginning of the file.
    pub(super) offset: u64,
    /// The line number, from 1.
    pub(super) line: u64,
}

impl Default for Mark {
    /// The beginning of the file.
    fn default() -> Self {
        Self { offset: 0, line: 1 }
    }
}

impl Mark {
    /// Moves past `bytes`.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }
}

/// A row.
pub(super) struct Row {
    /// The line where it begins.
    pub(super) line: u64,
    /// Where it ends.
    pub(super) end: Mark,
    pub(super) record: Record,
    /// Its text, or what is wrong with the row.
    pub(super) text: Result<String, String>,
    /// Its approximate size in memory, in bytes.
    pub(super) size: usize,
}

/// The part of a row that is copied to the output.
pub(super) enum Record {
    Fields(Fields),
    Line(String),
}

/// An input that is being read.
pub(super) struct Rows {
    kind: Kind,
    name: String,
    has_mark: bool,
    /// How the input differs from UTF-8, in words.
    conversions: Vec<&'static str>,
    /// Its size in bytes and modification time, if it is a regular file.
    identity: Option<(u64, SystemTime)>,
}

enum Kind {
    Table {
        records: Box<Records>,
        header: Header,
    },
    Lines {
        input: Input,
        mark: Mark,
        /// The field with the text, if lines are JSON.
        field: Option<String>,
    },
}

impl Rows {
    /// Reads the header, if the format has one.
    pub(super) fn new(
        source: Source,
        format: Format,
        table: TableOptions,
        column: &str,
    ) -> anyhow::Result<Self> {
        let identity = source.identity()?;
        let name = source.name;
        let kind = match format {
            Format::Csv | Format::Tsv => {
                let (records, header) = Header::read(source.input, format, table, column)
                    .with_context(|| format!("cannot read {name}"))?;
                let records = Box::new(records);
                Kind::Table { records, header }
            }
            Format::Jsonl | Format::Text => Kind::Lines {
                input: source.input,
                mark: Mark::default(),
                field: (format == Format::Jsonl).then(|| column.to_owned()),
            },
        };
        Ok(Self {
            kind,
            name,
            has_mark: source.has_mark,
            conversions: source.conversions,
            identity,
        })
    }

    /// What is before the header: what there was of that in the input.
    pub(super) fn preamble(&self) -> Vec<u8> {
        let sep_line = self.header().and_then(Header::sep_line);
        let mark = if self.has_mark { UTF_8_MARK } else { b"" };
        [mark, sep_line.unwrap_or_default().as_bytes()].concat()
    }

    /// How the input is read, where that may be unexpected.
    pub(super) fn notes(&self) -> Vec<String> {
        let converted = self.conversions.iter();
        let mut notes: Vec<String> = converted
            .map(|what| format!("it is {what}; the output is plain UTF-8"))
            .collect();
        notes.extend(self.header().and_then(Header::note));
        notes
    }

    /// The header of CSV or TSV.
    pub(super) fn header(&self) -> Option<&Header> {
        match &self.kind {
            Kind::Table { header, .. } => Some(header),
            Kind::Lines { .. } => None,
        }
    }

    /// The size in bytes and the modification time of a regular file, which can be read again
    /// to resume.
    pub(super) fn identity(&self) -> Option<(u64, SystemTime)> {
        self.identity
    }

    /// The size of the content in bytes, if that is known.
    pub(super) fn size(&self) -> Option<u64> {
        let size = self.identity.map(|(size, _)| size);
        size.filter(|_| self.conversions.is_empty())
    }

    /// Where the next row begins.
    pub(super) fn mark(&self) -> Mark {
        match &self.kind {
            Kind::Table { records, .. } => records.mark,
            Kind::Lines { mark, .. } => *mark,
        }
    }

    /// Continues at a position between two rows that follow.
    pub(super) fn skip_to(&mut self, to: Mark) -> anyhow::Result<()> {
        let skipped = match &mut self.kind {
            Kind::Table { records, .. } => records.skip_to(to),
            Kind::Lines { input, mark, .. } => {
                let mut rows = input.by_ref().take(to.offset - mark.offset);
                *mark = to;
                io::copy(&mut rows, &mut io::sink()).map(|_| ())
            }
        };
        skipped.with_context(|| format!("cannot read {}", self.name))
    }

    /// Reads batches of rows on a separate thread, a few batches ahead. The thread ends when
    /// the receiver is dropped; blocked on its input, it ends with the process.
    pub(super) fn read_on_thread(
        mut self,
    ) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Vec<Row>>>> {
        let (sender, receiver) = mpsc::channel(2);
        let read = move || {
            loop {
                let mut rows = Vec::new();
                let read = self.batch(&mut rows);
                let is_last = rows.is_empty() || read.is_err();
                // The rows before an error are scored, too.
                let mut is_wanted = sender.blocking_send(Ok(rows)).is_ok();
                if let Err(error) = read {
                    is_wanted &= sender.blocking_send(Err(error)).is_ok();
                }
                if is_last || !is_wanted {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("rows".to_owned());
        thread
            .spawn(read)
            .context("cannot start the reading thread")?;
        Ok(receiver)
    }

    /// Reads the next rows that are available; none at the end of the input.
    fn batch(&mut self, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let mut bytes = 0;
        while rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let next = self.next();
            let Some(row) = next.with_context(|| format!("cannot read {}", self.name))? else {
                break;
            };
            bytes += row.size;
            rows.push(row);
            let may_block = match &self.kind {
                Kind::Table { records, .. } => records.may_block(),
                Kind::Lines { input, .. } => input.buffer().is_empty(),
            };
            if may_block {
                break;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Row>> {
        match &mut self.kind {
            Kind::Table { records, header } => {
                let record = records.next()?;
                Ok(record.map(|record| row_of(record, header, records.mark)))
            }
            Kind::Lines { input, mark, field } => loop {
                let begin = mark.line;
                let Some(bytes) = line(input, mark)? else {
                    return Ok(None);
                };
                let is_json = field.is_some();
                if is_json && bytes.trim_ascii().is_empty() {
                    continue;
                }
                let size = 2 * bytes.len() + 128;
                let (record, text) = match (String::from_utf8(bytes), &*field) {
                    (Err(_), _) => (String::new(), Err(NOT_UTF_8.to_owned())),
                    (Ok(line), Some(field)) => {
                        let text = text_of_json(&line, field);
                        (line, text)
                    }
                    (Ok(line), None) => (line.clone(), Ok(line)),
                };
                return Ok(Some(Row {
                    line: begin,
                    end: *mark,
                    record: Record::Line(record),
                    text,
                    size,
                }));
            },
        }
    }
}

/// What is wrong with a text in another encoding.
const NOT_UTF_8: &str = "the text is not UTF-8; convert the file, for example with `iconv -f \
    WINDOWS-1252 -t UTF-8`";

/// A row of a table that ends at `end`.
fn row_of(record: CsvRecord, header: &Header, end: Mark) -> Row {
    let (fields, text) = match record.fields {
        Ok(fields) => {
            let text = text_of(&fields, header, record.line);
            (fields, text)
        }
        Err(bad) if record.begin < record.line => {
            let reason = format!("{bad}; its row begins at line {}", record.begin);
            (Fields::default(), Err(reason))
        }
        Err(bad) => (Fields::default(), Err(bad.to_string())),
    };
    Row {
        line: record.line,
        end,
        text,
        size: 2 * fields.size() + 64 * header.names.len(),
        record: Record::Fields(fields),
    }
}

/// The text of a record that begins at `line`, or what is wrong with the record.
fn text_of(fields: &Fields, header: &Header, line: u64) -> Result<String, String> {
    let (found, columns) = (fields.len(), header.names.len());
    if found != columns {
        let breaks = fields.iter().flatten().filter(|byte| **byte == b'\n');
        let lines = match breaks.count() as u64 {
            0 => String::new(),
            breaks => format!(
                "; it reaches to line {}: is a quote not closed?",
                line + breaks
            ),
        };
        return Err(format!(
            "the row has {found} fields, but the header has {columns}{lines}"
        ));
    }
    let text = fields.get(header.column).unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|_| NOT_UTF_8.to_owned())
}

/// The text of a line of JSON, or what is wrong with the line.
fn text_of_json(line: &str, field: &str) -> Result<String, String> {
    match serde_json::from_str(line) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Object(mut object)) => match object.remove(field) {
            _ if object.contains_key(PREDICTION) => Err(format!(
                "the object already has a field `{PREDICTION}`, which is where the scores go"
            )),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("the field `{field}` is not a string")),
            None => {
                let names: Vec<_> = object.keys().map(|name| format!("`{name}`")).collect();
                Err(format!(
                    "there is no field `{field}`; the fields are {} (set the one with the text with \
                     --column)",
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                ))
            }
        },
        Ok(_) => Err("the line is neither a JSON object nor a string".to_owned()),
        Err(error) if error.is_eof() => Err("the JSON of the line is cut off".to_owned()),
        Err(error) => {
            let reason = error.to_string().replace("at line 1 column", "at column");
            Err(format!("the line is not valid JSON: {reason}"))
        }
    }
}

/// The next line without its line end, or `None` at the end of the input.
fn line(input: &mut Input, mark: &mut Mark) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut limited = input.by_ref().take(MAX_ROW + 1);
    limited.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() as u64 > MAX_ROW {
        return Err(io::Error::other(format!(
            "line {} is longer than {} MiB",
            mark.line,
            MAX_ROW >> 20
        )));
    }
    mark.pass(&line);
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(Some(line))
}
