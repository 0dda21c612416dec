//! An LSTM layer as one operation, derived by our own backward pass.
//!
//! Written in `burn`'s operations a layer of 50 steps is a graph of a thousand small tensors, of which each
//! costs more than its arithmetic. `burn` lets a backend be extended by an operation with a derivative of
//! its own; this is one. Invariant: what it gives and how it is derived are those of PyTorch's `nn.LSTM`,
//! which the tests hold against plain equations and their differences.

mod steps;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};

use crate::isa::Isa;
use steps::{Derivatives, GATES, Shape, Tape, Weights};

/// The units after each step, `[steps][batch][units]`, of inputs `[steps][batch][inputs]`. Weights are
/// `[4 · units][inputs]` and `[4 · units][units]`, the bias, `[4 · units]`, is the sum of PyTorch's two.
pub(super) fn lstm(
    x: Tensor<3>,
    input: Tensor<2>,
    recurrent: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::lstm_layer(
        x.into_dispatch(),
        input.into_dispatch(),
        recurrent.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// What is added to `burn`'s operations.
#[backend_extension(Flex, Autodiff)]
trait LstmLayer: Backend {
    /// See [`lstm`].
    fn lstm_layer(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl LstmLayer for Flex {
    fn lstm_layer(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let given = Given::new(x, input, recurrent, bias);
        given.answer(&given.forward())
    }
}

impl<C: CheckpointStrategy> LstmLayer for Autodiff<Flex, C> {
    fn lstm_layer(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [(x, of_x), (input, of_input), (recurrent, of_recurrent), (bias, of_bias)] =
            [x, input, recurrent, bias].map(FloatTensor::<Self>::into_parts);
        let given = Given::new(x, input, recurrent, bias);
        let tape = given.forward();
        let answer = given.answer(&tape);
        let nodes = [of_x, of_input, of_recurrent, of_bias];
        match LayerBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((given, tape), answer),
            OpsKind::UnTracked(prepared) => prepared.finish(answer),
        }
    }
}

/// What goes into a layer, each in row-major order.
#[derive(Clone, Debug)]
struct Given {
    shape: Shape,
    x: FlexTensor,
    input: FlexTensor,
    recurrent: FlexTensor,
    bias: FlexTensor,
}

impl Given {
    fn new(x: FlexTensor, input: FlexTensor, recurrent: FlexTensor, bias: FlexTensor) -> Self {
        let [steps, batch, inputs] = x.shape().dims();
        let [_, units] = recurrent.shape().dims();
        let [x, input, recurrent, bias] =
            [x, input, recurrent, bias].map(|tensor| tensor.to_contiguous());
        Self { shape: Shape { steps, batch, inputs, units }, x, input, recurrent, bias }
    }

    fn weights(&self) -> Weights<'_> {
        Weights {
            input: self.input.storage(),
            recurrent: self.recurrent.storage(),
            bias: self.bias.storage(),
        }
    }

    fn forward(&self) -> Tape {
        Tape::forward(Isa::best(), self.shape, self.weights(), self.x.storage())
    }

    fn answer(&self, tape: &Tape) -> FlexTensor {
        let Shape { steps, batch, units, .. } = self.shape;
        tensor(tape.units(), [steps, batch, units])
    }
}

fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(numbers, shape))
}

#[derive(Debug)]
struct LayerBackward;

impl Backward<Flex, 4> for LayerBackward {
    type State = (Given, Tape);

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (given, tape) = ops.state;
        let shape = given.shape;
        let Shape { steps, batch, inputs, units } = shape;
        let rows = steps * batch;
        let of_units = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [x, input, recurrent, bias] = ops.parents;
        let found = tape.backward(Isa::best(), given.weights(), of_units.storage(), x.is_some());
        let Derivatives { sums, inputs: of_inputs, bias: of_bias, units_before } = found;
        let sums = Flex::float_transpose(tensor(sums, [rows, shape.sums()]));
        // The derivative of weights: of each sum's derivative with what the weight was multiplied with.
        let product = |with: FlexTensor, columns: usize| {
            let all = Flex::float_matmul(sums.clone(), with);
            let all = shape.reordered(all.to_contiguous().storage(), columns);
            tensor(all, [GATES * units, columns])
        };
        if let (Some(node), Some(of_inputs)) = (x, of_inputs) {
            gradients.register::<Flex>(node.id, tensor(of_inputs, [steps, batch, inputs]));
        }
        if let Some(node) = input {
            let x = given.x.reshape([rows, inputs].into());
            gradients.register::<Flex>(node.id, product(x, inputs));
        }
        if let Some(node) = recurrent {
            let units_before = tensor(units_before, [rows, units]);
            gradients.register::<Flex>(node.id, product(units_before, units));
        }
        if let Some(node) = bias {
            gradients.register::<Flex>(node.id, tensor(of_bias, [GATES * units]));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, activation};

