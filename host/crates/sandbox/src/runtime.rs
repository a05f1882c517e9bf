//! The engines that guests run in, the host functions they are linked to, and their
//! limits.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel,
    PoolingAllocationConfig, Store, UpdateDeadline,
};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_config::WasiConfig;
use wasmtime_wasi_nn::Graph;

use super::compiler::Compiler;
use super::linked_files;
use super::metrics::Metrics;
use super::processor;
use super::state::{Configured, MAX_HOSTCALL, MAX_TABLE_ELEMENTS, State};
use super::wasi_nn::{self, Models};
use super::watch::Watch;
use predictor::CancellationToken;

/// The name of the model in `wasi:nn`, which the contract states.
pub const GRAPH_NAME: &str = "model";

/// The limits of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most linear memory of an instance, in bytes.
    pub memory: usize,
    /// The time limit of a call of `predict`.
    pub call: Duration,
    /// The time limit of `prepare`.
    pub prepare: Duration,
    /// The most instances at a time, of all guests together.
    pub instances: u32,
}

/// Ends the model's work for one instance of a guest, from any thread: the run in
/// progress, and at once every later one.
pub type Interrupt = Box<dyn Fn() + Send + Sync>;

/// The models that guests can load by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Graphs(HashMap<&'static str, Arc<Open>>);

/// Opens a model for one instance of a guest.
type Open = dyn Fn() -> (Graph, Interrupt) + Send + Sync;

impl Graphs {
    /// One model, under the name [`GRAPH_NAME`]. `open` is called once for each
    /// instance of a guest, since an interrupt ends the work of one instance only.
    pub fn of(open: impl Fn() -> (Graph, Interrupt) + Send + Sync + 'static) -> Self {
        Self(HashMap::from([(GRAPH_NAME, Arc::new(open) as Arc<Open>)]))
    }

    /// Opens all models for one instance.
    pub(super) fn open(&self) -> (Models, Vec<Interrupt>) {
        let mut graphs = HashMap::new();
        let mut interrupts = Vec::new();
        for (name, open) in &self.0 {
            let (graph, interrupt) = open();
            graphs.insert(*name, graph);
            interrupts.push(interrupt);
        }
        (Models::new(graphs), interrupts)
    }
}

/// What the guests of a model share: the models that they can load by name, and everything
/// that all guests of a process share.
#[derive(Clone)]
pub struct Runtime {
    serving: Arc<Realm>,
    preparing: Arc<Realm>,
    watch: Arc<Watch>,
    pub(super) compiler: Compiler,
    /// Held while a guest is compiled, so that one is compiled at a time.
    pub(super) compiling: Arc<Mutex<()>>,
    pub(super) metrics: Metrics,
    pub(super) graphs: Graphs,
    pub(super) limits: Limits,
}

/// An engine, and the host functions for its guests.
pub(super) struct Realm {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
}

/// The length of an epoch: the precision with which guests are stopped.
const TICK: Duration = Duration::from_millis(10);

