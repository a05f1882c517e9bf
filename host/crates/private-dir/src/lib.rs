//! Directories whose contents can be trusted because no other user can have
//! written them.
//!
//! The host runs compiled guests and restores its state straight from disk. Both
//! are safe only in a directory that nobody else can write to, so whatever reads
//! them takes a [`PrivateDir`], which only the check can make.
//!
//! This crate must not know what the directories hold.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A directory that only this user and root could write to when it was opened.
///
/// Its owner is one of the two, so nobody else can change its permissions either.
#[derive(Clone, Debug)]
pub struct PrivateDir(PathBuf);

/// Why a directory is not a [`PrivateDir`].
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// The directory cannot be created or inspected.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another user owns the directory or can write to it.
    #[error("another user owns the directory or can write to it")]
    Shared,
}

impl PrivateDir {
    /// Opens a directory, and creates it with mode 700 if it does not exist.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created, or if another user owns it or can write
    /// to it.
    pub fn create(path: &Path) -> Result<Self, PrivateDirError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        Self::open(path)
    }

    /// Opens a directory that exists.
    ///
    /// # Errors
    ///
    /// If there is no such directory, or if another user owns it or can write to it.
    pub fn open(path: &Path) -> Result<Self, PrivateDirError> {
        let user = rustix::process::geteuid().as_raw();
        let metadata = fs::metadata(path)?;
        if !metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory).into());
        }
        if is_shared(user, &metadata) {
            return Err(PrivateDirError::Shared);
        }
        Ok(Self(path.to_owned()))
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Whether a user other than `user` and root can write to a directory, or could
/// give themselves the right to.
fn is_shared(user: u32, dir: &Metadata) -> bool {
    dir.mode() & 0o022 != 0 || ![0, user].contains(&dir.uid())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_user_and_root_can_write_to_a_private_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(matches!(
            PrivateDir::open(&path),
            Err(PrivateDirError::Io(_))
        ));
        assert_eq!(PrivateDir::create(&path).unwrap().path(), path);
        for (mode, is_private) in [(0o755, true), (0o720, false), (0o702, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match PrivateDir::create(&path) {
                Ok(_) => assert!(is_private, "{mode:o}"),
                Err(PrivateDirError::Shared) => assert!(!is_private, "{mode:o}"),
                Err(error) => panic!("{mode:o}: {error}"),
            }
        }
    }

    #[test]
    fn a_file_is_not_a_private_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            PrivateDir::open(file.path()),
            Err(PrivateDirError::Io(_))
        ));
    }

    #[test]
    fn a_directory_of_another_user_is_not_private() {
        let dir = tempfile::tempdir().unwrap();
        let metadata = || fs::metadata(dir.path()).unwrap();
        let owner = metadata().uid();
        assert!(!is_shared(owner, &metadata()));
        if owner != 0 {
            assert!(is_shared(owner + 1, &metadata()));
            return;
        }
        // Everybody trusts what root owns, and only root can give it away.
        assert!(!is_shared(1000, &metadata()));
        std::os::unix::fs::chown(dir.path(), Some(1000), None).unwrap();
        assert!(!is_shared(1000, &metadata()));
        assert!(is_shared(1001, &metadata()));
        assert!(matches!(
            PrivateDir::open(dir.path()),
            Err(PrivateDirError::Shared)
        ));
    }
}
