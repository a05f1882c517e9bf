//! The files in a private directory.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::{PrivateDir, PrivateDirError, check};

/// Files are created with this mode.
const OWN: Mode = Mode::RUSR.union(Mode::WUSR);

/// Every open of an entry: it neither follows a link nor waits, as it would for the
/// writer of a named pipe.
const ENTRY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// To look at an entry, one need not be allowed to read it.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = OFlags::RDONLY;

/// A regular file that only this user and root could write to when it was opened, in a
/// directory of which the same is true.
///
/// It may still be open elsewhere, by somebody who could write to it before. So compare
/// a digest with the bytes that were read, and not with the file.
#[derive(Debug)]
pub struct PrivateFile(File);

impl PrivateFile {
    /// Reads the whole file.
    ///
    /// # Errors
    ///
    /// If it cannot be read; [`io::ErrorKind::FileTooLarge`] if it has more than `most`
    /// bytes.
    pub fn read(&self, most: u64) -> io::Result<Vec<u8>> {
        let length = self.0.metadata()?.len().min(most);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        (&self.0)
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {most} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// Reads a file that is too large to be held in memory.
    pub fn reader(&self) -> impl Read + '_ {
        &self.0
    }

    /// Records that the file was used just now, as the time of its last modification.
    ///
    /// # Errors
    ///
    /// If it belongs to another user.
    pub fn touch(&self) -> io::Result<()> {
        self.0.set_modified(SystemTime::now())
    }
}

/// The entries of the directory. A name is one name, without directories.
impl PrivateDir {
    /// Opens a file to be read.
    ///
    /// # Errors
    ///
    /// If there is no such file, if it is not a regular file, or if another user could
    /// change it.
    pub fn file(&self, name: &str) -> Result<PrivateFile, PrivateDirError> {
        self.check()?;
        let file = self.open_entry(name, OFlags::RDONLY)?;
        check(&file.metadata()?, &self.path().join(name))?;
        Ok(PrivateFile(file))
    }

    /// Writes a file. Others see the whole file or none, even after a power failure: it
    /// gets its name once `content` has written it. Until then, its name begins with
    /// `unfinished`.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or if `content` fails.
    pub fn write(
        &self,
        name: &str,
        unfinished: &str,
        content: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let temporary = format!("{unfinished}{:016x}", fastrand::u64(..));
        let flags = ENTRY | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = File::from(openat(&self.dir, temporary.as_str(), flags, OWN)?);
        let written = content(&mut file)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.rename(&temporary, name));
        if written.is_err() {
            // The error that led here says more.
            let _ = self.remove(&temporary);
        }
        written?;
        self.dir.sync_all()
    }

    /// Opens a file that is only locked, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or if it is not a regular file.
    pub fn lock_file(&self, name: &str) -> io::Result<File> {
        self.open_entry(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Renames a file, and replaces one that has the new name.
    ///
    /// # Errors
    ///
    /// If there is no such file, or if the directory cannot be written to.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.dir, from, &self.dir, to)?)
    }

    /// Deletes a file.
    ///
    /// # Errors
    ///
    /// As [`PrivateDir::rename`].
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    /// The names in the directory. Those that are not UTF-8 are left out.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// The metadata of an entry, which may be of any type.
    ///
    /// # Errors
    ///
    /// If there is no such entry.
    pub fn metadata(&self, name: &str) -> io::Result<Metadata> {
        File::from(openat(&self.dir, name, LOOK | ENTRY, Mode::empty())?).metadata()
    }

    fn open_entry(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let file = match openat(&self.dir, name, ENTRY | flags, OWN) {
            // With `NOFOLLOW`, this is a link.
            Err(Errno::LOOP) => return Err(not_regular()),
            file => File::from(file?),
        };
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(not_regular())
        }
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file")
}
