//! The directory that a guest reads while it is prepared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use predictor::Digest;

/// A model directory and a digest of what is in it: a snapshot holds what
/// `prepare` read, so it is of use only beside the same files.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    dir: PathBuf,
    digest: Digest,
    files: BTreeMap<OsString, Digest>,
}

/// Why a model directory can not be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} can not be read: {reason}")]
pub struct ModelFilesError {
    /// The directory, or the file in it.
    pub path: PathBuf,
    /// What the system said.
    pub reason: String,
}

impl ModelFiles {
    /// Reads every file of a directory once, to know its digest. Files whose
    /// name begins with a dot, and directories, do not count; links do.
    ///
    /// # Errors
    ///
    /// If the directory, or a file in it, can not be read.
    pub fn read(dir: &Path) -> Result<Self, ModelFilesError> {
        let failed = |path: &Path, error: &io::Error| ModelFilesError {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut names = fs::read_dir(dir)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(|error| failed(dir, &error))?;
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort();
        let mut all = Sha256::new();
        let mut files = BTreeMap::new();
        for name in names {
            let path = dir.join(&name);
            let digest = digest_file(&path).map_err(|error| failed(&path, &error))?;
            if let Some(digest) = digest {
                // A digest of digests of fixed length: no two lists of names
                // and contents feed the same bytes.
                all.update(Sha256::digest(name.as_encoded_bytes()));
                all.update(digest);
                files.insert(name, Digest(digest));
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            digest: Digest(all.finalize().into()),
            files,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The digest of the names and contents of its files.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest of one file, if there is one of that name.
    pub(super) fn digest_of(&self, name: &str) -> Option<Digest> {
        self.files.get(std::ffi::OsStr::new(name)).copied()
    }
}

/// The digest of a file, or `None` if it is a directory.
fn digest_file(path: &Path) -> io::Result<Option<[u8; 32]>> {
    let mut file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Ok(None);
    }
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut hasher))?;
    Ok(Some(hasher.finalize().into()))
}

/// Lets a file be copied into a hasher, so that none is held in memory whole.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(files: &[(&str, &str)]) -> Digest {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, contents) in files {
            fs::write(dir.path().join(name), contents).expect("written");
        }
        ModelFiles::read(dir.path()).expect("read").digest()
    }

    #[test]
    fn the_digest_follows_names_and_contents_only() {
        let base = digest(&[("a", "1"), ("b", "2")]);
        assert_eq!(base, digest(&[("b", "2"), ("a", "1")]));
        assert_eq!(base, digest(&[("a", "1"), ("b", "2"), (".hidden", "3")]));
        assert_ne!(base, digest(&[("a", "1"), ("b", "3")]));
        assert_ne!(base, digest(&[("a", "1"), ("c", "2")]));
        assert_ne!(base, digest(&[("a", "2"), ("b", "1")]));
        assert_ne!(base, digest(&[("a", "1")]));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = ModelFiles::read(Path::new("/nowhere/at/all")).expect_err("missing");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
