//! The global allocator: any allocator (the daemon's is mimalloc) behind a per-thread counter.
//!
//! The daemon promises that its hot threads do not allocate after warm-up. This is how it knows:
//! every allocation of a thread increments that thread's counter, the threads read their own before
//! and after, and the report prints the difference. C libraries call `malloc` directly and are not
//! seen; none runs on a hot thread. The tests of the other crates include this file as a module.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations and reallocations made by the calling thread since it started.
#[must_use]
pub fn thread_allocations() -> u64 {
    ALLOCATIONS.try_with(Cell::get).unwrap_or(0)
}

/// An allocator that counts; install it with `#[global_allocator]`.
#[derive(Debug)]
pub struct CountingAllocator<A>(pub A);

fn count() {
    // A thread that is being torn down has no counter any more; nobody reads it either.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is passed on unchanged to the inner allocator, which upholds the contract;
// counting touches a const-initialised thread-local and does not allocate or unwind.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are exactly the inner allocator's.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.0.dealloc(ptr, layout) }
    }
}
