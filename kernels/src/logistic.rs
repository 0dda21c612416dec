//! Online Bayesian logistic regression: one weight a feature and an intercept, learned from each
//! label once.
//!
//! The posterior over the weights is kept as a normal with full covariance and moved by one Newton
//! step a label: the extended Kalman filter for a Bernoulli observation (derived here; the design
//! notes name no source). A label costs d² multiply-adds, d being the features and the
//! intercept: one to three microseconds at 51. One object is shared by all instruments; the caller
//! keeps the features of forecasts that await their label.
//!
//! Forgetting weakens what labels said and leaves the prior as it was: in terms of precision,
//! Λ ← k Λ + (1 - k) Λ₀ with k = exp(-weight / memory). The covariance is widened by 1/k at each
//! label, and the prior's share is put back one coordinate at a time, a rank-one update each, often
//! enough that no variance passes its prior by more than about [`OVERSHOOT`]. A direction that no
//! label visits (a constant feature, a silent instrument) therefore neither widens for ever nor
//! keeps others from forgetting.
//!
//! Invariants: the covariance stays symmetric, finite and within [`OVERSHOOT`] of the prior's; a
//! label that is not finite changes nothing and is counted; no allocation after construction.

use thiserror::Error;

/// The most features accepted: the covariance has the square of this many `f64`.
pub const FEATURES_MAX: usize = 4_096;

/// Forgetting, as a share, after which the prior is put back into a coordinate.
const OVERSHOOT: f64 = 0.01;
/// One label forgets at most this many e-folds, however heavy it is.
const FORGOTTEN_MAX: f64 = 1.0;

/// What a regression starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct LogisticConfig {
    /// Features a sample, without the intercept: 1 to [`FEATURES_MAX`].
    pub features: usize,
    /// Standard deviation of a weight before any label, in logits for one unit of its feature. With
    /// normalised features, 0.2 says that few weights will exceed half a logit.
    pub prior_sd: f64,
    /// Total label weight after which old labels count 1/e as much; infinite for a stationary
    /// problem.
    pub memory: f64,
}

impl LogisticConfig {
    /// The defaults for this many features: `prior_sd` 0.2, `memory` 20,000.
    pub const fn new(features: usize) -> Self {
        Self { features, prior_sd: 0.2, memory: 20_000.0 }
    }
}

/// Why a regression could not be built.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LogisticError {
    /// The number of features is zero or too large.
    #[error("features is {0}, expected 1 to {FEATURES_MAX}")]
    Features(usize),
    /// The prior is not a positive finite number.
    #[error("prior_sd is {0}, expected a finite number above 0")]
    Prior(f64),
    /// The memory is too short to be stable.
    #[error("memory is {0}, expected at least 1 (infinity: never forget)")]
    Memory(f64),
}

/// A logistic regression that learns while it predicts.
#[derive(Clone, Debug)]
pub struct OnlineLogistic {
    config: LogisticConfig,
    /// Posterior mean: the features' weights, then the intercept.
    mean: Vec<f64>,
    /// Posterior covariance, row-major, d × d with d = features + 1.
    covariance: Vec<f64>,
    /// Scratch: the sample with its trailing 1.
    sample: Vec<f64>,
    /// Scratch: the covariance times the sample.
    direction: Vec<f64>,
    /// Prior precision by coordinate.
    prior: Vec<f64>,
    /// E-folds forgotten so far, and the part of them that each coordinate's prior has made good.
    forgotten: f64,
    restored: Vec<f64>,
    /// The coordinate whose prior is put back next, and how many are due.
    next: usize,
    due: f64,
    labels: u64,
    rejected: u64,
}

impl OnlineLogistic {
    /// Builds a regression that predicts one half until taught.
    ///
    /// # Errors
    /// [`LogisticError`] names the setting, its value and what was expected.
    pub fn new(config: LogisticConfig) -> Result<Self, LogisticError> {
        let sds = vec![config.prior_sd; config.features.min(FEATURES_MAX) + 1];
        Self::with_prior_sds(config, &sds)
    }

