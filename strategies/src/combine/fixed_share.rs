//! Fixed share: a Bayesian mixture of probabilities whose weights leak to one another.
//!
//! Herbster and Warmuth, "Tracking the best expert", Machine Learning 32, 1998, for the log loss
//! (rate 1, where the mixture of probabilities loses exactly what the update assumes). Over {members,
//! uniform average, base rate}, `n` experts, and `T` labels learned each before the next forecast,
//! the loss is at most that of any sequence of experts with `m` switches plus
//! `ln n + m · ln(n / α) - (T - 1 - m) · ln(1 - α)`, `α` being the share per label. Sleeping experts
//! as in Freund, Schapire, Singer, Warmuth, "Using and combining predictors that specialize", STOC
//! 1997: only the awake exchange weight.
//!
//! Labels that come late: on the random sequences of `tests/combiner_guarantees.rs`, ten forecasts
//! late, the loss stayed within `d + 1` times the bound of `T / (d + 1)` labels, what `d + 1`
//! interleaved copies would reach (Joulani, György, Szepesvári, ICML 2013). No single copy has that
//! bound against an adversary: members right and wrong by turns as long as the delay cost it 2,681
//! nats over a coin in 4,000 labels, where `boa` lost 100 and the default rule 331.
//!
//! Invariants: weights sum to 1 over all experts and each awake one keeps at least `α / n` of what
//! the awake hold; a sleeping expert's weight does not change.

use super::Forecast;
use super::experts::{AVERAGE, BASE_RATE, MAX_EXPERTS, bits, expert_mask};
use super::experts::{dot, expert_probabilities, fold};

/// State of the rule.
#[derive(Clone, Debug)]
pub(super) struct FixedShare {
    weights: [f64; MAX_EXPERTS],
    share: f64,
}

impl FixedShare {
    /// Equal weights; `share` of the awake weight is dealt out anew at each label.
    pub(super) fn new(members: usize, share: f64) -> Self {
        let mut weights = [0.0; MAX_EXPERTS];
        for k in (0..members).chain([AVERAGE, BASE_RATE]) {
            weights[k] = 1.0 / (members + 2) as f64;
        }
        Self { weights, share }
    }

    /// Fills in weights and probability of a forecast with at least one member awake.
    pub(super) fn mix(&self, forecast: &mut Forecast) {
        let mask = expert_mask(forecast.awake);
        let total: f64 = bits(mask).map(|k| self.weights[k]).sum();
        let weights = self.weights.map(|weight| weight / total);
        forecast.p_up = dot(mask, &weights, &expert_probabilities(forecast));
        fold(forecast, &weights);
    }

    pub(super) fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        self.weights.iter_mut().for_each(visit);
    }

    /// Learns from the label of a forecast with at least one member awake.
    pub(super) fn learn(&mut self, forecast: &Forecast, up: bool) {
        let mask = expert_mask(forecast.awake);
        let p_up = expert_probabilities(forecast);
        let likelihood = |k: usize| if up { p_up[k] } else { 1.0 - p_up[k] };
        let total: f64 = bits(mask).map(|k| self.weights[k]).sum();
        let joint: f64 = bits(mask).map(|k| self.weights[k] * likelihood(k)).sum();
        let dealt = self.share * total / f64::from(mask.count_ones());
        for k in bits(mask) {
            let posterior = self.weights[k] * likelihood(k) * total / joint;
            self.weights[k] = (1.0 - self.share) * posterior + dealt;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combine::{Combiner, CombinerConfig};

    #[test]
    fn a_sleeping_members_state_does_not_change() {
        let mut rule = FixedShare::new(3, 0.01);
        let ensemble = Combiner::new(3, CombinerConfig::default()).unwrap();
        for (i, up) in [true, false, true, true].into_iter().enumerate() {
            let asleep = if i < 2 { 0.3 } else { f64::NAN };
            let mut forecast = ensemble.predict(&[0.8, asleep, 0.6]);
            rule.mix(&mut forecast);
            let before = (rule.weights[1], rule.weights[0]);
            rule.learn(&forecast, up);
            let after = (rule.weights[1], rule.weights[0]);
            assert_eq!(before.0 == after.0, asleep.is_nan());
            assert_ne!(before.1, after.1);
        }
    }
}