    use super::super::export::numbers;
    use super::super::parameters::vector;
    use super::*;
    use crate::rng::Key;

    const STEPS: usize = 5;
    const BATCH: usize = 3;
    const INPUTS: usize = 4;
    const UNITS: usize = 6;

    /// The layer written in `burn`'s operations.
    fn written_out(
        x: &Tensor<3>,
        input: &Tensor<2>,
        recurrent: &Tensor<2>,
        bias: &Tensor<1>,
    ) -> Tensor<3> {
        let device = Device::flex();
        let [mut h, mut c] = [(); 2].map(|()| Tensor::<2>::zeros([BATCH, UNITS], &device));
        let mut all = Vec::new();
        for t in 0..STEPS {
            let x = x.clone().slice([t..t + 1, 0..BATCH, 0..INPUTS]).reshape([BATCH, INPUTS]);
            let sums = x.matmul(input.clone().transpose())
                + h.matmul(recurrent.clone().transpose())
                + bias.clone().reshape([1, GATES * UNITS]);
            let gate = |g: usize| sums.clone().slice([0..BATCH, g * UNITS..(g + 1) * UNITS]);
            let [i, f, o] = [0, 1, 3].map(|g| activation::sigmoid(gate(g)));
            c = f * c + i * activation::tanh(gate(2));
            h = o * activation::tanh(c.clone());
            all.push(h.clone().reshape([1, BATCH, UNITS]));
        }
        Tensor::cat(all, 0)
    }

    #[test]
    fn the_layer_and_its_derivatives_are_those_of_the_layer_written_out() {
        let device = Device::flex();
        let shapes = [
            STEPS * BATCH * INPUTS,
            GATES * UNITS * INPUTS,
            GATES * UNITS * UNITS,
            GATES * UNITS,
            STEPS * BATCH * UNITS,
        ];
        let [x, input, recurrent, bias, counts] = [0, 1, 2, 3, 4].map(|n| {
            let draw = |at: u64| Key::new(n as u64).normal(at);
            vector((0..shapes[n] as u64).map(draw).collect(), &device)
        });
        for is_x_derived in [true, false] {
            let derived = |is_fused: bool| {
                let leaves = [&x, &input, &recurrent, &bias].map(|part| part.clone().autodiff());
                let [x, input, recurrent, bias] = leaves.clone();
                let x = if is_x_derived { x.require_grad() } else { x.inner() };
                let leaves = [input, recurrent, bias].map(Tensor::require_grad);
                let [input, recurrent, bias] = leaves.clone();
                let parts = (
                    x.clone().reshape([STEPS, BATCH, INPUTS]),
                    input.reshape([GATES * UNITS, INPUTS]),
                    recurrent.reshape([GATES * UNITS, UNITS]),
                    bias,
                );
                let units = if is_fused {
                    lstm(parts.0, parts.1, parts.2, parts.3)
                } else {
                    written_out(&parts.0, &parts.1, &parts.2, &parts.3)
                };
                assert_eq!(units.dims(), [STEPS, BATCH, UNITS]);
                let units = units.reshape([STEPS * BATCH * UNITS]);
                let mut all = numbers(&units.clone().inner()).unwrap();
                let mut gradients = (units * counts.clone()).sum().backward();
                for leaf in leaves {
                    all.extend(numbers(&leaf.grad_remove(&mut gradients).unwrap()).unwrap());
                }
                let of_x = x.grad_remove(&mut gradients);
                assert_eq!(of_x.is_some(), is_x_derived);
                all.extend(of_x.iter().flat_map(|x| numbers(x).unwrap()));
                all
            };
            let (found, expected) = (derived(true), derived(false));
            assert_eq!(found.len(), expected.len());
            for (n, (x, y)) in found.iter().zip(&expected).enumerate() {
                assert!((x - y).abs() < 1e-5 * y.abs().max(1.0), "{n}: {x}, expected {y}");
            }
        }
    }
}
