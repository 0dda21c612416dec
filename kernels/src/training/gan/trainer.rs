//! Epochs in which discriminator and generator take turns.
//!
//! Invariant: everything that the next epoch depends on is in the configuration, the data and what
//! [`GanTrainer::checkpoint`] writes; random numbers are functions of the seed and of the number of a step.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::super::data::{DataError, Dataset};
use super::super::optimiser::Stepper;
use super::super::parameters::{Builder, Parameter, vector};
use super::super::pass::{Mode, Pass};
use super::super::trainer::TrainError;
use super::config::GanConfig;
use super::generator::Generator;
use super::networks::Discriminator;
use crate::rng::Key;

/// Shares of the moments that a step keeps: a first moment as short as this keeps the two from chasing
/// each other's past (Radford, Metz and Chintala, 2016).
const MOMENTS: [f32; 2] = [0.5, 0.9];
/// What the seed's streams of random numbers are for.
const GENERATOR: u64 = 0;
const DISCRIMINATOR: u64 = 1;
const ORDER: u64 = 2;
const NOISE: u64 = 3;

/// What an epoch came to: means over its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GanEpoch {
    /// Hinge of real and of generated windows: 2 where it cannot tell them apart, 0 where it always can.
    pub discriminator_loss: f32,
    /// Minus the score of generated windows.
    pub generator_loss: f32,
}

/// A network's tensors and what turns their gradients into steps.
pub(super) struct Learner {
    pub(super) parameters: Vec<Parameter>,
    pub(super) stepper: Stepper,
}

impl Learner {
    fn new(parameters: Vec<Parameter>, clip_norm: f64) -> Self {
        let stepper = Stepper::adam(MOMENTS, clip_norm, parameters.len());
        Self { parameters, stepper }
    }

    /// Values that a pass goes over without deriving by them.
    fn values(&self) -> Vec<Tensor<1>> {
        self.parameters.iter().map(|p| p.values.clone()).collect()
    }

    /// Values that a pass is derived by.
    fn leaves(&self) -> Vec<Tensor<1>> {
        let leaf = |parameter: &Parameter| {
            let values = parameter.values.clone();
            if parameter.is_learned() { values.autodiff().require_grad() } else { values }
        };
        self.parameters.iter().map(leaf).collect()
    }

    /// Makes a step against the gradient of a loss and returns the loss; none may be other than finite.
    fn learn(
        &mut self,
        rate: f64,
        leaves: &[Tensor<1>],
        loss: &Tensor<1>,
        diverged: impl Fn(&'static str, f64) -> TrainError,
        [what, gradient]: [&'static str; 2],
    ) -> Result<f64, TrainError> {
        let value = f64::from(loss.clone().inner().into_scalar::<f32>());
        if !value.is_finite() {
            return Err(diverged(what, value));
        }
        let mut found = loss.backward();
        let gradients = leaves.iter().map(|leaf| leaf.grad_remove(&mut found)).collect();
        let norm = self.stepper.step(rate, &mut self.parameters, gradients);
        if norm.is_finite() { Ok(value) } else { Err(diverged(gradient, norm)) }
    }
}

/// See the module.
pub struct GanTrainer<'a> {
    pub(super) config: GanConfig,
    data: &'a Dataset<'a>,
    /// Of the data.
    pub(super) fingerprint: u64,
    pub(super) rows: Range<usize>,
    /// Rows that windows end with.
    samples: Vec<usize>,
    pub(super) device: Device,
    /// Its weights are the running means.
    pub(super) generator: Generator,
    discriminating: Discriminator,
    /// The generator's present weights, and the discriminator's.
    pub(super) learners: [Learner; 2],
    pub(super) history: Vec<GanEpoch>,
}

impl std::fmt::Debug for GanTrainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GanTrainer")
            .field("config", &self.config)
            .field("rows", &self.rows)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

impl<'a> GanTrainer<'a> {
    /// Begins a run that learns from the windows that end with some rows of `data`. Windows may begin
    /// before the rows. Labels are not looked at.
    ///
    /// # Errors
    /// [`TrainError::Config`] and [`TrainError::Data`].
    pub fn new(
        config: &GanConfig,
        data: &'a Dataset<'a>,
        rows: Range<usize>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        if data.inputs() != config.features {
            let expected = format!("{} a row, as the configuration has", config.features);
            let (what, found) = ("features of a row", data.inputs());
            return Err(DataError::Shape { what, found, expected }.into());
        }
        let samples = data.samples(rows.clone(), config.steps, false)?;
        let key = Key::new(config.seed);
        let mut generator = Generator::new(config, key.fork(GENERATOR));
        let device = generator.device.clone();
        let mut builder = Builder::new(&device, key.fork(DISCRIMINATOR));
        let discriminating = Discriminator::new(&mut builder, config);
        let [mean, deviation] = scale(data, &samples);
        let slots = [generator.network.mean, generator.network.deviation];
        for (slot, values) in slots.into_iter().zip([mean, deviation]) {
            generator.parameters[slot.0].values = vector(values, &device);
        }
        let learners = [generator.parameters.clone(), builder.all]
            .map(|parameters| Learner::new(parameters, config.clip_norm));
        Ok(Self {
            config: config.clone(),
            data,
            fingerprint: data.fingerprint(),
            rows,
            samples,
            device,
            generator,
            discriminating,
            learners,
            history: Vec::new(),
        })
    }

