//! The default rule: two ML-Poly mixes in log odds, one with a long memory and one that tracks,
//! under a third.
//!
//! Members are pooled in log odds, `logit p = Σ w_k · logit p_k`, so the weights of one forecast
//! are exact and the gradient of the log loss is bounded (`p - label`), where mixing plain
//! probabilities makes it up to 1,000 after clipping. With labels that overlap, the same rule over
//! plain probabilities lost 0.003 nats where members complement each other and 0.002 where the best
//! one changes, and gained at most 0.0004 elsewhere.
//!
//! Two ML-Poly mixes (see `ml_poly.rs`) over {members, uniform average, base rate} differ in
//! memory: one never forgets and finds the best fixed mix, one follows changes. A third ML-Poly
//! weighs {long, tracking, uniform average}. On the scenarios of `tests/combiner_scenarios.rs` this
//! stayed within 0.001 nats of the better of its two mixes, where the long one alone lost up to
//! 0.036 and the tracking one 0.007.
//!
//! Invariant: each awake expert keeps a share of at least `floor / awake` within a mix; regret can
//! recover.

use super::Forecast;
use super::experts::{AVERAGE, BASE_RATE, MAX_EXPERTS, bits, dot, expert_logits, expert_mask};
use super::ml_poly::MlPoly;
use crate::calibrate::{logit, sigmoid};

/// The three experts of the upper mix.
const LONG: usize = 0;
const TRACKING: usize = 1;
const UPPER_AVERAGE: usize = 2;
const UPPER: u32 = 0b111;

/// State of the rule.
#[derive(Clone, Debug)]
pub(super) struct Layered {
    floor: f64,
    long: MlPoly,
    tracking: MlPoly,
    upper: MlPoly,
}

impl Layered {
    pub(super) fn new(floor: f64, tracking_memory_labels: f64) -> Self {
        Self {
            floor,
            long: MlPoly::new(1.0),
            tracking: MlPoly::new((-1.0 / tracking_memory_labels).exp()),
            upper: MlPoly::new(1.0),
        }
    }

    /// Fills in weights and probability of a forecast with at least one member awake.
    pub(super) fn mix(&self, forecast: &mut Forecast) {
        let experts = expert_logits(forecast);
        let mask = expert_mask(forecast.awake);
        let long = self.long.weights(mask, self.floor);
        let tracking = self.tracking.weights(mask, self.floor);
        let upper = self.upper.weights(UPPER, self.floor);
        forecast.long_logit = dot(mask, &long, &experts);
        forecast.tracking_logit = dot(mask, &tracking, &experts);

        let folded = |k: usize| upper[LONG] * long[k] + upper[TRACKING] * tracking[k];
        let average = upper[UPPER_AVERAGE] + folded(AVERAGE);
        let each = average / f64::from(forecast.awake.count_ones());
        forecast.base_rate_weight = folded(BASE_RATE);
        let mut mixed = forecast.base_rate_weight * experts[BASE_RATE];
        for k in bits(forecast.awake) {
            forecast.weights[k] = folded(k) + each;
            mixed += forecast.weights[k] * experts[k];
        }
        forecast.p_up = sigmoid(mixed);
    }

    pub(super) fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        for rule in [&mut self.long, &mut self.tracking, &mut self.upper] {
            rule.visit_learned(visit);
        }
    }

    /// Learns from the label of a forecast with at least one member awake.
    pub(super) fn learn(&mut self, forecast: &Forecast, up: bool) {
        let label = f64::from(u8::from(up));
        let experts = expert_logits(forecast);
        let mask = expert_mask(forecast.awake);
        let Forecast { p_up, long_logit, tracking_logit, .. } = *forecast;
        self.long.learn(mask, &experts, long_logit, sigmoid(long_logit) - label);
        self.tracking.learn(mask, &experts, tracking_logit, sigmoid(tracking_logit) - label);

        let mut mixes = [0.0; MAX_EXPERTS];
        mixes[LONG] = long_logit;
        mixes[TRACKING] = tracking_logit;
        mixes[UPPER_AVERAGE] = experts[AVERAGE];
        self.upper.learn(UPPER, &mixes, logit(p_up), p_up - label);
    }

    /// Weights of the long mix over the experts in the mask.
    #[cfg(test)]
    pub(super) fn long_weights(&self, mask: u32) -> [f64; MAX_EXPERTS] {
        self.long.weights(mask, 0.0)
    }
}
