//! Forecast skill: several forecasters scored on exactly the same samples, as they mature.
//!
//! A sample is one cycle of one instrument whose horizon has passed: a probability of an up move
//! per forecaster (NaN where absent) and what happened. The scorecard adds the base rate itself, as
//! it was known when the forecast was made: a label counts towards it one horizon after its own
//! forecast.
//!
//! Invariants: samples before `warm_until_ns` teach the base rate and are not scored; unchanged
//! prices are counted and not scored; nothing looks ahead; labels that wait for their horizon are
//! bounded by [`PENDING_MAX`], and one that does not fit is dropped and counted. Samples come in
//! the order of `ts_cycle_ns`. Cost: O(columns) a sample, no allocation after construction.

mod base_rate;
mod column;
mod persistence;
mod reliability;
mod table;

use std::collections::VecDeque;

use thiserror::Error;

use self::column::{Column, log_loss};
use crate::calibrate::is_probability;

pub use base_rate::BaseRate;
pub use persistence::{Direction, Persistence};
pub use reliability::Reliability;

/// Most forecasters a scorecard holds beside the base rate.
pub const MAX_COLUMNS: usize = 24;
/// Most labels that wait for their horizon before they count towards the base rate: 64 instruments
/// at 100 ms cycles and a horizon of 100 s.
pub const PENDING_MAX: usize = 65_536;
/// Name of the column that the scorecard keeps itself.
const BASE_RATE: &str = "base rate";

/// What the mid price had done when the horizon had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It had risen.
    Up,
    /// It had fallen.
    Down,
    /// It stood where it was: no label.
    Unchanged,
}

/// One matured cycle of one instrument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When the forecasts were made, in nanoseconds since the epoch.
    pub ts_cycle_ns: i64,
    /// What happened.
    pub outcome: Outcome,
    /// P(up) by column, in the order given to [`Scorecard::new`]; NaN where absent.
    pub p_up: [f64; MAX_COLUMNS],
}

impl Sample {
    /// A sample in which every forecaster is absent.
    #[must_use]
    pub fn new(ts_cycle_ns: i64, outcome: Outcome) -> Self {
        Self { ts_cycle_ns, outcome, p_up: [f64::NAN; MAX_COLUMNS] }
    }
}

/// The times a scorecard needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreConfig {
    /// Time between two samples of one instrument, in nanoseconds.
    pub cycle_ns: i64,
    /// Time from forecast to label, in nanoseconds; at least `cycle_ns`.
    pub horizon_ns: i64,
    /// Samples before this are not scored, in nanoseconds since the epoch.
    pub warm_until_ns: i64,
}

/// A refused scorecard.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ScoreError {
    /// Too many forecasters.
    #[error("{columns} forecasters to score, expected at most {MAX_COLUMNS}")]
    Columns {
        /// Forecasters asked for.
        columns: usize,
    },
    /// The oracle is not one of the columns.
    #[error("the oracle is column {oracle}, expected under {columns}")]
    Oracle {
        /// Column named.
        oracle: usize,
        /// Columns there are.
        columns: usize,
    },
    /// The horizon and the cycle do not fit together.
    #[error(
        "a horizon of {horizon_ns} ns and a cycle of {cycle_ns} ns, expected 0 < cycle <= horizon"
    )]
    Times {
        /// Cycle given.
        cycle_ns: i64,
        /// Horizon given.
        horizon_ns: i64,
    },
}

/// Skill of one forecaster so far. Means are over the samples on which it was present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skill<'a> {
    /// The forecaster.
    pub name: &'a str,
    /// Labelled samples on which it was present.
    pub n: u64,
    /// `n` · cycle / horizon: the number of labels that do not overlap.
    pub n_independent: f64,
    /// Share on the right side of 0.5; exactly 0.5 counts half.
    pub hit_rate: f64,
    /// Mean squared error of P(up).
    pub brier: f64,
    /// Mean log loss, in nats.
    pub log_loss: f64,
    /// Expected calibration error over ten bins.
    pub ece: f64,
    /// Log loss of the base rate less its own on the same samples, in nats.
    pub gain: f64,
    /// Standard error of `gain`, from horizon-long blocks; NaN before two blocks.
    pub gain_se: f64,
    /// Its gain over that of the oracle on the same samples; NaN without an oracle whose own gain is
    /// more than two standard errors, because the share of nothing is noise.
    pub oracle_share: f64,
    /// Forecasts so near to 0 or 1 that the log loss was clipped.
    pub clipped: u64,
    /// Forecasts that were neither a probability nor NaN; treated as absent.
    pub invalid: u64,
}

