//! The numbers of a network by name, and how they begin.
//!
//! Invariants: names and shapes are PyTorch's; first values are those that PyTorch draws from the same
//! distributions, here from a key and a counter for each tensor.

use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::Key;

/// What a tensor is to training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Learned, and drawn to zero by weight decay.
    Weight,
    /// Learned: a bias, or of a norm.
    Bias,
    /// Counted along: a mean or a variance that batch norm has seen.
    Statistic,
}

/// A tensor of a network.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) role: Role,
    /// In row-major order, without derivatives.
    pub(super) values: Tensor<1>,
}

impl Parameter {
    /// How many numbers it has.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether gradients change it.
    pub(super) fn is_learned(&self) -> bool {
        self.role != Role::Statistic
    }
}

/// Where a tensor stands among those of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) usize);

/// First values of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    All(f32),
    /// Between minus and plus that.
    Uniform(f64),
    /// Standard deviation.
    Normal(f32),
}

/// Collects the tensors of a network while it is built.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) device: Device,
    key: Key,
    pub(super) all: Vec<Parameter>,
}

impl Builder {
    pub(super) fn new(device: &Device, key: Key) -> Self {
        Self { device: device.clone(), key, all: Vec::new() }
    }

    pub(super) fn add(&mut self, name: String, shape: &[usize], role: Role, first: First) -> Slot {
        let slot = Slot(self.all.len());
        let key = self.key.fork(slot.0 as u64);
        let count = shape.iter().product::<usize>() as u64;
        let values: Vec<f32> = match first {
            First::All(value) => vec![value; count as usize],
            First::Uniform(most) => {
                let draw = |i| (most * (2.0 * f64::from(key.uniform(i)) - 1.0)) as f32;
                (0..count).map(draw).collect()
            }
            First::Normal(deviation) => (0..count).map(|i| deviation * key.normal(i)).collect(),
        };
        let values = vector(values, &self.device);
        self.all.push(Parameter { name, shape: shape.to_vec(), role, values });
        slot
    }
}

/// Numbers as a tensor.
pub(super) fn vector(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}
