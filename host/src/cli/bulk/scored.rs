//! The scored rows, as they are written.
//!
//! A row of CSV gets columns: the best label, its score, and the score of each
//! label. A line of JSON gets a field, and stays as it is otherwise, to the letter.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use csv::QuoteStyle;
use predictor::Score;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::Format;
use super::fields::Fields;
use super::rows::{Record, Row};

/// The field of a line of JSON that the scores go to.
pub(super) const PREDICTION: &str = "prediction";

/// What new columns begin with if the input has one of them already.
const PREFIX: &str = "predicted_";

/// Where rows go, counted.
pub(super) struct Output {
    to: Box<dyn Write>,
    /// How many bytes there are.
    bytes: u64,
}

impl Output {
    /// Goes on writing after so many bytes.
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

/// Writes rows.
pub(super) struct Scored {
    writer: Writer,
    labels: Vec<Arc<str>>,
    /// What a line of JSON that is a string becomes a field of.
    column: String,
}

enum Writer {
    Csv {
        writer: Box<csv::Writer<Output>>,
        /// The names of all columns.
        names: Vec<Vec<u8>>,
    },
    Json(BufWriter<Output>),
}

/// What a line of JSON gets.
#[derive(Serialize)]
struct Prediction<'a> {
    label: &'a str,
    score: f32,
    scores: Scores<'a>,
}

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

impl Scored {
    /// Writes rows of these columns, or lines.
    pub(super) fn new(
        format: Format,
        output: Output,
        header: Option<&Fields>,
        column: &str,
        labels: &[Arc<str>],
    ) -> anyhow::Result<Self> {
        let csv = |output, delimiter, header: Vec<Vec<u8>>| {
            anyhow::Ok(Writer::Csv {
                writer: Box::new(
                    csv::WriterBuilder::new()
                        .delimiter(delimiter)
                        .quote_style(QuoteStyle::Necessary)
                        .buffer_capacity(64 * 1024)
                        .from_writer(output),
                ),
                names: with_new_columns(header, labels)?,
            })
        };
        let header = header.map(|header| header.iter().map(<[u8]>::to_vec).collect());
        let writer = match format {
            Format::Csv => csv(output, b',', header.unwrap_or_default())?,
            Format::Tsv => csv(output, b'\t', header.unwrap_or_default())?,
            Format::Text => csv(output, b',', vec![column.as_bytes().to_vec()])?,
            Format::Jsonl => Writer::Json(BufWriter::with_capacity(64 * 1024, output)),
        };
        Ok(Self {
            writer,
            labels: labels.to_vec(),
            column: column.to_owned(),
        })
    }

    /// Writes what comes before the rows.
    pub(super) fn header(&mut self) -> anyhow::Result<()> {
        match &mut self.writer {
            Writer::Csv { writer, names } => writer.write_byte_record(&names.iter().collect())?,
            Writer::Json(_) => {}
        }
        Ok(())
    }

    /// Writes a row, unless there is something wrong with its scores.
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
                "its answer has other labels than the first one".to_owned()
            ));
        };
        match (&mut self.writer, &row.record) {
            (Writer::Csv { writer, .. }, record) => {
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
            (Writer::Json(writer), Record::Line(line)) => {
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
            (Writer::Json(_), Record::Fields(_)) => bail!("a record is not JSON"),
        }
        Ok(Ok(()))
    }

    /// Hands all that is written on. Gives how many bytes there are.
    pub(super) fn flush(&mut self) -> anyhow::Result<u64> {
        let can_not = "the scored rows can not be written";
        Ok(match &mut self.writer {
            Writer::Csv { writer, .. } => {
                writer.flush().context(can_not)?;
                writer.get_ref().bytes
            }
            Writer::Json(writer) => {
                writer.flush().context(can_not)?;
                writer.get_ref().bytes
            }
        })
    }
}

/// The columns of the input, and the new ones: `label`, `score`, and `score_` with
/// each label.
fn with_new_columns(mut names: Vec<Vec<u8>>, labels: &[Arc<str>]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut new = vec!["label".to_owned(), "score".to_owned()];
    new.extend(labels.iter().map(|label| format!("score_{label}")));
    let is_taken = |new: &String| names.iter().any(|name| name == new.as_bytes());
    if new.iter().any(is_taken) {
        for name in &mut new {
            name.insert_str(0, PREFIX);
        }
        if let Some(name) = new.iter().find(|name| is_taken(name)) {
            bail!("there are columns `label` or `score` already, and `{name}` too: rename one");
        }
    }
    names.extend(new.into_iter().map(String::into_bytes));
    Ok(names)
}
