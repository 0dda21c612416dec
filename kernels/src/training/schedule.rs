//! How the learning rate changes while a network is trained.
//!
//! Invariant: the rate of a step depends on the configuration, the step's number and the validation losses
//! alone, all of which a checkpoint holds.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::config::{ConfigError, within};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// It does not.
    Constant {},
    /// It is multiplied by `factor` after `patience` epochs whose validation loss did not improve.
    ReduceOnPlateau {
        /// 0.01 to 0.99.
        #[serde(default = "factor")]
        factor: f64,
        /// 1 to 100,000.
        #[serde(default = "plateau")]
        patience: u32,
        /// Share of the first rate below which it does not fall: 0 to 1.
        #[serde(default = "floor")]
        floor: f64,
    },
    /// It rises in a line over the first epochs and then falls along half a cosine.
    Cosine {
        /// Epochs of the rise, fewer than there are: 0 for none.
        #[serde(default)]
        warm_up_epochs: u32,
        /// Share of the rate that is left at the end: 0 to 1.
        #[serde(default)]
        floor: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

fn factor() -> f64 {
    0.5
}
fn plateau() -> u32 {
    3
}
fn floor() -> f64 {
    0.01
}

impl Schedule {
    pub(super) fn validate(&self, epochs: u32) -> Result<(), ConfigError> {
        match *self {
            Self::Constant {} => Ok(()),
            Self::ReduceOnPlateau { factor, patience, floor } => {
                within("schedule.factor", factor, 0.01..=0.99)?;
                within("schedule.patience", patience, 1..=100_000)?;
                within("schedule.floor", floor, 0.0..=1.0)
            }
            Self::Cosine { warm_up_epochs, floor } => {
                within("schedule.warm_up_epochs", warm_up_epochs, 0..=epochs.saturating_sub(1))?;
                within("schedule.floor", floor, 0.0..=1.0)
            }
        }
    }

    /// What the first rate is multiplied by in a step, counted from 0 over all of the epochs.
    pub(super) fn share(
        &self,
        state: &Plateau,
        step: u64,
        steps_an_epoch: u64,
        epochs: u32,
    ) -> f64 {
        match *self {
            Self::Constant {} => 1.0,
            Self::ReduceOnPlateau { .. } => state.share,
            Self::Cosine { warm_up_epochs, floor } => {
                let rise = u64::from(warm_up_epochs) * steps_an_epoch;
                let total = u64::from(epochs) * steps_an_epoch;
                if step < rise {
                    return (step + 1) as f64 / rise as f64;
                }
                let done = (step - rise) as f64 / (total - rise).max(1) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
            }
        }
    }
}

/// What the schedule remembers of the epochs so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plateau {
    /// What the first rate is multiplied by.
    pub(super) share: f64,
    /// Epochs since the last improvement or reduction.
    pub(super) stale: u32,
}

impl Plateau {
    pub(super) const NEW: Self = Self { share: 1.0, stale: 0 };

    /// Takes notice of an epoch.
    pub(super) fn end_epoch(&mut self, schedule: &Schedule, is_improved: bool) {
        let Schedule::ReduceOnPlateau { factor, patience, floor } = *schedule else { return };
        self.stale = if is_improved { 0 } else { self.stale + 1 };
        if self.stale == patience {
            *self = Self { share: (self.share * factor).max(floor), stale: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_rises_in_a_line_and_falls_to_its_floor() {
        let cosine = Schedule::Cosine { warm_up_epochs: 1, floor: 0.1 };
        let at = |step| cosine.share(&Plateau::NEW, step, 10, 5);
        assert_eq!((at(0), at(4), at(9), at(10)), (0.1, 0.5, 1.0, 1.0));
        assert!((at(30) - 0.55).abs() < 1e-12, "half-way: {}", at(30));
        assert!((at(50) - 0.1).abs() < 1e-12, "the end: {}", at(50));
        assert!((10..50).all(|step| at(step + 1) < at(step)));
    }

    #[test]
    fn a_plateau_reduces_the_rate_each_time_patience_ends() {
        let schedule = Schedule::ReduceOnPlateau { factor: 0.5, patience: 2, floor: 0.3 };
        let mut state = Plateau::NEW;
        let mut shares = Vec::new();
        for is_improved in [true, false, true, false, false, false, false, false] {
            state.end_epoch(&schedule, is_improved);
            shares.push(schedule.share(&state, 0, 1, 1));
        }
        assert_eq!(shares, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.3, 0.3]);
    }
}
