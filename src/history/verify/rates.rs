//! How many events come how closely together.
//!
//! Time is cut into windows at whole multiples of their width; empty windows between the first and the
//! last event count, so that a percentile is a share of time. An event that is earlier than the window
//! at hand counts in that one.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Digits that a histogram keeps: two are one percent, in some ten KiB.
const DIGITS: u8 = 2;

/// Widths, ns.
const WIDTHS_NS: [i64; 3] = [10_000_000, 100_000_000, 1_000_000_000];

/// Windows of all widths.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    windows: Vec<Windows>,
}

#[derive(Clone, Debug)]
struct Windows {
    width_ns: i64,
    /// Number of the window at hand.
    at: Option<i64>,
    events: u64,
    max: u64,
    closed: Histogram<u64>,
}

/// Events per window of one width, over all windows from the first event to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BurstReport {
    /// Width of a window, ms.
    pub window_ms: u64,
    /// How many windows there are.
    pub windows: u64,
    /// Median number of events, within 1 %.
    pub p50: u64,
    /// 99th percentile, within 1 %.
    pub p99: u64,
    /// The most, exact.
    pub max: u64,
}

impl Rates {
    /// Nothing counted; `None` never, as the digits are constant and in range.
    pub(super) fn new() -> Option<Self> {
        let windows = |width_ns| {
            let closed = Histogram::new(DIGITS).ok()?;
            Some(Windows { width_ns, at: None, events: 0, max: 0, closed })
        };
        Some(Self { windows: WIDTHS_NS.into_iter().map(windows).collect::<Option<_>>()? })
    }

    pub(super) fn take(&mut self, ts_ns: i64) {
        self.windows.iter_mut().for_each(|windows| windows.take(ts_ns));
    }

    pub(super) fn report(&self) -> Vec<BurstReport> {
        self.windows.iter().filter_map(Windows::report).collect()
    }
}

impl Windows {
    fn take(&mut self, ts_ns: i64) {
        let window = ts_ns.div_euclid(self.width_ns);
        let at = *self.at.get_or_insert(window);
        if window > at {
            // A histogram that grows takes every number below 2^63.
            let _ = self.closed.record(self.events);
            let _ = self.closed.record_n(0, (window - at - 1) as u64);
            self.at = Some(window);
            self.events = 0;
        }
        self.events += 1;
        self.max = self.max.max(self.events);
    }

    fn report(&self) -> Option<BurstReport> {
        self.at?;
        let mut all = self.closed.clone();
        let _ = all.record(self.events);
        Some(BurstReport {
            window_ms: (self.width_ns / 1_000_000) as u64,
            windows: all.len(),
            p50: all.value_at_quantile(0.5).min(self.max),
            p99: all.value_at_quantile(0.99).min(self.max),
            max: self.max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_on_a_grid_and_empty_ones_count() {
        let mut rates = Rates::new().unwrap();
        assert_eq!(rates.report(), []);
        // Five events in the first 10 ms of a second, one in the last; one late one.
        for ms in [1_000, 1_001, 1_002, 1_003, 1_009, 1_995, 1_500] {
            rates.take(ms * 1_000_000);
        }
        let [ten, hundred, second] = rates.report().try_into().unwrap();
        assert_eq!(ten, BurstReport { window_ms: 10, windows: 100, p50: 0, p99: 2, max: 5 });
        assert_eq!(hundred, BurstReport { window_ms: 100, windows: 10, p50: 0, p99: 5, max: 5 });
        assert_eq!(second, BurstReport { window_ms: 1000, windows: 1, p50: 7, p99: 7, max: 7 });
    }
}
