//! What `wasmtime` makes of the contract in `wit/`.
//!
//! Only the export is bound: the imports are provided by `wasmtime-wasi` and
//! `wasmtime-wasi-nn`, which bring their own bindings.

wasmtime::component::bindgen!({
    path: "../../../wit",
    inline: "
        package fastsentiment:host;

        world serving {
            export fastsentiment:predict/predictor@0.1.0;
        }
    ",
    exports: { default: async },
});

#[cfg(test)]
pub(super) use exports::fastsentiment::predict::predictor::InvalidText;
pub(super) use exports::fastsentiment::predict::predictor::{Error, Score};
