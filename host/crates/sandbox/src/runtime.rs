//! The engine that guests run in, what they are linked to, and their limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel,
    PoolingAllocationConfig, Store, UpdateDeadline,
};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_nn::Graph;

use super::compiler::Compiler;
use super::metrics::Metrics;
use super::processor;
use super::state::{MAX_HOSTCALL, MAX_TABLE_ELEMENTS, State};
use super::wasi_nn::{self, Models};
use super::watch::Watch;
use predictor::CancellationToken;

/// The name under which the contract has the host register the model.
pub const GRAPH_NAME: &str = "model";

/// What a guest may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest linear memory, in bytes.
    pub memory: usize,
    /// The longest that a call of `predict` may take.
    pub call: Duration,
    /// The longest that `prepare` may take.
    pub prepare: Duration,
    /// How many instances there may be at once.
    pub instances: u32,
}

/// Ends what a model is doing for a call of a guest, from any thread; what it
/// is asked to do for that call later ends at once, too.
pub type Interrupt = Box<dyn Fn() + Send + Sync>;

/// The models that guests can ask for, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Graphs(HashMap<&'static str, Arc<Open>>);

/// Gives one instance of a guest a model.
type Open = dyn Fn() -> (Graph, Interrupt) + Send + Sync;

impl Graphs {
    /// One model under the name that the contract gives it. `open` is called
    /// once for each instance of a guest, since an interrupt ends the work of
    /// one of them only.
    pub fn of(open: impl Fn() -> (Graph, Interrupt) + Send + Sync + 'static) -> Self {
        Self(HashMap::from([(GRAPH_NAME, Arc::new(open) as Arc<Open>)]))
    }

    /// The models for one instance.
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

/// Where guests run: one for a process.
pub struct Runtime {
    serving: Realm,
    preparing: Realm,
    watch: Arc<Watch>,
    pub(super) compiler: Compiler,
    /// Held by the load that compiles.
    pub(super) compiling: Mutex<()>,
    pub(super) metrics: Metrics,
    pub(super) graphs: Graphs,
    pub(super) limits: Limits,
}

/// An engine and what its guests are linked to.
pub(super) struct Realm {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
}

/// How often the clock by which guests are stopped moves on: the precision of
/// their deadlines.
const TICK: Duration = Duration::from_millis(10);

impl Runtime {
    /// Sets up the engines, and the thread that lets deadlines pass.
    ///
    /// # Errors
    ///
    /// If this machine can not run WebAssembly as configured, for example for
    /// want of address space.
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
            serving,
            preparing,
            watch,
            compiler,
            compiling: Mutex::new(()),
            metrics,
            graphs,
            limits,
        }))
    }

    /// Where guests serve: the fastest code, instances from a pool.
    pub(super) fn serving(&self) -> &Realm {
        &self.serving
    }

    /// Where guests are prepared: code that is compiled quickly, as it runs
    /// only once.
    pub(super) fn preparing(&self) -> &Realm {
        &self.preparing
    }

    /// A store for an instance that may run for `time`, or until nobody wants
    /// what it does.
    pub(super) fn store(
        &self,
        realm: &Realm,
        wasi: WasiCtx,
        time: Duration,
        abandoned: Option<CancellationToken>,
    ) -> Store<State> {
        let (models, interrupts) = self.graphs.open();
        let run = self.watch.begin(time, abandoned, interrupts);
        let state = State::new(wasi, models, &self.limits, run);
        let mut store = Store::new(&realm.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(MAX_HOSTCALL);
        // At every tick, a guest that computes looks whether it must stop.
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
        wasi_nn::add_to_linker(&mut linker)?;
        Ok(Self { engine, linker })
    }
}

/// How much of an instance's memory stays in place for the next instance. What
/// a call has written is copied back from the snapshot and need not be paged in
/// again, which is most of what a fresh instance costs.
const KEEP_RESIDENT: usize = 16 << 20;

/// How many core instances and tables a guest may have. A component made by the
/// usual tools holds a main module and a few small ones that connect it; these
/// bounds leave room for components of several.
pub(super) const MAX_CORE_INSTANCES: u32 = 16;
pub(super) const MAX_TABLES: u32 = MAX_CORE_INSTANCES;
/// How many memories a guest may have.
pub(super) const MAX_MEMORIES: u32 = 2;

/// What decides which code guests serve with, which the compiler's process has
/// to know: not where instances come from.
pub(super) fn serving_code(memory: usize) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        // However large a snapshot is, instances share its pages.
        .memory_guaranteed_dense_image_size(memory as u64);
    processor::compile_for_all(&mut config);
    config
}

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
        // Few slots in turn, and not many: each keeps memory of its own.
        .max_unused_warm_slots(0)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = serving_code(limits.memory);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The same for guests that are being prepared.
pub(super) fn preparing_code() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::None);
    config
}

/// Moves the clock on, and looks after what runs, for as long as there is an
/// engine.
fn tick(engines: &[EngineWeak], watch: &Watch) {
    loop {
        std::thread::sleep(TICK);
        watch.look();
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
