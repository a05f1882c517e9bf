//! The output of a run, and its progress.
//!
//! Rows for a file `OUT` are written to `OUT.partial`. `OUT.progress` records how many bytes
//! of it are complete rows, and where these rows end in the input. It is replaced atomically
//! after these rows are on disk. So however a run ends, the next one truncates the output to
//! the recorded length, and resumes from there.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use predictor::Revision;
use serde::{Deserialize, Serialize};

use super::header::Dialect;
use super::rows::{Mark, Rows};
use super::writer::Output;
use super::{Format, Job};
use crate::cli::exit::UsageError;
use crate::cli::output;

/// What a run depends on. Only a run with the same values can resume it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// `None` if the input is not a regular file, and cannot be read again.
    input: Option<Input>,
    format: Format,
    /// The dialect of CSV or TSV.
    dialect: Option<Dialect>,
    column: String,
    guest: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    bytes: u64,
    modified: SystemTime,
}

/// How much of a run is done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    /// Where these rows end in the input.
    pub(super) mark: Mark,
    /// The number of rows that are written.
    pub(super) rows: u64,
    /// The number of bad rows that are skipped.
    pub(super) skipped: u64,
}

impl Done {
    /// The beginning of a run, whose first row is at `mark`.
    pub(super) fn nothing(mark: Mark) -> Self {
        Self {
            mark,
            rows: 0,
            skipped: 0,
        }
    }
}

/// The content of `OUT.progress`.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    run: Run,
    #[serde(flatten)]
    done: Done,
    /// How many bytes of the output are complete rows.
    bytes: u64,
}

/// The output of a run.
pub(super) enum Destination {
    /// Standard output (`-`), or anything else that is not a regular file.
    Stream(PathBuf),
    File(Partial),
}

/// An output file that is not complete yet.
pub(super) struct Partial {
    out: PathBuf,
    /// `OUT.partial`.
    rows: PathBuf,
    /// `OUT.progress`.
    progress: PathBuf,
    run: Run,
    /// `OUT.partial`, locked for as long as this lives.
    file: File,
    /// The length of the rows of earlier runs, in bytes.
    bytes: u64,
}

impl Run {
    pub(super) fn of(job: &Job, rows: &Rows, revision: &Revision) -> Self {
        Self {
            input: rows
                .identity()
                .map(|(bytes, modified)| Input { bytes, modified }),
            format: job.format,
            dialect: rows.header().map(|header| header.dialect),
            column: job.column.clone(),
            guest: revision.guest().to_string(),
            model: revision.model().to_string(),
        }
    }

    /// The difference from an earlier run, in words.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.input != other.input {
            Some("its input was different, or has changed")
        } else if self.format != other.format || self.column != other.column {
            Some("its --format or --column was different")
        } else if self.dialect != other.dialect {
            Some("its --delimiter or --quoting was different")
        } else if self.guest != other.guest {
            Some("its guest was different")
        } else if self.model != other.model {
            Some("its model was different")
        } else {
            None
        }
    }
}

/// Checks that a run to `out` overwrites neither its input nor what a link points to.
pub(super) fn check(out: &Path, input: &Metadata) -> anyhow::Result<()> {
    let is_input =
        |meta: &Metadata| input.is_file() && (meta.dev(), meta.ino()) == (input.dev(), input.ino());
    let refuse =
        |reason: String| Err(UsageError(format!("--out {}: {reason}", out.display())).into());
    if out == Path::new("-") {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        if stdout
            .and_then(|stdout| stdout.metadata())
            .is_ok_and(|meta| is_input(&meta))
        {
            return refuse("standard output is the file that is scored".to_owned());
        }
        return Ok(());
    }
    let [partial, progress] = beside(out);
    for path in [out, &partial, &progress] {
        let name = path.display();
        let meta = fs::metadata(path);
        if meta.as_ref().is_ok_and(is_input) {
            return refuse(format!(
                "{name} is the file that is scored; choose another name"
            ));
        }
        // Such as /dev/stdout.
        let is_stream = meta.is_ok_and(|meta| !meta.is_file());
        if path.is_symlink() && !is_stream {
            return refuse(format!(
                "{name} is a symbolic link; name the file that it points to"
            ));
        }
    }
    Ok(())
}

