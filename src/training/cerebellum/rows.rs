//! The rows that a cerebellum learns from: inputs, times, targets and weights, from recordings or
//! from examples.
//!
//! A target is the probability that the price rises given that it moves: 1 up, 0 down. A recorded row
//! without a move teaches nothing, as it does live, yet is played; an example of `HOLD` asks for 1/2.
//! Invariants: inputs are finite; rows played together (a [`Part`]'s tick) are of different
//! instruments and of one cycle; a scale, where one is needed, is learned from the training part alone.

use purkinje_kernels::cerebellum::CerebellumConfig;
use purkinje_strategies::{features::NAMES, score::Outcome};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::model::{Input, InputKind, live_inputs};
use crate::{
    config::Loaded,
    learning::{forecaster::leaning, label::pending_slots},
    run::spine::{RunError, cerebellum_config, hex},
    signals::Action,
    training::{
        dataset::{Dataset, RowInfo},
        import::Examples,
        split::{Split, SplitConfig, SplitError, split_by_time},
    },
};

/// Examples at one time that are taken for different instruments: a file names none.
const MAX_AT_ONCE: usize = 1_024;

/// Why there are no rows to train on.
#[derive(Debug, Error)]
pub enum RowsError {
    /// A feature name is unknown.
    #[error(transparent)]
    Features(#[from] RunError),
    /// The rows cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The examples have no inputs.
    #[error("the examples have no features, expected at least one")]
    NoInputs,
    /// Too many examples share a time.
    #[error("more than {MAX_AT_ONCE} examples at {timestamp_ns} ns, the bound of one time")]
    AtOnce {
        /// The time.
        timestamp_ns: i64,
    },
}

/// One row's part of the task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// P(up | moves) that the row asks for; none teaches nothing.
    pub target: Option<f32>,
    /// How much it counts.
    pub weight: f32,
}

/// Rows by index, tick after tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    order: Vec<u32>,
    ends: Vec<usize>,
}

impl Part {
    /// All rows in the order in which they are played.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.order
    }

    /// The rows of each tick.
    pub fn ticks(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| &self.order[from..*to])
    }
}

/// All rows and their parts.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What each input is.
    pub inputs: Vec<Input>,
    /// Instruments that the rows are of.
    pub instruments: usize,
    /// The cerebellum that they train.
    pub circuit: CerebellumConfig,
    /// To learn from.
    pub train: Part,
    /// To stop by.
    pub validation: Part,
    /// To judge at the end.
    pub test: Part,
    /// Rows in none of them.
    pub purged: usize,
    /// Missing or NaN values, taken for 0.
    pub absent: u64,
    infos: Vec<RowInfo>,
    tasks: Vec<Task>,
    features: Vec<f32>,
}

impl Rows {
    /// The rows of a data set, as the daemon's cerebellum sees them.
    ///
    /// # Errors
    /// A feature is unknown, or a part would be empty.
    pub fn of_dataset(
        loaded: &Loaded,
        dataset: &Dataset,
        validation: f64,
        test: f64,
    ) -> Result<Self, RowsError> {
        let infos = dataset.rows().to_vec();
        let split = split_by_time(&infos, &SplitConfig::new(validation, test))?;
        let tasks = infos.iter().map(|info| Task {
            target: match info.outcome {
                Outcome::Up => Some(1.0),
                Outcome::Down => Some(0.0),
                Outcome::Unchanged => None,
            },
            weight: 1.0,
        });
        let features = (0..infos.len())
            .flat_map(|row| leaning().map(move |k| dataset.features_of(row)[k]))
            .collect();
        let tasks = tasks.collect();
        let inputs = live_inputs(loaded)?;
        let mut rows = Self::new(loaded, inputs, infos, tasks, features, &split);
        // Rows of overlapping sources are played in turn, so that more cycles lie within a horizon.
        rows.circuit.pending_cycles *= dataset.sources().len().max(1);
        Ok(rows)
    }

