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

/// Where each instrument's mid price last went, by row; none before it moved in its stream.
#[must_use]
pub fn last_moves(samples: &Samples) -> Vec<Option<Direction>> {
    let instruments = samples.rows().instruments().len();
    let mut persistence = Persistence::new(instruments, f64::INFINITY);
    let mut streams = vec![u32::MAX; instruments];
    let direction = |(row, stream): (&crate::training::labelled_rows::LabelledRow, &u32)| {
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
