//! A circuit breaker around a connection, and the task that reconnects, so that no request
//! waits for Redis to come back.
//!
//! Reads and writes have a link each, with connections of their own: a Redis that is full
//! or read-only still answers lookups, and a lookup never waits behind a long write.
//!
//! This module must not know what is looked up or written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::Notify;

use super::address::Address;
use super::connection::Connection;
use super::fault::Fault;
use super::metrics::{BreakerMetrics, Metrics};

/// This many time-outs in a row open the breaker.
const TIME_OUTS: u32 = 3;

/// How often a connection in use is probed, so that one that was cut while idle is replaced
/// before a request needs it.
const CHECK: Duration = Duration::from_secs(10);

/// A connection that has lasted this long was good: after it, the next attempt comes at
/// once, and the waits start over.
const LASTING: Duration = Duration::from_secs(20);

/// The waits between attempts to connect. They double, with jitter, so that the replicas of
/// a server do not come back to Redis all at once.
const WAITS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(LONGEST_WAIT)
    .with_jitter()
    .without_max_times();

const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The number of keys in a probe: enough to reach every node of all but large clusters.
const PROBE_KEYS: usize = 32;

/// How long the keys of a write probe stay.
const PROBE_TTL: Duration = Duration::from_secs(1);

/// What a link is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
}

/// Options of a link.
pub(super) struct LinkOptions {
    pub(super) address: Address,
    /// The prefix of the keys of probes.
    pub(super) prefix: String,
    pub(super) timeout: Duration,
}

/// A connection for one kind of operation, while it works.
pub(super) struct Link {
    operation: Operation,
    options: LinkOptions,
    metrics: Metrics,
    breaker: BreakerMetrics,
    state: Mutex<State>,
    /// Notified when the breaker opens.
    tripped: Notify,
}

#[derive(Default)]
struct State {
    /// `None` while the breaker is open.
    connection: Option<Connection>,
    /// Counts connections, so that a late report about an old one does not count against
    /// the new one.
    number: u64,
    time_outs: u32,
}

/// The use of a connection. Its outcome has to be reported.
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

    /// The connection, if it is expected to work.
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

    /// Reports how an operation ended. One certain fault, or some time-outs in a row, open
    /// the breaker.
    pub(super) fn report(&self, number: u64, outcome: Result<(), &Fault>) {
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

    /// Closes the breaker with a new connection.
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
        tracing::warn!("{address} cannot be {done}, and is not used until it can be: {reason}");
    }

    /// Connects, and probes the connection.
    async fn establish(&self) -> Result<Connection, Fault> {
        let options = &self.options;
        let connection = Connection::open(&options.address, options.timeout).await?;
        self.probe(&connection).await?;
        Ok(connection)
    }

    /// Performs one operation of the link's kind.
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

    /// Probes the connection in use.
    async fn check(&self) {
        if let Some(Lease { connection, number }) = self.lease() {
            match self.probe(&connection).await {
                Ok(()) => self.report(number, Ok(())),
                Err(fault) => self.report(number, Err(&fault)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Maintains a link: connects, and reconnects whenever the breaker has opened.
pub(super) async fn maintain(link: Arc<Link>) {
    let mut waits = WAITS.build();
    let mut reported: Option<Fault> = None;
    loop {
        match link.establish().await {
            Ok(connection) => {
                link.restore(connection);
                reported = None;
                let since = Instant::now();
                while tokio::time::timeout(CHECK, link.tripped.notified())
                    .await
                    .is_err()
                {
                    link.check().await;
                }
                if since.elapsed() > LASTING {
                    waits = WAITS.build();
                    continue;
                }
            }
            Err(fault) => {
                link.metrics.count("connect", &fault);
                // Each new kind of fault is logged once.
                if reported
                    .as_ref()
                    .is_none_or(|reported| fault.differs(reported))
                {
                    link.warn(&fault);
                }
                reported = Some(fault);
            }
        }
        // Unlimited, so there is always a next one.
        tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
    }
}

/// Tries once to connect to Redis and to read from it.
pub(super) async fn reach(options: LinkOptions, metrics: &Metrics) -> Result<(), String> {
    let link = Link::new(Operation::Read, options, metrics);
    let reached = link.establish().await.map(drop);
    reached.map_err(|fault| link.options.address.redacted(&fault.to_string()))
}

impl Lease {
    /// Reports how the operation ended.
    pub(super) fn report(&self, link: &Link, outcome: Result<(), &Fault>) {
        link.report(self.number, outcome);
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
