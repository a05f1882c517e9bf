//! The directory of the state: `state.json`, and each component under its digest.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::record::Record;
use predictor::{Digest, Revision};
use private_dir::{PrivateDir, PrivateDirError};

const STATE: &str = "state.json";
const LOCK: &str = "lock";
/// Where a state that cannot be read is moved to, for diagnosis.
const DAMAGED: &str = "state.json.damaged";
const SUFFIX: &str = ".wasm";
/// The prefix of files that are being written.
const TEMPORARY: &str = ".fastsentiment-";

/// The largest `state.json` that is read, in bytes: many times the largest that is written.
const MOST_JSON: u64 = 4 << 20;

/// Why a directory cannot hold the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another user could change which revisions are used.
    #[error(
        "the state directory {0} belongs to another user or can be written by others, who could make \
         any version live; make it private (chown, chmod 700) or name a directory in it that is \
         not there yet"
    )]
    Shared(PathBuf),
}

/// The directory of the state of this process.
#[derive(Debug)]
pub(in super::super) struct Store {
    dir: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Store {
    /// Opens a directory, and creates it if it does not exist. `None`, with a warning, if it
    /// cannot be used: then no state is kept.
    pub(in super::super) fn open(dir: &Path) -> Result<Option<Self>, StateError> {
        match Self::try_open(dir) {
            Ok(None) => Err(StateError::Shared(dir.to_owned())),
            Ok(store) => Ok(store),
            Err(reason) => {
                tracing::warn!(
                    "the state directory {} cannot be used: {reason}; the configured guest is \
                     served, and NO STATE IS KEPT: the next start knows nothing of this one's swaps",
                    dir.display()
                );
                Ok(None)
            }
        }
    }

    fn try_open(dir: &Path) -> Result<Option<Self>, String> {
        match PrivateDir::create(dir) {
            Ok(_) => {}
            Err(PrivateDirError::Shared) => return Ok(None),
            Err(PrivateDirError::Io(error)) => return Err(error.to_string()),
        }
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let lock = options.open(dir.join(LOCK));
        let lock = lock.map_err(|error| format!("{LOCK}: {error}"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self {
                dir: dir.to_owned(),
                _lock: lock,
            })),
            Err(TryLockError::WouldBlock) => Err("another server uses it".to_owned()),
            Err(TryLockError::Error(error)) => Err(format!("{LOCK} cannot be locked: {error}")),
        }
    }

    pub(in super::super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The latest state; `None` if there is none, or if it is damaged. Components that it
    /// does not name are deleted. `present` gives the revision of a guest on this server.
    pub(in super::super) fn read(&self, present: &dyn Fn(Digest) -> Revision) -> Option<Record> {
        let path = self.dir.join(STATE);
        let record = match read_bounded(&path, MOST_JSON) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error.to_string()),
            Ok(json) => Record::parse(&json, present),
        };
        match record {
            Ok(record) => {
                self.sweep(&record);
                (record != Record::default()).then_some(record)
            }
            Err(reason) => {
                tracing::warn!(
                    "THE STATE IN {} CANNOT BE READ: {reason}; the configured guest is served, \
                     and it is no longer known which revisions were quarantined; the file is \
                     now {DAMAGED}",
                    path.display()
                );
                // If it cannot be moved, it will be overwritten.
                let _ = fs::rename(&path, self.dir.join(DAMAGED));
                None
            }
        }
    }

    /// A component, if it is there and undamaged.
    pub(in super::super) fn component(&self, guest: &Digest, most: u64) -> io::Result<Vec<u8>> {
        let bytes = read_bounded(&self.path(guest), most)?;
        if *guest == Digest::of(&bytes) {
            return Ok(bytes);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is damaged: its digest is wrong",
        ))
    }

    pub(super) fn put(&self, guest: &Digest, component: &[u8]) -> io::Result<()> {
        self.write(&self.path(guest), component)
    }

    /// Writes the state, and deletes components that it does not name.
    pub(super) fn write_record(&self, record: &Record) -> io::Result<()> {
        self.write(&self.dir.join(STATE), &record.to_json()?)?;
        self.sweep(record);
        Ok(())
    }

    /// Readers see the whole file or none, even after a power failure.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Deletes forgotten components, and files that were being written when a process ended.
    /// Files with other names are left alone.
    fn sweep(&self, record: &Record) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let component = name.strip_suffix(SUFFIX);
            let component = component.and_then(|digest| digest.parse().ok());
            let forgotten = component.is_some_and(|guest| !record.names(&guest));
            if forgotten || name.starts_with(TEMPORARY) {
                // Tried again at the next change.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, guest: &Digest) -> PathBuf {
        self.dir.join(format!("{guest}{SUFFIX}"))
    }
}

fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {most} bytes"),
        ));
    }
    Ok(bytes)
}
