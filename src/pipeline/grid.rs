//! The wall-clock grid of cycles: boundaries at whole multiples of the period since the epoch.
//!
//! Invariants: a boundary is offered at most once; the cycle number grows by one for every boundary
//! passed, so that what was missed can be counted from the numbers alone; a clock that jumps back is
//! followed (the grid restarts from it) and counted, never waited out.

use super::input::Cut;

/// The grid.
#[derive(Clone, Debug)]
pub struct Grid {
    period_ns: i64,
    next_ns: i64,
    cycle: u64,
    missed: u32,
    clock_jumps: u64,
}

impl Grid {
    /// A grid whose first boundary is the first one after `now_ns`. The period is at least 1 ns.
    #[must_use]
    pub fn new(period_ns: i64, now_ns: i64) -> Self {
        let period_ns = period_ns.max(1);
        Self { period_ns, next_ns: after(now_ns, period_ns), cycle: 0, missed: 0, clock_jumps: 0 }
    }

    /// When the next boundary is, ns since the epoch.
    #[must_use]
    pub fn next_ns(&self) -> i64 {
        self.next_ns
    }

    /// Times the clock was seen to jump back.
    #[must_use]
    pub fn clock_jumps(&self) -> u64 {
        self.clock_jumps
    }

    /// Cycles missed that no cut has reported yet.
    #[must_use]
    pub fn missed(&self) -> u32 {
        self.missed
    }

    /// The newest boundary that is due at `now_ns`, if any. Older ones that were due too are counted
    /// into `missed` of this cut, together with what [`Grid::miss`] added before.
    pub fn due(&mut self, now_ns: i64) -> Option<Cut> {
        if now_ns < self.next_ns {
            if self.next_ns.saturating_sub(now_ns) > 2 * self.period_ns {
                self.clock_jumps += 1;
                self.next_ns = after(now_ns, self.period_ns);
            }
            return None;
        }
        let passed = (now_ns - self.next_ns) / self.period_ns;
        let ts_cycle_ns = self.next_ns + passed * self.period_ns;
        self.next_ns = ts_cycle_ns + self.period_ns;
        self.cycle += passed as u64 + 1;
        let missed = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(self.missed);
        self.missed = 0;
        Some(Cut { cycle: self.cycle, ts_cycle_ns, missed })
    }

    /// The cut just offered could not be made; the next one will report it, too.
    pub fn miss(&mut self, cut: Cut) {
        self.missed = cut.missed.saturating_add(1);
    }
}

fn after(now_ns: i64, period_ns: i64) -> i64 {
    now_ns.div_euclid(period_ns).saturating_add(1).saturating_mul(period_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(cycle: u64, ts_cycle_ns: i64, missed: u32) -> Cut {
        Cut { cycle, ts_cycle_ns, missed }
    }

    #[test]
    fn boundaries_lie_on_the_grid_and_come_once() {
        let mut grid = Grid::new(100, 1_050);
        assert_eq!(grid.due(1_099), None);
        assert_eq!(grid.due(1_103), Some(cut(1, 1_100, 0)));
        assert_eq!(grid.due(1_104), None);
        assert_eq!(grid.due(1_200), Some(cut(2, 1_200, 0)));
    }

    #[test]
    fn an_overrun_is_counted_and_the_next_cycle_starts_on_the_grid() {
        let mut grid = Grid::new(100, 1_000);
        assert_eq!(grid.due(1_450), Some(cut(4, 1_400, 3)));
        assert_eq!(grid.due(1_500), Some(cut(5, 1_500, 0)));
    }

    #[test]
    fn a_cut_that_could_not_be_made_is_reported_by_the_next() {
        let mut grid = Grid::new(100, 1_000);
        for _ in 0..2 {
            let cut = grid.due(grid.next_ns()).unwrap();
            grid.miss(cut);
        }
        assert_eq!(grid.missed(), 2);
        assert_eq!(grid.due(1_300), Some(cut(3, 1_300, 2)));
        assert_eq!(grid.missed(), 0, "told");
    }

    #[test]
    fn a_clock_that_jumps_back_is_followed() {
        let mut grid = Grid::new(100, 1_000_000);
        assert_eq!(grid.due(500_010), None);
        assert_eq!(grid.clock_jumps(), 1);
        assert_eq!(grid.due(500_100), Some(cut(1, 500_100, 0)));
    }
}
