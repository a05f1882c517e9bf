//! Caches answers, in this process and in a Redis that several processes share, and merges
//! concurrent requests for the same text.
//!
//! The key of an answer is the SHA-256 of everything that decides it: the revision, the
//! engine, the text, and whether that may be truncated. So no swap can serve a stale answer,
//! and nothing has to be invalidated.
//!
//! - **Memory** (`memory.rs`) is looked up without waiting for anything.
//! - **Redis** (`shared/`) is asked for what memory does not have: at most once for each
//!   request, within a time-out, and not at all while it is known not to work. Reads and
//!   writes have a connection and a circuit breaker each, repaired in the background and
//!   never by a request. What Redis does not answer is computed, and its values are
//!   checked before they are used. So Redis can only make an answer faster, never wrong;
//!   with a [`Secret`], not even if somebody else writes to it.
//! - **Flights** (`flight.rs`) are texts that are being computed. A flight belongs to
//!   everybody who waits for it: it is cancelled when the last of them leaves, and its
//!   failure is never cached.
//!
//! This crate must not know batches, guests, or what lies below the [`Predictor`] that
//! computes what is not found.

mod flight;
mod key;
mod lookup;
mod memory;
mod metrics;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::runtime::Handle;

use lookup::{Inner, Recalled};
use predictor::{BoxFuture, Caching, Pending, PredictError, Predictor, Request};
#[cfg(any(test, fuzzing))]
pub use shared::fuzz;
pub use shared::{Address, AddressError, RedisOptions, Secret, SecretError};
use shared::{Maintainers, Shared};

/// What is cached, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The size of the cache in this process, in bytes; 0 for none.
    pub memory_bytes: u64,
    /// How long an answer stays in this process.
    pub memory_ttl: Duration,
    /// The Redis to share answers through, if any.
    pub redis: Option<RedisOptions>,
    /// Whatever changes answers and is not part of a revision: the engine that runs models,
    /// and the kind of processor. Only servers with the same value share answers.
    pub engine: String,
}

impl Options {
    /// Whether nothing is cached, so that the layer can be left out.
    pub fn keep_nothing(&self) -> bool {
        self.memory_bytes == 0 && self.redis.is_none()
    }
}

/// Answers texts from the cache, and caches what the layer below answers.
pub struct Cache {
    inner: Arc<Inner>,
    /// End the tasks that maintain the connections to Redis, when dropped.
    _maintainers: Option<Maintainers>,
}

impl Cache {
    /// Puts a cache before `below`, with its metrics in `registry`. This does not wait for
    /// Redis: tasks on `runtime` connect to it.
    ///
    /// # Errors
    ///
    /// If a metric of one of these names is registered already.
    pub fn start(
        options: &Options,
        below: Arc<dyn Predictor>,
        registry: &Registry,
        runtime: &Handle,
    ) -> prometheus::Result<Self> {
        let redis = options.redis.as_ref();
        let redis = redis.map(|redis| Shared::start(redis, registry, runtime));
        let (shared, maintainers) = redis.transpose()?.unzip();
        let inner = Inner::new(options, below, shared, registry)?;
        Ok(Self {
            inner: Arc::new(inner),
            _maintainers: maintainers,
        })
    }
}

impl Predictor for Cache {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        match request.options.caching {
            Caching::Use => match self.inner.recall(request) {
                Recalled::All(answers) => Box::pin(std::future::ready(Ok(answers))),
                Recalled::Part(lookup) => Box::pin(Arc::clone(&self.inner).complete(lookup)),
            },
            Caching::Renew => Box::pin(Arc::clone(&self.inner).renew(request)),
            Caching::Bypass => self.inner.below.predict(request),
        }
    }
}
