//! The layers that several networks share.
//!
//! Invariant: formulas, epsilons and names are those of PyTorch, and so those of
//! [`predictors`](crate::predictors).

use burn::tensor::{Tensor, activation, module};

use super::parameters::{Builder, First, Role, Slot};
use super::pass::Pass;
use super::row_operations::layer_norm;
use crate::predictors::activation::Activation;
use crate::predictors::{batch_norm, layer_norm as norm};

/// How much of a batch's mean and variance goes into what is kept of them: PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// `x · weightᵀ + bias`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    weight: Slot,
    bias: Option<Slot>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub(super) fn new(b: &mut Builder, name: &str, shape: [usize; 2]) -> Self {
        let first = First::Uniform(1.0 / (shape[0] as f64).sqrt());
        let linear = Self::without_bias(b, name, shape);
        let bias = b.add(format!("{name}.bias"), &shape[1..], Role::Bias, first);
        Self { bias: Some(bias), ..linear }
    }

    /// For a batch norm behind it, which takes off whatever is added here.
    pub(super) fn without_bias(b: &mut Builder, name: &str, [inputs, outputs]: [usize; 2]) -> Self {
        let first = First::Uniform(1.0 / (inputs as f64).sqrt());
        let weight = b.add(format!("{name}.weight"), &[outputs, inputs], Role::Weight, first);
        Self { weight, bias: None, inputs, outputs }
    }

    pub(super) fn forward(&self, pass: &Pass<'_>, x: Tensor<2>) -> Tensor<2> {
        let weight = pass.get(self.weight, [self.outputs, self.inputs]).transpose();
        module::linear(x, weight, self.bias.map(|bias| pass.get(bias, [self.outputs])))
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
        let of = |slot| pass.get(slot, [self.channels]);
        let [weight, bias] = [self.weight, self.bias].map(of);
        let epsilon = batch_norm::EPSILON;
        if !pass.is_training() {
            let [mean, variance] = [self.mean, self.variance].map(of);
            return module::batch_norm(x, weight, bias, mean, variance, epsilon);
        }
        let count = x.dims().iter().product::<usize>() / self.channels;
        let of_batch = module::batch_norm_train(x, weight, bias, epsilon);
        // What is kept is the estimate without bias, as in PyTorch; a batch has at least two rows.
        let unbiased = of_batch.variance.mul_scalar(count as f64 / (count as f64 - 1.0));
        for (slot, new) in [(self.mean, of_batch.mean), (self.variance, unbiased)] {
            let kept = pass.get(slot, [self.channels]).inner();
            let kept = kept.mul_scalar(1.0 - MOMENTUM) + new.inner().mul_scalar(MOMENTUM);
            pass.seen.push((slot, kept));
        }
        of_batch.output
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
        let [weight, bias] = [self.weight, self.bias].map(|slot| pass.get(slot, [self.width]));
        layer_norm(x, weight, bias, norm::EPSILON)
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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::export::numbers;
    use super::super::pass::Mode;
    use super::*;
    use crate::rng::Key;

    #[test]
    fn batch_norm_is_of_the_batch_in_training_and_remembers_it_as_pytorch_does() {
        let device = Device::flex();
        let mut builder = Builder::new(&device, Key::new(0));
        let norm = BatchNorm::new(&mut builder, "norms.0", 2);
        let values: Vec<_> = builder.all.iter().map(|p| p.values.clone()).collect();
        let x = Tensor::<2>::from_floats([[1.0, 0.0], [2.0, 4.0], [6.0, 8.0]], &device);
        let mut pass =
            Pass::new(&values, &device, Mode::Training { dropout: 0.0, key: Key::new(0) });
        let y = numbers(&norm.forward(&mut pass, x.clone()).reshape([6])).unwrap();
        // Means 3 and 4, variances 14/3 and 32/3, without bias 7 and 16.
        let deviations = [(14.0_f64 / 3.0 + 1e-5).sqrt(), (32.0_f64 / 3.0 + 1e-5).sqrt()];
        let expected = [-2.0, -4.0, -1.0, 0.0, 3.0, 4.0];
        for (n, (y, centred)) in y.iter().zip(expected).enumerate() {
            assert!((f64::from(*y) - centred / deviations[n % 2]).abs() < 1e-6, "{n}: {y}");
        }
        let seen: Vec<_> =
            pass.seen.iter().map(|(slot, new)| (slot.0, numbers(new).unwrap())).collect();
        let close = |found: &[f32], expected: [f32; 2]| {
            found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6)
        };
        assert!(seen[0].0 == 2 && close(&seen[0].1, [0.3, 0.4]), "means: {seen:?}");
        assert!(seen[1].0 == 3 && close(&seen[1].1, [1.6, 2.5]), "variances: {seen:?}");

        let mut pass = Pass::new(&values, &device, Mode::Answer);
        let y = numbers(&norm.forward(&mut pass, x).reshape([6])).unwrap();
        assert!((y[5] - 8.0).abs() < 1e-4, "mean 0 and variance 1 leave it: {y:?}");
        assert!(pass.seen.is_empty());
    }
}
