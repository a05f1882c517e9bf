//! Returns freed memory to the system.

use std::sync::Arc;
use std::time::Duration;

/// How often a server looks whether it uses more memory.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Memory is returned while so much more is used than there was to use at least, in pages:
/// 8 MiB.
const MORE: u64 = 2048;

pub(super) use allocator::return_large_blocks;

/// Returns freed memory to the system, now and whenever more is used than before. Small
/// blocks, such as those of connections, would otherwise stay with the process, as would what
/// runs of models have used, which `models` returns.
pub(super) async fn return_memory(models: impl Fn() + Send + Sync + 'static) {
    let models = Arc::new(models);
    let mut level = Level::default();
    while let Some(now) = used() {
        if level.is_high(now) {
            let models = Arc::clone(&models);
            let give_back = move || {
                models();
                allocator::trim();
            };
            // It takes some milliseconds. If it panics, nothing is returned.
            let _ = tokio::task::spawn_blocking(give_back).await;
            level.record(used().unwrap_or(now));
        } else {
            level.record(now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The least memory that the process has used, in pages.
#[derive(Default)]
struct Level(Option<u64>);

impl Level {
    /// Whether a process that uses so much should return memory. If it cannot, because the
    /// memory is in use, it should try again later: much of it may be free by then.
    fn is_high(&self, used: u64) -> bool {
        self.0.is_none_or(|least| used > least.saturating_add(MORE))
    }

    fn record(&mut self, used: u64) {
        self.0 = Some(self.0.map_or(used, |least| least.min(used)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_in_use_is_returned_later() {
        let mut level = Level::default();
        assert!(level.is_high(1000), "what loading has left");
        level.record(1000);
        assert!(!level.is_high(1000 + MORE));
        assert!(level.is_high(1001 + MORE));
        // All of it is in use.
        level.record(9000);
        assert!(level.is_high(9000));
        assert!(level.is_high(8000));
        level.record(900);
        assert!(level.is_high(1000 + MORE));
    }
}
