//! Excitability that follows a cell's rate: intrinsic plasticity.
//!
//! drive ← drive + η (r* - r), cell by cell: a cell that fires too little is driven more (Desai,
//! Rutherford and Turrigiano, Nat. Neurosci. 2, 1999; in Purkinje cells Belmeguenai et al., J.
//! Neurosci. 30, 2010). Invariant: every drive stays within its bounds.

use serde::{Deserialize, Serialize};

use super::{Meter, RuleEffect, RuleError, positive, require};

const NAME: &str = "intrinsic";

/// Settings of an [`Intrinsic`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntrinsicConfig {
    /// Whether it acts.
    pub enabled: bool,
    /// Rate to approach, Hz.
    pub target_hz: f32,
    /// Change of the drive by an update for each Hz missing: thresholds (or pA) per Hz.
    pub eta_per_hz: f32,
    /// Least drive.
    pub drive_min: f32,
    /// Greatest drive.
    pub drive_max: f32,
}

impl Default for IntrinsicConfig {
    /// Off; 60 Hz, 1e-4 thresholds per Hz, within ±0.5 thresholds.
    fn default() -> Self {
        Self { enabled: false, target_hz: 60.0, eta_per_hz: 1e-4, drive_min: -0.5, drive_max: 0.5 }
    }
}

/// The rule; the drives are the network's.
#[derive(Clone, Debug)]
pub struct Intrinsic {
    config: IntrinsicConfig,
    meter: Meter,
}

impl Intrinsic {
    /// The rule.
    ///
    /// # Errors
    /// [`RuleError`] names the setting out of range.
    pub fn new(config: IntrinsicConfig) -> Result<Self, RuleError> {
        positive(NAME, "target_hz", config.target_hz)?;
        let (eta, low, high) = (config.eta_per_hz, config.drive_min, config.drive_max);
        require(NAME, "eta_per_hz", eta, eta >= 0.0, "a finite number, 0 or more")?;
        require(NAME, "drive_min", low, true, "a finite number")?;
        require(NAME, "drive_max", high, high > low, "a finite number above drive_min")?;
        Ok(Self { config, meter: Meter::default() })
    }

    /// Moves each cell's drive by its rate over the last cycle.
    ///
    /// # Panics
    /// When there is not one rate a drive.
    pub fn update(&mut self, rates_hz: &[f32], drive: &mut [f32]) {
        assert_eq!(rates_hz.len(), drive.len(), "one rate a cell");
        if !self.config.enabled {
            return;
        }
        let c = self.config;
        for (drive, &rate) in drive.iter_mut().zip(rates_hz) {
            if self.meter.accepts(rate) {
                let free = *drive + c.eta_per_hz * (c.target_hz - rate);
                self.meter.hold(drive, free, (c.drive_min, c.drive_max));
            }
        }
    }

    /// What it did; changes are of drives.
    pub fn effect(&self) -> RuleEffect {
        self.meter.effect(NAME, self.config.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_moves_by_what_its_cell_misses_and_keeps_its_bounds() {
        let config =
            IntrinsicConfig { enabled: true, eta_per_hz: 0.01, ..IntrinsicConfig::default() };
        let mut rule = Intrinsic::new(config).unwrap();
        let mut drive = [0.0, 0.0, 0.4, 0.2];
        rule.update(&[50.0, 60.0, 0.0, f32::INFINITY], &mut drive);
        assert!((drive[0] - 0.1).abs() < 1e-6);
        assert_eq!(drive[1..], [0.0, 0.5, 0.2]);
        let effect = rule.effect();
        assert_eq!((effect.updates, effect.bounded, effect.rejected), (3, 1, 1));
        assert!((effect.mean_abs_change - 0.2 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_rule_that_is_off_leaves_drives_alone_and_bad_bounds_are_refused() {
        let mut drive = [0.3];
        Intrinsic::new(IntrinsicConfig::default()).unwrap().update(&[0.0], &mut drive);
        assert_eq!(drive, [0.3]);
        let config = IntrinsicConfig { drive_max: -1.0, ..IntrinsicConfig::default() };
        assert!(Intrinsic::new(config).unwrap_err().to_string().contains("drive_max is -1"));
    }
}
