//! The cache in this process: bounded in bytes and in time.
//!
//! This module must not know how keys are made, or that there is a Redis.

use std::sync::{Arc, Weak};
use std::time::Duration;

use moka::sync::Cache;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};

use super::key::Key;
use predictor::{Score, Scores};

/// What an entry takes beside its scores, in bytes: the key, and the tables, queues and
/// allocations of the map. Measured as the growth of resident memory over a million
/// entries.
const OVERHEAD: usize = 416;

/// The answers that are cached in this process.
pub(super) struct Memory {
    entries: Cache<Key, Scores>,
}

impl Memory {
    /// Caches answers of `bytes` in all, each for at most `ttl`, with metrics in
    /// `registry`; `None` if `bytes` is 0.
    pub(super) fn new(
        bytes: u64,
        ttl: Duration,
        registry: &Registry,
    ) -> prometheus::Result<Option<Arc<Self>>> {
        if bytes == 0 {
            return Ok(None);
        }
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, scores| weight(scores))
            .time_to_live(ttl)
            .build();
        let memory = Arc::new(Self { entries });
        registry.register(Box::new(Fill::new(Arc::downgrade(&memory))?))?;
        Ok(Some(memory))
    }

    /// The answer with this key.
    pub(super) fn get(&self, key: &Key) -> Option<Scores> {
        self.entries.get(key)
    }

    /// Caches an answer.
    pub(super) fn put(&self, key: Key, scores: Scores) {
        self.entries.insert(key, scores);
    }
}

/// What an entry takes, in bytes. Most labels are shared by all entries; a label that is
/// not counts as the entry's own.
fn weight(scores: &Scores) -> u32 {
    let own = scores.iter().map(|score| &score.label);
    let own = own.filter(|label| Arc::strong_count(label) == 1);
    let labels: usize = own.map(|label| label.len() + LABEL_OVERHEAD).sum();
    let bytes = OVERHEAD + size_of::<Score>() * scores.len() + labels;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What a label takes beside its bytes: two reference counts, and the allocator's
/// overhead.
const LABEL_OVERHEAD: usize = 32;

/// Reports how full the cache is when metrics are collected.
struct Fill {
    memory: Weak<Memory>,
    entries: IntGauge,
    bytes: IntGauge,
}

impl Fill {
    fn new(memory: Weak<Memory>) -> prometheus::Result<Self> {
        Ok(Self {
            memory,
            entries: IntGauge::new(
                "fastsentiment_cache_memory_entries",
                "Answers that are kept in this process.",
            )?,
            bytes: IntGauge::new(
                "fastsentiment_cache_memory_bytes",
                "About how much memory the answers take that are kept in this process.",
            )?,
        })
    }
}

impl Collector for Fill {
    fn desc(&self) -> Vec<&Desc> {
        let mut desc = self.entries.desc();
        desc.extend(self.bytes.desc());
        desc
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (mut entries, mut bytes) = (0, 0);
        if let Some(memory) = self.memory.upgrade() {
            // The map updates its counts only during maintenance.
            memory.entries.run_pending_tasks();
            entries = memory.entries.entry_count();
            bytes = memory.entries.weighted_size();
        }
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.entries.set(gauge(entries));
        self.bytes.set(gauge(bytes));
        let mut families = self.entries.collect();
        families.extend(self.bytes.collect());
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::Digest;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(number: u64) -> Key {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Digest(bytes)
    }

    fn scores() -> Scores {
        let label = "POSITIVE".into();
        [Score { label, score: 0.5 }].into()
    }

    fn gauge(registry: &Registry, name: &str) -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family.unwrap().get_metric()[0].get_gauge().get_value()
    }

    #[test]
    fn what_was_put_is_found_until_its_time_is_over() {
        let memory = Memory::new(1 << 20, Duration::from_millis(50), &Registry::new());
        let memory = memory.unwrap().unwrap();
        assert_eq!(memory.get(&key(1)), None);
        memory.put(key(1), scores());
        assert_eq!(memory.get(&key(1)), Some(scores()));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(memory.get(&key(1)), None);
    }

    #[test]
    fn no_bytes_are_no_tier() {
        assert!(Memory::new(0, HOUR, &Registry::new()).unwrap().is_none());
    }

    #[test]
    fn it_does_not_outgrow_its_bytes() {
        const BYTES: u32 = 100_000;
        let registry = Registry::new();
        let memory = Memory::new(BYTES.into(), HOUR, &registry).unwrap().unwrap();
        for number in 0..5000 {
            memory.put(key(number), scores());
        }
        let bytes = gauge(&registry, "fastsentiment_cache_memory_bytes");
        assert!(bytes <= f64::from(BYTES), "{bytes}");
        assert!(bytes > 0.9 * f64::from(BYTES), "{bytes}");
        let entries = gauge(&registry, "fastsentiment_cache_memory_entries");
        assert!((bytes - entries * f64::from(weight(&scores()))).abs() < 1.0);
        drop(memory);
        let entries = gauge(&registry, "fastsentiment_cache_memory_entries");
        assert!(entries.abs() < f64::EPSILON, "the registry keeps it alive");
    }
}
