//! Bounds the memory that the bodies of all requests take together.
//!
//! Bytes are counted when they arrive, not when they are announced: what a client only
//! promises to send takes no room from others. Where memory is short, the body that
//! arrives most slowly gives way, first among those of the same connection or peer if
//! these take more than their share.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What a request takes beside its body, in bytes: its head, its task, and what the
/// layers below keep about it. Counting it bounds the number of requests.
pub const OVERHEAD: usize = 4096;

/// A request that takes no more than this, in bytes, is small. An eighth of the memory is
/// kept for small requests, and they do not count towards anybody's share.
const SMALL: usize = 64 * 1024;

/// For so long a body is not slow, however little of it has arrived.
const GRACE: Duration = Duration::from_millis(50);

/// The memory for the bodies of requests; clones share it.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    limit: usize,
    /// Whether connections and peers have shares of it, and small requests a part.
    is_shared: bool,
    used: AtomicUsize,
    /// The requests that wait for more of their bodies.
    waiting: Mutex<Vec<Arc<Claim>>>,
}

/// What the large requests of a connection use, and what those of its peer use.
#[derive(Default)]
pub(crate) struct Shares {
    connection: AtomicUsize,
    peer: Arc<AtomicUsize>,
}

/// What one request uses.
struct Claim {
    shares: Arc<Shares>,
    used: AtomicUsize,
    /// How much of the body has arrived since it was first waited for, in bytes.
    received: AtomicU64,
    since: Mutex<Instant>,
    is_evicted: AtomicBool,
    evicted: Notify,
}

/// There is no memory for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requests in flight use all the memory reserved for them")]
pub struct NoRoom;

/// Whose requests use too much.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Connection,
    Peer,
    All,
}

impl Shares {
    /// The shares of a new connection.
    pub(crate) fn of_connection(peer: Arc<AtomicUsize>) -> Arc<Self> {
        let connection = AtomicUsize::new(0);
        Arc::new(Self { connection, peer })
    }
}

/// The part of an address that stands for a peer: an IPv6 host has a network of its own.
pub(crate) fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & (!0 << 64)).into()),
        IpAddr::V4(ip) => IpAddr::V4(ip),
    }
}

impl Memory {
    /// Room for `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self::with(limit, true)
    }

    /// Room for `limit` bytes, all of which anybody may take: for the few requests of
    /// operators.
    pub fn undivided(limit: usize) -> Self {
        Self::with(limit, false)
    }

    fn with(limit: usize, is_shared: bool) -> Self {
        Self(Arc::new(Inner {
            limit,
            is_shared,
            used: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }))
    }

    /// Reserves memory for a request of its own connection, if there is enough for the
    /// `announced` bytes of its body as well.
    ///
    /// # Errors
    ///
    /// If there is not.
    pub fn begin(&self, announced: usize) -> Result<Reservation, NoRoom> {
        self.begin_for(Arc::default(), announced)
    }

    /// The same for a request of the connection with these `shares`.
    pub(crate) fn begin_for(
        &self,
        shares: Arc<Shares>,
        announced: usize,
    ) -> Result<Reservation, NoRoom> {
        let mut reservation = Reservation {
            memory: self.clone(),
            claim: Arc::new(Claim {
                shares,
                used: AtomicUsize::new(0),
                received: AtomicU64::new(0),
                since: Mutex::new(Instant::now()),
                is_evicted: AtomicBool::new(false),
                evicted: Notify::new(),
            }),
            bytes: 0,
        };
        reservation.take(OVERHEAD.saturating_add(announced))?;
        reservation.give_back(announced);
        Ok(reservation)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Claim>>> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Evicts the slowest of the waiting requests that use too much. Returns whether there
    /// was one.
    fn evict(&self, scope: Scope, newcomer: &Arc<Claim>) -> bool {
        let mut waiting = self.waiting();
        let slow = waiting.iter().enumerate().filter_map(|(at, claim)| {
            let is_other = !Arc::ptr_eq(claim, newcomer);
            let (own, its) = (&newcomer.shares, &claim.shares);
            let is_meant = is_other
                && match scope {
                    Scope::Connection => Arc::ptr_eq(own, its),
                    Scope::Peer => Arc::ptr_eq(&own.peer, &its.peer),
                    Scope::All => true,
                };
            let waited = claim.since().elapsed();
            let received = u128::from(claim.received.load(Ordering::Relaxed));
            // Bytes per second, and the longest wait among equals.
            let speed = received * 1_000_000 / waited.as_micros().max(1);
            (is_meant && waited >= GRACE).then_some((at, (speed, Reverse(waited))))
        });
        let slowest = slow.min_by_key(|(_, slowness)| *slowness);
        let Some((at, ..)) = slowest else {
            return false;
        };
        let claim = waiting.swap_remove(at);
        claim.is_evicted.store(true, Ordering::Release);
        // What it holds is freed in a moment, when its task hears of it.
        self.give_back(&claim, usize::MAX);
        claim.evicted.notify_one();
        true
    }

    /// Reserves more for a claim, or says whose requests use too much.
    fn take(&self, claim: &Claim, bytes: usize) -> Result<(), Scope> {
        let Inner {
            limit,
            is_shared,
            used,
            ..
        } = &*self.0;
        let own = claim.used.load(Ordering::Relaxed);
        let shares = &claim.shares;
        // A request has all of it if nobody else needs any.
        let exceeds = |used: usize, limit: usize| used.saturating_add(bytes) > limit && used > own;
        let is_free = !is_shared || own.saturating_add(bytes) <= SMALL;
        if !is_free {
            if exceeds(shares.connection.load(Ordering::Relaxed), limit / 4) {
                return Err(Scope::Connection);
            }
            if exceeds(shares.peer.load(Ordering::Relaxed), limit / 4 * 3) {
                return Err(Scope::Peer);
            }
        }
        let before = used.fetch_add(bytes, Ordering::Relaxed);
        let kept = if is_free { 0 } else { limit / 8 };
        let is_over = before.saturating_add(bytes) > *limit;
        if is_over || exceeds(before, limit - kept) {
            used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Scope::All);
        }
        claim.used.fetch_add(bytes, Ordering::Relaxed);
        shares.connection.fetch_add(bytes, Ordering::Relaxed);
        shares.peer.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back so much, or as much as the claim uses.
    fn give_back(&self, claim: &Claim, bytes: usize) {
        let less = |used: usize| Some(used.saturating_sub(bytes));
        let used = claim
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let freed = used.unwrap_or_default().min(bytes);
        self.0.used.fetch_sub(freed, Ordering::Relaxed);
        claim.shares.connection.fetch_sub(freed, Ordering::Relaxed);
        claim.shares.peer.fetch_sub(freed, Ordering::Relaxed);
    }
}

