//! How much memory there is, and whether there is enough for one more model.

use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

/// What loading a model takes at most, as a multiple of the size of its files: ONNX Runtime
/// reads the file into memory, makes tensors of it, and packs some of them anew.
const TIMES: u64 = 3;

/// What it takes in any case, in bytes.
const LEAST: u64 = 64 << 20;

/// Checks that a model with files of `size` bytes can be loaded beside what is there.
///
/// # Errors
///
/// If there is too little memory: a sentence that says how much there is.
pub(super) fn require_room(size: u64) -> Result<(), String> {
    let needed = size.saturating_mul(TIMES).saturating_add(LEAST);
    match Memory::read().map(|memory| memory.free) {
        Some(free) if free < needed => Err(format!(
            "there is no room for the model: loading it may take {} MiB of memory, and {} MiB are \
             free",
            needed >> 20,
            free >> 20
        )),
        _ => Ok(()),
    }
}

/// Whether `size` bytes are free; so they are if nobody knows.
pub(super) fn is_free(size: u64) -> bool {
    Memory::read().is_none_or(|memory| memory.free >= size)
}

/// The memory of the machine, or that of the container if it is less; in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What this process can still take. Cached files make way, so they do not count.
    pub free: u64,
}

impl Memory {
    /// The memory at the moment, if it is known.
    pub fn read() -> Option<Self> {
        let me = sysinfo::get_current_pid().ok()?;
        let mut system = System::new().ok()?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[me]),
            false,
            ProcessRefreshKind::nothing(),
        );
        let machine = Self {
            total: system.total_memory(),
            free: system.available_memory(),
        };
        let machine = Some(machine).filter(|memory| memory.total > 0);
        let group = system.process(me).and_then(sysinfo::Process::cgroup_limits);
        let Some(group) = group else {
            return machine;
        };
        let free = group.total_memory.saturating_sub(group.rss);
        Some(Self {
            total: group.total_memory,
            free: machine.map_or(free, |machine| machine.free.min(free)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_larger_than_the_machine_has_no_room() {
        assert_eq!(require_room(0), Ok(()));
        let refused = require_room(1 << 50).unwrap_err();
        assert!(refused.contains("may take 3221225536 MiB"), "{refused}");
        assert!(is_free(0) && !is_free(1 << 60));
    }
}
