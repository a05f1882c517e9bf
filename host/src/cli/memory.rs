//! What the process asks of its allocator.

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
