//! Stacking: logistic regression on the members' log odds, learned online around their average.
//!
//! Wolpert, "Stacked generalization", 1992: `logit p = Σ c_k · logit p_k`, where `c_k = 1 / awake +
//! d_k`, and the base rate is one more input with `c = d`. The deviations `d` have a Gaussian prior
//! around 0, the uniform average of whoever is awake; they minimise the exponentially forgotten log
//! loss plus that prior by one Newton step per label (the recursive Laplace update of
//! `calibrate::Platt` in `members + 1` dimensions). A forecast is averaged over their posterior by
//! MacKay's moderation (Neural Computation 4, 1992): log odds shrink by `1 / √(1 + π/8 · variance)`,
//! and the reported weights with them. Coefficients need not sum to 1, so members that complement
//! each other add up where a convex mix stays timid, and one is negative where a member is contrary
//! or redundant.
//!
//! Bound: the exact Bayesian mixture under this prior loses at most what the best fixed deviations
//! lose plus `|d|² / 2s² + n/2 · ln(1 + s² · Σ|x|² / 4n)` nats, `n` inputs, `s` the prior standard
//! deviation (Kakade and Ng, "Online bounds for Bayesian algorithms", NIPS 2004). The moderated
//! Newton step approximates that mixture; that it keeps the bound is held by
//! `tests/combiner_guarantees.rs`, not proved. Coefficients held non-negative broke it up to
//! four-fold there.
//!
//! Invariants: a deviation is in [-10, 10]; a sleeping member's deviation and curvature do not
//! change; the curvature stays positive definite (forgetting scales its rows and columns by the same
//! factors). Cost: `members³ / 6` multiplications a forecast and a label, on fixed arrays.

use super::experts::{BASE_RATE, bits, expert_logits};
use super::{Forecast, MAX_MEMBERS};
use crate::calibrate::{logit, sigmoid};

/// Inputs: every member, then the base rate.
const INPUTS: usize = MAX_MEMBERS + 1;
const BASE: usize = MAX_MEMBERS;
/// Largest deviation of a coefficient, up or down.
const DEVIATION_MAX: f64 = 10.0;
/// Largest log odds that are learned from: beyond, the curvature fades to numbers too small to be
/// normal, which made a solve five times as slow.
const LOG_ODDS_MAX: f64 = 15.0;

/// State of the rule.
#[derive(Clone, Debug)]
pub(super) struct Stacking {
    deviation: [f64; INPUTS],
    /// Curvature of the forgotten loss plus prior.
    precision: [[f64; INPUTS]; INPUTS],
    prior: f64,
    keep: f64,
    label_weight: f64,
}

impl Stacking {
    /// The uniform average.
    pub(super) fn new(prior_sd: f64, memory_labels: f64, weight: f64) -> Self {
        let prior = prior_sd.powi(-2);
        let mut precision = [[0.0; INPUTS]; INPUTS];
        for (k, row) in precision.iter_mut().enumerate() {
            row[k] = prior;
        }
        Self {
            deviation: [0.0; INPUTS],
            precision,
            prior,
            keep: (-1.0 / memory_labels).exp(),
            label_weight: weight,
        }
    }

    /// Fills in coefficients and probability of a forecast with at least one member awake.
    pub(super) fn mix(&self, clip: f64, forecast: &mut Forecast) {
        let alike = 1.0 / f64::from(forecast.awake.count_ones());
        let moderation = self.moderation(forecast);
        for k in bits(forecast.awake) {
            forecast.weights[k] = moderation * (alike + self.deviation[k]);
        }
        forecast.base_rate_weight = moderation * self.deviation[BASE];
        let p_up = sigmoid(moderation * self.log_odds(forecast));
        forecast.p_up = p_up.clamp(clip, 1.0 - clip);
    }

    /// What averaging over the coefficients' posterior leaves of the log odds.
    fn moderation(&self, forecast: &Forecast) -> f64 {
        let Inputs { slots, x, n } = Inputs::of(forecast);
        let mut matrix = self.awake_precision(&slots[..n]);
        let mut solved = x;
        solve(&mut matrix, &mut solved, n);
        let variance: f64 = (0..n).map(|i| x[i] * solved[i]).sum();
        (1.0 + std::f64::consts::FRAC_PI_8 * variance).sqrt().recip()
    }

    fn awake_precision(&self, slots: &[usize]) -> [[f64; INPUTS]; INPUTS] {
        let mut matrix = [[0.0; INPUTS]; INPUTS];
        for (i, &row) in slots.iter().enumerate() {
            for (j, &column) in slots.iter().enumerate() {
                matrix[i][j] = self.precision[row][column];
            }
        }
        matrix
    }

