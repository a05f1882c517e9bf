//! Compiled guests kept on disk, so that the next start, swap or rollback to one
//! takes milliseconds instead of seconds.
//!
//! The file of a guest is named after its key and holds sealed code
//! ([`super::trusted`]). A file that fails a check counts as absent, and the guest
//! is compiled again. Files are mapped, not copied, so they must not change while
//! they have their name: a file is renamed into place when it is complete, replaced
//! and deleted by name, and never written to.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use predictor::Digest;
use private_dir::{PrivateDir, PrivateDirError};

use super::trusted::{TrustedCode, TrustedFile};

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
        "the artefact directory {path} belongs to another user or can be written by others, so \
         compiled code in it cannot be trusted; make it private (chown, chmod 700) or choose \
         another one"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
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
    /// If the directory cannot be created, or if other users can write to it.
    pub fn open(dir: &Path) -> Result<Self, ArtifactError> {
        let path = dir.to_owned();
        let dir = PrivateDir::create(dir).map_err(|error| match error {
            PrivateDirError::Shared => ArtifactError::Shared { path },
            PrivateDirError::Io(error) => ArtifactError::Unusable {
                path,
                reason: error.to_string(),
            },
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
    pub(super) fn find(&self, key: &Digest) -> Option<TrustedFile> {
        let mut dirs = [Some(&self.dir), self.shipped.as_ref()].into_iter();
        dirs.find_map(|dir| find_in(dir?, key))
    }

    /// Stores code under `key`, and deletes the least recently used. A failure
    /// costs only time at the next start, so it is logged and not returned.
    pub(super) fn put(&self, key: &Digest, code: &TrustedCode) {
        let path = self.dir.path().join(file_name(key));
        match self.write(&path, key, code) {
            Ok(()) => self.prune(&path),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an artefact could not be stored");
            }
        }
    }

    /// Readers see the whole file or none, since it is renamed into place.
    fn write(&self, path: &Path, key: &Digest, code: &TrustedCode) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(self.dir.path())?;
        code.seal(key, &mut file)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    /// Deletes all but the newest files, and never the one at `stored`. Guests that
    /// are running are not affected: a mapping outlives the name of its file.
    fn prune(&self, stored: &Path) {
        let Ok(entries) = fs::read_dir(self.dir.path()) else {
            return;
        };
        let mut found = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let (path, metadata) = (entry.path(), entry.metadata());
            let Ok(used) = metadata.and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            if unfinished && used.elapsed().is_ok_and(|age| age > ORPHANED) {
                delete(&path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == EXTENSION)
            {
                found.push((path != stored, Reverse(used), path));
            }
        }
        found.sort();
        for (_, _, path) in found.iter().skip(self.kept.max(1)) {
            delete(path);
        }
    }
}

fn file_name(key: &Digest) -> String {
    format!("{key}.{EXTENSION}")
}

fn find_in(dir: &PrivateDir, key: &Digest) -> Option<TrustedFile> {
    let name = file_name(key);
    match TrustedFile::open(dir, &name, key) {
        Ok(found) => {
            // Only the order of deletion depends on it.
            let _ = found.file().set_modified(SystemTime::now());
            Some(found)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let path = dir.path().join(name);
            tracing::warn!(path = %path.display(), %error, "a damaged artefact is ignored");
            None
        }
    }
}

/// Deletes a file; another process may have done so already.
fn delete(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "an artefact could not be deleted");
    }
}

#[cfg(test)]
mod tests {
    use super::super::trusted::SEAL;
    use super::super::trusted::tests::fake;
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
        let mut bytes = fs::read(store.find(key)?.path()).expect("readable");
        bytes.truncate(bytes.len() - SEAL);
        Some(bytes)
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
