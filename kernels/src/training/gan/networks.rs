//! The two networks.
//!
//! Invariant: the generator's names and layouts are PyTorch's. The discriminator's weights are divided by
//! their spectral norm, estimated by one step of the power method each time it learns (Miyato et al., 2018).

use burn::tensor::module::conv1d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, activation};

use super::super::layers::Linear;
use super::super::networks::lstm;
use super::super::parameters::{Builder, First, Role, Slot};
use super::super::pass::Pass;
use super::config::GanConfig;

/// Of negative sums in the discriminator, so that it never stops teaching.
const SLOPE: f64 = 0.2;
/// Added to a length before it divides.
const EPSILON: f64 = 1e-12;

/// `lstm.N` over noise, `head` over each step's units, and the data's `mean` and `deviation`.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    layers: Vec<lstm::Layer>,
    head: Linear,
    pub(super) mean: Slot,
    pub(super) deviation: Slot,
    warm_up: usize,
    features: usize,
}

impl Generator {
    pub(super) fn new(b: &mut Builder, config: &GanConfig) -> Self {
        let mut inputs = config.noise;
        let mut layers = Vec::new();
        for (n, &units) in config.units.iter().enumerate() {
            layers.push(lstm::Layer::new(b, n, inputs, units));
            inputs = units;
        }
        let features = config.features;
        let head = Linear::new(b, "head", [inputs, features]);
        let mut scale = |name: &str, first| {
            b.add(name.to_owned(), &[features], Role::Statistic, First::All(first))
        };
        let (mean, deviation) = (scale("mean", 0.0), scale("deviation", 1.0));
        Self { layers, head, mean, deviation, warm_up: config.warm_up, features }
    }

    /// Windows in deviations from the mean, `[batch][steps][features]`, of noise
    /// `[warm-up + steps][batch][noise]`.
    pub(super) fn windows(&self, pass: &Pass<'_>, noise: Tensor<3>) -> Tensor<3> {
        let mut x = noise;
        for layer in &self.layers {
            x = layer.forward(pass, x);
        }
        let [steps, batch, units] = x.dims();
        let x = x.slice([self.warm_up..steps, 0..batch, 0..units]);
        self.head.forward_steps(pass, x.swap_dims(0, 1))
    }

    /// As the data are.
    pub(super) fn scaled(&self, pass: &Pass<'_>, windows: Tensor<3>) -> Tensor<3> {
        let shape = [1, 1, self.features];
        windows * pass.get(self.deviation, shape) + pass.get(self.mean, shape)
    }
}

/// `convs.N` along time, then `head` over the sum of all places; `u` of each is kept for the power method.
#[derive(Clone, Debug)]
pub(super) struct Discriminator {
    convs: Vec<Normed>,
    head: Normed,
    kernel: usize,
}

/// A matrix of weights that is divided by its spectral norm.
#[derive(Clone, Copy, Debug)]
struct Normed {
    weight: Slot,
    bias: Slot,
    /// The left singular vector as it is known.
    u: Slot,
    outputs: usize,
    inputs: usize,
}

impl Normed {
    fn new(b: &mut Builder, name: &str, outputs: usize, shape: &[usize]) -> Self {
        let inputs = shape.iter().product();
        let first = First::Uniform(1.0 / (inputs as f64).sqrt());
        let shape = [&[outputs], shape].concat();
        Self {
            weight: b.add(format!("{name}.weight"), &shape, Role::Weight, first),
            bias: b.add(format!("{name}.bias"), &[outputs], Role::Bias, first),
            u: b.add(format!("{name}.u"), &[outputs], Role::Statistic, First::Normal(1.0)),
            outputs,
            inputs,
        }
    }

    /// The weights, `[outputs][inputs]`, divided. While training, the singular vectors are brought up to
    /// date first; they count as constants.
    fn divided(&self, pass: &mut Pass<'_>) -> Tensor<2> {
        let weight: Tensor<2> = pass.get(self.weight, [self.outputs, self.inputs]);
        let constant = weight.clone().inner();
        let unit = |v: Tensor<2>| {
            let length = (v.clone() * v.clone()).sum().sqrt().add_scalar(EPSILON);
            v / length.reshape([1, 1])
        };
        let mut u: Tensor<2> = pass.get(self.u, [self.outputs, 1]);
        let v = unit(constant.clone().transpose().matmul(u.clone()));
        if pass.is_training() {
            u = unit(constant.matmul(v.clone()));
            pass.seen.push((self.u, u.clone().reshape([self.outputs])));
        }
        let singular = (u * weight.clone().matmul(v)).sum().reshape([1, 1]);
        weight / singular
    }
}

impl Discriminator {
    pub(super) fn new(b: &mut Builder, config: &GanConfig) -> Self {
        let mut inputs = config.features;
        let mut convs = Vec::new();
        for (n, &channels) in config.channels.iter().enumerate() {
            let shape = [inputs, config.kernel];
            convs.push(Normed::new(b, &format!("convs.{n}"), channels, &shape));
            inputs = channels;
        }
        let head = Normed::new(b, "head", 1, &[inputs]);
        Self { convs, head, kernel: config.kernel }
    }

    /// How much each window looks like the data's, `[batch]`; windows are in deviations from the mean.
    pub(super) fn scores(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<1> {
        let mut x = windows.swap_dims(1, 2);
        for conv in &self.convs {
            let shape = [conv.outputs, conv.inputs / self.kernel, self.kernel];
            let weight = conv.divided(pass).reshape(shape);
            let bias = pass.get(conv.bias, [conv.outputs]);
            // Without zeros at the ends, which no path has.
            let options = ConvOptions { stride: [1], padding: [(0, 0)], dilation: [1], groups: 1 };
            x = activation::leaky_relu(conv1d(x, weight, Some(bias), options), SLOPE);
        }
        let [batch, channels, _] = x.dims();
        let sums = x.sum_dim(2).reshape([batch, channels]);
        let scores = sums.matmul(self.head.divided(pass).transpose());
        (scores + pass.get(self.head.bias, [1, 1])).reshape([batch])
    }
}
