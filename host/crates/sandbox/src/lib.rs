//! Guests: loading a component, and calling it in a sandbox.
//!
//! The way of a component, from bytes to answers:
//!
//! ```text
//! bytes -> size -> contract -> prepare -> compile -> link -> self-test      (load)
//!                         (or the compiled snapshot, from the artefact store)
//! texts -> fresh instance -> predict -> checked answer                      (call)
//! ```
//!
//! This layer must not know HTTP, Redis or ONNX: models come to it as named
//! graphs, and answers leave it in the vocabulary of [`predictor`].

mod answer;
mod artifact;
mod bindings;
mod bounds;
mod call;
mod command;
mod compiler;
mod contract;
mod error;
mod golden;
mod load;
mod metrics;
mod model_files;
mod output;
mod processor;
mod runtime;
mod snapshot;
mod state;
mod trusted;
mod wasi_nn;
mod watch;

pub use artifact::{ArtifactError, ArtifactStore};
pub use bounds::read_component;
pub use call::{Guest, Instance};
pub use command::{CommandError, run_command};
pub use compiler::{COMPILE_COMMAND, CompileError, CompileLimits, Compiler, compile_for_parent};
pub use error::{CallError, LoadError, Step};
pub use load::{LoadedFrom, load, load_aside, version};
pub use metrics::Metrics;
pub use model_files::{ModelFiles, ModelFilesError};
pub use runtime::{GRAPH_NAME, Graphs, Interrupt, Limits, Runtime};

/// The version of wasmtime that runs guests.
pub const WASMTIME_VERSION: &str = wasmtime_environ::VERSION;
