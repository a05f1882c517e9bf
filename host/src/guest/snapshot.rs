//! Preparing a guest: running `prepare` once, and keeping the memory that it
//! leaves as the beginning of every later instance.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::Trap;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx};
use wasmtime_wizer::Wizer;

use super::contract::{PREPARE, bind, link};
use super::error::LoadError;
use super::output::{Output, Printer};
use super::runtime::Runtime;
use super::state::sandbox;
use crate::predictor::Digest;

/// Where the contract puts the model directory.
pub(super) const MODEL_DIR: &str = "/model";

/// Runs the guest's `prepare` with `model_dir` mounted read-only, and gives
/// the component that begins where `prepare` ended.
pub(super) fn prepare(
    runtime: &Runtime,
    component: &[u8],
    model_dir: &Path,
) -> Result<Vec<u8>, LoadError> {
    let output = Output::new(&Digest(Sha256::digest(component).into()));
    let (stdout, stderr) = (output.stdout(), output.stderr());
    let failed = |error: wasmtime::Error| match error.downcast::<LoadError>() {
        Ok(error) => error,
        Err(error) => {
            LoadError::Prepare(explain(&error, [&stderr, &stdout], runtime.limits.prepare))
        }
    };
    let wasi = sandbox()
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .preopened_dir(model_dir, MODEL_DIR, FsPerms::ReadOnly)
        .map_err(failed)?
        .build();
    block_on(runtime.limits.prepare, snapshot(runtime, component, wasi))
        .map_err(LoadError::Prepare)?
        .map_err(failed)
}

async fn snapshot(runtime: &Runtime, component: &[u8], wasi: WasiCtx) -> wasmtime::Result<Vec<u8>> {
    let realm = runtime.preparing();
    let mut store = runtime.store(realm, wasi, runtime.limits.prepare, None);
    // Compiling takes its time, which is not the guest's.
    store.data().run.pause();
    // The snapshot is read out through the guest: all of its memory in one call.
    store.set_hostcall_fuel(runtime.limits.memory.saturating_mul(2));
    let (prepared, _) = Wizer::new()
        .init_func(PREPARE)
        // The component goes on exporting it, so its module must, too.
        .keep_init_func(true)
        .run_component(&mut store, component, async |store, component| {
            let linked = link(realm, component).map_err(wasmtime::Error::new)?;
            // A guest that can not serve is not worth preparing.
            bind(linked.clone()).map_err(wasmtime::Error::new)?;
            store.data().run.restart(runtime.limits.prepare);
            linked.instantiate_async(store).await
        })
        .await?;
    Ok(prepared)
}

/// Runs a future on this thread, with the clock and the file access that WASI
/// needs. `time` bounds what the epoch can not: a guest that sleeps.
fn block_on<T>(time: Duration, future: impl Future<Output = T>) -> Result<T, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| error.to_string())?
        .block_on(async { tokio::time::timeout(time, future).await })
        .map_err(|_| format!("it was not done after {time:?}"))
}

/// Says what went wrong, in the guest's own words if it left any.
fn explain(error: &wasmtime::Error, printers: [&Printer; 2], time: Duration) -> String {
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return format!("it was not done after {time:?}");
    }
    let said = printers.map(Printer::last_words);
    let said = said.iter().find(|said| !said.is_empty());
    match (error.downcast_ref::<I32Exit>(), said) {
        (Some(exit), None) => format!("it ended itself (exit {})", exit.0),
        (Some(exit), Some(said)) => format!("it ended itself (exit {}); it said: {said}", exit.0),
        (None, None) => format!("{error:#}"),
        (None, Some(said)) => format!("it said: {said}"),
    }
}
