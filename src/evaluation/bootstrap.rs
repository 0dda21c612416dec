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
//! Invariants: units without rows are not counted; draws come from a fixed seed, and all forecasters are
//! resampled by the same draws, so that differences between them are paired; with fewer than [`MIN_UNITS`]
//! units there is no interval.

use purkinje_kernels::rng::Key;

use super::metrics::{BINS, METRICS, Metric, Tally};

/// Samples drawn.
pub const RESAMPLES: usize = 1_000;
/// Fewest units, each at least one horizon long, that give an interval.
pub const MIN_UNITS: usize = 20;
/// Most units, which bounds what is kept: of longer spans a unit is several horizons.
const MAX_UNITS: i64 = 65_536;
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

/// Which unit each row belongs to.
#[derive(Clone, Debug)]
pub struct Units {
    of_row: Vec<usize>,
    count: usize,
}

impl Units {
    /// For the times of rows, ns since the epoch, in their order.
    #[must_use]
    pub fn new(horizon_ms: u64, times_ns: impl DoubleEndedIterator<Item = i64> + Clone) -> Self {
        let ends_ns = times_ns.clone().next().zip(times_ns.clone().next_back());
        let span_ns = ends_ns.map_or(0, |(first, last)| last.saturating_sub(first));
        let horizon_ns = (horizon_ms as i64).saturating_mul(1_000_000).max(1);
        let unit_ns = horizon_ns.saturating_mul(1 + span_ns / horizon_ns / MAX_UNITS);
        let (mut count, mut newest) = (0, None);
        let unit = |time_ns: i64| {
            let unit = time_ns.div_euclid(unit_ns);
            count += usize::from(newest != Some(unit));
            newest = Some(unit);
            count - 1
        };
        let of_row = times_ns.map(unit).collect();
        Self { of_row, count }
    }

    /// How many have rows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The tally of each unit, of forecasts P(up) and what became of them; rows without a move are not
    /// counted.
    ///
    /// # Panics
    /// Where there is not one forecast and one outcome for each row.
    #[must_use]
    pub fn tallies(
        &self,
        p_up: &[f64],
        rose: impl ExactSizeIterator<Item = Option<bool>>,
    ) -> Vec<Tally> {
        assert_eq!((p_up.len(), rose.len()), (self.of_row.len(), p_up.len()), "one for each row");
        let mut tallies = vec![Tally::default(); self.count];
        for ((unit, p_up), rose) in self.of_row.iter().zip(p_up).zip(rose) {
            if let Some(up) = rose {
                tallies[*unit].record(*p_up, up);
            }
        }
        tallies
    }
}

/// How a forecaster did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// On all rows.
    pub all: Tally,
    /// On each sample; empty where there are too few units.
    pub samples: Vec<Tally>,
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

    /// How a forecaster did, given its tallies by unit.
    ///
    /// # Panics
    /// Where there is another number of units.
    #[must_use]
    pub fn outcome(&self, units: &[Tally]) -> Outcome {
        assert_eq!(units.len(), self.units, "a tally for each unit");
        let all = units.iter().fold(Tally::default(), |all, unit| all + *unit);
        if self.starts.is_empty() {
            return Outcome { all, samples: Vec::new() };
        }
        // A run is the difference of two prefix sums; the circle is walked twice.
        let mut sums = vec![Tally::default()];
        let mut sum = Tally::default();
        for tally in units.iter().chain(&units[..self.run_units]) {
            sum += *tally;
            sums.push(sum);
        }
        let runs = self.starts.len() / RESAMPLES;
        let sample = |starts: &[u32]| {
            starts.iter().fold(Tally::default(), |all, start| {
                let start = *start as usize;
                all + (sums[start + self.run_units] - sums[start])
            })
        };
        Outcome { all, samples: self.starts.chunks_exact(runs).map(sample).collect() }
    }
}

impl Outcome {
    fn estimate(&self, figure: impl Fn(&Tally) -> f64) -> Estimate {
        Estimate::of(figure(&self.all), &mut self.samples.iter().map(&figure).collect())
    }

    /// A figure with its interval.
    #[must_use]
    pub fn figure(&self, metric: Metric) -> Estimate {
        self.estimate(|tally| tally.metric(metric))
    }

    /// All figures, in the order of [`Metric::ALL`].
    #[must_use]
    pub fn figures(&self) -> [Estimate; METRICS] {
        Metric::ALL.map(|metric| self.figure(metric))
    }

    /// Mean log loss of a baseline less its own, nat: what it gains. The samples are paired.
    #[must_use]
    pub fn gain_over(&self, baseline: &Self) -> Estimate {
        let of = |own: &Tally, baseline: &Tally| {
            baseline.metric(Metric::LogLoss) - own.metric(Metric::LogLoss)
        };
        let mut samples =
            self.samples.iter().zip(&baseline.samples).map(|(o, b)| of(o, b)).collect();
        Estimate::of(of(&self.all, &baseline.all), &mut samples)
    }

    /// How often the price rose in each bin.
    #[must_use]
    pub fn frequencies(&self) -> Vec<Estimate> {
        let of = |tally: &Tally, bin: usize| tally.bins[bin].up / tally.bins[bin].count;
        (0..BINS).map(|bin| self.estimate(|tally| of(tally, bin))).collect()
    }
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
        Draws::new(units.len()).outcome(units).figures()[Metric::Accuracy as usize]
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
        let found = draws.outcome(&model).gain_over(&draws.outcome(&baseline));
        let expected = (0.6_f64 / 0.55).ln();
        assert!((found.value - expected).abs() < 1e-9);
        assert!(found.high - found.low < 1e-9, "{found:?}");
    }

    #[test]
    fn a_unit_is_a_horizon_that_has_rows_or_several_of_a_long_span() {
        let second_ns = 1_000_000_000;
        let of = |times_s: &[i64]| Units::new(10_000, times_s.iter().map(|time| time * second_ns));
        assert_eq!(of(&[3, 9, 10, 10, 19, 55, 60]).of_row, [0, 0, 1, 1, 1, 2, 3]);
        assert_eq!(of(&[]).count(), 0);
        // Twice as many horizons as there may be units.
        let long: Vec<i64> = (0..2 * MAX_UNITS).map(|horizon| 10 * horizon).collect();
        assert_eq!(of(&long).count(), MAX_UNITS as usize);
    }

    #[test]
    fn rows_are_tallied_by_unit_and_those_without_a_move_are_not() {
        let units = Units::new(1, [0, 1, 1_000_000, 1_000_001].into_iter());
        let rose = [Some(true), None, Some(false), Some(true)];
        let tallies = units.tallies(&[0.9, 0.1, 0.2, 0.3], rose.into_iter());
        let counts: Vec<_> = tallies.iter().map(|tally| (tally.ups(), tally.downs())).collect();
        assert_eq!(counts, [(1.0, 0.0), (1.0, 1.0)]);
    }

    #[test]
    fn bins_without_forecasts_have_no_frequency() {
        let units = clustered(2, 100);
        let found = Draws::new(100).outcome(&units).frequencies();
        assert!(found[0].value.is_nan() && found[0].low.is_nan());
        assert!((found[6].low..=found[6].high).contains(&found[6].value));
    }
}
