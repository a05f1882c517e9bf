//! The directory of pulled artifacts.
//!
//! An artifact is a directory named by the digest of its manifest. It holds the files of the
//! artifact, and, hidden, its manifest and the signature by which it was trusted:
//!
//! ```text
//! <digest>.lock           whoever uses, pulls or removes the artifact; when it was last used
//! <digest>/               complete
//!     .manifest.json
//!     .signature.json
//!     model.onnx ...
//! <digest>.unfinished/    being pulled, or left by a pull that was killed
//! ```
//!
//! Several processes can share the directory. An artifact in use is locked for sharing, for
//! as long as the process that got it keeps it; one that is pulled or removed is locked for
//! one process. A lock ends with its process, however that ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use predictor::Digest;
use private_dir::PrivateDir;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use crate::error::ArtifactError;
use crate::manifest::{Blob, MOST_MANIFEST};
use crate::statement::Statement;

const MANIFEST: &str = ".manifest.json";
const SIGNATURE: &str = ".signature.json";

/// The largest signature that is read, in bytes.
const MOST_SIGNATURE: u64 = 1 << 20;

/// What the names of files begin with until they are complete.
pub(crate) const UNFINISHED: &str = ".new-";

const LOCK: &str = ".lock";
const UNFINISHED_DIR: &str = ".unfinished";

/// How often a lock is tried that another process has.
const LOCK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Store {
    dir: PrivateDir,
    most: u64,
}

/// A lock on an artifact, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// For whom an artifact is locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// For all who use it.
    Shared,
    /// For the one who pulls it.
    Exclusive,
}

impl Store {
    /// Opens the directory, and creates it if it does not exist.
    pub(crate) fn open(path: &Path, most: u64) -> Result<Self, ArtifactError> {
        let dir = PrivateDir::create(path).map_err(|error| failed(path, &error.into()))?;
        Ok(Self { dir, most })
    }

    /// Locks an artifact, whether it is there or not, and waits for whoever has it. The call
    /// is limited in time by its caller.
    pub(crate) async fn lock(&self, digest: &Digest, hold: Hold) -> Result<Lock, ArtifactError> {
        let name = format!("{digest}{LOCK}");
        loop {
            let locked = self.try_lock(&name, hold);
            if let Some(lock) = locked.map_err(|error| self.failed(&error))? {
                return Ok(lock);
            }
            sleep(LOCK_EVERY).await;
        }
    }

