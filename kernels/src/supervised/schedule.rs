//! How the learning rate changes with the update.
//!
//! Invariant: the rate is a pure function of the update's number, so a resumed run needs no state.

use serde::{Deserialize, Serialize};

/// The learning rate by update, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Always the same.
    Constant {
        /// The rate.
        rate: f64,
    },
    /// From `rate` to `floor` along half a cosine, then `floor` (Loshchilov and Hutter, ICLR 2017,
    /// without restarts).
    Cosine {
        /// The first rate.
        rate: f64,
        /// The last rate.
        floor: f64,
        /// Updates from the first to the last.
        updates: u64,
    },
    /// Multiplied by `factor` after every `every` updates.
    Step {
        /// The first rate.
        rate: f64,
        /// What it is multiplied by.
        factor: f64,
        /// Updates between changes; 0 never changes it.
        every: u64,
    },
}

impl Schedule {
    /// The rate of an update.
    pub fn rate(&self, update: u64) -> f64 {
        match *self {
            Self::Constant { rate } | Self::Step { rate, every: 0, .. } => rate,
            Self::Cosine { floor, updates, .. } if update >= updates => floor,
            Self::Cosine { rate, floor, updates } => {
                let phase = std::f64::consts::PI * update as f64 / updates as f64;
                floor + 0.5 * (rate - floor) * (1.0 + phase.cos())
            }
            Self::Step { rate, factor, every } => rate * factor.powf((update / every) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_runs_from_rate_to_floor_and_stays() {
        let s = Schedule::Cosine { rate: 1.0, floor: 0.1, updates: 10 };
        let close = |update, rate: f64| (s.rate(update) - rate).abs() < 1e-12;
        assert!(close(0, 1.0) && close(5, 0.55) && close(10, 0.1) && close(99, 0.1));
        assert_eq!(Schedule::Cosine { rate: 1.0, floor: 0.1, updates: 0 }.rate(0), 0.1);
    }

    #[test]
    fn the_step_falls_after_each_period_and_the_constant_never() {
        let s = Schedule::Step { rate: 0.8, factor: 0.5, every: 3 };
        let rates: Vec<f64> = (0..7).map(|update| s.rate(update)).collect();
        assert_eq!(rates, [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]);
        assert_eq!(Schedule::Step { rate: 0.8, factor: 0.5, every: 0 }.rate(9), 0.8);
        assert_eq!(Schedule::Constant { rate: 0.3 }.rate(1_000), 0.3);
    }
}
