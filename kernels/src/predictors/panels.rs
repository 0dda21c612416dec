//! A matrix packed for products with vectors: read once from front to back, with no sum across lanes.
//!
//! Rows are grouped in sixteens, groups in panels of at most [`PANEL`]; a panel holds its rows' weights
//! column by column, so that one pass multiplies a whole column with one input and every row has a sum of
//! its own. Invariants: each output is `init + w[0]·x[0] + w[1]·x[1] + …`, rounded after each fused
//! multiply-add in that order, so that neither the instruction set nor the number of vectors multiplied at
//! once changes a bit; rows beyond the last are zero.

use super::lanes::{LANES, Lanes};
use crate::isa::{Isa, dispatched};

/// Most groups of rows in a panel: their sums stay in registers (twelve of 256 bits).
const PANEL: usize = 6;

/// Vectors multiplied in one pass.
const BATCH: usize = 4;

/// How weights are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they were given.
    #[default]
    F32,
    /// Rounded to the nearest bfloat16 (eight bits of mantissa): half the memory to read. Inputs and sums
    /// stay 32 bits wide.
    Bf16,
}

#[derive(Clone, Debug)]
enum Weights {
    F32(Box<[Lanes]>),
    Bf16(Box<[HalfLanes]>),
}

/// Sixteen bfloat16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
struct HalfLanes([u16; LANES]);

/// See the module.
#[derive(Clone, Debug)]
pub struct Panels {
    rows: usize,
    columns: usize,
    weights: Weights,
}

impl Panels {
    /// Packs a matrix given row by row: `rows × columns` numbers.
    ///
    /// # Panics
    /// Where the matrix has another length: shapes are checked when a model is loaded.
    #[must_use]
    pub fn new(matrix: &[f32], rows: usize, columns: usize, precision: Precision) -> Self {
        assert_eq!(matrix.len(), rows * columns, "a matrix of {rows} × {columns}");
        let mut packed = Vec::with_capacity(rows.div_ceil(LANES) * columns);
        for (first, groups) in panels(rows) {
            for column in 0..columns {
                for group in 0..groups {
                    let mut lanes = Lanes::ZERO;
                    for (lane, row) in lanes.0.iter_mut().zip((first + group) * LANES..rows) {
                        *lane = matrix[row * columns + column];
                    }
                    packed.push(lanes);
                }
            }
        }
        let weights = match precision {
            Precision::F32 => Weights::F32(packed.into()),
            Precision::Bf16 => {
                Weights::Bf16(packed.iter().map(|lanes| HalfLanes(lanes.0.map(to_bf16))).collect())
            }
        };
        Self { rows, columns, weights }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Groups of sixteen rows, which is what a product writes for each vector.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::F32(weights) => size_of_val(&weights[..]),
            Weights::Bf16(weights) => size_of_val(&weights[..]),
        }
    }

    /// Adds the products of the matrix with vectors to `sums`. `inputs` holds one vector each `stride`
    /// numbers, of which the first [`columns`](Self::columns) are used; `sums` holds
    /// [`groups`](Self::groups) for each vector, and so says how many there are.
    ///
    /// # Panics
    /// Where `inputs` is too short or `sums` no whole number of vectors.
    pub fn multiply_add(&self, isa: Isa, inputs: &[f32], stride: usize, sums: &mut [Lanes]) {
        let groups = self.groups();
        if groups == 0 {
            return;
        }
        assert_eq!(sums.len() % groups, 0, "whole vectors");
        let vectors = sums.len() / groups;
        if vectors == 0 {
            return;
        }
        assert!(
            stride * (vectors - 1) + self.columns <= inputs.len(),
            "inputs for {vectors} vectors"
        );
        let shape = Shape { columns: self.columns, groups, stride };
        match &self.weights {
            Weights::F32(weights) => multiply_f32(isa, weights, shape, inputs, sums),
            Weights::Bf16(weights) => multiply_bf16(isa, weights, shape, inputs, sums),
        }
    }
}

/// First group and number of groups of each panel: as even as they can be.
fn panels(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let groups = rows.div_ceil(LANES);
    let panels = groups.div_ceil(PANEL);
    (0..panels).map(move |panel| {
        let (first, end) = (panel * groups / panels, (panel + 1) * groups / panels);
        (first, end - first)
    })
}

/// The nearest bfloat16, ties to even. Weights are finite: that is checked when they are loaded.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[derive(Clone, Copy)]
struct Shape {
    columns: usize,
    groups: usize,
    stride: usize,
}

/// Sixteen weights as they are stored.
trait Stored: Copy {
    fn load(self) -> Lanes;
}

impl Stored for Lanes {
    #[inline(always)]
    fn load(self) -> Lanes {
        self
    }
}

impl Stored for HalfLanes {
    #[inline(always)]
    fn load(self) -> Lanes {
        let mut lanes = Lanes::ZERO;
        for (lane, half) in lanes.0.iter_mut().zip(self.0) {
            *lane = f32::from_bits(u32::from(half) << 16);
        }
        lanes
    }
}

dispatched! {
    wide fn multiply_f32 = multiply(
        weights: &[Lanes], shape: Shape, inputs: &[f32], sums: &mut [Lanes]
    )
}

dispatched! {
    wide fn multiply_bf16 = multiply(
        weights: &[HalfLanes], shape: Shape, inputs: &[f32], sums: &mut [Lanes]
    )
}

