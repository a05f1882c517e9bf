//! Settings of the whole process. All of them have to be made before there are other
//! threads.

/// ONNX Runtime reads this variable once, when it is loaded. Its API is no substitute:
/// since 1.29 the library resolves its vendor's host and writes a device id into the
/// user's cache directory before a program can call it.
const DISABLE_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Disables ONNX Runtime's telemetry for this process and its children, whatever the
/// environment says.
pub(super) fn disable_telemetry() {
    // SAFETY: there is no other thread yet that could read the environment meanwhile.
    #[expect(
        unsafe_code,
        reason = "ONNX Runtime reads this from the environment only"
    )]
    unsafe {
        std::env::set_var(DISABLE_TELEMETRY, "1");
    }
}

/// From this size on, in bytes, freed memory returns to the system at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 1 << 20;

/// Returns large blocks of memory to the system as soon as they are freed.
///
/// By default, glibc raises its threshold for doing so with every large block that is
/// freed, and keeps smaller blocks with the thread that used them. A server whose guests
/// sometimes need a lot of memory would keep it forever, once per thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn return_large_blocks() {
    // SAFETY: this sets two parameters of the allocator while there is only one thread.
    // If the allocator rejects one, it keeps its default.
    #[expect(unsafe_code, reason = "the only interface to glibc's allocator")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        // Setting the first disables the automatic adjustment of the second.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}

/// Other allocators do not need this.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn return_large_blocks() {}
