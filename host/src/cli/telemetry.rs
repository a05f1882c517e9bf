//! ONNX Runtime's telemetry, which this process switches off.

/// The variable that ONNX Runtime looks for, once, when it is loaded. Its own API is
/// no substitute: since 1.29 the library looks up its maker's host and writes a device
/// id into the user's cache before a program can call it.
const DISABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Switches telemetry off for this process and those that it starts, whatever the
/// environment says. Call it before there are other threads.
pub(super) fn disable() {
    // SAFETY: no other thread exists yet that could read the environment meanwhile.
    #[expect(
        unsafe_code,
        reason = "ONNX Runtime reads this from the environment only"
    )]
    unsafe {
        std::env::set_var(DISABLE, "1");
    }
}
