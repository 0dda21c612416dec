//! Hit rate and log loss of several forecasters on the same rows, with intervals.
//!
//! Labels of neighbouring rows overlap, and instruments move together, so that rows are no independent
//! draws: intervals are those of the [block bootstrap](crate::evaluation::bootstrap), the same draws for all
//! forecasters, so that the gain over the first one is paired. Beside them stand the rows that do not
//! overlap: rows × cycle / horizon.
//!
//! Invariant: equal forecasts give equal numbers.

use crate::evaluation::{
    baselines::REGRESSION,
    bootstrap::{Draws, Estimate, Outcome, Units},
    metrics::Metric,
    tables::{Table, with_interval},
};

/// What is forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// When, ns since the epoch; judged rows are in its order.
    pub ts_cycle_ns: i64,
    /// Whether it rose.
    pub is_up: bool,
}

/// P(up) of each judged row by one forecaster.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecasts {
    /// The forecaster.
    pub name: String,
    /// One a row.
    pub p_up: Vec<f64>,
}

/// What a forecaster is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Skill {
    /// The forecaster.
    pub name: String,
    /// Rows judged.
    pub rows: usize,
    /// Those whose labels do not overlap: rows × cycle / horizon.
    pub effective_rows: f64,
    /// Share on the right side of one half; exactly one half counts half.
    pub hit_rate: Estimate,
    /// Mean log loss, nat.
    pub log_loss: Estimate,
    /// Log loss of the first forecaster less its own, nat.
    pub gain: Estimate,
    /// Log loss of the logistic regression less its own, nat; `None` where there is no regression.
    pub gain_over_regression: Option<Estimate>,
}

/// Times that overlap depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Between two rows of an instrument, ms.
    pub cycle_ms: u64,
    /// From a row to its label, ms.
    pub horizon_ms: u64,
}

/// Skill of each forecaster; gains are over the first, and over the one of the name of [`REGRESSION`].
///
/// # Panics
/// Where a forecaster has not one probability a row.
#[must_use]
pub fn skills(judged: &[Judged], forecasts: &[Forecasts], times: Times) -> Vec<Skill> {
    let effective_rows = judged.len() as f64 * times.cycle_ms as f64 / times.horizon_ms as f64;
    let units = Units::new(times.horizon_ms, judged.iter().map(|row| row.ts_cycle_ns));
    let draws = Draws::new(units.count());
    let outcome = |forecasts: &Forecasts| {
        let rose = judged.iter().map(|row| Some(row.is_up));
        draws.outcome(&units.tallies(&forecasts.p_up, rose))
    };
    let outcomes: Vec<Outcome> = forecasts.iter().map(outcome).collect();
    let regression = forecasts.iter().position(|forecasts| forecasts.name == REGRESSION);
    let skill = |(forecasts, outcome): (&Forecasts, &Outcome)| Skill {
        name: forecasts.name.clone(),
        rows: judged.len(),
        effective_rows,
        hit_rate: outcome.figure(Metric::Accuracy),
        log_loss: outcome.figure(Metric::LogLoss),
        gain: outcome.gain_over(&outcomes[0]),
        gain_over_regression: regression.map(|k| outcome.gain_over(&outcomes[k])),
    };
    forecasts.iter().zip(&outcomes).map(skill).collect()
}

/// The skills as lines for people; a gain is marked where its interval does not hold 0.
#[must_use]
pub fn table(skills: &[Skill]) -> String {
    let head = [
        "forecaster",
        "moves",
        "effective",
        "hit rate, %",
        "log loss, nat",
        "gain over base rate, nat  ",
        "over regression, nat  ",
    ];
    let row = |skill: &Skill| {
        let figure = |estimate: &Estimate, metric: Metric| {
            with_interval(estimate, |value| metric.text(value))
        };
        let gain = |gain: &Estimate| {
            let is_told = gain.low > 0.0 || gain.high < 0.0;
            // As wide as the mark, so that figures stand below each other.
            format!("{}{}", figure(gain, Metric::LogLoss), if is_told { " *" } else { "  " })
        };
        vec![
            skill.name.clone(),
            skill.rows.to_string(),
            format!("{:.0}", skill.effective_rows),
            figure(&skill.hit_rate, Metric::Accuracy),
            figure(&skill.log_loss, Metric::LogLoss),
            gain(&skill.gain),
            skill.gain_over_regression.as_ref().map(gain).unwrap_or_default(),
        ]
    };
    let table = Table {
        head: head.map(str::to_owned).to_vec(),
        rows: skills.iter().map(row).collect(),
        is_text: false,
    };
    format!(
        "{}[95 % intervals: circular block bootstrap of units one horizon long, in runs of the cube root of \
         their number; * gain other than 0]",
        table.text()
    )
}

