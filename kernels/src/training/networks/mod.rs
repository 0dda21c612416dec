//! The networks of [`predictors`](crate::predictors) in a form that can be derived.
//!
//! Invariant: names and formulas are those of the networks there.

mod cnn;
mod dense;
pub(super) mod lstm;
mod transformer;

use burn::tensor::Tensor;

use super::parameters::Builder;
use super::pass::Pass;
use crate::predictors::activation::Activation;
use crate::predictors::architecture::Architecture;

/// Where a network's tensors are and what it computes of them.
#[derive(Clone, Debug)]
pub(super) enum Network {
    FeedForward(dense::FeedForward),
    Lstm(lstm::Lstm),
    Cnn(cnn::Cnn),
    Transformer(transformer::Transformer),
    Autoencoder(dense::Autoencoder),
}

impl Network {
    /// Adds its tensors in a fixed order.
    pub(super) fn new(b: &mut Builder, architecture: &Architecture, batch_norm: bool) -> Self {
        match architecture {
            Architecture::FeedForward(a) => {
                Self::FeedForward(dense::FeedForward::new(b, a, batch_norm))
            }
            Architecture::Lstm(a) => Self::Lstm(lstm::Lstm::new(b, a)),
            Architecture::Cnn(a) => Self::Cnn(cnn::Cnn::new(b, a, batch_norm)),
            Architecture::Transformer(a) => Self::Transformer(transformer::Transformer::new(b, a)),
            Architecture::Autoencoder(a) => Self::Autoencoder(dense::Autoencoder::new(b, a)),
        }
    }

    /// The head's sums for each window, `[batch][outputs]`, before the architecture's output function.
    /// `windows` is `[batch][steps][inputs]`.
    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<2> {
        match self {
            Self::FeedForward(network) => network.sums(pass, windows),
            Self::Lstm(network) => network.sums(pass, windows),
            Self::Cnn(network) => network.sums(pass, windows),
            Self::Transformer(network) => network.sums(pass, windows),
            Self::Autoencoder(network) => network.sums(pass, windows),
        }
    }
}

/// Features of a step, steps of a window, numbers in an answer, and what makes them of the head's sums.
pub(super) fn shape(architecture: &Architecture) -> (usize, usize, usize, Activation) {
    match architecture {
        Architecture::FeedForward(a) => (a.inputs, 1, a.outputs, a.output.into()),
        Architecture::Lstm(a) => (a.inputs, a.steps, a.outputs, a.output.into()),
        Architecture::Cnn(a) => (a.inputs, a.steps, a.outputs, a.output.into()),
        Architecture::Transformer(a) => (a.inputs, a.steps, a.outputs, a.output.into()),
        Architecture::Autoencoder(a) => (a.inputs, 1, a.inputs, a.output.into()),
    }
}

/// The last step of each window.
fn last_step(x: Tensor<3>) -> Tensor<2> {
    let [batch, steps, width] = x.dims();
    x.slice([0..batch, steps - 1..steps, 0..width]).reshape([batch, width])
}
