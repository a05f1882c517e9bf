//! Reads files of the model directory.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::bindings::Error;

/// Reads a file.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    contents(file).map_err(|error| unreadable(file, &error))
}

/// Reads a file that need not exist.
pub(crate) fn read_optional(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    match contents(file) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(file, &error)),
    }
}

/// Reads a file without its metadata. [`std::fs::read`] reads the metadata to learn the
/// size: the file's times would stay in memory and so in the snapshot, which must be the
/// same for the same files.
fn contents(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(file: &Path, error: &io::Error) -> Error {
    Error::ModelUnsuitable(format!("{} cannot be read: {error}", file.display()))
}