    /// Whether all epochs are over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.history.len() as u64 >= u64::from(self.config.epochs)
    }

    /// Goes on until [`is_done`](Self::is_done).
    ///
    /// # Errors
    /// [`TrainError::Diverged`].
    pub fn run(&mut self) -> Result<(), TrainError> {
        while self.epoch()?.is_some() {}
        Ok(())
    }

    /// One pass over the training windows; none if the run is done.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], after which the run can only go on from a checkpoint.
    pub fn epoch(&mut self) -> Result<Option<GanEpoch>, TrainError> {
        self.epoch_while(&mut |_| true)
    }

    /// As [`epoch`](Self::epoch), but asks before each step, with the number of those done, whether to go on.
    /// None, too, where not, after which the run can only go on from a checkpoint.
    ///
    /// # Errors
    /// As [`epoch`](Self::epoch).
    pub fn epoch_while(
        &mut self,
        goes_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<GanEpoch>, TrainError> {
        if self.is_done() {
            return Ok(None);
        }
        let epoch = self.history.len() as u32;
        let order = self.shuffled(epoch);
        let steps = self.steps_an_epoch();
        let (mut of_discriminator, mut of_generator) = (0.0, 0.0);
        for n in 0..steps {
            if !goes_on(n) {
                return Ok(None);
            }
            let step = u64::from(epoch) * steps as u64 + n as u64;
            // Batches of almost equal size.
            let rows = &order[n * order.len() / steps..(n + 1) * order.len() / steps];
            of_discriminator += self.learn_to_tell(epoch, step, rows)?;
            of_generator += self.learn_to_make(epoch, step, rows.len())?;
            self.average();
        }
        let mean = |sum: f64| (sum / steps as f64) as f32;
        let done = GanEpoch {
            discriminator_loss: mean(of_discriminator),
            generator_loss: mean(of_generator),
        };
        self.history.push(done);
        Ok(Some(done))
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps_an_epoch(&self) -> usize {
        self.samples.len().div_ceil(self.config.batch)
    }

    /// The windows in the order of an epoch (Fisher and Yates, by Durstenfeld).
    fn shuffled(&self, epoch: u32) -> Vec<usize> {
        let key = Key::new(self.config.seed).fork(ORDER).fork(u64::from(epoch));
        let mut order = self.samples.clone();
        for i in (1..order.len()).rev() {
            order.swap(i, key.below(i as u64, i as u32 + 1) as usize);
        }
        order
    }

    /// The windows that end with some rows, in deviations from the mean.
    fn windows(&self, rows: &[usize]) -> Tensor<3> {
        let GanConfig { steps, features, .. } = self.config;
        let shape = [rows.len(), steps, features];
        let mut numbers = Vec::with_capacity(shape.iter().product());
        for row in rows {
            self.data.window(*row, steps, &mut numbers);
        }
        let windows = Tensor::<3>::from_data(TensorData::new(numbers, shape), &self.device);
        let of = |slot: usize| self.generator.parameters[slot].values.clone();
        let network = &self.generator.network;
        let [mean, deviation] =
            [of(network.mean.0), of(network.deviation.0)].map(|x| x.reshape([1, 1, features]));
        (windows - mean) / deviation
    }

    /// Fresh noise for one network's turn in a step.
    fn noise(&self, step: u64, turn: u64, paths: usize) -> Tensor<3> {
        let key = Key::new(self.config.seed).fork(NOISE).fork(step).fork(turn);
        self.generator.noise(paths, |path| key.fork(path as u64))
    }

    fn mode(&self) -> Mode {
        // No unit is left out, so no number is drawn.
        Mode::Training { dropout: 0.0, key: Key::new(self.config.seed) }
    }

    /// The discriminator's turn, with real and generated windows in one batch; returns its loss.
    fn learn_to_tell(&mut self, epoch: u32, step: u64, rows: &[usize]) -> Result<f64, TrainError> {
        let batch = rows.len();
        let diverged = |what, value| TrainError::Diverged { epoch, step, what, value };
        let values = self.learners[0].values();
        let pass = Pass::new(&values, &self.device, Mode::Answer);
        let made = self.generator.network.windows(&pass, self.noise(step, 0, batch));
        let windows = Tensor::cat(vec![self.windows(rows), made], 0);
        let leaves = self.learners[1].leaves();
        let mut pass = Pass::new(&leaves, &self.device, self.mode());
        let scores = self.discriminating.scores(&mut pass, windows);
        let seen = pass.seen;
        let real = scores.clone().narrow(0, 0, batch);
        let made = scores.narrow(0, batch, batch);
        let loss = activation::relu(real.neg().add_scalar(1.0)).mean()
            + activation::relu(made.add_scalar(1.0)).mean();
        let names = ["discriminator's loss", "discriminator's gradient"];
        let learner = &mut self.learners[1];
        let loss =
            learner.learn(self.config.discriminator_rate, &leaves, &loss, diverged, names)?;
        for (slot, values) in seen {
            learner.parameters[slot.0].values = values;
        }
        Ok(loss)
    }

    /// The generator's turn; returns its loss.
    fn learn_to_make(&mut self, epoch: u32, step: u64, paths: usize) -> Result<f64, TrainError> {
        let diverged = |what, value| TrainError::Diverged { epoch, step, what, value };
        let leaves = self.learners[0].leaves();
        let pass = Pass::new(&leaves, &self.device, self.mode());
        let windows = self.generator.network.windows(&pass, self.noise(step, 1, paths));
        let values = self.learners[1].values();
        // As it is: its singular vectors are not brought up to date by windows that it does not learn of.
        let mut judging = Pass::new(&values, &self.device, Mode::Answer);
        let loss = self.discriminating.scores(&mut judging, windows).mean().neg();
        let names = ["generator's loss", "generator's gradient"];
        self.learners[0].learn(self.config.generator_rate, &leaves, &loss, diverged, names)
    }

    /// Moves the running means towards the generator's present weights.
    fn average(&mut self) {
        let kept = self.config.averaging;
        let means = self.generator.parameters.iter_mut().zip(&self.learners[0].parameters);
        for (mean, present) in means {
            if mean.is_learned() {
                let present = present.values.clone().mul_scalar(1.0 - kept);
                mean.values = mean.values.clone().mul_scalar(kept) + present;
            }
        }
    }

    /// The epochs so far.
    #[must_use]
    pub fn history(&self) -> &[GanEpoch] {
        &self.history
    }

    /// The generator with the running mean of its weights.
    #[must_use]
    pub fn generator(&self) -> &Generator {
        &self.generator
    }
}

/// Mean and standard deviation of each feature over the last rows of windows; 1 where a feature is constant.
fn scale(data: &Dataset<'_>, samples: &[usize]) -> [Vec<f32>; 2] {
    let inputs = data.inputs();
    let (mut row, mut means, mut squares) = (Vec::new(), vec![0.0; inputs], vec![0.0; inputs]);
    // Two passes: the second is of differences, so that a far mean costs no digits.
    for sample in samples {
        row.clear();
        data.window(*sample, 1, &mut row);
        for (mean, x) in means.iter_mut().zip(&row) {
            *mean += f64::from(*x) / samples.len() as f64;
        }
    }
    for sample in samples {
        row.clear();
        data.window(*sample, 1, &mut row);
        for ((square, mean), x) in squares.iter_mut().zip(&means).zip(&row) {
            *square += (f64::from(*x) - mean).powi(2) / samples.len() as f64;
        }
    }
    let deviation = |square: &f64| Some(square.sqrt() as f32).filter(|x| *x > 0.0).unwrap_or(1.0);
    [means.iter().map(|x| *x as f32).collect(), squares.iter().map(deviation).collect()]
}
