//! Checks a model directory before anything is loaded from it, so that a file that no guest
//! could use is named at once.
//!
//! This module must not know what a guest makes of the files: another guest may need none
//! but the model. A file that is missing is the guest's to judge, and so is what a file
//! says.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fastsentiment_config::check_json as check_json_of_python;
use inference::{ModelError, external_data};
use sandbox::{ModelFilesError, open_model_file};

use super::MODEL_FILE;

/// The JSON files that the default guest reads, and most others. Their names are
/// Transformers'.
const JSON_FILES: [&str; 5] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Where Transformers.js, Optimum and the hub put ONNX files beside a model's other files.
const ONNX_DIR: &str = "onnx";

/// The names of weights that are not in the ONNX format.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "pytorch_model.bin",
    "tf_model.h5",
    "flax_model.msgpack",
];

/// The largest JSON file that is read, in bytes: many times the largest vocabulary.
const MOST_JSON: u64 = 256 << 20;

/// The beginning of every Git LFS pointer file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Why a directory cannot be a model directory.
#[derive(Debug, thiserror::Error)]
pub enum ModelDirError {
    /// There is nothing at the path.
    #[error("the model directory {0} does not exist")]
    Missing(PathBuf),
    /// There is something else at the path.
    #[error("the model directory {0} is not a directory")]
    NotADirectory(PathBuf),
    /// A file cannot be read.
    #[error(transparent)]
    Files(#[from] ModelFilesError),
    /// There is no [`MODEL_FILE`].
    #[error("{path} does not exist{beside}")]
    NoModel {
        /// Where it should be.
        path: PathBuf,
        /// What there is instead.
        beside: Beside,
    },
    /// The model is not in the ONNX format.
    #[error(transparent)]
    NotOnnx(#[from] ModelError),
    /// The model's weights are in a file of their own, which is missing.
    #[error("{0} does not exist, and the weights of {MODEL_FILE} should be there")]
    NoWeights(PathBuf),
    /// A file is not what its name says.
    #[error("{path} {damage}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
}

/// What a directory has in place of [`MODEL_FILE`].
#[derive(Debug)]
pub enum Beside {
    /// An ONNX file of another name.
    Onnx(PathBuf),
    /// Weights in another format.
    Weights(PathBuf),
    /// Neither.
    Nothing,
}

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Onnx(path) | Self::Weights(path) => {
                write!(f, ", but {} does", path.display())
            }
            Self::Nothing => Ok(()),
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is a directory.
    #[error("is a directory, not a file")]
    Directory,
    /// It has no contents.
    #[error("is empty")]
    Empty,
    /// Git has not fetched its contents.
    #[error("is a Git LFS pointer, not the file itself")]
    LfsPointer,
    /// It ends before the weights that the model looks for in it.
    #[error("is shorter than {MODEL_FILE} says")]
    TooShort,
    /// It is larger than any file of its kind.
    #[error("is larger than {} MiB", MOST_JSON >> 20)]
    TooLarge,
    /// It begins with a mark that JSON does not allow.
    #[error("begins with a byte order mark, which JSON does not allow")]
    ByteOrderMark,
    /// It is in another encoding.
    #[error("is not UTF-8: the byte at {0} is invalid")]
    Encoding(usize),
    /// It is not JSON; the error has the line and the column.
    #[error("is not valid JSON: {0}")]
    Json(serde_json::Error),
    /// It is another JSON value.
    #[error("is not a JSON object")]
    NotAnObject,
}

/// The graph of a model directory.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The ONNX file.
    pub path: PathBuf,
    /// The files that it consists of, by their paths below the directory: itself, and those of
    /// its weights.
    pub files: Vec<PathBuf>,
}

impl Graph {
    /// The path of the ONNX file below the directory.
    pub(super) fn file(&self) -> &Path {
        // The first of the files.
        self.files.first().map_or(&self.path, PathBuf::as_path)
    }
}

/// Checks a directory, and finds the graph in it.
///
/// # Errors
///
/// If it does not exist, has no model, or has a file that cannot be read or is damaged.
pub fn check(dir: &Path) -> Result<Graph, ModelDirError> {
    match open_model_file(dir) {
        Ok(None) => {}
        Ok(Some(_)) | Err(ModelFilesError::NotAFile { .. }) => {
            return Err(ModelDirError::NotADirectory(dir.to_owned()));
        }
        Err(_) if is_missing(dir) => return Err(ModelDirError::Missing(dir.to_owned())),
        Err(error) => return Err(error.into()),
    }
    for path in entries(dir) {
        open_model_file(&path)?;
    }
    let graph = graph(dir)?;
    for path in JSON_FILES.map(|name| dir.join(name)) {
        if !is_missing(&path) {
            let contents = read(&path, MOST_JSON + 1)?;
            check_json(&contents).map_err(damaged(&path))?;
        }
    }
    Ok(graph)
}

