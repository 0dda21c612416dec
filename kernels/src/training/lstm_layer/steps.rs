//! An LSTM layer over all steps of a batch, forward and backward through time, on plain numbers.
//!
//! One product covers the inputs of all steps; a step adds the product with the units before it and turns
//! sums to gates in one pass over memory. The backward pass (Werbos, 1990) goes the same way in reverse and
//! leaves the derivatives of the sums where the gates were. Sums are kept in blocks of sixteen units, each
//! with its four gates next to one another; units beyond the last have zero weights and stay zero.
//!
//! Invariant: the same bits on every instruction set, as [`Panels`] and the functions of
//! [`activation`](crate::predictors::activation) have them.

use crate::isa::{Isa, dispatched};
use crate::predictors::activation::{sigmoid_one, tanh_one};
use crate::predictors::lanes::{LANES, Lanes};
use crate::predictors::panels::{Panels, Precision};

/// Gates of a unit: input, forget, cell, output, as PyTorch orders them.
pub(super) const GATES: usize = 4;

/// Gates of sixteen units.
type Block = [Lanes; GATES];

/// Sizes of a layer and of what goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) steps: usize,
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) units: usize,
}

impl Shape {
    fn blocks(&self) -> usize {
        self.units.div_ceil(LANES)
    }

    /// Numbers of a row of sums, those of the last block's missing units included.
    pub(super) fn sums(&self) -> usize {
        self.blocks() * GATES * LANES
    }

    /// Where PyTorch has what a row of sums holds at each place; none where a unit is missing.
    fn rows(&self) -> impl Iterator<Item = Option<usize>> {
        let units = self.units;
        (0..self.sums()).map(move |at| {
            let (group, lane) = (at / LANES, at % LANES);
            let unit = group / GATES * LANES + lane;
            (unit < units).then_some(group % GATES * units + unit)
        })
    }

    /// Numbers of PyTorch's `[4 · units]` in the order of a row of sums.
    fn ordered(&self, of_rows: &[f32]) -> Vec<f32> {
        self.rows().map(|row| row.map_or(0.0, |row| of_rows[row])).collect()
    }

    /// Rows of a matrix with a row for each place of the sums, as PyTorch has them.
    pub(super) fn reordered(&self, matrix: &[f32], columns: usize) -> Vec<f32> {
        let mut all = vec![0.0; GATES * self.units * columns];
        for (row, values) in self.rows().zip(matrix.chunks_exact(columns)) {
            if let Some(row) = row {
                all[row * columns..][..columns].copy_from_slice(values);
            }
        }
        all
    }

    /// `[4 · units][columns]` packed for sums of gates.
    fn pack(&self, matrix: &[f32], columns: usize) -> Panels {
        let mut ordered = Vec::with_capacity(self.sums() * columns);
        for row in self.rows() {
            match row {
                Some(row) => ordered.extend_from_slice(&matrix[row * columns..][..columns]),
                None => ordered.resize(ordered.len() + columns, 0.0),
            }
        }
        Panels::new(&ordered, self.sums(), columns, Precision::F32)
    }

    /// `[4 · units][columns]` packed for sums over gates.
    fn pack_transposed(&self, matrix: &[f32], columns: usize) -> Panels {
        let mut ordered = Vec::with_capacity(self.sums() * columns);
        for column in 0..columns {
            let value = |row: usize| matrix[row * columns + column];
            ordered.extend(self.rows().map(|row| row.map_or(0.0, value)));
        }
        Panels::new(&ordered, columns, self.sums(), Precision::F32)
    }
}

/// Weights of a layer, each as PyTorch has it, and the sum of its two biases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> {
    /// `[4 · units][inputs]`.
    pub(super) input: &'a [f32],
    /// `[4 · units][units]`.
    pub(super) recurrent: &'a [f32],
    /// `[4 · units]`.
    pub(super) bias: &'a [f32],
}

/// What a forward pass leaves for the backward one.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    shape: Shape,
    /// `[steps][batch]`, after their functions.
    gates: Vec<Block>,
    /// `[1 + steps][batch]`, zeros first.
    cells: Vec<Lanes>,
    /// As the cells.
    hidden: Vec<Lanes>,
}

/// Derivatives of what went into a layer, and what is left to be multiplied for those of its weights.
#[derive(Debug)]
pub(super) struct Derivatives {
    /// Of the sums, `[steps · batch][sums]` in blocks.
    pub(super) sums: Vec<f32>,
    /// Of the inputs, `[steps · batch][inputs]`, if asked for.
    pub(super) inputs: Option<Vec<f32>>,
    /// Of the bias, `[4 · units]`.
    pub(super) bias: Vec<f32>,
    /// No derivative: the units before each step, `[steps · batch][units]`.
    pub(super) units_before: Vec<f32>,
}

