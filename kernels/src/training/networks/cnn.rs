//! Causal convolutions along time, pooled.

use burn::tensor::Tensor;
use burn::tensor::module::conv1d;
use burn::tensor::ops::ConvOptions;

use super::super::layers::{BatchNorm, Linear, activate};
use super::super::parameters::{Builder, First, Role, Slot};
use super::super::pass::Pass;
use crate::predictors::activation::Activation;
use crate::predictors::architecture::{CnnArchitecture, Pooling};

/// `convs.N`, `norms.N`, `head`.
#[derive(Clone, Debug)]
pub(in super::super) struct Cnn {
    convs: Vec<Conv>,
    activation: Activation,
    pooling: Pooling,
    head: Linear,
}

#[derive(Clone, Copy, Debug)]
struct Conv {
    weight: Slot,
    /// None before a batch norm, which takes off whatever is added here.
    bias: Option<Slot>,
    norm: Option<BatchNorm>,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    dilation: usize,
}

impl Cnn {
    pub(super) fn new(b: &mut Builder, a: &CnnArchitecture, batch_norm: bool) -> Self {
        let mut inputs = a.inputs;
        let mut convs = Vec::new();
        for (n, &outputs) in a.channels.iter().enumerate() {
            let first = First::Uniform(1.0 / ((inputs * a.kernel) as f64).sqrt());
            let shape = [outputs, inputs, a.kernel];
            convs.push(Conv {
                weight: b.add(format!("convs.{n}.weight"), &shape, Role::Weight, first),
                bias: (!batch_norm)
                    .then(|| b.add(format!("convs.{n}.bias"), &[outputs], Role::Bias, first)),
                norm: batch_norm.then(|| BatchNorm::new(b, &format!("norms.{n}"), outputs)),
                inputs,
                outputs,
                kernel: a.kernel,
                dilation: a.dilations.get(n).copied().unwrap_or(1),
            });
            inputs = outputs;
        }
        let head = Linear::new(b, "head", [inputs, a.outputs]);
        Self { convs, activation: a.activation, pooling: a.pooling, head }
    }

    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<2> {
        let mut x = windows.swap_dims(1, 2);
        for conv in &self.convs {
            x = conv.forward(pass, x);
            if let Some(norm) = &conv.norm {
                x = norm.forward(pass, x);
            }
            x = pass.dropout(activate(self.activation, x));
        }
        let [batch, channels, steps] = x.dims();
        let pooled = match self.pooling {
            Pooling::Last => x.slice([0..batch, 0..channels, steps - 1..steps]),
            Pooling::Mean => x.mean_dim(2),
            Pooling::Max => x.max_dim(2),
        };
        self.head.forward(pass, pooled.reshape([batch, channels]))
    }
}

impl Conv {
    fn forward(&self, pass: &Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let weight = pass.get(self.weight, [self.outputs, self.inputs, self.kernel]);
        let bias = self.bias.map(|bias| pass.get(bias, [self.outputs]));
        let options = ConvOptions {
            stride: [1],
            // Zeros before the window, none behind it: no step sees a later one.
            padding: [((self.kernel - 1) * self.dilation, 0)],
            dilation: [self.dilation],
            groups: 1,
        };
        conv1d(x, weight, bias, options)
    }
}
