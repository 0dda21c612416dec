//! Stacked LSTM layers, gates in PyTorch's order: input, forget, cell, output.

use burn::tensor::Tensor;

use super::super::layers::Linear;
use super::super::lstm_layer::lstm;
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

/// `lstm.N`, an `nn.LSTM` of one layer.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Layer {
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

    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<2> {
        let mut x = windows.swap_dims(0, 1);
        for layer in &self.layers {
            x = layer.forward(pass, x);
        }
        let [steps, batch, units] = x.dims();
        // An architecture has at least one step.
        let last = x.slice([steps - 1..steps, 0..batch, 0..units]).reshape([batch, units]);
        let last = pass.dropout(last);
        self.head.forward(pass, last)
    }
}

impl Layer {
    pub(in super::super) fn new(b: &mut Builder, n: usize, inputs: usize, units: usize) -> Self {
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

    /// Steps come first, in what it is given and in its answer.
    pub(in super::super) fn forward(&self, pass: &Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let rows = GATES * self.units;
        let bias = pass.get(self.bias_ih, [rows]) + pass.get(self.bias_hh, [rows]);
        let input = pass.get(self.weight_ih, [rows, self.inputs]);
        lstm(x, input, pass.get(self.weight_hh, [rows, self.units]), bias)
    }
}
