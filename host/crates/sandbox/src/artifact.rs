//! Compiled guests kept on disk, so that the next start, swap or rollback to
//! one takes milliseconds instead of seconds.
//!
//! Compiled code is run as it is, so it is only ever read from a directory that
//! no one else can write to, and only if it is what this program wrote: each
//! file ends with the key it was stored under and a digest of what comes before.
//! Whatever fails a check is treated as absent and compiled anew.
//!
//! A file begins with the code, so that it can be mapped instead of copied. What
//! is mapped must not change, and does not: files are renamed into their place
//! whole, replaced and deleted by name, and never written to.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use predictor::Digest;

/// Stands behind the code; the number is the version of this layout.
const MAGIC: &[u8; 16] = b"fastsentiment 02";
const TRAILER: usize = MAGIC.len() + 2 * size_of::<Digest>();

/// How many guests a directory keeps, those that were used last: enough for the
/// versions of some weeks, at some 19 MB each.
const KEPT: usize = 16;

/// How the names of compiled guests end.
const EXTENSION: &str = "cwasm";

/// How the names of files begin that are being written.
const UNFINISHED: &str = ".new-";

/// How old a file that is being written has to be to be one that nobody writes
/// any more: whoever did was killed.
const FORSAKEN: Duration = Duration::from_secs(3600);

/// Why a directory can not keep compiled guests.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The directory can not be made or looked at.
    #[error("the artefact directory {path} can not be used: {reason}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Someone else could put code there.
    #[error(
        "the artefact directory {path} belongs to another user or can be written by others, so that \
         its compiled code can not be trusted; make it private (chown, chmod 700) or choose \
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
    dir: PathBuf,
    kept: usize,
    /// Where compiled guests are that came with the program; nothing is kept there.
    shipped: Option<PathBuf>,
}

impl ArtifactStore {
    /// Opens a directory, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// If the directory can not be made, or if other users can write to it.
    pub fn open(dir: &Path) -> Result<Self, ArtifactError> {
        let unusable = |error: std::io::Error| ArtifactError::Unusable {
            path: dir.to_owned(),
            reason: error.to_string(),
        };
        private_dir::make(dir).map_err(unusable)?;
        if private_dir::is_shared(dir).map_err(unusable)? {
            return Err(ArtifactError::Shared {
                path: dir.to_owned(),
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            kept: KEPT,
            shipped: None,
        })
    }

    /// The same directory, which finds what is in another one as well: guests that were
    /// compiled when the program was installed. Another one that others can write to, or
    /// that is not there, is left out.
    #[must_use]
    pub fn with_shipped(self, dir: &Path) -> Self {
        let is_private = private_dir::is_shared(dir).is_ok_and(|shared| !shared);
        Self {
            shipped: is_private.then(|| dir.to_owned()),
            ..self
        }
    }

    /// The same directory, of which the `kept` guests that were used last are
    /// kept.
    #[must_use]
    pub fn keeping(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    /// The file of what was stored under `key`, if it is there and undamaged.
    /// It begins with the code.
    pub(super) fn find(&self, key: &Digest) -> Option<PathBuf> {
        let dirs = [Some(&self.dir), self.shipped.as_ref()];
        let mut dirs = dirs.into_iter().flatten();
        dirs.find_map(|dir| Self::find_in(dir, key))
    }

    fn find_in(dir: &Path, key: &Digest) -> Option<PathBuf> {
        let path = path_in(dir, key);
        let file = File::open(&path).ok()?;
        if is_intact(&file, key).unwrap_or(false) {
            // Only the order of deletion hangs on it.
            let _ = file.set_modified(SystemTime::now());
            return Some(path);
        }
        tracing::warn!(path = %path.display(), "a damaged or foreign artefact is ignored");
        None
    }

    /// Stores compiled code under `key`, and deletes what has not been used for
    /// longest. A failure costs only time at the next start, so it is logged and
    /// not returned.
    pub(super) fn put(&self, key: &Digest, code: &[u8]) {
        let path = path_in(&self.dir, key);
        match self.write(&path, key, code) {
            Ok(()) => self.prune(&path),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an artefact could not be stored");
            }
        }
    }

    /// Readers see the whole file or none: it is renamed into its place.
    fn write(&self, path: &Path, key: &Digest, code: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.dir)?;
        file.write_all(code)?;
        file.write_all(MAGIC)?;
        file.write_all(&key.0)?;
        file.write_all(&Sha256::digest(code))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    /// Deletes all but the newest files, and never the one at `stored`. Guests
    /// that run go on running: what is mapped outlives its name.
    fn prune(&self, stored: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut found = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let (path, metadata) = (entry.path(), entry.metadata());
            let Ok(used) = metadata.and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            if unfinished && used.elapsed().is_ok_and(|age| age > FORSAKEN) {
                delete(&path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == EXTENSION)
            {
                found.push((path != stored, std::cmp::Reverse(used), path));
            }
        }
        found.sort();
        for (_, _, path) in found.iter().skip(self.kept.max(1)) {
            delete(path);
        }
    }
}

fn path_in(dir: &Path, key: &Digest) -> PathBuf {
    dir.join(format!("{key}.{EXTENSION}"))
}

/// Deletes a file that nobody needs; another process may be quicker.
fn delete(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "an artefact could not be deleted");
    }
}