#[inline(always)]
fn multiply<W: Stored>(weights: &[W], shape: Shape, inputs: &[f32], sums: &mut [Lanes]) {
    let mut rest = weights;
    for (first, groups) in panels(shape.groups * LANES) {
        let (panel, behind) = rest.split_at(groups * shape.columns);
        rest = behind;
        let mut vectors = sums.chunks_exact_mut(shape.groups);
        let mut at = 0;
        while vectors.len() >= BATCH {
            let mut some = || vectors.next().map(|sums| &mut sums[first..first + groups]);
            let (Some(a), Some(b), Some(c), Some(d)) = (some(), some(), some(), some()) else {
                return;
            };
            let columns = |k: usize| &inputs[(at + k) * shape.stride..][..shape.columns];
            several(panel, groups, [columns(0), columns(1), columns(2), columns(3)], [a, b, c, d]);
            at += BATCH;
        }
        for sums in vectors {
            let columns = &inputs[at * shape.stride..][..shape.columns];
            let sums = &mut sums[first..first + groups];
            match groups {
                1 => one::<W, 1>(panel, columns, sums),
                2 => one::<W, 2>(panel, columns, sums),
                3 => one::<W, 3>(panel, columns, sums),
                4 => one::<W, 4>(panel, columns, sums),
                5 => one::<W, 5>(panel, columns, sums),
                _ => one::<W, PANEL>(panel, columns, sums),
            }
            at += 1;
        }
    }
}

/// One vector: all sums of a panel in registers.
#[inline(always)]
fn one<W: Stored, const N: usize>(panel: &[W], inputs: &[f32], sums: &mut [Lanes]) {
    let mut acc = [Lanes::ZERO; N];
    acc.copy_from_slice(sums);
    for (input, weights) in inputs.iter().zip(panel.chunks_exact(N)) {
        for (acc, weights) in acc.iter_mut().zip(weights) {
            acc.add_product(weights.load(), *input);
        }
    }
    sums.copy_from_slice(&acc);
}

/// Four vectors: a group of rows at a time, so that each weight is loaded once for all of them.
#[inline(always)]
fn several<W: Stored>(
    panel: &[W],
    groups: usize,
    inputs: [&[f32]; BATCH],
    sums: [&mut [Lanes]; BATCH],
) {
    let [a, b, c, d] = inputs;
    let [sums_a, sums_b, sums_c, sums_d] = sums;
    for group in 0..groups {
        let mut acc = [sums_a[group], sums_b[group], sums_c[group], sums_d[group]];
        let inputs = a.iter().zip(b).zip(c.iter().zip(d));
        for (((a, b), (c, d)), weights) in inputs.zip(panel.chunks_exact(groups)) {
            let weights = weights[group].load();
            for (acc, input) in acc.iter_mut().zip([a, b, c, d]) {
                acc.add_product(weights, *input);
            }
        }
        [sums_a[group], sums_b[group], sums_c[group], sums_d[group]] = acc;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    fn numbers(key: Key, len: usize) -> Vec<f32> {
        (0..len as u64).map(|i| key.uniform(i) - 0.5).collect()
    }

    /// The product as the module promises it, and nothing else.
    fn expected(matrix: &[f32], columns: usize, input: &[f32], init: f32, row: usize) -> f32 {
        let weights = &matrix[row * columns..][..columns];
        weights.iter().zip(input).fold(init, |sum, (w, x)| w.mul_add(*x, sum))
    }

    #[test]
    fn every_shape_batch_and_instruction_set_gives_the_promised_sums_bit_for_bit() {
        for rows in [1, 15, 16, 17, 95, 96, 97, 200, 400] {
            for columns in [0, 1, 7, 100] {
                for vectors in [1, 3, 4, 9] {
                    let stride = columns + 3;
                    let matrix = numbers(Key::new(1), rows * columns);
                    let inputs = numbers(Key::new(2), stride * vectors);
                    let rounded: Vec<f32> = matrix
                        .iter()
                        .map(|w| f32::from_bits(u32::from(to_bf16(*w)) << 16))
                        .collect();
                    for (precision, weights) in
                        [(Precision::F32, &matrix), (Precision::Bf16, &rounded)]
                    {
                        let panels = Panels::new(&matrix, rows, columns, precision);
                        for isa in Isa::here() {
                            let mut sums = vec![Lanes([0.25; LANES]); panels.groups() * vectors];
                            panels.multiply_add(isa, &inputs, stride, &mut sums);
                            for (v, sums) in sums.chunks_exact(panels.groups()).enumerate() {
                                let flat = Lanes::flat(sums);
                                for (row, got) in flat[..rows].iter().enumerate() {
                                    let input = &inputs[v * stride..][..columns];
                                    let sum = expected(weights, columns, input, 0.25, row);
                                    assert_eq!(got.to_bits(), sum.to_bits(), "{isa:?}");
                                }
                                assert!(flat[rows..].iter().all(|pad| *pad == 0.25));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn bfloat16_is_the_nearest_and_takes_half_the_memory() {
        for (value, nearest) in [(1.0, 1.0), (1.006, 1.007_812_5), (-5.03, -5.031_25)] {
            assert_eq!(f32::from_bits(u32::from(to_bf16(value)) << 16), nearest);
        }
        // Half-way goes to the even one.
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        let matrix = vec![1.0; 100 * 30];
        let [full, half] = [Precision::F32, Precision::Bf16]
            .map(|precision| Panels::new(&matrix, 100, 30, precision).bytes());
        assert_eq!((full, half), (112 * 30 * 4, 112 * 30 * 2));
    }
}