#[cfg(test)]
mod tests {
    use purkinje_kernels::rng::Key;

    use super::*;

    const TIMES: Times = Times { cycle_ms: 100, horizon_ms: 1_000 };
    const CYCLE_NS: i64 = 100_000_000;

    /// Labels in runs of ten equal ones, as overlapping labels come, and a forecaster that is right with
    /// the probability that it says, a run at a time.
    fn runs(count: usize, seed: u64, p: f64) -> (Vec<Judged>, Vec<f64>) {
        let key = Key::new(seed);
        let (mut judged, mut says) = (Vec::new(), Vec::new());
        for run in 0..count as u64 {
            let is_up = key.uniform(2 * run) < 0.5;
            let is_right = f64::from(key.uniform(2 * run + 1)) < p;
            for n in 0..10 {
                judged.push(Judged { ts_cycle_ns: (run as i64 * 10 + n) * CYCLE_NS, is_up });
                says.push(if is_right == is_up { p } else { 1.0 - p });
            }
        }
        (judged, says)
    }

    fn forecasts(p_up: Vec<f64>) -> [Forecasts; 2] {
        let half = Forecasts { name: "base rate".into(), p_up: vec![0.5; p_up.len()] };
        [half, Forecasts { name: "one".into(), p_up }]
    }

    #[test]
    fn figures_are_those_of_all_rows() {
        let (judged, says) = runs(400, 3, 0.7);
        let found = skills(&judged, &forecasts(says.clone()), TIMES);
        let right = says.iter().zip(&judged).filter(|(p, row)| (**p > 0.5) == row.is_up).count();
        let rate = right as f64 / 4_000.0;
        let loss = -(rate * 0.7_f64.ln() + (1.0 - rate) * 0.3_f64.ln());
        let one = &found[1];
        assert!((one.hit_rate.value - rate).abs() < 1e-12);
        assert!((one.log_loss.value - loss).abs() < 1e-12);
        assert!((one.gain.value - (std::f64::consts::LN_2 - loss)).abs() < 1e-12);
        assert_eq!((one.rows, one.effective_rows), (4_000, 400.0));
        assert_eq!((found[0].hit_rate.value, found[0].gain.value), (0.5, 0.0));
        assert!(one.gain.low > 0.0 && one.hit_rate.low < rate && rate < one.hit_rate.high);
    }

    #[test]
    fn an_interval_is_as_wide_as_that_of_rows_that_do_not_overlap() {
        let (judged, says) = runs(2_000, 5, 0.6);
        let one = &skills(&judged, &forecasts(says), TIMES)[1];
        let width = one.hit_rate.high - one.hit_rate.low;
        // Of 2,000 independent draws, and not of 20,000.
        let expected = 2.0 * 1.96 * (0.6_f64 * 0.4 / 2_000.0).sqrt();
        assert!((0.8..1.2).contains(&(width / expected)), "{width}, expected {expected}");
    }

    #[test]
    fn most_intervals_hold_what_is_true() {
        let mut held = 0;
        for seed in 0..60 {
            let (judged, says) = runs(300, 100 + seed, 0.6);
            let rate = skills(&judged, &forecasts(says), TIMES)[1].hit_rate;
            held += u32::from(rate.low <= 0.6 && 0.6 <= rate.high);
        }
        // Of 60 at 95 %, 50 or fewer have a probability below 0.1 %.
        assert!(held > 50, "{held} of 60");
    }

    #[test]
    fn too_few_rows_have_figures_and_no_intervals() {
        let (judged, says) = runs(15, 9, 0.6);
        let found = skills(&judged, &forecasts(says), TIMES);
        assert!(found[1].hit_rate.value.is_finite() && found[1].hit_rate.low.is_nan());
        assert!(skills(&[], &forecasts(Vec::new()), TIMES)[0].log_loss.value.is_nan());
        let text = table(&found);
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
