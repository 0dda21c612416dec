//! Softmax and layer norm over the last dimension, each one operation with a derivative of its own.
//!
//! `burn` computes both in one pass over memory, but derives them through a dozen operations each, of which
//! every one makes a tensor as large as what goes in. Invariant: values are `burn`'s own; derivatives are
//! held against differences by the tests.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::{ActivationOps, ModuleOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};

use crate::isa::{Isa, dispatched};
use crate::predictors::lanes::{LANES, Lanes};

/// Exponentials of the last dimension's numbers, divided by their sum.
pub(super) fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::softmax_rows(x.into_dispatch()))
}

/// `(x - mean) / √(variance + epsilon) · weight + bias` over the last dimension.
pub(super) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f32,
) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::layer_norm_rows(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
    ))
}

/// What is added to `burn`'s operations.
#[backend_extension(Flex, Autodiff)]
trait RowOperations: Backend {
    /// See [`softmax`].
    fn softmax_rows(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`layer_norm`].
    fn layer_norm_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

impl RowOperations for Flex {
    fn softmax_rows(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let last = x.shape().num_dims() - 1;
        Self::softmax(x, last)
    }

    fn layer_norm_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        Self::layer_norm(x, weight, Some(bias), f64::from(epsilon))
    }
}

impl<C: CheckpointStrategy> RowOperations for Autodiff<Flex, C> {
    fn softmax_rows(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let answer = Flex::softmax_rows(x).to_contiguous();
        match SoftmaxBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(answer.clone(), answer),
            OpsKind::UnTracked(prepared) => prepared.finish(answer),
        }
    }

    fn layer_norm_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let [(x, of_x), (weight, of_weight), (bias, of_bias)] =
            [x, weight, bias].map(FloatTensor::<Self>::into_parts);
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let answer = Flex::layer_norm_rows(x.clone(), weight.clone(), bias, epsilon);
        let prepared = LayerNormBackward.prepare::<C>([of_x, of_weight, of_bias]).compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight, epsilon), answer),
            OpsKind::UnTracked(prepared) => prepared.finish(answer),
        }
    }
}

/// Numbers in the shape of another tensor.
fn like(other: &FlexTensor, numbers: Vec<f32>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(numbers, other.shape()))
}

/// Length of the last dimension.
fn width(x: &FlexTensor) -> usize {
    let shape = x.shape();
    shape[shape.num_dims() - 1]
}

#[derive(Debug)]
struct SoftmaxBackward;

impl Backward<Flex, 1> for SoftmaxBackward {
    /// What the operation gave.
    type State = FlexTensor;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let answer = ops.state;
        let given = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [Some(node)] = ops.parents else { return };
        let mut found = vec![0.0; given.shape().num_elements()];
        derive_softmax(Isa::best(), width(&answer), answer.storage(), given.storage(), &mut found);
        gradients.register::<Flex>(node.id, like(&answer, found));
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    /// Input, weight and epsilon.
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (x, weight, epsilon) = ops.state;
        let given = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let mut of_x = vec![0.0; given.shape().num_elements()];
        let (mut of_weight, mut of_bias) = (vec![0.0; width(&x)], vec![0.0; width(&x)]);
        let normed = Normed { x: x.storage(), weight: weight.storage(), epsilon };
        let isa = Isa::best();
        derive_layer_norm(isa, normed, given.storage(), &mut of_x, &mut of_weight, &mut of_bias);
        let found = [like(&x, of_x), like(&weight, of_weight), like(&weight, of_bias)];
        for (node, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, found);
            }
        }
    }
}

/// What went into a layer norm.
#[derive(Clone, Copy)]
struct Normed<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
}

dispatched! {
    wide fn derive_softmax = derive_softmax_all(
        width: usize, answer: &[f32], given: &[f32], found: &mut [f32]
    )
}

dispatched! {
    wide fn derive_layer_norm = derive_layer_norm_all(
        normed: Normed<'_>,
        given: &[f32],
        of_x: &mut [f32],
        of_weight: &mut [f32],
        of_bias: &mut [f32],
    )
}

/// The sum of what a function gives for each place of a row: sixteen sums side by side, then the rest.
#[inline(always)]
#[allow(clippy::inline_always, reason = "see `dispatched`")]
fn sum(width: usize, of: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = Lanes::ZERO;
    let whole = width / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.0.iter_mut().enumerate() {
            *sum += of(first + lane);
        }
    }
    (whole..width).fold(lanes.sum(), |sum, at| sum + of(at))
}

/// `y · (g - Σ g · y)`.
#[inline(always)]
#[allow(clippy::inline_always, reason = "see `dispatched`")]
fn derive_softmax_all(width: usize, answer: &[f32], given: &[f32], found: &mut [f32]) {
    let rows = answer.chunks_exact(width).zip(given.chunks_exact(width));
    for ((y, g), found) in rows.zip(found.chunks_exact_mut(width)) {
        let mean = sum(width, |at| y[at] * g[at]);
        for ((found, y), g) in found.iter_mut().zip(y).zip(g) {
            *found = y * (g - mean);
        }
    }
}

