//! Weights and bias: what every layer that multiplies is made of.
//!
//! Invariant: each output is `start + bias + w[0]·x[0] + w[1]·x[1] + …` in that order, with `start` what
//! the sums held before ([`add`](Linear::add)) or nothing ([`apply`](Linear::apply)).

use super::lanes::Lanes;
use super::panels::{Panels, Precision};
use super::weights::{Tensors, WeightsError};
use crate::isa::Isa;

/// See the module.
#[derive(Clone, Debug)]
pub struct Linear {
    panels: Panels,
    bias: Box<[Lanes]>,
}

impl Linear {
    /// From `[outputs][inputs]` weights and a bias for each output, none meaning zeros.
    ///
    /// # Panics
    /// Where the slices have other lengths: shapes are checked when a model is loaded.
    #[must_use]
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        outputs: usize,
        inputs: usize,
        precision: Precision,
    ) -> Self {
        let mut lanes = Lanes::zeros(outputs);
        if let Some(bias) = bias {
            Lanes::flat_mut(&mut lanes)[..outputs].copy_from_slice(bias);
        }
        Self { panels: Panels::new(weight, outputs, inputs, precision), bias: lanes.into() }
    }

    /// Takes `name.weight` and `name.bias`.
    ///
    /// # Errors
    /// [`WeightsError`] where one is missing or has another shape.
    pub fn take(
        tensors: &mut Tensors,
        name: &str,
        [inputs, outputs]: [usize; 2],
        precision: Precision,
    ) -> Result<Self, WeightsError> {
        let weight = tensors.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = tensors.take(&format!("{name}.bias"), &[outputs])?;
        Ok(Self::new(&weight, Some(&bias), outputs, inputs, precision))
    }

    /// Length of a vector that comes in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.panels.columns()
    }

    /// Length of a vector that goes out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.panels.rows()
    }

    /// Groups of lanes that a vector takes that goes out.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.panels.groups()
    }

    /// The weights by themselves.
    #[must_use]
    pub fn panels(&self) -> &Panels {
        &self.panels
    }

    /// The bias of each output.
    #[must_use]
    pub fn bias(&self) -> &[f32] {
        &Lanes::flat(&self.bias)[..self.outputs()]
    }

    /// Bytes of weights that an answer reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.panels.bytes() + size_of_val(&self.bias[..])
    }

    /// Bias and products of vectors, one each `stride` numbers, in place of what `sums` held.
    pub fn apply(&self, isa: Isa, inputs: &[f32], stride: usize, sums: &mut [Lanes]) {
        for sums in sums.chunks_exact_mut(self.groups()) {
            sums.copy_from_slice(&self.bias);
        }
        self.panels.multiply_add(isa, inputs, stride, sums);
    }

    /// Bias and products of vectors, one each `stride` numbers, added to `sums`.
    pub fn add(&self, isa: Isa, inputs: &[f32], stride: usize, sums: &mut [Lanes]) {
        for sums in sums.chunks_exact_mut(self.groups()) {
            for (sum, bias) in Lanes::flat_mut(sums).iter_mut().zip(Lanes::flat(&self.bias)) {
                *sum += bias;
            }
        }
        self.panels.multiply_add(isa, inputs, stride, sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_added_to_what_was_there_or_takes_its_place() {
        let linear = Linear::new(&[1.0, 2.0, 3.0, 4.0], Some(&[10.0, 20.0]), 2, 2, Precision::F32);
        let mut sums = vec![Lanes([100.0; 16]); 2];
        // The vectors (1, 1) and (0, 1), the second three numbers behind the first.
        let inputs = [1.0, 1.0, 9.0, 0.0, 1.0];
        linear.add(Isa::best(), &inputs, 3, &mut sums);
        assert_eq!([sums[0].0[0], sums[0].0[1], sums[1].0[0]], [113.0, 127.0, 112.0]);
        linear.apply(Isa::best(), &inputs, 3, &mut sums);
        assert_eq!([sums[0].0[0], sums[0].0[1], sums[1].0[0]], [13.0, 27.0, 12.0]);
        assert_eq!(sums[0].0[2..], [0.0; 14]);
    }
}
