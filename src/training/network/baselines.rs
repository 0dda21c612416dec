//! What a network has to beat: the base rate, persistence and a line through the same features.
//!
//! * *base rate*: how often moves went up.
//! * *persistence*: the next move goes on or bounces as the last one of the mid price did, as often as it
//!   was seen to for each instrument.
//! * *logistic*: the daemon's regression without forgetting, once over the rows in the order of time, each
//!   label counted as the share of it that does not overlap with others; it sees one row's features.
//!
//! Invariant: they learn from the rows they are given and from no others, and are frozen then.

use purkinje_kernels::logistic::{LogisticConfig, LogisticError, OnlineLogistic};
use purkinje_strategies::score::{BaseRate, Direction, Persistence};

use super::{samples::Samples, skill::Forecasts};
use crate::training::labelled_rows::LabelledRow;

/// Where each instrument's mid price last went, by row; none before it moved in its stream.
#[must_use]
pub fn last_moves(samples: &Samples) -> Vec<Option<Direction>> {
    let instruments = samples.rows().instruments().len();
    let mut persistence = Persistence::new(instruments, f64::INFINITY);
    let mut streams = vec![u32::MAX; instruments];
    let direction = |(row, stream): (&LabelledRow, &u32)| {
        let instrument = row.instrument as usize;
        if std::mem::replace(&mut streams[instrument], *stream) != *stream {
            persistence.reset(instrument);
        }
        persistence.observe(instrument, row.mid_x2);
        persistence.last_move(instrument)
    };
    samples.rows().rows().iter().zip(samples.streams()).map(direction).collect()
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Baselines {
    base_rate: f64,
    /// How often moves go on, by instrument.
    continues: Vec<BaseRate>,
    logistic: OnlineLogistic,
}

impl Baselines {
    /// Learns from the labelled ones of some rows, which are in the order of time.
    ///
    /// # Errors
    /// There are more features than the regression takes.
    pub fn learn(
        samples: &Samples,
        last_moves: &[Option<Direction>],
        rows: impl Iterator<Item = usize>,
    ) -> Result<Self, LogisticError> {
        let data = samples.rows();
        let config = LogisticConfig::new(data.feature_names().len());
        let mut logistic = OnlineLogistic::new(LogisticConfig { memory: f64::INFINITY, ..config })?;
        let weight = (data.cycle_ms as f64 / data.horizon_ms as f64).min(1.0);
        let mut continues = vec![BaseRate::new(); data.instruments().len()];
        let (mut up, mut all) = (0.0, 0.0);
        for row in rows {
            let Some(is_up) = samples.is_up(row) else { continue };
            let label = f64::from(u8::from(is_up));
            up += label;
            all += 1.0;
            logistic.learn(data.features_of(row), label, weight);
            if let Some(last) = last_moves[row] {
                let instrument = data.rows()[row].instrument as usize;
                continues[instrument].learn((last == Direction::Up) == is_up);
            }
        }
        let base_rate = if all > 0.0 { up / all } else { 0.5 };
        Ok(Self { base_rate, continues, logistic })
    }

    /// What they say of some rows.
    #[must_use]
    pub fn forecasts(
        &self,
        samples: &Samples,
        last_moves: &[Option<Direction>],
        rows: &[usize],
    ) -> Vec<Forecasts> {
        let data = samples.rows();
        let persistence = |row: &usize| {
            let p = self.continues[data.rows()[*row].instrument as usize].p_up();
            match last_moves[*row] {
                Some(Direction::Up) => p,
                Some(Direction::Down) => 1.0 - p,
                None => self.base_rate,
            }
        };
        let logistic = |row: &usize| self.logistic.predict(data.features_of(*row));
        let named = |name: &str, p_up| Forecasts { name: name.to_owned(), p_up };
        vec![
            named("base rate", vec![self.base_rate; rows.len()]),
            named("persistence", rows.iter().map(persistence).collect()),
            named("logistic", rows.iter().map(logistic).collect()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::labelled_rows::{LabelColumn, LabelledRows};

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
        let moves = last_moves(&samples);
        assert_eq!((moves[0], moves[1]), (None, None));
        let baselines = Baselines::learn(&samples, &moves, 0..2_000).unwrap();
        let found = baselines.forecasts(&samples, &moves, &[3_000, 3_001, 3_003]);
        // Of the first 2,000 rows, all of one instrument and half of the other went up.
        assert!((found[0].p_up[0] - 0.75).abs() < 1e-12, "{found:?}");
        let persistence = &found[1].p_up;
        assert!(persistence[0] > 0.98, "{found:?}");
        for (at, row) in [(1, 3_001), (2, 3_003)] {
            assert_eq!(persistence[at] > 0.5, samples.is_up(row).unwrap(), "{found:?}");
            assert!((persistence[at] - 0.5).abs() > 0.48, "{found:?}");
        }
        // The feature says it all.
        assert!(found[2].p_up[0] > 0.6 && found[2].p_up.iter().any(|p| *p < 0.4), "{found:?}");
        let nothing = Baselines::learn(&samples, &moves, 0..0).unwrap();
        let untaught = nothing.forecasts(&samples, &moves, &[3_000]);
        assert!(untaught.iter().all(|forecast| forecast.p_up == [0.5]), "{untaught:?}");
    }
}
