//! Rows for training: what the live members see in a cycle, and what the mid price had done one
//! horizon later.
//!
//! Features come from the engine of the daemon ([`Cycles`]) with the configured mask, labels by the
//! rule of the live forecaster ([`label`](crate::learning::label)): a row exists exactly where the
//! forecaster would have made a forecast and later learned its outcome. Invariants: a row's features
//! were known at its cycle; rows of one source leave in the order in which their labels became known;
//! memory is bounded by [`DatasetConfig::max_rows`] and one horizon of waiting rows per instrument.

use std::{ops::ControlFlow, path::PathBuf, sync::atomic::AtomicBool};

use purkinje_strategies::{features::N as FEATURES, score::Outcome};
use thiserror::Error;

use super::cycles::{Cycles, CyclesError, CyclesSummary};
use crate::{
    config::Loaded,
    learning::{
        label::{Age, Waiting, outcome, pending_slots},
        pending::Pending,
    },
    pipeline::batch::{CycleBatch, Status},
    run::spine::{RunError, feature_mask},
};

/// Bytes of a row in memory, roughly: what a bound of rows costs.
pub const ROW_BYTES: usize = 4 * FEATURES + size_of::<RowInfo>();

/// Why a data set cannot be made.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The material cannot be replayed.
    #[error(transparent)]
    Cycles(#[from] CyclesError),
    /// A feature name is unknown.
    #[error(transparent)]
    Features(#[from] RunError),
    /// The material has more rows than asked for.
    #[error(
        "{title}: more than {max_rows} rows, the bound of the data set (about {} MiB): name less \
         material or raise it", max_rows.saturating_mul(ROW_BYTES) >> 20
    )]
    TooManyRows {
        /// The material.
        title: String,
        /// The bound.
        max_rows: usize,
    },
}

/// Basis points from one price to another, given in one unit.
#[must_use]
pub fn move_bps(from: f64, to: f64) -> f64 {
    (to - from) / from * 1e4
}

/// One row without its features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowInfo {
    /// Which source of the data set, counted from 0.
    pub source: u32,
    /// Which instrument of the data set.
    pub instrument: u32,
    /// The cycle, counted from 1 within the source.
    pub cycle: u64,
    /// Its boundary, ns since the epoch.
    pub ts_cycle_ns: i64,
    /// The boundary of the cycle at which the label became known, ns.
    pub ts_label_ns: i64,
    /// What the mid price had done by then.
    pub outcome: Outcome,
    /// Best bid plus best offer at the cycle, as mantissas; 0 where a row has no price.
    pub mid_x2: i64,
    /// The same when the label became known.
    pub mid_label_x2: i64,
    /// Its mean over the cycles with a trustworthy price after the row's, up to the label's: the smoothed
    /// price of Ntakaris et al., J. Forecasting 37, 2018. NaN where a row has no price.
    pub mid_mean_x2: f64,
    /// The simulator's best achievable P(up | moves), NaN elsewhere. To score against only.
    pub oracle: f64,
}

/// Counters of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Instruments × cycles at which a forecast could be made.
    pub ready: u64,
    /// Instruments × cycles at which none could be made.
    pub not_ready: u64,
    /// Rows with a move.
    pub moved: u64,
    /// Rows without a move.
    pub unchanged: u64,
    /// Waiting rows discarded, because the book was lost or the clock jumped before their horizon.
    pub discarded: u64,
    /// Waiting rows displaced because too many were waiting.
    pub displaced: u64,
}

impl RowCounts {
    /// Rows whose horizon had not passed when the material ended.
    #[must_use]
    pub fn open(&self) -> u64 {
        let closed = self.moved + self.unchanged + self.discarded + self.displaced;
        self.ready.saturating_sub(closed)
    }
}

