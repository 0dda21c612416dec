//! Epochs of mini-batches over samples: forward, reverse, clip, update, hold to bounds.
//!
//! Samples are visited in an order drawn from the seed and the epoch (Fisher and Yates), so a run
//! resumed at an epoch goes on as the unbroken one would. A batch's gradient is the weighted mean
//! over its samples. Invariants: after every update the parameters are within the network's bounds;
//! a pass over a sample allocates nothing.

use thiserror::Error;

use super::forward::{MossySpikes, SpikesError, Workspace};
use super::loss::Loss;
use super::network::{Network, Parameters};
use super::optimiser::{Method, Optimiser, OptimiserError, StateError, clip_global_norm};
use super::real::Real;
use super::schedule::Schedule;
use super::surrogate::Spiking;
use crate::rng::Key;

/// One example.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<R> {
    /// The input.
    pub mossy: MossySpikes,
    /// What the output should be: see [`Loss`].
    pub target: R,
    /// How much it counts: 0 or more.
    pub weight: R,
}

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerConfig {
    /// What to lower.
    pub loss: Loss,
    /// How parameters follow the gradient.
    pub method: Method,
    /// Learning rate by update.
    pub schedule: Schedule,
    /// Samples an update: 1 or more.
    pub batch: usize,
    /// Greatest norm of a batch's gradient.
    pub norm_max: f64,
    /// See [`Network::backward`].
    pub through_reset: bool,
    /// Seed of the order of the samples.
    pub seed: u64,
}

impl Default for TrainerConfig {
    /// Cross-entropy, AdamW at 0.003, batches of 16, norm 1, no gradient through the reset.
    fn default() -> Self {
        Self {
            loss: Loss::CrossEntropy,
            method: Method::ADAM_W,
            schedule: Schedule::Constant { rate: 3e-3 },
            batch: 16,
            norm_max: 1.0,
            through_reset: false,
            seed: 1,
        }
    }
}

/// Why training cannot go on.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TrainError {
    /// A setting is out of range.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        expected: &'static str,
    },
    /// An optimiser's constant is out of range.
    #[error(transparent)]
    Optimiser(#[from] OptimiserError),
    /// A sample makes no sense.
    #[error("sample {sample}: {what}")]
    Sample {
        /// Its place.
        sample: usize,
        /// Its value and what was expected.
        what: String,
    },
    /// No samples, or none that counts.
    #[error("the samples' weights add up to 0, expected more")]
    Empty,
    /// A saved state is of another training.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What an epoch, or a test, gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EpochReport {
    /// Weighted mean loss; of an epoch, each sample's as it was visited.
    pub loss: f64,
    /// Weighted share of outputs on the target's side: of 1/2 as a probability for cross-entropy,
    /// of 0 for a squared loss.
    pub accuracy: f64,
    /// Mean norm of the batches' gradients before clipping.
    pub gradient_norm: f64,
    /// Updates made.
    pub updates: u64,
    /// Updates refused because a gradient was not finite.
    pub rejected: u64,
    /// Parameters held at a bound, summed over updates.
    pub clipped: u64,
    /// Rate of the last update.
    pub rate: f64,
}

/// A network in training.
#[derive(Clone, Debug)]
pub struct Trainer<R> {
    config: TrainerConfig,
    network: Network<R>,
    parameters: Parameters<R>,
    gradient: Parameters<R>,
    optimiser: Optimiser<R>,
    work: Workspace<R>,
    order: Vec<u32>,
}

impl<R: Real> Trainer<R> {
    /// Starts from the network's initial parameters.
    ///
    /// # Errors
    /// [`TrainError`] names the setting out of range.
    pub fn new(network: Network<R>, config: TrainerConfig) -> Result<Self, TrainError> {
        if config.batch == 0 {
            let expected = "at least 1";
            return Err(TrainError::Setting { name: "batch", value: 0.0, expected });
        }
        if config.norm_max.is_nan() || config.norm_max <= 0.0 {
            let (name, value) = ("norm_max", config.norm_max);
            return Err(TrainError::Setting { name, value, expected: "above 0" });
        }
        let parameters = network.initial_parameters();
        Ok(Self {
            optimiser: Optimiser::new(config.method, parameters.values.len())?,
            gradient: network.zero_gradient(),
            work: Workspace::new(&network, Spiking::Hard),
            order: Vec::new(),
            parameters,
            network,
            config,
        })
    }

    /// The network.
    pub const fn network(&self) -> &Network<R> {
        &self.network
    }

    /// The parameters as they are.
    pub const fn parameters(&self) -> &Parameters<R> {
        &self.parameters
    }

    /// The parameters, to replace: hold them to the bounds with [`Network::clip`].
    pub const fn parameters_mut(&mut self) -> &mut Parameters<R> {
        &mut self.parameters
    }

    /// The optimiser.
    pub const fn optimiser(&self) -> &Optimiser<R> {
        &self.optimiser
    }

    /// The output of one input.
    ///
    /// # Panics
    /// When a fibre does not exist.
    pub fn predict(&mut self, mossy: &MossySpikes) -> R {
        self.network.forward(&self.parameters, mossy, &mut self.work).output
    }

