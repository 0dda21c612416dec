//! How many signals an instrument may emit: a sliding window of one second on cycle time.
//!
//! Invariants: no half-open second `(t - 1 s, t]` of cycle time holds more than `max_per_s`
//! admissions of an instrument; a clock that jumps back is taken as no time having passed, so it
//! neither opens the window nor blocks the instrument. Bound: `max_per_s` stamps for each
//! instrument, allocated once.

/// The window, in nanoseconds.
const WINDOW_NS: i64 = 1_000_000_000;

/// Sliding-window limiter over a fixed number of instruments.
#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    max_per_s: usize,
    instruments: Box<[Window]>,
    stamps_ns: Box<[i64]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Slot of the oldest stamp, which the next admission overwrites once the ring is full.
    oldest: usize,
    len: usize,
    newest_ns: i64,
}

impl RateLimit {
    pub(super) fn new(instruments: usize, max_per_s: usize) -> Self {
        Self {
            max_per_s,
            instruments: vec![Window::default(); instruments].into_boxed_slice(),
            stamps_ns: vec![0; instruments * max_per_s].into_boxed_slice(),
        }
    }

    /// Whether `instrument` may emit at `ts_cycle_ns`, and if so counts it. An unknown instrument
    /// may not.
    pub(super) fn admit(&mut self, instrument: usize, ts_cycle_ns: i64) -> bool {
        let Some(window) = self.instruments.get_mut(instrument) else {
            return false;
        };
        let start = instrument * self.max_per_s;
        let stamps = &mut self.stamps_ns[start..start + self.max_per_s];
        if window.len > 0 && ts_cycle_ns < window.newest_ns {
            let back_ns = window.newest_ns.saturating_sub(ts_cycle_ns);
            for stamp in stamps.iter_mut() {
                *stamp = stamp.saturating_sub(back_ns);
            }
        }
        if window.len > 0 {
            window.newest_ns = ts_cycle_ns;
        }
        let full = window.len == stamps.len();
        if full && ts_cycle_ns.saturating_sub(stamps[window.oldest]) < WINDOW_NS {
            return false;
        }
        stamps[window.oldest] = ts_cycle_ns;
        window.newest_ns = ts_cycle_ns;
        window.oldest = (window.oldest + 1) % stamps.len();
        window.len = (window.len + 1).min(stamps.len());
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
