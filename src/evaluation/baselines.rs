//! The forecasters that a network has to beat, taught on the rows before the tested span and then frozen.
//!
//! * base rate: how often the price rose, whatever the features;
//! * persistence: the last move goes on or bounces, as often as it did;
//! * logistic regression on the network's own inputs, learned in one pass in the order of time, each label
//!   worth one over the number of labels that overlap it.
//!
//! Invariant: nothing is learned from a label that was unknown when the tested span began.

use purkinje_kernels::logistic::{LogisticConfig, LogisticError, OnlineLogistic};
use purkinje_strategies::score::{BaseRate, Persistence};

use super::rows::{Rows, Split};
use crate::learning::label::horizon_cycles;

/// Names, in the order of [`Baselines::forecasts`].
pub const BASELINES: [&str; 3] = ["base rate", "persistence", "logistic regression"];

/// P(up) of every tested row by each of [`BASELINES`].
///
/// # Errors
/// The regression refuses the number of inputs.
pub fn forecasts(rows: &Rows, split: &Split) -> Result<[Vec<f64>; BASELINES.len()], LogisticError> {
    let labelled = || split.earlier.clone().filter_map(|row| Some((row, rows.rose(row)?)));
    let mut base_rate = BaseRate::new();
    labelled().for_each(|(_, up)| base_rate.learn(up));

    let inputs = rows.inputs().len();
    let settings = LogisticConfig { memory: f64::INFINITY, ..LogisticConfig::new(inputs) };
    let mut logistic = OnlineLogistic::new(settings)?;
    let overlap = horizon_cycles(rows.horizon_ms as i64, rows.cycle_ms as i64);
    for (row, up) in labelled() {
        logistic.learn(rows.features_of(row), f64::from(u8::from(up)), 1.0 / overlap as f64);
    }
    let regression = split.tested.clone().map(|row| logistic.predict(rows.features_of(row)));
    let regression = regression.collect();
    let base = vec![base_rate.p_up(); split.tested.len()];
    Ok([base, persistence(rows, split, base_rate.p_up()), regression])
}

/// Before the first move of an instrument persistence says what the base rate says.
fn persistence(rows: &Rows, split: &Split, base_rate: f64) -> Vec<f64> {
    let mut member = Persistence::new(rows.instruments, f64::INFINITY);
    let mut newest = vec![0; rows.instruments];
    let mut answers = Vec::with_capacity(split.tested.len());
    for row in 0..split.tested.end {
        let at = &rows.rows()[row];
        let instrument = at.instrument as usize;
        if newest[instrument] + 1 != at.cycle {
            member.reset(instrument);
        }
        newest[instrument] = at.cycle;
        member.observe(instrument, at.mid_x2);
        if split.tested.contains(&row) {
            let p_up = member.p_up(instrument);
            answers.push(if p_up.is_nan() { base_rate } else { p_up });
        } else if let (true, Some(up)) = (split.earlier.contains(&row), rows.rose(row)) {
            member.learn(instrument, member.last_move(instrument), up);
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Span, tests::planted, tests::relabelled};
    use super::*;

    #[test]
    fn the_regression_finds_what_is_planted_and_the_base_rate_is_that_of_earlier_rows() {
        let rows = planted(3_000, 1.5, 7);
        let split = rows.split(Span::Share(0.5)).unwrap();
        let [base, persistence, logistic] = forecasts(&rows, &split).unwrap();
        let [ups, downs] = rows.classes(split.earlier.clone());
        let expected = (ups as f64 + 10.0) / ((ups + downs) as f64 + 20.0);
        assert!(base.iter().all(|p| (p - expected).abs() < 1e-12), "{} {expected}", base[0]);
        assert_eq!(persistence.len(), split.tested.len());
        for (row, p_up) in split.tested.clone().zip(&logistic) {
            let logit = 1.5 * f64::from(rows.features_of(row)[0]);
            let truth = 1.0 / (1.0 + (-logit).exp());
            assert!((p_up - truth).abs() < 0.12, "{p_up} against {truth}");
        }
    }

    #[test]
    fn what_happens_in_the_tested_span_changes_no_baseline() {
        let rows = planted(400, 1.5, 7);
        let split = rows.split(Span::Share(0.25)).unwrap();
        let other = relabelled(
            &rows,
            |row, at| {
                if row >= split.earlier.end { Some(true) } else { at.rose }
            },
        );
        assert_eq!(forecasts(&other, &split).unwrap(), forecasts(&rows, &split).unwrap());
    }
}
