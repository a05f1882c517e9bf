//! Bounds the memory that the bodies of all requests take together.
//!
//! Bytes are counted when they arrive, not when they are announced: what a client only
//! promises to send takes no room from others. A client that announces more than there
//! is room for is refused before anything is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a request takes beside its body, in bytes: its head, its task, and what the
/// layers below keep about it. Counting it bounds the number of requests.
pub const OVERHEAD: usize = 4096;

/// The memory for the bodies of requests; clones share it.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    limit: usize,
    used: AtomicUsize,
}

/// There is no memory for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requests in flight use all the memory reserved for them")]
pub struct NoRoom;

impl Memory {
    /// Room for `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let used = AtomicUsize::new(0);
        Self(Arc::new(Inner { limit, used }))
    }

    /// Reserves memory for a request, if there is enough for the `announced` bytes of
    /// its body as well.
    ///
    /// # Errors
    ///
    /// If there is not.
    pub fn begin(&self, announced: usize) -> Result<Reservation, NoRoom> {
        let mut reservation = Reservation {
            memory: self.clone(),
            bytes: 0,
        };
        reservation.take(OVERHEAD)?;
        let used = self.0.used.load(Ordering::Relaxed);
        if announced > self.0.limit.saturating_sub(used) {
            return Err(NoRoom);
        }
        Ok(reservation)
    }
}

/// The memory that one request uses; it is released when this is dropped.
pub struct Reservation {
    memory: Memory,
    bytes: usize,
}

impl Reservation {
    /// Reserves more.
    ///
    /// # Errors
    ///
    /// If there is too little left.
    pub fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let Inner { limit, used } = &*self.memory.0;
        let before = used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > *limit {
            used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(NoRoom);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reserved_and_released() {
        let memory = Memory::new(2 * OVERHEAD + 100);
        let mut first = memory.begin(100).unwrap();
        first.take(60).unwrap();
        let mut second = memory.begin(40).unwrap();
        assert_eq!(second.take(41), Err(NoRoom));
        second.take(40).unwrap();
        assert!(memory.begin(0).is_err());
        drop(first);
        second.take(60).unwrap();
        assert!(memory.begin(1).is_err());
        drop(memory.begin(0).unwrap());
        drop(second);
        assert_eq!(memory.0.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_announcement_reserves_nothing() {
        let memory = Memory::new(2 * OVERHEAD + 100);
        let _first = memory.begin(100).unwrap();
        assert!(memory.begin(100).is_ok());
    }
}