/// Whether a file ends with its key and the digest of what comes before.
fn is_intact(file: &File, key: &Digest) -> std::io::Result<bool> {
    let Some(length) = file.metadata()?.len().checked_sub(TRAILER as u64) else {
        return Ok(false);
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut code = file.take(length);
    loop {
        match code.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let mut trailer = [0; TRAILER];
    code.into_inner().read_exact(&mut trailer)?;
    let (magic, digests) = trailer.split_at(MAGIC.len());
    let (stored_under, digest) = digests.split_at(size_of::<Digest>());
    Ok(magic == MAGIC && stored_under == key.0 && digest == hasher.finalize().as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Digest = Digest([7; 32]);

    fn store() -> (tempfile::TempDir, ArtifactStore) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = ArtifactStore::open(&dir.path().join("artefacts")).expect("a private one");
        (dir, store)
    }

    /// The code that is found under a key.
    fn found(store: &ArtifactStore, key: &Digest) -> Option<Vec<u8>> {
        let mut bytes = fs::read(store.find(key)?).expect("readable");
        bytes.truncate(bytes.len() - TRAILER);
        Some(bytes)
    }

    #[test]
    fn what_was_stored_comes_back() {
        let (_dir, store) = store();
        assert_eq!(found(&store, &KEY), None);
        store.put(&KEY, b"code");
        assert_eq!(found(&store, &KEY).as_deref(), Some(b"code".as_slice()));
        store.put(&KEY, b"newer");
        assert_eq!(found(&store, &KEY).as_deref(), Some(b"newer".as_slice()));
        assert_eq!(found(&store, &Digest([8; 32])), None);
    }

    #[test]
    fn a_file_that_was_changed_in_any_place_is_not_trusted() {
        let (_dir, store) = store();
        store.put(&KEY, b"code");
        let path = path_in(&store.dir, &KEY);
        let whole = fs::read(&path).expect("stored");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).expect("written");
            assert_eq!(found(&store, &KEY), None, "byte {at}");
            fs::write(&path, &whole[..at]).expect("written");
            assert_eq!(found(&store, &KEY), None, "cut at {at}");
            fs::write(&path, &whole[at + 1..]).expect("written");
            assert_eq!(found(&store, &KEY), None, "begun after {at}");
        }
    }

    #[test]
    fn what_was_shipped_is_found_where_nobody_else_can_write() {
        let ((_dir, store), (_other, shipped)) = (store(), store());
        shipped.put(&KEY, b"shipped");
        let both = store.clone().with_shipped(&shipped.dir);
        assert_eq!(found(&both, &KEY).as_deref(), Some(b"shipped".as_slice()));
        store.put(&KEY, b"own");
        assert_eq!(found(&both, &KEY).as_deref(), Some(b"own".as_slice()));
        fs::remove_file(path_in(&store.dir, &KEY)).expect("it is there");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = fs::Permissions::from_mode(0o777);
            fs::set_permissions(&shipped.dir, open).expect("ours");
            let none = store.with_shipped(&shipped.dir);
            assert_eq!(found(&none, &KEY), None);
        }
    }

    #[test]
    fn a_file_under_the_name_of_another_is_not_trusted() {
        let (_dir, store) = store();
        let other = Digest([8; 32]);
        store.put(&other, b"code");
        fs::rename(path_in(&store.dir, &other), path_in(&store.dir, &KEY)).expect("renamed");
        assert_eq!(found(&store, &KEY), None);
    }

    /// Makes a file look as old as `minutes`.
    fn age(path: &Path, minutes: u64) {
        let then = SystemTime::now() - Duration::from_secs(60 * minutes);
        let file = File::open(path).expect("there");
        file.set_modified(then).expect("set");
    }

    #[test]
    fn what_has_not_been_used_for_longest_is_deleted() {
        let (_dir, store) = store();
        let store = store.keeping(3);
        let key = |n: u8| Digest([n; 32]);
        for n in 1..=3 {
            store.put(&key(n), b"code");
            age(&path_in(&store.dir, &key(n)), 60 - u64::from(n));
        }
        // Used, so that it is the newest.
        assert!(store.find(&key(1)).is_some());
        store.put(&key(4), b"code");
        let kept: Vec<u8> = (1..=4).filter(|n| store.find(&key(*n)).is_some()).collect();
        assert_eq!(kept, [1, 3, 4]);
    }

    #[test]
    fn what_was_stored_just_now_is_kept_whatever_the_clock_says() {
        let (_dir, store) = store();
        let store = store.keeping(1);
        let ahead = path_in(&store.dir, &Digest([9; 32]));
        store.put(&Digest([9; 32]), b"code");
        let then = SystemTime::now() + Duration::from_secs(3600);
        let file = File::open(&ahead).expect("there");
        file.set_modified(then).expect("set");
        store.put(&KEY, b"code");
        assert!(store.find(&KEY).is_some() && !ahead.exists());
    }

    #[test]
    fn what_a_killed_process_has_left_is_deleted_and_the_rest_is_not() {
        let (_dir, store) = store();
        let at = |name: &str| store.dir.join(name);
        for (name, minutes) in [(".new-old", 90), (".new-fresh", 1), ("other", 90)] {
            fs::write(at(name), "x").expect("written");
            age(&at(name), minutes);
        }
        store.put(&KEY, b"code");
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
