//! Layer normalisation of vectors that are kept in groups of lanes.
//!
//! Invariants: sums go lane by lane over the groups and then over the lanes by halves, so that no
//! instruction set changes a bit; lanes beyond the last number are taken as zero and left zero.

use super::lanes::{LANES, Lanes};
use crate::isa::{Isa, dispatched};

/// What PyTorch adds to a variance where nothing else is said.
pub const EPSILON: f32 = 1e-5;

/// `(x - mean) / √(variance + epsilon) · weight + bias` over the numbers of a vector.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    width: usize,
    epsilon: f32,
    weight: Box<[Lanes]>,
    bias: Box<[Lanes]>,
    /// One where there is a number, zero beyond.
    mask: Box<[Lanes]>,
}

impl LayerNorm {
    /// From a factor and a summand for each number of a vector.
    ///
    /// # Panics
    /// Where the lengths differ: shapes are checked when a model is loaded.
    #[must_use]
    pub fn new(weight: &[f32], bias: &[f32], epsilon: f32) -> Self {
        let width = weight.len();
        let padded = |numbers: &[f32]| {
            let mut lanes = Lanes::zeros(width);
            Lanes::flat_mut(&mut lanes)[..width].copy_from_slice(numbers);
            lanes.into_boxed_slice()
        };
        let mask = padded(&vec![1.0; width]);
        Self { width, epsilon, weight: padded(weight), bias: padded(bias), mask }
    }

    /// Numbers of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Factor and summand of each number.
    #[must_use]
    pub fn weights(&self) -> [&[f32]; 2] {
        [&self.weight, &self.bias].map(|lanes| &Lanes::flat(lanes)[..self.width])
    }

    /// Bytes of weights that an answer reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        2 * size_of_val(&self.weight[..])
    }

    /// Normalises every vector of `inputs` into `outputs`.
    ///
    /// # Panics
    /// Where `outputs` has another length.
    pub fn apply(&self, isa: Isa, inputs: &[Lanes], outputs: &mut [Lanes]) {
        assert_eq!(inputs.len(), outputs.len(), "as many vectors out as in");
        outputs.copy_from_slice(inputs);
        self.apply_in_place(isa, outputs);
    }

    /// Normalises every vector.
    pub fn apply_in_place(&self, isa: Isa, vectors: &mut [Lanes]) {
        normalise(isa, self, vectors);
    }
}

dispatched! { wide fn normalise = normalise_all(norm: &LayerNorm, vectors: &mut [Lanes]) }

#[inline(always)]
fn normalise_all(norm: &LayerNorm, vectors: &mut [Lanes]) {
    let (groups, width) = (norm.weight.len(), norm.width as f32);
    for vector in vectors.chunks_exact_mut(groups.max(1)) {
        let mut sum = Lanes::ZERO;
        for group in &*vector {
            for lane in 0..LANES {
                sum.0[lane] += group.0[lane];
            }
        }
        let mean = sum.sum() / width;
        let mut squares = Lanes::ZERO;
        for (group, mask) in vector.iter_mut().zip(&norm.mask) {
            for lane in 0..LANES {
                let centred = (group.0[lane] - mean) * mask.0[lane];
                group.0[lane] = centred;
                squares.0[lane] = centred.mul_add(centred, squares.0[lane]);
            }
        }
        let factor = 1.0 / (squares.sum() / width + norm.epsilon).sqrt();
        for ((group, weight), bias) in vector.iter_mut().zip(&norm.weight).zip(&norm.bias) {
            for lane in 0..LANES {
                let normal = group.0[lane] * factor;
                group.0[lane] = normal.mul_add(weight.0[lane], bias.0[lane]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    fn numbers(key: u64, len: usize) -> Vec<f32> {
        (0..len as u64).map(|i| Key::new(key).normal(i)).collect()
    }

    #[test]
    fn vectors_of_every_width_are_normalised_with_the_same_bits_everywhere() {
        for width in [1, 5, 16, 17, 64, 100] {
            let (weight, bias) = (numbers(1, width), numbers(2, width));
            let norm = LayerNorm::new(&weight, &bias, EPSILON);
            let groups = width.div_ceil(LANES);
            let mut vectors = vec![Lanes::ZERO; 3 * groups];
            for (v, vector) in vectors.chunks_exact_mut(groups).enumerate() {
                let x = numbers(3 + v as u64, width);
                Lanes::flat_mut(vector)[..width].copy_from_slice(&x);
            }
            let mut portable = vectors.clone();
            norm.apply(Isa::Portable, &vectors, &mut portable);
            for (x, y) in vectors.chunks_exact(groups).zip(portable.chunks_exact(groups)) {
                let x: Vec<f64> = Lanes::flat(x)[..width].iter().copied().map(f64::from).collect();
                let mean = x.iter().sum::<f64>() / width as f64;
                let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / width as f64;
                for i in 0..width {
                    let normal = (x[i] - mean) / (var + f64::from(EPSILON)).sqrt();
                    let expected = normal * f64::from(weight[i]) + f64::from(bias[i]);
                    let got = f64::from(Lanes::flat(y)[i]);
                    assert!((got - expected).abs() < 2e-6, "{got}, expected {expected}");
                }
                assert!(Lanes::flat(y)[width..].iter().all(|pad| *pad == 0.0));
            }
            for isa in Isa::here() {
                let mut again = vectors.clone();
                norm.apply_in_place(isa, &mut again);
                assert_eq!(again, portable, "{isa:?}");
            }
        }
    }
}
