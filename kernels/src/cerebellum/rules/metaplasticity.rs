//! Plasticity of plasticity: groups of synapses that changed much lately learn more slowly.
//!
//! For each group (a Purkinje cell, a microzone), m is the exponential mean, over `tau_ms`, of how
//! fast its weights moved: mean |Δw| as a share of the weights' range, per second. While m is above
//! the threshold the group's learning rate is divided by `factor` once every `tau_ms`, and while it
//! is below multiplied, continuously:
//!
//! ```text
//! m ← m + (1 - exp(-Δt / τ)) (x - m)         rate ← rate · factor^(∓ Δt / τ)
//! ```
//!
//! so that the result does not depend on how time is cut into cycles while m stays on one side. At
//! the threshold itself the rate stands still. That prior activity sets how readily synapses change
//! is due to Abraham and Bear (Trends Neurosci. 19, 1996); this form is ours. Invariant: every rate
//! stays within its bounds.

use serde::{Deserialize, Serialize};

use super::{Meter, RuleEffect, RuleError, positive, require, share};

const NAME: &str = "metaplasticity";

/// Settings of a [`Metaplasticity`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetaplasticityConfig {
    /// Whether it acts.
    pub enabled: bool,
    /// Mean movement of the weights above which learning slows: share of their range per second.
    pub threshold_per_s: f32,
    /// Time constant of the mean and of the change, ms.
    pub tau_ms: f32,
    /// What the rate is divided or multiplied by in `tau_ms`, above 1.
    pub factor: f32,
    /// Least multiple of the learning rate, above 0 and at most 1.
    pub rate_min: f32,
    /// Greatest multiple, at least 1.
    pub rate_max: f32,
}

impl Default for MetaplasticityConfig {
    /// Off; 0.1 per second, 1,000 ms, 1.2, between a quarter and one times the rate: it may slow
    /// learning but not drive it beyond what was configured.
    fn default() -> Self {
        Self {
            enabled: false,
            threshold_per_s: 0.1,
            tau_ms: 1_000.0,
            factor: 1.2,
            rate_min: 0.25,
            rate_max: 1.0,
        }
    }
}

/// Learning rates of groups of synapses, as multiples of the configured one.
#[derive(Clone, Debug)]
pub struct Metaplasticity {
    config: MetaplasticityConfig,
    movement_per_s: Vec<f32>,
    rate: Vec<f32>,
    meter: Meter,
}

impl Metaplasticity {
    /// Rates that start at 1.
    ///
    /// # Errors
    /// [`RuleError`] names the setting out of range.
    pub fn new(config: MetaplasticityConfig, groups: usize) -> Result<Self, RuleError> {
        let c = &config;
        positive(NAME, "threshold_per_s", c.threshold_per_s)?;
        positive(NAME, "tau_ms", c.tau_ms)?;
        require(NAME, "factor", c.factor, c.factor > 1.0, "a finite number above 1")?;
        let low = c.rate_min > 0.0 && c.rate_min <= 1.0;
        require(NAME, "rate_min", c.rate_min, low, "above 0 and at most 1")?;
        require(NAME, "rate_max", c.rate_max, c.rate_max >= 1.0, "a finite number, 1 or more")?;
        let (movement_per_s, rate) = (vec![0.0; groups], vec![1.0; groups]);
        Ok(Self { config, movement_per_s, rate, meter: Meter::default() })
    }

    /// Takes each group's mean |Δw| over the last `elapsed_ms`, as a share of the weights' range.
    ///
    /// # Panics
    /// When there is not one change a group.
    pub fn update(&mut self, changes: &[f32], elapsed_ms: f32) {
        assert_eq!(changes.len(), self.rate.len(), "one change a group");
        let c = self.config;
        if !c.enabled || elapsed_ms.is_nan() || elapsed_ms <= 0.0 {
            return;
        }
        let share = share(elapsed_ms, c.tau_ms);
        let slower = c.factor.powf(-elapsed_ms / c.tau_ms);
        let groups = self.movement_per_s.iter_mut().zip(&mut self.rate);
        for ((movement, rate), &change) in groups.zip(changes) {
            if !self.meter.accepts(change) {
                continue;
            }
            *movement += share * (change.abs() * 1e3 / elapsed_ms - *movement);
            let free = match movement.total_cmp(&c.threshold_per_s) {
                std::cmp::Ordering::Greater => *rate * slower,
                std::cmp::Ordering::Less => *rate / slower,
                std::cmp::Ordering::Equal => *rate,
            };
            self.meter.hold(rate, free, (c.rate_min, c.rate_max));
        }
    }

