//! The forecasters that a network has to beat.
//!
//! * base rate: how often the price rose, whatever the features;
//! * persistence: the last move of the instrument's mid price goes on or bounces, as often as it did; the
//!   base rate before the first move of a stream;
//! * logistic regression: the daemon's, without forgetting, on the network's own inputs at one row, each
//!   label worth one over the number of labels that overlap it.
//!
//! Invariants: they learn from the rows that they are taught, once and in that order, and from no others; a
//! forecast teaches nothing.

use purkinje_kernels::logistic::{LogisticConfig, LogisticError, OnlineLogistic};
use purkinje_strategies::score::{BaseRate, Direction, Persistence};

use super::rows::{Rows, Split};
use crate::learning::label::horizon_cycles;

/// Names, in the order of [`Baselines::forecast`].
pub const BASELINES: [&str; 3] = ["base rate", "persistence", REGRESSION];

/// Name of the baseline that sees what a network sees.
pub const REGRESSION: &str = "logistic regression";

/// What is known when a forecast is made.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Number of the instrument.
    pub instrument: usize,
    /// Where its mid price last went; see [`LastMoves`].
    pub last_move: Option<Direction>,
    /// Inputs of the regression.
    pub features: &'a [f32],
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Baselines {
    base_rate: BaseRate,
    /// How often moves go on, by instrument.
    continues: Vec<BaseRate>,
    logistic: OnlineLogistic,
    label_weight: f64,
}

impl Baselines {
    /// Untaught: all odds are even. The two times say how many labels of an instrument overlap.
    ///
    /// # Errors
    /// There are more inputs than the regression takes, or none.
    pub fn new(
        instruments: usize,
        inputs: usize,
        [horizon_ms, cycle_ms]: [u64; 2],
    ) -> Result<Self, LogisticError> {
        let config = LogisticConfig { memory: f64::INFINITY, ..LogisticConfig::new(inputs) };
        Ok(Self {
            base_rate: BaseRate::new(),
            continues: vec![BaseRate::new(); instruments],
            logistic: OnlineLogistic::new(config)?,
            label_weight: 1.0 / horizon_cycles(horizon_ms as i64, cycle_ms as i64) as f64,
        })
    }

    /// Learns what became of a row.
    ///
    /// # Panics
    /// Where there is no such instrument.
    pub fn learn(&mut self, seen: &Seen<'_>, up: bool) {
        self.base_rate.learn(up);
        if let Some(last) = seen.last_move {
            self.continues[seen.instrument].learn((last == Direction::Up) == up);
        }
        self.logistic.learn(seen.features, f64::from(u8::from(up)), self.label_weight);
    }

    /// P(up) by each of [`BASELINES`].
    ///
    /// # Panics
    /// Where there is no such instrument.
    #[must_use]
    pub fn forecast(&self, seen: &Seen<'_>) -> [f64; BASELINES.len()] {
        let base_rate = self.base_rate.p_up();
        let continues = self.continues[seen.instrument].p_up();
        let persistence = match seen.last_move {
            Some(Direction::Up) => continues,
            Some(Direction::Down) => 1.0 - continues,
            None => base_rate,
        };
        [base_rate, persistence, self.logistic.predict(seen.features)]
    }
}

/// Where the mid price of each instrument last went in its stream.
#[derive(Clone, Debug)]
pub struct LastMoves {
    persistence: Persistence,
    /// Of each instrument; none before its first row.
    streams: Vec<Option<u32>>,
}

impl LastMoves {
    /// Before the first row.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        let persistence = Persistence::new(instruments, f64::INFINITY);
        Self { persistence, streams: vec![None; instruments] }
    }

    /// Takes the next row of an instrument, which is of a
    /// [stream](crate::training::labelled_rows::LabelledRows::streams), and answers where its mid price last
    /// went in it; none before it moved.
    ///
    /// # Panics
    /// Where there is no such instrument.
    pub fn observe(&mut self, instrument: usize, stream: u32, mid_x2: i64) -> Option<Direction> {
        if self.streams[instrument].replace(stream) != Some(stream) {
            self.persistence.reset(instrument);
        }
        self.persistence.observe(instrument, mid_x2);
        self.persistence.last_move(instrument)
    }
}

/// P(up) of every tested row by each of [`BASELINES`], taught on the earlier rows and then frozen.
///
/// # Errors
/// The regression refuses the number of inputs.
pub fn forecasts(rows: &Rows, split: &Split) -> Result<[Vec<f64>; BASELINES.len()], LogisticError> {
    let data = rows.data();
    let (instruments, times_ms) = (data.instruments().len(), [data.horizon_ms, data.cycle_ms]);
    let mut baselines = Baselines::new(instruments, rows.inputs().len(), times_ms)?;
    let mut last_moves = LastMoves::new(instruments);
    let mut answers = BASELINES.map(|_| Vec::with_capacity(split.tested.len()));
    for (row, at) in rows.rows()[..split.tested.end].iter().enumerate() {
        let instrument = at.instrument as usize;
        let last_move = last_moves.observe(instrument, rows.streams()[row], at.mid_x2);
        let seen = Seen { instrument, last_move, features: rows.features_of(row) };
        if split.tested.contains(&row) {
            for (answers, p_up) in answers.iter_mut().zip(baselines.forecast(&seen)) {
                answers.push(p_up);
            }
        } else if let (true, Some(up)) = (split.earlier.contains(&row), rows.rose(row)) {
            baselines.learn(&seen, up);
        }
    }
    Ok(answers)
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
    fn the_last_move_is_that_of_the_stream() {
        let mut moves = LastMoves::new(2);
        for (instrument, stream, mid_x2, expected) in [
            (0, 0, 100, None),
            (1, 1, 50, None),
            (0, 0, 101, Some(Direction::Up)),
            (1, 1, 49, Some(Direction::Down)),
            (0, 0, 101, Some(Direction::Up)),
            (1, 2, 60, None),
            (1, 2, 61, Some(Direction::Up)),
            (0, 0, 100, Some(Direction::Down)),
        ] {
            let found = moves.observe(instrument, stream, mid_x2);
            assert_eq!(found, expected, "instrument {instrument}, mid {mid_x2}");
        }
    }

    #[test]
    fn what_happens_in_the_tested_span_changes_no_baseline() {
        let rows = planted(400, 1.5, 7);
        let split = rows.split(Span::Share(0.25)).unwrap();
        let other =
            relabelled(&rows, |row, rose| if row >= split.earlier.end { Some(true) } else { rose });
        assert_eq!(forecasts(&other, &split).unwrap(), forecasts(&rows, &split).unwrap());
    }
}
