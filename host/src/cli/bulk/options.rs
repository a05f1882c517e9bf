//! The options of `predict --file`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use fastsentiment::app::App;
use serde::{Deserialize, Serialize};

use super::header::is_delimiter;
use super::rows::Rows;
use super::source::Source;
use super::{print, progress};
use crate::cli::exit::UsageError;

/// The end of the command's help.
pub(in crate::cli) const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 usage error in the command line, environment
or configuration file, 3 success, but bad rows were skipped (--on-error skip),
130 or 143 interrupted by SIGINT or SIGTERM; if --out is a file, run the same
command again to resume";

/// Which file to score, and how.
#[derive(Args)]
#[command(next_help_heading = "Scoring a file")]
pub(in crate::cli) struct FileOptions {
    /// Score every row of a file; `-` is standard input
    ///
    /// The file is CSV or TSV with a header, JSON Lines, or plain text with a text per line, in
    /// UTF-8 or in UTF-16 with a byte order mark. It may be compressed with gzip.
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,

    /// File for the scored rows [default: `-`, standard output]
    ///
    /// The file appears once it is complete. If the command is interrupted, run it again to
    /// resume. It can be neither the file that is scored nor a symbolic link to a file.
    #[arg(long, value_name = "FILE", requires = "file")]
    out: Option<PathBuf>,

    /// Format of the file [default: by its extension: .csv, .tsv, .jsonl, .ndjson or .txt, also
    /// before .gz]
    #[arg(long, value_enum, requires = "file")]
    format: Option<Format>,

    /// Column with the texts; for JSON Lines, the field [default: text]
    #[arg(long, value_name = "NAME", requires = "file")]
    column: Option<String>,

    #[command(flatten)]
    table: TableOptions,

    /// What to do with a row that cannot be read or scored
    #[arg(long, value_enum, requires = "file", default_value = "stop")]
    on_error: OnError,

    /// Start from the beginning, even if an interrupted run could be resumed
    #[arg(long, requires = "file")]
    restart: bool,
}

/// How the fields of CSV and TSV are written.
#[derive(Clone, Copy, Args)]
pub(super) struct TableOptions {
    /// Character between fields, or `tab` [default: for CSV, the one of `,`, `;`, tab and `|`
    /// with which the header has the column; for TSV, tab]
    ///
    /// A first line such as `sep=;` sets it, too.
    #[arg(long, value_name = "CHARACTER", requires = "file", value_parser = delimiter)]
    pub(super) delimiter: Option<u8>,

    /// Whether fields of CSV and TSV may be in quotes
    #[arg(long, value_enum, requires = "file", default_value = "double")]
    pub(super) quoting: Quoting,
}

/// Whether fields may be in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Quoting {
    /// In double quotes; two of them in such a field stand for one
    Double,
    /// Quotes are characters like any other
    None,
}

fn delimiter(value: &str) -> Result<u8, String> {
    match value.as_bytes() {
        b"tab" => Ok(b'\t'),
        [character] if is_delimiter(*character) => Ok(*character),
        _ => Err(
            "must be `tab`, or an ASCII character that is not a letter, digit, quote, point, hyphen \
             or line break"
                .to_owned(),
        ),
    }
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// A JSON object or string per line
    Jsonl,
    /// A text per line; the output is CSV
    Text,
}

/// What to do with a bad row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OnError {
    /// Stop there, and keep the rows before it
    Stop,
    /// Report it on standard error, and skip it
    Skip,
}

/// The options with their defaults filled in.
pub(super) struct Job {
    pub(super) file: PathBuf,
    pub(super) out: PathBuf,
    pub(super) format: Format,
    pub(super) column: String,
    pub(super) on_error: OnError,
    pub(super) restart: bool,
}

impl FileOptions {
    /// Whether there is a file to score.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.file.is_some()
    }

    /// Scores the file. Calls `load` to load the model, which takes a while, only after it has
    /// opened the file and read its header.
    pub(in crate::cli) fn run(
        self,
        runtime: &tokio::runtime::Runtime,
        load: impl FnOnce() -> anyhow::Result<App>,
    ) -> anyhow::Result<ExitCode> {
        let Some(file) = self.file else {
            bail!("no file is given");
        };
        let source = Source::open(&file)?;
        let job = Job {
            format: match self.format {
                Some(format) => format,
                None => Format::of(&file)?,
            },
            file,
            out: self.out.unwrap_or_else(|| PathBuf::from("-")),
            column: self.column.unwrap_or_else(|| "text".to_owned()),
            on_error: self.on_error,
            restart: self.restart,
        };
        progress::check(&job.out, &source.file)?;
        let is_table = matches!(job.format, Format::Csv | Format::Tsv);
        if !is_table && (self.table.delimiter.is_some() || self.table.quoting == Quoting::None) {
            let conflict = "--delimiter and --quoting none are for CSV and TSV";
            return Err(UsageError(conflict.to_owned()).into());
        }
        let rows = Rows::new(source, job.format, self.table, &job.column)?;
        for note in rows.notes() {
            print(&format!("note: {}: {note}", job.file.display()));
        }
        let app = load()?;
        runtime.block_on(job.run(rows, app.service(), app.revision()))
    }
}

impl Format {
    fn of(file: &Path) -> anyhow::Result<Self> {
        let extension = |file: &Path| {
            let extension = file.extension().unwrap_or_default().to_string_lossy();
            extension.to_ascii_lowercase()
        };
        let extension = match &*extension(file) {
            "gz" => extension(&file.with_extension("")),
            other => other.to_owned(),
        };
        match &*extension {
            "csv" => Ok(Self::Csv),
            "tsv" | "tab" => Ok(Self::Tsv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "txt" | "text" => Ok(Self::Text),
            _ => bail!(
                "the format of {} is not clear from its name: set it with --format csv, tsv, jsonl or \
                 text",
                file.display()
            ),
        }
    }
}
