//! The options of `predict --file`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use fastsentiment::app::App;
use serde::{Deserialize, Serialize};

use super::rows::Rows;

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
    /// The file is CSV or TSV with a header, JSON Lines, or plain text with a text per line.
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,

    /// File for the scored rows [default: `-`, standard output]
    ///
    /// The file appears once it is complete. If the command is interrupted, run it again to
    /// resume.
    #[arg(long, value_name = "FILE", requires = "file")]
    out: Option<PathBuf>,

    /// Format of the file [default: by its extension: .csv, .tsv, .jsonl, .ndjson or .txt]
    #[arg(long, value_enum, requires = "file")]
    format: Option<Format>,

    /// Column with the texts; for JSON Lines, the field [default: text]
    #[arg(long, value_name = "NAME", requires = "file")]
    column: Option<String>,

    /// What to do with a row that cannot be read or scored
    #[arg(long, value_enum, requires = "file", default_value = "stop")]
    on_error: OnError,

    /// Start from the beginning, even if an interrupted run could be resumed
    #[arg(long, requires = "file")]
    restart: bool,
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
        let rows = Rows::open(&job.file, job.format, &job.column)?;
        let app = load()?;
        runtime.block_on(job.run(rows, app.service(), app.revision()))
    }
}

impl Format {
    fn of(file: &Path) -> anyhow::Result<Self> {
        let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("csv") => Ok(Self::Csv),
            Some("tsv") => Ok(Self::Tsv),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("txt") => Ok(Self::Text),
            _ => bail!(
                "the format of {} is not clear from its name: set it with --format csv, tsv, jsonl or \
                 text",
                file.display()
            ),
        }
    }
}
