//! The layers that several networks share.
//!
//! Invariant: formulas, epsilons and names are those of PyTorch, and so those of
//! [`predictors`](crate::predictors).

use burn::tensor::{Tensor, activation};

use super::parameters::{Builder, First, Role, Slot};
use super::pass::Pass;
use crate::predictors::activation::Activation;
use crate::predictors::{batch_norm, layer_norm};

/// How much of a batch's mean and variance goes into what is kept of them: PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// `x · weightᵀ + bias`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    weight: Slot,
    bias: Slot,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub(super) fn new(b: &mut Builder, name: &str, [inputs, outputs]: [usize; 2]) -> Self {
        let first = First::Uniform(1.0 / (inputs as f64).sqrt());
        let weight = b.add(format!("{name}.weight"), &[outputs, inputs], Role::Weight, first);
        let bias = b.add(format!("{name}.bias"), &[outputs], Role::Bias, first);
        Self { weight, bias, inputs, outputs }
    }

    pub(super) fn forward(&self, pass: &Pass<'_>, x: Tensor<2>) -> Tensor<2> {
        let weight = pass.get(self.weight, [self.outputs, self.inputs]);
        x.matmul(weight.transpose()) + pass.get(self.bias, [1, self.outputs])
    }

    /// Each step of each window.
    pub(super) fn forward_steps(&self, pass: &Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let [batch, steps, _] = x.dims();
        let rows = x.reshape([batch * steps, self.inputs]);
        self.forward(pass, rows).reshape([batch, steps, self.outputs])
    }
}

/// `BatchNorm1d` over the second dimension.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchNorm {
    weight: Slot,
    bias: Slot,
    mean: Slot,
    variance: Slot,
    channels: usize,
}

impl BatchNorm {
    pub(super) fn new(b: &mut Builder, name: &str, channels: usize) -> Self {
        let mut add = |rest, role, first| {
            b.add(format!("{name}.{rest}"), &[channels], role, First::All(first))
        };
        Self {
            weight: add("weight", Role::Bias, 1.0),
            bias: add("bias", Role::Bias, 0.0),
            mean: add("running_mean", Role::Statistic, 0.0),
            variance: add("running_var", Role::Statistic, 1.0),
            channels,
        }
    }

    pub(super) fn forward<const D: usize>(&self, pass: &mut Pass<'_>, x: Tensor<D>) -> Tensor<D> {
        let mut shape = [1; D];
        shape[1] = self.channels;
        let [mean, variance] = if pass.is_training() {
            self.of_batch(pass, &x)
        } else {
            [pass.get(self.mean, shape), pass.get(self.variance, shape)]
        };
        let normal = (x - mean) / (variance + batch_norm::EPSILON).sqrt();
        normal * pass.get(self.weight, shape) + pass.get(self.bias, shape)
    }

    /// Mean and variance of the batch, which also go into those that are kept.
    fn of_batch<const D: usize>(&self, pass: &mut Pass<'_>, x: &Tensor<D>) -> [Tensor<D>; 2] {
        let count = x.dims().iter().product::<usize>() / self.channels;
        let others: Vec<usize> = (0..D).filter(|dim| *dim != 1).collect();
        let mean = x.clone().mean_dims(&others);
        let centred = x.clone() - mean.clone();
        let variance = (centred.clone() * centred).mean_dims(&others);
        // What is kept is the estimate without bias, as in PyTorch; a batch has at least two rows.
        let unbiased = count as f64 / (count as f64 - 1.0);
        for (slot, new) in
            [(self.mean, mean.clone()), (self.variance, variance.clone().mul_scalar(unbiased))]
        {
            let new = new.inner().reshape([self.channels]);
            let kept = pass.get(slot, [self.channels]).inner();
            pass.seen.push((slot, kept.mul_scalar(1.0 - MOMENTUM) + new.mul_scalar(MOMENTUM)));
        }
        [mean, variance]
    }
}

/// `LayerNorm` over the last dimension.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerNorm {
    weight: Slot,
    bias: Slot,
    width: usize,
}

impl LayerNorm {
    pub(super) fn new(b: &mut Builder, name: &str, width: usize) -> Self {
        let weight = b.add(format!("{name}.weight"), &[width], Role::Bias, First::All(1.0));
        let bias = b.add(format!("{name}.bias"), &[width], Role::Bias, First::All(0.0));
        Self { weight, bias, width }
    }

    pub(super) fn forward(&self, pass: &Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let mean = x.clone().mean_dim(2);
        let centred = x - mean;
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let normal = centred / (variance + f64::from(layer_norm::EPSILON)).sqrt();
        let shape = [1, 1, self.width];
        normal * pass.get(self.weight, shape) + pass.get(self.bias, shape)
    }
}

pub(super) fn activate<const D: usize>(function: Activation, x: Tensor<D>) -> Tensor<D> {
    match function {
        Activation::Identity => x,
        Activation::Relu => activation::relu(x),
        Activation::LeakyRelu => activation::leaky_relu(x, 0.01),
        Activation::Elu => activation::elu(x, 1.0),
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::Sigmoid => activation::sigmoid(x),
        Activation::Tanh => activation::tanh(x),
    }
}