    /// Log odds of a forecast under the coefficients of now.
    fn log_odds(&self, forecast: &Forecast) -> f64 {
        let alike = 1.0 / f64::from(forecast.awake.count_ones());
        let coefficient = |k: usize| alike + self.deviation[k];
        let members = bits(forecast.awake).map(|k| coefficient(k) * logit(forecast.members[k]));
        members.sum::<f64>() + self.deviation[BASE] * logit(forecast.base_rate)
    }

    pub(super) fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        let precision = self.precision.as_flattened_mut();
        self.deviation.iter_mut().chain(precision).for_each(visit);
    }

    /// Learns from the label of a forecast with at least one member awake.
    pub(super) fn learn(&mut self, forecast: &Forecast, up: bool) {
        let Inputs { slots, x, n } = Inputs::of(forecast);
        let p = sigmoid(self.log_odds(forecast).clamp(-LOG_ODDS_MAX, LOG_ODDS_MAX));
        let curvature = self.label_weight * p * (1.0 - p);
        let residual = self.label_weight * (f64::from(u8::from(up)) - p);
        self.forget(&slots[..n]);
        let pull = (1.0 - self.keep) * self.prior;
        let mut step = [0.0; INPUTS];
        for i in 0..n {
            for j in 0..n {
                self.precision[slots[i]][slots[j]] += curvature * x[i] * x[j];
            }
            // Forgetting weakens the data, not the prior, so the optimum drifts back to the average.
            step[i] = residual * x[i] - pull * self.deviation[slots[i]];
        }
        let mut matrix = self.awake_precision(&slots[..n]);
        solve(&mut matrix, &mut step, n);
        for i in 0..n {
            let moved = self.deviation[slots[i]] + step[i];
            self.deviation[slots[i]] = moved.clamp(-DEVIATION_MAX, DEVIATION_MAX);
        }
    }

    /// Fades what the inputs in `slots` know of the past: rows and columns by `√keep` each, so that
    /// what they share with a sleeper keeps the whole positive definite.
    fn forget(&mut self, slots: &[usize]) {
        let root = self.keep.sqrt();
        for &k in slots {
            for j in 0..INPUTS {
                self.precision[k][j] *= root;
                self.precision[j][k] *= root;
            }
            self.precision[k][k] += (1.0 - self.keep) * self.prior;
        }
    }
}

/// The log odds of the awake members and of the base rate, closed up, and where they belong.
struct Inputs {
    slots: [usize; INPUTS],
    x: [f64; INPUTS],
    n: usize,
}

impl Inputs {
    fn of(forecast: &Forecast) -> Self {
        let logits = expert_logits(forecast);
        let mut inputs = Self { slots: [0; INPUTS], x: [0.0; INPUTS], n: 0 };
        for (slot, logit) in bits(forecast.awake)
            .map(|k| (k, logits[k]))
            .chain(std::iter::once((BASE, logits[BASE_RATE])))
        {
            inputs.slots[inputs.n] = slot;
            inputs.x[inputs.n] = logit;
            inputs.n += 1;
        }
        inputs
    }
}

/// Solves the positive definite `matrix · step = step` of size `n` in place, by Cholesky.
fn solve(matrix: &mut [[f64; INPUTS]; INPUTS], step: &mut [f64; INPUTS], n: usize) {
    for i in 0..n {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|m| matrix[i][m] * matrix[j][m]).sum();
            let rest = matrix[i][j] - inner;
            matrix[i][j] = if i == j { rest.sqrt() } else { rest / matrix[j][j] };
        }
        let inner: f64 = (0..i).map(|m| matrix[i][m] * step[m]).sum();
        step[i] = (step[i] - inner) / matrix[i][i];
    }
    for i in (0..n).rev() {
        let inner: f64 = (i + 1..n).map(|m| matrix[m][i] * step[m]).sum();
        step[i] = (step[i] - inner) / matrix[i][i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combine::{Combiner, CombinerConfig};

    #[test]
    fn a_sleeping_members_state_does_not_change() {
        let mut rule = Stacking::new(1.0, 1e3, 1.0);
        let ensemble = Combiner::new(3, CombinerConfig::default()).unwrap();
        for (i, up) in [true, false, true, true].into_iter().enumerate() {
            let asleep = if i < 2 { 0.3 } else { f64::NAN };
            let mut forecast = ensemble.predict(&[0.8, asleep, 0.6]);
            rule.mix(1e-3, &mut forecast);
            let before = (
                (rule.deviation[1], rule.precision[1][1]),
                (rule.deviation[0], rule.precision[0][0]),
            );
            rule.learn(&forecast, up);
            let after = (
                (rule.deviation[1], rule.precision[1][1]),
                (rule.deviation[0], rule.precision[0][0]),
            );
            assert_eq!(before.0 == after.0, asleep.is_nan());
            assert_ne!(before.1, after.1);
        }
    }
}