/// Cuts cycles into labelled rows; the streaming half of [`Dataset`].
#[derive(Debug)]
pub struct Labeller {
    horizon_ns: i64,
    mask: [bool; FEATURES],
    waiting: Vec<Pending<Made>>,
    mids: Vec<Mids>,
    counts: RowCounts,
    /// The masked features of one row.
    shown: [f32; FEATURES],
}

/// What waits for its label.
#[derive(Clone, Copy, Debug)]
struct Made {
    cycle: u64,
    ts_cycle_ns: i64,
    mid_x2: i64,
    mids: Mids,
    oracle: f64,
}

/// Trustworthy mid prices of an instrument so far.
#[derive(Clone, Copy, Debug, Default)]
struct Mids {
    cycles: u64,
    /// Of each best bid plus best offer.
    sum: i128,
}

impl Mids {
    fn add(&mut self, mid_x2: i64) {
        self.cycles += 1;
        self.sum += i128::from(mid_x2);
    }

    /// Mean of those since an earlier time; NaN if there are none.
    fn mean_since(&self, earlier: &Self) -> f64 {
        (self.sum - earlier.sum) as f64 / (self.cycles - earlier.cycles) as f64
    }
}

impl Labeller {
    /// For so many instruments, with the configured features, horizon and cycle.
    ///
    /// # Errors
    /// An unknown feature.
    pub fn new(loaded: &Loaded, instruments: usize) -> Result<Self, RunError> {
        let horizon_ns = loaded.strategy.horizon_ms as i64 * 1_000_000;
        let period_ns = i64::from(loaded.config.cycle.period_ms) * 1_000_000;
        let slots = pending_slots(horizon_ns, period_ns);
        Ok(Self {
            horizon_ns,
            mask: feature_mask(loaded)?,
            waiting: vec![Pending::new(slots, FEATURES); instruments],
            mids: vec![Mids::default(); instruments],
            counts: RowCounts::default(),
            shown: [0.0; FEATURES],
        })
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> RowCounts {
        self.counts
    }

    /// Takes one cycle; hands out the rows whose labels it makes known, instrument after instrument,
    /// with source 0 and the batch's number of the instrument.
    pub fn take(&mut self, batch: &CycleBatch, each: &mut impl FnMut(RowInfo, &[f32])) {
        let now_ns = batch.cut.ts_cycle_ns;
        for (instrument, row) in batch.rows.iter().enumerate() {
            match Waiting::on(row.status) {
                Waiting::Discard => {
                    self.counts.discarded += self.waiting[instrument].clear() as u64;
                }
                Waiting::Wait => {}
                Waiting::Judge => {
                    self.mids[instrument].add(row.mid_x2);
                    self.mature(instrument, now_ns, row.mid_x2, each);
                }
            }
            if row.status != Status::Ready {
                self.counts.not_ready += 1;
                continue;
            }
            let values = batch.features_of(instrument).iter().zip(&self.mask);
            for (to, (value, shown)) in self.shown.iter_mut().zip(values) {
                *to = if *shown { *value } else { 0.0 };
            }
            let made = Made {
                cycle: batch.cut.cycle,
                ts_cycle_ns: now_ns,
                mid_x2: row.mid_x2,
                mids: self.mids[instrument],
                oracle: row.oracle,
            };
            self.counts.ready += 1;
            let had_room = self.waiting[instrument].push(made, &self.shown);
            self.counts.displaced += u64::from(!had_room);
        }
    }

    fn mature(
        &mut self,
        instrument: usize,
        now_ns: i64,
        mid_x2: i64,
        each: &mut impl FnMut(RowInfo, &[f32]),
    ) {
        let waiting = &mut self.waiting[instrument];
        let mids = self.mids[instrument];
        while let Some((made, features)) = waiting.front() {
            match Age::of(made.ts_cycle_ns, now_ns, self.horizon_ns) {
                Age::Open => return,
                Age::Lost => self.counts.discarded += 1,
                Age::Due => {
                    let outcome = outcome(made.mid_x2, mid_x2);
                    let has_moved = outcome != Outcome::Unchanged;
                    self.counts.moved += u64::from(has_moved);
                    self.counts.unchanged += u64::from(!has_moved);
                    let info = RowInfo {
                        source: 0,
                        instrument: instrument as u32,
                        cycle: made.cycle,
                        ts_cycle_ns: made.ts_cycle_ns,
                        ts_label_ns: now_ns,
                        outcome,
                        mid_x2: made.mid_x2,
                        mid_label_x2: mid_x2,
                        mid_mean_x2: mids.mean_since(&made.mids),
                        oracle: made.oracle,
                    };
                    each(info, features);
                }
            }
            waiting.pop();
        }
    }
}

/// Bounds of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetConfig {
    /// Most rows kept, see [`ROW_BYTES`].
    pub max_rows: usize,
}

