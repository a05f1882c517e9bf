//! Prepares a guest: runs its `prepare` once, and writes the resulting memory back
//! into the component, so that every instance begins with it.
//!
//! The memory stays where it is until it is written to the compiler: what a guest costs here
//! is its memory, once.

mod layout;
mod memories;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Store, Trap};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};
use wasmtime_wizer::Wizer;

use layout::Piece;
use memories::{Memories, Memory};

use super::compiler::{Pace, Purpose, Source};
use super::component_limits::check_image;
use super::contract::{PREPARE, bind, link};
use super::error::{LoadError, is_exhausted};
use super::linked_files::LinkedFiles;
use super::output::{Output, Printer};
use super::runtime::{Limits, Runtime};
use super::state::{Refused, State, configured, sandbox};
use super::trap;
use predictor::Revision;

/// Where the contract mounts the model directory.
pub const MODEL_DIR: &str = "/model";

/// A component that begins where `prepare` ended, in pieces: what wizer writes, and the
/// memory of the guest that was prepared.
pub(super) struct Snapshot {
    store: Store<State>,
    memories: Vec<Memory>,
    outline: Vec<u8>,
    pieces: Vec<Piece>,
    size: usize,
}

impl Source for Snapshot {
    fn size(&self) -> usize {
        self.size
    }

    fn write(self, to: &mut dyn Write) -> io::Result<()> {
        for piece in &self.pieces {
            to.write_all(match piece {
                Piece::Outline(range) => &self.outline[range.clone()],
                Piece::Bytes(bytes) => bytes,
                Piece::Content(memory) => self.memories[*memory].content(&self.store),
            })?;
        }
        Ok(())
    }
}

/// Runs the guest's `prepare` with `model_dir` mounted read-only, and returns a
/// component that begins where `prepare` ended.
pub(super) fn prepare(
    runtime: &Runtime,
    version: &Revision,
    component: &[u8],
    model_dir: &Path,
    pace: Pace,
) -> Result<Snapshot, LoadError> {
    let mut wizer = Wizer::new();
    wizer
        .init_func(PREPARE)
        // The component still exports it, so its module has to.
        .keep_init_func(true);
    let (context, instrumented) = without_panic(|| wizer.instrument_component(component))?
        .map_err(|error| not_prepared(&error))?;
    let realm = runtime.preparing();
    let code = runtime
        .compiler
        .compile(&realm.engine, Purpose::Preparing, pace, instrumented)?;
    let linked = code
        .component(&realm.engine)
        .map_err(|error| LoadError::Host(format!("{error:#}")))
        .and_then(|component| link(realm, &component))?;
    drop(code);
    // Fails before the long work if the guest could not serve anyway.
    bind(linked.clone())?;

    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| LoadError::Host(error.to_string()))?;
    let (mut store, instance) = run(runtime, version, &linked, model_dir, &executor)?;
    let mut memories = Memories::of(&mut store, instance);
    let outline =
        without_panic(|| executor.block_on(wizer.snapshot_component(&context, &mut memories)))?
            .map_err(|error| not_prepared(&error))?;
    let memories = memories.read().map_err(|error| unreadable(&error))?;
    let contents: Vec<usize> = memories.iter().map(Memory::content_size).collect();
    let in_use: usize = contents.iter().sum();
    check_image(
        "of memory that `prepare` leaves in use",
        in_use as u64,
        runtime.limits.memory,
    )?;
    let (pieces, size) = layout::pieces(&outline, &contents).map_err(|error| unreadable(&error))?;
    Ok(Snapshot {
        store,
        memories,
        outline,
        pieces,
        size,
    })
}

