//! One gain that holds the mean rate of the Purkinje cells of both microzones.
//!
//! gain ← gain · (1 + η (r* - r) / r*), r the mean over *both* zones: synaptic scaling (Turrigiano
//! et al., Nature 391, 1998) as one factor on all weights, never a sweep over them. By cell or by
//! zone it would pin the output, which is the difference of the zones. Invariant: the gain stays
//! within a span about its start.

use serde::{Deserialize, Serialize};

use super::{Meter, RuleEffect, RuleError, positive, require};

const NAME: &str = "synaptic-scaling";

/// Settings of a [`Scaling`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingConfig {
    /// Whether it acts.
    pub enabled: bool,
    /// Rate to hold, Hz.
    pub target_hz: f32,
    /// Share of the relative error by which the gain moves each update, 0 to 1.
    pub eta: f32,
    /// The gain stays between its start divided and multiplied by this, above 1.
    pub span: f32,
}

impl Default for ScalingConfig {
    /// On; 60 Hz (in vivo 40 to 95: Zhou et al., eLife 3, 2014), 0.01, a span of 16.
    fn default() -> Self {
        Self { enabled: true, target_hz: 60.0, eta: 0.01, span: 16.0 }
    }
}

/// The gain.
#[derive(Clone, Debug)]
pub struct Scaling {
    config: ScalingConfig,
    start: f32,
    gain: f32,
    meter: Meter,
}

impl Scaling {
    /// A gain that starts at `gain`.
    ///
    /// # Errors
    /// [`RuleError`] names the setting out of range.
    pub fn new(config: ScalingConfig, gain: f32) -> Result<Self, RuleError> {
        positive(NAME, "target_hz", config.target_hz)?;
        positive(NAME, "gain", gain)?;
        require(NAME, "eta", config.eta, (0.0..=1.0).contains(&config.eta), "0 to 1")?;
        require(NAME, "span", config.span, config.span > 1.0, "a finite number above 1")?;
        Ok(Self { config, start: gain, gain, meter: Meter::default() })
    }

    /// Moves the gain by the mean rates of the zones; returns it.
    pub fn update(&mut self, up_hz: f32, down_hz: f32) -> f32 {
        let rate = 0.5 * (up_hz + down_hz);
        if self.config.enabled && self.meter.accepts(rate) {
            let c = &self.config;
            let free = self.gain * (1.0 + c.eta * (c.target_hz - rate) / c.target_hz);
            let bounds = (self.start / c.span, self.start * c.span);
            self.meter.hold(&mut self.gain, free, bounds);
        }
        self.gain
    }

    /// Goes on from another gain, held within the span; returns it.
    pub fn set_gain(&mut self, gain: f32) -> f32 {
        let (low, high) = (self.start / self.config.span, self.start * self.config.span);
        self.gain = gain.clamp(low, high);
        self.gain
    }

    /// The gain.
    pub const fn gain(&self) -> f32 {
        self.gain
    }

    /// What it did; changes are of the gain.
    pub fn effect(&self) -> RuleEffect {
        self.meter.effect(NAME, self.config.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gain_moves_by_the_relative_error_of_the_mean_of_both_zones() {
        let mut scaling =
            Scaling::new(ScalingConfig { eta: 0.1, ..ScalingConfig::default() }, 2.0).unwrap();
        // Mean 30 Hz: half the target missing.
        assert!((scaling.update(10.0, 50.0) - 2.1).abs() < 1e-6);
        assert!((scaling.effect().mean_abs_change - 0.1).abs() < 1e-6);
        // Zones apart, mean on target: nothing moves.
        assert!((scaling.update(20.0, 100.0) - 2.1).abs() < 1e-6);
    }

    #[test]
    fn the_gain_keeps_its_span_and_ignores_what_is_no_number() {
        let mut scaling =
            Scaling::new(ScalingConfig { eta: 1.0, ..ScalingConfig::default() }, 1.0).unwrap();
        for _ in 0..50 {
            scaling.update(0.0, 0.0);
        }
        assert_eq!(scaling.gain(), 16.0);
        for _ in 0..50 {
            scaling.update(900.0, 900.0);
        }
        assert_eq!(scaling.gain(), 1.0 / 16.0);
        let before = scaling.gain();
        assert_eq!(scaling.update(f32::NAN, 60.0), before);
        assert_eq!(scaling.effect().rejected, 1);
        let off = ScalingConfig { enabled: false, ..ScalingConfig::default() };
        assert_eq!(Scaling::new(off, 1.0).unwrap().update(0.0, 0.0), 1.0);
    }

    #[test]
    fn a_span_that_leaves_no_room_is_refused() {
        let config = ScalingConfig { span: 1.0, ..ScalingConfig::default() };
        let error = Scaling::new(config, 1.0).unwrap_err().to_string();
        assert_eq!(error, "synaptic-scaling: span is 1, expected a finite number above 1");
    }
}
