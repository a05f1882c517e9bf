//! What the process tells of itself: its build, and what it takes of the machine, by
//! the names that Prometheus's own libraries give these.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge, Registry, register_int_gauge_vec_with_registry};
use std::sync::{Mutex, PoisonError};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

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

/// Tells, whenever it is asked for, what the process takes.
pub(super) fn register(registry: &Registry) -> prometheus::Result<()> {
    // Where the system does not tell, there is nothing to tell.
    let (Ok(system), Ok(me)) = (System::new(), sysinfo::get_current_pid()) else {
        return Ok(());
    };
    let gauge = |name, help| IntGauge::new(name, help);
    registry.register(Box::new(Process {
        me,
        system: Mutex::new(system),
        cpu: Counter::new(
            "process_cpu_seconds_total",
            "User and system CPU time, in seconds.",
        )?,
        gauges: [
            gauge(
                "process_resident_memory_bytes",
                "Resident memory, in bytes.",
            )?,
            gauge("process_virtual_memory_bytes", "Virtual memory, in bytes.")?,
            gauge(
                "process_start_time_seconds",
                "When the process was started, in seconds since 1970.",
            )?,
            gauge("process_open_fds", "File descriptors that are open.")?,
            gauge("process_max_fds", "File descriptors that may be open.")?,
            gauge("process_threads", "Threads of the process.")?,
        ],
    }))
}

struct Process {
    me: Pid,
    system: Mutex<System>,
    cpu: Counter,
    gauges: [IntGauge; 6],
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.gauges.iter().flat_map(Collector::desc);
        self.cpu.desc().into_iter().chain(gauges).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held to the end: two that ask at once must not count the same time twice.
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.me]), false, wanted);
        let Some(process) = system.process(self.me) else {
            return Vec::new();
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let cpu = process.accumulated_cpu_time() as f64 / 1000.0;
        self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        let values = [
            Some(process.memory()),
            Some(process.virtual_memory()),
            Some(process.start_time()),
            process.open_files().map(|files| files as u64),
            process.open_files_limit().map(|files| files as u64),
            threads(),
        ];
        let mut families = self.cpu.collect();
        for (gauge, value) in self.gauges.iter().zip(values) {
            // What the system does not tell is left out.
            if let Some(value) = value {
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
                families.extend(gauge.collect());
            }
        }
        families
    }
}

/// How many threads there are, where they are listed.
fn threads() -> Option<u64> {
    let listed = std::fs::read_dir("/proc/self/task").ok()?;
    Some(listed.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_takes_is_told_anew_each_time() {
        let registry = Registry::new();
        register(&registry).expect("no name is taken");
        let value = |name: &str| {
            let families = registry.gather();
            let mut found = families.iter().filter(|family| family.name() == name);
            let metric = found.next().expect(name).get_metric()[0].clone();
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        };
        let memory = value("process_resident_memory_bytes");
        assert!(memory > 1e6, "{memory}");
        assert!(value("process_virtual_memory_bytes") > memory);
        assert!(value("process_start_time_seconds") > 1.6e9);
        if cfg!(target_os = "linux") {
            let (open, most) = (value("process_open_fds"), value("process_max_fds"));
            assert!((3.0..=most).contains(&open), "{open} of {most}");
            assert!(value("process_threads") >= 1.0);
        }
        let before = value("process_cpu_seconds_total");
        let begun = std::time::Instant::now();
        // The clock of the system ticks a hundred times a second.
        while value("process_cpu_seconds_total") <= before {
            assert!(begun.elapsed().as_secs() < 60, "no time goes by");
        }
    }
}
