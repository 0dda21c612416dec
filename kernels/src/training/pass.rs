//! One pass through a network: the values of its tensors, and what training adds to the mere answer.
//!
//! Invariant: dropout is a function of the key of a step and of how many masks the step has drawn before, so
//! that a step can be repeated after a run was cut.

use burn::tensor::{Device, Tensor, TensorData};

use super::parameters::Slot;
use crate::rng::Key;

/// How a pass differs from an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// It does not: no dropout, norms by what training has seen.
    Answer,
    /// Units are left out, norms are those of the batch.
    Training {
        /// Share of units that are left out.
        dropout: f64,
        /// Of this step.
        key: Key,
    },
}

/// See the module.
pub(super) struct Pass<'a> {
    values: &'a [Tensor<1>],
    device: &'a Device,
    mode: Mode,
    masks: u64,
    /// Mean and variance of the batch for the statistics that they belong to.
    pub(super) seen: Vec<(Slot, Tensor<1>)>,
}

impl<'a> Pass<'a> {
    /// Over the tensors of a network, in the order of its slots.
    pub(super) fn new(values: &'a [Tensor<1>], device: &'a Device, mode: Mode) -> Self {
        Self { values, device, mode, masks: 0, seen: Vec::new() }
    }

    pub(super) fn is_training(&self) -> bool {
        matches!(self.mode, Mode::Training { .. })
    }

    pub(super) fn device(&self) -> &Device {
        self.device
    }

    /// A tensor in the shape that the formula wants.
    pub(super) fn get<const D: usize>(&self, slot: Slot, shape: [usize; D]) -> Tensor<D> {
        self.values[slot.0].clone().reshape(shape)
    }

    /// Leaves out some units and scales the others up, while training.
    pub(super) fn dropout<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        let Mode::Training { dropout, key } = self.mode else { return x };
        if dropout == 0.0 {
            return x;
        }
        let key = key.fork(self.masks);
        self.masks += 1;
        let shape = x.dims();
        let count = shape.iter().product::<usize>() as u64;
        let scale = (1.0 / (1.0 - dropout)) as f32;
        let keep = |i| if f64::from(key.uniform(i)) < dropout { 0.0 } else { scale };
        let mask = TensorData::new((0..count).map(keep).collect::<Vec<f32>>(), shape);
        x * Tensor::from_data(mask, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::super::export::numbers;
    use super::*;

    /// Masks of two layers of a step.
    fn masks(step: u64, dropout: f64) -> [Vec<f32>; 2] {
        let device = Device::flex();
        let mode = Mode::Training { dropout, key: Key::new(3).fork(step) };
        let mut pass = Pass::new(&[], &device, mode);
        [(); 2].map(|()| numbers(&pass.dropout(Tensor::ones([10_000], &device))).unwrap())
    }

    #[test]
    fn dropout_leaves_out_its_share_and_keeps_the_mean() {
        let [first, second] = masks(0, 0.2);
        let out = first.iter().filter(|x| **x == 0.0).count();
        assert!((1_850..2_150).contains(&out), "{out} of 10000 left out");
        assert!(first.iter().all(|x| *x == 0.0 || *x == 1.25));
        assert_ne!(first, second, "of another layer");
        assert_ne!(first, masks(1, 0.2)[0], "of another step");
        assert_eq!(first, masks(0, 0.2)[0]);
        assert!(masks(0, 0.0)[0].iter().all(|x| *x == 1.0));
    }

    #[test]
    fn an_answer_leaves_nothing_out() {
        let device = Device::flex();
        let mut pass = Pass::new(&[], &device, Mode::Answer);
        let x = pass.dropout(Tensor::<1>::ones([100], &device));
        assert_eq!(numbers(&x).unwrap(), [1.0; 100]);
    }
}
