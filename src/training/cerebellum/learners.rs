//! The learners of a training: the daemon's online rule over rows, and their forecasts while frozen.
//!
//! An epoch begins with every cell at rest and plays the rows in the order of time, each instrument's
//! cells going on from cycle to cycle as they do live; a row's outcome is learned before the first
//! tick at or after the time at which it became known. Invariants: an epoch is a function of the
//! learned state and the epoch's number; a forecast is made before its outcome is learned; scoring
//! changes nothing.

use purkinje_kernels::{
    cerebellum::{Cerebellum, ConfigError, LearnedWeights, WeightsError},
    supervised::{Loss, Sample, hybrid::Learner},
};
use thiserror::Error;

use super::{
    rows::{Part, Rows},
    score::Score,
};

/// Cycles between the first cycles of two epochs: mossy fibres draw new phases every epoch.
const CYCLES_PER_EPOCH: u64 = 1 << 40;

/// The epoch number whose draws are kept for scoring: no training reaches it.
const SCORING_EPOCH: u64 = 1 << 20;

/// Most epochs of a training.
pub const MAX_EPOCHS: u64 = 1 << 16;

/// Most memory of the input spikes of supervised training, bytes.
pub const MAX_SAMPLE_BYTES: usize = 2 << 30;

/// Why the rows cannot be turned into samples.
#[derive(Debug, Error)]
pub enum SamplesError {
    /// They would take too much memory.
    #[error(
        "supervised training: the input spikes of {rows} rows take more than {} MiB, the bound: \
         name less material or train on every n-th row", MAX_SAMPLE_BYTES >> 20
    )]
    Memory {
        /// Rows that were to be samples.
        rows: usize,
    },
}

/// An online cerebellum with the rows it learns from.
#[derive(Debug)]
pub struct Online<'a> {
    /// The network.
    pub cerebellum: Cerebellum,
    rows: &'a Rows,
    /// The forecasts of the last epoch, before each was learned.
    pub seen: Score,
    features: Vec<f32>,
    active: Vec<bool>,
    values: Vec<f32>,
    waiting: Vec<Waiting>,
}

/// A forecast whose outcome is not known yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ts_label_ns: i64,
    instrument: usize,
    cycle: u64,
    error: f32,
}

/// What playing a part has shown.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// The forecasts' score.
    pub score: Score,
    /// Mean rate of each granule cell, Hz.
    pub granule_hz: Vec<f32>,
}

impl<'a> Online<'a> {
    /// Builds the network that the rows train.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting out of range.
    pub fn new(rows: &'a Rows) -> Result<Self, ConfigError> {
        let n = rows.instruments;
        Ok(Self {
            cerebellum: Cerebellum::new(rows.circuit.clone())?,
            rows,
            seen: Score::default(),
            features: vec![0.0; n * rows.inputs.len()],
            active: vec![false; n],
            values: vec![0.5; n],
            waiting: Vec::new(),
        })
    }

    /// How the rows of a part are forecast with these weights, frozen, from rest. The online state is
    /// as before to the bit.
    ///
    /// # Errors
    /// The weights are another network's.
    pub fn score(&mut self, weights: &LearnedWeights, part: &Part) -> Result<Played, WeightsError> {
        let mut state = Vec::new();
        self.cerebellum.write_state(&mut state);
        self.cerebellum.set_weights(weights)?;
        self.cerebellum.set_plastic(false);
        let mut played = Played {
            score: Score::default(),
            granule_hz: vec![0.0; self.rows.circuit.granule_cells],
        };
        self.play(part, SCORING_EPOCH, &mut played);
        let seconds_each =
            f64::from(self.rows.circuit.step_ms) * 1e-3 * self.rows.circuit.steps_per_cycle as f64;
        let per_spike = (1.0 / (part.rows().len().max(1) as f64 * seconds_each)) as f32;
        played.granule_hz.iter_mut().for_each(|spikes| *spikes *= per_spike);
        self.cerebellum.set_plastic(true);
        self.cerebellum.read_state(&state)?;
        Ok(played)
    }