    fn try_lock(&self, name: &str, hold: Hold) -> io::Result<Option<Lock>> {
        let file = self.dir.lock_file(name)?;
        let locked = match hold {
            Hold::Shared => file.try_lock_shared(),
            Hold::Exclusive => file.try_lock(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had it may have removed the file with the artifact.
        match self.dir.metadata(name) {
            Ok(present) if present.ino() == file.metadata()?.ino() => Ok(Some(Lock(file))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where an artifact is, or will be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.path().join(digest.to_string())
    }

    /// The manifest of an artifact that is complete. Its files have not been read yet.
    pub(crate) fn manifest(&self, digest: &Digest) -> Option<Vec<u8>> {
        let file = self.entry(digest)?.file(MANIFEST).ok()?;
        let manifest = file.read(MOST_MANIFEST as u64).ok()?;
        (Digest::of(&manifest) == *digest).then_some(manifest)
    }

    /// The signature by which an artifact was trusted.
    pub(crate) fn signature(&self, digest: &Digest) -> Option<Statement> {
        let file = self.entry(digest)?.file(SIGNATURE).ok()?;
        serde_json::from_slice(&file.read(MOST_SIGNATURE).ok()?).ok()
    }

    /// Keeps the signature of an artifact that is complete.
    pub(crate) fn keep_signature(
        &self,
        digest: &Digest,
        signature: &Statement,
    ) -> Result<(), ArtifactError> {
        let kept = || {
            let dir = PrivateDir::open(&self.path(digest))?;
            write(&dir, SIGNATURE, &serde_json::to_vec(signature)?)
        };
        kept().map_err(|error| self.failed(&error))
    }

    fn entry(&self, digest: &Digest) -> Option<PrivateDir> {
        PrivateDir::open(&self.path(digest)).ok()
    }

    /// Whether an artifact has exactly these files, and each is what its digest says.
    pub(crate) fn is_intact(&self, digest: &Digest, files: &[Blob]) -> bool {
        let intact = || {
            let dir = self.entry(digest)?;
            let mut names = dir.names().ok()?;
            names.retain(|name| !name.starts_with('.'));
            let is_each = files.iter().all(|file| is_file(&dir, file));
            (names.len() == files.len() && is_each).then_some(())
        };
        intact().is_some()
    }

    /// The contents of a file of an artifact, if they are what its digest says.
    pub(crate) fn read(&self, digest: &Digest, file: &Blob) -> Option<Vec<u8>> {
        let bytes = self
            .entry(digest)?
            .file(&file.name)
            .ok()?
            .read(file.size)
            .ok()?;
        (Digest::of(&bytes) == file.digest).then_some(bytes)
    }

    /// Records that an artifact was used.
    pub(crate) fn touch(lock: &Lock) -> io::Result<()> {
        lock.0.set_modified(SystemTime::now())
    }

    /// The directory in which an artifact is put together, with the files in it that are
    /// complete already. The caller has locked the artifact for itself.
    pub(crate) fn begin(
        &self,
        digest: &Digest,
        files: &[Blob],
    ) -> Result<(PrivateDir, Vec<String>), ArtifactError> {
        let begun = || {
            remove(&self.path(digest))?;
            let path = self.dir.path().join(format!("{digest}{UNFINISHED_DIR}"));
            let dir = PrivateDir::create(&path)?;
            let mut complete = Vec::new();
            for name in dir.names()? {
                let file = files.iter().find(|file| file.name == name);
                if file.is_some_and(|file| is_file(&dir, file)) {
                    complete.push(name);
                } else {
                    dir.remove(&name)?;
                }
            }
            Ok((dir, complete))
        };
        begun().map_err(|error: io::Error| self.failed(&error))
    }

    /// Completes an artifact whose files are all in its directory.
    pub(crate) fn finish(
        &self,
        digest: &Digest,
        dir: &PrivateDir,
        manifest: &[u8],
        signature: Option<&Statement>,
    ) -> Result<(), ArtifactError> {
        let finished = || {
            if let Some(signature) = signature {
                write(dir, SIGNATURE, &serde_json::to_vec(signature)?)?;
            }
            write(dir, MANIFEST, manifest)?;
            let unfinished = format!("{digest}{UNFINISHED_DIR}");
            self.dir.rename(&unfinished, &digest.to_string())?;
            File::open(self.dir.path())?.sync_all()
        };
        finished().map_err(|error| self.failed(&error))
    }

    /// Removes what is left of an artifact that could not be pulled, except for files of it
    /// that are complete. The caller has locked it for itself.
    pub(crate) fn give_up(&self, digest: &Digest, _lock: &Lock) {
        let [complete, unfinished] = self.both(&digest.to_string());
        // This fails if there are files in it, or it is not there.
        let _ = fs::remove_dir(&unfinished);
        if !complete.exists() && !unfinished.exists() {
            // What remains is an empty file.
            let _ = self.dir.remove(&format!("{digest}{LOCK}"));
        }
    }

    /// Removes the artifacts that were not used for longest, until `needed` more bytes fit.
    ///
    /// # Errors
    ///
    /// If they do not fit because of artifacts that are in use.
    pub(crate) fn make_room(&self, needed: u64) -> Result<(), ArtifactError> {
        let artifacts = self.artifacts().map_err(|error| self.failed(&error))?;
        let mut used: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
        for artifact in artifacts {
            if used.saturating_add(needed) <= self.most {
                return Ok(());
            }
            let removed = self.remove(&artifact.name);
            if removed.map_err(|error| self.failed(&error))? {
                used -= artifact.size;
            }
        }
        if used.saturating_add(needed) <= self.most {
            return Ok(());
        }
        Err(ArtifactError::Full {
            path: self.dir.path().to_owned(),
            needed,
            most: self.most,
        })
    }

    /// Everything that is kept, the one that was not used for longest first.
    fn artifacts(&self) -> io::Result<Vec<Artifact>> {
        let mut artifacts = Vec::new();
        for name in self.dir.names()? {
            let Some(name) = name.strip_suffix(LOCK) else {
                continue;
            };
            // Another process may remove it meanwhile.
            let Ok(lock) = self.dir.metadata(&format!("{name}{LOCK}")) else {
                continue;
            };
            let [complete, unfinished] = self.both(name);
            artifacts.push(Artifact {
                name: name.to_owned(),
                used: lock.modified()?,
                size: size(&complete).saturating_add(size(&unfinished)),
            });
        }
        artifacts.sort_by_key(|artifact| artifact.used);
        Ok(artifacts)
    }

    fn both(&self, name: &str) -> [PathBuf; 2] {
        ["", UNFINISHED_DIR].map(|suffix| self.dir.path().join(format!("{name}{suffix}")))
    }

    /// Removes an artifact, unless it is in use.
    fn remove(&self, name: &str) -> io::Result<bool> {
        let lock = format!("{name}{LOCK}");
        let Some(_held) = self.try_lock(&lock, Hold::Exclusive)? else {
            return Ok(false);
        };
        for path in self.both(name) {
            remove(&path)?;
        }
        self.dir.remove(&lock)?;
        Ok(true)
    }

    fn failed(&self, error: &io::Error) -> ArtifactError {
        failed(self.dir.path(), error)
    }
}

/// An artifact that could be removed.
struct Artifact {
    name: String,
    used: SystemTime,
    size: u64,
}

/// Whether a file is there, and is what its digest says.
fn is_file(dir: &PrivateDir, blob: &Blob) -> bool {
    let hash = || {
        let file = dir.file(&blob.name)?;
        let mut reader = file.reader();
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 256 << 10];
        loop {
            match reader.read(&mut chunk)? {
                0 => return io::Result::Ok(Digest(hash.finalize().into())),
                read => hash.update(&chunk[..read]),
            }
        }
    };
    hash().is_ok_and(|digest| digest == blob.digest)
}

fn write(dir: &PrivateDir, name: &str, bytes: &[u8]) -> io::Result<()> {
    dir.write(name, UNFINISHED, |file| io::Write::write_all(file, bytes))
}

/// How many bytes the files of a directory have; none if there is no directory.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| entry.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Removes a directory, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: &io::Error) -> ArtifactError {
    ArtifactError::Store {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
