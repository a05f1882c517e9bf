//! Runs ONNX models for `wasi:nn`, with ONNX Runtime.
//!
//! This crate must not know guests, texts, HTTP or the cache: it implements the public
//! traits of `wasmtime-wasi-nn`, and uses `ort`.
//!
//! A [`Model`] is loaded once, and every guest and worker shares its session: no run waits
//! for another, and swapping a guest does not touch the model. A run stays on the thread
//! that asks for it, unless [`SessionOptions::threads`] is more than 1, and can be ended at
//! its next operator.
//!
//! [`Model::widen`] adds a second session, with more threads, for runs that have the
//! machine to themselves: those of an instance while there is no other instance of any guest
//! with a graph, and no other thread has work ([`Library::watch`]). Its weights are in memory a
//! second time. ONNX Runtime shares packed weights between sessions only if they are tensors
//! of the caller's that no optimisation renames, and keeps the originals of those.
//!
//! ONNX Runtime keeps the memory of its largest run for the next one. That is right
//! for runs of up to 512 tokens, which is as far as the default guest goes with more
//! than one text. After a larger run, unused memory is returned, and with
//! [`Library::return_memory`] at any time. Memory plans for each shape of inputs are off:
//! ONNX Runtime would keep every plan, and guests choose the shapes.

mod activity;
mod backend;
mod external;
mod library;
mod metrics;
mod model;
mod runs;
mod session;
mod tensor;
mod wide;

pub use external::{ExternalData, external_data};
pub use library::{API_VERSION, Library, LibraryError};
pub use metrics::Metrics;
pub use model::{Model, ModelError, SessionOptions};
pub use wide::Threads;
