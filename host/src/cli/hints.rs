//! Hints for operators: what is missing or does not fit, and how to fix it.
//!
//! The layers report what has gone wrong. Only this module knows which option or `make`
//! target helps.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use fastsentiment::app::{AppError, Config, MODEL_FILE};
use inference::Library;
use revisions::StartError;
use sandbox::ModelFilesError;

/// The beginning of every Git LFS pointer file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The files that the default guest, and most others, read besides the model.
const READ_BY_GUESTS: [&str; 2] = ["config.json", "tokenizer.json"];

/// All files that are missing or unreadable, each with a hint.
pub(super) fn all_missing(config: &Config) -> Vec<String> {
    let library = Library::find(config.onnxruntime.as_deref()).err();
    let library = library.map(|error| error.to_string());
    let files = model(&config.model);
    let guest = guest(&config.guest);
    library.into_iter().chain(files).chain(guest).collect()
}

/// Adds a hint to an error of a load.
pub(super) fn explain(config: &Config, error: AppError) -> anyhow::Error {
    let hint = match &error {
        AppError::Model(_) | AppError::ModelFiles(ModelFilesError::Unreadable { .. }) => {
            match model(&config.model) {
                Some(missing) => return anyhow::Error::msg(missing),
                None => Some(format!(
                    "is it an ONNX model? Set another directory with --model, {MAKE_MODEL}"
                )),
            }
        }
        AppError::ReadGuest { .. } | AppError::Start(StartError::Unreadable { .. }) => {
            match guest(&config.guest) {
                Some(missing) => return anyhow::Error::msg(missing),
                None => None,
            }
        }
        AppError::Start(StartError::Refused { refusal, .. }) => {
            if let Some(mismatch) = mismatch(config, refusal.step) {
                let reason = refusal.reason.replace(RUST_PANIC_NOTE, "");
                return anyhow::anyhow!("{mismatch} ({reason})");
            }
            None
        }
        AppError::Artifacts(_) => Some("set another directory with --artifacts".to_owned()),
        AppError::Library(_)
        | AppError::ModelFiles(ModelFilesError::Changed { .. })
        | AppError::Runtime(_)
        | AppError::Start(StartError::State(_) | StartError::Unavailable { .. })
        | AppError::Metrics(_)
        | AppError::Threads(_) => None,
    };
    match hint {
        Some(hint) => {
            let error = error.to_string();
            anyhow::anyhow!("{}; {hint}", error.trim_end_matches('.'))
        }
        None => error.into(),
    }
}

/// What a guest in Rust prints after every panic.
const RUST_PANIC_NOTE: &str =
    " note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";

const MAKE_MODEL: &str = "or make one with `make model MODEL=<hub id>`";

/// What is missing from the model directory.
fn model(dir: &Path) -> Option<String> {
    if !dir.is_dir() {
        let what = if dir.exists() {
            "is not a directory"
        } else {
            "does not exist"
        };
        return Some(format!(
            "the model directory {} {what}: set it with --model, {MAKE_MODEL}",
            dir.display()
        ));
    }
    let path = dir.join(MODEL_FILE);
    if !path.is_file() {
        return Some(format!(
            "{} does not exist: a model directory holds config.json, tokenizer.json and \
             {MODEL_FILE}; set it with --model, {MAKE_MODEL}",
            path.display()
        ));
    }
    is_lfs_pointer(&path).then(|| {
        format!(
            "{} is a Git LFS pointer, not the model: run `git lfs pull` in its repository",
            path.display()
        )
    })
}

fn is_lfs_pointer(path: &Path) -> bool {
    let mut start = [0; LFS_POINTER.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *LFS_POINTER
}

fn guest(path: &Path) -> Option<String> {
    let error = std::fs::metadata(path).err()?;
    Some(format!(
        "the guest {} cannot be read: {error}; set it with --guest, or build it with `make guest`",
        path.display()
    ))
}

/// What may be wrong if a guest and a model do not work together, judging by the step of
/// the load that failed. The steps before these do not involve the model.
fn mismatch(config: &Config, step: &str) -> Option<String> {
    if !["prepare", "self_test", "measure"].contains(&step) {
        return None;
    }
    let (model, guest) = (&config.model, config.guest.display());
    let missing = READ_BY_GUESTS.iter().map(|name| model.join(name));
    let missing: Vec<_> = missing
        .filter(|path| !path.is_file())
        .map(|path| path.display().to_string())
        .collect();
    Some(if missing.is_empty() {
        format!(
            "the guest {guest} and the model {} do not match: set others with --guest and --model",
            model.display()
        )
    } else {
        format!(
            "cannot find {}, which the guest {guest} may need: set another directory with --model, \
             {MAKE_MODEL}",
            missing.join(" and ")
        )
    })
}
