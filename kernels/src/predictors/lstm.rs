//! Stacked LSTM layers, gate by gate as PyTorch's `nn.LSTM` has them, and a dense head.
//!
//! Tensors: `lstm.N.weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0` of one `nn.LSTM` for each
//! layer, or `lstm.weight_ih_lN` and so on of a single one; `head.weight`, `head.bias`. Gates come in the
//! order input, forget, cell, output.
//!
//! A step needs two products a layer, with the step's input and with the units as the last step left
//! them. The second can be had before the input is known: [`Lstm::prepare`] computes it between two steps.
//!
//! Invariants: both products are summed by themselves and added last, so that streaming, fresh windows,
//! preparing and the number of instruments give the same bits; each layer's weights are read once for all
//! instruments of a step. NaN in an input stays in its instrument's stream until that is reset.

use super::activation::{sigmoid_one, tanh_one};
use super::architecture::LstmArchitecture;
use super::cuda::{self, DeviceBuildError, Execution, Program};
use super::dense::Dense;
use super::lanes::{LANES, Lanes};
use super::panels::{Panels, Precision};
use super::predictor::{BuildError, Predictor, Serving, batch_of, choose};
use super::stream;
use super::weights::{Tensors, WeightsError};
use crate::isa::{Isa, dispatched};

/// Gates of a unit.
pub(super) const GATES: usize = 4;
/// Fresh windows computed side by side, which bounds what is kept of their steps.
const WINDOWS: usize = 16;
/// Steps of a fresh window whose inputs are multiplied at once.
const STEPS: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) units: usize,
    pub(super) input: Panels,
    pub(super) recurrent: Panels,
    pub(super) bias: Box<[Lanes]>,
}

impl Layer {
    fn take(
        tensors: &mut Tensors,
        [prefix, suffix]: [&str; 2],
        [inputs, units]: [usize; 2],
        precision: Precision,
    ) -> Result<Self, WeightsError> {
        let rows = GATES * units;
        let mut take =
            |name: &str, shape: &[usize]| tensors.take(&format!("{prefix}.{name}_{suffix}"), shape);
        let input = take("weight_ih", &[rows, inputs])?;
        let recurrent = take("weight_hh", &[rows, units])?;
        let bias_ih = take("bias_ih", &[rows])?;
        let bias_hh = take("bias_hh", &[rows])?;
        let order = gate_order(units);
        let packed = |matrix: &[f32], columns: usize| {
            let rows_of = |row: &usize| &matrix[row * columns..][..columns];
            let ordered: Vec<f32> = order.iter().flat_map(rows_of).copied().collect();
            Panels::new(&ordered, rows, columns, precision)
        };
        let mut bias = Lanes::zeros(rows);
        for (sum, row) in Lanes::flat_mut(&mut bias).iter_mut().zip(&order) {
            *sum = bias_ih[*row] + bias_hh[*row];
        }
        Ok(Self {
            units,
            input: packed(&input, inputs),
            recurrent: packed(&recurrent, units),
            bias: bias.into(),
        })
    }

    /// Groups of sixteen that hold the sums of all gates.
    fn sums(&self) -> usize {
        self.bias.len()
    }

    /// Groups of sixteen that hold the units.
    fn groups(&self) -> usize {
        self.units.div_ceil(LANES)
    }

    fn bytes(&self) -> usize {
        self.input.bytes() + self.recurrent.bytes() + size_of_val(&self.bias[..])
    }
}

/// PyTorch's rows in the order in which they are packed: sixteen units (fewer at the end) with all of
/// their gates, then the next sixteen, so that no gate is padded by itself.
pub(super) fn gate_order(units: usize) -> Vec<usize> {
    let blocks = (0..units).step_by(LANES).map(|first| first..(first + LANES).min(units));
    blocks
        .flat_map(|b| (0..GATES).flat_map(move |g| b.clone().map(move |u| g * units + u)))
        .collect()
}

