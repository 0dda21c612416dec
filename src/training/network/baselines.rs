//! The baselines of an evaluation, taught on rows of a training.

use purkinje_kernels::logistic::LogisticError;

use super::{samples::Samples, skill::Forecasts};
use crate::evaluation::baselines::{BASELINES, Baselines};

/// Baselines that know the labelled ones of some rows, which are in the order of time, and no others.
///
/// # Errors
/// There are more features than the regression takes.
pub fn learn(
    samples: &Samples,
    rows: impl Iterator<Item = usize>,
) -> Result<Baselines, LogisticError> {
    let data = samples.rows();
    let times_ms = [data.horizon_ms, data.cycle_ms];
    let mut baselines =
        Baselines::new(data.instruments().len(), data.feature_names().len(), times_ms)?;
    for row in rows {
        if let Some(up) = samples.is_up(row) {
            baselines.learn(&samples.seen(row), up);
        }
    }
    Ok(baselines)
}

/// What they say of some rows.
#[must_use]
pub fn forecasts(baselines: &Baselines, samples: &Samples, rows: &[usize]) -> Vec<Forecasts> {
    let mut all = BASELINES.map(|name| Forecasts { name: name.to_owned(), p_up: Vec::new() });
    for row in rows {
        for (of, p_up) in all.iter_mut().zip(baselines.forecast(&samples.seen(*row))) {
            of.p_up.push(p_up);
        }
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::labelled_rows::{LabelColumn, LabelledRow, LabelledRows};

    #[test]
    fn baselines_know_the_rows_they_are_given_and_no_others() {
        // Two instruments in turn: moves of the first go on, those of the second bounce.
        let rows = (0..4_000).map(|n| {
            let (instrument, cycle) = (n % 2, 1 + u64::from(n / 2));
            let (before, after) = match (instrument, cycle % 2) {
                (0, _) => (100 + cycle as i64, 1),
                (_, 1) => (101, -1),
                _ => (100, 1),
            };
            (instrument, cycle, before, after)
        });
        let rows = rows.map(|(instrument, cycle, mid_x2, label)| LabelledRow {
            instrument,
            cycle,
            ts_cycle_ns: cycle as i64 * 100,
            ts_label_ns: cycle as i64 * 100 + 1,
            mid_x2,
            move_bps: f64::from(label),
            mean_move_bps: f64::from(label),
            label: label as i8,
            mean_label: label as i8,
            oracle: f64::NAN,
        });
        let names = ["a", "b"].map(str::to_owned).to_vec();
        let rows = LabelledRows::of(names, 1, rows.map(|row| (row, vec![f32::from(row.label)])));
        let samples = Samples::new(rows, LabelColumn::Move);
        let baselines = learn(&samples, 0..2_000).unwrap();
        let found = forecasts(&baselines, &samples, &[3_000, 3_001, 3_003]);
        // Of the first 2,000 rows, all of one instrument and half of the other went up.
        assert!((found[0].p_up[0] - 0.75).abs() < 0.01, "{found:?}");
        let persistence = &found[1].p_up;
        assert!(persistence[0] > 0.98, "{found:?}");
        for (at, row) in [(1, 3_001), (2, 3_003)] {
            assert_eq!(persistence[at] > 0.5, samples.is_up(row).unwrap(), "{found:?}");
            assert!((persistence[at] - 0.5).abs() > 0.48, "{found:?}");
        }
        // The feature says it all.
        assert!(found[2].p_up[0] > 0.6 && found[2].p_up.iter().any(|p| *p < 0.4), "{found:?}");
        let untaught = forecasts(&learn(&samples, 0..0).unwrap(), &samples, &[3_000]);
        assert!(untaught.iter().all(|forecast| forecast.p_up == [0.5]), "{untaught:?}");
    }
}