    /// The rows of imported examples. Where every feature has the name of one of the daemon's that
    /// lean to a side, values are taken for that feature's and the others are 0; otherwise the
    /// network's inputs are the file's, on the scale of the training part.
    ///
    /// # Errors
    /// There are no features, too many examples at one time, or a part would be empty.
    pub fn of_examples(
        loaded: &Loaded,
        examples: &Examples,
        validation: f64,
        test: f64,
    ) -> Result<Self, RowsError> {
        if examples.width == 0 {
            return Err(RowsError::NoInputs);
        }
        let horizon_ns = loaded.strategy.horizon_ms as i64 * 1_000_000;
        let mut infos: Vec<RowInfo> = Vec::with_capacity(examples.examples.len());
        for (k, example) in examples.examples.iter().enumerate() {
            let before = infos.last().filter(|i| i.ts_cycle_ns == example.timestamp_ns);
            let instrument = before.map_or(0, |info| info.instrument + 1);
            if instrument as usize == MAX_AT_ONCE {
                return Err(RowsError::AtOnce { timestamp_ns: example.timestamp_ns });
            }
            infos.push(RowInfo {
                source: 0,
                instrument,
                cycle: k as u64 + 1,
                ts_cycle_ns: example.timestamp_ns,
                ts_label_ns: example.timestamp_ns.saturating_add(horizon_ns),
                outcome: match example.action {
                    Action::Buy => Outcome::Up,
                    Action::Sell => Outcome::Down,
                    Action::Hold => Outcome::Unchanged,
                },
                mid_x2: 0,
                mid_label_x2: 0,
                mid_mean_x2: f64::NAN,
                oracle: f64::NAN,
            });
        }
        let tasks = examples.examples.iter().map(|example| Task {
            target: Some(match example.action {
                Action::Buy => 1.0,
                Action::Sell => 0.0,
                Action::Hold => 0.5,
            }),
            weight: example.weight,
        });
        let split = split_by_time(&infos, &SplitConfig { validation, test, window_ns: 0 })?;
        let live: Option<Vec<usize>> = (examples.names.len() == examples.width)
            .then(|| {
                let place = |name: &String| leaning().position(|k| NAMES[k] == name.as_str());
                examples.names.iter().map(place).collect()
            })
            .flatten();
        let given = examples.features.chunks_exact(examples.width);
        let (inputs, features) = if let Some(places) = live {
            let mut inputs = live_inputs(loaded)?;
            for (k, input) in inputs.iter_mut().enumerate() {
                let kind = if places.contains(&k) { InputKind::Live } else { InputKind::Hidden };
                input.kind = kind;
            }
            let mut features = vec![0.0; infos.len() * inputs.len()];
            for (to, from) in features.chunks_exact_mut(inputs.len()).zip(given) {
                places.iter().zip(from).for_each(|(place, value)| to[*place] = *value);
            }
            (inputs, features)
        } else {
            let name = |k: usize| match examples.names.get(k) {
                Some(name) => name.clone(),
                None => format!("[{k}]"),
            };
            let kind = InputKind::Standardised;
            let input = |k| Input { name: name(k), kind };
            let inputs: Vec<Input> = (0..examples.width).map(input).collect();
            let mut features = examples.features.clone();
            standardise(&mut features, examples.width, &split.train);
            (inputs, features)
        };
        let tasks = tasks.collect();
        let mut rows = Self::new(loaded, inputs, infos, tasks, features, &split);
        // Examples may lie far closer than cycles: every one within a horizon has to be remembered.
        rows.circuit.pending_cycles = rows.most_pending();
        Ok(rows)
    }

