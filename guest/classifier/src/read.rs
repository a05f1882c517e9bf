//! Reads files of the model directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::bindings::Error;

/// Reads a file without its metadata. [`std::fs::read`] reads the metadata to learn the
/// size: the file's times would stay in memory and so in the snapshot, which must be the
/// same for the same files.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(u64::MAX).read_to_end(&mut bytes))
        .map_err(|error| {
            Error::ModelUnsuitable(format!("{} cannot be read: {error}", file.display()))
        })?;
    Ok(bytes)
}
