//! Models that were uploaded or pulled: each a directory under its digest, in the directory `models`
//! of the state.
//!
//! A model arrives as a tar archive. Its entries are files, in directories or not; nothing
//! else is accepted, so that nothing is written outside the new directory and nothing in
//! it leads elsewhere.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use predictor::Digest;
use tempfile::TempDir;

/// The prefix of directories that are being written.
const TEMPORARY: &str = ".fastsentiment-";

/// The most files of a model. Those of the hub have some twenty.
const MOST_FILES: usize = 1000;

/// The longest path of a file, in bytes.
const LONGEST_PATH: usize = 512;

/// Why an archive is not accepted as a model.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum ModelUploadError {
    /// It could not be read to its end.
    #[error("the body is not a whole tar archive: {0}")]
    Archive(String),
    /// It has an entry that a model directory may not have.
    #[error("the archive's entry `{path}` {reason}")]
    Entry {
        /// The entry's path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It has too many entries.
    #[error("the archive has more than {MOST_FILES} files")]
    TooMany,
    /// It is too large.
    #[error("the model is larger than {0} bytes")]
    TooLarge(u64),
    /// It has no files.
    #[error("the archive has no files")]
    Empty,
    /// It could not be written.
    #[error("the model could not be stored: {0}")]
    Disk(io::Error),
}

/// The models that were uploaded.
#[derive(Debug)]
pub(in super::super) struct Models {
    dir: PathBuf,
    /// Those that are not to be deleted. Locked while a directory gets or loses its name.
    wanted: Mutex<HashSet<Digest>>,
}

impl Models {
    /// The models in a directory, which need not exist. What was being received or deleted
    /// when a process ended is deleted.
    pub(super) fn open(dir: PathBuf) -> Self {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Self {
            wanted: Mutex::new(kept(&dir).into_iter().collect()),
            dir,
        }
    }

    /// Where a model is, if it is there.
    pub(in super::super) fn dir(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// The digests of all models.
    pub(in super::super) fn digests(&self) -> Vec<Digest> {
        kept(&self.dir)
    }

    /// Receives a tar archive of at most `most` bytes of files. The new directory is deleted
    /// when it is dropped, unless it is kept.
    pub(in super::super) fn receive(
        &self,
        archive: impl Read,
        most: u64,
    ) -> Result<TempDir, ModelUploadError> {
        fs::create_dir_all(&self.dir).map_err(ModelUploadError::Disk)?;
        let dir = self.temporary().map_err(ModelUploadError::Disk)?;
        unpack(archive, dir.path(), most)?;
        Ok(dir)
    }

    /// Copies the files of a directory, which has no others below it: by links where the
    /// file system can. The new directory is deleted when it is dropped, unless it is kept.
    pub(in super::super) fn copy(&self, from: &Path) -> Result<TempDir, ModelUploadError> {
        let copy = || {
            fs::create_dir_all(&self.dir)?;
            let dir = self.temporary()?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if hidden || !entry.file_type()?.is_file() {
                    continue;
                }
                let to = dir.path().join(entry.file_name());
                if fs::hard_link(entry.path(), &to).is_err() {
                    fs::copy(entry.path(), &to)?;
                }
            }
            Ok(dir)
        };
        copy().map_err(ModelUploadError::Disk)
    }

    /// Keeps a model that was received. One that is there already should have the same
    /// files, but may have been damaged: it is given back, and deleted when it is dropped.
    ///
    /// This changes names of directories, and waits for nothing else.
    pub(in super::super) fn keep(
        &self,
        received: TempDir,
        digest: Digest,
    ) -> Result<TempDir, ModelUploadError> {
        let before = self.temporary().map_err(ModelUploadError::Disk)?;
        let mut wanted = self.wanted();
        let _ = fs::rename(self.dir(&digest), before.path().join("model"));
        fs::rename(received.path(), self.dir(&digest)).map_err(ModelUploadError::Disk)?;
        // It no longer has that name.
        let _ = received.keep();
        wanted.insert(digest);
        Ok(before)
    }

    /// Says which models are not to be deleted.
    pub(in super::super) fn want(&self, digests: HashSet<Digest>) {
        *self.wanted() = digests;
    }

    /// Deletes those that are not wanted.
    pub(super) fn sweep(&self) {
        for digest in self.digests() {
            let Ok(gone) = self.temporary() else {
                // Tried again at the next change.
                return;
            };
            // Whoever waits for the lock waits for the change of a name, and not until large
            // files are deleted.
            let wanted = self.wanted();
            if !wanted.contains(&digest) {
                let _ = fs::rename(self.dir(&digest), gone.path().join("model"));
            }
        }
    }

