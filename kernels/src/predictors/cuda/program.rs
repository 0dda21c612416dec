//! What a network becomes on a device: its weights in one piece, and for steps and windows kernels with their sizes.
//!
//! Invariant: every structure here is the twin of one in `layers.cuh`, field by field and without padding, which
//! `bytemuck` holds.

use bytemuck::{Pod, Zeroable};
use purkinje_cuda::sources::Module;

use crate::predictors::activation::Activation;
use crate::predictors::dense::Dense;
use crate::predictors::linear::Linear;
use crate::predictors::panels::Panels;

/// Threads of a warp, and the numbers whose columns begin a new line of memory.
pub(super) const WARP: usize = 32;
/// Most threads of a block: with more, what a thread keeps in registers would not fit.
pub(super) const THREADS_MAX: usize = 512;

/// `Batch`: what a launch computes. Addresses that are 0 stand for nothing.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Batch {
    pub(super) rows: u64,
    pub(super) places: u64,
    pub(super) flags: u64,
    pub(super) answers: u64,
    pub(super) weights: u64,
    pub(super) streams: u64,
    pub(super) errors: u64,
    pub(super) between: u64,
    pub(super) row_stride: u32,
    pub(super) inputs: u32,
    pub(super) stream_words: u32,
    pub(super) steps: u32,
}

/// `DenseLayer`: places are numbers from the first of the network's weights.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct DenseLayer {
    pub(super) weights: u32,
    pub(super) bias: u32,
    pub(super) inputs: u32,
    pub(super) outputs: u32,
    pub(super) stride: u32,
    pub(super) activation: u32,
}

/// What a launch's blocks share out among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    /// Each has an instrument, or a window.
    Each,
    /// Each has a slice of a layer for a group of instruments.
    Slices {
        /// Of the layer.
        slices: usize,
        /// Instruments of a group.
        group: usize,
    },
}

impl Blocks {
    /// Those of so many instruments or windows.
    pub(super) fn grid(self, count: usize) -> [u32; 3] {
        match self {
            Self::Each => [count as u32, 1, 1],
            Self::Slices { slices, group } => [slices as u32, count.div_ceil(group) as u32, 1],
        }
    }
}

/// One launch.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kernel: &'static str,
    pub(super) blocks: Blocks,
    pub(super) threads: u32,
    /// Of a block; more than a device has where the network does not fit.
    pub(super) shared_bytes: usize,
    /// What the kernel's argument holds behind the [`Batch`].
    pub(super) sizes: Vec<u8>,
}

/// What a network becomes on a device: made by [`Predictor::device_program`](crate::predictors::predictor::Predictor),
/// weights and all, and loaded by a [`DevicePredictor`](super::DevicePredictor) as often as there is a device for it.
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) module: &'static Module,
    /// Whose streams are carried.
    pub(super) instruments: usize,
    pub(super) weights: Vec<f32>,
    pub(super) inputs: usize,
    pub(super) steps: usize,
    pub(super) outputs: usize,
    /// Of an instrument's stream.
    pub(super) stream_words: usize,
    /// Whether each step has an error besides, as an autoencoder's.
    pub(super) has_errors: bool,
    /// Numbers for each instrument that launches of a step leave to those behind them.
    pub(super) between: usize,
    /// The launches of a step.
    pub(super) step: Vec<Plan>,
    /// That of fresh windows.
    pub(super) window: Plan,
}

impl Plan {
    /// With a thread for each of so many outputs, within bounds.
    pub(super) fn new(
        kernel: &'static str,
        outputs: usize,
        shared_numbers: usize,
        sizes: &impl Pod,
    ) -> Self {
        Self {
            kernel,
            blocks: Blocks::Each,
            threads: outputs.next_multiple_of(WARP).clamp(WARP, THREADS_MAX) as u32,
            shared_bytes: size_of::<f32>() * shared_numbers,
            sizes: bytemuck::bytes_of(sizes).to_vec(),
        }
    }
}

/// A network's weights, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Weights(pub(super) Vec<f32>);

impl Weights {
    /// Numbers from the beginning of a line of memory; returns their place.
    pub(super) fn put(&mut self, numbers: &[f32]) -> u32 {
        let place = self.0.len().next_multiple_of(WARP);
        self.0.resize(place, 0.0);
        self.0.extend_from_slice(numbers);
        place as u32
    }

    /// A matrix of so many rows, column by column, [`stride`] apart. `columns` are those of the packed one that
    /// are kept, and `packed` says for each row where it is packed.
    pub(super) fn put_matrix(
        &mut self,
        panels: &Panels,
        rows: usize,
        columns: impl Iterator<Item = usize>,
        packed: impl Fn(usize) -> usize,
    ) -> u32 {
        let by_column = panels.by_column();
        let mut spread = Vec::new();
        for column in columns {
            let from = &by_column[column * panels.rows()..][..panels.rows()];
            let end = spread.len() + stride(rows);
            spread.extend((0..rows).map(|row| from[packed(row)]));
            spread.resize(end, 0.0);
        }
        self.put(&spread)
    }

    pub(super) fn put_dense(&mut self, layer: &Dense) -> DenseLayer {
        DenseLayer { activation: layer.activation as u32, ..self.put_linear(&layer.linear) }
    }

    pub(super) fn put_linear(&mut self, linear: &Linear) -> DenseLayer {
        let (panels, rows) = (linear.panels(), linear.outputs());
        DenseLayer {
            weights: self.put_matrix(panels, rows, 0..linear.inputs(), |row| row),
            bias: self.put(linear.bias()),
            inputs: linear.inputs() as u32,
            outputs: rows as u32,
            stride: stride(rows) as u32,
            activation: Activation::Identity as u32,
        }
    }
}

/// Numbers from one column of a matrix of so many rows to the next: whole lines where a warp reads one, no gaps
/// where a thread reads several.
pub(super) fn stride(rows: usize) -> usize {
    if rows < WARP { rows } else { rows.next_multiple_of(WARP) }
}
