//! Metrics of the process: its build, CPU time, memory, threads and files.

use prometheus::{Registry, register_int_gauge_vec_with_registry};

/// Registers the metric that names the versions in use.
pub(super) fn register_build_info(
    registry: &Registry,
    onnxruntime: &str,
) -> prometheus::Result<()> {
    let build = register_int_gauge_vec_with_registry!(
        "fastsentiment_build_info",
        "The versions of the server, of the compiler and the runtime that it was built with, \
         and of the ONNX Runtime in use, always 1.",
        &["version", "rustc", "wasmtime", "onnxruntime"],
        registry
    )?;
    let versions = [
        env!("CARGO_PKG_VERSION"),
        env!("FASTSENTIMENT_RUSTC"),
        sandbox::WASMTIME_VERSION,
        onnxruntime,
    ];
    build.with_label_values(&versions).set(1);
    Ok(())
}

/// Registers the resource metrics of the process, which Linux alone provides.
pub(super) fn register(registry: &Registry) -> prometheus::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use prometheus::process_collector::ProcessCollector;
        registry.register(Box::new(ProcessCollector::for_self()))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = registry;
    Ok(())
}
