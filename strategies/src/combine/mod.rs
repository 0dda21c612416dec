//! The ensemble: one probability from many members, competing with the best fixed mix of them.
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
//! Invariants: weights are non-negative and sum to 1; an absent member has weight 0 and its state
//! does not change; each awake expert keeps a share of at least `share_floor / awake` within a mix.
//! Regret can recover, so there is no absorbing state (a rule `w *= 1 - 0.1 · error` with a floor
//! is a plain average for good after 54 labels). Labels may come late and overlap: the forecast
//! carries all that learning needs. Cost: a few hundred floating-point operations, no allocation.

mod ml_poly;

use thiserror::Error;

use self::ml_poly::{MAX_EXPERTS, MlPoly, bits};
use crate::calibrate::{is_probability, logit, sigmoid};
use crate::score::BaseRate;

/// Most members an ensemble may have.
pub const MAX_MEMBERS: usize = 16;
/// Expert slot of the uniform average of the awake members.
const AVERAGE: usize = MAX_MEMBERS;
/// Expert slot of the base rate.
const BASE_RATE: usize = MAX_MEMBERS + 1;
/// The three experts of the upper mix.
const LONG: usize = 0;
const TRACKING: usize = 1;
const UPPER_AVERAGE: usize = 2;
const UPPER: u32 = 0b111;

/// Numbers of a [`Combiner`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CombinerConfig {
    /// Share of the weight of each mix that is dealt out equally to its awake experts, in [0, 0.5].
    pub share_floor: f64,
    /// Memory of the tracking mix, in labels: what a label taught fades by `e` after so many.
    pub tracking_memory_labels: f64,
    /// Memory of the base rate, in labels.
    pub base_rate_memory_labels: f64,
    /// Member probabilities are clipped to `[clip, 1 - clip]`, in [1e-6, 0.1].
    pub probability_clip: f64,
}

impl Default for CombinerConfig {
    /// Floor 1e-3, tracking 1,000 labels (100 s at one each 100 ms), base rate 20,000, clip 1e-3.
    fn default() -> Self {
        Self {
            share_floor: 1e-3,
            tracking_memory_labels: 1_000.0,
            base_rate_memory_labels: 20_000.0,
            probability_clip: 1e-3,
        }
    }
}

/// A refused ensemble.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum CombinerError {
    /// The number of members is zero or does not fit.
    #[error("an ensemble of {members} members, expected 1 to {MAX_MEMBERS}")]
    Members {
        /// Members asked for.
        members: usize,
    },
    /// A setting is out of range.
    #[error("combiner.{key} is {value}, expected {expected}")]
    Setting {
        /// Name of the setting.
        key: &'static str,
        /// What it was set to.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
}

/// One combined forecast and all that learning from its label needs later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Combined P(up), in (0, 1): the base rate when nobody is awake.
    pub p_up: f64,
    /// P(up) of each member, clipped; NaN where absent.
    pub members: [f64; MAX_MEMBERS],
    /// Bit k is set when member k took part.
    pub awake: u32,
    /// Weight of each member in `p_up`, the uniform average folded in; 0 where absent.
    pub weights: [f64; MAX_MEMBERS],
    /// P(up) of the base rate.
    pub base_rate: f64,
    /// Weight of the base rate. With `weights` it sums to 1.
    pub base_rate_weight: f64,
    long_logit: f64,
    tracking_logit: f64,
}

impl Forecast {
    /// Weighted share, in [0, 1], of the awake members on the side of 0.5 that `p_up` is on; a
    /// member at exactly 0.5 counts half. NaN when nobody is awake.
    #[must_use]
    pub fn agreement(&self) -> f64 {
        let side = (self.p_up - 0.5).signum();
        let (mut agreeing, mut total) = (0.0, 0.0);
        for k in bits(self.awake) {
            let lean = (self.members[k] - 0.5) * side;
            total += self.weights[k];
            agreeing += self.weights[k] * if lean == 0.0 { 0.5 } else { f64::from(lean > 0.0) };
        }
        agreeing / total
    }
}

/// Learns the weights of up to [`MAX_MEMBERS`] members; one per instrument or shared by several.
#[derive(Clone, Debug)]
pub struct Combiner {
    members: usize,
    floor: f64,
    clip: f64,
    long: MlPoly,
    tracking: MlPoly,
    upper: MlPoly,
    base_rate: BaseRate,
    learned: u64,
}

