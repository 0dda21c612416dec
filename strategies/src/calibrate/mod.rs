//! Online calibration: so that what is forecast with probability 0.7 happens 70 % of the time.
//!
//! [`Calibration`] names the maps: `platt` (two parameters, the default: it needs the fewest labels
//! and repairs scale and bias), `isotonic` (any monotone distortion, thousands of labels), `none`.
//! [`Conformal`] beside them says when to abstain, with a guarantee that needs no model.
//!
//! Invariants: a map never reverses the order of two forecasts; an input that is not a probability
//! changes nothing and is counted. No allocation after construction.

mod conformal;
mod isotonic;
mod platt;

use std::str::FromStr;

use thiserror::Error;

pub use conformal::{Conformal, ConformalConfig, ConformalSet};
pub use isotonic::{Isotonic, IsotonicConfig};
pub use platt::{Platt, PlattConfig};

/// `1 / (1 + e^-x)`; NaN in, NaN out.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Log odds `ln(p / (1 - p))`; infinite at 0 and 1, NaN outside of `[0, 1]`.
#[must_use]
pub fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

/// Whether `p` is a probability: a number in `[0, 1]`.
#[must_use]
pub fn is_probability(p: f64) -> bool {
    (0.0..=1.0).contains(&p)
}

/// A refused calibration.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("calibration.{key} is {value}, expected a finite number {expected}")]
pub struct CalibrationError {
    /// Name of the setting.
    pub key: &'static str,
    /// What it was set to.
    pub value: f64,
    /// What is allowed.
    pub expected: &'static str,
}

/// Refuses the setting `key` unless it is finite and above `min_exclusive`.
fn check(
    key: &'static str,
    value: f64,
    min_exclusive: f64,
    expected: &'static str,
) -> Result<(), CalibrationError> {
    if value.is_finite() && value > min_exclusive {
        Ok(())
    } else {
        Err(CalibrationError { key, value, expected })
    }
}

/// Which map recalibrates, and its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calibration {
    /// Slope and offset in log odds.
    Platt(PlattConfig),
    /// A monotone step function.
    Isotonic(IsotonicConfig),
    /// Forecasts stay as they are.
    None,
}

impl Calibration {
    /// Name of the map in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Platt(_) => "platt",
            Self::Isotonic(_) => "isotonic",
            Self::None => "none",
        }
    }
}

impl Default for Calibration {
    /// Platt with its defaults.
    fn default() -> Self {
        Self::Platt(PlattConfig::default())
    }
}

/// A name that is no calibration's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("calibration.map is {name:?}, expected platt, isotonic or none")]
pub struct UnknownCalibration {
    /// What was asked for.
    pub name: String,
}

impl FromStr for Calibration {
    type Err = UnknownCalibration;

    /// The map of that name with its default settings.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [Self::default(), Self::Isotonic(IsotonicConfig::default()), Self::None];
        let found = all.into_iter().find(|map| map.name() == name);
        found.ok_or_else(|| UnknownCalibration { name: name.to_owned() })
    }
}

/// A map that learns, of the kind a [`Calibration`] names.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "few are held, and a forecast reads its map in place")]
pub enum Calibrator {
    /// Slope and offset in log odds.
    Platt(Platt),
    /// A monotone step function.
    Isotonic(Isotonic),
    /// The identity.
    Identity,
}

