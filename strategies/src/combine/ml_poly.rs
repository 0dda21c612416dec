//! ML-Poly: weights proportional to the positive part of each expert's regret, one rate per expert.
//!
//! Gaillard, Stoltz, van Erven, "A second-order bound with excess losses", COLT 2014: with
//! linearised losses the regret to the best convex mix is second order in the experts' own excess
//! losses, with no rate to tune. Labels that come late are learned from as they come; what that
//! costs is measured in `tests/combiner_scenarios.rs`. Weights depend on regret, which can rise
//! again, so no expert is lost for good.
//!
//! Invariants: a sleeping expert's state does not change; weights are 0 for the sleeping, at least
//! `floor / awake` for the awake, and sum to 1 when anybody is awake. No allocation.

use super::experts::{MAX_EXPERTS, bits};

/// Regret granted to everybody at the start, in nats. It keeps the first labels from giving all the
/// weight to one lucky expert. Over the first 600 and 3,000 labels of the overlapping scenarios of
/// `tests/combiner_scenarios.rs` 3 gave a lower loss than 0, 0.3 and 1 wherever a member had skill;
/// 10 was slower to leave the average.
const PRIOR_REGRET_NATS: f64 = 3.0;

/// State of the rule.
#[derive(Clone, Debug)]
pub(super) struct MlPoly {
    /// Discounted sum of what following the expert would have gained over following the mix.
    regret: [f64; MAX_EXPERTS],
    /// Discounted sum of the squares of the same.
    energy: [f64; MAX_EXPERTS],
    /// Largest square seen: the range term of every rate.
    range: f64,
    /// What is kept of regret and energy at each label: 1 never forgets.
    keep: f64,
}

impl MlPoly {
    pub(super) fn new(keep: f64) -> Self {
        Self { regret: [0.0; MAX_EXPERTS], energy: [0.0; MAX_EXPERTS], range: 0.0, keep }
    }

    /// Weights of the experts in the `awake` mask, with `floor` shared equally among them.
    pub(super) fn weights(&self, awake: u32, floor: f64) -> [f64; MAX_EXPERTS] {
        let mut weights = [0.0; MAX_EXPERTS];
        let n_awake = f64::from(awake.count_ones());
        let mut total = 0.0;
        for k in bits(awake) {
            let positive = (self.regret[k] + PRIOR_REGRET_NATS).max(0.0);
            // Before the first label range and energy are 0 and all rates are alike.
            weights[k] = positive / (self.range + self.energy[k]).max(f64::MIN_POSITIVE.sqrt());
            total += weights[k];
        }
        for k in bits(awake) {
            let share = if total > 0.0 { weights[k] / total } else { 1.0 / n_awake };
            weights[k] = (1.0 - floor) * share + floor / n_awake;
        }
        weights
    }

    pub(super) fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        self.regret.iter_mut().chain(&mut self.energy).for_each(&mut *visit);
        visit(&mut self.range);
    }

    /// Learns from one label: `gradient` is the derivative of the loss at the `mixed` forecast, so
    /// `gradient · (mixed - expert)` is what the expert would have gained to first order.
    pub(super) fn learn(
        &mut self,
        awake: u32,
        experts: &[f64; MAX_EXPERTS],
        mixed: f64,
        gradient: f64,
    ) {
        for k in bits(awake) {
            let gain = gradient * (mixed - experts[k]);
            self.regret[k] = self.keep * self.regret[k] + gain;
            self.energy[k] = self.keep * self.energy[k] + gain * gain;
            self.range = self.range.max(gain * gain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experts(values: &[f64]) -> [f64; MAX_EXPERTS] {
        let mut all = [0.0; MAX_EXPERTS];
        all[..values.len()].copy_from_slice(values);
        all
    }

    #[test]
    fn the_fresh_rule_weighs_the_awake_equally_and_the_sleeping_not_at_all() {
        let weights = MlPoly::new(1.0).weights(0b1011, 0.001);
        assert_eq!(weights[2], 0.0);
        for k in [0, 1, 3] {
            assert!((weights[k] - 1.0 / 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_gain_raises_a_weight_and_the_floor_holds_for_the_worst() {
        let mut rule = MlPoly::new(1.0);
        for _ in 0..1_000 {
            rule.learn(0b11, &experts(&[1.0, -1.0]), 0.0, -0.5);
        }
        let weights = rule.weights(0b11, 0.01);
        assert!((weights[0] - 0.995).abs() < 1e-12, "{weights:?}");
        assert!((weights[1] - 0.005).abs() < 1e-12);
    }

    #[test]
    fn a_sleeping_experts_state_does_not_change() {
        let mut rule = MlPoly::new(0.9);
        rule.learn(0b11, &experts(&[1.0, -1.0]), 0.0, -0.5);
        let (regret, energy) = (rule.regret[1], rule.energy[1]);
        rule.learn(0b01, &experts(&[1.0, -1.0]), 0.0, -0.5);
        assert_eq!((rule.regret[1], rule.energy[1]), (regret, energy));
        assert_ne!(rule.regret[0], 0.5);
    }

    #[test]
    fn when_every_regret_is_negative_the_awake_share_equally() {
        let mut rule = MlPoly::new(1.0);
        for _ in 0..100 {
            rule.learn(0b11, &experts(&[1.0, 2.0]), 0.0, 0.5);
        }
        assert_eq!(rule.weights(0b11, 0.0)[..2], [0.5, 0.5]);
    }
}