impl Tape {
    /// Goes through all steps of `x`, `[steps][batch][inputs]`, from units and cells of zero.
    pub(super) fn forward(isa: Isa, shape: Shape, weights: Weights<'_>, x: &[f32]) -> Self {
        let Shape { steps, batch, inputs, units } = shape;
        let bias = grouped(&shape.ordered(weights.bias));
        let mut gates = Vec::with_capacity(steps * batch * bias.len());
        for _ in 0..steps * batch {
            gates.extend_from_slice(&bias);
        }
        shape.pack(weights.input, inputs).multiply_add(isa, x, inputs, &mut gates);
        let mut gates = gates.as_chunks::<GATES>().0.to_vec();
        let recurrent = shape.pack(weights.recurrent, units);
        let step = batch * shape.blocks();
        let mut cells = vec![Lanes::ZERO; (1 + steps) * step];
        let mut hidden = cells.clone();
        for t in 0..steps {
            let gates = &mut gates[t * step..][..step];
            let [before, cells] = two_steps(&mut cells, t, step);
            let [units_before, hidden] = two_steps(&mut hidden, t, step);
            if t > 0 {
                let stride = shape.blocks() * LANES;
                let sums = gates.as_flattened_mut();
                recurrent.multiply_add(isa, Lanes::flat(units_before), stride, sums);
            }
            open(isa, gates, before, cells, hidden);
        }
        Self { shape, gates, cells, hidden }
    }

    /// The units after each step, `[steps][batch][units]`.
    pub(super) fn units(&self) -> Vec<f32> {
        let step = self.shape.batch * self.shape.blocks();
        ungrouped(&self.hidden[step..], self.shape.units)
    }

    /// Goes back from the derivatives of [`units`](Self::units).
    pub(super) fn backward(
        mut self,
        isa: Isa,
        weights: Weights<'_>,
        of_units: &[f32],
        are_inputs_asked: bool,
    ) -> Derivatives {
        let shape = self.shape;
        let Shape { steps, batch, inputs, units } = shape;
        let recurrent = shape.pack_transposed(weights.recurrent, units);
        let step = batch * shape.blocks();
        let mut of_hidden = vec![Lanes::ZERO; step];
        let mut of_cells = of_hidden.clone();
        for t in (0..steps).rev() {
            add_rows(&mut of_hidden, &of_units[t * batch * units..][..batch * units], units);
            let [before, cells] = two_steps(&mut self.cells, t, step);
            let gates = &mut self.gates[t * step..][..step];
            derive(isa, gates, before, cells, &of_hidden, &mut of_cells);
            if t > 0 {
                of_hidden.fill(Lanes::ZERO);
                let sums = Lanes::flat(gates.as_flattened());
                recurrent.multiply_add(isa, sums, shape.sums(), &mut of_hidden);
            }
        }
        let sums = self.gates.as_flattened();
        let of_inputs = are_inputs_asked.then(|| {
            let weights = shape.pack_transposed(weights.input, inputs);
            let mut products = vec![Lanes::ZERO; steps * batch * weights.groups()];
            weights.multiply_add(isa, Lanes::flat(sums), shape.sums(), &mut products);
            ungrouped(&products, inputs)
        });
        let mut bias = vec![Lanes::ZERO; GATES * shape.blocks()];
        add_up(isa, &mut bias, sums);
        Derivatives {
            sums: Lanes::flat(sums).to_vec(),
            inputs: of_inputs,
            bias: shape.reordered(Lanes::flat(&bias), 1),
            units_before: ungrouped(&self.hidden[..steps * step], units),
        }
    }
}

/// What is before a step and what is after it.
fn two_steps(states: &mut [Lanes], t: usize, step: usize) -> [&mut [Lanes]; 2] {
    let (before, after) = states[t * step..][..2 * step].split_at_mut(step);
    [before, after]
}

/// Numbers in groups of sixteen.
fn grouped(numbers: &[f32]) -> Vec<Lanes> {
    let mut lanes = Lanes::zeros(numbers.len());
    Lanes::flat_mut(&mut lanes)[..numbers.len()].copy_from_slice(numbers);
    lanes
}

/// Rows of `width` numbers without what fills up their last group.
fn ungrouped(rows: &[Lanes], width: usize) -> Vec<f32> {
    let groups = width.div_ceil(LANES);
    let mut all = Vec::with_capacity(rows.len() / groups * width);
    for row in rows.chunks_exact(groups) {
        all.extend_from_slice(&Lanes::flat(row)[..width]);
    }
    all
}

