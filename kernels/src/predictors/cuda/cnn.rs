//! Causal convolutions along time, for `cnn.cu`.

use bytemuck::{Pod, Zeroable};
use purkinje_cuda::sources;

use super::program::{DenseLayer, Plan, Program, Weights, stride};
use crate::predictors::architecture::{LAYERS_MAX, Pooling};
use crate::predictors::cnn::Cnn;
use crate::predictors::conv::Conv;
use crate::predictors::predictor::Predictor as _;

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct ConvLayer {
    covered: DenseLayer,
    channels: u32,
    dilation: u32,
    reach: u32,
    ring: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct CnnSizes {
    layers: u32,
    kernel: u32,
    pooling: u32,
    steps: u32,
    recent: u32,
    widest_covered: u32,
    widest: u32,
    unused: u32,
    layer: [ConvLayer; LAYERS_MAX],
    head: DenseLayer,
}

pub(in crate::predictors) fn program(network: &Cnn, instruments: usize) -> Program {
    let mut weights = Weights::default();
    let mut layer = [ConvLayer::zeroed(); LAYERS_MAX];
    // The first two words count steps.
    let mut words = 2;
    for (to, conv) in layer.iter_mut().zip(&network.convs) {
        *to = ConvLayer { ring: words as u32, ..convolution(conv, &mut weights) };
        words += conv.shape().reach() * conv.shape().inputs;
    }
    let shapes = || network.convs.iter().map(Conv::shape);
    let channels = shapes().map(|shape| shape.outputs).max().unwrap_or(0);
    let widest = channels.max(network.inputs());
    let covered = shapes().map(|shape| shape.kernel * shape.inputs).max().unwrap_or(0);
    let sizes = CnnSizes {
        layers: network.convs.len() as u32,
        kernel: shapes().next().map_or(0, |shape| shape.kernel) as u32,
        pooling: match network.pooling {
            Pooling::Last => 0,
            Pooling::Mean => 1,
            Pooling::Max => 2,
        },
        steps: network.steps() as u32,
        recent: words as u32,
        widest_covered: covered as u32,
        widest: widest as u32,
        unused: 0,
        layer,
        head: weights.put_dense(&network.head),
    };
    let threads = channels.max(covered).max(network.outputs());
    let window = 2 * network.steps() * widest;
    Program {
        module: &sources::CNN,
        instruments,
        weights: weights.0,
        inputs: network.inputs(),
        steps: network.steps(),
        outputs: network.outputs(),
        stream_words: network.stream_words(),
        has_errors: false,
        between: 0,
        step: vec![Plan::new("cnn_step", threads, covered + 2 * widest, &sizes)],
        window: Plan::new("cnn_window", network.steps() * channels, window, &sizes),
    }
}

/// Without the numbers between two columns that no weight goes to.
fn convolution(conv: &Conv, weights: &mut Weights) -> ConvLayer {
    let (shape, linear) = (conv.shape(), &conv.dense.linear);
    let columns = (0..shape.kernel * shape.stride).filter(|c| c % shape.stride < shape.inputs);
    let covered = DenseLayer {
        weights: weights.put_matrix(linear.panels(), shape.outputs, columns, |row| row),
        bias: weights.put(linear.bias()),
        inputs: (shape.kernel * shape.inputs) as u32,
        outputs: shape.outputs as u32,
        stride: stride(shape.outputs) as u32,
        activation: conv.dense.activation as u32,
    };
    let (channels, dilation) = (shape.inputs as u32, shape.dilation as u32);
    ConvLayer { covered, channels, dilation, reach: shape.reach() as u32, ring: 0 }
}