    fn temporary(&self) -> io::Result<TempDir> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&self.dir)
    }

    fn wanted(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept(models: &Path) -> Vec<Digest> {
    let entries = fs::read_dir(models).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

fn unpack(archive: impl Read, dir: &Path, most: u64) -> Result<(), ModelUploadError> {
    let broken = |error: io::Error| ModelUploadError::Archive(error.to_string());
    let mut archive = tar::Archive::new(archive);
    let mut left = most;
    let mut paths = HashSet::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let refuse = |reason| ModelUploadError::Entry {
            path: path.to_string_lossy().chars().take(LONGEST_PATH).collect(),
            reason,
        };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(refuse("is neither a file nor a directory"));
        }
        let path = relative(&path).map_err(refuse)?;
        if paths.len() == MOST_FILES {
            return Err(ModelUploadError::TooMany);
        }
        if !paths.insert(path.clone()) {
            return Err(refuse("is there twice"));
        }
        // The header may announce any size; the entry ends there in any case.
        if entry.size() > left {
            return Err(ModelUploadError::TooLarge(most));
        }
        left -= entry.size();
        let to = dir.join(&path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(ModelUploadError::Disk)?;
        }
        let mut file = File::create_new(&to).map_err(ModelUploadError::Disk)?;
        copy(&mut entry, &mut file)?;
        file.sync_all().map_err(ModelUploadError::Disk)?;
    }
    if paths.is_empty() {
        return Err(ModelUploadError::Empty);
    }
    Ok(())
}

/// Copies an entry, and tells an archive that breaks off from a disk that is full.
fn copy(entry: &mut impl Read, file: &mut File) -> Result<(), ModelUploadError> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = entry.read(&mut buffer);
        let read = read.map_err(|error| ModelUploadError::Archive(error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        io::Write::write_all(file, &buffer[..read]).map_err(ModelUploadError::Disk)?;
    }
}

/// The path of a file within the directory.
fn relative(path: &Path) -> Result<PathBuf, &'static str> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err("has too long a path");
    }
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => relative.push(name),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("is not below the directory");
            }
        }
    }
    if relative.as_os_str().is_empty() {
        return Err("has no name");
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with these entries: type, path, content.
    fn archive(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            // `set_path` would refuse what is tested here.
            let name = &mut header.as_gnu_mut().unwrap().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            if kind.is_symlink() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    /// Models in a new directory, and one of an archive.
    struct Uploaded {
        models: Models,
        received: TempDir,
        _dir: TempDir,
    }

    fn receive(archive: &[u8]) -> Result<Uploaded, ModelUploadError> {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::open(dir.path().join("models"));
        let received = models.receive(archive, 64);
        if received.is_err() {
            assert_eq!(names(&models), Vec::<String>::new());
        }
        Ok(Uploaded {
            received: received?,
            models,
            _dir: dir,
        })
    }

    fn names(models: &Models) -> Vec<String> {
        let entries = fs::read_dir(&models.dir).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect()
    }

    #[test]
    fn files_and_directories_are_unpacked_and_kept_while_they_are_wanted() {
        let sent = archive(&[
            (tar::EntryType::Directory, "./", ""),
            (FILE, "./config.json", "{}"),
            (FILE, "onnx/weights", "123"),
        ]);
        let Uploaded {
            models,
            received,
            _dir,
        } = receive(&sent).unwrap();
        let digest = Digest([1; 32]);
        models.keep(received, digest).unwrap();
        let dir = models.dir(&digest);
        assert_eq!(fs::read(dir.join("config.json")).unwrap(), b"{}");
        assert_eq!(fs::read(dir.join("onnx/weights")).unwrap(), b"123");
        // Once more, in the place of damaged files.
        fs::write(dir.join("config.json"), "{").unwrap();
        let again = models.receive(&sent[..], 64).unwrap();
        models.keep(again, digest).unwrap();
        assert_eq!(fs::read(dir.join("config.json")).unwrap(), b"{}");
        models.sweep();
        assert_eq!(names(&models), [digest.to_string()]);
        // A process ends while it receives one.
        std::mem::forget(models.receive(&sent[..], 64).unwrap());
        assert_eq!(names(&models).len(), 2);
        let models = Models::open(models.dir);
        assert_eq!(names(&models), [digest.to_string()]);
        models.sweep();
        assert_eq!(models.digests(), [digest]);
        models.want(HashSet::new());
        models.sweep();
        assert_eq!(names(&models), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_model_is_refused_and_leaves_nothing() {
        let refused = |entries: &[_]| {
            let error = receive(&archive(entries)).map(|_| ()).unwrap_err();
            error.to_string()
        };
        for path in ["../x", "/etc/x", "a/../../x"] {
            let error = refused(&[(FILE, path, "1")]);
            assert!(error.contains("is not below the directory"), "{error}");
        }
        let error = refused(&[(tar::EntryType::Symlink, "x", "")]);
        assert!(error.contains("neither a file"), "{error}");
        let error = refused(&[(tar::EntryType::Fifo, "x", "")]);
        assert!(error.contains("neither a file"), "{error}");
        let error = refused(&[(FILE, "x", "1"), (FILE, "./x", "2")]);
        assert!(error.contains("twice"), "{error}");
        let half = "1".repeat(40);
        let error = refused(&[(FILE, "x", &half), (FILE, "y", &half)]);
        assert_eq!(error, "the model is larger than 64 bytes");
        assert_eq!(refused(&[]), "the archive has no files");
        let whole = archive(&[(FILE, "x", &"1".repeat(60))]);
        for cut in [1, 100, 511, 530, 570] {
            let error = receive(&whole[..cut]).map(|_| ()).unwrap_err();
            assert!(
                matches!(error, ModelUploadError::Archive(_)),
                "{cut}: {error}"
            );
        }
        let many: Vec<String> = (0..=MOST_FILES).map(|at| at.to_string()).collect();
        let many: Vec<_> = many.iter().map(|path| (FILE, path.as_str(), "")).collect();
        assert!(refused(&many).contains("more than 1000 files"));
    }
}
