//! Where scored rows go, and how far a run has come.
//!
//! Rows for a file `OUT` are written to `OUT.partial`, and `OUT.progress` says how
//! many bytes of it hold whole rows, and where in the input these rows end. It is
//! replaced as a whole, after the rows that it counts are on disk; so whatever
//! ends a run, the next one drops what is not counted and goes on from there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use predictor::Revision;
use serde::{Deserialize, Serialize};

use super::rows::{Mark, Rows};
use super::scored::Output;
use super::{Format, Job};
use crate::cli::output;

/// What a run does: only one that does the same can go on from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// None if the input can not be gone back to.
    input: Option<Input>,
    format: Format,
    column: String,
    guest: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    bytes: u64,
    modified: SystemTime,
}

/// How far a run has come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    run: Run,
    pub(super) mark: Mark,
    pub(super) rows: u64,
    pub(super) left_out: u64,
    /// How many bytes of the output hold whole rows.
    bytes: u64,
}

/// Where scored rows go.
pub(super) enum Destination {
    /// Standard output, or whatever else is no file.
    Stream(PathBuf),
    File(Partial),
}

/// A file that is not complete.
pub(super) struct Partial {
    out: PathBuf,
    rows: PathBuf,
    noted: PathBuf,
    run: Run,
    /// Locked for as long as this lives.
    file: File,
    bytes: u64,
}

impl Run {
    pub(super) fn of(job: &Job, rows: &Rows, revision: &Revision) -> Self {
        Self {
            input: rows
                .identity()
                .map(|(bytes, modified)| Input { bytes, modified }),
            format: job.format,
            column: job.column.clone(),
            guest: revision.guest().to_string(),
            model: revision.model().to_string(),
        }
    }

    /// What is different from another run, for a person.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.input != other.input {
            Some("the input was another one, or has changed")
        } else if self.format != other.format || self.column != other.column {
            Some("--format or --column was another one")
        } else if self.guest != other.guest {
            Some("the guest was another one")
        } else if self.model != other.model {
            Some("the model was another one")
        } else {
            None
        }
    }
}

impl Destination {
    /// Opens `out`, and tells how far an earlier run has come that this one goes on
    /// from.
    pub(super) fn open(
        out: &Path,
        run: Run,
        restart: bool,
    ) -> anyhow::Result<(Self, Option<Progress>)> {
        let is_stream = fs::metadata(out).is_ok_and(|meta| !meta.is_file());
        if out == Path::new("-") || is_stream {
            return Ok((Self::Stream(out.to_owned()), None));
        }
        let beside = |extension: &str| {
            let mut name = out.as_os_str().to_owned();
            name.push(extension);
            PathBuf::from(name)
        };
        let (partial, progress) = (beside(".partial"), beside(".progress"));
        let can_not = || format!("can not write {}", partial.display());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let mut file = options.open(&partial).with_context(can_not)?;
        // Where there are no locks, nobody can be told apart.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("another run is writing {}", partial.display());
        }
        let before = if restart { None } else { read(&progress)? };
        if let Some(before) = &before {
            let name = partial.display();
            if let Some(difference) = before.run.difference(&run) {
                bail!("an interrupted run has left {name}, but {difference}; --restart drops it");
            }
            if run.input.is_none() {
                bail!("standard input can not be gone on with; --restart drops {name}");
            }
            if file.metadata().with_context(can_not)?.len() < before.bytes {
                bail!("{name} is shorter than it was; --restart drops it");
            }
        } else {
            remove(&progress)?;
        }
        let bytes = before.as_ref().map_or(0, |before| before.bytes);
        file.set_len(bytes).with_context(can_not)?;
        file.seek(SeekFrom::Start(bytes)).with_context(can_not)?;
        let partial = Partial {
            out: out.to_owned(),
            rows: partial,
            noted: progress,
            run,
            file,
            bytes,
        };
        Ok((Self::File(partial), before))
    }

    /// What rows are written to.
    pub(super) fn output(&self) -> anyhow::Result<Output> {
        Ok(match self {
            Self::Stream(out) if out == Path::new("-") => {
                Output::new(Box::new(output::stdout()), 0)
            }
            Self::Stream(out) => {
                let file = OpenOptions::new().write(true).open(out);
                let file = file.with_context(|| format!("can not write {}", out.display()))?;
                Output::new(Box::new(file), 0)
            }
            Self::File(partial) => Output::new(Box::new(partial.file.try_clone()?), partial.bytes),
        })
    }

    /// Whether a run that ends here can be gone on from.
    pub(super) fn can_go_on(&self) -> bool {
        matches!(self, Self::File(partial) if partial.run.input.is_some())
    }

    /// Notes that so much is done, and makes sure of it.
    pub(super) fn note(
        &self,
        mark: Mark,
        rows: u64,
        left_out: u64,
        bytes: u64,
    ) -> anyhow::Result<()> {
        match self {
            Self::File(partial) if self.can_go_on() => {
                let progress = Progress {
                    run: partial.run.clone(),
                    mark,
                    rows,
                    left_out,
                    bytes,
                };
                let noted = partial.note(&progress);
                noted.with_context(|| format!("can not write {}", partial.noted.display()))
            }
            Self::File(_) | Self::Stream(_) => Ok(()),
        }
    }

    /// Moves a complete file into place.
    pub(super) fn complete(&self) -> anyhow::Result<()> {
        let Self::File(partial) = self else {
            return Ok(());
        };
        let out = &partial.out;
        let moved = partial.file.sync_all();
        let moved = moved.and_then(|()| fs::rename(&partial.rows, out));
        moved.with_context(|| format!("can not write {}", out.display()))?;
        remove(&partial.noted)
    }
}

impl Partial {
    fn note(&self, progress: &Progress) -> io::Result<()> {
        self.file.sync_data()?;
        let dir = match self.noted.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut file, progress)?;
        file.as_file().sync_data()?;
        file.persist(&self.noted)?;
        Ok(())
    }
}

fn read(progress: &Path) -> anyhow::Result<Option<Progress>> {
    let document = match fs::read(progress) {
        Ok(document) => document,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("can not read {}", progress.display()));
        }
    };
    let progress = serde_json::from_slice(&document).with_context(|| {
        format!(
            "{} does not say how far an interrupted run has come; --restart drops it",
            progress.display()
        )
    });
    progress.map(Some)
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can not remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