impl Claim {
    fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that one request uses; it is released when this is dropped.
pub struct Reservation {
    memory: Memory,
    claim: Arc<Claim>,
    bytes: usize,
}

impl Reservation {
    /// Reserves more.
    ///
    /// # Errors
    ///
    /// If there is too little left, and no other request is slow enough to give way.
    pub fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        while let Err(scope) = self.memory.take(&self.claim, bytes) {
            if !self.memory.evict(scope, &self.claim) {
                return Err(NoRoom);
            }
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves `bytes` in all, more or less than before.
    ///
    /// # Errors
    ///
    /// As for [`take`](Self::take).
    pub fn set(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes > self.bytes {
            return self.take(bytes - self.bytes);
        }
        self.give_back(self.bytes - bytes);
        Ok(())
    }

    /// A second reservation for the same request.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            claim: Arc::clone(&self.claim),
            bytes: 0,
        }
    }

    /// Notes that the request waits for its client until what is returned is dropped. In
    /// that time others may evict it.
    pub fn wait(&self) -> Waiting {
        let mut since = self
            .claim
            .since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *since = Instant::now();
        drop(since);
        self.claim.received.store(0, Ordering::Relaxed);
        self.memory.waiting().push(Arc::clone(&self.claim));
        Waiting {
            memory: self.memory.clone(),
            claim: Arc::clone(&self.claim),
        }
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.memory.give_back(&self.claim, bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// A request that waits for its client.
pub struct Waiting {
    memory: Memory,
    claim: Arc<Claim>,
}

impl Waiting {
    /// Notes that more of the body has arrived, in bytes.
    pub fn received(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.claim.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Resolves once the request has given way to another one. Its memory counts as free.
    pub async fn evicted(&self) {
        while !self.claim.is_evicted.load(Ordering::Acquire) {
            self.claim.evicted.notified().await;
        }
    }

    /// The same for a request that may wait for its client; if it does not, this never
    /// resolves.
    pub async fn evicted_if(waiting: Option<&Self>) {
        match waiting {
            Some(waiting) => waiting.evicted().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.memory.waiting();
        waiting.retain(|claim| !Arc::ptr_eq(claim, &self.claim));
    }
}

#[cfg(test)]
mod tests;
