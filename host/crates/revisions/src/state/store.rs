//! The directory of the state: `state.json`, each component under its digest, and models.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::{Model, Origin};
use super::document::KnownModels;
use super::models::Models;
use super::record::Record;
use predictor::Digest;
use private_dir::{PrivateDir, PrivateDirError};

const STATE: &str = "state.json";
const LOCK: &str = "lock";
/// Where a state that cannot be read is moved to, for diagnosis.
const DAMAGED: &str = "state.json.damaged";
const MODELS: &str = "models";
const SUFFIX: &str = ".wasm";
/// The prefix of files that are being written.
const TEMPORARY: &str = ".fastsentiment-";

/// The largest `state.json` that is read, in bytes: many times the largest that is written.
const MOST_JSON: u64 = 32 << 20;

/// Why a directory cannot hold the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another user could change which revisions are used.
    #[error(
        "the state directory {dir} cannot be trusted, since {reason}, and whoever writes there \
         could make any version live: use one that does not exist yet, below directories that \
         nobody else can write to; chown and chmod would keep what others have put there"
    )]
    Shared {
        /// The directory.
        dir: PathBuf,
        /// What another user could change, and how.
        reason: String,
    },
}

impl StateError {
    fn shared(dir: &Path, error: &PrivateDirError) -> Self {
        Self::Shared {
            dir: dir.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// Checks that nobody else could change the state in a directory, which need not exist.
///
/// # Errors
///
/// If another user could.
pub fn check_state_dir(dir: &Path) -> Result<(), StateError> {
    match PrivateDir::open(dir) {
        Err(error @ PrivateDirError::Shared { .. }) => Err(StateError::shared(dir, &error)),
        Ok(_) | Err(PrivateDirError::Io(_)) => Ok(()),
    }
}

/// The directory of the state of this process.
#[derive(Debug)]
pub(in super::super) struct Store {
    dir: PrivateDir,
    models: Models,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Store {
    /// Opens a directory, and creates it if it does not exist. `None`, with a warning, if it
    /// cannot be used: then no state is kept.
    pub(in super::super) fn open(dir: &Path) -> Result<Option<Self>, StateError> {
        let reason = match PrivateDir::create(dir) {
            Ok(private) => match lock(&private) {
                Ok(lock) => {
                    return Ok(Some(Self {
                        models: Models::open(private.path().join(MODELS)),
                        dir: private,
                        _lock: lock,
                    }));
                }
                Err(reason) => reason,
            },
            Err(PrivateDirError::Io(error)) => error.to_string(),
            Err(error @ PrivateDirError::Shared { .. }) => {
                return Err(StateError::shared(dir, &error));
            }
        };
        tracing::warn!(
            "the state directory {} cannot be used: {reason}; the configured guest is served, and \
             NO STATE IS KEPT: the next start knows nothing of this one's swaps",
            dir.display()
        );
        Ok(None)
    }

    pub(in super::super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The models that were uploaded.
    pub(in super::super) fn models(&self) -> &Models {
        &self.models
    }

    /// A model that was uploaded.
    pub(in super::super) fn model(&self, digest: Digest) -> Model {
        Model {
            digest,
            dir: self.models.dir(&digest),
            origin: Origin::Upload,
        }
    }

    /// The latest state; `None` if there is none, or if it is damaged. Components and models
    /// that it does not name are deleted.
    pub(in super::super) fn read(&self, known: &KnownModels) -> Option<Record> {
        let record = match self.read_file(STATE, MOST_JSON) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error.to_string()),
            Ok(json) => Record::parse(&json, known),
        };
        match record {
            Ok(record) => {
                self.models.want(record.models());
                self.sweep(&record);
                (record != Record::default()).then_some(record)
            }
            Err(reason) => {
                tracing::warn!(
                    "THE STATE IN {} CANNOT BE READ: {reason}; the configured guest is served, \
                     and it is no longer known which revisions were quarantined; the file is \
                     now {DAMAGED}",
                    self.dir().join(STATE).display()
                );
                // If it cannot be moved, it will be overwritten.
                let _ = self.dir.rename(STATE, DAMAGED);
                None
            }
        }
    }

    /// A component, if it is there and undamaged.
    pub(in super::super) fn component(&self, guest: &Digest, most: u64) -> io::Result<Vec<u8>> {
        let bytes = self.read_file(&file_name(guest), most)?;
        if *guest == Digest::of(&bytes) {
            return Ok(bytes);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is damaged: its digest is wrong",
        ))
    }

    pub(super) fn put(&self, guest: &Digest, component: &[u8]) -> io::Result<()> {
        self.write(&file_name(guest), component)
    }

    /// Writes the state, and deletes components that it does not name.
    pub(super) fn write_record(&self, record: &Record) -> io::Result<()> {
        self.write(STATE, &record.to_json()?)?;
        self.sweep(record);
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.dir
            .write(name, TEMPORARY, |file| file.write_all(bytes))
    }

    fn read_file(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        self.dir.file(name)?.read(most)
    }

    /// Deletes forgotten components and models, and files that were being written when a
    /// process ended. Files with other names are left alone.
    fn sweep(&self, record: &Record) {
        self.models.sweep();
        for name in self.dir.names().unwrap_or_default() {
            let component = name.strip_suffix(SUFFIX);
            let component = component.and_then(|digest| digest.parse().ok());
            let forgotten = component.is_some_and(|guest| !record.names(&guest));
            if forgotten || name.starts_with(TEMPORARY) {
                // Tried again at the next change.
                let _ = self.dir.remove(&name);
            }
        }
    }
}

/// Locks a directory, so that no other server uses it; the error says why it cannot be.
fn lock(dir: &PrivateDir) -> Result<File, String> {
    let lock = dir.lock_file(LOCK);
    let lock = lock.map_err(|error| format!("{LOCK}: {error}"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err("another server uses it".to_owned()),
        Err(TryLockError::Error(error)) => Err(format!("{LOCK} cannot be locked: {error}")),
    }
}

fn file_name(guest: &Digest) -> String {
    format!("{guest}{SUFFIX}")
}
