//! The files of a model directory, and whether they are still the same.
//!
//! A model and the snapshots of guests are loaded from these files, and answers are
//! cached under a digest of them. So the digest has to be of the bytes that were
//! loaded: take it first, load, and then call [`ModelFiles::check_unchanged`].

mod stamp;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use predictor::Digest;
use sha2::{Digest as _, Sha256};

use stamp::Stamp;

/// A model directory, and the digests of its files at some time.
///
/// Files whose names begin with a dot, and subdirectories, do not count; links to
/// files do. So do the files that the model's graph needs, wherever they are.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    dir: PathBuf,
    digest: Digest,
    /// By their paths below the directory.
    files: BTreeMap<OsString, ModelFile>,
    /// The paths of the files that the graph needs.
    needed: Vec<OsString>,
}

#[derive(Clone, Debug)]
struct ModelFile {
    digest: Digest,
    size: u64,
    /// `None` if an equal stamp would not prove that the contents are the same.
    stamp: Option<Stamp>,
}

/// Why a model directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelFilesError {
    /// The directory, or a file in it, cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// A link leads nowhere.
    #[error("{path} is a link to {target}, which cannot be followed: {reason}")]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// A pipe, a socket or a device, which may have no end.
    #[error("{path} is {kind}, not a file")]
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// A file is not the one that the digest was taken of.
    #[error("the model directory changed while it was loaded: {path} is not the same as before")]
    Changed {
        /// The first file that differs, is new or is gone.
        path: PathBuf,
    },
}

impl ModelFiles {
    /// Reads every file of a directory once, to take its digest. `needed` are the files
    /// that the model's graph consists of, by their paths below the directory: they count
    /// even in a subdirectory.
    ///
    /// # Errors
    ///
    /// If the directory, or one of the files, cannot be read.
    pub fn read(
        dir: &Path,
        needed: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Self, ModelFilesError> {
        let needed: Vec<_> = needed.into_iter().map(PathBuf::into_os_string).collect();
        let mut all = Sha256::new();
        let mut files = BTreeMap::new();
        for name in names(dir, &needed)? {
            let path = dir.join(&name);
            if let Some(file) = ModelFile::read(&path)? {
                // A digest of digests, which have one length: no two lists of names
                // and contents feed the same bytes.
                all.update(Sha256::digest(name.as_encoded_bytes()));
                all.update(file.digest.0);
                files.insert(name, file);
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            digest: Digest(all.finalize().into()),
            files,
            needed,
        })
    }

    /// Checks that the directory still holds the files that were read. A file is
    /// read again only if its metadata leave a doubt, so this takes no time for a
    /// large model that nobody has touched.
    ///
    /// # Errors
    ///
    /// [`ModelFilesError::Changed`] if a file differs, is new or is gone, and
    /// otherwise as for [`ModelFiles::read`].
    pub fn check_unchanged(&self) -> Result<(), ModelFilesError> {
        let mut gone: Vec<&OsStr> = self.files.keys().map(OsString::as_os_str).collect();
        for name in names(&self.dir, &self.needed)? {
            let path = self.dir.join(&name);
            let before = self.files.get(&name);
            let is_same = match before {
                Some(before) => before.is_same(&path)?,
                None => open_model_file(&path)?.is_none(),
            };
            if !is_same {
                return Err(ModelFilesError::Changed { path });
            }
            gone.retain(|known| *known != name);
        }
        match gone.first() {
            None => Ok(()),
            Some(name) => Err(ModelFilesError::Changed {
                path: self.dir.join(name),
            }),
        }
    }

    /// The same files, after their directory was moved.
    #[must_use]
    pub fn at(self, dir: PathBuf) -> Self {
        Self { dir, ..self }
    }

    /// Tells whether the files of a directory have changed, by their metadata and those of
    /// files in its directories, some of which may be needed: equal stamps, equal files.
    /// `None` if one cannot be read.
    pub fn stamp(dir: &Path) -> Option<Digest> {
        let mut all = Sha256::new();
        stamp(dir, DEEPEST, &mut all)?;
        Some(Digest(all.finalize().into()))
    }

    /// The size of all files together, in bytes.
    pub fn size(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The digest of the names and contents of all files.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest of one file, if there is one of that name.
    pub(super) fn digest_of(&self, name: &str) -> Option<Digest> {
        self.files.get(OsStr::new(name)).map(|file| file.digest)
    }
}

impl ModelFile {
    /// Reads a file; `None` if it is a directory.
    fn read(path: &Path) -> Result<Option<Self>, ModelFilesError> {
        let Some((mut file, metadata)) = open_model_file(path)? else {
            return Ok(None);
        };
        let mut hasher = Sha256::new();
        io::copy(&mut file, &mut HashWriter(&mut hasher))
            .map_err(|error| unreadable(path, &error))?;
        Ok(Some(Self {
            digest: Digest(hasher.finalize().into()),
            size: metadata.size(),
            stamp: Stamp::of(&metadata),
        }))
    }

    fn is_same(&self, path: &Path) -> Result<bool, ModelFilesError> {
        let stamp = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if self.stamp.is_some() && self.stamp == Stamp::of(&stamp) {
            return Ok(true);
        }
        Ok(Self::read(path)?.is_some_and(|now| now.digest == self.digest))
    }
}

/// Opens a file of a model directory, and reads its metadata, which are older than the
/// contents: what changes later changes the stamp. `None` if it is a directory.
///
/// # Errors
///
/// If it is neither a file nor a directory: opening a pipe would wait for a writer. If it
/// is a link that leads nowhere, or cannot be opened.
pub fn open_model_file(path: &Path) -> Result<Option<(File, Metadata)>, ModelFilesError> {
    let metadata = fs::metadata(path).map_err(|error| match fs::read_link(path) {
        Ok(target) => ModelFilesError::BrokenLink {
            path: path.to_owned(),
            target,
            reason: error.to_string(),
        },
        Err(_) => unreadable(path, &error),
    })?;
    let ty = metadata.file_type();
    if ty.is_dir() {
        return Ok(None);
    }
    if !ty.is_file() {
        return Err(ModelFilesError::NotAFile {
            path: path.to_owned(),
            kind: match () {
                () if ty.is_fifo() => "a named pipe",
                () if ty.is_socket() => "a socket",
                () => "a device",
            },
        });
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Some((file, metadata)))
}

/// How deep the directories of a model may be, so that links in a circle end.
const DEEPEST: usize = 8;

fn stamp(dir: &Path, depth: usize, all: &mut Sha256) -> Option<()> {
    for name in names(dir, &[]).ok()? {
        let path = dir.join(&name);
        let metadata = fs::metadata(&path).ok()?;
        all.update(Sha256::digest(name.as_encoded_bytes()));
        Stamp::at_once(&metadata).update(all);
        if metadata.is_dir() && depth > 0 {
            stamp(&path, depth - 1, all)?;
        }
    }
    Some(())
}

/// The names in a directory that do not begin with a dot, and the paths of files that are
/// needed in any case; each once.
fn names(dir: &Path, needed: &[OsString]) -> Result<BTreeSet<OsString>, ModelFilesError> {
    let names = fs::read_dir(dir).and_then(|entries| {
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        names.collect::<io::Result<BTreeSet<_>>>()
    });
    let mut names = names.map_err(|error| unreadable(dir, &error))?;
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.extend(needed.iter().cloned());
    Ok(names)
}

fn unreadable(path: &Path, error: &io::Error) -> ModelFilesError {
    ModelFilesError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Copies a file into a hasher, so that no file is held in memory as a whole.
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
