//! How much memory there is, and what the process asks of its allocator.

use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

/// What the default guest needs, and some more.
const COMPILER_AT_LEAST: u64 = 256 << 20;

/// The most memory that compiling a guest may take, in bytes, of the `wanted` ones:
/// half of what there is, since what is beyond a container's limit ends the server
/// as well.
pub(super) fn for_the_compiler(wanted: u64) -> u64 {
    let there_is = there_is().unwrap_or(u64::MAX);
    wanted.min((there_is / 2).max(COMPILER_AT_LEAST))
}

/// The memory of this machine, or of this container; nothing where it is not told.
fn there_is() -> Option<u64> {
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

/// From this size on, in bytes, memory is given back as soon as it is free.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 1 << 20;

/// Has large blocks of memory given back to the system when they are freed.
///
/// The allocator of the GNU C library raises the size from which it does so
/// with every large block that it sees freed, and keeps what is below with the
/// thread that has used it. A server whose guests ask, now and then, for much at
/// once would hold that for ever, once for each of its threads. Call it before
/// there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn give_back_large_blocks() {
    // SAFETY: it sets two numbers of the allocator, and there are no other
    // threads yet. If it refuses one, everything is as it was.
    #[expect(unsafe_code, reason = "a setting of the C library")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        // It no longer follows the other one once that is set.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}

/// Other allocators have no such habit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_back_large_blocks() {}
