//! Sums over forecasts of a rise and what became of them, and the figures that follow from the sums.
//!
//! Every figure is a function of a [`Tally`], and tallies of disjoint rows add up: that is what lets a
//! bootstrap draw blocks of rows without looking at a row again. Invariants: a forecast of exactly one half
//! counts half for either side; a probability is held [`CLIP`] away from 0 and 1 in the log loss; a figure
//! that is not defined is NaN.

use std::ops::{Add, AddAssign, Sub};

/// Probabilities are held this far from 0 and 1 in the log loss: one sure error costs 13.8 nat at most.
pub const CLIP: f64 = 1e-6;
/// Bins of equal width over [0, 1] for reliability and the expected calibration error.
pub const BINS: usize = 10;

/// Forecasts of one range and how often the price rose after them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Forecasts.
    pub count: f64,
    /// Sum of the forecasts.
    pub forecast: f64,
    /// Rises after them.
    pub up: f64,
}

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Rises forecast as rises.
    pub up_as_up: f64,
    /// Rises forecast as falls.
    pub up_as_down: f64,
    /// Falls forecast as rises.
    pub down_as_up: f64,
    /// Falls forecast as falls.
    pub down_as_down: f64,
    /// Sum of log losses, nat.
    pub log_loss: f64,
    /// Sum of squared errors of the probability.
    pub squared_error: f64,
    /// By forecast, from 0 to 1.
    pub bins: [Bin; BINS],
}

impl Tally {
    /// Adds one forecast of P(up), a probability, and whether the price rose.
    pub fn record(&mut self, p_up: f64, up: bool) {
        let as_up = if p_up > 0.5 { 1.0 } else { f64::from(u8::from(p_up == 0.5)) / 2.0 };
        if up {
            self.up_as_up += as_up;
            self.up_as_down += 1.0 - as_up;
        } else {
            self.down_as_up += as_up;
            self.down_as_down += 1.0 - as_up;
        }
        self.log_loss += log_loss(p_up, up);
        let label = f64::from(u8::from(up));
        self.squared_error += (p_up - label) * (p_up - label);
        let bin = &mut self.bins[((p_up * BINS as f64) as usize).min(BINS - 1)];
        bin.count += 1.0;
        bin.forecast += p_up;
        bin.up += label;
    }

    /// Rows.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.ups() + self.downs()
    }

    /// Rows that rose.
    #[must_use]
    pub fn ups(&self) -> f64 {
        self.up_as_up + self.up_as_down
    }

    /// Rows that fell.
    #[must_use]
    pub fn downs(&self) -> f64 {
        self.down_as_up + self.down_as_down
    }

    /// A figure; NaN where it is not defined.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> f64 {
        let n = self.count();
        let f1 = |hits: f64, misses: f64| 2.0 * hits / (2.0 * hits + misses);
        let (as_up, as_down) =
            (self.up_as_up + self.down_as_up, self.up_as_down + self.down_as_down);
        let errors = self.up_as_down + self.down_as_up;
        match metric {
            Metric::Accuracy => (self.up_as_up + self.down_as_down) / n,
            Metric::PrecisionUp => self.up_as_up / as_up,
            Metric::RecallUp => self.up_as_up / self.ups(),
            Metric::F1Up => f1(self.up_as_up, errors),
            Metric::PrecisionDown => self.down_as_down / as_down,
            Metric::RecallDown => self.down_as_down / self.downs(),
            Metric::F1Down => f1(self.down_as_down, errors),
            Metric::LogLoss => self.log_loss / n,
            Metric::Brier => self.squared_error / n,
            Metric::CalibrationError => {
                let off: f64 = self.bins.iter().map(|bin| (bin.forecast - bin.up).abs()).sum();
                off / n
            }
        }
    }
}

/// Log loss of a forecast of P(up), nat.
#[must_use]
pub fn log_loss(p_up: f64, up: bool) -> f64 {
    let p_up = p_up.clamp(CLIP, 1.0 - CLIP);
    -(if up { p_up } else { 1.0 - p_up }).ln()
}

/// The figures of a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Share of rows whose side was forecast (hit rate).
    Accuracy,
    /// Share of the forecast rises that were rises.
    PrecisionUp,
    /// Share of the rises that were forecast.
    RecallUp,
    /// Harmonic mean of precision and recall of rises.
    F1Up,
    /// Share of the forecast falls that were falls.
    PrecisionDown,
    /// Share of the falls that were forecast.
    RecallDown,
    /// Harmonic mean of precision and recall of falls.
    F1Down,
    /// Mean log loss, nat.
    LogLoss,
    /// Mean squared error of the probability (Brier, Monthly Weather Review 78, 1950).
    Brier,
    /// Expected calibration error over [`BINS`] bins (Naeini, Cooper and Hauskrecht, AAAI 2015).
    CalibrationError,
}

/// How many [`Metric`]s there are.
pub const METRICS: usize = 10;

impl Metric {
    /// All of them, in the order in which tables show them; each stands at its discriminant.
    pub const ALL: [Self; METRICS] = [
        Self::Accuracy,
        Self::PrecisionUp,
        Self::RecallUp,
        Self::F1Up,
        Self::PrecisionDown,
        Self::RecallDown,
        Self::F1Down,
        Self::LogLoss,
        Self::Brier,
        Self::CalibrationError,
    ];

