//! A sentiment classifier for guests: tokenises texts, runs the model through
//! `wasi:nn`, and ranks the labels.
//!
//! It supports every Hugging Face sequence-classification model: what differs between
//! models is read from the files of the model directory, or found by running the graph
//! once.
//!
//! This crate must not know a particular model, nor anything of the host beyond the
//! contract in `wit/`. It exports nothing: a guest does that with
//! [`bindings::export`], and may change the answers before.

mod adapt;
#[cfg(target_arch = "wasm32")]
mod arena;
#[cfg(any(test, target_arch = "wasm32"))]
mod boundary;
mod classify;
mod config;
mod encode;
mod infer;
mod kept;
mod long_texts;
mod predictor;
mod read;
mod setting;

pub use fastsentiment_config::Activation;
pub use kept::Kept;
pub use predictor::Predictor;
pub use setting::setting;

#[expect(
    missing_docs,
    clippy::same_length_and_capacity,
    reason = "made by `wit-bindgen`, which passes pointers over the component's boundary"
)]
pub mod bindings {
    //! Bindings of the contract, made by `wit-bindgen`.

    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package fastsentiment:classifier;

            world classifying {
                include fastsentiment:predict/prepared-guest@0.1.0;
                include fastsentiment:predict/described-guest@0.1.0;
                include fastsentiment:predict/whole-guest@0.1.0;
            }
        ",
        world: "fastsentiment:classifier/classifying",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings",
    });

    pub use exports::fastsentiment::predict::descriptor::{
        Activation, Description, Guest as Describe, Limit, Side,
    };
    pub use exports::fastsentiment::predict::predictor::{
        Error, Guest as Predict, InvalidText, Score,
    };
    pub use exports::fastsentiment::predict::whole_texts::Guest as PredictWhole;
}

use bindings::{Error, Score};

/// Converts the error of a guest that cannot describe itself.
///
/// # Errors
///
/// If the description is an error.
pub fn described<T>(description: Result<T, Error>) -> Result<T, String> {
    description.map_err(|error| describe(&error))
}

/// Converts an answer for `fastsentiment-command`: labels with their scores, or an
/// error in one sentence.
///
/// # Errors
///
/// If the answer is an error.
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

/// An error in one sentence, for a log or a terminal.
fn describe(error: &Error) -> String {
    match error {
        Error::InvalidText(text) => format!("text {}: {}", text.index, text.reason),
        Error::ModelMissing(why)
        | Error::ModelUnsuitable(why)
        | Error::InferenceFailed(why)
        | Error::Internal(why) => why.clone(),
    }
}
