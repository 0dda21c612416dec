//! Stacked LSTM layers, for `lstm.cu`.
//!
//! A resident network is one launch of a block an instrument. It reads all weights through one multiprocessor, some
//! 64 bytes a cycle, and so a network of more than [`RESIDENT_BYTES_MAX`] is wide: a launch a layer, whose slices
//! are shared out among all of them.

use bytemuck::{Pod, Zeroable};
use purkinje_cuda::sources;

use super::Execution;
use super::program::{Blocks, DenseLayer, Plan, Program, WARP, Weights};
use crate::predictors::architecture::LAYERS_MAX;
use crate::predictors::lanes::Lanes;
use crate::predictors::lstm::{GATES, Layer, Lstm, gate_order};
use crate::predictors::panels::Panels;
use crate::predictors::predictor::Predictor as _;

/// Weights that one multiprocessor reads in about the time in which launches of two layers more begin and end:
/// reckoned from both, not measured.
const RESIDENT_BYTES_MAX: usize = 512 << 10;

/// Units of a slice, which with their gates are the rows of a warp.
const SLICE_UNITS: usize = WARP / GATES;
/// Instruments of a block of `lstm_layer`, two warps each.
const GROUP: usize = 4;
/// Columns of either product that such a block keeps.
const COLUMNS: usize = 64;

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct LstmLayer {
    input_weights: u32,
    recurrent_weights: u32,
    bias: u32,
    inputs: u32,
    units: u32,
    rows: u32,
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

/// What `LstmLayerArgument` holds behind the batch.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct LstmLayerSizes {
    layer: LstmLayer,
    first_unit: u32,
    first_below: u32,
    all_units: u32,
    is_first: u32,
    instruments: u32,
    unused: u32,
}

pub(in crate::predictors) fn program(
    network: &Lstm,
    execution: Execution,
    instruments: usize,
) -> Program {
    let mut weights = Weights::default();
    let mut layer = [LstmLayer::zeroed(); LAYERS_MAX];
    let (mut state, mut gates) = (0, 0);
    for (to, from) in layer.iter_mut().zip(&network.layers) {
        *to = LstmLayer { state, gates, ..put_layer(&mut weights, from) };
        state += 2 * to.units;
        gates += to.rows;
    }
    let head = weights.put_dense(&network.head);
    let sizes = LstmSizes { layers: network.layers.len() as u32, all_gates: gates, layer, head };
    let shared = network.inputs() + (state + gates) as usize;
    let outputs = (gates as usize).max(network.head.outputs());
    let resident = Plan::new("lstm_steps", outputs, shared, &sizes);
    let is_wide = match execution {
        Execution::Auto => size_of_val(&weights.0[..]) > RESIDENT_BYTES_MAX,
        Execution::Resident => false,
        Execution::Wide => true,
    };
    Program {
        module: &sources::LSTM,
        instruments,
        weights: weights.0,
        inputs: network.inputs(),
        steps: network.steps(),
        outputs: network.head.outputs(),
        stream_words: network.stream_words(),
        has_errors: false,
        between: if is_wide { state as usize / 2 } else { 0 },
        step: if is_wide { wide(&sizes, instruments) } else { vec![resident.clone()] },
        window: resident,
    }
}

/// A launch a layer, and one of the head.
fn wide(sizes: &LstmSizes, instruments: usize) -> Vec<Plan> {
    let layers = &sizes.layer[..sizes.layers as usize];
    // Units and cells are twice as many as units.
    let all_units: u32 = layers.iter().map(|layer| layer.units).sum();
    let mut first_below = 0;
    let mut plans = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let of_layer = LstmLayerSizes {
            layer: *layer,
            first_unit: layer.state / 2,
            first_below,
            all_units,
            is_first: u32::from(n == 0),
            instruments: instruments as u32,
            unused: 0,
        };
        first_below = layer.state / 2;
        let (threads, vectors) = (2 * GROUP * WARP, GROUP * (layer.inputs + layer.units) as usize);
        let shared = 2 * COLUMNS * WARP + vectors + threads;
        let slices = layer.rows as usize / WARP;
        let plan = Plan::new("lstm_layer", threads, shared, &of_layer);
        plans.push(Plan { blocks: Blocks::Slices { slices, group: GROUP }, ..plan });
    }
    let top = layers.last().map_or(0, |layer| layer.units as usize);
    plans.push(Plan::new("lstm_head", top.max(sizes.head.outputs as usize), top, sizes));
    plans
}

/// Its weights, slice by slice; where its state and gates lie is not known yet.
fn put_layer(weights: &mut Weights, layer: &Layer) -> LstmLayer {
    // Where PyTorch's rows are packed.
    let mut packed = vec![0; GATES * layer.units];
    for (at, row) in gate_order(layer.units).into_iter().enumerate() {
        packed[row] = at;
    }
    let slices = layer.units.div_ceil(SLICE_UNITS);
    // Where the rows of all slices are packed; none for units beyond the last.
    let rows: Vec<Option<usize>> = (0..slices * WARP)
        .map(|row| {
            let unit = row / WARP * SLICE_UNITS + row % SLICE_UNITS;
            let gate = row % WARP / SLICE_UNITS;
            (unit < layer.units).then(|| packed[gate * layer.units + unit])
        })
        .collect();
    let mut put = |panels: &Panels| {
        let by_column = panels.by_column();
        let mut sliced = Vec::with_capacity(rows.len() * panels.columns());
        for slice in rows.chunks_exact(WARP) {
            for column in by_column.chunks_exact(panels.rows()) {
                sliced.extend(slice.iter().map(|row| row.map_or(0.0, |row| column[row])));
            }
        }
        weights.put(&sliced)
    };
    let (input_weights, recurrent_weights) = (put(&layer.input), put(&layer.recurrent));
    let bias = Lanes::flat(&layer.bias);
    let bias: Vec<f32> = rows.iter().map(|row| row.map_or(0.0, |row| bias[row])).collect();
    LstmLayer {
        input_weights,
        recurrent_weights,
        bias: weights.put(&bias),
        inputs: layer.input.columns() as u32,
        units: layer.units as u32,
        rows: rows.len() as u32,
        state: 0,
        gates: 0,
    }
}