/// `(h - mean of h - z · mean of h · z) / deviation`, where z are the normalised inputs and
/// `h = g · weight`.
#[inline(always)]
#[allow(clippy::inline_always, reason = "see `dispatched`")]
fn derive_layer_norm_all(
    normed: Normed<'_>,
    given: &[f32],
    of_x: &mut [f32],
    of_weight: &mut [f32],
    of_bias: &mut [f32],
) {
    let Normed { x, weight, epsilon } = normed;
    let width = weight.len();
    let share = 1.0 / width as f32;
    let rows = x.chunks_exact(width).zip(given.chunks_exact(width));
    for ((x, g), found) in rows.zip(of_x.chunks_exact_mut(width)) {
        let mean = sum(width, |at| x[at]) * share;
        let variance = sum(width, |at| (x[at] - mean) * (x[at] - mean)) * share;
        let scale = 1.0 / (variance + epsilon).sqrt();
        let of_mean = sum(width, |at| g[at] * weight[at]) * share;
        let of_scale = sum(width, |at| g[at] * weight[at] * (x[at] - mean)) * share * scale;
        for at in 0..width {
            let z = (x[at] - mean) * scale;
            found[at] = (g[at] * weight[at] - of_mean - z * of_scale) * scale;
            of_weight[at] += g[at] * z;
            of_bias[at] += g[at];
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::export::numbers;
    use super::super::parameters::vector;
    use super::*;
    use crate::rng::Key;

    /// More than a group of lanes, and no whole number of them.
    const WIDTH: usize = 21;
    const ROWS: usize = 3;

    fn draw(seed: u64, count: usize) -> Vec<f32> {
        (0..count as u64).map(|at| Key::new(seed).normal(at)).collect()
    }

    /// Holds the derivatives of `Σ counts · operation(parts)` against central differences of doubles.
    fn check(
        parts: &[Vec<f32>],
        operation: impl Fn(&[Tensor<1>]) -> Tensor<2>,
        plain: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        let device = Device::flex();
        let leaf = |part: &Vec<f32>| vector(part.clone(), &device).autodiff().require_grad();
        let leaves: Vec<Tensor<1>> = parts.iter().map(leaf).collect();
        let counts = draw(7, ROWS * WIDTH);
        let answer = operation(&leaves);
        let mut wide: Vec<Vec<f64>> =
            parts.iter().map(|part| part.iter().copied().map(f64::from).collect()).collect();
        let given = numbers(&answer.clone().inner().reshape([ROWS * WIDTH])).unwrap();
        for (x, y) in given.iter().zip(plain(&wide)) {
            assert!((f64::from(*x) - y).abs() < 2e-6, "{x}, expected {y}");
        }
        let weighted = answer.reshape([ROWS * WIDTH]) * vector(counts.clone(), &device);
        let mut gradients = weighted.sum().backward();
        for (n, leaf) in leaves.iter().enumerate() {
            let found = numbers(&leaf.grad_remove(&mut gradients).unwrap()).unwrap();
            for (at, found) in found.iter().enumerate() {
                let x = wide[n][at];
                let mut value = |x: f64| {
                    wide[n][at] = x;
                    let answers = plain(&wide);
                    answers.iter().zip(&counts).map(|(y, c)| y * f64::from(*c)).sum::<f64>()
                };
                let expected = (value(x + 1e-5) - value(x - 1e-5)) / 2e-5;
                value(x);
                let error = (f64::from(*found) - expected).abs() / expected.abs().max(1.0);
                assert!(error < 5e-6, "{n}, {at}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_softmax_is_derived_as_its_differences_are() {
        let plain = |parts: &[Vec<f64>]| {
            let row = |row: &[f64]| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(|x| x.exp() / sum).collect::<Vec<_>>()
            };
            parts[0].chunks_exact(WIDTH).flat_map(row).collect()
        };
        let operation = |parts: &[Tensor<1>]| softmax(parts[0].clone().reshape([ROWS, WIDTH]));
        check(&[draw(1, ROWS * WIDTH)], operation, plain);
    }

    #[test]
    fn a_layer_norm_is_derived_as_its_differences_are() {
        let plain = |parts: &[Vec<f64>]| {
            let row = |row: &[f64]| {
                let mean = row.iter().sum::<f64>() / WIDTH as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / WIDTH as f64;
                let scale = 1.0 / (variance + 1e-5).sqrt();
                let of = |at: usize| (row[at] - mean) * scale * parts[1][at] + parts[2][at];
                (0..WIDTH).map(of).collect::<Vec<_>>()
            };
            parts[0].chunks_exact(WIDTH).flat_map(row).collect()
        };
        let operation = |parts: &[Tensor<1>]| {
            let [x, weight, bias] = [0, 1, 2].map(|n| parts[n].clone());
            layer_norm(x.reshape([ROWS, WIDTH]), weight, bias, 1e-5)
        };
        check(&[draw(1, ROWS * WIDTH), draw(2, WIDTH), draw(3, WIDTH)], operation, plain);
    }
}
