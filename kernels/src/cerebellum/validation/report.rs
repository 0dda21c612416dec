//! The verdicts of a validation, as data and as the table an operator reads.
//!
//! Invariants: a check applies if it has a verdict of pass or fail, and only those enter the score;
//! one line a check, a projection and a remark.

use std::fmt;

use serde::Serialize;

use super::inputs::Inputs;
use super::wiring::{Degrees, Moments};
use crate::cerebellum::description::{Cell, Columns};

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The value lies in the range.
    Pass,
    /// It does not.
    Fail,
    /// The network has nothing to measure it on, or the range does not concern it.
    NotApplicable,
}

/// A quantity and the range that the literature gives for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What is measured.
    pub name: &'static str,
    /// Its value; none where it could not be measured.
    pub measured: Option<f64>,
    /// Unit of value and range; empty for pure numbers.
    pub unit: &'static str,
    /// Least value accepted.
    pub low: f64,
    /// Greatest value accepted.
    pub high: f64,
    /// Whose range it is: author and year.
    pub source: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it does not apply, or why a shipped set is known to fail.
    pub remark: Option<&'static str>,
}

impl Check {
    /// A check of a value that was measured.
    pub(super) fn measured(mut self, value: f64) -> Self {
        let inside = (self.low..=self.high).contains(&value);
        self.verdict = if inside { Verdict::Pass } else { Verdict::Fail };
        self.measured = Some(value);
        self
    }

    /// A check that does not apply.
    pub(super) const fn without(mut self, why: &'static str) -> Self {
        self.remark = Some(why);
        self
    }
}

/// The plastic weights of one projection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlasticWeights {
    /// Presynaptic population.
    pub pre: Cell,
    /// Postsynaptic population.
    pub post: Cell,
    /// How many.
    pub count: usize,
    /// Mean and deviation, nS or thresholds.
    pub weight: Moments,
    /// Share at or below a thousandth of the greatest weight allowed.
    pub silent_share: f64,
    /// Share within the bounds.
    pub bounded_share: f64,
}

/// A validation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The network's name.
    pub name: String,
    /// Where its numbers come from.
    pub source: String,
    /// Biological time measured, s.
    pub seconds: f64,
    /// Biological time before that, s.
    pub settle_seconds: f64,
    /// Seed of wiring and inputs.
    pub seed: u64,
    /// What it was given; none where features drove it.
    pub inputs: Option<Inputs>,
    /// Checks that passed.
    pub passed: usize,
    /// Checks that apply.
    pub applicable: usize,
    /// The share of them that passed; none where none applies.
    pub score: Option<f64>,
    /// The checks.
    pub checks: Vec<Check>,
    /// Weights that can learn.
    pub weights: Vec<PlasticWeights>,
    /// The degrees of every projection.
    pub projections: Vec<Degrees>,
}

impl Report {
    /// Counts the verdicts.
    pub(super) fn scored(mut self) -> Self {
        let count = |of: &dyn Fn(Verdict) -> bool| -> usize {
            self.checks.iter().filter(|c| of(c.verdict)).count()
        };
        self.passed = count(&|v| v == Verdict::Pass);
        self.applicable = count(&|v| v != Verdict::NotApplicable);
        self.score = (self.applicable > 0).then(|| self.passed as f64 / self.applicable as f64);
        self
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| c.verdict == Verdict::Fail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.source)?;
        write!(
            f,
            "{} s after {} s of settling, seed {}; ",
            self.seconds, self.settle_seconds, self.seed
        )?;
        match self.inputs {
            Some(Inputs { mossy_hz: [low, high], climbing_hz }) if low < high => {
                writeln!(f, "mossy fibres at {low} to {high} Hz, climbing at {climbing_hz} Hz\n")?;
            }
            Some(Inputs { mossy_hz: [hz, _], climbing_hz }) => {
                writeln!(f, "mossy fibres at {hz} Hz, climbing at {climbing_hz} Hz\n")?;
            }
            None => writeln!(f, "features drawn from N(0, 1)\n")?,
        }
        let mut checks = Columns::new(["check", "measured", "accepted", "", "source"]);
        for c in &self.checks {
            let verdict = match c.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "FAIL",
                Verdict::NotApplicable => "n/a",
            };
            checks.row([
                c.name.to_owned(),
                c.measured.map_or("-".to_owned(), |x| with_unit(digits(x), c.unit)),
                range(c),
                verdict.to_owned(),
                c.source.to_owned(),
            ]);
        }
        writeln!(f, "{checks}")?;
        for c in &self.checks {
            if let Some(remark) = c.remark {
                writeln!(f, "{}: {remark}", c.name)?;
            }
        }
        let mut links = Columns::new(["projection", "fan-in", "fan-out"]);
        for d in &self.projections {
            links.row([format!("{} to {}", d.pre, d.post), spread(d.fan_in), spread(d.fan_out)]);
        }
        writeln!(f, "\n{links}")?;
        for w in &self.weights {
            writeln!(
                f,
                "plastic weights of {} on {}: {}, mean {}, CV {}, {} % silent",
                w.pre,
                w.post,
                w.count,
                digits(w.weight.mean),
                digits(w.weight.sd / w.weight.mean.max(f64::MIN_POSITIVE)),
                digits(100.0 * w.silent_share)
            )?;
        }
        write!(f, "passed {} of {} checks that apply", self.passed, self.applicable)
    }
}

fn with_unit(number: String, unit: &str) -> String {
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

fn range(check: &Check) -> String {
    let text = if check.low == check.high {
        digits(check.low)
    } else {
        format!("{} to {}", digits(check.low), digits(check.high))
    };
    with_unit(text, check.unit)
}

fn spread(of: Moments) -> String {
    format!("{} ± {}", digits(of.mean), digits(of.sd))
}

/// Three significant digits, and all of the whole part.
fn digits(x: f64) -> String {
    let size = x.abs();
    let places = if size >= 100.0 || x == 0.0 {
        0
    } else if size >= 1e-3 {
        (2.0 - size.log10().floor()).max(0.0) as usize
    } else {
        return format!("{x:.2e}");
    };
    let text = format!("{x:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_significant_digits() {
        for (x, text) in [
            (0.0, "0"),
            (4.0, "4"),
            (3.999_9, "4"),
            (12.34, "12.3"),
            (0.012_34, "0.0123"),
            (28_800.4, "28800"),
            (0.000_21, "2.10e-4"),
        ] {
            assert_eq!(digits(x), text);
        }
    }
}