/// Creates an instance and runs its `prepare`.
fn run(
    runtime: &Runtime,
    version: &Revision,
    linked: &InstancePre<State>,
    model_dir: &Path,
    executor: &tokio::runtime::Runtime,
) -> Result<(Store<State>, Instance), LoadError> {
    let time = runtime.limits.prepare;
    let output = Output::new(&version.guest());
    let (stdout, stderr) = (output.stdout(), output.stderr());
    let mut wasi = sandbox();
    if runtime.compiler.is_reproducible() {
        use_reproducible_random_numbers(&mut wasi, version);
    }
    let wasi = wasi
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .preopened_dir(model_dir, MODEL_DIR, FsPerms::ReadOnly)
        .map_err(|error| LoadError::Host(format!("{error:#}")))?
        .build();
    let configured = configured(version.configuration());
    let mut store = runtime.store(runtime.preparing(), wasi, &configured, time, None);
    let links = LinkedFiles::of(model_dir);
    store.data_mut().linked = links.map_err(|error| LoadError::Host(error.to_string()))?;
    let preparing = async {
        let instance = linked.instantiate_async(&mut store).await?;
        let function = instance.get_typed_func::<(), ()>(&mut store, PREPARE)?;
        function.call_async(&mut store, ()).await?;
        Ok(instance)
    };
    // Epochs stop a guest that computes; this stops one that sleeps.
    let prepared = executor
        .block_on(async { tokio::time::timeout(time, preparing).await })
        .map_err(|_| LoadError::Prepare(format!("it did not finish within {time:?}")))?;
    let instance = prepared.map_err(|error| {
        if is_exhausted(&error) {
            return LoadError::Host(format!("{error:#}"));
        }
        let refused = store.data().memory.refused();
        LoadError::Prepare(explain(
            &error,
            refused,
            [&stderr, &stdout],
            &runtime.limits,
        ))
    })?;
    // The time to read the snapshot does not count as the guest's.
    store.data().run.pause();
    // Reading the snapshot passes all memory of the guest to the host in one call, and
    // takes a page. Raised only now, so that `prepare` had the same limits as any call.
    store.set_hostcall_fuel(runtime.limits.memory.saturating_mul(2));
    store.data_mut().memory.add_page_for_each();
    Ok((store, instance))
}

/// Gives a guest random numbers that depend on nothing but the guest and the model.
fn use_reproducible_random_numbers(wasi: &mut WasiCtxBuilder, version: &Revision) {
    let known = [version.guest().0, version.model().0].concat();
    let seed = known
        .first_chunk()
        .map_or(0, |seed| u128::from_le_bytes(*seed));
    wasi.insecure_random_seed(seed)
        .insecure_random(Deterministic::new(known.clone()))
        .secure_random(Deterministic::new(known));
}

/// The error for a component that wizer cannot process.
fn not_prepared(error: &wasmtime::Error) -> LoadError {
    if error.is::<wasmparser::BinaryReaderError>() {
        return LoadError::Compile(format!("{error:#}"));
    }
    LoadError::Prepare(format!("{error:#}"))
}

/// Turns a panic into an error: wizer panics if a malicious guest breaks what it
/// assumes about the module that it has instrumented.
fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, LoadError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| unreadable(&"it is not as it was declared"))
}

fn unreadable(reason: &dyn std::fmt::Display) -> LoadError {
    LoadError::Prepare(format!("its memory cannot be read: {reason}"))
}

/// Describes the failure of `prepare`, with the guest's own output if there is any.
fn explain(
    error: &wasmtime::Error,
    refused: Option<Refused>,
    printers: [&Printer; 2],
    limits: &Limits,
) -> String {
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return format!("it did not finish within {:?}", limits.prepare);
    }
    let printed = printers.map(Printer::tail);
    let printed = printed.into_iter().find(|printed| !printed.is_empty());
    let why = match error.downcast_ref::<I32Exit>() {
        Some(exit) => match (exit.0, printed) {
            // By the contract, this is a sentence that says why it refuses the model.
            (1.., Some(sentence)) => return sentence,
            (code, _) => return format!("it exited with code {code}"),
        },
        None if refused == Some(Refused::Memory) => {
            format!("it ran out of memory: the limit is {} bytes", limits.memory)
        }
        None => format!("it trapped: {}", trap::describe(error)),
    };
    match printed {
        Some(printed) => format!("{why}; it printed: {printed}"),
        None => why,
    }
}