    /// What tables call it, with its unit.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy, %",
            Self::PrecisionUp => "precision up, %",
            Self::RecallUp => "recall up, %",
            Self::F1Up => "F1 up, %",
            Self::PrecisionDown => "precision down, %",
            Self::RecallDown => "recall down, %",
            Self::F1Down => "F1 down, %",
            Self::LogLoss => "log loss, nat",
            Self::Brier => "Brier score",
            Self::CalibrationError => "calibration error (ECE), %",
        }
    }

    /// A value as tables show it, without its unit; a dash for one that is not defined.
    #[must_use]
    pub fn text(self, value: f64) -> String {
        match self {
            _ if !value.is_finite() => "-".to_owned(),
            Self::LogLoss | Self::Brier => format!("{value:.4}"),
            _ => format!("{:.2}", 100.0 * value),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(&other, |a, b| a + b)
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.with(&other, |a, b| a - b)
    }
}

impl Tally {
    fn with(&self, other: &Self, op: impl Fn(f64, f64) -> f64) -> Self {
        let mut bins = self.bins;
        for (to, from) in bins.iter_mut().zip(&other.bins) {
            to.count = op(to.count, from.count);
            to.forecast = op(to.forecast, from.forecast);
            to.up = op(to.up, from.up);
        }
        Self {
            up_as_up: op(self.up_as_up, other.up_as_up),
            up_as_down: op(self.up_as_down, other.up_as_down),
            down_as_up: op(self.down_as_up, other.down_as_up),
            down_as_down: op(self.down_as_down, other.down_as_down),
            log_loss: op(self.log_loss, other.log_loss),
            squared_error: op(self.squared_error, other.squared_error),
            bins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(rows: &[(f64, bool)]) -> Tally {
        let mut tally = Tally::default();
        for (p_up, up) in rows {
            tally.record(*p_up, *up);
        }
        tally
    }

    #[test]
    fn figures_follow_from_the_confusion_matrix() {
        // 3 rises found, 1 missed; 2 falls found, 4 taken for rises.
        let mut rows = vec![(0.9, true); 3];
        rows.push((0.2, true));
        rows.extend([(0.1, false); 2]);
        rows.extend([(0.7, false); 4]);
        let tally = tally(&rows);
        for (metric, expected) in [
            (Metric::Accuracy, 0.5),
            (Metric::PrecisionUp, 3.0 / 7.0),
            (Metric::RecallUp, 3.0 / 4.0),
            (Metric::F1Up, 6.0 / 11.0),
            (Metric::PrecisionDown, 2.0 / 3.0),
            (Metric::RecallDown, 1.0 / 3.0),
            (Metric::F1Down, 4.0 / 9.0),
            (Metric::Brier, (3.0 * 0.01 + 0.64 + 2.0 * 0.01 + 4.0 * 0.49) / 10.0),
            (
                Metric::LogLoss,
                -(3.0 * 0.9_f64.ln() + 0.2_f64.ln() + 2.0 * 0.9_f64.ln() + 4.0 * 0.3_f64.ln())
                    / 10.0,
            ),
            // Bins 0.9: 3 of 3 rose; 0.2: 1 of 1; 0.1: 0 of 2; 0.7: 0 of 4.
            (Metric::CalibrationError, (0.3 + 0.8 + 0.2 + 2.8) / 10.0),
        ] {
            let found = tally.metric(metric);
            assert!((found - expected).abs() < 1e-12, "{metric:?}: {found}, not {expected}");
        }
        assert_eq!((tally.ups(), tally.downs()), (4.0, 6.0));
    }

    #[test]
    fn even_odds_are_half_a_hit_whatever_happened() {
        let even = tally(&[(0.5, true), (0.5, false), (0.5, false)]);
        assert_eq!(even.metric(Metric::Accuracy), 0.5);
        assert_eq!(even.metric(Metric::RecallUp), 0.5);
    }

    #[test]
    fn sure_errors_cost_a_bounded_loss_and_the_ends_are_in_the_outer_bins() {
        let sure = tally(&[(1.0, false), (0.0, true)]);
        assert!((sure.metric(Metric::LogLoss) + CLIP.ln()).abs() < 1e-9);
        assert_eq!((sure.bins[0].count, sure.bins[9].count), (1.0, 1.0));
    }

    #[test]
    fn what_is_not_defined_is_not_a_number_and_shown_as_a_dash() {
        assert!(Tally::default().metric(Metric::Accuracy).is_nan());
        let never_up = tally(&[(0.1, true), (0.2, false)]);
        assert!(never_up.metric(Metric::PrecisionUp).is_nan());
        assert_eq!(Metric::PrecisionUp.text(f64::NAN), "-");
        assert_eq!(Metric::Accuracy.text(0.5123), "51.23");
    }

    #[test]
    fn tallies_of_parts_add_up_to_that_of_the_whole() {
        let rows: Vec<_> = (0..40_i32).map(|k| (f64::from(k) / 40.0, k % 3 == 0)).collect();
        let (head, tail) = rows.split_at(17);
        let whole = tally(&rows);
        let sum = tally(head) + tally(tail);
        for metric in Metric::ALL {
            assert!((sum.metric(metric) - whole.metric(metric)).abs() < 1e-12, "{metric:?}");
            let rest = (whole - tally(head)).metric(metric);
            assert!((rest - tally(tail).metric(metric)).abs() < 1e-12, "{metric:?}");
        }
        for (place, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, place);
        }
    }
}