impl Default for DatasetConfig {
    /// Two million rows: about 600 MB, or 55 hours of one instrument at 100 ms.
    fn default() -> Self {
        Self { max_rows: 2_000_000 }
    }
}

/// What one source contributed.
#[derive(Clone, Debug)]
pub struct SourceSummary {
    /// What it is, in words.
    pub title: String,
    /// Rows and what became of the others.
    pub counts: RowCounts,
    /// Of the replay.
    pub cycles: CyclesSummary,
}

/// Labelled rows in memory.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    config: DatasetConfig,
    instruments: Vec<String>,
    sources: Vec<SourceSummary>,
    rows: Vec<RowInfo>,
    features: Vec<f32>,
}

impl Dataset {
    /// An empty one.
    #[must_use]
    pub fn new(config: DatasetConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Adds the rows of recordings of one session or of captures, replayed together from a fresh
    /// engine. Instruments of the same key are the same in all sources.
    ///
    /// # Errors
    /// The material cannot be replayed, or has more rows than there is room for; the data set is as it
    /// was then.
    pub fn add(
        &mut self,
        loaded: &Loaded,
        paths: &[PathBuf],
        stop: &AtomicBool,
    ) -> Result<&SourceSummary, DatasetError> {
        let cycles = Cycles::open(loaded, paths)?;
        let title = cycles.title().to_owned();
        let mut labeller = Labeller::new(loaded, cycles.table().len())?;
        let (rows_before, instruments_before) = (self.rows.len(), self.instruments.len());
        let keys: Vec<String> = cycles.table().iter().map(|(_, i)| i.key()).collect();
        let numbers: Vec<u32> = keys.into_iter().map(|key| self.number(key)).collect();
        let source = self.sources.len() as u32;
        let mut is_full = false;
        let outcome = cycles.run(stop, |batch| {
            labeller.take(batch, &mut |info, features| {
                is_full |= self.rows.len() == self.config.max_rows;
                if !is_full {
                    let instrument = numbers[info.instrument as usize];
                    self.rows.push(RowInfo { source, instrument, ..info });
                    self.features.extend_from_slice(features);
                }
            });
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let error = match outcome {
            Ok(cycles) if !is_full => {
                let counts = labeller.counts();
                self.sources.push(SourceSummary { title, counts, cycles });
                return Ok(&self.sources[source as usize]);
            }
            Ok(_) => DatasetError::TooManyRows { title, max_rows: self.config.max_rows },
            Err(error) => error.into(),
        };
        self.rows.truncate(rows_before);
        self.features.truncate(rows_before * FEATURES);
        self.instruments.truncate(instruments_before);
        Err(error)
    }

    /// The number of an instrument, which is given one if it is new.
    fn number(&mut self, key: String) -> u32 {
        let known = self.instruments.iter().position(|k| *k == key);
        known.unwrap_or_else(|| {
            self.instruments.push(key);
            self.instruments.len() - 1
        }) as u32
    }

    /// The keys (`venue:symbol`) of the instruments, in the order of their numbers.
    #[must_use]
    pub fn instruments(&self) -> &[String] {
        &self.instruments
    }

    /// What each source contributed.
    #[must_use]
    pub fn sources(&self) -> &[SourceSummary] {
        &self.sources
    }

    /// All rows without their features.
    #[must_use]
    pub fn rows(&self) -> &[RowInfo] {
        &self.rows
    }

    /// The features of a row, normalised, `[FEATURES]`; those that are not shown are 0.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn features_of(&self, row: usize) -> &[f32] {
        &self.features[row * FEATURES..][..FEATURES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Sources, load},
        pipeline::{batch::Row, input::Cut},
    };

    const CYCLE_NS: i64 = 100_000_000;

    fn loaded(sets: &[(&str, &str)]) -> Loaded {
        let sets = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sources = Sources { config_path: None, env: Vec::new(), sets, search: Vec::new() };
        load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// A market of one instrument, of which the status and the mid price of each cycle are told.
    fn rows_of(labeller: &mut Labeller, told: &[(i64, Status, i64)]) -> Vec<(u64, Outcome, f32)> {
        let mut batch = CycleBatch::new(1);
        let mut rows = Vec::new();
        for (cycle, status, mid_x2) in told {
            let ts_cycle_ns = cycle * CYCLE_NS;
            batch.cut = Cut { cycle: *cycle as u64, ts_cycle_ns, missed: 0 };
            batch.rows[0] = Row { status: *status, mid_x2: *mid_x2, ..Row::EMPTY };
            batch.features.fill(*cycle as f32);
            labeller.take(&batch, &mut |info, features| {
                assert_eq!(features[0], info.cycle as f32, "features of the row's own cycle");
                rows.push((info.cycle, info.outcome, features[1]));
            });
        }
        rows
    }

    #[test]
    fn rows_are_labelled_one_horizon_later_and_lost_with_the_book() {
        let loaded = loaded(&[("strategy.horizon_ms", "200")]);
        let mut labeller = Labeller::new(&loaded, 1).unwrap();
        let (ready, warming, crossed, lost) =
            (Status::Ready, Status::WarmingUp, Status::Crossed, Status::Unsynchronised);
        let rows = rows_of(
            &mut labeller,
            &[
                (1, warming, 50),
                (2, ready, 100),
                (3, ready, 100),
                (4, ready, 102), // 2 rose
                (5, crossed, 0), // 3 has to wait
                (6, ready, 99),  // 3 and 4 fell
                (7, ready, 90),
                (8, warming, 99), // 6 stood still
                (9, lost, 0),     // 7 is lost
                (10, ready, 10),
                (20, ready, 20), // 10 waited longer than two horizons
            ],
        );
        let outcomes: Vec<_> = rows.iter().map(|(cycle, outcome, _)| (*cycle, *outcome)).collect();
        let (up, down, same) = (Outcome::Up, Outcome::Down, Outcome::Unchanged);
        assert_eq!(outcomes, [(2, up), (3, down), (4, down), (6, same)]);
        let counts = labeller.counts();
        assert_eq!((counts.ready, counts.not_ready), (7, 4));
        assert_eq!((counts.moved, counts.unchanged, counts.discarded), (3, 1, 2));
        assert_eq!((counts.displaced, counts.open()), (0, 1));
    }

    #[test]
    fn features_that_are_not_shown_are_zero() {
        let name = purkinje_strategies::features::NAMES[0];
        let loaded = loaded(&[("strategy.features", &format!("[\"{name}\"]"))]);
        let mut labeller = Labeller::new(&loaded, 1).unwrap();
        let told: Vec<_> = (1..200).map(|cycle| (cycle, Status::Ready, 7)).collect();
        let rows = rows_of(&mut labeller, &told);
        assert!(rows.len() > 100);
        assert!(rows.iter().all(|(_, _, second)| *second == 0.0));
    }
}
