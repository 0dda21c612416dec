//! Receive time minus venue time, of both signs, within a thousandth.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Digits that a histogram keeps: three are a thousandth, which of a clock that is a second off is a
/// millisecond. It takes some hundred KiB.
const DIGITS: u8 = 3;

/// Latencies so far.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    /// Those that are zero or more.
    forward: Histogram<u32>,
    /// The others, without their sign.
    backward: Histogram<u32>,
    min_ns: i64,
    max_ns: i64,
}

/// Latency of one instrument's messages, ns; percentiles within 0.1 %, least and largest exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LatencyReport {
    /// Messages that have both times.
    pub samples: u64,
    /// The least.
    pub min_ns: i64,
    /// Median.
    pub p50_ns: i64,
    /// 90th percentile.
    pub p90_ns: i64,
    /// 99th percentile.
    pub p99_ns: i64,
    /// 99.9th percentile.
    pub p999_ns: i64,
    /// The largest.
    pub max_ns: i64,
    /// How many are below zero.
    pub negative_count: u64,
    /// The median of those below zero; absent where none is.
    pub negative_p50_ns: Option<i64>,
}

impl Latency {
    /// Nothing measured; `None` never, as the digits are constant and in range.
    pub(super) fn new() -> Option<Self> {
        Some(Self {
            forward: Histogram::new(DIGITS).ok()?,
            backward: Histogram::new(DIGITS).ok()?,
            min_ns: i64::MAX,
            max_ns: i64::MIN,
        })
    }

    pub(super) fn record(&mut self, ns: i64) {
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        let histogram = if ns < 0 { &mut self.backward } else { &mut self.forward };
        // A histogram that grows takes every number below 2^63.
        let _ = histogram.record(ns.unsigned_abs().min(i64::MAX as u64));
    }

    pub(super) fn report(&self) -> Option<LatencyReport> {
        let negative_count = self.backward.len();
        let samples = negative_count + self.forward.len();
        if samples == 0 {
            return None;
        }
        let at = |quantile| self.quantile(quantile).clamp(self.min_ns, self.max_ns);
        Some(LatencyReport {
            samples,
            min_ns: self.min_ns,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: self.max_ns,
            negative_count,
            negative_p50_ns: (negative_count > 0)
                .then(|| negated(self.backward.value_at_quantile(0.5)).max(self.min_ns)),
        })
    }

    fn quantile(&self, quantile: f64) -> i64 {
        let (below, above) = (self.backward.len() as f64, self.forward.len() as f64);
        let rank = (quantile * (below + above)).ceil().max(1.0);
        if rank <= below {
            negated(self.backward.value_at_quantile((below - rank + 1.0) / below))
        } else {
            self.forward.value_at_quantile((rank - below) / above) as i64
        }
    }
}

fn negated(magnitude: u64) -> i64 {
    -(magnitude.min(i64::MAX as u64) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_run_from_the_most_negative_to_the_largest() {
        let mut latency = Latency::new().unwrap();
        assert_eq!(latency.report(), None);
        for ns in -100_000..900_000 {
            latency.record(ns);
        }
        let report = latency.report().unwrap();
        assert_eq!((report.samples, report.negative_count), (1_000_000, 100_000));
        assert_eq!((report.min_ns, report.max_ns), (-100_000, 899_999));
        let near = |found: i64, exact: i64| (found - exact).abs() <= exact.abs() / 1_000 + 1;
        assert!(near(report.p50_ns, 399_999), "{report:?}");
        assert!(near(report.p99_ns, 889_999), "{report:?}");
        assert!(near(report.negative_p50_ns.unwrap(), -50_000), "{report:?}");
        let mut behind = Latency::new().unwrap();
        (1..=100).for_each(|ns| behind.record(-ns));
        let report = behind.report().unwrap();
        assert_eq!((report.p50_ns, report.p99_ns, report.max_ns), (-51, -2, -1));
    }

    #[test]
    fn the_ends_of_the_range_are_taken() {
        let mut latency = Latency::new().unwrap();
        latency.record(i64::MIN);
        latency.record(i64::MAX);
        let report = latency.report().unwrap();
        assert_eq!((report.min_ns, report.max_ns, report.samples), (i64::MIN, i64::MAX, 2));
    }
}
