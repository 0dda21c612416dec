//! Running median, median absolute deviation and extrema of one feature, in constant space.
//!
//! All start from the exact values over the warm-up and then follow sign-driven stochastic
//! approximation (Robbins & Monro 1951), with gain g = max(1/n, 1/memory):
//!
//! * m, the location, moves towards x by at most g·(π/2)·a. For a Gaussian that is the step of least
//!   asymptotic variance, 1/(2 f(m) n), since σ = √(π/2)·a;
//! * a is the mean absolute deviation with gain g, each deviation counted up to 10 s;
//! * ln s moves by ±1.167 g (the same optimum for the median of ln |x|, n counting excursions), **only
//!   on excursions**: deviations above 0.02 a.
//!
//! The last rule serves sparse features. If nine values in ten are 0, the plain MAD is 0, and the usual
//! way out, the mean absolute deviation (Iglewicz & Hoaglin 1993), is so small that every other value
//! would be clipped. Leaving out the negligible deviations gives the MAD itself where there is no atom,
//! and the typical size of an excursion where there is one; the mean absolute deviation only decides
//! what is negligible, so that s can neither collapse nor stay too large for good.
//!
//! Invariants: everything is finite; `median_deviation` is 0 until eight excursions have been seen and
//! positive from then on; one value, however wild, moves m by at most g·(π/2)·a ≤ 0.2·s (at the
//! shortest warm-up) and s by a factor of at most e^0.15.

/// MAD to standard deviation for a Gaussian: 1 / Φ⁻¹(3/4).
const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;
/// Step of the location in mean absolute deviations.
const LOCATION_STEP: f64 = std::f64::consts::FRAC_PI_2;
/// 1 / (2 f(ln s)) for the logarithm of a Gaussian's absolute deviation at its median.
const LOG_SCALE_STEP: f64 = 1.167;
/// Deviations up to this part of the mean absolute deviation belong to an atom, not to the spread.
const NEGLIGIBLE: f64 = 0.02;
/// Deviations count towards their mean up to this many medians.
const WINSOR: f64 = 10.0;
/// Excursions from which the first scale is taken, as their median: three outliers do no harm.
const FIRST_EXCURSIONS: u32 = 8;
/// Smallest scale as a part of the location's magnitude.
const RELATIVE_FLOOR: f64 = 1e-3;
/// Standard deviations from the location up to which a value counts for the extrema.
const REACH: f64 = 5.0;

/// Running location and spread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    location: f64,
    /// Winsorised mean absolute deviation.
    mean_deviation: f64,
    /// Median of the excursions; 0 until eight have been seen.
    median_deviation: f64,
    /// Excursions seen, saturating.
    excursions: u32,
    /// The location is 0 and stays there.
    centred: bool,
}

impl Spread {
    /// The exact statistics of a sample, about 0 if `centred`. Its slots are used up: while a scale is
    /// not known they hold the first excursions.
    pub(super) fn of(sample: &mut [f32], centred: bool) -> Self {
        let location = if centred { 0.0 } else { median(sample) };
        for value in sample.iter_mut() {
            *value = (f64::from(*value) - location).abs().min(f64::from(f32::MAX)) as f32;
        }
        sample.sort_unstable_by(f32::total_cmp);
        let on_the_spot = sample.partition_point(|&deviation| deviation <= 0.0);
        let total = sample.len();
        sample.copy_within(on_the_spot.., 0);
        let mut spread = Self { location, centred, ..Self::default() };
        spread.excursions = (total - on_the_spot) as u32;
        if spread.excursions >= FIRST_EXCURSIONS {
            spread.start(&sample[..total - on_the_spot], total);
        }
        spread
    }

    /// Takes the first scale from sorted excursions among `total` values.
    fn start(&mut self, excursions: &[f32], total: usize) {
        self.median_deviation = median_of_sorted(excursions).max(f64::MIN_POSITIVE);
        let limit = WINSOR * self.median_deviation;
        let sum: f64 = excursions.iter().map(|&deviation| f64::from(deviation).min(limit)).sum();
        self.mean_deviation = sum / total as f64;
    }

    pub(super) fn location(&self) -> f64 {
        self.location
    }

    pub(super) fn median_deviation(&self) -> f64 {
        self.median_deviation
    }

    /// The robust z-score, unclipped; 0 while no scale is known.
    pub(super) fn z(&self, value: f64) -> f64 {
        if self.median_deviation <= 0.0 {
            return 0.0;
        }
        let scale = MAD_TO_SIGMA * self.median_deviation;
        (value - self.location) / scale.max(RELATIVE_FLOOR * self.location.abs())
    }

    /// The value, brought to within reach of the location.
    pub(super) fn winsorised(&self, value: f64) -> f64 {
        let reach = REACH * MAD_TO_SIGMA * self.median_deviation;
        value.clamp(self.location - reach, self.location + reach)
    }

