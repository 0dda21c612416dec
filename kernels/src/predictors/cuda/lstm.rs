//! Stacked LSTM layers, for `lstm.cu`.

use bytemuck::{Pod, Zeroable};
use purkinje_cuda::sources;

use super::program::{DenseLayer, Plan, Program, Weights, stride};
use crate::predictors::architecture::LAYERS_MAX;
use crate::predictors::lanes::Lanes;
use crate::predictors::lstm::{GATES, Lstm, gate_order};
use crate::predictors::panels::Panels;
use crate::predictors::predictor::Predictor as _;

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct LstmLayer {
    input_weights: u32,
    recurrent_weights: u32,
    bias: u32,
    inputs: u32,
    units: u32,
    stride: u32,
    state: u32,
    gates: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct LstmSizes {
    layers: u32,
    all_gates: u32,
    layer: [LstmLayer; LAYERS_MAX],
    head: DenseLayer,
}

pub(super) fn program(network: &Lstm) -> Program {
    let mut weights = Weights::default();
    let mut layer = [LstmLayer::zeroed(); LAYERS_MAX];
    let (mut gates, mut widest) = (0, network.head.outputs());
    for (to, from) in layer.iter_mut().zip(&network.layers) {
        let rows = GATES * from.units;
        // Where PyTorch's rows are packed.
        let mut packed = vec![0; rows];
        for (at, row) in gate_order(from.units).into_iter().enumerate() {
            packed[row] = at;
        }
        let mut put = |panels: &Panels| {
            weights.put_matrix(panels, rows, 0..panels.columns(), |row| packed[row])
        };
        let (input_weights, recurrent_weights) = (put(&from.input), put(&from.recurrent));
        let bias = Lanes::flat(&from.bias);
        let bias: Vec<f32> = packed.iter().map(|at| bias[*at]).collect();
        *to = LstmLayer {
            input_weights,
            recurrent_weights,
            bias: weights.put(&bias),
            inputs: from.input.columns() as u32,
            units: from.units as u32,
            stride: stride(rows) as u32,
            // Units and cells are half as many as gates.
            state: gates / 2,
            gates,
        };
        gates += rows as u32;
        widest = widest.max(rows);
    }
    let all_gates = gates as usize;
    let head = weights.put_dense(&network.head);
    let sizes = LstmSizes { layers: network.layers.len() as u32, all_gates: gates, layer, head };
    let shared = network.inputs() + all_gates / 2 + all_gates;
    let plan = Plan::new("lstm_steps", widest.max(all_gates), shared, &sizes);
    Program {
        module: &sources::LSTM,
        weights: weights.0,
        inputs: network.inputs(),
        steps: network.steps(),
        outputs: network.head.outputs(),
        stream_words: network.stream_words(),
        has_errors: false,
        step: plan.clone(),
        window: plan,
    }
}
