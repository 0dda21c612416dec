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

/// Most pairs of groups in a panel of halves: eight sums of 256 bits, which leave registers for the
/// weights that are made whole. With three pairs they are spilled.
const PAIRS: usize = 2;

/// Vectors multiplied in one pass.
const BATCH: usize = 4;

/// How weights are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they were given.
    #[default]
    F32,
    /// Rounded to the nearest bfloat16 (eight bits of mantissa): half the memory to read, but for an
    /// odd group of rows, which is filled up. Inputs and sums stay 32 bits wide.
    Bf16,
}

#[derive(Clone, Debug)]
enum Weights {
    F32(Box<[Lanes]>),
    Bf16(Box<[HalfPair]>),
}

/// Two groups of sixteen bfloat16, lane by lane in one word: the first group's in the lower half. A
/// shift and a mask make whole numbers of them, and no instruction has to widen them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct HalfPair([u32; LANES]);

impl HalfPair {
    fn pack(low: Lanes, high: Lanes) -> Self {
        let mut words = [0; LANES];
        for ((word, low), high) in words.iter_mut().zip(low.0).zip(high.0) {
            *word = u32::from(to_bf16(high)) << 16 | u32::from(to_bf16(low));
        }
        Self(words)
    }

    #[inline(always)]
    fn load(self) -> [Lanes; 2] {
        let mut groups = [Lanes::ZERO; 2];
        for (lane, word) in self.0.into_iter().enumerate() {
            groups[0].0[lane] = f32::from_bits(word << 16);
            groups[1].0[lane] = f32::from_bits(word & 0xffff_0000);
        }
        groups
    }
}

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
        let groups = rows.div_ceil(LANES);
        let lanes = |group: usize, column: usize| {
            let mut lanes = Lanes::ZERO;
            for (lane, row) in lanes.0.iter_mut().zip(group * LANES..rows) {
                *lane = matrix[row * columns + column];
            }
            lanes
        };
        let weights = match precision {
            Precision::F32 => Weights::F32(packed(groups, PANEL, columns, lanes)),
            Precision::Bf16 => {
                let pair = |pair: usize, column: usize| {
                    HalfPair::pack(lanes(2 * pair, column), lanes(2 * pair + 1, column))
                };
                Weights::Bf16(packed(groups.div_ceil(2), PAIRS, columns, pair))
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

    /// The matrix as it is multiplied with, column by column: `[columns][rows]`.
    #[must_use]
    pub fn by_column(&self) -> Vec<f32> {
        let (groups, columns) = (self.groups(), self.columns);
        let mut all = vec![0.0; self.rows * columns];
        let mut put = |group: usize, column: usize, lanes: Lanes| {
            let first = group * LANES;
            // A pair's second group may be none.
            for (lane, row) in lanes.0.iter().zip(first..self.rows) {
                all[column * self.rows + row] = *lane;
            }
        };
        match &self.weights {
            Weights::F32(weights) => {
                let places = packed(groups, PANEL, columns, |group, column| (group, column));
                for ((group, column), lanes) in places.into_iter().zip(weights) {
                    put(group, column, *lanes);
                }
            }
            Weights::Bf16(weights) => {
                let pairs = groups.div_ceil(2);
                let places = packed(pairs, PAIRS, columns, |pair, column| (pair, column));
                for ((pair, column), halves) in places.into_iter().zip(weights) {
                    let [low, high] = halves.load();
                    put(2 * pair, column, low);
                    put(2 * pair + 1, column, high);
                }
            }
        }
        all
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
            #[cfg(target_arch = "x86_64")]
            Weights::F32(weights) if isa == Isa::Avx512 => {
                multiply_f32_by_two(isa, weights, shape, inputs, sums);
            }
            Weights::F32(weights) => multiply_f32(isa, weights, shape, inputs, sums),
            Weights::Bf16(weights) => multiply_bf16(isa, weights, shape, inputs, sums),
        }
    }
}

/// First group (or pair) and number of them of each panel of at most `most`: as even as they can be.
#[inline(always)]
fn panels(groups: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let panels = groups.div_ceil(most);
    (0..panels).map(move |panel| {
        let (first, end) = (panel * groups / panels, (panel + 1) * groups / panels);
        (first, end - first)
    })
}

