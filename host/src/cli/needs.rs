//! What has to be there before anything can be loaded, and what to do if it is not.
//!
//! The layers say what has gone wrong; what an operator can do about it, by which
//! option or which target of `make`, is known here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use fastsentiment::app::{AppError, Config, MODEL_FILE};
use inference::Library;
use revisions::StartError;
use sandbox::ModelFilesError;

/// How every file begins that stands for one in Git LFS.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What the default guest, and most others, read beside the model.
const READ_BY_GUESTS: [&str; 2] = ["config.json", "tokenizer.json"];

/// Everything that is missing, each in a line that says what to do.
pub(super) fn all_missing(config: &Config) -> Vec<String> {
    let library = Library::find(config.onnxruntime.as_deref()).err();
    let library = library.map(|error| error.to_string());
    let files = model(&config.model);
    let guest = guest(&config.guest);
    library.into_iter().chain(files).chain(guest).collect()
}

/// An error of a load in one line, with what to do about it.
pub(super) fn explained(config: &Config, error: AppError) -> anyhow::Error {
    let advice = match &error {
        AppError::Model(_) | AppError::ModelFiles(ModelFilesError::Unreadable { .. }) => {
            match model(&config.model) {
                Some(missing) => return anyhow::Error::msg(missing),
                None => Some(format!(
                    "is it an ONNX model? --model names another directory, {MAKE_MODEL}"
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
            if let Some(advice) = unfit(config, refusal.step) {
                let reason = refusal.reason.replace(OF_RUST, "");
                return anyhow::anyhow!("{advice} ({reason})");
            }
            None
        }
        AppError::Artifacts(_) => Some("--artifacts names another one".to_owned()),
        AppError::Library(_)
        | AppError::ModelFiles(ModelFilesError::Changed { .. })
        | AppError::Runtime(_)
        | AppError::Start(StartError::State(_) | StartError::Unavailable { .. })
        | AppError::Metrics(_)
        | AppError::Threads(_) => None,
    };
    match advice {
        Some(advice) => {
            let error = error.to_string();
            anyhow::anyhow!("{}; {advice}", error.trim_end_matches('.'))
        }
        None => error.into(),
    }
}

/// What guests in Rust say with every panic.
const OF_RUST: &str =
    " note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";

const MAKE_MODEL: &str = "and `make model MODEL=<hub id>` makes one";

/// What is missing of the model directory.
fn model(dir: &Path) -> Option<String> {
    if !dir.is_dir() {
        let what = if dir.exists() {
            "is not a directory"
        } else {
            "is not there"
        };
        return Some(format!(
            "the model directory {} {what}: --model names one, {MAKE_MODEL}",
            dir.display()
        ));
    }
    let path = dir.join(MODEL_FILE);
    if !path.is_file() {
        return Some(format!(
            "{} is not there: a model directory holds config.json, tokenizer.json and \
             {MODEL_FILE}; --model names one, {MAKE_MODEL}",
            path.display()
        ));
    }
    is_lfs(&path).then(|| {
        format!(
            "{} is not the model but what Git LFS keeps in its place: run `git lfs pull` where it \
             was checked out",
            path.display()
        )
    })
}

fn is_lfs(path: &Path) -> bool {
    let mut begins = [0; LFS.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begins));
    read.is_ok() && begins == *LFS
}

fn guest(path: &Path) -> Option<String> {
    let error = std::fs::metadata(path).err()?;
    Some(format!(
        "the guest {} can not be read: {error}; --guest names one, and `make guest` builds one",
        path.display()
    ))
}

/// What may be wrong if a guest can not be served with a model, by the step that has
/// failed: what comes before it has nothing to do with models.
fn unfit(config: &Config, step: &str) -> Option<String> {
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
            "the guest {guest} and the model {} do not fit each other: --guest and --model name \
             others",
            model.display()
        )
    } else {
        format!(
            "{} is not there, which the guest {guest} may need: --model names another directory, \
             {MAKE_MODEL}",
            missing.join(" and ")
        )
    })
}