    /// Builds a regression whose prior has a standard deviation of its own for each feature and, in
    /// the last place, for the intercept.
    ///
    /// # Errors
    /// [`LogisticError`] names the setting, its value and what was expected.
    ///
    /// # Panics
    /// When there is not one standard deviation a feature and one for the intercept.
    pub fn with_prior_sds(config: LogisticConfig, sds: &[f64]) -> Result<Self, LogisticError> {
        if config.features == 0 || config.features > FEATURES_MAX {
            return Err(LogisticError::Features(config.features));
        }
        if let Some(&sd) = sds.iter().find(|sd| !(sd.is_finite() && **sd > 0.0)) {
            return Err(LogisticError::Prior(sd));
        }
        if config.memory.is_nan() || config.memory < 1.0 {
            return Err(LogisticError::Memory(config.memory));
        }
        let d = config.features + 1;
        assert_eq!(sds.len(), d, "one standard deviation a feature and one for the intercept");
        let mut covariance = vec![0.0; d * d];
        for (k, sd) in sds.iter().enumerate() {
            covariance[k * d + k] = sd * sd;
        }
        Ok(Self {
            mean: vec![0.0; d],
            covariance,
            sample: vec![0.0; d],
            direction: vec![0.0; d],
            prior: sds.iter().map(|sd| 1.0 / (sd * sd)).collect(),
            forgotten: 0.0,
            restored: vec![0.0; d],
            next: 0,
            due: 0.0,
            labels: 0,
            rejected: 0,
            config,
        })
    }

    /// The probability of a 1 given the features `x`, at the posterior mean.
    ///
    /// # Panics
    /// When `x` does not have one value a feature.
    pub fn predict(&self, x: &[f32]) -> f64 {
        sigmoid(self.logit(x))
    }

    /// Learns that `x` was followed by `target` (0 to 1). `weight` is how many independent labels
    /// this one is worth: 1/k when k labels overlap.
    ///
    /// # Panics
    /// When `x` does not have one value a feature.
    pub fn learn(&mut self, x: &[f32], target: f64, weight: f64) {
        let logit = self.logit(x);
        // A NaN target or weight fails its range test too; an infinite feature may still cancel to
        // a NaN.
        let usable = logit.is_finite() && (0.0..=1.0).contains(&target);
        if !(usable && weight.is_finite() && weight > 0.0) {
            self.rejected += 1;
            return;
        }
        let d = self.mean.len();
        for (to, from) in self.sample.iter_mut().zip(x) {
            *to = *from as f64;
        }
        self.sample[d - 1] = 1.0;
        for (to, row) in self.direction.iter_mut().zip(self.covariance.chunks_exact(d)) {
            *to = dot(row, &self.sample);
        }
        let p = sigmoid(logit);
        let curvature = weight * p * (1.0 - p);
        let gain = 1.0 / (1.0 + curvature * dot(&self.sample, &self.direction));
        let step = weight * (target - p) * gain;
        for (mean, direction) in self.mean.iter_mut().zip(&self.direction) {
            *mean += step * direction;
        }
        let shrink = curvature * gain;
        let forgotten = (weight / self.config.memory).min(FORGOTTEN_MAX);
        let inflate = forgotten.exp();
        for (row, &left) in self.covariance.chunks_exact_mut(d).zip(&self.direction) {
            for (cell, &right) in row.iter_mut().zip(&self.direction) {
                *cell = inflate * (*cell - shrink * (left * right));
            }
        }
        self.restore_priors(forgotten);
        self.labels += 1;
    }

    /// Puts the prior's share of what was forgotten back into as many coordinates as are due.
    fn restore_priors(&mut self, forgotten: f64) {
        let d = self.mean.len();
        self.forgotten += forgotten;
        self.due = (self.due + d as f64 * forgotten / OVERSHOOT).min(d as f64);
        while self.due >= 1.0 {
            self.due -= 1.0;
            let k = self.next;
            self.next = if k + 1 == d { 0 } else { k + 1 };
            let added = -(self.restored[k] - self.forgotten).exp_m1() * self.prior[k];
            self.restored[k] = self.forgotten;
            self.direction.copy_from_slice(&self.covariance[k * d..][..d]);
            let gain = added / (1.0 + added * self.direction[k]);
            // The prior's mean is 0.
            let step = -gain * self.mean[k];
            for (mean, direction) in self.mean.iter_mut().zip(&self.direction) {
                *mean += step * direction;
            }
            for (row, &left) in self.covariance.chunks_exact_mut(d).zip(&self.direction) {
                for (cell, &right) in row.iter_mut().zip(&self.direction) {
                    *cell -= gain * (left * right);
                }
            }
        }
    }