impl Combiner {
    /// An ensemble of `members` members, all weighed alike.
    ///
    /// # Errors
    /// When there are no members or too many, or a setting is out of its range.
    pub fn new(members: usize, config: CombinerConfig) -> Result<Self, CombinerError> {
        if members == 0 || members > MAX_MEMBERS {
            return Err(CombinerError::Members { members });
        }
        let check = |key, value: f64, ok: bool, expected| {
            if ok { Ok(()) } else { Err(CombinerError::Setting { key, value, expected }) }
        };
        let CombinerConfig {
            share_floor: floor,
            tracking_memory_labels: memory,
            base_rate_memory_labels: base_memory,
            probability_clip: clip,
        } = config;
        check("share_floor", floor, (0.0..=0.5).contains(&floor), "0 to 0.5")?;
        check("tracking_memory_labels", memory, (1.0..=1e12).contains(&memory), "1 to 1e12")?;
        let base_ok = (1.0..=1e12).contains(&base_memory);
        check("base_rate_memory_labels", base_memory, base_ok, "1 to 1e12")?;
        check("probability_clip", clip, (1e-6..=0.1).contains(&clip), "1e-6 to 0.1")?;
        Ok(Self {
            members,
            floor,
            clip,
            long: MlPoly::new(1.0),
            tracking: MlPoly::new((-1.0 / memory).exp()),
            upper: MlPoly::new(1.0),
            base_rate: BaseRate::forgetting(base_memory),
            learned: 0,
        })
    }

    /// Combines one P(up) per member. NaN, or anything else outside of [0, 1], means absent or
    /// stale; so does a slice that ends early, and what is beyond the number of members is not
    /// read.
    #[must_use]
    pub fn predict(&self, p_up: &[f64]) -> Forecast {
        let mut members = [f64::NAN; MAX_MEMBERS];
        let mut awake = 0u32;
        for (k, &p) in p_up.iter().take(self.members).enumerate() {
            if is_probability(p) {
                members[k] = p.clamp(self.clip, 1.0 - self.clip);
                awake |= 1 << k;
            }
        }
        let base_rate = self.base_rate.p_up().clamp(self.clip, 1.0 - self.clip);
        let mut forecast = Forecast {
            p_up: base_rate,
            members,
            awake,
            weights: [0.0; MAX_MEMBERS],
            base_rate,
            base_rate_weight: 1.0,
            long_logit: 0.0,
            tracking_logit: 0.0,
        };
        if awake != 0 {
            self.mix(&mut forecast);
        }
        forecast
    }

