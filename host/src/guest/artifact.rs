//! Compiled guests kept on disk, so that the next start, swap or rollback to
//! one takes milliseconds instead of seconds.
//!
//! Compiled code is run as it is, so it is only ever read from a directory that
//! no one else can write to, and only if it is what this program wrote: each
//! file begins with the key it was stored under and a digest of what follows.
//! Whatever fails a check is treated as absent and compiled anew.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::predictor::Digest;

/// Begins every file; the number is the version of this layout.
const MAGIC: &[u8; 16] = b"fastsentiment 01";
const DIGEST: usize = 32;
const HEADER: usize = MAGIC.len() + 2 * DIGEST;

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
        "the artefact directory {path} can be written by other users, so that its compiled code \
         can not be trusted; make it private (chmod 700) or choose another one"
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
        make_private_dir(dir).map_err(unusable)?;
        if is_shared(dir).map_err(unusable)? {
            return Err(ArtifactError::Shared {
                path: dir.to_owned(),
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// What was stored under `key`, if it is there and undamaged.
    pub(super) fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        let path = self.path(key);
        let mut bytes = fs::read(&path).ok()?;
        if is_intact(&bytes, key) {
            bytes.drain(..HEADER);
            return Some(bytes);
        }
        tracing::warn!(path = %path.display(), "a damaged or foreign artefact is ignored");
        None
    }

    /// Stores compiled code under `key`. A failure costs only time at the next
    /// start, so it is logged and not returned.
    pub(super) fn put(&self, key: &Digest, code: &[u8]) {
        let path = self.path(key);
        if let Err(error) = self.write(&path, key, code) {
            tracing::warn!(path = %path.display(), %error, "an artefact could not be stored");
        }
    }

    /// Readers see the whole file or none: it is renamed into its place.
    fn write(&self, path: &Path, key: &Digest, code: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(MAGIC)?;
        file.write_all(&key.0)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.dir.join(format!("{key}.cwasm"))
    }
}

fn is_intact(bytes: &[u8], key: &Digest) -> bool {
    let Some((header, code)) = bytes.split_at_checked(HEADER) else {
        return false;
    };
    let (magic, digests) = header.split_at(MAGIC.len());
    let (stored_under, digest) = digests.split_at(DIGEST);
    magic == MAGIC && stored_under == key.0 && digest == Sha256::digest(code).as_slice()
}

#[cfg(unix)]
fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(not(unix))]
fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(unix)]
fn is_shared(dir: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(dir)?.permissions().mode() & 0o022 != 0)
}

#[cfg(not(unix))]
fn is_shared(_dir: &Path) -> std::io::Result<bool> {
    Ok(false)
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

    #[test]
    fn what_was_stored_comes_back() {
        let (_dir, store) = store();
        assert_eq!(store.get(&KEY), None);
        store.put(&KEY, b"code");
        assert_eq!(store.get(&KEY).as_deref(), Some(b"code".as_slice()));
        store.put(&KEY, b"newer");
        assert_eq!(store.get(&KEY).as_deref(), Some(b"newer".as_slice()));
        assert_eq!(store.get(&Digest([8; 32])), None);
    }

    #[test]
    fn a_file_that_was_changed_in_any_place_is_not_trusted() {
        let (_dir, store) = store();
        store.put(&KEY, b"code");
        let path = store.path(&KEY);
        let whole = fs::read(&path).expect("stored");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).expect("written");
            assert_eq!(store.get(&KEY), None, "byte {at}");
            fs::write(&path, &whole[..at]).expect("written");
            assert_eq!(store.get(&KEY), None, "cut at {at}");
        }
    }

    #[test]
    fn a_file_under_the_name_of_another_is_not_trusted() {
        let (_dir, store) = store();
        let other = Digest([8; 32]);
        store.put(&other, b"code");
        fs::rename(store.path(&other), store.path(&KEY)).expect("renamed");
        assert_eq!(store.get(&KEY), None);
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
