//! The ONNX backend behind `wasi:nn`: ONNX Runtime, sessions, tensors.
//!
//! A model is loaded once and shared by every guest and every version of one;
//! swapping a guest never touches it. This layer must not know anything else of
//! ours: not guests, texts, HTTP or the cache. It speaks the public traits of
//! `wasmtime-wasi-nn` upwards and `ort` downwards.

mod backend;
mod library;
mod metrics;
mod model;
mod runs;
mod session;
mod tensor;

pub use library::{API_VERSION, Library, LibraryError};
pub use metrics::Metrics;
pub use model::{Model, ModelError, SessionOptions};
