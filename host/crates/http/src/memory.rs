//! A bound on what the bodies of all requests take together.
//!
//! Bytes are counted when they have come, not when they are announced: what a
//! client only promises to send takes no room from others. One that announces
//! more than there is room for is refused before anything is read.
//!
//! This module must not know how bodies are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a request takes beside its body, in bytes: its head, its task, and what
/// the layers below note about it. Counting it bounds how many there can be.
pub(crate) const OVERHEAD: usize = 4096;

/// The memory that there is for requests.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Inner>);

struct Inner {
    limit: usize,
    used: AtomicUsize,
}

/// There is no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requests in flight take all the memory that there is for them")]
pub(crate) struct NoRoom;

impl Memory {
    /// Room for `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        let used = AtomicUsize::new(0);
        Self(Arc::new(Inner { limit, used }))
    }

    /// Takes room for a request, if there is enough for the `announced` bytes
    /// of its body as well.
    pub(crate) fn begin(&self, announced: usize) -> Result<Held, NoRoom> {
        let mut held = Held {
            memory: self.clone(),
            bytes: 0,
        };
        held.take(OVERHEAD)?;
        let used = self.0.used.load(Ordering::Relaxed);
        if announced > self.0.limit.saturating_sub(used) {
            return Err(NoRoom);
        }
        Ok(held)
    }
}

/// Room that one request has taken; it is given back when this is dropped.
pub(crate) struct Held {
    memory: Memory,
    bytes: usize,
}

impl Held {
    /// Takes more.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
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

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
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
    fn an_announcement_takes_no_room() {
        let memory = Memory::new(2 * OVERHEAD + 100);
        let _first = memory.begin(100).unwrap();
        assert!(memory.begin(100).is_ok());
    }
}
