//! How many signals an instrument may emit: a sliding window of one second on cycle time.
//!
//! Invariants: no half-open second `(t - 1 s, t]` of cycle time holds more than `max_per_s`
//! admissions of an instrument; a clock that jumps back is taken as no time having passed, so it
//! neither opens the window nor blocks the instrument; a limit that changes forgets no admission. Bound:
//! as many stamps for each instrument as a limit may ever be, allocated once.

use super::SIGNALS_PER_S_MAX;

/// Stamps kept of each instrument: what any limit needs.
const CAPACITY: usize = SIGNALS_PER_S_MAX as usize;

/// The window, in nanoseconds.
const WINDOW_NS: i64 = 1_000_000_000;

/// Sliding-window limiter over a fixed number of instruments.
#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    max_per_s: usize,
    instruments: Box<[Window]>,
    /// A ring of `CAPACITY` for each instrument.
    stamps_ns: Box<[i64]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Slot that the next admission is written to.
    next: usize,
    len: usize,
    newest_ns: i64,
}

impl RateLimit {
    pub(super) fn new(instruments: usize, max_per_s: usize) -> Self {
        Self {
            max_per_s: max_per_s.clamp(1, CAPACITY),
            instruments: vec![Window::default(); instruments].into_boxed_slice(),
            stamps_ns: vec![0; instruments * CAPACITY].into_boxed_slice(),
        }
    }

    /// Another limit from here on.
    pub(super) fn change(&mut self, max_per_s: usize) {
        self.max_per_s = max_per_s.clamp(1, CAPACITY);
    }

    /// Whether `instrument` may emit at `ts_cycle_ns`, and if so counts it. An unknown instrument
    /// may not.
    pub(super) fn admit(&mut self, instrument: usize, ts_cycle_ns: i64) -> bool {
        let Some(window) = self.instruments.get_mut(instrument) else {
            return false;
        };
        let start = instrument * CAPACITY;
        let stamps = &mut self.stamps_ns[start..start + CAPACITY];
        if window.len > 0 && ts_cycle_ns < window.newest_ns {
            let back_ns = window.newest_ns.saturating_sub(ts_cycle_ns);
            for stamp in stamps.iter_mut() {
                *stamp = stamp.saturating_sub(back_ns);
            }
        }
        if window.len > 0 {
            window.newest_ns = ts_cycle_ns;
        }
        // The admission that must have left the window before there is room for another.
        let first = (window.next + CAPACITY - self.max_per_s) % CAPACITY;
        let is_used_up = window.len >= self.max_per_s;
        if is_used_up && ts_cycle_ns.saturating_sub(stamps[first]) < WINDOW_NS {
            return false;
        }
        stamps[window.next] = ts_cycle_ns;
        window.newest_ns = ts_cycle_ns;
        window.next = (window.next + 1) % CAPACITY;
        window.len = (window.len + 1).min(CAPACITY);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn admitted(limit: &mut RateLimit, times_ms: impl IntoIterator<Item = i64>) -> Vec<i64> {
        times_ms.into_iter().filter(|t| limit.admit(0, t * MS)).collect()
    }

    #[test]
    fn at_most_the_limit_passes_in_any_second() {
        let mut limit = RateLimit::new(1, 3);
        let passed = admitted(&mut limit, (0..40).map(|i| i * 100));
        assert_eq!(passed, [0, 100, 200, 1000, 1100, 1200, 2000, 2100, 2200, 3000, 3100, 3200]);
    }

    #[test]
    fn a_limit_that_changes_still_counts_what_was_admitted_under_another() {
        let mut limit = RateLimit::new(1, 4);
        assert_eq!(admitted(&mut limit, [0, 100, 200, 300, 400, 1_000]), [0, 100, 200, 300, 1_000]);
        limit.change(2);
        // 300 and 1000 use it up.
        assert_eq!(admitted(&mut limit, [1_200, 1_299, 1_300, 1_400]), [1_300]);
        limit.change(3);
        assert_eq!(admitted(&mut limit, [1_500, 1_600, 2_000]), [1_500, 2_000]);
    }

    #[test]
    fn a_limit_of_any_history_is_kept_in_every_second() {
        let mut limit = RateLimit::new(1, 3);
        let mut passed: Vec<i64> = Vec::new();
        let mut max = 3;
        for i in 0..3_000_i64 {
            if i % 7 == 0 {
                max = 1 + (i * i % 11) as usize;
                limit.change(max);
            }
            if limit.admit(0, i * 30 * MS) {
                let since = passed.iter().filter(|t| (i - **t) * 30 < 1_000).count();
                assert!(since < max, "{since} within a second at {i}, expected fewer than {max}");
                passed.push(i);
            }
        }
        assert!(passed.len() > 100, "{}", passed.len());
    }

    #[test]
    fn instruments_do_not_share_a_window_and_an_unknown_one_never_passes() {
        let mut limit = RateLimit::new(2, 1);
        assert!(limit.admit(0, 0) && limit.admit(1, 0));
        assert!(!limit.admit(0, 1) && !limit.admit(1, 1) && !limit.admit(2, 1));
    }

    #[test]
    fn a_clock_that_jumps_back_neither_opens_the_window_nor_blocks_for_long() {
        let mut limit = RateLimit::new(1, 2);
        assert_eq!(admitted(&mut limit, [10_000, 10_100]), [10_000, 10_100]);
        // An hour back: still inside of the same second, then open again a second later.
        let back = -3_600_000;
        let later = (0..12).map(|i| back + i * 100);
        assert_eq!(admitted(&mut limit, later), [back + 900, back + 1_000]);
    }

    #[test]
    fn repeated_jumps_back_do_not_let_a_burst_through() {
        let mut limit = RateLimit::new(1, 2);
        let passed = admitted(&mut limit, (0..1_000).map(|i| -i));
        assert_eq!(passed.len(), 2);
    }

    #[test]
    fn extreme_stamps_do_not_overflow() {
        let mut limit = RateLimit::new(1, 1);
        for t in [i64::MAX, i64::MIN, 0, i64::MIN, i64::MAX] {
            let _ = limit.admit(0, t);
        }
    }
}
