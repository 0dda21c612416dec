//! Cycle cuts from the receive times of recorded data, when nobody noted where they were cut.
//!
//! Boundaries lie on the same grid as live: whole multiples of the period since the epoch. Invariants:
//! cuts come in order and each boundary at most once; a silence longer than [`MAX_SILENCE_NS`] is
//! skipped (the cycles in it are reported as missed) instead of being filled with empty cycles.

use super::input::Cut;

/// Longest stretch without data that is still cut into cycles.
pub const MAX_SILENCE_NS: i64 = 60_000_000_000;

/// The clock of a replay.
#[derive(Clone, Debug)]
pub struct EventClock {
    period_ns: i64,
    next_ns: Option<i64>,
    cycle: u64,
}

impl EventClock {
    /// A clock that starts with the first event.
    #[must_use]
    pub fn new(period_ns: i64) -> Self {
        Self { period_ns: period_ns.max(1), next_ns: None, cycle: 0 }
    }

    /// A clock that goes on after a cut that was made otherwise.
    #[must_use]
    pub fn after(period_ns: i64, last: Cut) -> Self {
        let clock = Self::new(period_ns);
        let next_ns = Some(last.ts_cycle_ns.min(clock.end_ns()).saturating_add(clock.period_ns));
        Self { next_ns, cycle: last.cycle, ..clock }
    }

    /// No boundary lies later than one period after this, so that none overflows.
    fn end_ns(&self) -> i64 {
        i64::MAX - 2 * self.period_ns.min(i64::MAX / 4)
    }

    /// The next cut that lies before (or at) `ts_recv_ns`, if any; call it until it says none, then
    /// apply the event.
    pub fn due(&mut self, ts_recv_ns: i64) -> Option<Cut> {
        let ts_recv_ns = ts_recv_ns.min(self.end_ns());
        let first = || ts_recv_ns.div_euclid(self.period_ns).saturating_add(1) * self.period_ns;
        let next_ns = *self.next_ns.get_or_insert_with(first);
        if ts_recv_ns < next_ns {
            return None;
        }
        let silence = ts_recv_ns.saturating_sub(next_ns);
        let missed = if silence > MAX_SILENCE_NS { silence / self.period_ns } else { 0 };
        let ts_cycle_ns = next_ns + missed * self.period_ns;
        self.next_ns = Some(ts_cycle_ns + self.period_ns);
        self.cycle += missed as u64 + 1;
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        Some(Cut { cycle: self.cycle, ts_cycle_ns, missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(clock: &mut EventClock, ts: i64) -> Vec<(u64, i64, u32)> {
        std::iter::from_fn(|| clock.due(ts)).map(|c| (c.cycle, c.ts_cycle_ns, c.missed)).collect()
    }

    #[test]
    fn every_boundary_up_to_an_event_is_cut_before_it() {
        let mut clock = EventClock::new(100);
        assert_eq!(cuts(&mut clock, 1_010), []);
        assert_eq!(cuts(&mut clock, 1_099), []);
        assert_eq!(cuts(&mut clock, 1_100), [(1, 1_100, 0)]);
        assert_eq!(cuts(&mut clock, 1_050), [], "an event out of order belongs to the next cycle");
        assert_eq!(cuts(&mut clock, 1_350), [(2, 1_200, 0), (3, 1_300, 0)]);
    }

    #[test]
    fn a_receive_time_at_the_end_of_the_range_neither_overflows_nor_cuts_for_ever() {
        let mut clock = EventClock::new(100);
        assert_eq!(cuts(&mut clock, 0), []);
        assert_eq!(cuts(&mut clock, i64::MAX).len(), 1);
        assert_eq!(cuts(&mut clock, i64::MAX), []);
        assert_eq!(cuts(&mut EventClock::new(100), i64::MIN), []);
        assert_eq!(cuts(&mut EventClock::new(100), i64::MAX), []);
    }

    #[test]
    fn a_clock_goes_on_where_other_cuts_have_ended() {
        let mut clock = EventClock::after(100, Cut { cycle: 7, ts_cycle_ns: 1_000, missed: 0 });
        assert_eq!(cuts(&mut clock, 1_099), []);
        assert_eq!(cuts(&mut clock, 1_100), [(8, 1_100, 0)]);
    }

    #[test]
    fn a_long_silence_is_skipped_and_counted() {
        let mut clock = EventClock::new(100_000_000);
        cuts(&mut clock, 0);
        let after = cuts(&mut clock, 3_600_000_000_000);
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].1, 3_600_000_000_000);
        assert_eq!(u64::from(after[0].2) + 1, after[0].0);
    }
}
