//! The rows of a file: CSV, lines of JSON or lines of text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Stdin};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::Format;
use super::fields::{Fields, Records};
use super::scored::PREDICTION;

/// The longest row, in bytes.
pub(super) const MAX_ROW: u64 = 16 << 20;

/// How many rows, and about how many bytes of them, are handed over at a time.
const HANDED_OVER: (usize, usize) = (256, 256 * 1024);

/// Some files begin with this, and it means nothing.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A place between two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// In bytes.
    pub(super) offset: u64,
    /// The number of the line, from 1.
    pub(super) line: u64,
}

impl Default for Mark {
    /// The beginning.
    fn default() -> Self {
        Self { offset: 0, line: 1 }
    }
}

impl Mark {
    /// Moves behind `bytes`.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }
}

/// A row.
pub(super) struct Row {
    /// The line on which it begins.
    pub(super) line: u64,
    /// Where it ends.
    pub(super) end: Mark,
    pub(super) record: Record,
    /// Its text, or what is wrong with it.
    pub(super) text: Result<String, String>,
    /// About how many bytes it takes.
    pub(super) size: usize,
}

/// What a row is written from.
pub(super) enum Record {
    Fields(Fields),
    Line(String),
}

/// What rows are read from.
enum Source {
    File(File),
    Standard(Stdin),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Standard(stdin) => stdin.read(buffer),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Standard(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}

/// A file that is being read.
pub(super) struct Rows {
    kind: Kind,
    name: String,
    /// The names of the columns, of a file that has some.
    header: Option<Fields>,
    /// Its size and when it was last written to, if it can be gone back to.
    identity: Option<(u64, SystemTime)>,
}

enum Kind {
    Csv {
        records: Box<Records<Source>>,
        /// Which column has the texts.
        at: usize,
    },
    Lines {
        input: BufReader<Source>,
        mark: Mark,
        /// The field of the texts, if lines are JSON.
        field: Option<String>,
    },
}

impl Rows {
    /// Opens a file, and reads its header if it is to have one.
    pub(super) fn open(file: &Path, format: Format, column: &str) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let can_not = || format!("can not read {name}");
        let (source, identity) = if file == Path::new("-") {
            (Source::Standard(io::stdin()), None)
        } else {
            let file = File::open(file).with_context(can_not)?;
            let meta = file.metadata().with_context(can_not)?;
            if meta.is_dir() {
                bail!("{name} is a directory");
            }
            let identity = if meta.is_file() {
                Some((meta.len(), meta.modified().with_context(can_not)?))
            } else {
                None
            };
            (Source::File(file), identity)
        };
        let (kind, header) = match format {
            Format::Csv | Format::Tsv => {
                let delimiter = if format == Format::Csv { b',' } else { b'\t' };
                let mut records = Records::new(source, delimiter);
                let Some((_, header)) = records.next().with_context(can_not)? else {
                    bail!("{name} is empty; its first line must name the columns");
                };
                let at = find(&header, column).with_context(|| format!("in {name}"))?;
                let records = Box::new(records);
                (Kind::Csv { records, at }, Some(header))
            }
            Format::Jsonl | Format::Text => {
                let lines = Kind::Lines {
                    input: BufReader::with_capacity(64 * 1024, source),
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

    /// Its size and when it was last written to, if it can be gone back to.
    pub(super) fn identity(&self) -> Option<(u64, SystemTime)> {
        self.identity
    }

    /// How many bytes it has, if that is known.
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

    /// Goes on at a place between two rows.
    pub(super) fn seek(&mut self, to: Mark) -> anyhow::Result<()> {
        let sought = match &mut self.kind {
            Kind::Csv { records, .. } => records.seek(to),
            Kind::Lines { input, mark, .. } => {
                *mark = to;
                input.seek(SeekFrom::Start(to.offset)).map(|_| ())
            }
        };
        sought.with_context(|| format!("can not read {}", self.name))
    }

    /// Reads on a thread of its own, which reads no more than a little ahead and
    /// ends with the receiver, or with the process while it waits for its input.
    pub(super) fn on_a_thread(
        mut self,
    ) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Vec<Row>>>> {
        let (sender, receiver) = mpsc::channel(2);
        let read = move || {
            loop {
                let some = self.some();
                let is_last = match &some {
                    Ok(rows) if rows.is_empty() => return,
                    Ok(_) => false,
                    Err(_) => true,
                };
                if sender.blocking_send(some).is_err() || is_last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("rows".to_owned());
        thread
            .spawn(read)
            .context("there is no thread to read on")?;
        Ok(receiver)
    }

    /// The next rows, as far as they are there; none at the end.
    fn some(&mut self) -> anyhow::Result<Vec<Row>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < HANDED_OVER.0 && bytes < HANDED_OVER.1 {
            let next = self.next();
            let Some(row) = next.with_context(|| format!("can not read {}", self.name))? else {
                break;
            };
            bytes += row.size;
            rows.push(row);
            let may_wait = match &self.kind {
                Kind::Csv { records, .. } => records.may_wait(),
                Kind::Lines { input, .. } => input.buffer().is_empty(),
            };
            if may_wait {
                break;
            }
        }
        Ok(rows)
    }

    fn next(&mut self) -> io::Result<Option<Row>> {
        match &mut self.kind {
            Kind::Csv { records, at } => {
                let columns = self.header.as_ref().map_or(0, Fields::len);
                let row = records.next()?.map(|(line, fields)| Row {
                    line,
                    end: records.mark,
                    text: text_of(&fields, columns, *at),
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
                    (Err(_), _) => (String::new(), Err("it is not UTF-8".to_owned())),
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

/// Which column has a name.
fn find(header: &Fields, column: &str) -> anyhow::Result<usize> {
    let mut found = (0..header.len()).filter(|at| header.get(*at) == Some(column.as_bytes()));
    let Some(at) = found.next() else {
        let names = header
            .iter()
            .map(|name| format!("`{}`", String::from_utf8_lossy(name)));
        let names: Vec<String> = names.collect();
        bail!(
            "there is no column `{column}`; there are {} (--column names the one with the texts)",
            names.join(", ")
        );
    };
    if found.next().is_some() {
        bail!("there are several columns `{column}`");
    }
    Ok(at)
}

fn text_of(fields: &Fields, columns: usize, at: usize) -> Result<String, String> {
    if fields.len() != columns {
        let found = fields.len();
        return Err(format!(
            "it has {found} fields, and the header has {columns}"
        ));
    }
    let text = fields.get(at).unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|_| "its text is not UTF-8".to_owned())
}

fn text_of_json(line: &str, field: &str) -> Result<String, String> {
    match serde_json::from_str(line) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Object(mut object)) => match object.remove(field) {
            _ if object.contains_key(PREDICTION) => Err(format!(
                "it has a field `{PREDICTION}` already, which is where the scores would go"
            )),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("its field `{field}` is not a string")),
            None => {
                let names: Vec<_> = object.keys().map(|name| format!("`{name}`")).collect();
                Err(format!(
                    "it has no field `{field}`; it has {} (--column names the one with the text)",
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                ))
            }
        },
        Ok(_) => Err("it is neither an object nor a string".to_owned()),
        Err(error) => Err(format!("it is not valid JSON: {error}")),
    }
}

/// The next line without its end; none at the end of the input.
fn line(input: &mut BufReader<Source>, mark: &mut Mark) -> io::Result<Option<Vec<u8>>> {
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
