//! A threshold between depression and potentiation that slides with a cell's own activity.
//!
//! θ relaxes to r² / θ₀ with τ, and the modification is φ = r (r - θ): a cell that fires much raises
//! its threshold faster than its rate, and so depresses what made it fire (Bienenstock, Cooper and
//! Munro, J. Neurosci. 2, 1982). A steady rate of θ₀ is where φ vanishes. φ / θ₀² is held to ± the
//! bound and multiplies the learning rate of the cell's synapses. Invariant: θ is not negative and
//! at most `theta_max_hz`.

use serde::{Deserialize, Serialize};

use super::{Meter, RuleEffect, RuleError, positive, share};

const NAME: &str = "bcm";

/// Settings of a [`Bcm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BcmConfig {
    /// Whether it acts.
    pub enabled: bool,
    /// Rate θ₀ at which a steady cell neither potentiates nor depresses, Hz.
    pub theta0_hz: f32,
    /// Time constant of the threshold, ms. Must be long against a cycle for the threshold to be a
    /// memory: models that update it by the millisecond use tens of ms.
    pub tau_ms: f32,
    /// Largest threshold, Hz.
    pub theta_max_hz: f32,
    /// Largest modulation either way.
    pub modulation_max: f32,
}

impl Default for BcmConfig {
    /// Off; 60 Hz, 1,000 ms, at most 1,000 Hz, modulation within ±2.
    fn default() -> Self {
        Self {
            enabled: false,
            theta0_hz: 60.0,
            tau_ms: 1_000.0,
            theta_max_hz: 1_000.0,
            modulation_max: 2.0,
        }
    }
}

/// Sliding thresholds of a population.
#[derive(Clone, Debug)]
pub struct Bcm {
    config: BcmConfig,
    theta_hz: Vec<f32>,
    meter: Meter,
}

impl Bcm {
    /// Thresholds that start at θ₀.
    ///
    /// # Errors
    /// [`RuleError`] names the setting out of range.
    pub fn new(config: BcmConfig, cells: usize) -> Result<Self, RuleError> {
        positive(NAME, "theta0_hz", config.theta0_hz)?;
        positive(NAME, "tau_ms", config.tau_ms)?;
        positive(NAME, "theta_max_hz", config.theta_max_hz)?;
        positive(NAME, "modulation_max", config.modulation_max)?;
        let theta = config.theta0_hz.min(config.theta_max_hz);
        Ok(Self { config, theta_hz: vec![theta; cells], meter: Meter::default() })
    }

    /// Moves the thresholds by the cells' rates over the last `elapsed_ms`.
    ///
    /// # Panics
    /// When there is not one rate a cell.
    pub fn update(&mut self, rates_hz: &[f32], elapsed_ms: f32) {
        assert_eq!(rates_hz.len(), self.theta_hz.len(), "one rate a cell");
        if !self.config.enabled {
            return;
        }
        let share = share(elapsed_ms, self.config.tau_ms);
        let bounds = (0.0, self.config.theta_max_hz);
        for (theta, &rate) in self.theta_hz.iter_mut().zip(rates_hz) {
            if self.meter.accepts(rate) {
                let free = *theta + share * (rate * rate / self.config.theta0_hz - *theta);
                self.meter.hold(theta, free, bounds);
            }
        }
    }

    /// φ / θ₀² of a cell at a rate: what to multiply its learning rate by; 1 when off, 0 when the
    /// rate is not a number.
    ///
    /// # Panics
    /// When the cell does not exist.
    pub fn modulation(&self, cell: usize, rate_hz: f32) -> f32 {
        let c = &self.config;
        if !c.enabled {
            return 1.0;
        }
        let phi = rate_hz * (rate_hz - self.theta_hz[cell]) / (c.theta0_hz * c.theta0_hz);
        if phi.is_nan() { 0.0 } else { phi.clamp(-c.modulation_max, c.modulation_max) }
    }

    /// Goes on from other thresholds.
    ///
    /// # Panics
    /// When there is not one a cell.
    pub fn restore(&mut self, theta_hz: &[f32]) {
        self.theta_hz.copy_from_slice(theta_hz);
    }

    /// The thresholds, Hz.
    pub fn theta_hz(&self) -> &[f32] {
        &self.theta_hz
    }

    /// What it did; changes are of thresholds, Hz.
    pub fn effect(&self) -> RuleEffect {
        self.meter.effect(NAME, self.config.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(cells: usize) -> Bcm {
        Bcm::new(BcmConfig { enabled: true, ..BcmConfig::default() }, cells).unwrap()
    }

    #[test]
    fn thresholds_relax_to_the_square_of_the_rate_over_theta0() {
        let mut bcm = on(3);
        bcm.update(&[30.0, 60.0, 90.0], 1_000.0);
        let expected = |target: f32| target + (60.0 - target) * (-1.0_f32).exp();
        for (theta, target) in bcm.theta_hz().iter().zip([15.0, 60.0, 135.0]) {
            assert!((theta - expected(target)).abs() < 1e-3, "{theta} towards {target}");
        }
        (0..30).for_each(|_| bcm.update(&[30.0, 60.0, 90.0], 1_000.0));
        // Settled: r (r - θ) / θ₀² = 30 · 15 / 3600, 0, 90 · -45 / 3600.
        for (cell, (rate, phi)) in [(30.0, 0.125), (60.0, 0.0), (90.0, -1.125)].iter().enumerate() {
            assert!((bcm.modulation(cell, *rate) - phi).abs() < 1e-3, "at {rate} Hz");
        }
    }

    #[test]
    fn a_rule_that_is_off_or_fed_no_number_changes_nothing() {
        let mut off = Bcm::new(BcmConfig::default(), 1).unwrap();
        off.update(&[500.0], 100.0);
        assert_eq!((off.theta_hz(), off.modulation(0, 500.0)), (&[60.0][..], 1.0));
        let mut bcm = on(1);
        bcm.update(&[f32::NAN], 100.0);
        assert_eq!((bcm.theta_hz()[0], bcm.effect().rejected, bcm.effect().updates), (60.0, 1, 0));
        assert_eq!(bcm.modulation(0, f32::NAN), 0.0);
    }

    #[test]
    fn thresholds_and_modulation_stay_within_their_bounds() {
        let mut bcm = on(1);
        (0..100).for_each(|_| bcm.update(&[1_000.0], 1_000.0));
        assert_eq!(bcm.theta_hz(), [1_000.0]);
        assert!(bcm.effect().bounded > 0 && bcm.effect().mean_abs_change > 0.0);
        assert_eq!((bcm.modulation(0, 500.0), bcm.modulation(0, 2_000.0)), (-2.0, 2.0));
    }
}