/// The state of a layer for several instruments.
#[derive(Clone, Debug)]
struct State {
    hidden: Vec<Lanes>,
    cells: Vec<Lanes>,
    /// `bias + recurrent · hidden`, and one group more, because [`gates`] reads whole groups.
    recurrent: Vec<Lanes>,
}

impl State {
    fn new(layer: &Layer, instruments: usize) -> Self {
        let units = vec![Lanes::ZERO; instruments * layer.groups()];
        let recurrent = vec![Lanes::ZERO; instruments * layer.sums() + 1];
        Self { hidden: units.clone(), cells: units, recurrent }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Lstm {
    isa: Isa,
    inputs: usize,
    steps: usize,
    max_batch: usize,
    pub(super) layers: Box<[Layer]>,
    pub(super) head: Dense,
    /// The streams, by layer.
    streams: Box<[State]>,
    /// Whether an instrument's recurrent products belong to its present units.
    is_prepared: Box<[bool]>,
    chosen: Box<[usize]>,
    pending: Box<[usize]>,
    gather: Gather,
    /// Products with the step's inputs, and one group more.
    products: Vec<Lanes>,
    answers: Vec<Lanes>,
    windows: Windows,
}

/// What fresh windows are computed in.
#[derive(Clone, Debug)]
struct Windows {
    /// By layer.
    states: Box<[State]>,
    /// `[window][STEPS]` products with inputs, and one group more.
    products: Vec<Lanes>,
    /// `[window][step]` units of the layer below, each in `row` groups.
    sequence: Vec<Lanes>,
    row: usize,
}

impl Lstm {
    /// Builds it from all of a file's tensors.
    ///
    /// # Errors
    /// [`BuildError`] where the architecture is not valid or the tensors are not its own.
    pub fn new(
        architecture: &LstmArchitecture,
        mut tensors: Tensors,
        serving: &Serving,
    ) -> Result<Self, BuildError> {
        architecture.validate()?;
        serving.validate()?;
        let Serving { isa, precision, instruments, max_batch } = *serving;
        let LstmArchitecture { inputs, outputs, steps, .. } = *architecture;
        let is_single = tensors.contains("lstm.weight_ih_l0");
        let mut below = inputs;
        let mut layers = Vec::new();
        for (n, &units) in architecture.hidden.iter().enumerate() {
            let (prefix, suffix) = if is_single {
                ("lstm".to_owned(), format!("l{n}"))
            } else {
                (format!("lstm.{n}"), "l0".to_owned())
            };
            let names = [&*prefix, &*suffix];
            layers.push(Layer::take(&mut tensors, names, [below, units], precision)?);
            below = units;
        }
        let output = architecture.output.into();
        let head = Dense::take(&mut tensors, "head", [below, outputs], output, precision)?;
        tensors.finish()?;

        let side_by_side = max_batch.min(WINDOWS);
        let most = |groups: fn(&Layer) -> usize| layers.iter().map(groups).max().unwrap_or(0);
        let (sums, units) = (most(Layer::sums), most(Layer::groups));
        let states = |count| layers.iter().map(|layer| State::new(layer, count)).collect();
        let windows = Windows {
            states: states(side_by_side),
            products: vec![Lanes::ZERO; side_by_side * STEPS * sums + 1],
            sequence: vec![Lanes::ZERO; side_by_side * steps * units],
            row: units,
        };
        Ok(Self {
            isa,
            inputs,
            steps,
            max_batch,
            streams: states(instruments),
            is_prepared: vec![false; instruments].into(),
            chosen: vec![0; instruments].into(),
            pending: vec![0; instruments].into(),
            gather: Gather::new(instruments, inputs.max(units * LANES), sums),
            products: vec![Lanes::ZERO; instruments * sums + 1],
            answers: vec![Lanes::ZERO; instruments.max(side_by_side) * head.groups()],
            layers: layers.into(),
            head,
            windows,
        })
    }

    /// Computes, for every instrument, what of the next step does not depend on its input. Called
    /// between two steps it takes that work from the second and changes no answer.
    pub fn prepare(&mut self) {
        let mut count = 0;
        for (instrument, is_prepared) in self.is_prepared.iter_mut().enumerate() {
            self.pending[count] = instrument;
            count += usize::from(!std::mem::replace(is_prepared, true));
        }
        self.multiply_recurrent(count);
    }

    /// For the first `count` of `pending`.
    fn multiply_recurrent(&mut self, count: usize) {
        let pending = &self.pending[..count];
        for (layer, state) in self.layers.iter().zip(&mut self.streams) {
            let sums = layer.sums();
            for instrument in pending {
                state.recurrent[instrument * sums..][..sums].copy_from_slice(&layer.bias);
            }
            let (rows, stride) = (Lanes::flat(&state.hidden), layer.groups() * LANES);
            let to = &mut state.recurrent;
            self.gather.multiply_add(self.isa, &layer.recurrent, rows, stride, pending, to);
        }
    }

    /// At most [`WINDOWS`] fresh windows, layer by layer: its inputs are multiplied for several steps
    /// at once, so that their weights are read less often.
    fn infer_some(&mut self, windows: &[f32], outputs: &mut [f32]) {
        let (isa, steps, width) = (self.isa, self.steps, self.head.outputs());
        let batch = outputs.len() / width;
        let Windows { states, products, sequence, row } = &mut self.windows;
        for (n, (layer, state)) in self.layers.iter().zip(states.iter_mut()).enumerate() {
            state.hidden.fill(Lanes::ZERO);
            state.cells.fill(Lanes::ZERO);
            let sums = layer.sums();
            for first in (0..steps).step_by(STEPS) {
                let count = STEPS.min(steps - first);
                let (rows, stride) = if n == 0 {
                    (windows, self.inputs)
                } else {
                    (Lanes::flat(sequence), *row * LANES)
                };
                for window in 0..batch {
                    let products = &mut products[window * STEPS * sums..][..count * sums];
                    products.fill(Lanes::ZERO);
                    let rows = &rows[(window * steps + first) * stride..];
                    layer.input.multiply_add(isa, rows, stride, products);
                }
                // Steps whose products are known may be overwritten in the sequence.
                for step in 0..count {
                    layer.advance_all(isa, state, batch);
                    for window in 0..batch {
                        layer.update(
                            isa,
                            state,
                            window,
                            &products[(window * STEPS + step) * sums..],
                        );
                        let units = &state.hidden[window * layer.groups()..][..layer.groups()];
                        let at = (window * steps + first + step) * *row;
                        sequence[at..at + units.len()].copy_from_slice(units);
                    }
                }
            }
        }
        let (Some(top), Some(layer)) = (states.last(), self.layers.last()) else { return };
        let answers = &mut self.answers[..batch * self.head.groups()];
        self.head.apply(isa, Lanes::flat(&top.hidden), layer.groups() * LANES, answers);
        for (output, answer) in
            outputs.chunks_exact_mut(width).zip(answers.chunks_exact(self.head.groups()))
        {
            output.copy_from_slice(&Lanes::flat(answer)[..width]);
        }
    }
}

impl Predictor for Lstm {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn outputs(&self) -> usize {
        self.head.outputs()
    }

    fn infer(&mut self, windows: &[f32], outputs: &mut [f32]) {
        batch_of(self, self.max_batch, windows, outputs);
        let (window, width) = (self.steps * self.inputs, self.head.outputs());
        let some = windows.chunks(WINDOWS * window).zip(outputs.chunks_mut(WINDOWS * width));
        for (windows, outputs) in some {
            self.infer_some(windows, outputs);
        }
    }

    fn step(&mut self, rows: &[f32], active: &[bool], outputs: &mut [f32]) {
        let width = self.head.outputs();
        assert_eq!(rows.len(), active.len() * self.inputs, "a row for each instrument");
        assert_eq!(outputs.len(), active.len() * width, "an answer for each instrument");
        let count = choose(active, &mut self.chosen).len();
        let mut pending = 0;
        for instrument in &self.chosen[..count] {
            self.pending[pending] = *instrument;
            let was_prepared = std::mem::replace(&mut self.is_prepared[*instrument], false);
            pending += usize::from(!was_prepared);
        }
        self.multiply_recurrent(pending);

        let (isa, chosen) = (self.isa, &self.chosen[..count]);
        for (n, layer) in self.layers.iter().enumerate() {
            let (below, from) = self.streams.split_at_mut(n);
            let (rows, stride) = match below.last() {
                Some(below) => (Lanes::flat(&below.hidden), self.layers[n - 1].groups() * LANES),
                None => (rows, self.inputs),
            };
            let sums = layer.sums();
            for instrument in chosen {
                self.products[instrument * sums..][..sums].fill(Lanes::ZERO);
            }
            let to = &mut self.products;
            self.gather.multiply_add(isa, &layer.input, rows, stride, chosen, to);
            for instrument in chosen {
                layer.update(isa, &mut from[0], *instrument, &self.products[instrument * sums..]);
            }
        }
        let (Some(top), Some(layer)) = (self.streams.last(), self.layers.last()) else { return };
        let groups = layer.groups();
        for instrument in chosen {
            let units = Lanes::flat(&top.hidden[instrument * groups..][..groups]);
            let answer = &mut self.answers[..self.head.groups()];
            self.head.apply(isa, units, groups * LANES, answer);
            outputs[instrument * width..][..width].copy_from_slice(&Lanes::flat(answer)[..width]);
        }
    }

    fn reset(&mut self, instrument: usize) {
        self.is_prepared[instrument] = false;
        for (layer, state) in self.layers.iter().zip(&mut self.streams) {
            let units = instrument * layer.groups()..(instrument + 1) * layer.groups();
            state.hidden[units.clone()].fill(Lanes::ZERO);
            state.cells[units].fill(Lanes::ZERO);
        }
    }

    fn stream_words(&self) -> usize {
        self.layers.iter().map(|layer| 2 * layer.units).sum()
    }

    fn save_stream(&self, instrument: usize, words: &mut [u32]) {
        let mut words = stream::Writer::new(words);
        for (layer, state) in self.layers.iter().zip(&self.streams) {
            for lanes in [&state.hidden, &state.cells] {
                let groups = layer.groups();
                let numbers = Lanes::flat(&lanes[instrument * groups..][..groups]);
                words.numbers(&numbers[..layer.units]);
            }
        }
        words.finish();
    }

    fn load_stream(&mut self, instrument: usize, words: &[u32]) {
        let mut words = stream::Reader::new(words);
        self.is_prepared[instrument] = false;
        for (layer, state) in self.layers.iter().zip(&mut self.streams) {
            for lanes in [&mut state.hidden, &mut state.cells] {
                let groups = layer.groups();
                let numbers = Lanes::flat_mut(&mut lanes[instrument * groups..][..groups]);
                words.numbers(&mut numbers[..layer.units]);
            }
        }
        words.finish();
    }

    fn device_program(&self, execution: Execution) -> Result<Program, DeviceBuildError> {
        Ok(cuda::lstm::program(self, execution, self.is_prepared.len()))
    }

    fn weight_bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum::<usize>() + self.head.bytes()
    }
}

impl Layer {
    /// Recurrent products of the first `batch` states.
    fn advance_all(&self, isa: Isa, state: &mut State, batch: usize) {
        let recurrent = &mut state.recurrent[..batch * self.sums()];
        for sums in recurrent.chunks_exact_mut(self.sums()) {
            sums.copy_from_slice(&self.bias);
        }
        let units = Lanes::flat(&state.hidden);
        self.recurrent.multiply_add(isa, units, self.groups() * LANES, recurrent);
    }

