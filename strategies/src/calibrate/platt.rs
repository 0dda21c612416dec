//! Online Platt recalibration: log odds (or a raw score) x become `sigmoid(slope · x + offset)`.
//!
//! The two parameters minimise the exponentially forgotten log loss plus a Gaussian prior centred
//! on the identity (slope 1, offset 0), by one Newton step per label on the running quadratic
//! approximation (the recursive Laplace update of a discounted logistic regression). Form of the
//! map: Platt, "Probabilistic outputs for support vector machines", 1999.
//!
//! Invariants: the slope stays in [0, 10] and the offset in [-3, 3], so recalibration never
//! reverses the order of two forecasts; an input that is not a number changes nothing and is
//! counted. Cost: O(1), no allocation.
//!
//! Bound: on calibrated input the expected excess log loss over the identity is at most that of an
//! unregularised fit of two parameters, about `2 / (2 · m)` nats a label with `m` independent
//! labels seen, and `2 / (4 · memory)` once `m` exceeds the memory; the prior makes it smaller.

use super::{CalibrationError, check, is_probability, logit, sigmoid};
use crate::learned::visit_count;

/// Probabilities are clipped to `[LOGIT_CLIP, 1 - LOGIT_CLIP]` before their log odds are taken.
const LOGIT_CLIP: f64 = 1e-4;
/// Largest slope a fit may reach.
const SLOPE_MAX: f64 = 10.0;
/// Largest absolute offset, in log odds: a base rate between 5 % and 95 %.
const OFFSET_MAX: f64 = 3.0;
/// A raw score is clipped to this magnitude, the log odds of `1 - LOGIT_CLIP` rounded up.
const SCORE_MAX: f64 = 10.0;

/// Numbers of a [`Platt`] map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlattConfig {
    /// Prior standard deviation of the slope around 1.
    pub slope_sd: f64,
    /// Prior standard deviation of the offset around 0, in log odds.
    pub offset_sd: f64,
    /// Forgetting time constant: the weight of a label falls by `e` after this many labels.
    pub memory_labels: f64,
}

impl Default for PlattConfig {
    /// Slope 1 ± 0.3, offset 0 ± 0.1, 20,000 labels (33 minutes at one label each 100 ms). On five
    /// captures of five to ten minutes a wider prior (0.5 and 0.25) cost 2 to 4 mnat a label.
    fn default() -> Self {
        Self { slope_sd: 0.3, offset_sd: 0.1, memory_labels: 20_000.0 }
    }
}

/// Two-parameter logistic recalibration, learned online.
#[derive(Clone, Debug)]
pub struct Platt {
    slope: f64,
    offset: f64,
    /// Curvature of the forgotten loss plus prior: `[slope·slope, slope·offset, offset·offset]`.
    precision: [f64; 3],
    /// Curvature of the prior alone; it is never forgotten.
    prior: [f64; 2],
    /// Factor applied to the past at each label, `exp(-1 / memory_labels)`.
    keep: f64,
    learned: u64,
    rejected: u64,
}

impl Platt {
    /// The identity map with the given prior and memory.
    ///
    /// # Errors
    /// When a standard deviation is not positive or the memory is under one label.
    pub fn new(config: PlattConfig) -> Result<Self, CalibrationError> {
        check("slope_sd", config.slope_sd, 0.0, "> 0")?;
        check("offset_sd", config.offset_sd, 0.0, "> 0")?;
        check("memory_labels", config.memory_labels, 1.0, "> 1")?;
        let prior = [config.slope_sd.powi(-2), config.offset_sd.powi(-2)];
        Ok(Self {
            slope: 1.0,
            offset: 0.0,
            precision: [prior[0], 0.0, prior[1]],
            prior,
            keep: (-1.0 / config.memory_labels).exp(),
            learned: 0,
            rejected: 0,
        })
    }

    /// Recalibrated probability of a forecast probability; NaN unless `p` is in `[0, 1]`.
    #[must_use]
    pub fn apply(&self, p: f64) -> f64 {
        self.apply_score(clipped_logit(p))
    }

    /// Recalibrated probability of a raw score on the log-odds scale; NaN for NaN.
    #[must_use]
    pub fn apply_score(&self, score: f64) -> f64 {
        sigmoid(self.slope * score.clamp(-SCORE_MAX, SCORE_MAX) + self.offset)
    }

    /// Learns that forecast `p_raw` was followed by an up move or a down move.
    ///
    /// `weight` is how many independent labels this one is worth: 1 for labels that do not overlap,
    /// cycle / horizon for one label per cycle over a longer horizon.
    pub fn learn(&mut self, p_raw: f64, up: bool, weight: f64) {
        self.learn_score(clipped_logit(p_raw), up, weight);
    }

