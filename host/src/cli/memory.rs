//! How much memory the compiler of guests may use.

use fastsentiment::app::memory::Memory;

/// A little more than the default guest needs, in bytes.
const MIN_COMPILER_MEMORY: u64 = 256 << 20;

/// The memory limit for compiling a guest, in bytes: `wanted`, or half of what the machine or
/// container has if that is less, since exceeding a container's limit ends the server too.
pub(super) fn compiler_limit(wanted: u64) -> u64 {
    let available = Memory::read().map_or(u64::MAX, |memory| memory.total);
    wanted.min((available / 2).max(MIN_COMPILER_MEMORY))
}
