//! Memory in two parts: one in which `prepare` loads, one for what stays.
//!
//! Every instance begins as a copy of the memory that `prepare` has left, and
//! after a call the host goes through all pages that were mapped and puts back
//! those that were written. So it pays to have few of them: loading leaves its
//! own part empty, what it has loaded is copied to the other part without gaps,
//! and calls find their memory, in one piece, behind it.

#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;

use dlmalloc::Dlmalloc;

use crate::boundary::Boundary;

#[global_allocator]
static ARENAS: Arenas = Arenas {
    lasting: UnsafeCell::new(Dlmalloc::new()),
    boundary: Boundary::unknown(),
};

/// Allocates from the system until [`end_loading`] is called, and from memory
/// beyond `boundary` from then on.
struct Arenas {
    lasting: UnsafeCell<Dlmalloc>,
    /// Every address beyond it belongs to `lasting`.
    boundary: Boundary,
}

// SAFETY: a component of this target has one thread.
unsafe impl Sync for Arenas {}

/// How much memory the snapshot sets aside for a call, so that most calls need
/// not ask the host for any.
const CALL_MEMORY: usize = 1 << 20;

/// Ends loading: from now on, memory comes from the part that stays. What a guest loads
/// after that lies there as well.
pub(crate) fn end_loading() {
    let page = 64 << 10;
    let end = core::arch::wasm32::memory_size::<0>() * page;
    ARENAS.boundary.draw(end);
}

/// Sets memory for calls aside, behind what was allocated so far.
pub(crate) fn reserve_call_memory() {
    // It stays with the allocator, since WebAssembly can not return memory.
    drop(Vec::<u8>::with_capacity(CALL_MEMORY));
}

impl Arenas {
    fn is_loaded(&self) -> bool {
        self.boundary.is_drawn()
    }

    fn is_lasting(&self, block: *mut u8) -> bool {
        self.boundary.is_beyond(block.addr())
    }
}

// SAFETY: both allocators keep the rules of `GlobalAlloc`, and a block goes
// back to the one it came from: the system never hands Rust a block beyond the
// boundary, because it is not asked for one once there is a boundary.
unsafe impl GlobalAlloc for Arenas {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises; there is one thread.
        unsafe {
            if self.is_loaded() {
                (*self.lasting.get()).malloc(layout.size(), layout.align())
            } else {
                System.alloc(layout)
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; there is one thread.
        unsafe {
            if self.is_lasting(block) {
                (*self.lasting.get()).free(block, layout.size(), layout.align());
            } else {
                // Zeros are not part of a snapshot.
                block.write_bytes(0, layout.size());
                System.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises; there is one thread.
        unsafe {
            if self.is_lasting(block) {
                return (*self.lasting.get()).realloc(block, layout.size(), layout.align(), size);
            }
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
