//! Writes rows with their scores.
//!
//! A CSV row gets new columns: the best label, its score, and the score of each label. A
//! line of JSON gets a new field, and is otherwise copied byte for byte.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use csv::QuoteStyle;
use predictor::Score;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::Format;
use super::header::{Dialect, Header};
use super::options::Quoting;
use super::rows::{Record, Row};

/// The new field of a line of JSON.
pub(super) const PREDICTION: &str = "prediction";

/// The prefix of the new columns if the input already has one of them.
const PREFIX: &str = "predicted_";

pub(super) const CANNOT_WRITE: &str = "cannot write the scored rows";

/// Counts the bytes that are written.
pub(super) struct Output {
    to: Box<dyn Write>,
    bytes: u64,
}

impl Output {
    /// Writes to `to`, which already holds `bytes` bytes.
    pub(super) fn new(to: Box<dyn Write>, bytes: u64) -> Self {
        Self { to, bytes }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes rows with their scores.
pub(super) struct RowWriter {
    encoder: Encoder,
    labels: Vec<Arc<str>>,
    /// The field for the text of a line of JSON that is a string.
    column: String,
}

enum Encoder {
    Csv {
        writer: Box<csv::Writer<Output>>,
        /// The names of all columns, including the new ones.
        names: Vec<Vec<u8>>,
    },
    Json(BufWriter<Output>),
}

/// The value of the new field of a line of JSON.
#[derive(Serialize)]
struct Prediction<'a> {
    label: &'a str,
    score: f32,
    scores: Scores<'a>,
}

/// The score of each of the labels, in their order.
struct Scores<'a>(&'a [Arc<str>], &'a [Score]);

impl Serialize for Scores<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for label in self.0 {
            map.serialize_entry(&**label, &score_of(self.1, label))?;
        }
        map.end()
    }
}

fn score_of(scores: &[Score], label: &str) -> Option<f32> {
    let found = scores.iter().find(|score| &*score.label == label);
    found.map(|score| score.score)
}

impl RowWriter {
    /// Writes rows in a format, with the columns of `header` if it has any.
    pub(super) fn new(
        format: Format,
        output: Output,
        header: Option<&Header>,
        column: &str,
        labels: &[Arc<str>],
    ) -> anyhow::Result<Self> {
        let csv = |output, dialect: Dialect, names: Vec<Vec<u8>>| {
            let style = match dialect.quoting {
                Quoting::Double => QuoteStyle::Necessary,
                Quoting::None => QuoteStyle::Never,
            };
            anyhow::Ok(Encoder::Csv {
                writer: Box::new(
                    csv::WriterBuilder::new()
                        .delimiter(dialect.delimiter)
                        .quote_style(style)
                        .buffer_capacity(64 * 1024)
                        .from_writer(output),
                ),
                names: with_new_columns(names, labels, dialect)?,
            })
        };
        let encoder = match (format, header) {
            (Format::Jsonl, _) => Encoder::Json(BufWriter::with_capacity(64 * 1024, output)),
            (_, Some(header)) => {
                let names = header.names.iter().map(<[u8]>::to_vec).collect();
                csv(output, header.dialect, names)?
            }
            (_, None) => csv(output, Dialect::CSV, vec![column.as_bytes().to_vec()])?,
        };
        Ok(Self {
            encoder,
            labels: labels.to_vec(),
            column: column.to_owned(),
        })
    }

    /// Writes the header, if the format has one.
    pub(super) fn header(&mut self) -> anyhow::Result<()> {
        match &mut self.encoder {
            Encoder::Csv { writer, names } => writer.write_byte_record(&names.iter().collect())?,
            Encoder::Json(_) => {}
        }
        Ok(())
    }

    /// Writes a row. The inner error says what is wrong with its scores.
    pub(super) fn write(
        &mut self,
        row: &Row,
        scores: &[Score],
    ) -> anyhow::Result<Result<(), String>> {
        let known = scores
            .iter()
            .all(|score| self.labels.contains(&score.label));
        let Some(best) = scores
            .first()
            .filter(|_| known && scores.len() == self.labels.len())
        else {
            return Ok(Err(
                "the guest returned other labels than for the first text".to_owned(),
            ));
        };
        match (&mut self.encoder, &row.record) {
            (Encoder::Csv { writer, .. }, record) => {
                match record {
                    Record::Fields(fields) => {
                        for field in fields.iter() {
                            writer.write_field(field)?;
                        }
                    }
                    Record::Line(line) => writer.write_field(line)?,
                }
                writer.write_field(&*best.label)?;
                writer.write_field(best.score.to_string())?;
                for label in &self.labels {
                    let score = score_of(scores, label);
                    writer
                        .write_field(score.map_or_else(String::new, |score| score.to_string()))?;
                }
                writer.write_record(None::<&[u8]>)?;
            }
            (Encoder::Json(writer), Record::Line(line)) => {
                let prediction = Prediction {
                    label: &best.label,
                    score: best.score,
                    scores: Scores(&self.labels, scores),
                };
                let line = line.trim();
                match line.strip_suffix('}') {
                    Some(object) => write!(writer, "{},", object.trim_end())?,
                    None => {
                        let column = serde_json::to_string(&self.column)?;
                        write!(writer, "{{{column}:{line},")?;
                    }
                }
                write!(writer, "\"{PREDICTION}\":")?;
                serde_json::to_writer(&mut *writer, &prediction)?;
                writer.write_all(b"}\n")?;
            }
            (Encoder::Json(_), Record::Fields(_)) => bail!("a CSV record is not JSON"),
        }
        Ok(Ok(()))
    }

    /// Writes buffered rows. Returns the length of the output, in bytes.
    pub(super) fn flush(&mut self) -> anyhow::Result<u64> {
        Ok(match &mut self.encoder {
            Encoder::Csv { writer, .. } => {
                writer.flush().context(CANNOT_WRITE)?;
                writer.get_ref().bytes
            }
            Encoder::Json(writer) => {
                writer.flush().context(CANNOT_WRITE)?;
                writer.get_ref().bytes
            }
        })
    }
}

/// Adds the new columns to those of the input: `label`, `score`, and `score_<label>` for each
/// label.
fn with_new_columns(
    mut names: Vec<Vec<u8>>,
    labels: &[Arc<str>],
    dialect: Dialect,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut new = vec!["label".to_owned(), "score".to_owned()];
    new.extend(labels.iter().map(|label| format!("score_{label}")));
    let is_taken = |new: &String| names.iter().any(|name| name == new.as_bytes());
    if new.iter().any(is_taken) {
        for name in &mut new {
            name.insert_str(0, PREFIX);
        }
        if let Some(name) = new.iter().find(|name| is_taken(name)) {
            bail!(
                "the input already has one of the columns `label` and `score`, and `{name}`: rename one"
            );
        }
    }
    let needs_quotes = |byte: u8| byte == dialect.delimiter || matches!(byte, b'\r' | b'\n');
    let unwritable = |name: &&String| name.bytes().any(needs_quotes);
    if dialect.quoting == Quoting::None
        && let Some(name) = new.iter().find(unwritable)
    {
        bail!("the new column `{name}` needs quotes, which --quoting none rules out");
    }
    names.extend(new.into_iter().map(String::into_bytes));
    Ok(names)
}
