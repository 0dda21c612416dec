//! The ensemble: one probability from many members, by one of several rules.
//!
//! [`CombineRule`] names the rules and what each guarantees; the default is `ml-poly` (see
//! `layered.rs`), which competes with the best fixed mix of the members and follows changes. All
//! rules share one interface: [`Combiner::predict`] over the members that are awake, then
//! [`Combiner::learn`] with the label, which may come late and overlap others: the forecast carries
//! all that learning needs.
//!
//! Invariants: except under `stacking`, the weights of a forecast are non-negative and sum to 1; an
//! absent member has weight 0 and its state does not change; a probability is inside of (0, 1).
//! No rule has an absorbing state (a rule `w *= 1 - 0.1 · error` with a floor is a plain average
//! for good after 54 labels). The same calls give the same bits. No allocation. Cost: a few hundred
//! floating-point operations; `stacking` solves for its coefficients, `members³ / 6` more.

mod boa;
mod experts;
mod fixed_share;
mod forecast;
mod layered;
mod ml_poly;
mod pools;
mod rule;
mod stacking;
#[cfg(test)]
mod tests;

use crate::learned::visit_count;
use thiserror::Error;

use self::boa::Boa;
use self::fixed_share::FixedShare;
use self::layered::Layered;
use self::stacking::Stacking;
use crate::calibrate::is_probability;
use crate::score::BaseRate;

pub use forecast::Forecast;
pub use rule::{CombineRule, UnknownRule};

/// Most members an ensemble may have.
pub const MAX_MEMBERS: usize = 16;

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

/// Refuses the setting `key` unless it is `ok`.
fn check(key: &'static str, value: f64, ok: bool, expected: &'static str) -> Checked {
    if ok { Ok(()) } else { Err(CombinerError::Setting { key, value, expected }) }
}

type Checked = Result<(), CombinerError>;

/// What a rule has learned.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one per ensemble; the default is read in place")]
enum State {
    MlPoly(Layered),
    Mean([f64; MAX_MEMBERS]),
    Vote([f64; MAX_MEMBERS]),
    Median,
    Stacking(Box<Stacking>),
    FixedShare(FixedShare),
    Boa(Boa),
}

/// Combines up to [`MAX_MEMBERS`] members; one per instrument or shared by several.
#[derive(Clone, Debug)]
pub struct Combiner {
    members: usize,
    clip: f64,
    state: State,
    base_rate: BaseRate,
    learned: u64,
}

impl Combiner {
    /// An ensemble of `members` members under the default rule, all weighed alike.
    ///
    /// # Errors
    /// When there are no members or too many, or a setting is out of its range.
    pub fn new(members: usize, config: CombinerConfig) -> Result<Self, CombinerError> {
        Self::with_rule(members, config, CombineRule::default())
    }

    /// An ensemble of `members` members under `rule`. `share_floor` and `tracking_memory_labels`
    /// matter to `ml-poly` only.
    ///
    /// # Errors
    /// When there are no members or too many, or a setting is out of its range.
    pub fn with_rule(
        members: usize,
        config: CombinerConfig,
        rule: CombineRule,
    ) -> Result<Self, CombinerError> {
        if members == 0 || members > MAX_MEMBERS {
            return Err(CombinerError::Members { members });
        }
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
        rule.check(members)?;
        let state = match rule {
            CombineRule::MlPoly => State::MlPoly(Layered::new(floor, memory)),
            CombineRule::Mean { weights } => State::Mean(weights),
            CombineRule::Vote { weights } => State::Vote(weights),
            CombineRule::Median => State::Median,
            CombineRule::Stacking { prior_sd, memory_labels, label_weight } => {
                let stacking = Stacking::new(prior_sd, memory_labels, label_weight);
                State::Stacking(Box::new(stacking))
            }
            CombineRule::FixedShare { switches_per_label } => {
                State::FixedShare(FixedShare::new(members, switches_per_label))
            }
            CombineRule::Boa => State::Boa(Boa::new(members)),
        };
        let base_rate = BaseRate::forgetting(base_memory);
        Ok(Self { members, clip, state, base_rate, learned: 0 })
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
        match &self.state {
            State::MlPoly(rule) => rule.mix(forecast),
            State::Mean(weights) => pools::mean(weights, forecast),
            State::Vote(weights) => pools::vote(weights, self.clip, forecast),
            State::Median => pools::median(forecast),
            State::Stacking(rule) => rule.mix(self.clip, forecast),
            State::FixedShare(rule) => rule.mix(forecast),
            State::Boa(rule) => rule.mix(forecast),
        }
    }

    /// Learns which way the price moved after `forecast`, which may be many cycles old. Do not call
    /// it for a price that did not move.
    pub fn learn(&mut self, forecast: &Forecast, up: bool) {
        self.base_rate.learn(up);
        self.learned += 1;
        if forecast.awake == 0 {
            return;
        }
        match &mut self.state {
            State::MlPoly(rule) => rule.learn(forecast, up),
            State::Mean(_) | State::Vote(_) | State::Median => {}
            State::Stacking(rule) => rule.learn(forecast, up),
            State::FixedShare(rule) => rule.learn(forecast, up),
            State::Boa(rule) => rule.learn(forecast, up),
        }
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        match &mut self.state {
            State::MlPoly(rule) => rule.visit_learned(visit),
            State::Mean(_) | State::Vote(_) | State::Median => {}
            State::Stacking(rule) => rule.visit_learned(visit),
            State::FixedShare(rule) => rule.visit_learned(visit),
            State::Boa(rule) => rule.visit_learned(visit),
        }
        self.base_rate.visit_learned(visit);
        visit_count(&mut self.learned, visit);
    }

    /// Weights of a forecast in which every member is awake: one per member, then the base rate.
    /// The uniform average is folded in; except under `stacking` they sum to 1.
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