    /// As [`Platt::learn`] for a raw score on the log-odds scale.
    pub fn learn_score(&mut self, score: f64, up: bool, weight: f64) {
        if score.is_nan() || !weight.is_finite() || weight <= 0.0 {
            self.rejected += 1;
            return;
        }
        let x = score.clamp(-SCORE_MAX, SCORE_MAX);
        let p = sigmoid(self.slope * x + self.offset);
        let curvature = weight * p * (1.0 - p);
        let residual = weight * (f64::from(u8::from(up)) - p);
        let lost = 1.0 - self.keep;

        let [ss, so, oo] = &mut self.precision;
        *ss = self.keep * *ss + lost * self.prior[0] + curvature * x * x;
        *so = self.keep * *so + curvature * x;
        *oo = self.keep * *oo + lost * self.prior[1] + curvature;

        // Forgetting weakens the data, not the prior, so the optimum also drifts back to identity.
        let pull_slope = lost * self.prior[0] * (self.slope - 1.0);
        let pull_offset = lost * self.prior[1] * self.offset;
        let (g_slope, g_offset) = (residual * x - pull_slope, residual - pull_offset);
        let determinant = *ss * *oo - *so * *so;
        let step_slope = (*oo * g_slope - *so * g_offset) / determinant;
        let step_offset = (*ss * g_offset - *so * g_slope) / determinant;
        self.slope = (self.slope + step_slope).clamp(0.0, SLOPE_MAX);
        self.offset = (self.offset + step_offset).clamp(-OFFSET_MAX, OFFSET_MAX);
        self.learned += 1;
    }

    /// Slope on the log odds: above 1 repairs timid forecasts, under 1 repairs overconfident ones.
    #[must_use]
    pub fn slope(&self) -> f64 {
        self.slope
    }

