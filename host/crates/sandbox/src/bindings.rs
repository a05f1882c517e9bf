//! Bindings of the exports in `wit/`. The imports are bound elsewhere: by
//! `wasmtime-wasi`, and in [`super::wasi_nn`].

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