/// Panel by panel, in each column by column, what `stored` gives for a group (or pair) and a column.
fn packed<W>(
    groups: usize,
    most: usize,
    columns: usize,
    stored: impl Fn(usize, usize) -> W,
) -> Box<[W]> {
    let mut all = Vec::with_capacity(groups * columns);
    for (first, count) in panels(groups, most) {
        for column in 0..columns {
            all.extend((first..first + count).map(|group| stored(group, column)));
        }
    }
    all.into()
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

dispatched! {
    wide fn multiply_f32 = multiply_by_one(
        weights: &[Lanes], shape: Shape, inputs: &[f32], sums: &mut [Lanes]
    )
}

dispatched! {
    wide fn multiply_f32_by_two = multiply_by_two(
        weights: &[Lanes], shape: Shape, inputs: &[f32], sums: &mut [Lanes]
    )
}

dispatched! {
    wide fn multiply_bf16 = multiply_pairs(
        weights: &[HalfPair], shape: Shape, inputs: &[f32], sums: &mut [Lanes]
    )
}

/// For registers that hold half a group: eight sums at once, of four vectors.
#[inline(always)]
fn multiply_by_one(weights: &[Lanes], shape: Shape, inputs: &[f32], sums: &mut [Lanes]) {
    multiply::<1>(weights, shape, inputs, sums);
}

/// For registers that hold a whole group, where four sums would wait for themselves.
#[inline(always)]
fn multiply_by_two(weights: &[Lanes], shape: Shape, inputs: &[f32], sums: &mut [Lanes]) {
    multiply::<2>(weights, shape, inputs, sums);
}

/// Several vectors are multiplied with `G` groups of a panel at a time.
#[inline(always)]
fn multiply<const G: usize>(weights: &[Lanes], shape: Shape, inputs: &[f32], sums: &mut [Lanes]) {
    let mut rest = weights;
    for (first, groups) in panels(shape.groups, PANEL) {
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
            let columns = [columns(0), columns(1), columns(2), columns(3)];
            let mut sums = [a, b, c, d];
            let mut group = 0;
            while group + G <= groups {
                several::<G>(panel, groups, group, columns, &mut sums);
                group += G;
            }
            if group < groups {
                several::<1>(panel, groups, group, columns, &mut sums);
            }
            at += BATCH;
        }
        for sums in vectors {
            let columns = &inputs[at * shape.stride..][..shape.columns];
            let sums = &mut sums[first..first + groups];
            match groups {
                1 => one::<1>(panel, columns, sums),
                2 => one::<2>(panel, columns, sums),
                3 => one::<3>(panel, columns, sums),
                4 => one::<4>(panel, columns, sums),
                5 => one::<5>(panel, columns, sums),
                _ => one::<PANEL>(panel, columns, sums),
            }
            at += 1;
        }
    }
}

/// One vector: all sums of a panel in registers.
#[inline(always)]
fn one<const N: usize>(panel: &[Lanes], inputs: &[f32], sums: &mut [Lanes]) {
    let mut acc = [Lanes::ZERO; N];
    acc.copy_from_slice(sums);
    for (input, weights) in inputs.iter().zip(panel.chunks_exact(N)) {
        for (acc, weights) in acc.iter_mut().zip(weights) {
            acc.add_product(*weights, *input);
        }
    }
    sums.copy_from_slice(&acc);
}

