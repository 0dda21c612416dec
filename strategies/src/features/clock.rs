//! The cycle grid as the cuts show it, and where a moment lies in the day and the week.
//!
//! Invariants: time comes only from the cuts' own timestamps; no timestamp, however wild, panics or
//! stops the count. A cut that is not later than the latest one counts as one cycle and leaves the
//! grid where it is: when the clock steps back, time stands still until it has caught up.

const DAY_NS: i64 = 86_400_000_000_000;
const WEEK_NS: i64 = 7 * DAY_NS;
/// 1970-01-01 was a Thursday; weeks are counted from Monday.
const EPOCH_AFTER_MONDAY_NS: i64 = 3 * DAY_NS;

/// What a cut means for the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The first cut: it opens the grid.
    First,
    /// One cycle, after this many that were missed.
    Cycle {
        /// Grid points without a cut since the one before.
        missed: usize,
    },
    /// One cycle, although the clock did not advance.
    Backwards,
    /// More cycles than the longest window holds.
    Gap,
}

/// The grid of cuts.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    cycle_ns: i64,
    longest_cycles: i64,
    latest_ns: Option<i64>,
}

impl Grid {
    pub(super) fn new(cycle_ns: i64, longest_cycles: usize) -> Self {
        Self { cycle_ns, longest_cycles: longest_cycles as i64, latest_ns: None }
    }

    pub(super) fn reset(&mut self) {
        self.latest_ns = None;
    }

    pub(super) fn advance(&mut self, ts_ns: i64) -> Step {
        let Some(latest_ns) = self.latest_ns else {
            self.latest_ns = Some(ts_ns);
            return Step::First;
        };
        if ts_ns <= latest_ns {
            return Step::Backwards;
        }
        self.latest_ns = Some(ts_ns);
        let elapsed_ns = ts_ns.saturating_sub(latest_ns);
        let cycles = (elapsed_ns.saturating_add(self.cycle_ns / 2) / self.cycle_ns).max(1);
        if cycles > self.longest_cycles {
            return Step::Gap;
        }
        Step::Cycle { missed: cycles as usize - 1 }
    }
}

/// (sin, cos) of the time of day, UTC.
pub(super) fn day_phase(ts_ns: i64) -> (f64, f64) {
    phase(ts_ns.rem_euclid(DAY_NS), DAY_NS)
}

/// (sin, cos) of the time since Monday 00:00 UTC; continuous, so that Sunday meets Monday.
pub(super) fn week_phase(ts_ns: i64) -> (f64, f64) {
    phase((ts_ns.rem_euclid(WEEK_NS) + EPOCH_AFTER_MONDAY_NS).rem_euclid(WEEK_NS), WEEK_NS)
}

fn phase(elapsed_ns: i64, period_ns: i64) -> (f64, f64) {
    (std::f64::consts::TAU * elapsed_ns as f64 / period_ns as f64).sin_cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLE_NS: i64 = 100_000_000;

    #[test]
    fn the_grid_counts_missed_cycles_and_forgives_jitter() {
        let mut grid = Grid::new(CYCLE_NS, 300);
        let table = [
            (0, Step::First),
            (1, Step::Cycle { missed: 0 }),
            (4, Step::Cycle { missed: 2 }),
            (304, Step::Cycle { missed: 299 }),
            (605, Step::Gap),
            (606, Step::Cycle { missed: 0 }),
        ];
        for (point, expected) in table {
            let jitter_ns = point % 3 * 1_000_000;
            assert_eq!(grid.advance(point * CYCLE_NS + jitter_ns), expected, "grid point {point}");
        }
    }

    #[test]
    fn time_stands_still_while_the_clock_is_behind() {
        let mut grid = Grid::new(CYCLE_NS, 300);
        grid.advance(1000 * CYCLE_NS);
        for point in [1000, 500, 501, i64::MIN / CYCLE_NS] {
            assert_eq!(grid.advance(point * CYCLE_NS), Step::Backwards, "grid point {point}");
        }
        assert_eq!(grid.advance(1001 * CYCLE_NS), Step::Cycle { missed: 0 });
        assert_eq!(grid.advance(i64::MAX), Step::Gap);
        assert_eq!(grid.advance(i64::MIN), Step::Backwards);
    }

    #[test]
    fn phases_are_anchored_to_midnight_and_monday() {
        // 2024-08-05 was a Monday; 00:00 UTC is 1_722_816_000 s.
        let monday_ns = 1_722_816_000_000_000_000;
        let close = |(a, b): (f64, f64), (c, d): (f64, f64)| {
            assert!((a - c).abs() < 1e-9 && (b - d).abs() < 1e-9, "({a}, {b}) is not ({c}, {d})");
        };
        close(week_phase(monday_ns), (0.0, 1.0));
        close(week_phase(monday_ns + WEEK_NS / 4), (1.0, 0.0));
        close(day_phase(monday_ns), (0.0, 1.0));
        close(day_phase(monday_ns + DAY_NS / 4), (1.0, 0.0));
        close(day_phase(-DAY_NS / 4), (-1.0, 0.0));
        for wild in [i64::MIN, i64::MAX] {
            let (sin, cos) = week_phase(wild);
            assert!((sin * sin + cos * cos - 1.0).abs() < 1e-9);
        }
    }
}
