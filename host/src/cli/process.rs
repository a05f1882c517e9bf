//! The process: its limit on open files, and metrics of its build, CPU time, memory, threads
//! and files.

use prometheus::{Registry, register_int_gauge_vec_with_registry};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many files are kept for everything but clients: the admin listener, Redis, models,
/// guests and the processes that compile them.
const OTHER_FILES: u64 = 256;

/// Raises the limit on open files as far as the process may, and returns how many
/// connections fit below it, at most `wanted`. The usual limit of 1,024 is there for
/// programs that use `select`.
pub(super) fn connections_within_file_limit(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // Without a number there is no limit.
    let Some(files) = files else { return wanted };
    let room = files - OTHER_FILES.min(files / 2);
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    if room < wanted {
        tracing::warn!(
            files,
            connections = room,
            "the limit on open files allows fewer connections than --max-connections {wanted}"
        );
    }
    wanted.min(room)
}

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
