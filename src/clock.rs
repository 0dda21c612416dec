//! Time: one clock, two kinds.
//!
//! Everything on the path from event to signal takes its time from the events themselves and from
//! the cycle cuts. Only two places read a clock: the engine decides *when* a cycle is cut, and the
//! model thread stamps *when* a signal was made. A replay swaps the wall clock for the event clock
//! in both and nothing else changes.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Where "now" comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's real-time clock.
    Wall,
    /// The time of the cycle being processed: a replay at any speed sees the same instants.
    Event,
}

impl Clock {
    /// Nanoseconds since the epoch, UTC, for something that happens during the cycle cut at
    /// `ts_cycle_ns`.
    #[must_use]
    pub fn stamp_ns(self, ts_cycle_ns: i64) -> i64 {
        match self {
            Self::Wall => wall_ns(),
            Self::Event => ts_cycle_ns,
        }
    }
}

/// The host's real-time clock, ns since the epoch, UTC.
#[must_use]
pub fn wall_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// A monotonic clock, ns since the first call in this process: for durations only.
#[must_use]
pub fn monotonic_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// How far away a wall-clock instant is; zero when it has passed.
#[must_use]
pub fn until(deadline_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(deadline_ns.saturating_sub(wall_ns())).unwrap_or(0))
}