/// Finds the graph: `model.onnx`, or else `onnx/model.onnx`.
fn graph(dir: &Path) -> Result<Graph, ModelDirError> {
    let mut files = vec![PathBuf::from(MODEL_FILE)];
    if is_missing(&dir.join(MODEL_FILE)) {
        files[0] = Path::new(ONNX_DIR).join(MODEL_FILE);
    }
    let path = dir.join(&files[0]);
    if is_missing(&path) {
        return Err(ModelDirError::NoModel {
            beside: beside(dir),
            path: dir.join(MODEL_FILE),
        });
    }
    check_contents(&read(&path, LFS_POINTER.len() as u64)?).map_err(damaged(&path))?;
    for weights in external_data(&path)? {
        let file = files[0].with_file_name(weights.location);
        if is_missing(&dir.join(&file)) {
            return Err(ModelDirError::NoWeights(dir.join(&file)));
        }
        check_weights(&dir.join(&file), weights.size)?;
        files.push(file);
    }
    Ok(Graph { path, files })
}

/// Checks a file of weights, which has at least `size` bytes.
fn check_weights(path: &Path, size: u64) -> Result<(), ModelDirError> {
    if read(path, LFS_POINTER.len() as u64)? == LFS_POINTER {
        return Err(damaged(path)(Damage::LfsPointer));
    }
    match path.metadata() {
        Ok(metadata) if metadata.len() < size => Err(damaged(path)(Damage::TooShort)),
        _ => Ok(()),
    }
}

/// Whether there is nothing at a path, not even a link.
fn is_missing(path: &Path) -> bool {
    let error = path.symlink_metadata().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What a directory without [`MODEL_FILE`] has instead.
fn beside(dir: &Path) -> Beside {
    let mut exports = entries(dir);
    exports.extend(entries(&dir.join(ONNX_DIR)));
    exports.retain(|path| path.extension().is_some_and(|is| is == "onnx"));
    // Of several, the one that nobody has quantised.
    let plain = exports.iter().position(|path| path.ends_with(MODEL_FILE));
    if !exports.is_empty() {
        return Beside::Onnx(exports.swap_remove(plain.unwrap_or(0)));
    }
    let mut weights = WEIGHTS.iter().map(|name| dir.join(name));
    match weights.find(|path| path.is_file()) {
        Some(path) => Beside::Weights(path),
        None => Beside::Nothing,
    }
}

/// The paths in a directory whose names do not begin with a dot, in order; none if it cannot
/// be read.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// The first bytes of a file, at most `most`.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, ModelDirError> {
    let Some((file, _)) = open_model_file(path)? else {
        return Err(damaged(path)(Damage::Directory));
    };
    let mut bytes = Vec::new();
    let read = File::take(file, most).read_to_end(&mut bytes);
    read.map_err(|error| ModelFilesError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

fn damaged(path: &Path) -> impl FnOnce(Damage) -> ModelDirError {
    let path = path.to_owned();
    |damage| ModelDirError::Damaged { path, damage }
}

/// Refuses a file that stands for another, or for nothing.
fn check_contents(contents: &[u8]) -> Result<(), Damage> {
    if contents.starts_with(LFS_POINTER) {
        return Err(Damage::LfsPointer);
    }
    if contents.trim_ascii().is_empty() {
        return Err(Damage::Empty);
    }
    Ok(())
}

fn check_json(contents: &[u8]) -> Result<(), Damage> {
    check_contents(contents)?;
    if contents.len() as u64 > MOST_JSON {
        return Err(Damage::TooLarge);
    }
    if contents.starts_with(b"\xef\xbb\xbf") {
        return Err(Damage::ByteOrderMark);
    }
    if let Err(error) = std::str::from_utf8(contents) {
        return Err(Damage::Encoding(error.valid_up_to()));
    }
    check_json_of_python(contents).map_err(Damage::Json)?;
    if !contents.trim_ascii_start().starts_with(b"{") {
        return Err(Damage::NotAnObject);
    }
    Ok(())
}

/// The last part of the path of a directory; clients must not learn the whole path.
pub(super) fn name(dir: &Path) -> String {
    // A link keeps its own name.
    let own = dir.file_name().map(OsStr::to_owned);
    let own = own.or_else(|| real(dir).file_name().map(OsStr::to_owned));
    own.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// A directory without links on the way: behind one that is turned to another directory, this
/// one stays as it is.
pub(super) fn real(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}
