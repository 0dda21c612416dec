//! Dense layers one behind the other, for `feed_forward.cu`.

use bytemuck::{Pod, Zeroable};
use purkinje_cuda::sources;

use super::program::{DenseLayer, Plan, Program, Weights};
use crate::predictors::architecture::LAYERS_MAX;
use crate::predictors::dense::{Dense, Stack};

/// An encoder and a decoder of as many layers as there may be.
const DENSE_LAYERS_MAX: usize = 2 * LAYERS_MAX;

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct FeedForwardSizes {
    layers: u32,
    width: u32,
    layer: [DenseLayer; DENSE_LAYERS_MAX],
}

/// Of a stack of at least one layer; with an error besides where what comes out stands for what goes in.
pub(in crate::predictors) fn program(
    stack: &Stack,
    has_errors: bool,
    instruments: usize,
) -> Program {
    let mut weights = Weights::default();
    let mut layer = [DenseLayer::zeroed(); DENSE_LAYERS_MAX];
    for (to, from) in layer.iter_mut().zip(&stack.layers) {
        *to = weights.put_dense(from);
    }
    let widest = stack.layers.iter().map(Dense::outputs).max().unwrap_or(0);
    let width = widest.max(stack.inputs());
    let layers = stack.layers.len() as u32;
    let sizes = FeedForwardSizes { layers, width: width as u32, layer };
    let plan = Plan::new("feed_forward_step", widest, 2 * width, &sizes);
    Program {
        module: &sources::FEED_FORWARD,
        instruments,
        weights: weights.0,
        inputs: stack.inputs(),
        steps: 1,
        outputs: stack.outputs(),
        stream_words: 0,
        has_errors,
        between: 0,
        step: vec![plan.clone()],
        window: plan,
    }
}
