//! Reliability bins: what was forecast against what happened, and the expected calibration error.
//!
//! Ten equal bins of P(up). ECE = Σ over bins of (count / n) · |mean forecast - up frequency|
//! (Naeini, Cooper, Hauskrecht, AAAI 2015). Cost: O(1) a sample, no allocation.

/// Bins of equal width over [0, 1].
const BINS: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    count: u64,
    forecast: f64,
    up: u64,
}

/// Ten-bin reliability diagram of a binary forecast.
#[derive(Clone, Debug, Default)]
pub struct Reliability {
    bins: [Bin; BINS],
    count: u64,
}

impl Reliability {
    /// Adds one forecast P(up) in [0, 1] and its outcome; anything else is not counted.
    pub fn add(&mut self, p_up: f64, up: bool) {
        if !(0.0..=1.0).contains(&p_up) {
            return;
        }
        let bin = &mut self.bins[((p_up * BINS as f64) as usize).min(BINS - 1)];
        bin.count += 1;
        bin.forecast += p_up;
        bin.up += u64::from(up);
        self.count += 1;
    }

    /// Expected calibration error in [0, 1]; NaN without samples.
    #[must_use]
    pub fn expected_error(&self) -> f64 {
        let off: f64 = self.bins.iter().map(|b| (b.forecast - b.up as f64).abs()).sum();
        off / self.count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_weighted_gap_between_forecast_and_frequency() {
        let mut bins = Reliability::default();
        assert!(bins.expected_error().is_nan());
        for i in 0..10 {
            bins.add(0.75, i < 5); // forecast .75, frequency .5: a gap of .25 on half of the samples
            bins.add(0.2, i < 2); // exact
        }
        assert!((bins.expected_error() - 0.125).abs() < 1e-12);
    }

    #[test]
    fn the_ends_belong_to_the_outer_bins_and_nonsense_is_not_counted() {
        let mut bins = Reliability::default();
        bins.add(1.0, true);
        bins.add(0.0, false);
        for p in [f64::NAN, -0.1, 1.1] {
            bins.add(p, true);
        }
        assert_eq!((bins.count, bins.expected_error()), (2, 0.0));
    }
}
