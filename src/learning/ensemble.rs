//! One combination of the members, and the recalibration of what it says.
//!
//! Invariants: sees the first of the members only, as many as it was built for; what it is told belongs to
//! a forecast of its own; nothing allocates after construction.

use purkinje_strategies::{
    calibrate::{Calibration, Calibrator},
    combine::{CombineRule, Combiner, CombinerConfig, Forecast},
};

use super::ForecasterError;

/// What a combination said of one instrument.
#[derive(Clone, Copy, Debug)]
pub struct Combined {
    /// The forecast, with all that its combiner learns from later.
    pub forecast: Forecast,
    /// Its P(up) after recalibration.
    pub recalibrated: f64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ensemble {
    combiner: Combiner,
    recalibrator: Calibrator,
    /// Weight of one label: horizons overlap, so it is worth less than an independent one.
    label_weight: f64,
}

impl Ensemble {
    /// A combination of the first `members` members, all weighed alike.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn new(
        members: usize,
        config: CombinerConfig,
        rule: CombineRule,
        calibration: Calibration,
        label_weight: f64,
    ) -> Result<Self, ForecasterError> {
        Ok(Self {
            combiner: Combiner::with_rule(members, config, rule)?,
            recalibrator: Calibrator::new(calibration)?,
            label_weight,
        })
    }

    /// Combines the members' calibrated probabilities; NaN is a member that takes no part.
    #[must_use]
    pub fn predict(&self, calibrated: &[f64]) -> Combined {
        let forecast = self.combiner.predict(calibrated);
        Combined { forecast, recalibrated: self.recalibrator.apply(forecast.p_up) }
    }

    /// What is said of an instrument that cannot be forecast: the base rate, and no confidence in it.
    #[must_use]
    pub fn absent(&self) -> Combined {
        Combined { forecast: self.combiner.predict(&[]), recalibrated: 0.5 }
    }

    /// Learns which way the price moved after something it said.
    pub fn learn(&mut self, said: &Combined, up: bool) {
        self.combiner.learn(&said.forecast, up);
        self.recalibrator.learn(said.forecast.p_up, up, self.label_weight);
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        self.combiner.visit_learned(visit);
        self.recalibrator.visit_learned(visit);
    }

    /// Weight of each member when all are awake, then of the base rate.
    pub fn weights(&self) -> impl Iterator<Item = f64> + use<> {
        self.combiner.weights()
    }
}
