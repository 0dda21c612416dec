//! A transformer's encoder, for `transformer.cu`.

use bytemuck::{Pod, Zeroable};
use purkinje_cuda::sources;

use super::program::{DenseLayer, Plan, Program, THREADS_MAX, Weights, stride};
use crate::predictors::activation::Activation;
use crate::predictors::attention::Attention;
use crate::predictors::encoder::EncoderLayer;
use crate::predictors::lanes::{LANES, Lanes};
use crate::predictors::layer_norm;
use crate::predictors::predictor::Predictor as _;
use crate::predictors::transformer::Transformer;

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct LayerNorm {
    weight: u32,
    bias: u32,
}

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct EncoderBlock {
    projections: DenseLayer,
    out: DenseLayer,
    wide: DenseLayer,
    narrow: DenseLayer,
    attention_norm: LayerNorm,
    dense_norm: LayerNorm,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct TransformerSizes {
    blocks: u32,
    block_stride: u32,
    first_block: u32,
    heads: u32,
    width: u32,
    positions: u32,
    is_norm_first: u32,
    is_causal: u32,
    slopes: u32,
    position_table: u32,
    last_norm: LayerNorm,
    has_last_norm: u32,
    room: u32,
    wide_positions: u32,
    unused: u32,
    block: EncoderBlock,
    input: DenseLayer,
    head: DenseLayer,
}

/// A block's weights by themselves: those of all blocks lie alike.
#[derive(Debug)]
struct Block {
    weights: Weights,
    places: EncoderBlock,
}

pub(in crate::predictors) fn program(transformer: &Transformer, instruments: usize) -> Program {
    let network = &transformer.network;
    let (inputs, positions) = (transformer.inputs(), transformer.steps());
    let mut weights = Weights::default();
    let input = weights.put_linear(&network.input);
    let width = network.input.outputs();
    let table = network.position.as_ref().map(|table| unpadded(Lanes::flat(table), width));
    let position_table = table.map_or(0, |table| weights.put(&table));
    let last_norm = network.norm.as_ref().map(|norm| put_norm(&mut weights, norm));
    let head = weights.put_dense(&network.head);
    // An architecture has at least one block, and all are of the same sizes.
    let first = &network.layers[0];
    let heads = first.attention.shape.count;
    let slopes = weights.put(&first.attention.slopes);
    let blocks: Vec<Block> = network.layers.iter().map(block).collect();
    let places: Vec<u32> = blocks.iter().map(|block| weights.put(&block.weights.0)).collect();

    let wide = first.linear1.outputs();
    let attention = (2 * positions + (positions | 1)) * width;
    let room = (positions * inputs).max(attention).max(wide);
    let sizes = TransformerSizes {
        blocks: blocks.len() as u32,
        block_stride: places.get(1).map_or(0, |second| second - places[0]),
        first_block: places[0],
        heads: heads as u32,
        width: width as u32,
        positions: positions as u32,
        is_norm_first: u32::from(first.is_norm_first),
        is_causal: u32::from(network.is_causal),
        slopes,
        position_table,
        has_last_norm: u32::from(last_norm.is_some()),
        last_norm: last_norm.unwrap_or_default(),
        room: room as u32,
        wide_positions: (room / wide).clamp(1, positions) as u32,
        unused: 0,
        block: blocks[0].places,
        input,
        head,
    };
    // Whole vectors, and normalised ones where norms come first.
    let vectors = if first.is_norm_first { 2 } else { 1 } * positions * width;
    // With as many threads as there may be, half a warp scores one query at a time.
    let scores = THREADS_MAX / LANES * positions;
    let window = Plan::new("transformer_window", THREADS_MAX, vectors + room + scores, &sizes);
    let step = if network.is_causal {
        let shared = inputs + 6 * width + wide + heads * (positions + 1);
        let outputs = wide.max(3 * width).max(heads * positions.max(LANES));
        Plan::new("transformer_step", outputs, shared, &sizes)
    } else {
        window.clone()
    };
    Program {
        module: &sources::TRANSFORMER,
        instruments,
        weights: weights.0,
        inputs,
        steps: positions,
        outputs: transformer.outputs(),
        stream_words: transformer.stream_words(),
        has_errors: false,
        between: 0,
        step: vec![step],
        window,
    }
}

fn block(layer: &EncoderLayer) -> Block {
    let mut weights = Weights::default();
    let places = EncoderBlock {
        projections: put_projections(&mut weights, &layer.attention),
        out: put_out(&mut weights, &layer.attention),
        wide: weights.put_dense(&layer.linear1),
        narrow: weights.put_linear(&layer.linear2),
        attention_norm: put_norm(&mut weights, &layer.norm1),
        dense_norm: put_norm(&mut weights, &layer.norm2),
    };
    Block { weights, places }
}

fn put_norm(weights: &mut Weights, norm: &layer_norm::LayerNorm) -> LayerNorm {
    let [weight, bias] = norm.weights();
    LayerNorm { weight: weights.put(weight), bias: weights.put(bias) }
}

/// Queries, keys and values as one layer, without the rows that fill up a head.
fn put_projections(weights: &mut Weights, attention: &Attention) -> DenseLayer {
    let width = attention.shape.count * attention.shape.width;
    let parts = [&attention.query, &attention.key, &attention.value];
    let row = |row: usize| (parts[row / width], attention.shape.padded(row % width));
    let matrices = parts.map(|part| part.panels().by_column());
    let (padded, rows) = (attention.query.outputs(), 3 * width);
    let mut spread = Vec::new();
    for column in 0..width {
        let end = spread.len() + stride(rows);
        spread.extend((0..rows).map(|at| matrices[at / width][column * padded + row(at).1]));
        spread.resize(end, 0.0);
    }
    let bias: Vec<f32> = (0..rows).map(row).map(|(part, row)| part.bias()[row]).collect();
    DenseLayer {
        weights: weights.put(&spread),
        bias: weights.put(&bias),
        inputs: width as u32,
        outputs: rows as u32,
        stride: stride(rows) as u32,
        activation: Activation::Identity as u32,
    }
}

/// Without the columns that fill up a head.
fn put_out(weights: &mut Weights, attention: &Attention) -> DenseLayer {
    let out = &attention.out;
    let width = out.outputs();
    let columns = (0..width).map(|column| attention.shape.padded(column));
    DenseLayer {
        weights: weights.put_matrix(out.panels(), width, columns, |row| row),
        bias: weights.put(out.bias()),
        inputs: width as u32,
        outputs: width as u32,
        stride: stride(width) as u32,
        activation: Activation::Identity as u32,
    }
}

/// Vectors that fill whole groups of lanes, one behind the other.
fn unpadded(padded: &[f32], width: usize) -> Vec<f32> {
    let vectors = padded.chunks_exact(width.next_multiple_of(LANES));
    vectors.flat_map(|vector| &vector[..width]).copied().collect()
}
