//! Bindings of the exports in `wit/`. The imports are bound elsewhere: by
//! `wasmtime-wasi`, and in [`super::wasi_nn`].

/// What every guest exports.
mod serving {
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
}

/// What guests export that describe themselves.
mod describing {
    wasmtime::component::bindgen!({
        path: "../../../wit",
        inline: "
            package fastsentiment:host;

            world describing {
                export fastsentiment:predict/descriptor@0.1.0;
            }
        ",
        exports: { default: async },
    });
}

pub(super) use describing::exports::fastsentiment::predict::descriptor;
pub(super) use describing::{Describing, DescribingPre};
#[cfg(test)]
pub(super) use serving::exports::fastsentiment::predict::predictor::InvalidText;
pub(super) use serving::exports::fastsentiment::predict::predictor::{Error, Score};
pub(super) use serving::{Serving, ServingPre};
