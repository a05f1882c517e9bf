//! Runs a guest as a command (`wasi:cli/run`).
//!
//! This is for trying a guest, not for serving: the command inherits standard
//! input, output and error.

use std::path::Path;
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Store, Trap};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{FsPerms, I32Exit};

use super::linked_files::LinkedFiles;
use super::runtime::{Limits, Runtime};
use super::snapshot::MODEL_DIR;
use super::state::{Refused, State, configured, sandbox};
use super::trap;
use predictor::Configuration;

/// Why a guest could not be run as a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The bytes are not a component that compiles.
    #[error("the guest is not a valid WebAssembly component: {0}")]
    Compile(String),
    /// The model directory cannot be opened.
    #[error("the model directory cannot be opened: {0}")]
    Model(String),
    /// The component is not a command.
    #[error("the guest cannot be run as a command (`wasi:cli/run`): {0}")]
    NoCommand(String),
    /// The command trapped; what it printed is on standard error.
    #[error("the guest trapped: {0}")]
    Trapped(String),
    /// The command did not end in time.
    #[error("the guest did not end within {0:?}")]
    TimedOut(Duration),
    /// The command trapped after it was refused memory beyond its limit.
    #[error("the guest ran out of memory: the limit is {0} bytes")]
    OutOfMemory(usize),
}

/// Runs a guest with the model directory mounted at `/model`, and with this
/// process's standard input, output and error. Returns its exit code.
///
/// # Errors
///
/// If the component is not a command, or if it traps.
pub async fn run_command(
    runtime: &Runtime,
    component: &[u8],
    model_dir: &Path,
    configuration: &Configuration,
    arguments: &[String],
) -> Result<i32, CommandError> {
    let realm = runtime.preparing();
    let component = Component::from_binary(&realm.engine, component)
        .map_err(|error| CommandError::Compile(format!("{error:#}")))?;
    let wasi = sandbox()
        .inherit_stdio()
        .arg("guest")
        .args(arguments)
        .preopened_dir(model_dir, MODEL_DIR, FsPerms::ReadOnly)
        .map_err(|error| CommandError::Model(format!("{error:#}")))?
        .build();
    let mut store = runtime.store(
        realm,
        wasi,
        &configured(configuration),
        runtime.limits.prepare,
        None,
    );
    let links = LinkedFiles::of(model_dir);
    store.data_mut().linked = links.map_err(|error| CommandError::Model(error.to_string()))?;
    let command = Command::instantiate_async(&mut store, &component, &realm.linker)
        .await
        .map_err(|error| CommandError::NoCommand(format!("{error:#}")))?;
    match command.wasi_cli_run().call_run(&mut store).await {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => Err(trapped(&error, &store, &runtime.limits)),
        },
    }
}

fn trapped(error: &wasmtime::Error, store: &Store<State>, limits: &Limits) -> CommandError {
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return CommandError::TimedOut(limits.prepare);
    }
    match store.data().memory.refused() {
        Some(Refused::Memory) => CommandError::OutOfMemory(limits.memory),
        Some(Refused::Table | Refused::ByHost) | None => {
            CommandError::Trapped(trap::describe(error))
        }
    }
}
