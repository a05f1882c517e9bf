//! Compiled guests kept on disk, so that the next start, swap or rollback to one
//! takes milliseconds instead of seconds.
//!
//! The file of a guest is named after its key and holds sealed code
//! ([`super::trusted`]). A file that fails a check counts as absent, and the guest
//! is compiled again. Nobody sees half a file: it is renamed into place when it is
//! complete.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use predictor::Digest;
use private_dir::{PrivateDir, PrivateDirError};

use super::trusted::TrustedCode;

/// How many guests a directory keeps, the most recently used ones: those of some
/// weeks, at about 19 MB each.
const KEPT: usize = 16;

/// The extension of compiled guests.
const EXTENSION: &str = "cwasm";

/// The prefix of files that are being written.
const UNFINISHED: &str = ".new-";

/// The age at which an unfinished file is deleted: the process that wrote it was
/// killed.
const ORPHANED: Duration = Duration::from_secs(3600);

/// Why a directory cannot keep compiled guests.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The directory cannot be created or inspected.
    #[error("the artefact directory {path} cannot be used: {reason}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// Another user could put code there.
    #[error(
        "the artefact directory {path} cannot be trusted, since {reason}: use one that does not \
         exist yet, below directories that nobody else can write to; chown and chmod would keep \
         what others have put there"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
        /// What another user could change, and how.
        reason: String,
    },
}

/// A directory of compiled guests.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    dir: PrivateDir,
    kept: usize,
    /// Guests that were compiled when the program was installed; read only.
    shipped: Option<PrivateDir>,
}

impl ArtifactStore {
    /// Opens a directory, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created, or if another user could put code there.
    pub fn open(dir: &Path) -> Result<Self, ArtifactError> {
        let path = dir.to_owned();
        let dir = PrivateDir::create(dir).map_err(|error| {
            let reason = error.to_string();
            match error {
                PrivateDirError::Shared { .. } => ArtifactError::Shared { path, reason },
                PrivateDirError::Io(_) => ArtifactError::Unusable { path, reason },
            }
        })?;
        Ok(Self {
            dir,
            kept: KEPT,
            shipped: None,
        })
    }

    /// Also looks for guests in `dir`, which is only read: guests that were compiled
    /// when the program was installed. A directory that does not exist, or that
    /// others can write to, is ignored.
    #[must_use]
    pub fn with_shipped(self, dir: &Path) -> Self {
        Self {
            shipped: PrivateDir::open(dir).ok(),
            ..self
        }
    }

    /// Keeps the `kept` most recently used guests.
    #[must_use]
    pub fn keeping(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    /// The code that was stored under `key`, if it is there and undamaged.
    pub(super) fn find(&self, key: &Digest) -> Option<TrustedCode> {
        let mut dirs = [Some(&self.dir), self.shipped.as_ref()].into_iter();
        dirs.find_map(|dir| find_in(dir?, key))
    }

    /// Stores code under `key`, and deletes the least recently used. A failure
    /// costs only time at the next start, so it is logged and not returned.
    pub(super) fn put(&self, key: &Digest, code: &TrustedCode) {
        let name = file_name(key);
        let written = self
            .dir
            .write(&name, UNFINISHED, |file| code.seal(key, file));
        match written {
            Ok(()) => self.prune(&name),
            Err(error) => {
                let path = self.dir.path().join(name);
                tracing::warn!(path = %path.display(), %error, "an artefact could not be stored");
            }
        }
    }

    /// Deletes all but the newest files, and never the one named `stored`.
    fn prune(&self, stored: &str) {
        let mut found = Vec::new();
        for name in self.dir.names().unwrap_or_default() {
            let metadata = self.dir.metadata(&name);
            let Ok(used) = metadata.and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let extension = Path::new(&name).extension();
            if name.starts_with(UNFINISHED) {
                if used.elapsed().is_ok_and(|age| age > ORPHANED) {
                    self.delete(&name);
                }
            } else if extension.is_some_and(|extension| extension == EXTENSION) {
                found.push((name != stored, Reverse(used), name));
            }
        }
        found.sort();
        for (_, _, name) in found.iter().skip(self.kept.max(1)) {
            self.delete(name);
        }
    }

    /// Deletes a file; another process may have done so already.
    fn delete(&self, name: &str) {
        if let Err(error) = self.dir.remove(name) {
            let path = self.dir.path().join(name);
            tracing::debug!(path = %path.display(), %error, "an artefact could not be deleted");
        }
    }
}

fn file_name(key: &Digest) -> String {
    format!("{key}.{EXTENSION}")
}

fn find_in(dir: &PrivateDir, key: &Digest) -> Option<TrustedCode> {
    let name = file_name(key);
    match read(dir, &name, key) {
        Ok(code) => Some(code),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let path = dir.path().join(name);
            tracing::warn!(path = %path.display(), %error, "an artefact is not used");
            None
        }
    }
}

