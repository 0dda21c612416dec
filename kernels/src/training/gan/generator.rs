//! What a training run leaves: a generator of paths.
//!
//! Invariants: a path is a function of weights, seed and its number alone, however many are made; the
//! exported tensors have PyTorch's names: `lstm.N.*_l0` and `head.*`, and as buffers the `mean` and
//! `deviation` that make features of the head's sums.

use burn::tensor::{Device, Tensor, TensorData};

use super::super::config::within;
use super::super::export::{File, numbers};
use super::super::parameters::{Builder, Parameter, vector};
use super::super::pass::{Mode, Pass};
use super::super::trainer::TrainError;
use super::config::GanConfig;
use super::networks;
use crate::predictors::weights::Tensors;
use crate::rng::Key;

/// Most numbers of the paths that are made at once.
pub const NUMBERS_MAX: usize = 1 << 28;
/// Paths that go through the network together, always as many: sums are rounded as a product's size has it.
pub const BATCH: usize = 64;

/// See the module.
#[derive(Clone, Debug)]
pub struct Generator {
    pub(super) device: Device,
    pub(super) network: networks::Generator,
    pub(super) parameters: Vec<Parameter>,
    config: GanConfig,
}

impl Generator {
    /// One that has learned nothing; its configuration is valid.
    pub(super) fn new(config: &GanConfig, key: Key) -> Self {
        let device = Device::flex();
        let mut builder = Builder::new(&device, key);
        let network = networks::Generator::new(&mut builder, config);
        Self { device, network, parameters: builder.all, config: config.clone() }
    }

    /// Reads what [`to_safetensors`](Self::to_safetensors) wrote, or PyTorch.
    ///
    /// # Errors
    /// [`TrainError::Config`] where the configuration is not valid, [`TrainError::Weights`] where the
    /// tensors are not its own.
    pub fn from_safetensors(config: &GanConfig, weights: &[u8]) -> Result<Self, TrainError> {
        config.validate()?;
        let mut generator = Self::new(config, Key::new(0));
        let mut tensors = Tensors::read(weights).map_err(TrainError::Weights)?;
        for parameter in &mut generator.parameters {
            let values = tensors.take(&parameter.name, &parameter.shape);
            parameter.values = vector(values.map_err(TrainError::Weights)?, &generator.device);
        }
        tensors.finish().map_err(TrainError::Weights)?;
        Ok(generator)
    }

    /// Its weights under PyTorch's names, as the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`TrainError::Backend`].
    pub fn to_safetensors(&self) -> Result<Vec<u8>, TrainError> {
        let mut file = File::default();
        for parameter in &self.parameters {
            file.add(parameter.name.clone(), &parameter.shape, &parameter.values)?;
        }
        file.bytes(None)
    }

    /// Steps of a path.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.config.steps
    }

    /// Features of a step.
    #[must_use]
    pub fn features(&self) -> usize {
        self.config.features
    }

    /// Makes so many paths, `[paths][steps][features]`, on the scale of the data.
    ///
    /// # Errors
    /// [`TrainError::Config`] where they are more numbers than [`NUMBERS_MAX`].
    pub fn paths(&self, paths: usize, seed: u64) -> Result<Vec<f32>, TrainError> {
        let numbers_of_path = self.steps() * self.features();
        within("paths", paths, 0..=NUMBERS_MAX / numbers_of_path)?;
        let mut all = Vec::with_capacity(paths * numbers_of_path);
        for batch in self.batches(paths, seed) {
            all.extend(batch?);
        }
        Ok(all)
    }

    /// The same paths, [`BATCH`] at a time (the last ones may be fewer), so that memory does not grow with
    /// their number.
    ///
    /// # Errors
    /// [`TrainError::Backend`], of each batch.
    pub fn batches(
        &self,
        paths: usize,
        seed: u64,
    ) -> impl Iterator<Item = Result<Vec<f32>, TrainError>> {
        let numbers_of_path = self.steps() * self.features();
        let values: Vec<Tensor<1>> = self.parameters.iter().map(|p| p.values.clone()).collect();
        let key = Key::new(seed);
        (0..paths).step_by(BATCH).map(move |first| {
            let pass = Pass::new(&values, &self.device, Mode::Answer);
            let noise = self.noise(BATCH, |path| key.fork((first + path) as u64));
            let windows = self.network.scaled(&pass, self.network.windows(&pass, noise));
            let mut made = numbers(&windows.reshape([BATCH * numbers_of_path]))?;
            made.truncate((paths - first).min(BATCH) * numbers_of_path);
            Ok(made)
        })
    }

    /// Noise for so many paths, `[warm-up + steps][paths][noise]`, each path's from a key of its own.
    pub(super) fn noise(&self, paths: usize, key: impl Fn(usize) -> Key) -> Tensor<3> {
        let GanConfig { steps, warm_up, noise, .. } = self.config;
        let keys: Vec<Key> = (0..paths).map(key).collect();
        let shape = [warm_up + steps, paths, noise];
        let mut numbers = Vec::with_capacity(shape.iter().product());
        for step in 0..warm_up + steps {
            for key in &keys {
                let at = |n: usize| (step * noise + n) as u64;
                numbers.extend((0..noise).map(|n| key.normal(at(n))));
            }
        }
        Tensor::from_data(TensorData::new(numbers, shape), &self.device)
    }
}