    /// The units of one instrument a step on, from both products.
    fn update(&self, isa: Isa, state: &mut State, instrument: usize, products: &[Lanes]) {
        let units = instrument * self.groups()..(instrument + 1) * self.groups();
        let recurrent = Lanes::flat(&state.recurrent[instrument * self.sums()..]);
        let (cells, hidden) = (&mut state.cells[units.clone()], &mut state.hidden[units]);
        gates(isa, recurrent, Lanes::flat(products), self.units, cells, hidden);
    }
}

dispatched! {
    wide fn gates = gates_of(
        recurrent: &[f32], products: &[f32], units: usize, cells: &mut [Lanes], hidden: &mut [Lanes]
    )
}

/// The elementwise part of a layer. Sums are laid out by [`gate_order`]; where the last units do not fill
/// a group, the lanes behind them hold their neighbours' sums, and nobody reads what becomes of those.
#[inline(always)]
fn gates_of(
    recurrent: &[f32],
    products: &[f32],
    units: usize,
    cells: &mut [Lanes],
    hidden: &mut [Lanes],
) {
    for (block, (cells, hidden)) in cells.iter_mut().zip(hidden).enumerate() {
        let width = LANES.min(units - block * LANES);
        let first = block * GATES * LANES;
        let (recurrent, products) = (&recurrent[first..], &products[first..]);
        let input = added(recurrent, products, 0);
        let forget = added(recurrent, products, width);
        let cell = added(recurrent, products, 2 * width);
        let output = added(recurrent, products, 3 * width);
        for lane in 0..LANES {
            let new = sigmoid_one(input.0[lane]) * tanh_one(cell.0[lane]);
            let kept = sigmoid_one(forget.0[lane]).mul_add(cells.0[lane], new);
            cells.0[lane] = kept;
            hidden.0[lane] = sigmoid_one(output.0[lane]) * tanh_one(kept);
        }
    }
}

/// Sixteen numbers of both, added.
#[inline(always)]
fn added(recurrent: &[f32], products: &[f32], at: usize) -> Lanes {
    let mut sums = Lanes::ZERO;
    let both = recurrent[at..at + LANES].iter().zip(&products[at..at + LANES]);
    for (sum, (recurrent, product)) in sums.0.iter_mut().zip(both) {
        *sum = recurrent + product;
    }
    sums
}

/// Products for some rows of a batch: in place where they follow each other, otherwise taken out, so that
/// weights are read once for all.
#[derive(Clone, Debug)]
struct Gather {
    rows: Box<[f32]>,
    sums: Box<[Lanes]>,
}

impl Gather {
    fn new(instruments: usize, columns: usize, groups: usize) -> Self {
        let sums = vec![Lanes::ZERO; instruments * groups].into();
        Self { rows: vec![0.0; instruments * columns].into(), sums }
    }