    /// Labels learned.
    pub const fn labels(&self) -> u64 {
        self.labels
    }

    /// Labels refused because a feature, the target or the weight was out of range or not finite.
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The weights in feature order, then the intercept.
    pub fn weights(&self) -> &[f64] {
        &self.mean
    }

    /// Appends everything a prediction or an update depends on, as little-endian bytes in a fixed
    /// order.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.config.features as u64).to_le_bytes());
        for value in [self.config.prior_sd, self.config.memory].iter().chain(&self.mean) {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in self.prior.iter().chain(&self.covariance) {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        let numbers = self.mean.iter_mut().chain(&mut self.covariance).chain(&mut self.restored);
        numbers.chain([&mut self.forgotten, &mut self.due]).for_each(&mut *visit);
        visit_count(&mut self.labels, visit);
        visit_count(&mut self.rejected, visit);
        let mut next = self.next as u64;
        visit_count(&mut next, visit);
        self.next = next as usize % self.mean.len();
    }

    fn logit(&self, x: &[f32]) -> f64 {
        assert_eq!(x.len(), self.config.features, "one value a feature");
        let d = self.mean.len();
        let sum: f64 = self.mean[..d - 1].iter().zip(x).map(|(w, x)| w * *x as f64).sum();
        sum + self.mean[d - 1]
    }
}

/// A count as a number: exact up to 2^53.
fn visit_count(count: &mut u64, visit: &mut dyn FnMut(&mut f64)) {
    let mut number = *count as f64;
    visit(&mut number);
    *count = number as u64;
}

pub(crate) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Four partial sums let the additions overlap; their order is fixed, so the result is too.
    let mut sums = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a4.zip(b4) {
        for lane in 0..4 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    fn two_weights() -> OnlineLogistic {
        OnlineLogistic::new(LogisticConfig { prior_sd: 1.0, ..LogisticConfig::new(2) }).unwrap()
    }

    #[test]
    fn an_untaught_regression_says_one_half() {
        assert_eq!(two_weights().predict(&[3.0, -2.0]), 0.5);
    }

    #[test]
    fn two_weights_and_an_intercept_are_found() {
        let mut model = two_weights();
        let key = Key::new(3);
        for n in 0..20_000 {
            let x = [key.normal(3 * n), key.normal(3 * n + 1)];
            let p = sigmoid(1.5 * x[0] as f64 - 0.5 * x[1] as f64 + 0.7);
            let y = f64::from((key.uniform(3 * n + 2) as f64) < p);
            model.learn(&x, y, 1.0);
        }
        for (found, truth) in model.weights().iter().zip([1.5, -0.5, 0.7]) {
            assert!((found - truth).abs() < 0.1, "{found} against {truth}");
        }
        assert_eq!((model.labels(), model.rejected()), (20_000, 0));
    }

    #[test]
    fn the_covariance_is_the_inverse_of_the_prior_plus_the_information() {
        // A first label at p = 1/2 adds exactly x x' / 4 to the information.
        let config =
            LogisticConfig { prior_sd: 2.0, memory: f64::INFINITY, ..LogisticConfig::new(1) };
        let mut model = OnlineLogistic::new(config).unwrap();
        model.learn(&[3.0], 1.0, 1.0);
        let (a, b, c) = (0.25 + 9.0 / 4.0, 3.0 / 4.0, 0.25 + 1.0 / 4.0);
        let det = a * c - b * b;
        for (found, truth) in model.covariance.iter().zip([c / det, -b / det, -b / det, a / det]) {
            assert!((found - truth).abs() < 1e-12, "{found} against {truth}");
        }
    }

    #[test]
    fn a_changed_world_is_learned_again_when_memory_is_short() {
        let mut model =
            OnlineLogistic::new(LogisticConfig { memory: 500.0, ..LogisticConfig::new(1) })
                .unwrap();
        let key = Key::new(9);
        for n in 0..8_000 {
            let x = key.normal(2 * n);
            let sign = if n < 4_000 { 2.0 } else { -2.0 };
            let y = f64::from((key.uniform(2 * n + 1) as f64) < sigmoid(sign * x as f64));
            model.learn(&[x], y, 1.0);
        }
        assert!(model.weights()[0] < -1.0, "weight {}", model.weights()[0]);
    }

    #[test]
    fn forgetting_never_widens_the_posterior_beyond_the_prior() {
        let mut model =
            OnlineLogistic::new(LogisticConfig { memory: 1.0, ..LogisticConfig::new(3) }).unwrap();
        for _ in 0..10_000 {
            model.learn(&[0.0, 1.0, 0.0], 1.0, 1.0);
        }
        let widest = model.covariance.iter().step_by(5).fold(0.0_f64, |a, &b| a.max(b));
        assert!(widest < 1.02 * 0.04, "variance {widest}");
        assert!(model.predict(&[0.0, 1.0, 0.0]).is_finite());
    }

    #[test]
    fn a_million_labels_with_constant_features_leave_the_prior_where_it_was() {
        // Two features never move and one is silent: the labels tell of one direction only, and
        // fifty memories pass.
        let config = LogisticConfig { memory: 20_000.0, ..LogisticConfig::new(4) };
        let mut model = OnlineLogistic::new(config).unwrap();
        let key = Key::new(5);
        for n in 0..1_000_000 {
            let up = key.uniform(2 * n + 1) < 0.6;
            model.learn(&[1.0, -2.0, 0.0, key.normal(2 * n)], f64::from(u8::from(up)), 1.0);
        }
        let at = |i: usize, j: usize| model.covariance[i * 5 + j];
        for i in 0..5 {
            assert!(at(i, i) > 0.0 && at(i, i) < 1.02 * 0.04, "variance {i}: {}", at(i, i));
            for j in 0..5 {
                assert_eq!(at(i, j), at(j, i));
                assert!(at(i, j).powi(2) <= at(i, i) * at(j, j), "{i}, {j} is not a covariance");
            }
        }
        assert!(at(2, 2) > 0.98 * 0.04, "nothing was said of the silent feature: {}", at(2, 2));
        assert!(at(3, 3) < 1e-3, "the moving one is known: {}", at(3, 3));
        assert!((model.predict(&[1.0, -2.0, 0.0, 0.0]) - 0.6).abs() < 0.02);
    }

    #[test]
    fn silence_of_one_feature_does_not_stop_the_others_from_forgetting() {
        let config = LogisticConfig { memory: 500.0, ..LogisticConfig::new(30) };
        let mut model = OnlineLogistic::new(config).unwrap();
        let mut x = [0.0; 30];
        for n in 0..40_000 {
            x[0] = Key::new(8).normal(n);
            let sign = if n < 20_000 { 2.0 } else { -2.0 };
            let p = sigmoid(sign * f64::from(x[0]));
            let up = f64::from(Key::new(9).uniform(n)) < p;
            model.learn(&x, f64::from(u8::from(up)), 1.0);
            if n == 22_000 {
                assert!(model.weights()[0] < -1.0, "weight {}", model.weights()[0]);
            }
        }
    }

    #[test]
    fn labels_that_are_not_numbers_are_counted_and_change_nothing() {
        let mut model = two_weights();
        model.learn(&[1.0, 1.0], 1.0, 1.0);
        let before = model.clone();
        model.learn(&[f32::NAN, 1.0], 1.0, 1.0);
        model.learn(&[1.0, 1.0], f64::NAN, 1.0);
        model.learn(&[1.0, 1.0], 1.5, 1.0);
        model.learn(&[1.0, 1.0], 1.0, f64::INFINITY);
        model.learn(&[1.0, 1.0], 1.0, 0.0);
        assert_eq!(model.rejected(), 5);
        assert_eq!(model.mean, before.mean);
        assert_eq!(model.covariance, before.covariance);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let cases = [
            (LogisticConfig::new(0), "features is 0, expected 1 to 4096"),
            (
                LogisticConfig { prior_sd: -1.0, ..LogisticConfig::new(2) },
                "prior_sd is -1, expected a finite number above 0",
            ),
            (
                LogisticConfig { memory: 0.5, ..LogisticConfig::new(2) },
                "memory is 0.5, expected at least 1 (infinity: never forget)",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(OnlineLogistic::new(config).unwrap_err().to_string(), message);
        }
    }
}
