//! The default guest: cuts texts into tokens, runs the model through
//! `wasi:nn`, and ranks the labels.
//!
//! It serves any Hugging Face sequence-classification directory: whatever
//! differs between models is read from the directory's files, or found out by
//! running the graph once. It must not know one model in particular, nor
//! anything of the host beyond the contract in `wit/`.

#[cfg(target_arch = "wasm32")]
mod arena;
mod classify;
#[cfg(target_arch = "wasm32")]
mod command;
mod config;
mod encode;
mod infer;
mod predictor;

#[expect(
    unsafe_code,
    clippy::same_length_and_capacity,
    reason = "made by `wit-bindgen`, which passes pointers over the component's boundary"
)]
mod bindings {
    //! What `wit-bindgen` makes of the contract.

    wit_bindgen::generate!({
        path: "../wit",
        world: "fastsentiment:predict/prepared-guest",
        generate_all,
    });

    use super::Component;
    export!(Component);
}

use std::sync::OnceLock;

use bindings::exports::fastsentiment::predict::predictor::{Error, Guest as Predict, Score};
use predictor::Predictor;

/// The component: what the host, or a command line, calls.
struct Component;

/// Loaded by `prepare` and part of every snapshot; a host without snapshots
/// has it loaded by the first call.
static PREDICTOR: OnceLock<Predictor> = OnceLock::new();

/// Where the contract puts the model directory.
const MODEL_DIR: &str = "/model";

fn predictor() -> Result<&'static Predictor, Error> {
    if let Some(predictor) = PREDICTOR.get() {
        return Ok(predictor);
    }
    let loaded = Predictor::load(MODEL_DIR.as_ref())?;
    Ok(PREDICTOR.get_or_init(|| loaded))
}

impl Predict for Component {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        predictor()?.predict(&texts)
    }
}

impl bindings::Guest for Component {
    #[expect(clippy::panic, reason = "the contract refuses a guest by a trap")]
    fn prepare() {
        match Predictor::load(MODEL_DIR.as_ref()) {
            Ok(loaded) => keep(&loaded),
            // The host shows what it said.
            Err(error) => panic!("{}", describe(&error)),
        }
    }
}

/// Makes `loaded` part of the snapshot, in as few pages as can be.
fn keep(loaded: &Predictor) {
    #[cfg(target_arch = "wasm32")]
    arena::end_loading();
    PREDICTOR.get_or_init(|| loaded.clone());
    #[cfg(target_arch = "wasm32")]
    arena::reserve_call_memory();
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