/// Streaming comparison of named forecasters.
#[derive(Clone, Debug)]
pub struct Scorecard {
    config: ScoreConfig,
    names: Box<[String]>,
    oracle: Option<usize>,
    columns: Box<[Column]>,
    base: Column,
    base_rate: BaseRate,
    /// Labels whose horizon has not passed: when it does, and the label.
    pending: VecDeque<(i64, bool)>,
    dropped_pending: u64,
    labelled: u64,
    unchanged: u64,
    warming_up: u64,
}

impl Scorecard {
    /// An empty scorecard for the named forecasters, one of which may be the oracle.
    ///
    /// # Errors
    /// When there are too many, the oracle is not one of them, or the times do not fit.
    pub fn new(
        config: ScoreConfig,
        names: &[&str],
        oracle: Option<usize>,
    ) -> Result<Self, ScoreError> {
        let columns = names.len();
        if columns > MAX_COLUMNS {
            return Err(ScoreError::Columns { columns });
        }
        if let Some(oracle) = oracle.filter(|o| *o >= columns) {
            return Err(ScoreError::Oracle { oracle, columns });
        }
        let ScoreConfig { cycle_ns, horizon_ns, .. } = config;
        if cycle_ns <= 0 || horizon_ns < cycle_ns {
            return Err(ScoreError::Times { cycle_ns, horizon_ns });
        }
        Ok(Self {
            config,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            oracle,
            columns: vec![Column::default(); columns].into_boxed_slice(),
            base: Column::default(),
            base_rate: BaseRate::new(),
            pending: VecDeque::with_capacity(PENDING_MAX),
            dropped_pending: 0,
            labelled: 0,
            unchanged: 0,
            warming_up: 0,
        })
    }

    /// Moves the end of the warm-up; for runs whose first cycle is not known beforehand.
    pub fn warm_until(&mut self, ts_ns: i64) {
        self.config.warm_until_ns = ts_ns;
    }

    /// Scores one matured sample.
    pub fn record(&mut self, sample: &Sample) {
        self.mature_until(sample.ts_cycle_ns);
        let warm = sample.ts_cycle_ns >= self.config.warm_until_ns;
        self.warming_up += u64::from(!warm);
        let up = match sample.outcome {
            Outcome::Unchanged => {
                self.unchanged += u64::from(warm);
                return;
            }
            Outcome::Up => true,
            Outcome::Down => false,
        };
        if warm {
            self.labelled += 1;
            self.score(sample, up);
        }
        if self.pending.len() < PENDING_MAX {
            let matures_ns = sample.ts_cycle_ns.saturating_add(self.config.horizon_ns);
            self.pending.push_back((matures_ns, up));
        } else {
            self.dropped_pending += 1;
        }
    }

    /// Moves labels that were known at `ts_cycle_ns` into the base rate.
    fn mature_until(&mut self, ts_cycle_ns: i64) {
        while let Some(&(matures_ns, up)) = self.pending.front() {
            if matures_ns > ts_cycle_ns {
                break;
            }
            self.base_rate.learn(up);
            self.pending.pop_front();
        }
    }

    fn score(&mut self, sample: &Sample, up: bool) {
        let block = sample.ts_cycle_ns.div_euclid(self.config.horizon_ns);
        let base_p = self.base_rate.p_up();
        let (base_loss, _) = log_loss(base_p, up);
        self.base.add(base_p, up, base_loss, block);

        let oracle_p = self.oracle.map(|o| sample.p_up[o]).filter(|p| is_probability(*p));
        let oracle_gain = oracle_p.map(|p| base_loss - log_loss(p, up).0);
        for (column, &p_up) in self.columns.iter_mut().zip(&sample.p_up) {
            if is_probability(p_up) {
                column.add(p_up, up, base_loss, block);
                if let Some(oracle_gain) = oracle_gain {
                    column.add_beside_oracle(base_loss - log_loss(p_up, up).0, oracle_gain);
                }
            } else {
                column.invalid += u64::from(!p_up.is_nan());
            }
        }
    }

