//! Hints for operators: what is missing or does not fit, and how to fix it.
//!
//! The layers report what has gone wrong. Only this module knows which option or `make`
//! target helps.

use std::path::Path;

use fastsentiment::app::model_dir::{self, Beside, Damage, ModelDirError};
use fastsentiment::app::{AppError, Config, MODEL_FILE};
use inference::{Library, ModelError};
use revisions::{Refusal, StartError};
use sandbox::{MODEL_DIR, ModelFilesError};

/// The files that the default guest, and most others, read besides the model.
const READ_BY_GUESTS: [&str; 2] = ["config.json", "tokenizer.json"];

/// All files that are missing or unreadable, each with a hint.
pub(super) fn all_missing(config: &Config) -> Vec<String> {
    let library = Library::find(config.onnxruntime.as_deref()).err();
    let library = library.map(|error| error.to_string());
    let files = model_dir::check(&config.model).err();
    let files = files.map(|error| unusable(&config.model, &error));
    let guest = guest(&config.guest);
    let configuration = config.versions.configuration.read().err();
    let configuration = configuration.map(|error| error.to_string());
    let all = library.into_iter().chain(files).chain(guest);
    all.chain(configuration).collect()
}

/// Adds a hint to an error of a load.
pub(super) fn explain(config: &Config, error: AppError) -> anyhow::Error {
    let explained = match &error {
        AppError::ModelDir(error) => Some(unusable(&config.model, error)),
        AppError::Model(error) => Some(not_onnx(error)),
        AppError::ReadGuest { .. } | AppError::Start(StartError::Unreadable { .. }) => {
            guest(&config.guest)
        }
        AppError::Start(StartError::Refused { refusal, .. }) => refused(config, refusal),
        AppError::Artifacts(error) => {
            Some(format!("{error}; set another directory with --artifacts"))
        }
        AppError::Library(_)
        | AppError::Host(_)
        | AppError::Runtime(_)
        | AppError::Start(
            StartError::Configuration(_) | StartError::State(_) | StartError::Unavailable { .. },
        )
        | AppError::Metrics(_)
        | AppError::Threads(_) => None,
    };
    explained.map_or_else(|| error.into(), anyhow::Error::msg)
}

const OTHER_MODEL: &str = "--model, or make one with `make model MODEL=<hub id>`";

fn not_onnx(error: &ModelError) -> String {
    format!(
        "{}; is it an ONNX model? Set another directory with {OTHER_MODEL}",
        error.to_string().trim_end_matches(['.', ' '])
    )
}

/// What is wrong with the model directory, and what helps.
fn unusable(dir: &Path, error: &ModelDirError) -> String {
    let hint = match error {
        ModelDirError::Missing(_) | ModelDirError::NotADirectory(_) => {
            format!("set it with {OTHER_MODEL}")
        }
        ModelDirError::Files(error) => match error {
            ModelFilesError::Unreadable { .. } => {
                format!("make it readable, or set another directory with {OTHER_MODEL}")
            }
            ModelFilesError::BrokenLink { .. } => {
                "restore what it leads to, or remove it".to_owned()
            }
            ModelFilesError::NotAFile { .. } => "remove it from the model directory".to_owned(),
            ModelFilesError::Changed { .. } => return error.to_string(),
        },
        ModelDirError::NoModel { beside, .. } => match beside {
            Beside::Onnx(_) => format!(
                "copy it there, with the file of its weights if it has one, or set another \
                 directory with {OTHER_MODEL}"
            ),
            Beside::Weights(_) => format!(
                "export it with `make model MODEL={}`, or set another directory with --model",
                dir.display()
            ),
            Beside::Nothing => format!(
                "a model directory holds config.json, tokenizer.json and {MODEL_FILE}; set it \
                 with {OTHER_MODEL}"
            ),
        },
        ModelDirError::NotOnnx(error) => return not_onnx(error),
        ModelDirError::NoWeights(_) => {
            format!("copy it there, or set another directory with {OTHER_MODEL}")
        }
        ModelDirError::Damaged { damage, .. } => match damage {
            Damage::LfsPointer => "run `git lfs pull` in its repository".to_owned(),
            Damage::Directory
            | Damage::Empty
            | Damage::TooShort
            | Damage::TooLarge
            | Damage::ByteOrderMark
            | Damage::Encoding(_)
            | Damage::Json(_)
            | Damage::NotAnObject => {
                format!("replace it, or set another directory with {OTHER_MODEL}")
            }
        },
    };
    format!("{error}: {hint}")
}

fn guest(path: &Path) -> Option<String> {
    let error = std::fs::metadata(path).err()?;
    Some(format!(
        "the guest {} cannot be read: {error}; set it with --guest, or build it with `make guest`",
        path.display()
    ))
}

/// Why a guest was refused, if that may be the model's fault, judging by the step of the
/// load that failed. The steps before these do not involve the model.
fn refused(config: &Config, refusal: &Refusal) -> Option<String> {
    if !["prepare", "self_test", "measure"].contains(&refusal.step) {
        return None;
    }
    let (model, guest) = (&config.model, config.guest.display());
    // The guest sees the directory elsewhere.
    let mounted = (format!(" {MODEL_DIR}/"), format!(" {}/", model.display()));
    let reason = refusal.reason.replace(&mounted.0, &mounted.1);
    let missing = READ_BY_GUESTS.iter().map(|name| model.join(name));
    let missing: Vec<_> = missing
        .filter(|path| !path.is_file())
        .map(|path| path.display().to_string())
        .collect();
    Some(if missing.is_empty() {
        format!(
            "{guest}: {reason}; set another model directory with --model, or another guest with \
             --guest"
        )
    } else {
        format!(
            "cannot find {}, which the guest {guest} may need: set another directory with \
             {OTHER_MODEL} ({reason})",
            missing.join(" and ")
        )
    })
}
