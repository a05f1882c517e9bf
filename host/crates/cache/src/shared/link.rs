//! A connection that is there or is not, so that no request waits for Redis to
//! come back: a circuit breaker, and the task that mends it.
//!
//! Reads have one and writes have another, each with a connection of its own: a
//! Redis that is full or read-only still answers lookups, and a lookup never
//! stands behind a long write.
//!
//! This module must not know what is looked up or written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::address::Address;
use super::backoff::Backoff;
use super::connection::Connection;
use super::fault::Fault;
use super::metrics::{BreakerMetrics, Metrics};

/// How many time-outs in a row are too many.
const TIME_OUTS: u32 = 3;

/// How often a connection that is in use is tried: so one that was cut while
/// nobody used it is noticed and replaced before a request needs it.
const CHECK: Duration = Duration::from_secs(10);

/// How long a connection has to last to count as a good one, after which the
/// next is tried at once.
const LASTING: Duration = Duration::from_secs(20);

/// How many keys a probe asks for: enough to reach every node of a cluster
/// that is not large.
const PROBE_KEYS: usize = 32;

/// How long the keys that are written to probe stay.
const PROBE_TTL: Duration = Duration::from_secs(1);

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
}

/// How a link talks to Redis.
pub(super) struct LinkOptions {
    pub(super) address: Address,
    /// What the names of the keys of probes begin with.
    pub(super) prefix: String,
    pub(super) timeout: Duration,
}

/// A connection for one kind of operation, unless it is known not to work.
pub(super) struct Link {
    operation: Operation,
    options: LinkOptions,
    metrics: Metrics,
    breaker: BreakerMetrics,
    state: Mutex<State>,
    /// Told when the connection has been given up.
    tripped: Notify,
}

#[derive(Default)]
struct State {
    /// None while the breaker is open.
    connection: Option<Connection>,
    /// Counts connections, so that what is told of an old one is not held
    /// against the new one.
    number: u64,
    time_outs: u32,
}

/// The use of a connection, whose outcome has to be told.
pub(super) struct Lease {
    pub(super) connection: Connection,
    number: u64,
}

impl Link {
    pub(super) fn new(operation: Operation, options: LinkOptions, metrics: &Metrics) -> Arc<Self> {
        let breaker = metrics.breaker(operation.label());
        breaker.open.set(1);
        Arc::new(Self {
            operation,
            options,
            metrics: metrics.clone(),
            breaker,
            state: Mutex::default(),
            tripped: Notify::new(),
        })
    }

    /// How long an operation may take.
    pub(super) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// The connection, if it can be expected to work.
    pub(super) fn lease(&self) -> Option<Lease> {
        let state = self.lock();
        let connection = state.connection.clone()?;
        let number = state.number;
        Some(Lease { connection, number })
    }

    /// Whether there is a connection.
    pub(super) fn is_usable(&self) -> bool {
        self.lock().connection.is_some()
    }

    /// Says how an operation ended. One fault, or some time-outs in a row, and
    /// the connection is given up.
    pub(super) fn tell(&self, number: u64, outcome: Result<(), &Fault>) {
        let fault = match outcome {
            Ok(()) => {
                let mut state = self.lock();
                if state.number == number {
                    state.time_outs = 0;
                }
                return;
            }
            Err(fault) => fault,
        };
        self.metrics.count(self.operation.label(), fault);
        let mut state = self.lock();
        if state.number != number || state.connection.is_none() {
            return;
        }
        state.time_outs += 1;
        if state.time_outs < TIME_OUTS && !fault.is_certain() {
            return;
        }
        let given_up = state.connection.take();
        drop(state);
        drop(given_up);
        self.breaker.open.set(1);
        self.breaker.opened.inc();
        self.warn(fault);
        self.tripped.notify_one();
    }

    /// Takes a connection into use.
    fn restore(&self, connection: Connection) {
        let mut state = self.lock();
        state.connection = Some(connection);
        state.number += 1;
        state.time_outs = 0;
        drop(state);
        self.breaker.open.set(0);
        self.breaker.closed.inc();
        let (address, done) = (&self.options.address, self.operation.done());
        tracing::info!("{address} can be {done}");
    }

    fn warn(&self, fault: &Fault) {
        let (address, done) = (&self.options.address, self.operation.done());
        let reason = address.redacted(&fault.to_string());
        tracing::warn!("{address} can not be {done}, and is left alone until it can: {reason}");
    }

    /// Connects, and does once what the connection is for.
    async fn establish(&self) -> Result<Connection, Fault> {
        let options = &self.options;
        let connection = Connection::open(&options.address, options.timeout).await?;
        self.probe(&connection).await?;
        Ok(connection)
    }

    /// Does once what a connection is for.
    async fn probe(&self, connection: &Connection) -> Result<(), Fault> {
        let (keys, timeout) = (self.probe_keys(), self.options.timeout);
        match self.operation {
            Operation::Read => connection.get(&keys, timeout).await.map(drop),
            Operation::Write => {
                let entries: Vec<_> = keys.into_iter().map(|key| (key, Vec::new())).collect();
                connection.set(&entries, PROBE_TTL, timeout).await
            }
        }
    }

    fn probe_keys(&self) -> Vec<String> {
        let key = |number| format!("{}probe:{number}", self.options.prefix);
        (0..PROBE_KEYS).map(key).collect()
    }

    /// Tries the connection that is in use.
    async fn check(&self) {
        if let Some(Lease { connection, number }) = self.lease() {
            match self.probe(&connection).await {
                Ok(()) => self.tell(number, Ok(())),
                Err(fault) => self.tell(number, Err(&fault)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a link: connects, and whenever the breaker has opened connects again.
pub(super) async fn keep(link: Arc<Link>) {
    let mut backoff = Backoff::default();
    let mut told: Option<Fault> = None;
    loop {
        match link.establish().await {
            Ok(connection) => {
                link.restore(connection);
                told = None;
                let since = Instant::now();
                while tokio::time::timeout(CHECK, link.tripped.notified())
                    .await
                    .is_err()
                {
                    link.check().await;
                }
                if since.elapsed() > LASTING {
                    backoff.reset();
                    continue;
                }
            }
            Err(fault) => {
                link.metrics.count("connect", &fault);
                // What is new is told; what goes on is not told again.
                if told.as_ref().is_none_or(|told| fault.differs(told)) {
                    link.warn(&fault);
                }
                told = Some(fault);
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Whether Redis can be connected to and asked, tried once.
pub(super) async fn reach(options: LinkOptions, metrics: &Metrics) -> Result<(), String> {
    let link = Link::new(Operation::Read, options, metrics);
    let reached = link.establish().await.map(drop);
    reached.map_err(|fault| link.options.address.redacted(&fault.to_string()))
}

impl Lease {
    /// Says how the operation ended.
    pub(super) fn tell(&self, link: &Link, outcome: Result<(), &Fault>) {
        link.tell(self.number, outcome);
    }
}

impl Operation {
    /// Its name in the metrics.
    fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "written to",
        }
    }
}
