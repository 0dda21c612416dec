//! Counts what a hot thread allocates once it is warm.

use crate::alloc::thread_allocations;

/// Cycles after which a thread must have everything it needs.
pub const WARM_UP_CYCLES: u64 = 100;

/// One thread's allocations since its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocationWatch {
    cycles: u64,
    at_warm: u64,
    now: u64,
}

impl AllocationWatch {
    /// Call once per cycle, on the thread that is watched.
    pub fn cycle(&mut self) {
        self.cycles += 1;
        self.now = thread_allocations();
        if self.cycles <= WARM_UP_CYCLES {
            self.at_warm = self.now;
        }
    }

    /// Cycles watched after the warm-up.
    #[must_use]
    pub fn watched_cycles(&self) -> u64 {
        self.cycles.saturating_sub(WARM_UP_CYCLES)
    }

    /// Allocations made in them.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.now - self.at_warm
    }
}
