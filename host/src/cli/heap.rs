//! Returns freed memory to the system.

use std::time::Duration;

/// How often a server looks whether it uses more memory.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Memory is trimmed once so much more is used than after the last time, in pages: 16 MiB.
const MORE: u64 = 4096;

pub(super) use allocator::return_large_blocks;

/// Returns freed memory to the system whenever more is used than before. Small blocks, such
/// as those of connections, would otherwise stay with the process.
pub(super) async fn return_small_blocks() {
    let mut least = used();
    while let (Some(before), Some(now)) = (least, used()) {
        least = if now > before.saturating_add(MORE) {
            // It takes some milliseconds. If it panics, nothing is trimmed.
            let _ = tokio::task::spawn_blocking(allocator::trim).await;
            used()
        } else {
            Some(before.min(now))
        };
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The memory that the process uses, in pages, as far as the system says.
fn used() -> Option<u64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    sizes.split(' ').nth(1)?.parse().ok()
}

/// The allocator of this process and of ONNX Runtime.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator {
    /// From this size on, in bytes, freed memory returns to the system at once.
    const LARGE: i32 = 1 << 20;

    /// Returns large blocks of memory to the system as soon as they are freed. This must be
    /// called before there are other threads.
    ///
    /// By default, glibc raises its threshold for doing so with every large block that is
    /// freed, and keeps smaller blocks with the thread that used them. A server whose guests
    /// sometimes need a lot of memory would keep it forever, once per thread.
    pub(in super::super) fn return_large_blocks() {
        // SAFETY: this sets two parameters of the allocator while there is only one thread.
        // If the allocator rejects one, it keeps its default.
        #[expect(unsafe_code, reason = "the only interface to glibc's allocator")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            // Setting the first disables the automatic adjustment of the second.
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
        }
    }

    /// Returns all free memory to the system.
    pub(super) fn trim() {
        // SAFETY: this may be called at any time, from any thread.
        #[expect(unsafe_code, reason = "the only interface to glibc's allocator")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Other allocators do this by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod allocator {
    pub(in super::super) fn return_large_blocks() {}

    pub(super) fn trim() {}
}
