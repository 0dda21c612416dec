//! Epochs over the training rows until the validation loss improves no more.
//!
//! The weights of the last epoch that improved the validation loss are kept. Invariant: everything that the next
//! epoch depends on is in the configuration, the data and what [`Trainer::checkpoint`] writes; random
//! numbers are functions of the seed and of the numbers of epoch and step.

use std::ops::Range;

use burn::tensor::Tensor;
use thiserror::Error;

use super::config::{ConfigError, TrainConfig, within};
use super::data::{DataError, Dataset};
use super::export::numbers;
use super::loss::Criterion;
use super::model::Model;
use super::optimiser::Stepper;
use super::parameters::{Parameter, vector};
use super::pass::{Mode, Pass};
use super::schedule::Plateau;
use crate::predictors::weights::{Tensors, WeightsError};
use crate::rng::Key;

/// Windows of the validation part that are answered at once.
const BATCH: usize = 256;
/// Most numbers of a network that is trained, so that a checkpoint, which holds four of each, can be read.
pub const WEIGHTS_MAX: usize = 1 << 24;
/// What the seed's streams of random numbers are for.
const FIRST_WEIGHTS: u64 = 0;
const ORDER: u64 = 1;
const DROPOUT: u64 = 2;

/// Why training cannot begin or go on.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TrainError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data are not what training needs.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Loss or gradient is no number any more.
    #[error(
        "epoch {epoch}, step {step}: {what} is {value}, expected a finite number: lower learning_rate"
    )]
    Diverged {
        /// Counted from 0.
        epoch: u32,
        /// Counted from 0 over all epochs.
        step: u64,
        /// Loss or gradient.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// Weights to begin with are not those of the network, or the file is damaged.
    #[error("weights: {0}")]
    Weights(WeightsError),
    /// Weights to begin with came too late.
    #[error("weights to begin with: {epochs} epochs are over, expected none")]
    Begun {
        /// How many are over.
        epochs: usize,
    },
    /// A checkpoint's tensors are not those of the network, or the file is damaged.
    #[error("checkpoint: {0}")]
    CheckpointTensors(#[from] WeightsError),
    /// A checkpoint's state is missing or damaged.
    #[error("checkpoint: {message}")]
    CheckpointState {
        /// What is wrong.
        message: String,
    },
    /// A checkpoint is of another run.
    #[error("checkpoint: {key} = {found}, expected {expected}")]
    CheckpointOfAnother {
        /// What differs.
        key: &'static str,
        /// What the checkpoint says.
        found: String,
        /// What this run says.
        expected: String,
    },
    /// The library that computes refused.
    #[error("tensor library: {message}")]
    Backend {
        /// Its words.
        message: String,
    },
}

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Mean over the training rows, each with the weights that its step had, dropout included.
    pub training_loss: f32,
    /// Mean over the validation rows, with the weights after the epoch.
    pub validation_loss: f32,
    /// Of the epoch's last step.
    pub learning_rate: f32,
}

/// The last epoch that improved the validation loss.
#[derive(Clone, Debug)]
pub(super) struct Best {
    /// Counted from 0.
    pub(super) epoch: u32,
    pub(super) loss: f64,
    pub(super) parameters: Vec<Parameter>,
}

/// See the module.
pub struct Trainer<'a> {
    pub(super) config: TrainConfig,
    pub(super) data: &'a Dataset<'a>,
    /// Of the data.
    pub(super) fingerprint: u64,
    /// To learn from and to judge by.
    pub(super) rows: [Range<usize>; 2],
    samples: Vec<usize>,
    validation: Vec<usize>,
    criterion: Criterion,
    pub(super) model: Model,
    pub(super) stepper: Stepper,
    pub(super) plateau: Plateau,
    pub(super) best: Option<Best>,
    pub(super) history: Vec<Epoch>,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("config", &self.config)
            .field("rows", &self.rows)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

