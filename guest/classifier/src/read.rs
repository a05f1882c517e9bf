//! Reads the files of a model directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::bindings::Error;

/// Reads a file by its content alone. [`std::fs::read`] asks for its times as well, to learn
/// its size: they would be left in memory, and so in the snapshot, which is to be the same
/// for the same files.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(u64::MAX).read_to_end(&mut bytes))
        .map_err(|error| {
            Error::ModelUnsuitable(format!("{} can not be read: {error}", file.display()))
        })?;
    Ok(bytes)
}
