//! Online isotonic recalibration: the monotone map that fits best, over a fixed number of bins.
//!
//! Labels are gathered in [`BINS`] equal bins of the raw probability. Every `refit_labels` labels,
//! pool-adjacent-violators (Ayer, Brunk, Ewing, Reid, Silverman 1955; for calibration Zadrozny and
//! Elkan, KDD 2002) makes the bins' up frequencies monotone, and the past fades. Between the bins'
//! mean forecasts the map is linear, outside of them constant. Each bin starts with labels that
//! agree with the identity; they never fade.
//!
//! Invariants: the map is monotone and inside of (0, 1); memory is fixed. Cost: O(1) a label and a
//! forecast, O(BINS) a refit, no allocation. It has up to [`BINS`] parameters, so on calibrated
//! forecasts it loses more than Platt's two: up to about `BINS / 2m` nats a label with `m`
//! independent labels seen, less what pooling and the prior save.

use super::{CalibrationError, check, is_probability};
use crate::learned::visit_count;

/// Bins of equal width over [0, 1].
const BINS: usize = 32;

/// Numbers of an [`Isotonic`] map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IsotonicConfig {
    /// Labels that each bin's prior, the identity, is worth.
    pub prior_labels: f64,
    /// Forgetting time constant: the weight of a label falls by `e` after this many labels.
    pub memory_labels: f64,
    /// Labels from one refit to the next.
    pub refit_labels: u32,
}

