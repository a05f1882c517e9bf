//! The address that separates memory for loading from memory that stays.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An address that is set once. It never moves, since a block must be freed by the
/// allocator that it came from.
pub(crate) struct Boundary(AtomicUsize);

/// Not set: no address is at or above it.
const UNKNOWN: usize = usize::MAX;

impl Boundary {
    pub(crate) const fn unknown() -> Self {
        Self(AtomicUsize::new(UNKNOWN))
    }

    /// Sets the address, unless it is set.
    pub(crate) fn set(&self, address: usize) {
        let _ = self.0.compare_exchange(UNKNOWN, address, Relaxed, Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed) != UNKNOWN
    }

    /// Whether an address is at or above the boundary.
    pub(crate) fn is_above(&self, address: usize) -> bool {
        address >= self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As for a guest with two values that are loaded.
    #[test]
    fn the_first_boundary_stays() {
        let boundary = Boundary::unknown();
        assert!(!boundary.is_set() && !boundary.is_above(usize::MAX - 1));
        boundary.set(100);
        boundary.set(200);
        assert!(boundary.is_set() && boundary.is_above(100) && !boundary.is_above(99));
    }
}