    /// Fills in weights and probability of a forecast with at least one member awake.
    fn mix(&self, forecast: &mut Forecast) {
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

    /// Learns which way the price moved after `forecast`, which may be many cycles old. Do not call
    /// it for a price that did not move.
    pub fn learn(&mut self, forecast: &Forecast, up: bool) {
        self.base_rate.learn(up);
        self.learned += 1;
        if forecast.awake == 0 {
            return;
        }
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

    /// Weights of a forecast in which every member is awake: one per member, then the base rate.
    /// The uniform average is folded in, so they sum to 1.
    pub fn weights(&self) -> impl Iterator<Item = f64> + use<> {
        let forecast = self.predict(&[0.5; MAX_MEMBERS]);
        let last = std::iter::once(forecast.base_rate_weight);
        forecast.weights.into_iter().take(self.members).chain(last)
    }

    /// Number of members.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    /// Labels learned from.
    #[must_use]
    pub fn learned(&self) -> u64 {
        self.learned
    }
}

/// The awake members, the average and the base rate.
fn expert_mask(awake: u32) -> u32 {
    awake | 1 << AVERAGE | 1 << BASE_RATE
}

/// Log odds of every expert; slots of sleeping members are 0 and never read.
fn expert_logits(forecast: &Forecast) -> [f64; MAX_EXPERTS] {
    let mut logits = [0.0; MAX_EXPERTS];
    let mut sum = 0.0;
    for k in bits(forecast.awake) {
        logits[k] = logit(forecast.members[k]);
        sum += logits[k];
    }
    logits[AVERAGE] = sum / f64::from(forecast.awake.count_ones());
    logits[BASE_RATE] = logit(forecast.base_rate);
    logits
}

fn dot(mask: u32, weights: &[f64; MAX_EXPERTS], values: &[f64; MAX_EXPERTS]) -> f64 {
    bits(mask).map(|k| weights[k] * values[k]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combiner(members: usize) -> Combiner {
        Combiner::new(members, CombinerConfig::default()).unwrap()
    }

    fn total(combiner: &Combiner) -> f64 {
        combiner.weights().sum()
    }

    #[test]
    fn the_reported_weights_reproduce_the_forecast_exactly() {
        let mut combiner = combiner(3);
        for i in 0..500 {
            let p = [0.3 + 0.4 * f64::from(i % 2), 0.6, 0.2];
            let forecast = combiner.predict(&p);
            let mixed = (0..3).map(|k| forecast.weights[k] * logit(p[k])).sum::<f64>()
                + forecast.base_rate_weight * logit(forecast.base_rate);
            assert!((sigmoid(mixed) - forecast.p_up).abs() < 1e-12);
            let sum = forecast.weights.iter().sum::<f64>() + forecast.base_rate_weight;
            assert!((sum - 1.0).abs() < 1e-12 && (total(&combiner) - 1.0).abs() < 1e-12);
            combiner.learn(&forecast, i % 2 == 1);
        }
    }

    #[test]
    fn absent_members_take_no_part_and_the_rest_is_renormalised() {
        let mut combiner = combiner(3);
        let forecast = combiner.predict(&[0.9, f64::NAN, 0.7]);
        assert_eq!(forecast.awake, 0b101);
        assert_eq!(forecast.weights[1], 0.0);
        assert!(forecast.members[1].is_nan());
        let sum = forecast.weights.iter().sum::<f64>() + forecast.base_rate_weight;
        assert!((sum - 1.0).abs() < 1e-12);
        // A member that slept must be judged as before when it returns.
        let before = combiner.long.clone();
        combiner.learn(&forecast, true);
        let asleep = 1 << 1;
        assert_eq!(before.weights(asleep, 0.0), combiner.long.weights(asleep, 0.0));
        for bad in [-0.1, 1.1, f64::INFINITY] {
            assert_eq!(combiner.predict(&[bad]).awake, 0);
        }
        assert_eq!(combiner.predict(&[0.5; 5]).awake, 0b111);
    }

    #[test]
    fn with_nobody_awake_the_base_rate_speaks_and_still_learns() {
        let mut combiner = combiner(2);
        for _ in 0..1_000 {
            let forecast = combiner.predict(&[]);
            assert_eq!((forecast.awake, forecast.base_rate_weight), (0, 1.0));
            assert!(forecast.agreement().is_nan());
            combiner.learn(&forecast, true);
        }
        assert!(combiner.predict(&[]).p_up > 0.95);
    }

    #[test]
    fn a_member_that_was_useless_for_long_is_heard_again_when_it_is_right() {
        let mut combiner = combiner(2);
        let mut state = 1u32;
        let mut step = |combiner: &mut Combiner, good: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let up = state >> 31 == 1;
            let mut p = [if state >> 30 & 1 == 1 { 0.8 } else { 0.2 }; 2];
            p[good] = if up { 0.8 } else { 0.2 };
            let forecast = combiner.predict(&p);
            combiner.learn(&forecast, up);
        };
        for _ in 0..5_000 {
            step(&mut combiner, 0);
        }
        let early: Vec<f64> = combiner.weights().collect();
        assert!(early[0] > 0.95, "{early:?}");
        for _ in 0..2_000 {
            step(&mut combiner, 1);
        }
        let late: Vec<f64> = combiner.weights().collect();
        assert!(late[1] > 0.6, "{late:?}");
    }

    #[test]
    fn agreement_is_the_weighted_share_on_the_predicted_side() {
        let combiner = combiner(4);
        let cases: [(&[f64], f64); 4] = [
            (&[0.9, 0.9, 0.9, 0.4], 0.75),
            (&[0.1, 0.2, 0.3, 0.4], 1.0),
            (&[0.9, 0.5, 0.9, 0.5], 0.75),
            (&[0.9, f64::NAN, 0.4, f64::NAN], 0.5),
        ];
        for (p, expected) in cases {
            let got = combiner.predict(p).agreement();
            assert!((got - expected).abs() < 1e-9, "{p:?}: {got}");
        }
    }

    #[test]
    fn certain_members_that_fail_leave_finite_weights() {
        let mut combiner = combiner(3);
        for i in 0..2_000 {
            let forecast = combiner.predict(&[0.0, 1.0, f64::from(i % 2)]);
            assert!(is_probability(forecast.p_up) && forecast.p_up > 0.0 && forecast.p_up < 1.0);
            combiner.learn(&forecast, i % 2 == 0);
            assert!((total(&combiner) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let good = CombinerConfig::default();
        assert!(matches!(Combiner::new(0, good), Err(CombinerError::Members { members: 0 })));
        assert!(Combiner::new(MAX_MEMBERS, good).is_ok());
        assert!(Combiner::new(MAX_MEMBERS + 1, good).is_err());
        for (config, message) in [
            (CombinerConfig { share_floor: 0.6, ..good }, "combiner.share_floor is 0.6"),
            (
                CombinerConfig { tracking_memory_labels: f64::NAN, ..good },
                "combiner.tracking_memory_labels is NaN",
            ),
            (
                CombinerConfig { base_rate_memory_labels: 0.0, ..good },
                "combiner.base_rate_memory_labels is 0",
            ),
            (CombinerConfig { probability_clip: 0.5, ..good }, "combiner.probability_clip is 0.5"),
        ] {
            let error = Combiner::new(3, config).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