/// The names of `OUT.partial` and `OUT.progress`.
fn beside(out: &Path) -> [PathBuf; 2] {
    [".partial", ".progress"].map(|extension| {
        let mut name = out.as_os_str().to_owned();
        name.push(extension);
        PathBuf::from(name)
    })
}

impl Destination {
    /// Opens `out`. Returns how much an interrupted run has done, if this one resumes it.
    pub(super) fn open(
        out: &Path,
        run: Run,
        restart: bool,
    ) -> anyhow::Result<(Self, Option<Done>)> {
        let is_stream = fs::metadata(out).is_ok_and(|meta| !meta.is_file());
        if out == Path::new("-") || is_stream {
            return Ok((Self::Stream(out.to_owned()), None));
        }
        let [partial, progress] = beside(out);
        let cannot_write = || format!("cannot write {}", partial.display());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let mut file = options.open(&partial).with_context(cannot_write)?;
        // Any other error means that the file system has no locks.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("another run is writing {}", partial.display());
        }
        let before = if restart { None } else { read(&progress)? };
        if let Some(before) = &before {
            let name = partial.display();
            if let Some(difference) = before.run.difference(&run) {
                bail!(
                    "an interrupted run has left {name}, but {difference}; discard it with --restart"
                );
            }
            if run.input.is_none() {
                bail!("a run on a stream cannot be resumed; discard {name} with --restart");
            }
            if file.metadata().with_context(cannot_write)?.len() < before.bytes {
                bail!("{name} is shorter than it was; discard it with --restart");
            }
        } else {
            remove(&progress)?;
        }
        let bytes = before.as_ref().map_or(0, |before| before.bytes);
        file.set_len(bytes).with_context(cannot_write)?;
        file.seek(SeekFrom::Start(bytes))
            .with_context(cannot_write)?;
        let partial = Partial {
            out: out.to_owned(),
            rows: partial,
            progress,
            run,
            file,
            bytes,
        };
        Ok((Self::File(partial), before.map(|before| before.done)))
    }

    /// The writer for the rows.
    pub(super) fn output(&self) -> anyhow::Result<Output> {
        Ok(match self {
            Self::Stream(out) if out == Path::new("-") => {
                Output::new(Box::new(output::stdout()), 0)
            }
            Self::Stream(out) => {
                let file = OpenOptions::new().write(true).open(out);
                let file = file.with_context(|| format!("cannot write {}", out.display()))?;
                Output::new(Box::new(file), 0)
            }
            Self::File(partial) => Output::new(Box::new(partial.file.try_clone()?), partial.bytes),
        })
    }

    /// Whether an interrupted run can be resumed.
    pub(super) fn is_resumable(&self) -> bool {
        matches!(self, Self::File(partial) if partial.run.input.is_some())
    }

    /// Saves the progress of a resumable run, and syncs it to disk. `bytes` is the length of
    /// the output.
    pub(super) fn save(&self, done: Done, bytes: u64) -> anyhow::Result<()> {
        match self {
            Self::File(partial) if self.is_resumable() => {
                let run = partial.run.clone();
                let saved = partial.save(&Progress { run, done, bytes });
                saved.with_context(|| format!("cannot write {}", partial.progress.display()))
            }
            Self::File(_) | Self::Stream(_) => Ok(()),
        }
    }

    /// Moves the complete output file into place.
    pub(super) fn complete(&self) -> anyhow::Result<()> {
        let Self::File(partial) = self else {
            return Ok(());
        };
        let out = &partial.out;
        let moved = partial.file.sync_all();
        let moved = moved.and_then(|()| fs::rename(&partial.rows, out));
        moved.with_context(|| format!("cannot write {}", out.display()))?;
        remove(&partial.progress)
    }
}

impl Partial {
    fn save(&self, progress: &Progress) -> io::Result<()> {
        self.file.sync_data()?;
        let dir = match self.progress.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut file, progress)?;
        file.as_file().sync_data()?;
        file.persist(&self.progress)?;
        Ok(())
    }
}

fn read(progress: &Path) -> anyhow::Result<Option<Progress>> {
    let document = match fs::read(progress) {
        Ok(document) => document,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", progress.display()));
        }
    };
    let progress = serde_json::from_slice(&document).with_context(|| {
        format!(
            "{} is not a valid progress file; discard it with --restart",
            progress.display()
        )
    });
    progress.map(Some)
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
