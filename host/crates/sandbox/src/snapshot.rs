//! Preparing a guest: running `prepare` once, and keeping the memory that it
//! leaves as the beginning of every later instance.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Store, Trap};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

use super::compiler::{Pace, Purpose};
use super::contract::{PREPARE, bind, link};
use super::error::{LoadError, is_exhausted};
use super::output::{Output, Printer};
use super::runtime::Runtime;
use super::state::{State, sandbox};
use predictor::Version;

/// Where the contract puts the model directory.
pub(super) const MODEL_DIR: &str = "/model";

/// Runs the guest's `prepare` with `model_dir` mounted read-only, and gives
/// the component that begins where `prepare` ended.
pub(super) fn prepare(
    runtime: &Runtime,
    version: &Version,
    component: &[u8],
    model_dir: &Path,
    pace: Pace,
) -> Result<Vec<u8>, LoadError> {
    let mut wizer = Wizer::new();
    wizer
        .init_func(PREPARE)
        // The component goes on exporting it, so its module must, too.
        .keep_init_func(true);
    let (context, instrumented) = unpanicked(|| wizer.instrument_component(component))?
        .map_err(|error| not_prepared(&error))?;
    let realm = runtime.preparing();
    let code = runtime
        .compiler
        .compile(&realm.engine, Purpose::Preparing, pace, &instrumented)?;
    drop(instrumented);
    let linked = code
        .component(&realm.engine)
        .map_err(|error| LoadError::Host(format!("{error:#}")))
        .and_then(|component| link(realm, &component))?;
    drop(code);
    // A guest that can not serve is not worth preparing.
    bind(linked.clone())?;

    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| LoadError::Host(error.to_string()))?;
    let (mut store, instance) = run(runtime, version, &linked, model_dir, &executor)?;
    let mut instance = WasmtimeWizerComponent {
        store: &mut store,
        instance,
    };
    unpanicked(|| executor.block_on(wizer.snapshot_component(&context, &mut instance)))?
        .map_err(|error| not_prepared(&error))
}

/// Makes an instance and runs its `prepare`.
fn run(
    runtime: &Runtime,
    version: &Version,
    linked: &InstancePre<State>,
    model_dir: &Path,
    executor: &tokio::runtime::Runtime,
) -> Result<(Store<State>, Instance), LoadError> {
    let time = runtime.limits.prepare;
    let output = Output::new(&version.guest);
    let (stdout, stderr) = (output.stdout(), output.stderr());
    let failed = |error| {
        if is_exhausted(&error) {
            return LoadError::Host(format!("{error:#}"));
        }
        LoadError::Prepare(explain(&error, [&stderr, &stdout], time))
    };
    let mut wasi = sandbox();
    if runtime.compiler.is_reproducible() {
        use_known_random_numbers(&mut wasi, version);
    }
    let wasi = wasi
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .preopened_dir(model_dir, MODEL_DIR, FsPerms::ReadOnly)
        .map_err(failed)?
        .build();
    let mut store = runtime.store(runtime.preparing(), wasi, time, None);
    let preparing = async {
        let instance = linked.instantiate_async(&mut store).await?;
        let function = instance.get_typed_func::<(), ()>(&mut store, PREPARE)?;
        function.call_async(&mut store, ()).await?;
        Ok(instance)
    };
    // The time bounds what the epoch can not: a guest that sleeps.
    let instance = executor
        .block_on(async { tokio::time::timeout(time, preparing).await })
        .map_err(|_| LoadError::Prepare(format!("it was not done after {time:?}")))?
        .map_err(failed)?;
    // Reading the snapshot takes its time, which is not the guest's.
    store.data().run.pause();
    // It is read out through the guest: all of its memory in one call. Not before
    // now, so that `prepare` could hand the host no more than any call may.
    store.set_hostcall_fuel(runtime.limits.memory.saturating_mul(2));
    Ok((store, instance))
}

/// Gives a guest random numbers that depend on nothing but itself and the model.
fn use_known_random_numbers(wasi: &mut WasiCtxBuilder, version: &Version) {
    let known = [version.guest.0, version.model.0].concat();
    let seed = known
        .first_chunk()
        .map_or(0, |seed| u128::from_le_bytes(*seed));
    wasi.insecure_random_seed(seed)
        .insecure_random(Deterministic::new(known.clone()))
        .secure_random(Deterministic::new(known));
}

/// What is wrong with a component that has no snapshot.
fn not_prepared(error: &wasmtime::Error) -> LoadError {
    if error.is::<wasmparser::BinaryReaderError>() {
        return LoadError::Compile(format!("{error:#}"));
    }
    LoadError::Prepare(format!("{error:#}"))
}

/// Wizer takes for granted what it has made itself, and panics if a guest has
/// found a way to have it otherwise. That is no more than a guest that fails.
fn unpanicked<T>(work: impl FnOnce() -> T) -> Result<T, LoadError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| LoadError::Prepare("its memory can not be read out".to_owned()))
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