    /// Adds the products of the chosen rows, ascending, to their sums.
    fn multiply_add(
        &mut self,
        isa: Isa,
        panels: &Panels,
        rows: &[f32],
        stride: usize,
        chosen: &[usize],
        sums: &mut [Lanes],
    ) {
        let (Some(&first), Some(&last)) = (chosen.first(), chosen.last()) else { return };
        let (groups, columns) = (panels.groups(), panels.columns());
        if last - first + 1 == chosen.len() {
            let sums = &mut sums[first * groups..(last + 1) * groups];
            panels.multiply_add(isa, &rows[first * stride..], stride, sums);
            return;
        }
        let taken = &mut self.sums[..chosen.len() * groups];
        let both = taken.chunks_exact_mut(groups).zip(self.rows.chunks_exact_mut(columns));
        for (instrument, (taken, row)) in chosen.iter().zip(both) {
            taken.copy_from_slice(&sums[instrument * groups..][..groups]);
            row.copy_from_slice(&rows[instrument * stride..][..columns]);
        }
        panels.multiply_add(isa, &self.rows, columns, taken);
        for (instrument, taken) in chosen.iter().zip(taken.chunks_exact(groups)) {
            sums[instrument * groups..][..groups].copy_from_slice(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_units_lie_together_with_all_of_their_gates() {
        let order = gate_order(20);
        assert_eq!(order[..16], (0..16).collect::<Vec<_>>());
        assert_eq!(order[16..32], (20..36).collect::<Vec<_>>());
        assert_eq!(order[64..], [16, 17, 18, 19, 36, 37, 38, 39, 56, 57, 58, 59, 76, 77, 78, 79]);
        let mut all = order;
        all.sort_unstable();
        assert_eq!(all, (0..80).collect::<Vec<_>>());
    }
}