/// Four vectors: some groups of rows at a time, so that each weight is loaded once for all of them.
#[inline(always)]
fn several<const G: usize>(
    panel: &[Lanes],
    groups: usize,
    first: usize,
    [a, b, c, d]: [&[f32]; BATCH],
    sums: &mut [&mut [Lanes]; BATCH],
) {
    let mut acc = [[Lanes::ZERO; G]; BATCH];
    for (acc, sums) in acc.iter_mut().zip(&*sums) {
        acc.copy_from_slice(&sums[first..first + G]);
    }
    let inputs = a.iter().zip(b).zip(c.iter().zip(d));
    for (((a, b), (c, d)), weights) in inputs.zip(panel.chunks_exact(groups)) {
        for g in 0..G {
            let weights = weights[first + g];
            for (acc, input) in acc.iter_mut().zip([a, b, c, d]) {
                acc[g].add_product(weights, *input);
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        sums[first..first + G].copy_from_slice(acc);
    }
}

/// As [`multiply`], of weights that are halves: a panel is at most [`PAIRS`] of them.
#[inline(always)]
fn multiply_pairs(weights: &[HalfPair], shape: Shape, inputs: &[f32], sums: &mut [Lanes]) {
    let mut rest = weights;
    for (first, pairs) in panels(shape.groups.div_ceil(2), PAIRS) {
        let (panel, behind) = rest.split_at(pairs * shape.columns);
        rest = behind;
        let groups = 2 * first..(2 * (first + pairs)).min(shape.groups);
        let mut vectors = sums.chunks_exact_mut(shape.groups);
        let mut at = 0;
        while vectors.len() >= 2 {
            let (Some(a), Some(b)) = (vectors.next(), vectors.next()) else { return };
            let columns = |k: usize| &inputs[(at + k) * shape.stride..][..shape.columns];
            let sums = [&mut a[groups.clone()], &mut b[groups.clone()]];
            two_of_pairs(panel, pairs, [columns(0), columns(1)], sums);
            at += 2;
        }
        for sums in vectors {
            let columns = &inputs[at * shape.stride..][..shape.columns];
            let sums = &mut sums[groups.clone()];
            match pairs {
                1 => one_of_pairs::<1>(panel, columns, sums),
                _ => one_of_pairs::<PAIRS>(panel, columns, sums),
            }
            at += 1;
        }
    }
}

/// One vector: all sums of a panel in registers. The last pair's second group may be none.
#[inline(always)]
fn one_of_pairs<const N: usize>(panel: &[HalfPair], inputs: &[f32], sums: &mut [Lanes]) {
    let mut acc = [[Lanes::ZERO; 2]; N];
    for (acc, sums) in acc.as_flattened_mut().iter_mut().zip(&*sums) {
        *acc = *sums;
    }
    for (input, weights) in inputs.iter().zip(panel.chunks_exact(N)) {
        for (acc, weights) in acc.iter_mut().zip(weights) {
            let [low, high] = weights.load();
            acc[0].add_product(low, *input);
            acc[1].add_product(high, *input);
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc.as_flattened()) {
        *sums = *acc;
    }
}

/// Two vectors: a pair at a time, so that each weight is made whole once for both.
#[inline(always)]
fn two_of_pairs(
    panel: &[HalfPair],
    pairs: usize,
    [a, b]: [&[f32]; 2],
    [sums_a, sums_b]: [&mut [Lanes]; 2],
) {
    let both = sums_a.chunks_mut(2).zip(sums_b.chunks_mut(2));
    for (pair, (sums_a, sums_b)) in both.enumerate() {
        let second = |sums: &[Lanes]| sums.get(1).copied().unwrap_or(Lanes::ZERO);
        let mut acc = [[sums_a[0], second(sums_a)], [sums_b[0], second(sums_b)]];
        for ((a, b), weights) in a.iter().zip(b).zip(panel.chunks_exact(pairs)) {
            let [low, high] = weights[pair].load();
            for (acc, input) in acc.iter_mut().zip([a, b]) {
                acc[0].add_product(low, *input);
                acc[1].add_product(high, *input);
            }
        }
        let len = sums_a.len();
        sums_a.copy_from_slice(&acc[0][..len]);
        sums_b.copy_from_slice(&acc[1][..len]);
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
                            // Also as no instruction set of this processor may have it.
                            if let Weights::F32(weights) = &panels.weights {
                                let mut again = vec![Lanes([0.25; LANES]); sums.len()];
                                let shape = Shape { columns, groups: panels.groups(), stride };
                                multiply_f32_by_two(isa, weights, shape, &inputs, &mut again);
                                assert_eq!(again, sums, "{isa:?}, two groups at a time");
                            }
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
    fn a_packed_matrix_is_given_back_column_by_column() {
        for (rows, columns) in [(1, 3), (16, 1), (17, 5), (97, 2), (400, 7)] {
            let matrix = numbers(Key::new(3), rows * columns);
            for precision in [Precision::F32, Precision::Bf16] {
                let rounded = |w: f32| match precision {
                    Precision::F32 => w,
                    Precision::Bf16 => f32::from_bits(u32::from(to_bf16(w)) << 16),
                };
                let got = Panels::new(&matrix, rows, columns, precision).by_column();
                let expected: Vec<f32> = (0..rows * columns)
                    .map(|at| rounded(matrix[at % rows * columns + at / rows]))
                    .collect();
                assert_eq!(got, expected, "{rows} × {columns}, {precision:?}");
            }
        }
    }

    #[test]
    fn bfloat16_is_the_nearest_and_takes_half_the_memory() {
        for (value, nearest) in [(1.0, 1.0), (1.006, 1.007_812_5), (-3.142_5, -3.140_625)] {
            assert_eq!(f32::from_bits(u32::from(to_bf16(value)) << 16), nearest);
        }
        // Half-way goes to the even one.
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        let matrix = vec![1.0; 100 * 30];
        let [full, half] = [Precision::F32, Precision::Bf16]
            .map(|precision| Panels::new(&matrix, 100, 30, precision).bytes());
        // Seven groups of sixteen rows, in bfloat16 four pairs of them.
        assert_eq!((full, half), (112 * 30 * 4, 128 * 30 * 2));
    }
}
