//! Stacked LSTM layers, gates in PyTorch's order: input, forget, cell, output.
//!
//! A sequence is kept as one tensor for each step: the derivative of a slice is as large as what it was cut
//! from, so that cutting steps out of one tensor would cost the square of their number.

use burn::tensor::{Tensor, activation};

use super::super::layers::Linear;
use super::super::parameters::{Builder, First, Role, Slot};
use super::super::pass::Pass;
use crate::predictors::architecture::LstmArchitecture;

/// Gates of a unit.
const GATES: usize = 4;

/// `lstm.N`, `head`.
#[derive(Clone, Debug)]
pub(in super::super) struct Lstm {
    layers: Vec<Layer>,
    head: Linear,
}

#[derive(Clone, Copy, Debug)]
struct Layer {
    weight_ih: Slot,
    weight_hh: Slot,
    bias_ih: Slot,
    bias_hh: Slot,
    inputs: usize,
    units: usize,
}

impl Lstm {
    pub(super) fn new(b: &mut Builder, a: &LstmArchitecture) -> Self {
        let mut inputs = a.inputs;
        let mut layers = Vec::new();
        for (n, &units) in a.hidden.iter().enumerate() {
            layers.push(Layer::new(b, n, inputs, units));
            inputs = units;
        }
        let head = Linear::new(b, "head", [inputs, a.outputs]);
        Self { layers, head }
    }

    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: &Tensor<3>) -> Tensor<2> {
        let [batch, steps, inputs] = windows.dims();
        let step = |t: usize| windows.clone().slice([0..batch, t..t + 1, 0..inputs]);
        let mut sequence: Vec<Tensor<2>> =
            (0..steps).map(|t| step(t).reshape([batch, inputs])).collect();
        for layer in &self.layers {
            sequence = layer.forward(pass, sequence);
        }
        // An architecture has at least one step.
        let last = sequence.swap_remove(steps - 1);
        let last = pass.dropout(last);
        self.head.forward(pass, last)
    }
}

impl Layer {
    fn new(b: &mut Builder, n: usize, inputs: usize, units: usize) -> Self {
        let rows = GATES * units;
        let first = First::Uniform(1.0 / (units as f64).sqrt());
        let mut add = |name: &str, shape: &[usize], role| {
            b.add(format!("lstm.{n}.{name}_l0"), shape, role, first)
        };
        Self {
            weight_ih: add("weight_ih", &[rows, inputs], Role::Weight),
            weight_hh: add("weight_hh", &[rows, units], Role::Weight),
            bias_ih: add("bias_ih", &[rows], Role::Bias),
            bias_hh: add("bias_hh", &[rows], Role::Bias),
            inputs,
            units,
        }
    }

    fn forward(&self, pass: &Pass<'_>, sequence: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
        let (units, rows) = (self.units, GATES * self.units);
        let input = pass.get(self.weight_ih, [rows, self.inputs]).transpose();
        let recurrent = pass.get(self.weight_hh, [rows, units]).transpose();
        let bias = pass.get(self.bias_ih, [1, rows]) + pass.get(self.bias_hh, [1, rows]);
        let mut state: Option<[Tensor<2>; 2]> = None;
        let mut hidden = Vec::with_capacity(sequence.len());
        for x in sequence {
            let batch = x.dims()[0];
            let mut sums = x.matmul(input.clone()) + bias.clone();
            if let Some([h, _]) = &state {
                sums = sums + h.clone().matmul(recurrent.clone());
            }
            let gate = |g: usize| sums.clone().slice([0..batch, g * units..(g + 1) * units]);
            let [i, f, o] = [0, 1, 3].map(|g| activation::sigmoid(gate(g)));
            let mut cell = i * activation::tanh(gate(2));
            if let Some([_, c]) = state {
                cell = cell + f * c;
            }
            let h = o * activation::tanh(cell.clone());
            hidden.push(h.clone());
            state = Some([h, cell]);
        }
        hidden
    }
}
