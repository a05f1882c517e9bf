//! Directories whose contents can be trusted because no other user can have
//! written them.
//!
//! The host runs compiled guests and restores its state straight from disk. Both
//! are safe only if nobody else can have put them there, so whatever reads them
//! takes a [`PrivateDir`] or a [`PrivateFile`], which only the checks can make:
//!
//! - Every directory from the root down, and every symbolic link on the way, belongs
//!   to this user or root, and nobody else can rename what is in it (`way`). The
//!   directory itself can be written by this user and root only.
//! - The directory is then held open. Whatever happens to its path, files are opened,
//!   written and deleted in the directory that was checked.
//! - A file is a regular file that belongs to this user or root and that nobody else
//!   can write to. Its directory is checked again whenever a file is opened.
//!
//! A check cannot look into the past: what was written while others could, and then
//! given to this user with `chown -R`, looks like this user's own.
//!
//! This crate must not know what the directories hold.

mod file;
mod way;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

pub use file::PrivateFile;

/// The permissions to write of everybody but the owner: of the group and of all
/// others. Those in an access control list count as the group's.
const OTHERS_WRITE: u32 = 0o022;

/// A directory that only this user and root can write to, held open.
///
/// Its owner is one of the two, so nobody else can change its permissions either.
#[derive(Clone, Debug)]
pub struct PrivateDir {
    dir: Arc<File>,
    path: PathBuf,
}

/// Why something is not private.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// It cannot be created, opened or inspected.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another user could change it.
    #[error("{path} {fault}")]
    Shared {
        /// What another user could change: the directory, one on the way to it, or a
        /// file in it.
        path: PathBuf,
        /// How.
        fault: Fault,
    },
}

/// How another user could change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This user owns it.
    Owner(u32),
    /// Its permissions, which are these, let others write to it.
    Mode(u32),
    /// It is a symbolic link in a directory where others can replace it.
    Link,
}

impl PrivateDir {
    /// Opens a directory. It is created with mode 700 if it does not exist, and so are
    /// those above it.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created, or if another user could change it.
    pub fn create(path: &Path) -> Result<Self, PrivateDirError> {
        Self::walk(path, true)
    }

    /// Opens a directory that exists.
    ///
    /// # Errors
    ///
    /// If there is no such directory, or if another user could change it.
    pub fn open(path: &Path) -> Result<Self, PrivateDirError> {
        Self::walk(path, false)
    }

    fn walk(path: &Path, create: bool) -> Result<Self, PrivateDirError> {
        let private = Self {
            dir: Arc::new(way::open(path, create)?),
            path: path.to_owned(),
        };
        private.check()?;
        Ok(private)
    }

    /// The path that it was opened at, for messages: by now, something else may be
    /// there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that still nobody else can write to the directory.
    fn check(&self) -> Result<(), PrivateDirError> {
        check(&self.dir.metadata()?, &self.path)
    }
}

/// Checks that nobody else owns or can write to a file or directory.
fn check(metadata: &Metadata, path: &Path) -> Result<(), PrivateDirError> {
    check_owner(metadata.uid(), path)?;
    let mode = metadata.mode();
    if mode & OTHERS_WRITE == 0 {
        Ok(())
    } else {
        Err(shared(path, Fault::Mode(mode & 0o7777)))
    }
}

fn check_owner(owner: u32, path: &Path) -> Result<(), PrivateDirError> {
    if [0, rustix::process::geteuid().as_raw()].contains(&owner) {
        Ok(())
    } else {
        Err(shared(path, Fault::Owner(owner)))
    }
}

fn shared(path: &Path, fault: Fault) -> PrivateDirError {
    let path = path.to_owned();
    PrivateDirError::Shared { path, fault }
}

impl From<Errno> for PrivateDirError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<PrivateDirError> for io::Error {
    fn from(error: PrivateDirError) -> Self {
        match error {
            PrivateDirError::Io(error) => error,
            shared @ PrivateDirError::Shared { .. } => {
                Self::new(io::ErrorKind::PermissionDenied, shared)
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(user) => write!(f, "belongs to another user ({user})"),
            Self::Mode(mode) => write!(f, "can be written by other users (mode {mode:o})"),
            Self::Link => f.write_str("is a symbolic link that other users can replace"),
        }
    }
}
