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
pub fn forecasts(
    rows: &Rows,
    split: &Split,
    inputs: &[usize],
) -> Result<[Vec<f64>; BASELINES.len()], LogisticError> {
    let labelled = || split.earlier.clone().filter_map(|row| Some((row, rows.rose(row)?)));
    let mut base_rate = BaseRate::new();
    labelled().for_each(|(_, up)| base_rate.learn(up));

    let settings = LogisticConfig { memory: f64::INFINITY, ..LogisticConfig::new(inputs.len()) };
    let mut logistic = OnlineLogistic::new(settings)?;
    let overlap = horizon_cycles(rows.horizon_ms as i64, rows.cycle_ms as i64);
    let weight = 1.0 / overlap as f64;
    let mut shown = vec![0.0; inputs.len()];
    let show = |row: usize, shown: &mut [f32]| {
        for (to, place) in shown.iter_mut().zip(inputs) {
            *to = rows.features_of(row)[*place];
        }
    };
    for (row, up) in labelled() {
        show(row, &mut shown);
        logistic.learn(&shown, f64::from(u8::from(up)), weight);
    }
    let regression = split.tested.clone().map(|row| {
        show(row, &mut shown);
        logistic.predict(&shown)
    });
    let regression = regression.collect();
    let base = vec![base_rate.p_up(); split.tested.len()];
    Ok([base, persistence(rows, split, base_rate.p_up()), regression])
}

/// Before the first move of an instrument persistence says what the base rate says.
fn persistence(rows: &Rows, split: &Split, base_rate: f64) -> Vec<f64> {
    let mut member = Persistence::new(rows.instruments.len(), f64::INFINITY);
    let mut before: Vec<Option<(u32, u64)>> = vec![None; rows.instruments.len()];
    let mut answers = Vec::with_capacity(split.tested.len());
    for row in 0..split.tested.end {
        let info = &rows.infos()[row];
        let instrument = info.instrument as usize;
        if before[instrument] != Some((info.source, info.cycle.wrapping_sub(1))) {
            member.reset(instrument);
        }
        before[instrument] = Some((info.source, info.cycle));
        member.observe(instrument, info.mid_x2);
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
    use super::super::rows::{Span, tests::planted};
    use super::*;

    #[test]
    fn the_regression_finds_what_is_planted_and_the_base_rate_is_that_of_earlier_rows() {
        let rows = planted(3_000, 1.5, 7);
        let split = rows.split(Span::Share(0.5)).unwrap();
        let [base, persistence, logistic] = forecasts(&rows, &split, &[0, 1, 2]).unwrap();
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
        let before = forecasts(&rows, &split, &[0]).unwrap();
        let flipped: Vec<_> = rows
            .infos()
            .iter()
            .enumerate()
            .map(|(row, info)| {
                let mut info = *info;
                if row >= split.earlier.end {
                    info.outcome = purkinje_strategies::score::Outcome::Up;
                }
                info
            })
            .collect();
        let features: Vec<f32> =
            (0..flipped.len()).flat_map(|row| rows.features_of(row)).copied().collect();
        let other =
            Rows::new("x".into(), rows.instruments.clone(), [200, 100], &flipped, &features);
        assert_eq!(forecasts(&other.unwrap(), &split, &[0]).unwrap(), before);
    }
}
