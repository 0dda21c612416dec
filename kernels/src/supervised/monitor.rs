//! Whether training still gets better, and when to stop.
//!
//! A value improves on the best when it beats it by more than `min_delta`; `patience` values in a
//! row that do not mean stop. Invariants: the best value is the best *accepted* one, so a slow
//! drift below `min_delta` a step is still seen when it adds up; a value that is not a number never
//! improves.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Lower: a loss.
    Min,
    /// Higher: an accuracy.
    Max,
}

/// What one value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A new best: worth a checkpoint.
    Improved,
    /// Not better.
    Waiting {
        /// Values in a row that were not better.
        values: u64,
    },
    /// Not better for as long as patience lasts.
    Stop,
}

/// Why a monitor cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum MonitorError {
    /// No patience at all.
    #[error("patience is 0, expected at least 1")]
    Patience,
    /// The margin is not one.
    #[error("min_delta is {0}, expected a finite number, 0 or more")]
    MinDelta(f64),
}

/// Watches one value over the epochs. Serialisable, so that a resumed run stops where the unbroken
/// one would.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvergenceMonitor {
    goal: Goal,
    patience: u64,
    min_delta: f64,
    seen: u64,
    waited: u64,
    best: Option<(u64, f64)>,
}

impl ConvergenceMonitor {
    /// A monitor that stops after `patience` values in a row without an improvement of more than
    /// `min_delta`.
    ///
    /// # Errors
    /// [`MonitorError`] when patience is 0 or the margin is negative or not finite.
    pub fn new(goal: Goal, patience: u64, min_delta: f64) -> Result<Self, MonitorError> {
        if patience == 0 {
            return Err(MonitorError::Patience);
        }
        if !(min_delta.is_finite() && min_delta >= 0.0) {
            return Err(MonitorError::MinDelta(min_delta));
        }
        Ok(Self { goal, patience, min_delta, seen: 0, waited: 0, best: None })
    }

    /// Takes the next value.
    pub fn observe(&mut self, value: f64) -> Verdict {
        let better = match self.best {
            _ if value.is_nan() => false,
            None => true,
            Some((_, best)) => match self.goal {
                Goal::Min => value < best - self.min_delta,
                Goal::Max => value > best + self.min_delta,
            },
        };
        self.seen += 1;
        if better {
            self.best = Some((self.seen - 1, value));
            self.waited = 0;
            return Verdict::Improved;
        }
        self.waited += 1;
        if self.waited >= self.patience {
            Verdict::Stop
        } else {
            Verdict::Waiting { values: self.waited }
        }
    }

    /// Which observation was best, counted from 0, and its value.
    pub const fn best(&self) -> Option<(u64, f64)> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Improved, Stop, Waiting};

    #[test]
    fn training_stops_after_patience_values_without_enough_progress() {
        let mut monitor = ConvergenceMonitor::new(Goal::Min, 2, 0.1).unwrap();
        let verdicts: Vec<Verdict> =
            [1.0, 0.95, 0.8, f64::NAN, 0.75].into_iter().map(|v| monitor.observe(v)).collect();
        let waiting = Waiting { values: 1 };
        assert_eq!(verdicts, [Improved, waiting, Improved, waiting, Stop]);
        assert_eq!(monitor.best(), Some((2, 0.8)));
    }

    #[test]
    fn a_slow_drift_counts_once_it_adds_up() {
        let mut monitor = ConvergenceMonitor::new(Goal::Max, 5, 0.1).unwrap();
        for value in [0.0, 0.06, 0.12] {
            monitor.observe(value);
        }
        assert_eq!(monitor.best(), Some((2, 0.12)));
    }

    #[test]
    fn a_monitor_without_patience_or_margin_is_refused() {
        assert_eq!(ConvergenceMonitor::new(Goal::Min, 0, 0.0), Err(MonitorError::Patience));
        let error = ConvergenceMonitor::new(Goal::Min, 1, -1.0).unwrap_err();
        assert_eq!(error.to_string(), "min_delta is -1, expected a finite number, 0 or more");
        assert!(ConvergenceMonitor::new(Goal::Max, 1, f64::NAN).is_err());
    }
}