    /// Goes on from other rates and movements.
    ///
    /// # Panics
    /// When there is not one of each a group.
    pub fn restore(&mut self, rates: &[f32], movement_per_s: &[f32]) {
        self.rate.copy_from_slice(rates);
        self.movement_per_s.copy_from_slice(movement_per_s);
    }

    /// What to multiply each group's learning rate by; all 1 when off.
    pub fn rates(&self) -> &[f32] {
        &self.rate
    }

    /// The running movement of each group, share of the weights' range per second.
    pub fn movement_per_s(&self) -> &[f32] {
        &self.movement_per_s
    }

    /// What it did; changes are of the rates' multiples.
    pub fn effect(&self) -> RuleEffect {
        self.meter.effect(NAME, self.config.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> MetaplasticityConfig {
        MetaplasticityConfig { enabled: true, rate_max: 4.0, ..MetaplasticityConfig::default() }
    }

    #[test]
    fn a_group_that_moves_much_slows_by_the_factor_in_tau_and_a_quiet_one_speeds_up() {
        let mut rule = Metaplasticity::new(on(), 2).unwrap();
        // 0.2 of the range in 100 ms is 2 per second: above threshold at once.
        (0..10).for_each(|_| rule.update(&[0.2, 0.0], 100.0));
        assert!((rule.rates()[0] - 1.0 / 1.2).abs() < 1e-5, "{:?}", rule.rates());
        assert!((rule.rates()[1] - 1.2).abs() < 1e-5, "{:?}", rule.rates());
        let expected = 2.0 * (1.0 - (-1.0_f32).exp());
        assert!((rule.movement_per_s()[0] - expected).abs() < 1e-4);
    }

    #[test]
    fn the_result_does_not_depend_on_how_time_is_cut() {
        // Low enough for the mean to be above it from the first cycle.
        let config = MetaplasticityConfig { threshold_per_s: 0.01, ..on() };
        let mut fine = Metaplasticity::new(config, 1).unwrap();
        let mut coarse = fine.clone();
        (0..10).for_each(|_| fine.update(&[0.05], 50.0));
        coarse.update(&[0.5], 500.0);
        assert!((fine.rates()[0] - coarse.rates()[0]).abs() < 1e-5);
        assert!((fine.movement_per_s()[0] - coarse.movement_per_s()[0]).abs() < 1e-5);
    }

    #[test]
    fn learning_recovers_once_the_mean_has_fallen_below_the_threshold() {
        let config = MetaplasticityConfig { enabled: true, ..MetaplasticityConfig::default() };
        let mut rule = Metaplasticity::new(config, 1).unwrap();
        (0..100).for_each(|_| rule.update(&[0.2], 100.0));
        assert_eq!(rule.rates(), [0.25]);
        assert!(rule.effect().bounded > 0);
        rule.update(&[0.0], 100.0);
        assert_eq!(rule.rates(), [0.25], "the mean is still above the threshold");
        (0..200).for_each(|_| rule.update(&[0.0], 100.0));
        assert_eq!(rule.rates(), [1.0], "and not beyond the configured rate");
    }

    #[test]
    fn a_rule_that_is_off_or_fed_no_number_changes_nothing() {
        let mut off = Metaplasticity::new(MetaplasticityConfig::default(), 1).unwrap();
        off.update(&[0.5], 100.0);
        assert_eq!((off.rates(), off.effect().updates), (&[1.0][..], 0));
        let mut rule = Metaplasticity::new(on(), 1).unwrap();
        rule.update(&[f32::NAN], 100.0);
        assert_eq!((rule.rates(), rule.effect().rejected), (&[1.0][..], 1));
        let config = MetaplasticityConfig { factor: 1.0, ..on() };
        assert!(Metaplasticity::new(config, 1).unwrap_err().to_string().contains("factor is 1"));
    }
}
