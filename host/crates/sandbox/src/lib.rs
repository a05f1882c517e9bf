//! Loads guest components, and calls them in a sandbox.
//!
//! A *guest* is a WebAssembly component that turns texts into scored labels
//! (`wit/`). It is not trusted: it may be broken or malicious.
//!
//! This crate must not know HTTP, Redis or ONNX: models come to it as named
//! `wasi:nn` graphs, and answers leave it in the vocabulary of [`predictor`].
//!
//! # How a guest is loaded
//!
//! [`load`] uses the whole machine, for a start; [`load_aside`] runs beside live
//! traffic, on a thread of low priority. [`LoadError::step`] names the step that
//! failed.
//!
//! 1. **Size.** The number of bytes is limited, and so is what the component
//!    declares, which costs nothing to write and much to compile: functions,
//!    memories, instances, nesting.
//! 2. **Artefact.** If the [`ArtifactStore`] has code that was compiled from the same
//!    guest, model files, compiler and settings, that code is used. One prediction
//!    then tests that it runs, and the guest is ready within milliseconds. Code is
//!    trusted only in a file, in a directory and below directories that nobody else
//!    can write to, and only if its key and its digest match.
//! 3. **Contract.** The names of the imports and exports are read without compiling anything,
//!    and the component's own name. A component that is not a guest is refused at once, with
//!    a sentence that says what is missing.
//! 4. **Prepare.** The component is compiled without optimisation, since this code
//!    runs once. Then it is linked, the types of its exports are checked, and its
//!    `prepare` runs with the model directory mounted read-only. The resulting memory
//!    is written back into the component (`wasmtime-wizer`): the *snapshot*. It may hold a
//!    part of the memory that a guest may use, and goes to the compiler without a copy, so
//!    that no guest costs much more than its memory.
//! 5. **Compile.** The snapshot is compiled with full optimisation and linked once. On
//!    x86-64 it is compiled for all common processors, so that images can contain
//!    artefacts.
//! 6. **Description.** A guest that describes itself is asked to.
//! 7. **Self-test.** The guest scores a text, the same text again, and the same text
//!    beside others; the answers must agree. If the model directory has a `golden.json`
//!    for the files beside it, the guest also scores eight of its short and clear texts.
//!    Only a guest that passes is stored as an artefact.
//!
//! One guest is compiled at a time, in a child process of the same binary: it has no
//! environment, limits its own memory and processor time, exits with its parent, and gives
//! up all rights that compiling does not need ([`confinement`]).
//! Beside live traffic it uses one thread and a low priority.
//!
//! # How a call is isolated
//!
//! Every call gets a fresh instance: a copy-on-write view of the snapshot, without
//! directories, environment, arguments, input or network. Its memories and tables have
//! limits. A guest that computes too long is stopped at an epoch, one that waits too
//! long by a timer, and a run of the model is interrupted as well. The same happens
//! when nobody waits for the answer any more. Answers are checked against the contract.
//! A trap, an exit, a time-out, a bad answer or a lack of memory is a [`CallError`] of
//! that call and affects no other.
//!
//! What a guest prints goes to the log at trace level, a few lines a second; nothing
//! else in the log contains text of a guest, because it may contain a client's text. The
//! error of a call carries the guest's words beside its detail, for commands whose user
//! sent the text.
//!
//! Instances come from a pool whose slots stay mapped. Pages that a call has written
//! are copied back from the snapshot (`PAGEMAP_SCAN`, Linux 6.7 and newer; elsewhere
//! they are dropped and faulted in again, which is slower).

mod answer;
mod artifact;
mod bindings;
mod call;
mod command;
mod compiler;
mod component_limits;
mod contract;
mod describe;
mod error;
mod golden;
mod linked_files;
mod load;
mod metrics;
mod model_files;
mod output;
mod processor;
mod runtime;
mod self_test;
mod snapshot;
mod state;
mod trap;
mod trusted;
mod wasi_nn;
mod watch;

pub use artifact::{ArtifactError, ArtifactStore};
pub use call::{Guest, Instance, Printed};
pub use command::{CommandError, run_command};
pub use compiler::{COMPILE_COMMAND, CompileError, CompileLimits, Compiler, compile_for_parent};
#[cfg(any(test, fuzzing))]
pub use component_limits::fuzz;
pub use component_limits::read_component;
pub use error::{CallError, LoadError, Step};
pub use load::{LoadedFrom, aside, load, load_aside, revision};
pub use metrics::Metrics;
pub use model_files::{ModelFiles, ModelFilesError, open_model_file};
pub use runtime::{GRAPH_NAME, Graphs, Interrupt, Limits, Runtime};
pub use snapshot::MODEL_DIR;

/// The version of wasmtime that runs guests, such as `48.0.8`.
pub const WASMTIME_VERSION: &str = wasmtime_environ::VERSION;