impl Default for IsotonicConfig {
    /// Four labels a bin, 20,000 labels (as Platt), a refit every 100.
    fn default() -> Self {
        Self { prior_labels: 4.0, memory_labels: 20_000.0, refit_labels: 100 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    weight: f64,
    /// Sum of weighted forecasts.
    forecast: f64,
    /// Sum of the weights of up labels.
    up: f64,
}

/// Monotone recalibration, learned online.
#[derive(Clone, Debug)]
pub struct Isotonic {
    bins: [Bin; BINS],
    /// The fitted map: mean forecast of each bin and what it becomes.
    from: [f64; BINS],
    to: [f64; BINS],
    prior_labels: f64,
    /// Factor applied to the past at each refit.
    keep: f64,
    refit_labels: u32,
    since_refit: u32,
    learned: u64,
    rejected: u64,
}

impl Isotonic {
    /// The identity, within half a bin.
    ///
    /// # Errors
    /// When the prior is not positive, the memory is under one label or there is no refit.
    pub fn new(config: IsotonicConfig) -> Result<Self, CalibrationError> {
        let IsotonicConfig { prior_labels, memory_labels, refit_labels } = config;
        check("prior_labels", prior_labels, 0.0, "> 0")?;
        check("memory_labels", memory_labels, 1.0, "> 1")?;
        check("refit_labels", f64::from(refit_labels), 0.0, "> 0")?;
        let mut map = Self {
            bins: [Bin::default(); BINS],
            from: [0.0; BINS],
            to: [0.0; BINS],
            prior_labels,
            keep: (-f64::from(refit_labels) / memory_labels).exp(),
            refit_labels,
            since_refit: 0,
            learned: 0,
            rejected: 0,
        };
        map.refit();
        Ok(map)
    }

    /// Recalibrated probability of a forecast probability; NaN unless `p` is in `[0, 1]`.
    #[must_use]
    pub fn apply(&self, p: f64) -> f64 {
        if !is_probability(p) {
            return f64::NAN;
        }
        // A bin's mean forecast lies inside of the bin, so its neighbours bracket `p`.
        let bin = bin_of(p);
        let right = if p < self.from[bin] { bin } else { bin + 1 };
        if right == 0 {
            return self.to[0];
        }
        if right == BINS {
            return self.to[BINS - 1];
        }
        let (from, to) = (self.from[right - 1], self.from[right]);
        // Two mean forecasts may meet where their bins do.
        let share = if to > from { (p - from) / (to - from) } else { 1.0 };
        self.to[right - 1] + share * (self.to[right] - self.to[right - 1])
    }

    /// Learns that forecast `p_raw` was followed by an up move or a down move; `weight` is how many
    /// independent labels this one is worth, as for [`super::Platt::learn`].
    pub fn learn(&mut self, p_raw: f64, up: bool, weight: f64) {
        if !is_probability(p_raw) || !weight.is_finite() || weight <= 0.0 {
            self.rejected += 1;
            return;
        }
        let bin = &mut self.bins[bin_of(p_raw)];
        bin.weight += weight;
        bin.forecast += weight * p_raw;
        bin.up += weight * f64::from(u8::from(up));
        self.learned += 1;
        self.since_refit += 1;
        if self.since_refit == self.refit_labels {
            self.refit();
            self.since_refit = 0;
            for bin in &mut self.bins {
                bin.weight *= self.keep;
                bin.forecast *= self.keep;
                bin.up *= self.keep;
            }
        }
    }

    /// Pools adjacent bins whose frequencies fall.
    fn refit(&mut self) {
        // Blocks of pooled bins: weight, mean, bins.
        let mut blocks = [(0.0, 0.0, 0usize); BINS];
        let mut n_blocks = 0;
        for (k, bin) in self.bins.iter().enumerate() {
            let centre = (k as f64 + 0.5) / BINS as f64;
            let weight = bin.weight + self.prior_labels;
            self.from[k] = (bin.forecast + self.prior_labels * centre) / weight;
            let mut block = (weight, (bin.up + self.prior_labels * centre) / weight, 1);
            while n_blocks > 0 && blocks[n_blocks - 1].1 >= block.1 {
                let (weight, mean, bins) = blocks[n_blocks - 1];
                let both = weight + block.0;
                block = (both, (weight * mean + block.0 * block.1) / both, bins + block.2);
                n_blocks -= 1;
            }
            blocks[n_blocks] = block;
            n_blocks += 1;
        }
        let mut k = 0;
        for &(_, mean, bins) in &blocks[..n_blocks] {
            self.to[k..k + bins].fill(mean);
            k += bins;
        }
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        for bin in &mut self.bins {
            [&mut bin.weight, &mut bin.forecast, &mut bin.up].into_iter().for_each(&mut *visit);
        }
        self.from.iter_mut().chain(&mut self.to).for_each(&mut *visit);
        let mut since_refit = u64::from(self.since_refit);
        visit_count(&mut since_refit, visit);
        self.since_refit = since_refit as u32;
        visit_count(&mut self.learned, visit);
        visit_count(&mut self.rejected, visit);
    }

    /// Labels learned from.
    #[must_use]
    pub fn learned(&self) -> u64 {
        self.learned
    }

    /// Labels refused because the forecast or the weight was not usable.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }
}

fn bin_of(p: f64) -> usize {
    ((p * BINS as f64) as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Isotonic {
        Isotonic::new(IsotonicConfig::default()).unwrap()
    }

    #[test]
    fn it_starts_as_the_identity_within_half_a_bin() {
        for i in 0..=1_000 {
            let p = f64::from(i) / 1_000.0;
            assert!((map().apply(p) - p).abs() <= 0.5 / BINS as f64 + 1e-12, "{p}");
        }
    }

    #[test]
    fn whatever_it_learns_it_is_monotone_and_never_certain() {
        for stride in [1u32, 7, 13, 29] {
            let mut map = map();
            for i in 0..50_000u32 {
                let p = f64::from(i * stride % 101) / 100.0;
                // Falls with p, with a period that is no multiple of the bins.
                map.learn(p, i % 101 > i * stride % 101 || i % 3 == 0, 1.0);
            }
            let mapped: Vec<f64> = (0..=2_000).map(|i| map.apply(f64::from(i) / 2e3)).collect();
            assert!(mapped.is_sorted());
            assert!(mapped[0] > 0.0 && mapped[2_000] < 1.0);
        }
    }

    #[test]
    fn a_contrary_forecaster_is_flattened() {
        let mut map = map();
        for i in 0..50_000 {
            // Up in 20 % of the forecasts of 0.8 and in 80 % of those of 0.2.
            let (p, up) = if i % 2 == 0 { (0.8, i % 10 == 0) } else { (0.2, i % 10 != 1) };
            map.learn(p, up, 1.0);
        }
        assert!(map.apply(0.8) - map.apply(0.2) < 0.05);
    }

    #[test]
    fn pooling_gives_the_weighted_mean_of_the_bins_that_fall() {
        let config = IsotonicConfig { prior_labels: 1e-9, memory_labels: 1e12, refit_labels: 6 };
        let mut map = Isotonic::new(config).unwrap();
        // Frequencies 1/2, 1/4 in neighbouring bins: pooled, 2 of 6.
        for (p, up) in
            [(0.51, true), (0.51, false), (0.54, true), (0.54, false), (0.54, false), (0.54, false)]
        {
            map.learn(p, up, 1.0);
        }
        for p in [0.51, 0.525, 0.54] {
            assert!((map.apply(p) - 1.0 / 3.0).abs() < 1e-6, "{}", map.apply(p));
        }
    }

    #[test]
    fn it_forgets_an_old_regime() {
        let mut map =
            Isotonic::new(IsotonicConfig { memory_labels: 2_000.0, ..IsotonicConfig::default() })
                .unwrap();
        for i in 0..20_000 {
            map.learn(0.7, i % 10 < 9, 1.0);
        }
        assert!(map.apply(0.7) > 0.85);
        for i in 0..20_000 {
            map.learn(0.7, i % 10 < 6, 1.0);
        }
        assert!((map.apply(0.7) - 0.6).abs() < 0.03, "{}", map.apply(0.7));
    }

    #[test]
    fn unusable_input_is_counted_and_bad_settings_are_refused_by_name() {
        let mut map = map();
        for (p, weight) in [(f64::NAN, 1.0), (1.1, 1.0), (0.5, 0.0), (0.5, f64::NAN)] {
            map.learn(p, true, weight);
        }
        assert_eq!((map.learned(), map.rejected()), (0, 4));
        assert!(map.apply(f64::NAN).is_nan() && map.apply(-0.1).is_nan());
        let good = IsotonicConfig::default();
        for (config, key) in [
            (IsotonicConfig { prior_labels: 0.0, ..good }, "prior_labels"),
            (IsotonicConfig { memory_labels: f64::NAN, ..good }, "memory_labels"),
            (IsotonicConfig { refit_labels: 0, ..good }, "refit_labels"),
        ] {
            assert_eq!(Isotonic::new(config).unwrap_err().key, key);
        }
    }
}