    /// Visits every sample once and updates after each batch.
    ///
    /// # Errors
    /// [`TrainError`] names the sample that makes no sense; nothing has then changed.
    pub fn epoch(&mut self, samples: &[Sample<R>], epoch: u64) -> Result<EpochReport, TrainError> {
        self.check(samples)?;
        self.shuffle(samples.len(), epoch);
        let order = std::mem::take(&mut self.order);
        let mut report = EpochReport::default();
        let (mut total, mut batches) = (0.0, 0_u64);
        for batch in order.chunks(self.config.batch) {
            let weight: R = batch.iter().map(|&k| samples[k as usize].weight).sum();
            if weight <= R::zero() {
                continue;
            }
            self.gradient.values.fill(R::zero());
            for &k in batch {
                self.add_gradient(&samples[k as usize], weight, &mut report);
            }
            total += weight.wide();
            batches += 1;
            report.gradient_norm +=
                clip_global_norm(&mut self.gradient.values, self.config.norm_max);
            report.rate = self.config.schedule.rate(self.optimiser.updates());
            let (values, gradient) = (&mut self.parameters.values, &self.gradient.values);
            if self.optimiser.step(values, gradient, report.rate) {
                report.updates += 1;
                report.clipped += self.network.clip(&mut self.parameters) as u64;
            } else {
                report.rejected += 1;
            }
        }
        self.order = order;
        report.loss /= total;
        report.accuracy /= total;
        report.gradient_norm /= batches.max(1) as f64;
        Ok(report)
    }

    /// The loss and accuracy of samples, without learning.
    ///
    /// # Errors
    /// [`TrainError`] names the sample that makes no sense.
    pub fn test(&mut self, samples: &[Sample<R>]) -> Result<EpochReport, TrainError> {
        self.check(samples)?;
        let mut report = EpochReport::default();
        let mut total = 0.0;
        for sample in samples {
            let output = self.predict(&sample.mossy);
            self.note(sample, output, &mut report);
            total += sample.weight.wide();
        }
        report.loss /= total;
        report.accuracy /= total;
        Ok(report)
    }

    /// Appends the parameters and the optimiser's state, little-endian, in their fixed order.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        self.parameters.values.iter().for_each(|w| w.write(out));
        self.optimiser.write_state(out);
    }

    /// Restores what [`Trainer::write_state`] wrote for the same network and method.
    ///
    /// # Errors
    /// [`TrainError::State`] when it is another's; nothing has then changed.
    pub fn read_state(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let own = self.parameters.values.len() * R::BYTES;
        let Some((values, state)) = bytes.split_at_checked(own) else {
            return Err(StateError::Length { found: bytes.len(), expected: own }.into());
        };
        self.optimiser.read_state(state)?;
        for (w, bytes) in self.parameters.values.iter_mut().zip(values.chunks_exact(R::BYTES)) {
            // `chunks_exact` gives whole numbers only.
            *w = R::read(bytes).unwrap_or(*w);
        }
        Ok(())
    }

    fn add_gradient(&mut self, sample: &Sample<R>, weight: R, report: &mut EpochReport) {
        if sample.weight <= R::zero() {
            return;
        }
        let output = self.predict(&sample.mossy);
        let slope = self.note(sample, output, report) * sample.weight / weight;
        self.network.backward(
            &self.parameters,
            &sample.mossy,
            &mut self.work,
            slope,
            self.config.through_reset,
            &mut self.gradient,
        );
    }

    /// Adds a sample to the report; returns the loss's slope.
    fn note(&self, sample: &Sample<R>, output: R, report: &mut EpochReport) -> R {
        let (loss, slope) = self.config.loss.at(output, sample.target);
        let middle = match self.config.loss {
            Loss::MeanSquared => R::zero(),
            Loss::CrossEntropy => R::of(0.5),
        };
        let right = (output > R::zero()) == (sample.target > middle);
        report.loss += (loss * sample.weight).wide();
        report.accuracy += if right { sample.weight.wide() } else { 0.0 };
        slope
    }

    fn check(&self, samples: &[Sample<R>]) -> Result<(), TrainError> {
        let wrong = |sample, what| TrainError::Sample { sample, what };
        let mut total = 0.0;
        for (k, sample) in samples.iter().enumerate() {
            if !self.config.loss.accepts(sample.target) {
                let what = format!("target {}, {:?} refuses it", sample.target, self.config.loss);
                return Err(wrong(k, what));
            }
            if !(sample.weight.is_finite() && sample.weight >= R::zero()) {
                let what = format!("weight {}, expected a finite number, 0 or more", sample.weight);
                return Err(wrong(k, what));
            }
            let steps = (sample.mossy.steps(), self.network.steps());
            if steps.0 > steps.1 {
                return Err(wrong(k, format!("{} steps, expected at most {}", steps.0, steps.1)));
            }
            let fits = sample.mossy.check(self.network.fibres());
            fits.map_err(|e: SpikesError| wrong(k, e.to_string()))?;
            total += sample.weight.wide();
        }
        if total > 0.0 { Ok(()) } else { Err(TrainError::Empty) }
    }

    fn shuffle(&mut self, samples: usize, epoch: u64) {
        let key = Key::new(self.config.seed).fork(epoch);
        self.order.clear();
        self.order.extend(0..samples as u32);
        for k in (1..samples).rev() {
            self.order.swap(k, key.below(k as u64, k as u32 + 1) as usize);
        }
    }
}