/// Adds rows of `width` numbers to rows of whole groups.
fn add_rows(rows: &mut [Lanes], given: &[f32], width: usize) {
    let groups = width.div_ceil(LANES);
    for (row, given) in rows.chunks_exact_mut(groups).zip(given.chunks_exact(width)) {
        for (sum, x) in Lanes::flat_mut(row).iter_mut().zip(given) {
            *sum += x;
        }
    }
}

dispatched! {
    wide fn open = open_all(
        sums: &mut [Block], before: &[Lanes], cells: &mut [Lanes], hidden: &mut [Lanes]
    )
}

dispatched! {
    wide fn derive = derive_all(
        gates: &mut [Block],
        before: &[Lanes],
        cells: &[Lanes],
        of_hidden: &[Lanes],
        of_cells: &mut [Lanes],
    )
}

dispatched! { wide fn add_up = add_up_all(sums: &mut [Lanes], rows: &[Lanes]) }

/// Makes gates of sums, and cells and units of gates.
#[inline(always)]
#[allow(clippy::inline_always, reason = "see `dispatched`")]
fn open_all(sums: &mut [Block], before: &[Lanes], cells: &mut [Lanes], hidden: &mut [Lanes]) {
    let outs = cells.iter_mut().zip(hidden);
    for (([i, f, g, o], before), (cell, hidden)) in sums.iter_mut().zip(before).zip(outs) {
        for lane in 0..LANES {
            i.0[lane] = sigmoid_one(i.0[lane]);
            f.0[lane] = sigmoid_one(f.0[lane]);
            g.0[lane] = tanh_one(g.0[lane]);
            o.0[lane] = sigmoid_one(o.0[lane]);
            cell.0[lane] = f.0[lane].mul_add(before.0[lane], i.0[lane] * g.0[lane]);
            hidden.0[lane] = o.0[lane] * tanh_one(cell.0[lane]);
        }
    }
}

/// Makes derivatives of sums of gates, and of the step's cells those of the cells before.
#[inline(always)]
#[allow(clippy::inline_always, reason = "see `dispatched`")]
fn derive_all(
    gates: &mut [Block],
    before: &[Lanes],
    cells: &[Lanes],
    of_hidden: &[Lanes],
    of_cells: &mut [Lanes],
) {
    let derivatives = of_hidden.iter().zip(of_cells);
    let states = before.iter().zip(cells).zip(derivatives);
    for ([i, f, g, o], ((before, cell), (of_hidden, of_cell))) in gates.iter_mut().zip(states) {
        for lane in 0..LANES {
            let [input, forget, new, out] = [i.0[lane], f.0[lane], g.0[lane], o.0[lane]];
            let bent = tanh_one(cell.0[lane]);
            let of_unit = of_hidden.0[lane];
            let slope = of_unit * out * (1.0 - bent * bent) + of_cell.0[lane];
            i.0[lane] = slope * new * input * (1.0 - input);
            f.0[lane] = slope * before.0[lane] * forget * (1.0 - forget);
            g.0[lane] = slope * input * (1.0 - new * new);
            o.0[lane] = of_unit * bent * out * (1.0 - out);
            of_cell.0[lane] = slope * forget;
        }
    }
}