impl Calibrator {
    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        match self {
            Self::Platt(map) => map.visit_learned(visit),
            Self::Isotonic(map) => map.visit_learned(visit),
            Self::Identity => {}
        }
    }

    /// A fresh map: the identity, within half a bin for the isotonic one.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(calibration: Calibration) -> Result<Self, CalibrationError> {
        Ok(match calibration {
            Calibration::Platt(config) => Self::Platt(Platt::new(config)?),
            Calibration::Isotonic(config) => Self::Isotonic(Isotonic::new(config)?),
            Calibration::None => Self::Identity,
        })
    }

    /// Recalibrated probability; NaN unless `p` is in `[0, 1]`.
    #[must_use]
    pub fn apply(&self, p: f64) -> f64 {
        match self {
            Self::Platt(map) => map.apply(p),
            Self::Isotonic(map) => map.apply(p),
            Self::Identity => {
                if is_probability(p) {
                    p
                } else {
                    f64::NAN
                }
            }
        }
    }

    /// Learns that forecast `p_raw` was followed by an up move or a down move; `weight` is how many
    /// independent labels this one is worth, as for [`Platt::learn`].
    pub fn learn(&mut self, p_raw: f64, up: bool, weight: f64) {
        match self {
            Self::Platt(map) => map.learn(p_raw, up, weight),
            Self::Isotonic(map) => map.learn(p_raw, up, weight),
            Self::Identity => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::score::Reliability;

    /// Calibration error of the second half of 40,000 forecasts, before and after the map. Labels
    /// come ten forecasts late.
    fn errors(seed: u64, calibration: Calibration, distort: fn(f64) -> f64) -> (f64, f64) {
        const LATE: usize = 10;
        const LABELS: usize = 40_000;
        let mut rng = Random(seed);
        let mut map = Calibrator::new(calibration).unwrap();
        let (mut before, mut after) = (Reliability::default(), Reliability::default());
        let mut pending = [(0.5, false); LATE];
        for i in 0..LABELS {
            if i >= LATE {
                let (raw, up) = pending[i % LATE];
                map.learn(raw, up, 1.0);
            }
            let truth = sigmoid(4.0 * rng.uniform() - 2.0);
            let (raw, up) = (distort(truth), rng.uniform() < truth);
            if i >= LABELS / 2 {
                before.add(raw, up);
                after.add(map.apply(raw), up);
            }
            pending[i % LATE] = (raw, up);
        }
        (before.expected_error(), after.expected_error())
    }

    #[test]
    fn confidence_is_right_as_often_as_it_says_whatever_distorted_it() {
        type Distortion = fn(f64) -> f64;
        // A step is outside of Platt's two parameters; isotonic calibration repairs every one.
        let cases: [(&str, Distortion, bool); 6] = [
            ("none", |p| p, true),
            ("overconfident", |p| sigmoid(2.5 * logit(p)), true),
            ("timid", |p| sigmoid(0.4 * logit(p)), true),
            ("biased", |p| sigmoid(logit(p) + 0.8), true),
            ("squared", |p| p * p, false),
            ("step", |p| if p < 0.6 { 0.5 * p } else { 0.5 + 0.5 * p }, false),
        ];
        for (name, distort, in_log_odds) in cases {
            for seed in 1..=3 {
                let (raw, platt) = errors(seed, Calibration::default(), distort);
                let isotonic = Calibration::Isotonic(IsotonicConfig::default());
                let (_, isotonic) = errors(seed, isotonic, distort);
                let (_, none) = errors(seed, Calibration::None, distort);
                println!("{name}: ECE {raw:.4}, platt {platt:.4}, isotonic {isotonic:.4}");
                assert_eq!(none, raw, "{name}");
                // Sampling alone leaves about 0.01 over 20,000 labels in ten bins.
                assert!(isotonic < 0.02, "{name}: isotonic {isotonic}");
                assert!(platt < if in_log_odds { 0.02 } else { raw }, "{name}: platt {platt}");
                assert!(name == "none" || raw > 0.04, "{name} needed repair: {raw}");
            }
        }
    }

    #[test]
    fn maps_are_found_by_their_names_and_a_strange_name_is_refused() {
        for name in ["platt", "isotonic", "none"] {
            assert_eq!(name.parse::<Calibration>().unwrap().name(), name);
        }
        assert_eq!("platt".parse(), Ok(Calibration::default()));
        let error = "beta".parse::<Calibration>().unwrap_err().to_string();
        assert_eq!(error, "calibration.map is \"beta\", expected platt, isotonic or none");
    }

    #[test]
    fn the_identity_refuses_what_is_no_probability() {
        let map = Calibrator::new(Calibration::None).unwrap();
        assert_eq!(map.apply(0.3), 0.3);
        assert!(map.apply(1.5).is_nan() && map.apply(f64::NAN).is_nan());
    }
}
