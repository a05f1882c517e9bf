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
