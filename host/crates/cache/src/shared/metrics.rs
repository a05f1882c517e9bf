//! Metrics of Redis.

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry,
};

use super::fault::{Fault, FaultKind};
use crate::metrics::seconds;

/// The instruments of Redis.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) lookup_seconds: Histogram,
    pub(super) write_seconds: Histogram,
    pub(super) written: IntCounter,
    /// Texts that were not written, because too many waited or Redis cannot be used.
    pub(super) dropped_full: IntCounter,
    pub(super) dropped_unavailable: IntCounter,
    pub(super) corrupt: IntCounter,
    errors: IntCounterVec,
    breaker_open: IntGaugeVec,
    transitions: IntCounterVec,
}

/// The instruments of one breaker.
pub(super) struct BreakerMetrics {
    pub(super) open: IntGauge,
    pub(super) opened: IntCounter,
    pub(super) closed: IntCounter,
}

impl Metrics {
    /// Registers the instruments.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let breaker_open = register_int_gauge_vec_with_registry!(
            "fastsentiment_redis_breaker_open",
            "1 while Redis is not used, for it failed or is not connected yet; \
             0 while it is.",
            &["operation"],
            registry
        )?;
        let dropped = register_int_counter_vec_with_registry!(
            "fastsentiment_redis_dropped_writes_total",
            "Answers that were not written to Redis, by reason.",
            &["reason"],
            registry
        )?;
        let errors = register_int_counter_vec_with_registry!(
            "fastsentiment_redis_errors_total",
            "What went wrong with Redis, by operation and kind.",
            &["operation", "kind"],
            registry
        )?;
        // Created with 0, so that the first event of a kind is an increase.
        for operation in ["connect", "read", "write"] {
            for kind in FaultKind::ALL {
                errors.with_label_values(&[operation, kind.label()]);
            }
        }
        Ok(Self {
            lookup_seconds: seconds(
                registry,
                "fastsentiment_redis_lookup_duration_seconds",
                "How long Redis was waited for by requests.",
            )?,
            write_seconds: seconds(
                registry,
                "fastsentiment_redis_write_duration_seconds",
                "How long writes to Redis took; no request waits for them.",
            )?,
            written: register_int_counter_with_registry!(
                "fastsentiment_redis_written_texts_total",
                "Answers that were written to Redis.",
                registry
            )?,
            dropped_full: dropped.with_label_values(&["full"]),
            dropped_unavailable: dropped.with_label_values(&["unavailable"]),
            corrupt: register_int_counter_with_registry!(
                "fastsentiment_redis_corrupt_values_total",
                "Values under our keys that are no answers; they count as misses.",
                registry
            )?,
            errors,
            breaker_open,
            transitions: register_int_counter_vec_with_registry!(
                "fastsentiment_redis_breaker_transitions_total",
                "How often Redis was given up, and found usable.",
                &["operation", "to"],
                registry
            )?,
        })
    }

    /// The instruments of the breaker of an operation.
    pub(super) fn breaker(&self, operation: &str) -> BreakerMetrics {
        let transitions = |to| self.transitions.with_label_values(&[operation, to]);
        BreakerMetrics {
            open: self.breaker_open.with_label_values(&[operation]),
            opened: transitions("open"),
            closed: transitions("closed"),
        }
    }

    pub(super) fn count(&self, operation: &str, fault: &Fault) {
        let labels = [operation, fault.kind.label()];
        self.errors.with_label_values(&labels).inc();
    }
}