    /// Includes a value. `sample` holds the first excursions until there are enough of them.
    pub(super) fn learn(&mut self, value: f64, gain: f64, least_gain: f64, sample: &mut [f32]) {
        let offset = value - self.location;
        if self.median_deviation <= 0.0 {
            self.learn_first(offset.abs(), gain, sample);
            return;
        }
        self.learn_median_deviation(offset.abs(), least_gain);
        let counted = offset.abs().min(WINSOR * self.median_deviation);
        self.mean_deviation += gain * (counted - self.mean_deviation);
        if !self.centred {
            let step = gain * LOCATION_STEP * self.mean_deviation;
            self.location += offset.clamp(-step, step);
        }
    }

    /// While no scale is known the location stays and excursions are collected.
    fn learn_first(&mut self, deviation: f64, gain: f64, sample: &mut [f32]) {
        if deviation <= 0.0 {
            return;
        }
        let collected = self.excursions as usize;
        if let Some(slot) = sample.get_mut(collected) {
            *slot = deviation.min(f64::from(f32::MAX)) as f32;
        }
        self.excursions += 1;
        if self.excursions >= FIRST_EXCURSIONS {
            let excursions = &mut sample[..=collected];
            excursions.sort_unstable_by(f32::total_cmp);
            self.start(excursions, (1.0 / gain) as usize);
        }
    }

    fn learn_median_deviation(&mut self, deviation: f64, least_gain: f64) {
        if deviation <= NEGLIGIBLE * self.mean_deviation {
            return;
        }
        let gain = (1.0 / f64::from(self.excursions)).max(least_gain);
        self.excursions = self.excursions.saturating_add(1);
        let factor = (LOG_SCALE_STEP * gain).exp();
        if deviation > self.median_deviation {
            self.median_deviation *= factor;
        } else {
            self.median_deviation = (self.median_deviation / factor).max(f64::MIN_POSITIVE);
        }
    }
}

/// Decaying extrema.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extrema {
    low: f64,
    high: f64,
}

impl Extrema {
    pub(super) fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    pub(super) fn middle(&self) -> f64 {
        0.5 * (self.low + self.high)
    }

    pub(super) fn half_range(&self) -> f64 {
        0.5 * (self.high - self.low)
    }

    /// Where the value lies between the extrema (−1 and 1), unclipped; 0 while they coincide.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.half_range() <= 0.0 {
            return 0.0;
        }
        (value - self.middle()) / self.half_range().max(RELATIVE_FLOOR * self.middle().abs())
    }

    /// The same range about 0.
    pub(super) fn centred(self) -> Self {
        let reach = self.high.max(-self.low);
        Self { low: -reach, high: reach }
    }

    /// Lets the extrema decay towards their middle and includes a value.
    pub(super) fn learn(&mut self, value: f64, gain: f64) {
        let decay = gain * self.half_range();
        self.low = value.min(self.low + decay);
        self.high = value.max(self.high - decay);
    }
}

/// Smallest and largest of a sample, (0, 0) of an empty one.
pub(super) fn extremes(sample: &[f32]) -> (f64, f64) {
    let low = sample.iter().copied().min_by(f32::total_cmp).unwrap_or(0.0);
    let high = sample.iter().copied().max_by(f32::total_cmp).unwrap_or(0.0);
    (f64::from(low), f64::from(high))
}

/// Sorts a sample and returns its median.
fn median(sample: &mut [f32]) -> f64 {
    sample.sort_unstable_by(f32::total_cmp);
    median_of_sorted(sample)
}

/// Median of a sorted sample, 0 of an empty one.
fn median_of_sorted(sample: &[f32]) -> f64 {
    let half = sample.len() / 2;
    match sample.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => f64::from(sample[half]),
        _ => 0.5 * (f64::from(sample[half - 1]) + f64::from(sample[half])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_gives_its_exact_median_and_median_deviation() {
        let mut sample: Vec<f32> = (0..=100).map(|value| value as f32).collect();
        let spread = Spread::of(&mut sample, false);
        assert_eq!(spread.location(), 50.0);
        // Deviations are 0 once and 1..=50 twice; without the 0 their median is 25.5.
        assert_eq!(spread.median_deviation(), 25.5);
    }

    #[test]
    fn a_scale_waits_for_eight_excursions_and_survives_an_outlier_among_them() {
        let mut sample = vec![3.0_f32; 100];
        sample[7] = 1e9;
        let mut spread = Spread::of(&mut sample, false);
        for excursion in 1..=7 {
            assert_eq!(spread.z(5.0), 0.0, "excursion {excursion}");
            spread.learn(3.0 + f64::from(excursion), 0.01, 0.001, &mut sample);
        }
        // Of 1..=7 and 1e9 the median is 4.5.
        assert_eq!(spread.median_deviation(), 4.5);
        assert_eq!(spread.location(), 3.0);
    }

    #[test]
    fn extrema_decay_and_are_pushed_out() {
        let mut extrema = Extrema::new(-1.0, 1.0);
        extrema.learn(0.0, 0.1);
        assert_eq!((extrema.middle(), extrema.half_range()), (0.0, 0.9));
        extrema.learn(3.0, 0.0);
        assert_eq!(extrema.place(3.0), 1.0);
        assert_eq!(Extrema::new(2.0, 2.0).place(5.0), 0.0);
    }
}
