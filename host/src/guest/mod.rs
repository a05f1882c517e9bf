//! Guests: loading a component, and calling it in a sandbox.
//!
//! The way of a component, from bytes to answers:
//!
//! ```text
//! bytes -> digest -> type-check -> prepare -> snapshot -> compile -> link    (load)
//!                         (or the compiled snapshot, from the artefact store)
//! texts -> fresh instance -> predict -> checked answer                      (call)
//! ```
//!
//! This layer must not know HTTP, Redis or ONNX: models come to it as named
//! graphs, and answers leave it in the vocabulary of [`crate::predictor`].

mod answer;
mod artifact;
mod bindings;
mod call;
mod command;
mod contract;
mod error;
mod live;
mod load;
mod metrics;
mod model_files;
mod output;
mod runtime;
mod snapshot;
mod state;
mod wasi_nn;
mod watch;

pub use artifact::{ArtifactError, ArtifactStore};
pub use call::{Guest, Instance};
pub use command::{CommandError, run_command};
pub use error::{CallError, LoadError};
pub use live::Live;
pub use load::{LoadedFrom, load};
pub use metrics::Metrics;
pub use model_files::{ModelFiles, ModelFilesError};
pub use runtime::{GRAPH_NAME, Graphs, Interrupt, Limits, Runtime};
