//! An allocator with two arenas: one for loading in `prepare`, one for what stays.
//!
//! Every instance begins with the memory that `prepare` left, and after a call the host
//! restores the pages that were written. The fewer pages, the cheaper. So everything in
//! the loading arena is freed and zeroed at the end, what was loaded is copied to the
//! lasting arena without gaps, and calls find their memory in one piece behind it.

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

/// Allocates from the system until [`end_loading`] is called, and from then on from
/// `lasting`.
struct Arenas {
    lasting: UnsafeCell<Dlmalloc>,
    /// Every block above it belongs to `lasting`.
    boundary: Boundary,
}

// SAFETY: a component of this target has one thread.
unsafe impl Sync for Arenas {}

/// How much free memory the snapshot has for a call, in bytes, so that most calls need
/// not grow the memory.
const CALL_MEMORY: usize = 1 << 20;

/// Ends loading: from now on, memory comes from the lasting arena, also for what a guest
/// loads later.
pub(crate) fn end_loading() {
    let page = 64 << 10;
    let end = core::arch::wasm32::memory_size::<0>() * page;
    ARENAS.boundary.set(end);
}

/// Reserves memory for calls, behind what was allocated so far.
pub(crate) fn reserve_call_memory() {
    // The allocator keeps it, since WebAssembly cannot return memory.
    drop(Vec::<u8>::with_capacity(CALL_MEMORY));
}

impl Arenas {
    fn is_loaded(&self) -> bool {
        self.boundary.is_set()
    }

    fn is_lasting(&self, block: *mut u8) -> bool {
        self.boundary.is_above(block.addr())
    }
}

// SAFETY: both allocators keep the rules of `GlobalAlloc`, and a block goes back to
// the one it came from: the system allocator is not used once the boundary is set, so
// none of its blocks is above the boundary.
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
                // Zeroed pages are not stored in a snapshot.
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
