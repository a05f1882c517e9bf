//! The line between memory that loading used and memory that stays.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An address, once it is known. It never moves: a block that was handed out below it must
/// go back to the allocator that it came from.
pub(crate) struct Boundary(AtomicUsize);

/// None yet: no address is beyond it.
const UNKNOWN: usize = usize::MAX;

impl Boundary {
    pub(crate) const fn unknown() -> Self {
        Self(AtomicUsize::new(UNKNOWN))
    }

    /// Draws the line, unless there is one.
    pub(crate) fn draw(&self, address: usize) {
        let _ = self.0.compare_exchange(UNKNOWN, address, Relaxed, Relaxed);
    }

    pub(crate) fn is_drawn(&self) -> bool {
        self.0.load(Relaxed) != UNKNOWN
    }

    /// Whether an address is beyond the line.
    pub(crate) fn is_beyond(&self, address: usize) -> bool {
        address >= self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a guest does that keeps two things.
    #[test]
    fn the_first_line_stays() {
        let boundary = Boundary::unknown();
        assert!(!boundary.is_drawn() && !boundary.is_beyond(usize::MAX - 1));
        boundary.draw(100);
        boundary.draw(200);
        assert!(boundary.is_drawn() && boundary.is_beyond(100) && !boundary.is_beyond(99));
    }
}
