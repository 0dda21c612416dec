//! A network with its weights, as training sees it.

use burn::tensor::{Device, Tensor, TensorData};

use super::data::{DataError, Dataset};
use super::export::{File, numbers};
use super::layers::activate;
use super::networks::{self, Network};
use super::parameters::{Builder, Parameter, Role};
use super::pass::{Mode, Pass};
use super::trainer::TrainError;
use crate::predictors::activation::Activation;
use crate::predictors::architecture::Architecture;
use crate::rng::Key;

/// Windows that are answered at once.
const BATCH: usize = 256;

/// See the module.
#[derive(Clone, Debug)]
pub struct Model {
    device: Device,
    network: Network,
    pub(super) parameters: Vec<Parameter>,
    inputs: usize,
    steps: usize,
    output: Activation,
}

impl Model {
    /// A network that has learned nothing; its description is valid.
    pub(super) fn new(architecture: &Architecture, batch_norm: bool, key: Key) -> Self {
        let device = Device::flex();
        let mut builder = Builder::new(&device, key);
        let network = Network::new(&mut builder, architecture, batch_norm);
        let (inputs, steps, _, output) = networks::shape(architecture);
        Self { device, network, parameters: builder.all, inputs, steps, output }
    }

    /// Its weights under PyTorch's names, the statistics of batch norms included, as the bytes of a
    /// safetensors file.
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

    /// As [`to_safetensors`](Self::to_safetensors), the head cut to its first answer, the direction: what is
    /// served of a network that has learned a magnitude, too.
    ///
    /// # Errors
    /// [`TrainError::Backend`].
    pub fn direction_to_safetensors(&self) -> Result<Vec<u8>, TrainError> {
        let mut file = File::default();
        for Parameter { name, shape, values, .. } in &self.parameters {
            if !matches!(name.as_str(), "head.weight" | "head.bias") {
                file.add(name.clone(), shape, values)?;
                continue;
            }
            let mut first = shape.clone();
            first[0] = 1;
            let count = first.iter().product();
            file.add_numbers(name.clone(), &first, &numbers(values)?[..count]);
        }
        file.bytes(None)
    }

    /// Answers the windows that end with some rows, `[rows][outputs]`, as training computes them.
    ///
    /// # Errors
    /// [`DataError`] where the data have other features or a row has no window.
    pub fn answers(&self, data: &Dataset<'_>, rows: &[usize]) -> Result<Vec<f32>, TrainError> {
        self.check(data)?;
        let has_window =
            |row: usize| row < data.len() && data.window_start(row, self.steps).is_some();
        if let Some(&row) = rows.iter().find(|row| !has_window(**row)) {
            let expected = format!("rows with {} steps of their stream", self.steps);
            return Err(DataError::Range { rows: row..row + 1, expected }.into());
        }
        let values = self.values();
        let mut answers = Vec::new();
        for rows in rows.chunks(BATCH) {
            let windows = self.windows(data, rows);
            let sums = self.sums(&mut Pass::new(&values, &self.device, Mode::Answer), windows);
            let count = sums.dims().iter().product::<usize>();
            answers.extend(numbers(&activate(self.output, sums).reshape([count]))?);
        }
        Ok(answers)
    }

    /// Whether the data have the network's features.
    pub(super) fn check(&self, data: &Dataset<'_>) -> Result<(), DataError> {
        if data.inputs() == self.inputs {
            return Ok(());
        }
        let expected = format!("{} a row, as the architecture has", self.inputs);
        Err(DataError::Shape { what: "features of a row", found: data.inputs(), expected })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn output(&self) -> Activation {
        self.output
    }

    /// The windows that end with some rows, each of which has one.
    pub(super) fn windows(&self, data: &Dataset<'_>, rows: &[usize]) -> Tensor<3> {
        let shape = [rows.len(), self.steps, self.inputs];
        let mut numbers = Vec::with_capacity(shape.iter().product());
        for row in rows {
            data.window(*row, self.steps, &mut numbers);
        }
        Tensor::from_data(TensorData::new(numbers, shape), &self.device)
    }

    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<2> {
        self.network.sums(pass, windows)
    }

    /// What a pass without derivatives goes over.
    pub(super) fn values(&self) -> Vec<Tensor<1>> {
        self.parameters.iter().map(|parameter| parameter.values.clone()).collect()
    }

    /// What a pass goes over that is derived by all that is learned.
    pub(super) fn leaves(&self) -> Vec<Tensor<1>> {
        let leaf = |parameter: &Parameter| {
            let values = parameter.values.clone();
            if parameter.role == Role::Statistic {
                values
            } else {
                values.autodiff().require_grad()
            }
        };
        self.parameters.iter().map(leaf).collect()
    }
}