/// Adds rows, each as long as their sum.
#[inline(always)]
#[allow(clippy::inline_always, reason = "see `dispatched`")]
fn add_up_all(sums: &mut [Lanes], rows: &[Lanes]) {
    for row in rows.chunks_exact(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(row) {
            for (sum, x) in sum.0.iter_mut().zip(x.0) {
                *sum += x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    /// More units than a group has, and fewer than two.
    const SHAPE: Shape = Shape { steps: 4, batch: 3, inputs: 5, units: 18 };

    /// Inputs, weights and bias, one behind the other.
    struct All {
        numbers: Vec<f64>,
        ends: [usize; 4],
    }

    impl All {
        fn new(seed: u64) -> Self {
            let Shape { steps, batch, inputs, units } = SHAPE;
            let rows = GATES * units;
            let mut end = 0;
            let ends = [steps * batch * inputs, rows * inputs, rows * units, rows].map(|len| {
                end += len;
                end
            });
            let key = Key::new(seed);
            let numbers = (0..end as u64).map(|i| f64::from(0.5 * key.normal(i))).collect();
            Self { numbers, ends }
        }

        fn parts(&self) -> [&[f64]; 4] {
            let [a, b, c, d] = self.ends;
            let all = &self.numbers;
            [&all[..a], &all[a..b], &all[b..c], &all[c..d]]
        }

        fn narrow(&self) -> [Vec<f32>; 4] {
            self.parts().map(|part| part.iter().map(|x| *x as f32).collect())
        }
    }

    fn weights(parts: &[Vec<f32>; 4]) -> Weights<'_> {
        Weights { input: &parts[1], recurrent: &parts[2], bias: &parts[3] }
    }

    /// Units after each step by PyTorch's equations, one number at a time.
    fn plain([x, input, recurrent, bias]: [&[f64]; 4]) -> Vec<f64> {
        let Shape { steps, batch, inputs, units } = SHAPE;
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut all = vec![0.0; steps * batch * units];
        for b in 0..batch {
            let (mut h, mut c) = (vec![0.0; units], vec![0.0; units]);
            for t in 0..steps {
                let x = &x[(t * batch + b) * inputs..][..inputs];
                let sum = |row: usize| {
                    let dot = |m: &[f64], v: &[f64]| -> f64 {
                        m[row * v.len()..][..v.len()].iter().zip(v).map(|(a, b)| a * b).sum()
                    };
                    bias[row] + dot(input, x) + dot(recurrent, &h)
                };
                let sums: Vec<f64> = (0..GATES * units).map(sum).collect();
                for u in 0..units {
                    let [i, f, g, o] = [0, 1, 2, 3].map(|gate| sums[gate * units + u]);
                    c[u] = sigmoid(f) * c[u] + sigmoid(i) * g.tanh();
                    h[u] = sigmoid(o) * c[u].tanh();
                }
                all[(t * batch + b) * units..][..units].copy_from_slice(&h);
            }
        }
        all
    }

    /// What the units after each step count in the sum that is derived.
    fn counts() -> Vec<f32> {
        let Shape { steps, batch, units, .. } = SHAPE;
        (0..(steps * batch * units) as u64).map(|i| Key::new(9).normal(i)).collect()
    }

    #[test]
    fn units_are_those_of_the_plain_equations() {
        let all = All::new(1);
        let parts = all.narrow();
        for isa in Isa::here() {
            let found = Tape::forward(isa, SHAPE, weights(&parts), &parts[0]).units();
            for (x, y) in found.iter().zip(plain(all.parts())) {
                assert!((f64::from(*x) - y).abs() < 2e-6, "{isa:?}: {x}, expected {y}");
            }
        }
    }

    #[test]
    fn derivatives_are_the_differences_of_the_plain_equations() {
        let mut all = All::new(2);
        let (parts, counts) = (all.narrow(), counts());
        let Shape { inputs, units, .. } = SHAPE;
        let tape = Tape::forward(Isa::best(), SHAPE, weights(&parts), &parts[0]);
        let found = tape.backward(Isa::best(), weights(&parts), &counts, true);
        let product = |with: &[f32], columns: usize| {
            let mut all = vec![0.0; SHAPE.sums() * columns];
            let rows = found.sums.chunks_exact(SHAPE.sums()).zip(with.chunks_exact(columns));
            for (sums, with) in rows {
                for (all, sum) in all.chunks_exact_mut(columns).zip(sums) {
                    for (all, with) in all.iter_mut().zip(with) {
                        *all += sum * with;
                    }
                }
            }
            SHAPE.reordered(&all, columns)
        };
        let of_input = product(&parts[0], inputs);
        let of_recurrent = product(&found.units_before, units);
        let of_x = found.inputs.unwrap();
        let found = [of_x, of_input, of_recurrent, found.bias].concat();
        let mut value = |at: usize, x: f64| {
            let before = std::mem::replace(&mut all.numbers[at], x);
            let units = plain(all.parts());
            all.numbers[at] = before;
            (units.iter().zip(&counts).map(|(u, c)| u * f64::from(*c)).sum::<f64>(), before)
        };
        // Central differences of doubles, whose error is below 1e-8; what is left is that of single
        // precision in sums of up to 72 products.
        let h = 1e-5;
        let mut worst = 0.0_f64;
        for (at, found) in found.iter().enumerate() {
            let (_, x) = value(at, 0.0);
            let expected = (value(at, x + h).0 - value(at, x - h).0) / (2.0 * h);
            let error = (f64::from(*found) - expected).abs() / expected.abs().max(1.0);
            assert!(error < 1e-5, "{at}: {found}, expected {expected}");
            worst = worst.max(error);
        }
        println!("{} derivatives, largest error {worst:.1e}", found.len());
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let (parts, counts) = (All::new(3).narrow(), counts());
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let of = |isa| {
            let tape = Tape::forward(isa, SHAPE, weights(&parts), &parts[0]);
            let units = bits(&tape.units());
            let found = tape.backward(isa, weights(&parts), &counts, true);
            let inputs = bits(&found.inputs.unwrap());
            (units, bits(&found.sums), inputs, bits(&found.bias))
        };
        for isa in Isa::here() {
            assert_eq!(of(isa), of(Isa::Portable), "{isa:?}");
        }
    }
}