impl Runtime {
    /// Sets up the engines, and the thread that advances their epochs.
    ///
    /// # Errors
    ///
    /// If this machine cannot run WebAssembly with these limits, for example because
    /// it lacks address space.
    pub fn new(
        limits: Limits,
        compiler: Compiler,
        graphs: Graphs,
        metrics: Metrics,
    ) -> wasmtime::Result<Arc<Self>> {
        let serving = Realm::new(&serving_config(&limits))?;
        let preparing = Realm::new(&preparing_code())?;
        let engines = [serving.engine.weak(), preparing.engine.weak()];
        let watch = Arc::new(Watch::default());
        let watched = Arc::clone(&watch);
        std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || tick(&engines, &watched))?;
        Ok(Arc::new(Self {
            serving: Arc::new(serving),
            preparing: Arc::new(preparing),
            watch,
            compiler,
            compiling: Arc::default(),
            metrics,
            graphs,
            limits,
        }))
    }

    /// The same engines, for the guests of another model. Guests keep their models open for
    /// as long as they live.
    #[must_use]
    pub fn with_graphs(&self, graphs: Graphs) -> Arc<Self> {
        Arc::new(Self {
            graphs,
            ..self.clone()
        })
    }

    /// For guests that serve: optimised code, and instances from a pool.
    pub(super) fn serving(&self) -> &Realm {
        &self.serving
    }

    /// For guests that are prepared: code that is compiled quickly, as it runs once.
    pub(super) fn preparing(&self) -> &Realm {
        &self.preparing
    }

    /// A store for an instance that may run for `time`, or until `abandoned` says that
    /// nobody waits for it any more.
    pub(super) fn store(
        &self,
        realm: &Realm,
        wasi: WasiCtx,
        configured: &Configured,
        time: Duration,
        abandoned: Option<CancellationToken>,
    ) -> Store<State> {
        let (models, interrupts) = self.graphs.open();
        let run = self.watch.begin(time, abandoned, interrupts);
        let state = State::new(wasi, models, Arc::clone(configured), &self.limits, run);
        let mut store = Store::new(&realm.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(MAX_HOSTCALL);
        // In every epoch, a guest that computes checks whether it has to stop.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| match store.data().run.stopped() {
            None => Ok(UpdateDeadline::Continue(1)),
            Some(_) => Ok(UpdateDeadline::Interrupt),
        });
        store
    }
}

impl Realm {
    fn new(config: &Config) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        linked_files::add_to_linker(&mut linker)?;
        wasi_nn::add_to_linker(&mut linker)?;
        wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| {
            WasiConfig::from(&*state.configured)
        })?;
        Ok(Self { engine, linker })
    }
}

/// How much memory of a pool slot stays mapped for the next instance, in bytes. Pages
/// that a call has written are copied back from the snapshot and need not be faulted
/// in again, which is most of the cost of a fresh instance.
const KEEP_RESIDENT: usize = 16 << 20;

/// The most core instances of a guest. The usual tools make one for the program and a
/// few small ones for its imports and exports; this leaves room for components of
/// several programs.
pub(super) const MAX_CORE_INSTANCES: u32 = 16;
/// The most tables of a guest.
pub(super) const MAX_TABLES: u32 = MAX_CORE_INSTANCES;
/// The most memories of a guest.
pub(super) const MAX_MEMORIES: u32 = 2;

/// The settings that affect the code of guests that serve. A compiler process needs
/// these only, not the pool of instances.
pub(super) fn serving_code(memory: usize) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(Some(MAX_BACKTRACE))
        .cranelift_opt_level(OptLevel::Speed)
        // Instances share the pages of a snapshot, however large it is.
        .memory_guaranteed_dense_image_size(memory as u64);
    processor::compile_for_all(&mut config);
    config
}

/// The settings of the engine that guests serve in.
pub(super) fn serving_config(limits: &Limits) -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(limits.instances)
        .total_core_instances(limits.instances * MAX_CORE_INSTANCES)
        .total_memories(limits.instances * MAX_MEMORIES)
        .total_tables(limits.instances * MAX_TABLES)
        .total_stacks(limits.instances)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(limits.memory)
        .table_elements(MAX_TABLE_ELEMENTS)
        // Reuse the same few slots, since each keeps its memory.
        .max_unused_warm_slots(0)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = serving_code(limits.memory);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The settings for guests that are prepared.
pub(super) fn preparing_code() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(Some(MAX_BACKTRACE))
        .cranelift_opt_level(OptLevel::None);
    config
}

/// The most functions of a backtrace. A panic takes some ten of the runtime's before the
/// author's own, and sorting or formatting ten more.
const MAX_BACKTRACE: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Advances the epochs and checks the running calls, as long as an engine exists.
fn tick(engines: &[EngineWeak], watch: &Watch) {
    loop {
        std::thread::sleep(TICK);
        watch.check();
        let mut alive = false;
        for engine in engines.iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
            alive = true;
        }
        if !alive {
            return;
        }
    }
}
