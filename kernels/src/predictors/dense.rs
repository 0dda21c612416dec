//! Dense layers: `activation(weights · x + bias)`, one by one and stacked.
//!
//! Invariant: each output is its bias plus the products in column order, rounded after each fused
//! multiply-add, then the activation; how many vectors are computed at once changes no bit.

use super::activation::Activation;
use super::batch_norm;
use super::lanes::{LANES, Lanes};
use super::linear::Linear;
use super::panels::Precision;
use super::weights::{Tensors, WeightsError};
use crate::isa::Isa;

/// Vectors that pass through a [`Stack`] together, which bounds what it keeps between layers.
const VECTORS: usize = 64;

/// One layer.
#[derive(Clone, Debug)]
pub struct Dense {
    pub(super) linear: Linear,
    pub(super) activation: Activation,
}

impl Dense {
    /// From what it multiplies with and what it does with the sums.
    #[must_use]
    pub fn new(linear: Linear, activation: Activation) -> Self {
        Self { linear, activation }
    }

    /// Takes `name.weight` and `name.bias`.
    ///
    /// # Errors
    /// [`WeightsError`] where one is missing or has another shape.
    pub fn take(
        tensors: &mut Tensors,
        name: &str,
        shape: [usize; 2],
        activation: Activation,
        precision: Precision,
    ) -> Result<Self, WeightsError> {
        Ok(Self::new(Linear::take(tensors, name, shape, precision)?, activation))
    }

    /// Takes `name.weight`, `name.bias` if there is one, and the batch norm `norm` if there is one.
    ///
    /// # Errors
    /// [`WeightsError`] where a tensor is missing or has another shape.
    pub fn take_normed(
        tensors: &mut Tensors,
        [name, norm]: [&str; 2],
        [inputs, outputs]: [usize; 2],
        activation: Activation,
        precision: Precision,
    ) -> Result<Self, WeightsError> {
        let mut weights = tensors.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = tensors.take_optional(&format!("{name}.bias"), &[outputs])?;
        let mut bias = bias.unwrap_or_else(|| vec![0.0; outputs]);
        batch_norm::fold(tensors, norm, &mut weights, &mut bias)?;
        let linear = Linear::new(&weights, Some(&bias), outputs, inputs, precision);
        Ok(Self::new(linear, activation))
    }

    /// Numbers of a vector that goes in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.linear.inputs()
    }

    /// Numbers of a vector that comes out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.linear.outputs()
    }

    /// Groups of sixteen that hold a vector that comes out.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.linear.groups()
    }

    /// Bytes of weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.linear.bytes()
    }

    /// Computes as many vectors as `outputs` has room for: one each `stride` numbers of `inputs`, one
    /// each [`groups`](Self::groups) of `outputs`.
    ///
    /// # Panics
    /// Where `inputs` is too short or `outputs` no whole number of vectors.
    pub fn apply(&self, isa: Isa, inputs: &[f32], stride: usize, outputs: &mut [Lanes]) {
        self.linear.apply(isa, inputs, stride, outputs);
        self.activation.apply(isa, outputs);
    }
}

/// Layers one behind the other, with room for what passes between them.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    pub(super) layers: Box<[Dense]>,
    /// Where the layers write, in turn: that of the layer before is what the next reads.
    between: [Vec<Lanes>; 2],
}

impl Stack {
    /// Of at least one layer, for at most `vectors` at once.
    pub(super) fn new(layers: Vec<Dense>, vectors: usize) -> Self {
        let widest = layers.iter().map(Dense::groups).max().unwrap_or(0);
        let between = [(); 2].map(|()| vec![Lanes::ZERO; widest * vectors.min(VECTORS)]);
        Self { layers: layers.into(), between }
    }

    pub(super) fn inputs(&self) -> usize {
        self.layers.first().map_or(0, Dense::inputs)
    }

    pub(super) fn outputs(&self) -> usize {
        self.layers.last().map_or(0, Dense::outputs)
    }

    pub(super) fn bytes(&self) -> usize {
        self.layers.iter().map(Dense::bytes).sum()
    }

    /// Sends the rows of `inputs` through all layers.
    pub(super) fn run(&mut self, isa: Isa, inputs: &[f32], outputs: &mut [f32]) {
        let (columns, width) = (self.inputs(), self.outputs());
        let outputs = outputs.chunks_mut(width * VECTORS);
        for (rows, outputs) in inputs.chunks(columns * VECTORS).zip(outputs) {
            self.run_some(isa, rows, outputs);
        }
    }

    fn run_some(&mut self, isa: Isa, rows: &[f32], outputs: &mut [f32]) {
        let (columns, width) = (self.inputs(), self.outputs());
        let vectors = rows.len() / columns;
        let [mut from, mut to] = self.between.each_mut();
        let mut groups = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            let sums = &mut to[..vectors * layer.groups()];
            if index == 0 {
                layer.apply(isa, rows, columns, sums);
            } else {
                layer.apply(isa, Lanes::flat(from), groups * LANES, sums);
            }
            groups = layer.groups();
            std::mem::swap(&mut from, &mut to);
        }
        let last = Lanes::flat(from).chunks_exact(groups * LANES);
        for (output, row) in outputs.chunks_exact_mut(width).zip(last) {
            output.copy_from_slice(&row[..width]);
        }
    }
}

/// The rows of some instruments of a batch, taken out, computed and put back.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    instruments: Box<[usize]>,
    rows: Box<[f32]>,
    outputs: Box<[f32]>,
}

impl Chosen {
    pub(super) fn new(instruments: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            instruments: vec![0; instruments].into(),
            rows: vec![0.0; instruments * inputs].into(),
            outputs: vec![0.0; instruments * outputs].into(),
        }
    }

    /// Runs the active rows through a stack; the outputs of the others are left alone.
    pub(super) fn run(
        &mut self,
        stack: &mut Stack,
        isa: Isa,
        rows: &[f32],
        active: &[bool],
        outputs: &mut [f32],
    ) {
        let (columns, width) = (stack.inputs(), stack.outputs());
        assert_eq!(rows.len(), active.len() * columns, "a row for each instrument");
        assert_eq!(outputs.len(), active.len() * width, "an answer for each instrument");
        let chosen = super::predictor::choose(active, &mut self.instruments);
        if chosen.len() == active.len() {
            stack.run(isa, rows, outputs);
            return;
        }
        for (instrument, row) in chosen.iter().zip(self.rows.chunks_exact_mut(columns)) {
            row.copy_from_slice(&rows[instrument * columns..][..columns]);
        }
        let answers = &mut self.outputs[..chosen.len() * width];
        stack.run(isa, &self.rows[..chosen.len() * columns], answers);
        for (instrument, answer) in chosen.iter().zip(answers.chunks_exact(width)) {
            outputs[instrument * width..][..width].copy_from_slice(answer);
        }
    }
}
