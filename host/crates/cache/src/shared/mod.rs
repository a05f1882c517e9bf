//! The cache that several processes share: a Redis. It may be absent, slow, full or wrong at
//! any time; requests are then a little slower, and never wrong.
//!
//! A request asks at most once, within a time-out, and not at all while Redis is known not
//! to work. Tasks of their own write and reconnect.
//!
//! This module must not know how keys are made, or what is in memory.

mod address;
mod connection;
mod fault;
mod link;
mod metrics;
mod secret;
mod stream;
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
pub use secret::{Secret, SecretError};
#[cfg(any(test, fuzzing))]
pub use value::fuzz;
use value::{Labels, decode, encode};
pub(super) use writer::Outbox;
use writer::Writes;

/// Which Redis is used, and how.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Its address.
    pub address: Address,
    /// The prefix of the names of all keys.
    pub prefix: String,
    /// How long an answer stays there, in whole seconds; at least one.
    pub ttl: Duration,
    /// How long a request waits for Redis.
    pub timeout: Duration,
    /// What only servers know whose answers are trusted; without it, everybody's are who can
    /// write to Redis.
    pub secret: Option<Secret>,
}

impl RedisOptions {
    /// Tries once to connect to Redis and to read from it.
    ///
    /// # Errors
    ///
    /// A description of what went wrong, without the password.
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

/// The answers that are cached in Redis.
pub(super) struct Shared {
    marks: Marks,
    labels: Labels,
    reads: Arc<Link>,
    writes: Writes,
    metrics: Metrics,
}

/// What a lookup found.
pub(super) enum Found {
    /// For each key its answer, if there is one.
    Values(Vec<Option<Scores>>),
    /// Redis did not answer.
    Failed,
    /// Redis was not asked.
    Skipped,
}

/// The tasks that maintain the connections; they end when this is dropped. The task that
/// writes ends by itself, when its senders are gone.
pub(super) struct Maintainers([AbortHandle; 2]);

impl Shared {
    /// Starts the tasks on `runtime`. This does not wait for Redis.
    pub(super) fn start(
        options: &RedisOptions,
        registry: &Registry,
        runtime: &Handle,
    ) -> prometheus::Result<(Self, Maintainers)> {
        let metrics = Metrics::new(registry)?;
        let reads = Link::new(Operation::Read, options.link(options.timeout), &metrics);
        let timeout = writer::timeout(options.timeout);
        let link = Link::new(Operation::Write, options.link(timeout), &metrics);
        let (writes, task) = Writes::new(Arc::clone(&link), &metrics);
        let marks = Marks {
            prefix: options.prefix.clone(),
            secret: options.secret.clone(),
        };
        runtime.spawn(task.run(marks.clone(), options.ttl));
        let maintain = |link: Arc<Link>| runtime.spawn(link::maintain(link)).abort_handle();
        let maintainers = Maintainers([maintain(Arc::clone(&reads)), maintain(link)]);
        let shared = Self {
            marks,
            labels: Labels::default(),
            reads,
            writes,
            metrics,
        };
        Ok((shared, maintainers))
    }

    /// Looks keys up.
    pub(super) async fn get(&self, keys: &[Key]) -> Found {
        let Some(lease) = self.reads.lease() else {
            return Found::Skipped;
        };
        let names: Vec<String> = keys.iter().map(|key| self.marks.name(key)).collect();
        let (reads, seconds) = (Arc::clone(&self.reads), self.metrics.lookup_seconds.clone());
        // A task of its own, so that the outcome is reported even if the caller leaves.
        let lookup = tokio::spawn(async move {
            let begun = Instant::now();
            let answer = lease.connection.get(&names, reads.timeout()).await;
            seconds.observe(begun.elapsed().as_secs_f64());
            lease.report(&reads, answer.as_ref().map(|_| ()));
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

    /// Collects the answers of a request, to be written together.
    pub(super) fn outbox(&self) -> Outbox {
        Outbox::new(&self.writes)
    }

    fn scores(&self, key: &Key, value: &Value) -> Option<Scores> {
        let scores = match value {
            Value::Nil => return None,
            Value::BulkString(bytes) => self.marks.read(key, bytes, &self.labels),
            _ => None,
        };
        if scores.is_none() {
            self.metrics.corrupt.inc();
        }
        scores
    }
}

impl Drop for Maintainers {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// What keys are called, and how values are marked.
#[derive(Clone)]
struct Marks {
    prefix: String,
    secret: Option<Secret>,
}

impl Marks {
    /// The name of a key in Redis: readable, and easy to type.
    fn name(&self, key: &Key) -> String {
        let name = match &self.secret {
            None => *key,
            Some(secret) => secret.name(key),
        };
        format!("{}{name}", self.prefix)
    }

    fn write(&self, key: &Key, scores: &Scores) -> Option<Vec<u8>> {
        let mut value = encode(key, scores)?;
        if let Some(secret) = &self.secret {
            secret.seal(key, &mut value);
        }
        Some(value)
    }

    fn read(&self, key: &Key, bytes: &[u8], labels: &Labels) -> Option<Scores> {
        let value = match &self.secret {
            None => bytes,
            Some(secret) => secret.open(key, bytes)?,
        };
        decode(key, value, labels)
    }
}
