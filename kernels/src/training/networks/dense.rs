//! Networks of dense layers over one step's features.

use burn::tensor::Tensor;

use super::super::layers::{BatchNorm, Linear, activate};
use super::super::parameters::Builder;
use super::super::pass::Pass;
use super::last_step;
use crate::predictors::activation::Activation;
use crate::predictors::architecture::{AutoencoderArchitecture, FeedForwardArchitecture};

/// `layers.N`, `norms.N`, `head`.
#[derive(Clone, Debug)]
pub(in super::super) struct FeedForward {
    layers: Vec<(Linear, Option<BatchNorm>)>,
    activation: Activation,
    head: Linear,
}

impl FeedForward {
    pub(super) fn new(b: &mut Builder, a: &FeedForwardArchitecture, batch_norm: bool) -> Self {
        let mut inputs = a.inputs;
        let mut layers = Vec::new();
        for (n, &units) in a.hidden.iter().enumerate() {
            let (name, shape) = (format!("layers.{n}"), [inputs, units]);
            layers.push(if batch_norm {
                let linear = Linear::without_bias(b, &name, shape);
                (linear, Some(BatchNorm::new(b, &format!("norms.{n}"), units)))
            } else {
                (Linear::new(b, &name, shape), None)
            });
            inputs = units;
        }
        let head = Linear::new(b, "head", [inputs, a.outputs]);
        Self { layers, activation: a.activation, head }
    }

    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<2> {
        let mut x = last_step(windows);
        for (linear, norm) in &self.layers {
            x = linear.forward(pass, x);
            if let Some(norm) = norm {
                x = norm.forward(pass, x);
            }
            x = pass.dropout(activate(self.activation, x));
        }
        self.head.forward(pass, x)
    }
}

/// `encoder.N`, `decoder.N`.
#[derive(Clone, Debug)]
pub(in super::super) struct Autoencoder {
    layers: Vec<Linear>,
    activation: Activation,
}

impl Autoencoder {
    pub(super) fn new(b: &mut Builder, a: &AutoencoderArchitecture) -> Self {
        let down = [&[a.inputs], &a.encoder[..]].concat();
        let up: Vec<usize> = down.iter().rev().copied().collect();
        let mut layers = Vec::new();
        for (part, widths) in [("encoder", down), ("decoder", up)] {
            for (n, pair) in widths.windows(2).enumerate() {
                layers.push(Linear::new(b, &format!("{part}.{n}"), [pair[0], pair[1]]));
            }
        }
        Self { layers, activation: a.activation }
    }

    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<2> {
        let mut x = last_step(windows);
        for (n, layer) in self.layers.iter().enumerate() {
            if n > 0 {
                x = pass.dropout(activate(self.activation, x));
            }
            x = layer.forward(pass, x);
        }
        x
    }
}