    fn new(
        loaded: &Loaded,
        inputs: Vec<Input>,
        infos: Vec<RowInfo>,
        tasks: Vec<Task>,
        mut features: Vec<f32>,
        split: &Split,
    ) -> Self {
        let mut absent = 0;
        for value in features.iter_mut().filter(|value| !value.is_finite()) {
            absent += 1;
            *value = 0.0;
        }
        let instruments = infos.iter().map(|info| info.instrument as usize + 1).max().unwrap_or(1);
        let circuit = CerebellumConfig {
            features: inputs.len(),
            // One set of weights is what a checkpoint holds.
            shared_weights: true,
            ..cerebellum_config(loaded, instruments)
        };
        let part = |rows: &[u32]| {
            let mut order = rows.to_vec();
            let key = |row: u32| {
                let info: &RowInfo = &infos[row as usize];
                (info.ts_cycle_ns, info.source, info.instrument)
            };
            order.sort_by_key(|row| key(*row));
            let mut ends: Vec<usize> = Vec::new();
            for k in 1..=order.len() {
                let is_last = k == order.len();
                let (a, b) = (key(order[k - 1]), key(order[k.min(order.len() - 1)]));
                if is_last || (a.0, a.1) != (b.0, b.1) {
                    ends.push(k);
                }
            }
            Part { order, ends }
        };
        Self {
            train: part(&split.train),
            validation: part(&split.validation),
            test: part(&split.test),
            purged: split.purged,
            absent,
            inputs,
            instruments,
            circuit,
            infos,
            tasks,
            features,
        }
    }

    /// Most ticks of the training part that lie within a horizon.
    fn most_pending(&self) -> usize {
        let times: Vec<(i64, i64)> = self
            .train
            .ticks()
            .filter_map(|rows| rows.first())
            .map(|row| (self.info(*row).ts_cycle_ns, self.info(*row).ts_label_ns))
            .collect();
        let mut most = 1;
        let mut next = 0;
        for (k, (_, label_ns)) in times.iter().enumerate() {
            while times.get(next).is_some_and(|(time_ns, _)| time_ns <= label_ns) {
                next += 1;
            }
            most = most.max(next - k);
        }
        most + pending_slots(1, 1)
    }

    /// When and of what a row is.
    #[must_use]
    pub fn info(&self, row: u32) -> &RowInfo {
        &self.infos[row as usize]
    }

    /// What a row asks for.
    #[must_use]
    pub fn task(&self, row: u32) -> Task {
        self.tasks[row as usize]
    }

    /// The inputs of a row.
    #[must_use]
    pub fn features(&self, row: u32) -> &[f32] {
        let width = self.inputs.len();
        &self.features[row as usize * width..][..width]
    }

    /// SHA-256 over all that training reads of the rows, 64 hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.train, &self.validation, &self.test] {
            hash.update((part.order.len() as u64).to_le_bytes());
            for row in &part.order {
                let (info, task) = (self.info(*row), self.task(*row));
                hash.update(info.ts_cycle_ns.to_le_bytes());
                hash.update(info.ts_label_ns.to_le_bytes());
                hash.update(info.instrument.to_le_bytes());
                hash.update(task.target.unwrap_or(-1.0).to_le_bytes());
                hash.update(task.weight.to_le_bytes());
                self.features(*row).iter().for_each(|value| hash.update(value.to_le_bytes()));
            }
        }
        hex(&hash.finalize())
    }
}

/// Takes every column to mean 0 and standard deviation 1 over the given rows; NaN is left out. A
/// column that does not vary becomes 0.
fn standardise(features: &mut [f32], width: usize, rows: &[u32]) {
    for column in 0..width {
        let values = || {
            let all = rows.iter().map(|row| f64::from(features[*row as usize * width + column]));
            all.filter(|value| value.is_finite())
        };
        let n = values().count().max(1) as f64;
        let mean = values().sum::<f64>() / n;
        let sd = (values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
        let gain = if sd > 1e-12 * mean.abs().max(1e-300) { 1.0 / sd } else { 0.0 };
        for value in features.iter_mut().skip(column).step_by(width) {
            *value = ((f64::from(*value) - mean) * gain) as f32;
        }
    }
}
