//! Confidence intervals for figures of forecasts whose labels overlap.
//!
//! A row's label reaches one horizon ahead, so that neighbours share most of their prices, and instruments
//! move together: rows are not independent, and intervals that take them for it are too narrow. Rows are
//! therefore gathered in units one horizon long, all instruments together, and runs of neighbouring units
//! are drawn with replacement from the circle they form (circular block bootstrap: Politis and Romano, in
//! *Exploring the Limits of Bootstrap*, 1992; it is Künsch's moving blocks, Annals of Statistics 17, 1989,
//! without favouring the middle). A run is as long as the cube root of the number of units (the rate of
//! Hall, Horowitz and Jing, Biometrika 82, 1995), at least two. Intervals are percentiles of the resampled
//! figures.
//!
//! Invariants: draws come from a fixed seed, and all forecasters are resampled by the same draws, so that
//! differences between them are paired; with fewer than [`MIN_UNITS`] units there is no interval.

use purkinje_kernels::rng::Key;

use super::metrics::{METRICS, Metric, Tally};

/// Samples drawn.
pub const RESAMPLES: usize = 1_000;
/// Fewest units, each at least one horizon long, that give an interval.
pub const MIN_UNITS: usize = 20;
/// Where percentiles of 95 % stand among [`RESAMPLES`] ordered figures.
const ENDS: [usize; 2] = [RESAMPLES / 40, RESAMPLES - 1 - RESAMPLES / 40];
const SEED: u64 = 0x0b00_7572;

/// A figure and its interval of 95 %; ends are NaN where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure of all rows.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// Of resampled figures, which are sorted in the course; those that are not defined are left out.
    fn of(value: f64, samples: &mut Vec<f64>) -> Self {
        samples.retain(|sample| sample.is_finite());
        // Figures of empty cells are undefined in some resamples; where they are in many, ends mean nothing.
        if samples.len() < RESAMPLES * 9 / 10 {
            return Self { value, low: f64::NAN, high: f64::NAN };
        }
        samples.sort_by(f64::total_cmp);
        let [low, high] = ENDS.map(|place| samples[place * samples.len() / RESAMPLES]);
        Self { value, low, high }
    }
}

/// Which units the samples are made of.
#[derive(Clone, Debug)]
pub struct Draws {
    units: usize,
    run_units: usize,
    /// First units of runs, sample by sample; empty without intervals.
    starts: Vec<u32>,
}

impl Draws {
    /// For so many units in the order of time.
    #[must_use]
    pub fn new(units: usize) -> Self {
        let run_units = ((units as f64).cbrt().round() as usize).max(2);
        let runs = if units < MIN_UNITS { 0 } else { units.div_ceil(run_units) };
        let key = Key::new(SEED);
        let starts = (0..(RESAMPLES * runs) as u64).map(|k| key.below(k, units as u32)).collect();
        Self { units, run_units, starts }
    }

    /// Units of a run.
    #[must_use]
    pub fn run_units(&self) -> usize {
        self.run_units
    }

    /// The resampled tallies of a forecaster, given its tallies by unit. Empty where there are too few.
    ///
    /// # Panics
    /// Where there is another number of units.
    #[must_use]
    pub fn resample(&self, units: &[Tally]) -> Vec<Tally> {
        assert_eq!(units.len(), self.units, "a tally for each unit");
        if self.starts.is_empty() {
            return Vec::new();
        }
        // A run is the difference of two prefix sums; the circle is walked twice.
        let mut sums = vec![Tally::default()];
        let mut sum = Tally::default();
        for tally in units.iter().chain(&units[..self.run_units]) {
            sum += *tally;
            sums.push(sum);
        }
        let runs = self.starts.len() / RESAMPLES;
        self.starts
            .chunks_exact(runs)
            .map(|starts| {
                starts.iter().fold(Tally::default(), |all, start| {
                    let start = *start as usize;
                    all + (sums[start + self.run_units] - sums[start])
                })
            })
            .collect()
    }
}

/// All figures with their intervals, in the order of [`Metric::ALL`].
#[must_use]
pub fn estimates(all: &Tally, samples: &[Tally]) -> [Estimate; METRICS] {
    Metric::ALL.map(|metric| {
        let mut figures = samples.iter().map(|sample| sample.metric(metric)).collect();
        Estimate::of(all.metric(metric), &mut figures)
    })
}

