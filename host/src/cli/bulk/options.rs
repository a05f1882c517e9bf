//! The options that say which file to score, and how.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use fastsentiment::app::App;
use serde::{Deserialize, Serialize};

use super::rows::Rows;

/// What the help of the command says at its end.
pub(in crate::cli) const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong use of the command line, the environment
or the configuration file, 3 done but for bad rows, which were left out
(--on-error skip), 130 and 143 interrupted (SIGINT, SIGTERM): with a file for
--out, the same command goes on from there";

/// Which file to score, and how.
#[derive(Args)]
#[command(next_help_heading = "Files")]
pub(in crate::cli) struct FileOptions {
    /// Score every row of a file; `-` is standard input
    ///
    /// CSV with a header, lines of JSON, or lines of text.
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,

    /// Where the scored rows go [default: `-`, standard output]
    ///
    /// A file is complete when it is there; if the command is interrupted, the same
    /// command goes on where it ended.
    #[arg(long, value_name = "FILE", requires = "file")]
    out: Option<PathBuf>,

    /// What the file holds [default: what its name ends in: .csv, .tsv, .jsonl,
    /// .ndjson or .txt]
    #[arg(long, value_enum, requires = "file")]
    format: Option<Format>,

    /// The column of the texts; in lines of JSON, the field [default: text]
    #[arg(long, value_name = "NAME", requires = "file")]
    column: Option<String>,

    /// What to do about a row that can not be read or scored
    #[arg(long, value_enum, requires = "file", default_value = "stop")]
    on_error: OnError,

    /// Begin anew, also if an interrupted run has left something to go on from
    #[arg(long, requires = "file")]
    restart: bool,
}

/// What rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// Values with commas between them, and a header
    Csv,
    /// Values with tabs between them, and a header
    Tsv,
    /// A JSON object or string in each line
    Jsonl,
    /// A text in each line; the scored rows are CSV
    Text,
}

/// What becomes of a run with a bad row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OnError {
    /// End there, with all rows before it written
    Stop,
    /// Name it on standard error, and leave it out
    Skip,
}

/// What is to be done, with everything filled in.
pub(super) struct Job {
    pub(super) file: PathBuf,
    pub(super) out: PathBuf,
    pub(super) format: Format,
    pub(super) column: String,
    pub(super) on_error: OnError,
    pub(super) restart: bool,
}

impl FileOptions {
    /// Whether there is a file.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.file.is_some()
    }

    /// Scores the file. What can be found wrong without a model has to be found
    /// before one is loaded: `load` is called after that.
    pub(in crate::cli) fn run(
        self,
        runtime: &tokio::runtime::Runtime,
        load: impl FnOnce() -> anyhow::Result<App>,
    ) -> anyhow::Result<ExitCode> {
        let Some(file) = self.file else {
            bail!("there is no file");
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
                "the name {} does not say what is in it; --format csv, tsv, jsonl or text does",
                file.display()
            ),
        }
    }
}
