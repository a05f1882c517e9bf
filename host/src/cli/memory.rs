//! How much memory the compiler of guests may use.

use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

/// A little more than the default guest needs, in bytes.
const MIN_COMPILER_MEMORY: u64 = 256 << 20;

/// The memory limit for compiling a guest, in bytes: `wanted`, or half of what is
/// available if that is less, since exceeding a container's limit ends the server too.
pub(super) fn compiler_limit(wanted: u64) -> u64 {
    let available = available().unwrap_or(u64::MAX);
    wanted.min((available / 2).max(MIN_COMPILER_MEMORY))
}

/// The memory of this machine or container, in bytes, if it is known.
fn available() -> Option<u64> {
    let me = sysinfo::get_current_pid().ok()?;
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[me]),
        false,
        ProcessRefreshKind::nothing(),
    );
    let machine = Some(system.total_memory()).filter(|&bytes| bytes > 0);
    let group = system.process(me).and_then(sysinfo::Process::cgroup_limits);
    group.map(|group| group.total_memory).or(machine)
}
