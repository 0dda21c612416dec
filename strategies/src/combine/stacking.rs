//! Stacking: logistic regression on the members' log odds, learned online around their average.
//!
//! Wolpert 1992 with Breiman's (1996) non-negative coefficients: `logit p = Σ c_k · logit p_k`, where
//! `c_k = 1 / awake + d_k`, and the base rate is one more input with `c = d`. The deviations `d` have
//! a Gaussian prior around 0, the uniform average of whoever is awake; they minimise the
//! exponentially forgotten log loss plus that prior by one Newton step per label (the recursive
//! Laplace update of `calibrate::Platt` in `members + 1` dimensions). Coefficients need not sum to
//! 1: members that complement each other add up, where a convex mix stays timid.
//!
//! Bound: the exact Bayesian mixture under this prior loses at most what the best fixed deviations
//! lose plus `|d|² / 2s² + n/2 · ln(1 + s² · Σ|x|² / 4n)` nats, `n` inputs, `s` the prior standard
//! deviation (Kakade and Ng, "Online bounds for Bayesian algorithms", NIPS 2004). The Newton step
//! approximates that mixture; that it keeps the bound is held by `tests/combiner_guarantees.rs`, not
//! proved.
//!
//! Invariants: a coefficient is in `[0, 10 + 1 / awake]`; a sleeping member's deviation and curvature
//! do not change; the curvature stays positive definite (forgetting scales its rows and columns by
//! the same factors). Cost: O(members²) to forget, `members³ / 3` to solve, on fixed arrays.

use super::experts::{BASE_RATE, bits, expert_logits};
use super::{Forecast, MAX_MEMBERS};
use crate::calibrate::{logit, sigmoid};

/// Inputs: every member, then the base rate.
const INPUTS: usize = MAX_MEMBERS + 1;
const BASE: usize = MAX_MEMBERS;
/// Largest deviation of a coefficient.
const DEVIATION_MAX: f64 = 10.0;

/// State of the rule.
#[derive(Clone, Debug)]
pub(super) struct Stacking {
    deviation: [f64; INPUTS],
    /// Curvature of the forgotten loss plus prior.
    precision: [[f64; INPUTS]; INPUTS],
    prior: f64,
    keep: f64,
    label_weight: f64,
    /// Lowest deviation of a member: the coefficient of one awake with all others is then 0.
    lowest: f64,
}

impl Stacking {
    /// The uniform average.
    pub(super) fn new(members: usize, prior_sd: f64, memory_labels: f64, weight: f64) -> Self {
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
            lowest: -1.0 / members as f64,
        }
    }

    /// Fills in coefficients and probability of a forecast with at least one member awake.
    pub(super) fn mix(&self, clip: f64, forecast: &mut Forecast) {
        let alike = 1.0 / f64::from(forecast.awake.count_ones());
        for k in bits(forecast.awake) {
            // Rounding may leave the floor of a coefficient an ulp under 0.
            forecast.weights[k] = (alike + self.deviation[k]).max(0.0);
        }
        forecast.base_rate_weight = self.deviation[BASE];
        let p_up = sigmoid(self.log_odds(forecast));
        forecast.p_up = p_up.clamp(clip, 1.0 - clip);
    }

    /// Log odds of a forecast under the coefficients of now.
    fn log_odds(&self, forecast: &Forecast) -> f64 {
        let alike = 1.0 / f64::from(forecast.awake.count_ones());
        let coefficient = |k: usize| (alike + self.deviation[k]).max(0.0);
        let members = bits(forecast.awake).map(|k| coefficient(k) * logit(forecast.members[k]));
        members.sum::<f64>() + self.deviation[BASE] * logit(forecast.base_rate)
    }

    /// Learns from the label of a forecast with at least one member awake.
    pub(super) fn learn(&mut self, forecast: &Forecast, up: bool) {
        let logits = expert_logits(forecast);
        // The awake inputs, closed up.
        let (mut slots, mut x, mut n) = ([0usize; INPUTS], [0.0; INPUTS], 0);
        for k in bits(forecast.awake) {
            (slots[n], x[n]) = (k, logits[k]);
            n += 1;
        }
        (slots[n], x[n]) = (BASE, logits[BASE_RATE]);
        n += 1;

        let p = sigmoid(self.log_odds(forecast));
        let curvature = self.label_weight * p * (1.0 - p);
        let residual = self.label_weight * (f64::from(u8::from(up)) - p);
        self.forget(&slots[..n]);
        let pull = (1.0 - self.keep) * self.prior;
        let mut matrix = [[0.0; INPUTS]; INPUTS];
        let mut step = [0.0; INPUTS];
        for i in 0..n {
            for j in 0..n {
                self.precision[slots[i]][slots[j]] += curvature * x[i] * x[j];
                matrix[i][j] = self.precision[slots[i]][slots[j]];
            }
            // Forgetting weakens the data, not the prior, so the optimum drifts back to the average.
            step[i] = residual * x[i] - pull * self.deviation[slots[i]];
        }
        solve(&mut matrix, &mut step, n);
        for i in 0..n {
            let lowest = if slots[i] == BASE { 0.0 } else { self.lowest };
            let moved = self.deviation[slots[i]] + step[i];
            self.deviation[slots[i]] = moved.clamp(lowest, DEVIATION_MAX);
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
