//! What the default guest does: cuts texts into tokens, runs the model through
//! `wasi:nn`, and ranks the labels.
//!
//! It serves any Hugging Face sequence-classification directory: whatever
//! differs between models is read from the directory's files, or found out by
//! running the graph once. It must not know one model in particular, nor
//! anything of the host beyond the contract in `wit/`. Nor does it export
//! anything: a guest does that, with [`bindings::export`], after it has made of
//! the answers what it likes.

#[cfg(target_arch = "wasm32")]
mod arena;
#[cfg(any(test, target_arch = "wasm32"))]
mod boundary;
mod classify;
mod config;
mod encode;
mod infer;
mod kept;
mod predictor;
mod read;

pub use config::Activation;
pub use kept::Kept;
pub use predictor::Predictor;

#[expect(
    missing_docs,
    clippy::same_length_and_capacity,
    reason = "made by `wit-bindgen`, which passes pointers over the component's boundary"
)]
pub mod bindings {
    //! What `wit-bindgen` makes of the contract.

    wit_bindgen::generate!({
        path: "../../wit",
        world: "fastsentiment:predict/prepared-guest",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings",
    });

    pub use exports::fastsentiment::predict::predictor::{Error, Guest as Predict, Score};
}

use bindings::{Error, Score};

/// A guest's answer in the terms of `fastsentiment-command`: labels with their
/// scores, or one sentence for a person who reads a terminal.
///
/// # Errors
///
/// If the answer is one.
pub fn said(answer: Result<Vec<Vec<Score>>, Error>) -> Result<Vec<Vec<(String, f32)>>, String> {
    let pairs = |scores: Vec<Score>| {
        let pairs = scores.into_iter().map(|score| (score.label, score.score));
        pairs.collect()
    };
    match answer {
        Ok(answer) => Ok(answer.into_iter().map(pairs).collect()),
        Err(error) => Err(describe(&error)),
    }
}

/// One sentence for a person who reads a log or a terminal.
fn describe(error: &Error) -> String {
    match error {
        Error::InvalidText(text) => format!("text {}: {}", text.index, text.reason),
        Error::ModelMissing(why)
        | Error::ModelUnsuitable(why)
        | Error::InferenceFailed(why)
        | Error::Internal(why) => why.clone(),
    }
}
