//! The state of one instance of a guest, and what it can reach: clocks, random
//! numbers, its configuration, the models, and memory up to its limit.

use std::sync::Arc;

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;

use super::error::is_exhausted;
use super::linked_files::LinkedFiles;
use super::runtime::{Limits, MAX_MEMORIES};
use super::wasi_nn::Models;
use super::watch::Run;
use predictor::Configuration;

/// What a guest reads through `wasi:config/store`; its instances share it.
pub(super) type Configured = Arc<WasiConfigVariables>;

/// A configuration in the form that instances share.
pub(super) fn configured(by: &Configuration) -> Configured {
    Arc::new(by.iter().collect())
}

/// The data of a store.
pub(super) struct State {
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    pub(super) configured: Configured,
    pub(super) models: Models,
    /// The files that a guest can read though they are outside of its directory.
    pub(super) linked: LinkedFiles,
    pub(super) memory: MemoryLimiter,
    pub(super) run: Arc<Run>,
}

impl State {
    pub(super) fn new(
        wasi: WasiCtx,
        models: Models,
        configured: Configured,
        limits: &Limits,
        run: Arc<Run>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            table,
            wasi,
            configured,
            models,
            linked: LinkedFiles::default(),
            memory: MemoryLimiter::new(limits.memory),
            run,
        }
    }
}

/// The environment of a guest that serves: no directory, no environment variables, no
/// arguments, empty input, no network.
pub(super) fn sandbox() -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM);
    wasi
}

/// The most random bytes of one host call, which takes the host's time.
const MAX_RANDOM: u64 = 64 << 10;

/// The most resources (tensors, graphs, streams and so on) that a guest can hold. All
/// are small, except for tensors, which [`Models`] limits.
const MAX_RESOURCES: usize = 64;

/// The most data that a guest can pass to the host in one call, in bytes; its answer
/// counts as one. The inputs of the largest run of the default guest take 12 KiB; the
/// answer to 32 texts with 1,000 labels each takes about 1.5 MiB.
pub(super) const MAX_HOSTCALL: usize = 2 << 20;

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Refuses memory beyond a limit, and remembers that it did: a guest that is refused
/// usually traps, and the trap alone does not say why. The limits apply to all
/// memories, and to all tables, of a component together.
pub(super) struct MemoryLimiter {
    memory: Budget,
    tables: Budget,
    refused: Option<Refused>,
}

/// What a guest was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Linear memory.
    Memory,
    /// Elements of tables.
    Table,
    /// Memory within its limit, which the host does not have.
    ByHost,
}

/// The most elements in all tables of a guest. Tables hold function pointers; a large
/// program has some thousands.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// The size of a page of linear memory, in bytes.
const WASM_PAGE: usize = 64 << 10;

impl MemoryLimiter {
    fn new(bytes: usize) -> Self {
        Self {
            memory: Budget::new(bytes),
            tables: Budget::new(MAX_TABLE_ELEMENTS),
            refused: None,
        }
    }

    /// Allows each memory to grow by one more page.
    pub(super) fn add_page_for_each(&mut self) {
        self.memory.limit += WASM_PAGE * MAX_MEMORIES as usize;
    }

    /// The size of all memories, in bytes.
    pub(super) fn used(&self) -> usize {
        self.memory.used
    }

    /// What the guest was refused last.
    pub(super) fn refused(&self) -> Option<Refused> {
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
        let grown = self.memory.grow(current, desired, maximum);
        if grown == Growth::BeyondLimit {
            self.refused = Some(Refused::Memory);
        }
        Ok(grown == Growth::Allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if is_exhausted(&error) {
            self.refused = Some(Refused::ByHost);
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.tables.grow(current, desired, maximum);
        if grown == Growth::BeyondLimit {
            self.refused = Some(Refused::Table);
        }
        Ok(grown == Growth::Allowed)
    }
}

#[derive(PartialEq, Eq)]
enum Growth {
    Allowed,
    /// Beyond the maximum that the guest itself declares.
    BeyondOwn,
    BeyondLimit,
}

/// A limit, and how much of it is used.
struct Budget {
    used: usize,
    limit: usize,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self { used: 0, limit }
    }

    /// Grows something from `current` to `desired`, if that is allowed.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Growth {
        let others = self.used.saturating_sub(current);
        match others.checked_add(desired) {
            Some(used) if used <= self.limit => {
                if maximum.is_some_and(|maximum| desired > maximum) {
                    return Growth::BeyondOwn;
                }
                self.used = used;
                Growth::Allowed
            }
            _ => Growth::BeyondLimit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_for_all_memories_together() {
        let mut limiter = MemoryLimiter::new(100);
        let mut grow = |current, desired| {
            limiter
                .memory_growing(current, desired, None)
                .expect("no trap")
        };
        assert!(grow(0, 40));
        assert!(grow(0, 40));
        assert!(grow(40, 60));
        assert!(!grow(40, 41));
        assert!(!grow(0, usize::MAX));
        assert_eq!(limiter.refused(), Some(Refused::Memory));
    }

    #[test]
    fn a_host_without_memory_is_told_apart_from_the_limit() {
        let mut limiter = MemoryLimiter::new(100);
        let error = |kind| wasmtime::Error::from(std::io::Error::from(kind));
        let invalid = std::io::ErrorKind::InvalidInput;
        limiter.memory_grow_failed(error(invalid)).expect("no trap");
        assert_eq!(limiter.refused(), None);
        let no_memory = std::io::Error::from_raw_os_error(12);
        limiter
            .memory_grow_failed(no_memory.into())
            .expect("no trap");
        assert_eq!(limiter.refused(), Some(Refused::ByHost));
    }

    #[test]
    fn a_guest_that_meets_its_own_maximum_was_not_refused() {
        let mut limiter = MemoryLimiter::new(100);
        assert!(!limiter.memory_growing(10, 60, Some(50)).expect("no trap"));
        assert_eq!(limiter.refused(), None);
        assert!(
            limiter
                .table_growing(0, MAX_TABLE_ELEMENTS, None)
                .expect("no trap")
        );
        assert!(!limiter.table_growing(0, 1, None).expect("no trap"));
        assert_eq!(limiter.refused(), Some(Refused::Table));
    }
}
