//! Metrics of the cache, except those of Redis.

use prometheus::{
    Histogram, IntCounter, Registry, exponential_buckets, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
};

/// The instruments of the cache.
pub(super) struct Metrics {
    pub(super) memory_hits: IntCounter,
    pub(super) memory_misses: IntCounter,
    pub(super) redis_hits: IntCounter,
    pub(super) redis_misses: IntCounter,
    pub(super) redis_errors: IntCounter,
    pub(super) redis_skipped: IntCounter,
    pub(super) joined: IntCounter,
    pub(super) lookup_seconds: Histogram,
}

impl Metrics {
    /// Registers the instruments.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let lookups = register_int_counter_vec_with_registry!(
            "fastsentiment_cache_lookups_total",
            "Texts that were looked up, by tier and result; Redis is asked for what memory \
             does not have, and skipped while it can not be used.",
            &["tier", "result"],
            registry
        )?;
        let lookups = |tier, result| lookups.with_label_values(&[tier, result]);
        let joined = register_int_counter_with_registry!(
            "fastsentiment_cache_joined_texts_total",
            "Texts that were not computed because an equal one was being computed.",
            registry
        )?;
        Ok(Self {
            memory_hits: lookups("memory", "hit"),
            memory_misses: lookups("memory", "miss"),
            redis_hits: lookups("redis", "hit"),
            redis_misses: lookups("redis", "miss"),
            redis_errors: lookups("redis", "error"),
            redis_skipped: lookups("redis", "skipped"),
            joined,
            lookup_seconds: seconds(
                registry,
                "fastsentiment_cache_lookup_duration_seconds",
                "How long looking up took, in all tiers, for requests that memory \
                 alone could not answer.",
            )?,
        })
    }
}

/// Registers a histogram of durations, from 10 microseconds to 5 seconds.
pub(super) fn seconds(
    registry: &Registry,
    name: &str,
    help: &str,
) -> prometheus::Result<Histogram> {
    let buckets = exponential_buckets(0.000_01, 2.0, 20)?;
    register_histogram_with_registry!(name, help, buckets, registry)
}