/// Mean log loss of a baseline less a model's, nat: what the model gains. The samples are paired.
#[must_use]
pub fn gain(model: (&Tally, &[Tally]), baseline: (&Tally, &[Tally])) -> Estimate {
    let of = |model: &Tally, baseline: &Tally| {
        baseline.metric(Metric::LogLoss) - model.metric(Metric::LogLoss)
    };
    let mut samples = model.1.iter().zip(baseline.1).map(|(m, b)| of(m, b)).collect();
    Estimate::of(of(model.0, baseline.0), &mut samples)
}

/// How often the price rose in each bin, with its interval.
#[must_use]
pub fn frequencies(all: &Tally, samples: &[Tally]) -> Vec<Estimate> {
    let of = |tally: &Tally, bin: usize| tally.bins[bin].up / tally.bins[bin].count;
    (0..all.bins.len())
        .map(|bin| {
            let mut samples = samples.iter().map(|sample| of(sample, bin)).collect();
            Estimate::of(of(all, bin), &mut samples)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of ten rows of which a unit's share, drawn anew for each unit, rose; the forecast is 0.6.
    fn clustered(seed: u64, units: usize) -> Vec<Tally> {
        let key = Key::new(seed);
        (0..units as u64)
            .map(|unit| {
                // All rows of a unit agree: ten rows are worth one.
                let up = key.uniform(unit) < 0.6;
                let mut tally = Tally::default();
                (0..10).for_each(|_| tally.record(0.6, up));
                tally
            })
            .collect()
    }

    fn accuracy(units: &[Tally]) -> Estimate {
        let all = units.iter().fold(Tally::default(), |all, unit| all + *unit);
        let samples = Draws::new(units.len()).resample(units);
        estimates(&all, &samples)[Metric::Accuracy as usize]
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say_though_rows_overlap() {
        let covered = (0..100).filter(|seed| {
            let found = accuracy(&clustered(*seed, 200));
            (found.low..=found.high).contains(&0.6)
        });
        // The percentile bootstrap of 200 units is a little narrow.
        let covered = covered.count();
        assert!((87..=99).contains(&covered), "{covered} of 100");
        let found = accuracy(&clustered(1, 200));
        let independent = (0.24_f64 / 2_000.0).sqrt() * 1.96;
        assert!((found.high - found.low) / 2.0 > 2.0 * independent, "{found:?}");
    }

    #[test]
    fn the_same_units_give_the_same_interval_and_few_give_none() {
        let units = clustered(5, 100);
        assert_eq!(accuracy(&units), accuracy(&units));
        let few = accuracy(&clustered(5, MIN_UNITS - 1));
        assert!(few.value.is_finite() && few.low.is_nan() && few.high.is_nan());
    }

    #[test]
    fn differences_are_paired() {
        // Both forecasters suffer from the same units; one is always a little better.
        let of = |p_up: f64| -> Vec<Tally> {
            let key = Key::new(3);
            (0..300)
                .map(|unit| {
                    let up = key.uniform(unit) < 0.5;
                    let mut tally = Tally::default();
                    tally.record(if up { p_up } else { 1.0 - p_up }, up);
                    tally
                })
                .collect()
        };
        let (model, baseline) = (of(0.6), of(0.55));
        let draws = Draws::new(300);
        let sum = |units: &[Tally]| units.iter().fold(Tally::default(), |all, unit| all + *unit);
        let found = gain(
            (&sum(&model), &draws.resample(&model)),
            (&sum(&baseline), &draws.resample(&baseline)),
        );
        let expected = (0.6_f64 / 0.55).ln();
        assert!((found.value - expected).abs() < 1e-9);
        assert!(found.high - found.low < 1e-9, "{found:?}");
    }

    #[test]
    fn bins_without_forecasts_have_no_frequency() {
        let units = clustered(2, 100);
        let all = units.iter().fold(Tally::default(), |all, unit| all + *unit);
        let found = frequencies(&all, &Draws::new(100).resample(&units));
        assert!(found[0].value.is_nan() && found[0].low.is_nan());
        assert!((found[6].low..=found[6].high).contains(&found[6].value));
    }
}