impl<'a> Trainer<'a> {
    /// Begins a run that learns from `training` and judges by `validation`, rows of `data` both. Windows
    /// may begin before their part: [`walk_forward`](super::walk_forward) gives parts that share no row.
    ///
    /// # Errors
    /// [`TrainError::Config`] and [`TrainError::Data`].
    pub fn new(
        config: &TrainConfig,
        data: &'a Dataset<'a>,
        training: Range<usize>,
        validation: Range<usize>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let key = Key::new(config.seed).fork(FIRST_WEIGHTS);
        let model = Model::new(&config.architecture, config.batch_norm, key);
        let weights = model.parameters.iter().map(Parameter::count).sum();
        within("number of weights", weights, 0..=WEIGHTS_MAX)?;
        model.check(data)?;
        if training.start < validation.end && validation.start < training.end {
            let expected = format!("none of the training rows {training:?}");
            return Err(DataError::Range { rows: validation, expected }.into());
        }
        let needs_labels = config.needs_labels();
        let samples = data.samples(training.clone(), model.steps(), needs_labels)?;
        let judged = data.samples(validation.clone(), model.steps(), needs_labels)?;
        if needs_labels {
            data.check_classes(&training, &samples)?;
        }
        if config.batch_norm && samples.len() < 2 {
            let (rows, steps) = (training, model.steps());
            return Err(DataError::NoSample { rows, steps, expected: 2 }.into());
        }
        Ok(Self {
            config: config.clone(),
            data,
            fingerprint: data.fingerprint(),
            rows: [training, validation],
            samples,
            validation: judged,
            criterion: Criterion::new(config, model.output()),
            stepper: Stepper::new(config, model.parameters.len()),
            model,
            plateau: Plateau::NEW,
            best: None,
            history: Vec::new(),
        })
    }

    /// Begins with other weights than random ones, those of [`Model::to_safetensors`] or of PyTorch, and with
    /// the statistics of batch norms among them.
    ///
    /// # Errors
    /// [`TrainError::Weights`] where they are not the network's, [`TrainError::Begun`] after an epoch.
    pub fn with_weights(mut self, weights: &[u8]) -> Result<Self, TrainError> {
        if !self.history.is_empty() {
            return Err(TrainError::Begun { epochs: self.history.len() });
        }
        let mut tensors = Tensors::read(weights).map_err(TrainError::Weights)?;
        let device = self.model.device().clone();
        for parameter in &mut self.model.parameters {
            let values = tensors.take(&parameter.name, &parameter.shape);
            parameter.values = vector(values.map_err(TrainError::Weights)?, &device);
        }
        tensors.finish().map_err(TrainError::Weights)?;
        Ok(self)
    }