    /// Skill of the base rate, then of every forecaster in the order given.
    pub fn skills(&self) -> impl Iterator<Item = Skill<'_>> {
        let columns = self.names.iter().zip(&self.columns).map(|(n, c)| self.skill(n, c));
        std::iter::once(self.skill(BASE_RATE, &self.base)).chain(columns)
    }

    fn skill<'a>(&self, name: &'a str, column: &Column) -> Skill<'a> {
        Skill {
            name,
            n: column.count,
            n_independent: self.independent(column.count),
            hit_rate: column.hit_rate(),
            brier: column.brier(),
            log_loss: column.log_loss(),
            ece: column.reliability.expected_error(),
            gain: column.gain(),
            gain_se: column.gain_se(),
            oracle_share: if self.oracle_gains() { column.oracle_share() } else { f64::NAN },
            clipped: column.clipped,
            invalid: column.invalid,
        }
    }

    /// Whether there is something for the oracle to see; taken as so before an error is known.
    fn oracle_gains(&self) -> bool {
        let Some(oracle) = self.oracle.and_then(|at| self.columns.get(at)) else { return false };
        let (gain, error) = (oracle.gain(), oracle.gain_se());
        gain > 0.0 && (error.is_nan() || gain > 2.0 * error)
    }

    fn independent(&self, count: u64) -> f64 {
        count as f64 * self.config.cycle_ns as f64 / self.config.horizon_ns as f64
    }

    /// Scored samples in which the price moved.
    #[must_use]
    pub fn labelled(&self) -> u64 {
        self.labelled
    }

    /// Samples after the warm-up in which it did not.
    #[must_use]
    pub fn unchanged(&self) -> u64 {
        self.unchanged
    }

    /// Samples that fell into the warm-up, labelled or not.
    #[must_use]
    pub fn warming_up(&self) -> u64 {
        self.warming_up
    }

    /// Labels that never reached the base rate because [`PENDING_MAX`] others were waiting.
    #[must_use]
    pub fn dropped_pending(&self) -> u64 {
        self.dropped_pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLE_NS: i64 = 100_000_000;
    const CONFIG: ScoreConfig =
        ScoreConfig { cycle_ns: CYCLE_NS, horizon_ns: 10 * CYCLE_NS, warm_until_ns: 0 };

    fn sample(cycle: i64, up: bool, p_up: &[f64]) -> Sample {
        let outcome = if up { Outcome::Up } else { Outcome::Down };
        let mut sample = Sample::new(cycle * CYCLE_NS, outcome);
        sample.p_up[..p_up.len()].copy_from_slice(p_up);
        sample
    }

    #[test]
    fn the_share_of_the_oracle_is_computed_on_common_samples() {
        let mut card = Scorecard::new(CONFIG, &["model", "oracle"], Some(1)).unwrap();
        // Every 20 cycles: long enough that the base rate is a constant 1/2 of balanced labels.
        for i in 0..4_000i64 {
            let state = i % 2 == 0; // the oracle says 0.8 or 0.2, and is right four times in five
            let up = state == (i / 2 % 5 != 0);
            let oracle = if state { 0.8 } else { 0.2 };
            let model = if state { 0.7 } else { 0.3 };
            // Where the oracle is absent the model counts for itself and not for the share.
            let oracle = if i % 7 == 0 { f64::NAN } else { oracle };
            card.record(&sample(20 * i, up, &[model, oracle]));
        }
        let [base, model, oracle] = card.skills().collect::<Vec<_>>()[..] else { panic!() };
        let entropy = |p: f64, q: f64| -(p * q.ln() + (1.0 - p) * (1.0 - q).ln());
        assert!((base.log_loss - std::f64::consts::LN_2).abs() < 1e-3);
        assert!((model.log_loss - entropy(0.8, 0.7)).abs() < 1e-3);
        assert!((oracle.log_loss - entropy(0.8, 0.8)).abs() < 2e-3);
        assert!((model.hit_rate - 0.8).abs() < 1e-3);
        assert!((model.brier - (0.8 * 0.09 + 0.2 * 0.49)).abs() < 1e-3);
        assert!((model.ece - 0.1).abs() < 1e-3 && oracle.ece < 0.002);
        let ln_2 = std::f64::consts::LN_2;
        let share = (ln_2 - entropy(0.8, 0.7)) / (ln_2 - entropy(0.8, 0.8));
        assert!((model.oracle_share - share).abs() < 0.005, "{}", model.oracle_share);
        assert!((oracle.oracle_share - 1.0).abs() < 1e-12);
        assert_eq!((base.oracle_share.is_nan(), base.gain), (true, 0.0));
        assert_eq!((model.n, oracle.n), (4_000, 4_000 - 572));
        assert_eq!(model.n_independent, 400.0);
    }

    #[test]
    fn there_is_no_share_of_an_oracle_that_sees_nothing() {
        let mut card = Scorecard::new(CONFIG, &["model", "oracle"], Some(1)).unwrap();
        let mut state = 1u64;
        for i in 0..4_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            card.record(&sample(i, state >> 63 == 1, &[0.5, 0.5]));
        }
        assert!(card.skills().all(|skill| skill.oracle_share.is_nan()));
    }

    #[test]
    fn the_base_rate_knows_a_label_only_when_its_horizon_has_passed() {
        let mut card = Scorecard::new(CONFIG, &[], None).unwrap();
        for i in 0..10 {
            card.record(&sample(i, true, &[]));
        }
        // Ten labels, none known before cycle 10: every forecast was exactly 1/2.
        let loss = card.skills().next().unwrap().log_loss;
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(card.base_rate.p_up(), 0.5);
        card.record(&sample(10, true, &[]));
        assert!((card.base_rate.p_up() - 11.0 / 21.0).abs() < 1e-12);
    }

    #[test]
    fn warm_up_and_unchanged_samples_are_counted_and_not_scored() {
        let config = ScoreConfig { warm_until_ns: 5 * CYCLE_NS, ..CONFIG };
        let mut card = Scorecard::new(config, &["model"], None).unwrap();
        for i in 0..20 {
            let mut now = sample(i, true, &[0.9]);
            if i % 2 == 1 {
                now.outcome = Outcome::Unchanged;
            }
            card.record(&now);
        }
        assert_eq!((card.warming_up(), card.unchanged(), card.labelled()), (5, 8, 7));
        assert!(card.skills().all(|skill| skill.n == 7));
    }

    #[test]
    fn an_absent_or_invalid_forecast_is_left_out_of_its_own_column_only() {
        let mut card = Scorecard::new(CONFIG, &["a", "b"], None).unwrap();
        for (i, a) in [0.7, f64::NAN, 1.5, f64::NEG_INFINITY, 0.7].into_iter().enumerate() {
            card.record(&sample(i as i64, true, &[a, 0.6]));
        }
        let skills: Vec<_> = card.skills().collect();
        assert_eq!((skills[1].n, skills[1].invalid), (2, 2));
        assert_eq!((skills[2].n, skills[2].invalid), (5, 0));
        assert!((skills[1].log_loss + 0.7f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_wait_for_the_horizon_is_bounded_and_counted() {
        let mut card = Scorecard::new(CONFIG, &[], None).unwrap();
        for _ in 0..PENDING_MAX + 3 {
            card.record(&sample(0, true, &[]));
        }
        assert_eq!(card.dropped_pending(), 3);
        assert_eq!(card.pending.len(), PENDING_MAX);
    }

    #[test]
    fn bad_scorecards_are_refused() {
        let new = |config, names: &[&str], oracle| Scorecard::new(config, names, oracle).err();
        assert_eq!(new(CONFIG, &["x"; 25], None), Some(ScoreError::Columns { columns: 25 }));
        assert_eq!(
            new(CONFIG, &["x"], Some(1)),
            Some(ScoreError::Oracle { oracle: 1, columns: 1 })
        );
        for (cycle_ns, horizon_ns) in [(0, 10), (20, 10), (-5, 5)] {
            let config = ScoreConfig { cycle_ns, horizon_ns, ..CONFIG };
            assert_eq!(new(config, &[], None), Some(ScoreError::Times { cycle_ns, horizon_ns }));
        }
    }
}