    fn play(&mut self, part: &Part, epoch: u64, played: &mut Played) {
        let (rows, width) = (self.rows, self.rows.inputs.len());
        self.cerebellum.rest();
        self.waiting.clear();
        for (cycle, tick) in (epoch * CYCLES_PER_EPOCH..).zip(part.ticks()) {
            let now_ns = tick.first().map_or(i64::MIN, |row| rows.info(*row).ts_cycle_ns);
            self.learn_until(now_ns);
            self.active.fill(false);
            for row in tick {
                let instrument = rows.info(*row).instrument as usize;
                self.features[instrument * width..][..width].copy_from_slice(rows.features(*row));
                self.active[instrument] = true;
            }
            let Self { cerebellum, features, active, values, .. } = self;
            cerebellum.advance(cycle, features, active, values);
            for row in tick {
                let (info, task) = (rows.info(*row), rows.task(*row));
                let instrument = info.instrument as usize;
                if !played.granule_hz.is_empty()
                    && let Some(spikes) = self.cerebellum.granule_spikes(instrument, cycle)
                {
                    let sums = played.granule_hz.iter_mut().zip(spikes);
                    sums.for_each(|(sum, n)| *sum += f32::from(*n));
                }
                let Some(target) = task.target else { continue };
                let value = self.values[instrument];
                played.score.add(f64::from(value), target, task.weight);
                // A weight beyond 1 counts as 1: the climbing fibres' rate has a peak.
                let error = (target - value) * task.weight.min(1.0);
                let ts_label_ns = info.ts_label_ns;
                self.waiting.push(Waiting { ts_label_ns, instrument, cycle, error });
            }
        }
        self.learn_until(i64::MAX);
    }

    /// Learns every outcome that is known by then, oldest forecast first.
    fn learn_until(&mut self, now_ns: i64) {
        let cerebellum = &mut self.cerebellum;
        self.waiting.retain(|w| {
            let is_open = w.ts_label_ns > now_ns;
            if !is_open {
                cerebellum.learn(w.instrument, w.cycle, w.error);
            }
            is_open
        });
    }
}

impl Learner<f32> for Online<'_> {
    type Error = WeightsError;

    fn weight_count(&self) -> usize {
        self.rows.circuit.granule_cells * 2 * self.rows.circuit.purkinje_per_zone
    }

    fn read_weights(&mut self, weights: &mut [f32]) {
        weights.copy_from_slice(&self.cerebellum.weights().parallel);
    }

    fn write_weights(&mut self, weights: &[f32]) {
        let mut learned = self.cerebellum.weights();
        learned.parallel.copy_from_slice(weights);
        // Of this network's own length, and finite where they come from a learner.
        let _ = self.cerebellum.set_weights(&learned);
    }

    fn epoch(&mut self, epoch: u64) -> Result<f64, WeightsError> {
        let rows = self.rows;
        let mut played = Played::default();
        self.play(&rows.train, epoch, &mut played);
        self.seen = played.score;
        Ok(played.score.mean_loss().unwrap_or(f64::NAN))
    }
}

/// The training rows as samples of supervised learning: every `every`-th of those with a target, its
/// cycle from rest.
///
/// # Errors
/// Their spikes would take more than [`MAX_SAMPLE_BYTES`].
pub fn samples(
    online: &Online<'_>,
    loss: Loss,
    every: usize,
) -> Result<Vec<Sample<f32>>, SamplesError> {
    let rows = online.rows;
    let mut encoder = online.cerebellum.mossy_encoder();
    let mut samples = Vec::new();
    let mut bytes = 0;
    let teaching = rows.train.rows().iter().filter(|row| rows.task(**row).target.is_some());
    for (cycle, row) in (SCORING_EPOCH * CYCLES_PER_EPOCH..).zip(teaching.step_by(every.max(1))) {
        let task = rows.task(*row);
        let Some(probability) = task.target else { continue };
        let target = match loss {
            Loss::CrossEntropy => probability,
            Loss::MeanSquared => 2.0 * probability - 1.0,
        };
        let instrument = rows.info(*row).instrument as usize;
        let mossy = encoder.encode(instrument, cycle, rows.features(*row));
        let spikes: usize = (0..mossy.steps()).map(|step| mossy.at(step).len()).sum();
        bytes += 4 * (spikes + mossy.steps() + 1) + size_of::<Sample<f32>>();
        if bytes > MAX_SAMPLE_BYTES {
            return Err(SamplesError::Memory { rows: rows.train.rows().len() });
        }
        samples.push(Sample { mossy, target, weight: task.weight });
    }
    Ok(samples)
}

/// Logits of the value by unit of a trained output: a squared loss trains towards ±1, and
/// 1 / (1 + exp(-2 y)) ≈ (1 + y) / 2 is then the probability.
#[must_use]
pub const fn logits_per_output(loss: Loss) -> f32 {
    match loss {
        Loss::CrossEntropy => 1.0,
        Loss::MeanSquared => 2.0,
    }
}