    /// Whether all epochs are over, or so many were without improvement that training ends.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let epochs = self.history.len() as u32;
        let stale = self.best.as_ref().map_or(0, |best| epochs - 1 - best.epoch);
        epochs >= self.config.epochs || stale >= self.config.patience
    }

    /// Goes on until [`is_done`](Self::is_done).
    ///
    /// # Errors
    /// [`TrainError::Diverged`].
    pub fn run(&mut self) -> Result<(), TrainError> {
        while self.epoch()?.is_some() {}
        Ok(())
    }

    /// One pass over the training rows and one over those of the validation; none if the run is done.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], after which the run can only go on from a checkpoint.
    pub fn epoch(&mut self) -> Result<Option<Epoch>, TrainError> {
        if self.is_done() {
            return Ok(None);
        }
        let epoch = self.history.len() as u32;
        let order = self.shuffled(epoch);
        let steps = self.steps_an_epoch();
        let (mut loss, mut weight, mut learning_rate) = (0.0, 0.0, 0.0);
        for n in 0..steps {
            let step = u64::from(epoch) * steps as u64 + n as u64;
            let share =
                self.config.schedule.share(&self.plateau, step, steps as u64, self.config.epochs);
            learning_rate = self.config.learning_rate * share;
            // Batches of almost equal size, none of them of a single row where there are two.
            let rows = &order[n * order.len() / steps..(n + 1) * order.len() / steps];
            let (sum, of_rows) = self.step(epoch, step, learning_rate, rows)?;
            loss += sum;
            weight += of_rows;
        }
        let validation_loss = self.validation_loss(epoch)?;
        let is_improved =
            self.best.as_ref().is_none_or(|b| validation_loss < b.loss - self.config.min_delta);
        if is_improved {
            let parameters = self.model.parameters.clone();
            self.best = Some(Best { epoch, loss: validation_loss, parameters });
        }
        self.plateau.end_epoch(&self.config.schedule, is_improved);
        let done = Epoch {
            training_loss: (loss / weight) as f32,
            validation_loss: validation_loss as f32,
            learning_rate: learning_rate as f32,
        };
        self.history.push(done);
        Ok(Some(done))
    }

    pub(super) fn steps_an_epoch(&self) -> usize {
        self.samples.len().div_ceil(self.config.batch)
    }

    /// The training rows in the order of an epoch (Fisher and Yates, by Durstenfeld).
    fn shuffled(&self, epoch: u32) -> Vec<usize> {
        let key = Key::new(self.config.seed).fork(ORDER).fork(u64::from(epoch));
        let mut order = self.samples.clone();
        for i in (1..order.len()).rev() {
            order.swap(i, key.below(i as u64, i as u32 + 1) as usize);
        }
        order
    }

    /// Learns from some rows; returns their summed loss and what they count.
    fn step(
        &mut self,
        epoch: u32,
        step: u64,
        learning_rate: f64,
        rows: &[usize],
    ) -> Result<(f64, f64), TrainError> {
        let diverged = |what, value| TrainError::Diverged { epoch, step, what, value };
        let device = self.model.device().clone();
        let key = Key::new(self.config.seed).fork(DROPOUT).fork(step);
        let mode = Mode::Training { dropout: self.config.dropout, key };
        let leaves = self.model.leaves();
        let mut pass = Pass::new(&leaves, &device, mode);
        let windows = self.model.windows(self.data, rows);
        let sums = self.model.sums(&mut pass, windows.clone());
        let losses = self.criterion.losses(self.data, rows, windows, sums, &device);
        let weights = self.criterion.weights(self.data, rows, &device);
        let sum = (losses * weights.of_rows).sum();
        let value = f64::from(sum.clone().inner().into_scalar::<f32>());
        if !value.is_finite() {
            return Err(diverged("loss", value));
        }
        let mut found = sum.div_scalar(weights.total).backward();
        let gradients = leaves.iter().map(|leaf| leaf.grad_remove(&mut found)).collect();
        let norm = self.stepper.step(learning_rate, &mut self.model.parameters, gradients);
        if !norm.is_finite() {
            return Err(diverged("gradient", norm));
        }
        for (slot, values) in pass.seen {
            self.model.parameters[slot.0].values = values;
        }
        Ok((value, weights.total))
    }

    fn validation_loss(&self, epoch: u32) -> Result<f64, TrainError> {
        let (device, values) = (self.model.device(), self.model.values());
        let (mut sum, mut weight) = (0.0, 0.0);
        for rows in self.validation.chunks(BATCH) {
            let windows = self.model.windows(self.data, rows);
            let mut pass = Pass::new(&values, device, Mode::Answer);
            let sums = self.model.sums(&mut pass, windows.clone());
            let losses = self.criterion.losses(self.data, rows, windows, sums, device);
            let weights = self.criterion.weights(self.data, rows, device);
            let summed: Tensor<1> = losses * weights.of_rows;
            sum += numbers(&summed)?.iter().copied().map(f64::from).sum::<f64>();
            weight += weights.total;
        }
        let loss = sum / weight;
        if !loss.is_finite() {
            let step = u64::from(epoch + 1) * self.steps_an_epoch() as u64;
            return Err(TrainError::Diverged { epoch, step, what: "validation loss", value: loss });
        }
        Ok(loss)
    }

    /// The epochs so far.
    #[must_use]
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// Number, from 0, and validation loss of the best epoch; none before the first.
    #[must_use]
    pub fn best_epoch(&self) -> Option<(u32, f64)> {
        self.best.as_ref().map(|best| (best.epoch, best.loss))
    }

    /// The network after its best epoch; before the first, as it began.
    #[must_use]
    pub fn best(&self) -> Model {
        let mut model = self.model.clone();
        if let Some(best) = &self.best {
            model.parameters.clone_from(&best.parameters);
        }
        model
    }

    /// The network as it is now, whether that is the best or not.
    #[must_use]
    pub fn last(&self) -> &Model {
        &self.model
    }
}
