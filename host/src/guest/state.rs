//! What one instance of a guest can reach: nothing but clocks, random numbers,
//! the models, and as much memory as its limit allows.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_nn::Registry;
use wasmtime_wasi_nn::wit::{WasiNnCtx, WasiNnView};

use super::runtime::Limits;
use super::watch::Run;

/// The data of a store.
pub(super) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    nn: WasiNnCtx,
    pub(super) memory: MemoryLimiter,
    pub(super) run: Arc<Run>,
}

impl State {
    pub(super) fn new(wasi: WasiCtx, registry: Registry, limits: &Limits, run: Arc<Run>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            table,
            wasi,
            // Without a backend, a guest can not load a graph of its own.
            nn: WasiNnCtx::new([], registry),
            memory: MemoryLimiter::new(limits.memory),
            run,
        }
    }

    pub(super) fn nn(&mut self) -> WasiNnView<'_> {
        WasiNnView::new(&mut self.table, &mut self.nn)
    }
}

/// The most resources (tensors, graphs, streams and the like) that a guest can
/// hold. With [`MAX_HOSTCALL`] this bounds what it makes the host keep for it.
const MAX_RESOURCES: usize = 64;

/// The most bytes that a guest can hand to the host in one call, its answer
/// included. The inputs of the largest run of the default guest take 12 KiB.
pub(super) const MAX_HOSTCALL: usize = 4 << 20;

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Refuses memory beyond a limit, and remembers that it did: a guest that is
/// refused usually traps, and the trap alone does not say why.
pub(super) struct MemoryLimiter {
    limits: StoreLimits,
    refused: bool,
}

/// The largest number of elements in a guest's tables. A table holds a
/// language's function pointers; a large program has some thousands.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;

impl MemoryLimiter {
    fn new(bytes: usize) -> Self {
        Self {
            limits: StoreLimitsBuilder::new()
                .memory_size(bytes)
                .table_elements(MAX_TABLE_ELEMENTS)
                .build(),
            refused: false,
        }
    }

    /// Whether the guest has been refused memory.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.limits.memory_growing(current, desired, maximum)?;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.limits.table_growing(current, desired, maximum)?;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}
