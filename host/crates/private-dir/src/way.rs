//! The way to a directory: from the root down, one name at a time.
//!
//! Whoever can rename a directory on the way can put another one in its place. So each
//! is opened in the one above it, which has been checked and is held open, and must
//! belong to this user or root. Others must not be able to write to it, with two
//! exceptions:
//!
//! - In a sticky directory, such as `/tmp`, others cannot rename or delete what is not
//!   theirs, and what is theirs is refused.
//! - The root of a mounted volume, such as a Kubernetes `emptyDir` (mode 777). Others
//!   who can write there cannot move a directory of this user out of the volume's root
//!   or into it, since that takes the right to write to the directory itself. They can
//!   only give the directories that this user has there each other's names, or their
//!   own in their place, which is refused. Links there are refused as well.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, open as open_path, openat};
use rustix::fs::{readlinkat, statat};
use rustix::io::Errno;

use super::{Fault, OTHERS_WRITE, PrivateDirError, check_owner, shared};

/// How many symbolic links there may be on the way, as in Linux.
const MOST_LINKS: usize = 40;

/// In a sticky directory, only its owner can rename or delete an entry.
const STICKY: u32 = 0o1000;

/// To pass through a directory, one need not be allowed to read it.
#[cfg(target_os = "linux")]
const PASS: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASS: OFlags = OFlags::RDONLY;

/// Opens the directory at a path, if nobody else can put another one there. Those that
/// are missing are created if `create`. Its own permissions are not checked yet.
pub(super) fn open(path: &Path, create: bool) -> Result<File, PrivateDirError> {
    let mut at = Place::root()?;
    let mut links = 0;
    // The last one is the next.
    let mut names = names(&std::path::absolute(path)?);
    while let Some(name) = names.pop() {
        let keeps_entries = at.check()?;
        let path = at.path.join(&name);
        let entry = match statat(&at.dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if create => {
                match mkdirat(&at.dir, &name, Mode::RWXU) {
                    // Another process may have been faster.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                statat(&at.dir, &name, AtFlags::SYMLINK_NOFOLLOW)?
            }
            entry => entry?,
        };
        if FileType::from_raw_mode(entry.st_mode) != FileType::Symlink {
            at = at.enter(&name)?;
            continue;
        }
        check_owner(entry.st_uid, &path)?;
        if !keeps_entries {
            return Err(shared(&path, Fault::Link));
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = readlinkat(&at.dir, &name, Vec::<u8>::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            at = Place::root()?;
        }
        names.extend(self::names(&target));
    }
    // First, since another user's directory may not be readable.
    check_owner(at.metadata.uid(), &at.path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&at.dir, ".", flags, Mode::empty())?.into())
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// A directory on the way, held open.
struct Place {
    dir: File,
    metadata: Metadata,
    path: PathBuf,
    is_volume: bool,
}

impl Place {
    fn root() -> Result<Self, PrivateDirError> {
        let flags = PASS | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = File::from(open_path("/", flags, Mode::empty())?);
        Ok(Self {
            metadata: dir.metadata()?,
            dir,
            path: "/".into(),
            is_volume: false,
        })
    }

    /// The directory with this name in this one.
    fn enter(&self, name: &OsStr) -> Result<Self, PrivateDirError> {
        let flags = PASS | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = File::from(openat(&self.dir, name, flags, Mode::empty())?);
        let metadata = dir.metadata()?;
        // On the way up, the other device is that of the volume that is left.
        let is_volume = name != ".." && metadata.dev() != self.metadata.dev();
        Ok(Self {
            metadata,
            dir,
            path: self.path.join(name),
            is_volume,
        })
    }

    /// Checks that nobody else can change what is found in this directory, except as the
    /// module's description allows. Returns whether its entries stay as they are.
    fn check(&self) -> Result<bool, PrivateDirError> {
        check_owner(self.metadata.uid(), &self.path)?;
        let mode = self.metadata.mode();
        if mode & OTHERS_WRITE == 0 || mode & STICKY != 0 {
            Ok(true)
        } else if self.is_volume {
            Ok(false)
        } else {
            Err(shared(&self.path, Fault::Mode(mode & 0o7777)))
        }
    }
}