fn read(dir: &PrivateDir, name: &str, key: &Digest) -> io::Result<TrustedCode> {
    let file = dir.file(name)?;
    let code = TrustedCode::read(&file, key)?;
    // Only the order of deletion depends on it.
    let _ = file.touch();
    Ok(code)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use super::super::trusted::tests::{bytes, fake};
    use super::*;

    const KEY: Digest = Digest([7; 32]);

    fn store() -> (tempfile::TempDir, ArtifactStore) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = ArtifactStore::open(&dir.path().join("artefacts")).expect("a private one");
        (dir, store)
    }

    fn path(store: &ArtifactStore, key: &Digest) -> PathBuf {
        store.dir.path().join(file_name(key))
    }

    fn put(store: &ArtifactStore, key: &Digest, code: &[u8]) {
        store.put(key, &fake(code));
    }

    /// The code that is found under a key.
    fn found(store: &ArtifactStore, key: &Digest) -> Option<Vec<u8>> {
        store.find(key).map(|code| bytes(&code).to_vec())
    }

    #[test]
    fn what_was_stored_comes_back() {
        let (_dir, store) = store();
        assert_eq!(found(&store, &KEY), None);
        put(&store, &KEY, b"code");
        assert_eq!(found(&store, &KEY).as_deref(), Some(b"code".as_slice()));
        put(&store, &KEY, b"newer");
        assert_eq!(found(&store, &KEY).as_deref(), Some(b"newer".as_slice()));
        assert_eq!(found(&store, &Digest([8; 32])), None);
    }

    #[test]
    fn shipped_guests_are_found_where_nobody_else_can_write() {
        let ((_dir, store), (_other, shipped)) = (store(), store());
        put(&shipped, &KEY, b"shipped");
        let shipped_dir = shipped.dir.path();
        let both = store.clone().with_shipped(shipped_dir);
        assert_eq!(found(&both, &KEY).as_deref(), Some(b"shipped".as_slice()));
        put(&store, &KEY, b"own");
        assert_eq!(found(&both, &KEY).as_deref(), Some(b"own".as_slice()));
        fs::remove_file(path(&store, &KEY)).expect("it is there");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = fs::Permissions::from_mode(0o777);
            fs::set_permissions(shipped_dir, open).expect("ours");
            let none = store.with_shipped(shipped_dir);
            assert_eq!(found(&none, &KEY), None);
        }
    }

    #[test]
    fn a_damaged_or_renamed_file_counts_as_absent() {
        let (_dir, store) = store();
        let other = Digest([8; 32]);
        put(&store, &other, b"code");
        fs::rename(path(&store, &other), path(&store, &KEY)).expect("renamed");
        assert_eq!(found(&store, &KEY), None);
        fs::write(path(&store, &KEY), b"code").expect("written");
        assert_eq!(found(&store, &KEY), None);
    }

    /// Makes a file look as old as `minutes`.
    fn age(path: &Path, minutes: u64) {
        let then = SystemTime::now() - Duration::from_secs(60 * minutes);
        let file = fs::File::open(path).expect("there");
        file.set_modified(then).expect("set");
    }

    #[test]
    fn the_least_recently_used_is_deleted() {
        let (_dir, store) = store();
        let store = store.keeping(3);
        let key = |n: u8| Digest([n; 32]);
        for n in 1..=3 {
            put(&store, &key(n), b"code");
            age(&path(&store, &key(n)), 60 - u64::from(n));
        }
        // Used, so that it is the newest.
        assert!(store.find(&key(1)).is_some());
        put(&store, &key(4), b"code");
        let kept: Vec<u8> = (1..=4).filter(|n| store.find(&key(*n)).is_some()).collect();
        assert_eq!(kept, [1, 3, 4]);
    }

    #[test]
    fn the_file_just_stored_is_kept_whatever_the_clock_says() {
        let (_dir, store) = store();
        let store = store.keeping(1);
        let ahead = path(&store, &Digest([9; 32]));
        put(&store, &Digest([9; 32]), b"code");
        let then = SystemTime::now() + Duration::from_secs(3600);
        let file = fs::File::open(&ahead).expect("there");
        file.set_modified(then).expect("set");
        put(&store, &KEY, b"code");
        assert!(store.find(&KEY).is_some() && !ahead.exists());
    }

    #[test]
    fn only_orphaned_unfinished_files_are_deleted() {
        let (_dir, store) = store();
        let at = |name: &str| store.dir.path().join(name);
        for (name, minutes) in [(".new-old", 90), (".new-fresh", 1), ("other", 90)] {
            fs::write(at(name), "x").expect("written");
            age(&at(name), minutes);
        }
        put(&store, &KEY, b"code");
        assert!(!at(".new-old").exists());
        assert!(at(".new-fresh").exists() && at("other").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("set");
        assert!(matches!(
            ArtifactStore::open(dir.path()),
            Err(ArtifactError::Shared { .. })
        ));
    }
}
