//! The tier that several processes share: a Redis, which may be absent, slow,
//! full or wrong at any time without a request being wrong or much slower.
//!
//! A request asks at most once, within a time-out, and not at all while Redis
//! is known not to work; writes and recovery are up to tasks of their own.
//!
//! This module must not know how keys are made, or what is in memory.

mod address;
mod backoff;
mod connection;
mod fault;
mod link;
mod metrics;
mod value;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use redis::Value;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::key::Key;
pub use address::{Address, AddressError};
use link::{Link, LinkOptions, Operation};
use metrics::Metrics;
use predictor::Scores;
use value::{Labels, decode};
pub(super) use writer::Outbox;
use writer::Writes;

/// Which Redis is used, and how.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where it is.
    pub address: Address,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// How long an answer is kept there; in whole seconds, and at least one.
    pub ttl: Duration,
    /// How long a request waits for Redis.
    pub timeout: Duration,
}

impl RedisOptions {
    /// Tries once whether Redis can be connected to and asked.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that do not hold the password.
    pub async fn reach(&self) -> Result<(), String> {
        let metrics = Metrics::new(&Registry::new()).map_err(|error| error.to_string())?;
        link::reach(self.link(self.timeout), &metrics).await
    }

    fn link(&self, timeout: Duration) -> LinkOptions {
        LinkOptions {
            address: self.address.clone(),
            prefix: self.prefix.clone(),
            timeout,
        }
    }
}

/// Answers that are kept in Redis.
pub(super) struct Shared {
    prefix: String,
    labels: Labels,
    reads: Arc<Link>,
    writes: Writes,
    metrics: Metrics,
}

/// What a lookup found.
pub(super) enum Found {
    /// For each key what is kept under it.
    Values(Vec<Option<Scores>>),
    /// Redis did not answer.
    Failed,
    /// Redis was not asked.
    Skipped,
}

/// The tasks that keep the connections; they end when this is dropped. That
/// which writes ends by itself, when nobody can give it anything any more.
pub(super) struct Keepers([AbortHandle; 2]);

impl Shared {
    /// Starts the tasks on `runtime`. This does not wait for Redis.
    pub(super) fn start(
        options: &RedisOptions,
        registry: &Registry,
        runtime: &Handle,
    ) -> prometheus::Result<(Self, Keepers)> {
        let metrics = Metrics::new(registry)?;
        let reads = Link::new(Operation::Read, options.link(options.timeout), &metrics);
        let timeout = writer::timeout(options.timeout);
        let link = Link::new(Operation::Write, options.link(timeout), &metrics);
        let (writes, task) = Writes::new(Arc::clone(&link), &metrics);
        let (prefix, ttl) = (options.prefix.clone(), options.ttl);
        runtime.spawn(task.run(move |key| name(&prefix, key), ttl));
        let keep = |link: Arc<Link>| runtime.spawn(link::keep(link)).abort_handle();
        let keepers = Keepers([keep(Arc::clone(&reads)), keep(link)]);
        let shared = Self {
            prefix: options.prefix.clone(),
            labels: Labels::default(),
            reads,
            writes,
            metrics,
        };
        Ok((shared, keepers))
    }

    /// Looks keys up.
    pub(super) async fn get(&self, keys: &[Key]) -> Found {
        let Some(lease) = self.reads.lease() else {
            return Found::Skipped;
        };
        let names: Vec<String> = keys.iter().map(|key| name(&self.prefix, key)).collect();
        let (reads, seconds) = (Arc::clone(&self.reads), self.metrics.lookup_seconds.clone());
        // A task of its own: how Redis does has to be told also if the caller
        // does not wait for it to the end.
        let lookup = tokio::spawn(async move {
            let begun = Instant::now();
            let answer = lease.connection.get(&names, reads.timeout()).await;
            seconds.observe(begun.elapsed().as_secs_f64());
            lease.tell(&reads, answer.as_ref().map(|_| ()));
            answer
        });
        match lookup.await {
            Ok(Ok(values)) => {
                let scores = |(key, value)| self.scores(key, &value);
                Found::Values(keys.iter().zip(values).map(scores).collect())
            }
            Ok(Err(_)) | Err(_) => Found::Failed,
        }
    }

    /// Where the answers of a request are put, to be written as one.
    pub(super) fn outbox(&self) -> Outbox {
        Outbox::new(&self.writes)
    }

    fn scores(&self, key: &Key, value: &Value) -> Option<Scores> {
        let scores = match value {
            Value::Nil => return None,
            Value::BulkString(bytes) => decode(key, bytes, &self.labels),
            _ => None,
        };
        if scores.is_none() {
            self.metrics.corrupt.inc();
        }
        scores
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// The name of a key in Redis: in hexadecimal digits, so that it can be read
/// and typed.
fn name(prefix: &str, key: &Key) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut name = String::with_capacity(prefix.len() + 2 * key.0.len());
    name.push_str(prefix);
    for byte in key.0 {
        for digit in [byte >> 4, byte & 15] {
            name.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::Digest;

    #[test]
    fn a_name_is_the_prefix_and_the_key() {
        let key = Digest(std::array::from_fn(|at| u8::try_from(at * 8).unwrap()));
        assert_eq!(name("a:", &key), format!("a:{key}"));
    }
}
