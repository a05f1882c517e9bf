//! Reads the rows of a file: CSV, TSV, JSON Lines or lines of text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::Format;
use super::records::{Fields, Records};
use super::writer::PREDICTION;

/// The maximum length of a row, in bytes.
pub(super) const MAX_ROW: u64 = 16 << 20;

/// How many rows the reading thread passes on at a time.
const BATCH_ROWS: usize = 256;

/// The size from which on a batch is passed on even if it has fewer rows, in bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// The byte order mark of UTF-8, which some files begin with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

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

/// A file that is being read.
pub(super) struct Rows {
    kind: Kind,
    name: String,
    /// The names of the columns, if the format has them.
    header: Option<Fields>,
    /// Its size in bytes and modification time, if it is a regular file.
    identity: Option<(u64, SystemTime)>,
}

enum Kind {
    Csv {
        records: Box<Records<File>>,
        /// The index of the column with the texts.
        column: usize,
    },
    Lines {
        input: BufReader<File>,
        mark: Mark,
        /// The field with the text, if lines are JSON.
        field: Option<String>,
    },
}

impl Rows {
    /// Opens a file, and reads its header if the format has one.
    pub(super) fn open(file: &Path, format: Format, column: &str) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let cannot_read = || format!("cannot read {name}");
        let (input, identity) = if file == Path::new("-") {
            // Nothing else in this process reads standard input.
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            (File::from(stdin.with_context(cannot_read)?), None)
        } else {
            let file = File::open(file).with_context(cannot_read)?;
            let meta = file.metadata().with_context(cannot_read)?;
            if meta.is_dir() {
                bail!("{name} is a directory");
            }
            let identity = if meta.is_file() {
                Some((meta.len(), meta.modified().with_context(cannot_read)?))
            } else {
                None
            };
            (file, identity)
        };
        let (kind, header) = match format {
            Format::Csv | Format::Tsv => {
                let delimiter = if format == Format::Csv { b',' } else { b'\t' };
                let mut records = Records::new(input, delimiter);
                let Some((_, header)) = records.next().with_context(cannot_read)? else {
                    bail!("{name} is empty; its first line must be a header");
                };
                let column = find(&header, column).with_context(|| format!("in {name}"))?;
                let records = Box::new(records);
                (Kind::Csv { records, column }, Some(header))
            }
            Format::Jsonl | Format::Text => {
                let lines = Kind::Lines {
                    input: BufReader::with_capacity(64 * 1024, input),
                    mark: Mark::default(),
                    field: (format == Format::Jsonl).then(|| column.to_owned()),
                };
                (lines, None)
            }
        };
        Ok(Self {
            kind,
            name,
            header,
            identity,
        })
    }

    pub(super) fn header(&self) -> Option<&Fields> {
        self.header.as_ref()
    }

    /// The size in bytes and the modification time of a regular file, which can be read again
    /// to resume.
    pub(super) fn identity(&self) -> Option<(u64, SystemTime)> {
        self.identity
    }

    /// The size of the file in bytes, if that is known.
    pub(super) fn size(&self) -> Option<u64> {
        self.identity.map(|(size, _)| size)
    }

    /// Where the next row begins.
    pub(super) fn mark(&self) -> Mark {
        match &self.kind {
            Kind::Csv { records, .. } => records.mark,
            Kind::Lines { mark, .. } => *mark,
        }
    }

    /// Continues at a position between two rows.
    pub(super) fn seek(&mut self, to: Mark) -> anyhow::Result<()> {
        let sought = match &mut self.kind {
            Kind::Csv { records, .. } => records.seek(to),
            Kind::Lines { input, mark, .. } => {
                *mark = to;
                input.seek(SeekFrom::Start(to.offset)).map(|_| ())
            }
        };
        sought.with_context(|| format!("cannot read {}", self.name))
    }

    /// Reads batches of rows on a separate thread, a few batches ahead. The thread ends when
    /// the receiver is dropped; blocked on its input, it ends with the process.
    pub(super) fn read_on_thread(
        mut self,
    ) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Vec<Row>>>> {
        let (sender, receiver) = mpsc::channel(2);
        let read = move || {
            loop {
                let batch = self.batch();
                let is_last = match &batch {
                    Ok(rows) if rows.is_empty() => return,
                    Ok(_) => false,
                    Err(_) => true,
                };
                if sender.blocking_send(batch).is_err() || is_last {
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

    /// The next rows that are available; empty at the end of the file.
    fn batch(&mut self) -> anyhow::Result<Vec<Row>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let next = self.next();
            let Some(row) = next.with_context(|| format!("cannot read {}", self.name))? else {
                break;
            };
            bytes += row.size;
            rows.push(row);
            let may_block = match &self.kind {
                Kind::Csv { records, .. } => records.may_block(),
                Kind::Lines { input, .. } => input.buffer().is_empty(),
            };
            if may_block {
                break;
            }
        }
        Ok(rows)
    }

    fn next(&mut self) -> io::Result<Option<Row>> {
        match &mut self.kind {
            Kind::Csv { records, column } => {
                let columns = self.header.as_ref().map_or(0, Fields::len);
                let row = records.next()?.map(|(line, fields)| Row {
                    line,
                    end: records.mark,
                    text: text_of(&fields, columns, *column),
                    size: 2 * fields.size() + 64 * columns,
                    record: Record::Fields(fields),
                });
                Ok(row)
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
                    (Err(_), _) => (String::new(), Err("the line is not UTF-8".to_owned())),
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

/// The index of a column.
fn find(header: &Fields, column: &str) -> anyhow::Result<usize> {
    let mut found = (0..header.len()).filter(|at| header.get(*at) == Some(column.as_bytes()));
    let Some(at) = found.next() else {
        let names = header
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

/// The text of a record, or what is wrong with it.
fn text_of(fields: &Fields, columns: usize, column: usize) -> Result<String, String> {
    if fields.len() != columns {
        let found = fields.len();
        return Err(format!(
            "the row has {found} fields, but the header has {columns}"
        ));
    }
    let text = fields.get(column).unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|_| "the text is not UTF-8".to_owned())
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
        Err(error) => Err(format!("the line is not valid JSON: {error}")),
    }
}

/// The next line without its line end, or `None` at the end of the input.
fn line(input: &mut BufReader<File>, mark: &mut Mark) -> io::Result<Option<Vec<u8>>> {
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
    let begin = mark.offset;
    mark.pass(&line);
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if begin == 0 && line.starts_with(BYTE_ORDER_MARK) {
        line.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(Some(line))
}
