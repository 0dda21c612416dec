//! Bernstein online aggregation: exponential weights of log odds with a second-order correction and
//! a rate for each expert.
//!
//! Wintenberger, "Optimal learning with Bernstein online aggregation", Machine Learning 106, 2017:
//! weights proportional to `η_k · exp(η_k · Σ (r_k - η_k · r_k²))`, where `r_k` is what following
//! expert `k` would have gained over the mix, to first order in its log odds (the gradient trick).
//! The rates `η_k = min(1 / 2B, √(ln n / (B² + Σ r_k²)))` are those of Gaillard, Stoltz, van Erven,
//! COLT 2014, whose corollary 4 needs only `exp(x - x²) <= 1 + x` to hold here. The range `B` of the
//! gains is learned; a gain beyond the range so far is scaled down to it, which costs `B` in all
//! (Mhammedi, Koolen, van Erven, COLT 2019).
//!
//! Bound, over {members, uniform average, base rate}, `n` experts, and `T` labels learned each before
//! the next forecast: the loss is at most that of any fixed convex mix of the experts' log odds plus
//! the largest over experts of `C / √(ln n) · √(B² + Σ r_k²) + (2C + 1) · B`, where
//! `C = 3 · ln n + ln(1 + n / 2e · (1 + ln(T + 1) + 2B / B_0))`; the last term in `C` is for the
//! growth of the range from `B_0`. Late labels are learned from as they come; what that costs is
//! measured in `tests/combiner_guarantees.rs`.
//!
//! Invariants: a sleeping expert's state does not change; the weights of the awake sum to 1. State
//! is a sum of gains, so no expert is lost for good.

use super::Forecast;
use super::experts::{
    AVERAGE, BASE_RATE, MAX_EXPERTS, bits, dot, expert_logits, expert_mask, fold,
};
use crate::calibrate::{logit, sigmoid};

/// Range of gains before the first label, in nats.
const FIRST_RANGE_NATS: f64 = 0.5;

/// State of the rule.
#[derive(Clone, Debug)]
pub(super) struct Boa {
    /// Sum of gains less their second-order corrections.
    gain: [f64; MAX_EXPERTS],
    /// Sum of the squares of the gains.
    energy: [f64; MAX_EXPERTS],
    rate: [f64; MAX_EXPERTS],
    /// Largest gain seen, at least [`FIRST_RANGE_NATS`].
    range: f64,
    ln_experts: f64,
}

impl Boa {
    /// Equal weights.
    pub(super) fn new(members: usize) -> Self {
        let mut fresh = Self {
            gain: [0.0; MAX_EXPERTS],
            energy: [0.0; MAX_EXPERTS],
            rate: [0.0; MAX_EXPERTS],
            range: FIRST_RANGE_NATS,
            ln_experts: ((members + 2) as f64).ln(),
        };
        for k in (0..members).chain([AVERAGE, BASE_RATE]) {
            fresh.rate[k] = fresh.rate_of(k);
            // The prior weight 1 / n enters as a gain at the first rate.
            fresh.gain[k] = -fresh.ln_experts / fresh.rate[k];
        }
        fresh
    }

    fn rate_of(&self, k: usize) -> f64 {
        let second_order = (self.ln_experts / (self.range * self.range + self.energy[k])).sqrt();
        second_order.min(0.5 / self.range)
    }

    fn weights(&self, mask: u32) -> [f64; MAX_EXPERTS] {
        let exponent = |k: usize| self.rate[k] * self.gain[k];
        let largest = bits(mask).map(exponent).fold(f64::NEG_INFINITY, f64::max);
        let mut weights = [0.0; MAX_EXPERTS];
        let mut total = 0.0;
        for k in bits(mask) {
            weights[k] = self.rate[k] * (exponent(k) - largest).exp();
            total += weights[k];
        }
        weights.map(|weight| weight / total)
    }

    /// Fills in weights and probability of a forecast with at least one member awake.
    pub(super) fn mix(&self, forecast: &mut Forecast) {
        let mask = expert_mask(forecast.awake);
        let weights = self.weights(mask);
        forecast.p_up = sigmoid(dot(mask, &weights, &expert_logits(forecast)));
        fold(forecast, &weights);
    }

    pub(super) fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        let numbers = self.gain.iter_mut().chain(&mut self.energy).chain(&mut self.rate);
        numbers.chain([&mut self.range]).for_each(visit);
    }

    /// Learns from the label of a forecast with at least one member awake.
    pub(super) fn learn(&mut self, forecast: &Forecast, up: bool) {
        let mask = expert_mask(forecast.awake);
        let experts = expert_logits(forecast);
        let mixed = logit(forecast.p_up);
        let gradient = forecast.p_up - f64::from(u8::from(up));
        let gains = experts.map(|expert| gradient * (mixed - expert));
        let largest = bits(mask).map(|k| gains[k].abs()).fold(self.range, f64::max);
        let scale = self.range / largest;
        self.range = largest;
        for k in bits(mask) {
            let gain = scale * gains[k];
            self.gain[k] += gain - self.rate[k] * gain * gain;
            self.energy[k] += gain * gain;
            self.rate[k] = self.rate_of(k);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combine::{Combiner, CombinerConfig};

    #[test]
    fn a_sleeping_members_state_does_not_change() {
        let mut rule = Boa::new(3);
        let ensemble = Combiner::new(3, CombinerConfig::default()).unwrap();
        for (i, up) in [true, false, true, true].into_iter().enumerate() {
            let asleep = if i < 2 { 0.3 } else { f64::NAN };
            let mut forecast = ensemble.predict(&[0.8, asleep, 0.6]);
            rule.mix(&mut forecast);
            let before = (
                (rule.gain[1], rule.energy[1], rule.rate[1]),
                (rule.gain[0], rule.energy[0], rule.rate[0]),
            );
            rule.learn(&forecast, up);
            let after = (
                (rule.gain[1], rule.energy[1], rule.rate[1]),
                (rule.gain[0], rule.energy[0], rule.rate[0]),
            );
            assert_eq!(before.0 == after.0, asleep.is_nan());
            assert_ne!(before.1, after.1);
        }
    }
}