    /// Offset in log odds.
    #[must_use]
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        visit(&mut self.slope);
        visit(&mut self.offset);
        self.precision.iter_mut().for_each(&mut *visit);
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

/// Log odds after clipping; NaN unless `p` is in `[0, 1]`.
fn clipped_logit(p: f64) -> f64 {
    if is_probability(p) { logit(p.clamp(LOGIT_CLIP, 1.0 - LOGIT_CLIP)) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::score::Reliability;

    fn log_loss(p: f64, up: bool) -> f64 {
        -(if up { p } else { 1.0 - p }).ln()
    }

    struct Outcome {
        platt: Platt,
        raw_loss: f64,
        loss: f64,
        true_loss: f64,
        raw_ece: f64,
        ece: f64,
    }

    /// True log odds uniform in [-2, 2]; the forecaster reports `distort(log odds)`.
    /// Losses are means over all labels, calibration errors over the second half.
    fn simulate(seed: u64, labels: u64, distort: impl Fn(f64) -> f64) -> Outcome {
        let mut rng = Random(seed);
        let mut platt = Platt::new(PlattConfig::default()).unwrap();
        let (mut raw_bins, mut bins) = (Reliability::default(), Reliability::default());
        let (mut raw_loss, mut loss, mut true_loss) = (0.0, 0.0, 0.0);
        for i in 0..labels {
            let x = 4.0 * rng.uniform() - 2.0;
            let up = rng.uniform() < sigmoid(x);
            let raw = sigmoid(distort(x));
            let p = platt.apply(raw);
            raw_loss += log_loss(raw, up);
            loss += log_loss(p, up);
            true_loss += log_loss(sigmoid(x), up);
            if i >= labels / 2 {
                raw_bins.add(raw, up);
                bins.add(p, up);
            }
            platt.learn(raw, up, 1.0);
        }
        let n = labels as f64;
        Outcome {
            platt,
            raw_loss: raw_loss / n,
            loss: loss / n,
            true_loss: true_loss / n,
            raw_ece: raw_bins.expected_error(),
            ece: bins.expected_error(),
        }
    }

    #[test]
    fn it_starts_as_the_identity() {
        let platt = Platt::new(PlattConfig::default()).unwrap();
        for p in [0.001, 0.2, 0.5, 0.77, 0.999] {
            assert!((platt.apply(p) - p).abs() < 1e-12);
        }
        assert!(platt.apply(0.0) > 0.0 && platt.apply(1.0) < 1.0);
    }

    #[test]
    fn it_repairs_overconfident_underconfident_and_biased_forecasts() {
        type Distortion = fn(f64) -> f64;
        let cases: [(&str, Distortion, f64, f64); 4] = [
            ("overconfident", |x| 2.5 * x, 0.4, 0.0),
            ("underconfident", |x| 0.4 * x, 2.5, 0.0),
            ("biased", |x| x + 0.8, 1.0, -0.8),
            ("overconfident and biased", |x| 2.0 * x - 1.0, 0.5, 0.5),
        ];
        for (name, distort, slope, offset) in cases {
            for seed in 1..=3 {
                let got = simulate(seed, 20_000, distort);
                assert!((got.platt.slope() - slope).abs() < 0.06 * slope.max(1.0) + 0.04, "{name}");
                assert!((got.platt.offset() - offset).abs() < 0.1, "{name}");
                assert!(got.raw_loss - got.true_loss > 0.02, "{name} needed repair");
                assert!(got.loss - got.true_loss < 0.002, "{name}: {}", got.loss - got.true_loss);
                assert!(got.raw_ece > 0.05, "{name}: raw {}", got.raw_ece);
                assert!(got.ece < 0.02, "{name}: {}", got.ece);
                println!("{name}: ECE {:.4} -> {:.4}", got.raw_ece, got.ece);
            }
        }
    }

    #[test]
    fn it_loses_less_than_its_stated_bound_on_calibrated_forecasts() {
        for seed in 1..=5 {
            for labels in [500u64, 5_000, 20_000] {
                let got = simulate(seed, labels, |x| x);
                // Summing 2 / (2 m) over m gives ln(labels) nats in all; one nat allows for chance.
                let bound = ((labels as f64).ln() + 1.0) / labels as f64;
                let excess = got.loss - got.raw_loss;
                assert!(excess < bound, "seed {seed}, {labels} labels: {excess} over {bound}");
                if labels == 20_000 {
                    assert!(got.ece < 0.02, "{}", got.ece);
                }
            }
        }
    }

    #[test]
    fn it_forgets_an_old_regime() {
        let mut rng = Random(9);
        let config = PlattConfig { memory_labels: 2_000.0, ..PlattConfig::default() };
        let mut platt = Platt::new(config).unwrap();
        let mut regime = |platt: &mut Platt, factor: f64| {
            for _ in 0..10_000 {
                let x = 4.0 * rng.uniform() - 2.0;
                platt.learn(sigmoid(factor * x), rng.uniform() < sigmoid(x), 1.0);
            }
            platt.slope()
        };
        assert!((regime(&mut platt, 2.0) - 0.5).abs() < 0.1);
        assert!((regime(&mut platt, 0.5) - 2.0).abs() < 0.35);
    }

    #[test]
    fn a_contrary_forecaster_is_flattened_but_never_reversed() {
        let got = simulate(4, 5_000, |x| -x);
        assert!((0.0..0.02).contains(&got.platt.slope()), "{}", got.platt.slope());
        assert!((got.platt.apply(0.9) - 0.5).abs() < 0.1);
    }

    #[test]
    fn unusable_input_is_counted_and_changes_nothing() {
        let mut platt = Platt::new(PlattConfig::default()).unwrap();
        platt.learn(0.7, true, 1.0);
        let before = (platt.slope(), platt.offset());
        for (p, weight) in [
            (f64::NAN, 1.0),
            (-0.1, 1.0),
            (1.1, 1.0),
            (0.5, f64::NAN),
            (0.5, f64::INFINITY),
            (0.5, 0.0),
            (0.5, -1.0),
        ] {
            platt.learn(p, false, weight);
        }
        assert_eq!((platt.slope(), platt.offset()), before);
        assert_eq!((platt.learned(), platt.rejected()), (1, 7));
        assert!(platt.apply(f64::NAN).is_nan() && platt.apply(1.5).is_nan());
    }

    #[test]
    fn certain_forecasts_that_fail_do_not_break_it() {
        let mut platt = Platt::new(PlattConfig::default()).unwrap();
        for i in 0..1_000 {
            platt.learn(f64::from(i % 2), i % 2 == 0, 1.0);
            assert!(is_probability(platt.apply(0.3)));
        }
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let good = PlattConfig::default();
        for (config, key) in [
            (PlattConfig { slope_sd: 0.0, ..good }, "slope_sd"),
            (PlattConfig { offset_sd: f64::NAN, ..good }, "offset_sd"),
            (PlattConfig { memory_labels: 1.0, ..good }, "memory_labels"),
        ] {
            let error = Platt::new(config).unwrap_err();
            assert_eq!(error.key, key);
            assert!(error.to_string().contains(&format!("calibration.{key} is ")));
        }
    }
}
