//! Reads a component's file: up to a limit, and without a change meanwhile.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Tells whether a file has changed, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file that a path leads to now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&std::fs::metadata(path)?))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is larger than a component may be.
    TooLarge,
    /// It is missing, cannot be read, or is being written.
    Unreadable(String),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Reads a file of at most `most` bytes, with its stamp.
pub(super) fn read(path: &Path, most: usize) -> Result<(Vec<u8>, Stamp), Unfit> {
    // Opening a pipe would block.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Unfit::Unreadable("it is not a file".to_owned()));
    }
    let file = File::open(path)?;
    let before = Stamp::from(&file.metadata()?);
    if before.size > most as u64 {
        return Err(Unfit::TooLarge);
    }
    let mut bytes = Vec::new();
    (&file).take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(Unfit::TooLarge);
    }
    if Stamp::from(&file.metadata()?) != before {
        return Err(Unfit::Unreadable(
            "it was changed while it was read".to_owned(),
        ));
    }
    Ok((bytes, before))
}

/// What is wrong with a text that is to be TOML, and in which line, from 1.
pub(super) struct TomlFault {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// Parses TOML.
pub(super) fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlFault> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        TomlFault {
            line: 1 + text[..start.min(text.len())].matches('\n').count(),
            reason: error.message().replace('\n', " "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit_and_not_beyond() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.wasm");
        assert!(matches!(read(&path, 4), Err(Unfit::Unreadable(_))));
        std::fs::write(&path, "1234").unwrap();
        assert_eq!(read(&path, 4).unwrap().0, b"1234");
        assert_eq!(read(&path, 3).unwrap_err(), Unfit::TooLarge);
        // Its metadata say nothing of its size.
        assert_eq!(
            read(Path::new("/proc/self/status"), 16).unwrap_err(),
            Unfit::TooLarge
        );
        assert!(matches!(read(dir.path(), 4), Err(Unfit::Unreadable(_))));
    }
}
