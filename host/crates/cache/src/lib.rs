//! Answers that are kept, so that a text is not computed twice by one version:
//! in this process, and in a Redis that several processes share. And texts that
//! are being computed, so that they are not computed twice at the same time.
//!
//! An answer is kept under a digest of all that decides it, so that no swap can
//! serve a stale one. Redis can only make an answer come sooner: whatever it
//! does, what is not found is computed.
//!
//! This module must not know batches or guests: the layer below, a
//! [`Predictor`], computes what is not found.

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
pub use shared::{Address, AddressError, RedisOptions};
use shared::{Keepers, Shared};

/// What is kept, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// About how many bytes of answers are kept in this process; 0 for none.
    pub memory_bytes: u64,
    /// How long an answer is kept in this process.
    pub memory_ttl: Duration,
    /// Where answers are shared with other processes, if they are.
    pub redis: Option<RedisOptions>,
    /// Whatever changes answers and is no part of a revision: the engine that runs models,
    /// and the kind of processor where that matters. Answers are shared by servers that
    /// give the same.
    pub engine: String,
}

impl Options {
    /// Whether nothing is kept at all, so that the layer can be left out.
    pub fn keep_nothing(&self) -> bool {
        self.memory_bytes == 0 && self.redis.is_none()
    }
}

/// Answers texts from what is kept, and keeps what the layer below answers.
pub struct Cache {
    inner: Arc<Inner>,
    /// Dropped, they end the tasks that keep the connections to Redis.
    _keepers: Option<Keepers>,
}

impl Cache {
    /// Puts a cache before `below`, which tells of itself at `registry`. It
    /// does not wait for Redis: `runtime` runs the tasks that connect to it.
    ///
    /// # Errors
    ///
    /// If the name of one of its metrics is taken.
    pub fn start(
        options: &Options,
        below: Arc<dyn Predictor>,
        registry: &Registry,
        runtime: &Handle,
    ) -> prometheus::Result<Self> {
        let redis = options.redis.as_ref();
        let redis = redis.map(|redis| Shared::start(redis, registry, runtime));
        let (shared, keepers) = redis.transpose()?.unzip();
        let inner = Inner::new(options, below, shared, registry)?;
        Ok(Self {
            inner: Arc::new(inner),
            _keepers: keepers,
        })
    }
}

impl Predictor for Cache {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        match request.caching {
            Caching::Use => match self.inner.recall(request) {
                Recalled::All(answers) => Box::pin(std::future::ready(Ok(answers))),
                Recalled::Part(lookup) => Box::pin(Arc::clone(&self.inner).complete(lookup)),
            },
            Caching::Renew => Box::pin(Arc::clone(&self.inner).renew(request)),
            Caching::Bypass => self.inner.below.predict(request),
        }
    }
}
