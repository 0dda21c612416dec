//! An encoder of attention blocks, as PyTorch's `nn.TransformerEncoder`.

use burn::tensor::{Tensor, TensorData, module};

use super::super::layers::{LayerNorm, Linear, activate};
use super::super::parameters::{Builder, First, Role, Slot};
use super::super::pass::Pass;
use super::super::row_operations::softmax;
use super::last_step;
use crate::predictors::activation::Activation;
use crate::predictors::architecture::{Attention, AttentionBias, TransformerArchitecture};
use crate::predictors::attention::slopes;

/// Standard deviation of the first values of the table of positions.
const POSITION: f32 = 0.02;
/// What a score of a step that may not be seen becomes: its exponential is zero.
const UNSEEN: f32 = -1e30;

/// `input`, `position` where attention has a beginning, `encoder`, `head`.
#[derive(Clone, Debug)]
pub(in super::super) struct Transformer {
    input: Linear,
    position: Option<Slot>,
    layers: Vec<Layer>,
    /// Where blocks normalise what comes in, what comes out of the last is normalised, too.
    norm: Option<LayerNorm>,
    head: Linear,
    shape: TransformerArchitecture,
}

#[derive(Clone, Copy, Debug)]
struct Layer {
    in_weight: Slot,
    in_bias: Slot,
    out_weight: Slot,
    out_bias: Slot,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

impl Transformer {
    pub(super) fn new(b: &mut Builder, a: &TransformerArchitecture) -> Self {
        let width = a.d_model;
        let input = Linear::new(b, "input", [a.inputs, width]);
        let position = (a.attention == Attention::Window).then(|| {
            b.add("position".to_owned(), &[a.steps, width], Role::Bias, First::Normal(POSITION))
        });
        let layers = (0..a.layers).map(|n| Layer::new(b, n, width, a.feed_forward)).collect();
        let norm = a.norm_first.then(|| LayerNorm::new(b, "encoder.norm", width));
        let head = Linear::new(b, "head", [width, a.outputs]);
        Self { input, position, layers, norm, head, shape: a.clone() }
    }

    pub(super) fn sums(&self, pass: &mut Pass<'_>, windows: Tensor<3>) -> Tensor<2> {
        let TransformerArchitecture { steps, d_model: width, .. } = self.shape;
        let mut x = self.input.forward_steps(pass, windows);
        if let Some(position) = self.position {
            x = x + pass.get(position, [1, steps, width]);
        }
        let sight = self.sight(pass);
        for layer in &self.layers {
            x = layer.forward(pass, &self.shape, sight.as_ref(), x);
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(pass, x);
        }
        self.head.forward(pass, last_step(x))
    }

    /// What is added to the scores, `[1][heads][asking][seen]`; none where it is nothing.
    fn sight(&self, pass: &Pass<'_>) -> Option<Tensor<4>> {
        let TransformerArchitecture { steps, heads, attention, bias, .. } = self.shape;
        let is_biased = bias == AttentionBias::Alibi;
        let is_causal = attention == Attention::Causal;
        if !is_biased && !is_causal {
            return None;
        }
        let mut added = Vec::with_capacity(heads * steps * steps);
        for slope in slopes(heads) {
            let slope = if is_biased { slope } else { 0.0 };
            for asking in 0..steps {
                added.extend((0..steps).map(|seen| match asking.abs_diff(seen) {
                    _ if is_causal && seen > asking => UNSEEN,
                    distance => -slope * distance as f32,
                }));
            }
        }
        Some(Tensor::from_data(TensorData::new(added, [1, heads, steps, steps]), pass.device()))
    }
}

impl Layer {
    fn new(b: &mut Builder, n: usize, width: usize, feed_forward: usize) -> Self {
        let name = |rest: &str| format!("encoder.layers.{n}.{rest}");
        // Glorot and Bengio, 2010, over queries, keys and values at once.
        let glorot = First::Uniform((6.0 / (4 * width) as f64).sqrt());
        let uniform = First::Uniform(1.0 / (width as f64).sqrt());
        let shape = [3 * width, width];
        let mut add = |rest, shape: &[usize], role, first| b.add(name(rest), shape, role, first);
        let in_weight = add("self_attn.in_proj_weight", &shape, Role::Weight, glorot);
        let in_bias = add("self_attn.in_proj_bias", &shape[..1], Role::Bias, First::All(0.0));
        let shape = [width, width];
        let out_weight = add("self_attn.out_proj.weight", &shape, Role::Weight, uniform);
        let out_bias = add("self_attn.out_proj.bias", &shape[..1], Role::Bias, First::All(0.0));
        Self {
            in_weight,
            in_bias,
            out_weight,
            out_bias,
            linear1: Linear::new(b, &name("linear1"), [width, feed_forward]),
            linear2: Linear::new(b, &name("linear2"), [feed_forward, width]),
            norm1: LayerNorm::new(b, &name("norm1"), width),
            norm2: LayerNorm::new(b, &name("norm2"), width),
        }
    }

    fn forward(
        &self,
        pass: &mut Pass<'_>,
        shape: &TransformerArchitecture,
        sight: Option<&Tensor<4>>,
        x: Tensor<3>,
    ) -> Tensor<3> {
        if shape.norm_first {
            let normal = self.norm1.forward(pass, x.clone());
            let x = x + self.attend(pass, shape.heads, sight, normal);
            let normal = self.norm2.forward(pass, x.clone());
            return x + self.dense(pass, shape.activation, normal);
        }
        let attended = self.attend(pass, shape.heads, sight, x.clone());
        let x = self.norm1.forward(pass, x + attended);
        let dense = self.dense(pass, shape.activation, x.clone());
        self.norm2.forward(pass, x + dense)
    }

    fn attend(
        &self,
        pass: &mut Pass<'_>,
        heads: usize,
        sight: Option<&Tensor<4>>,
        x: Tensor<3>,
    ) -> Tensor<3> {
        let [batch, steps, width] = x.dims();
        let (rows, head) = (batch * steps, width / heads);
        let x = x.reshape([rows, width]);
        // Weights are cut and not what they give: the derivative of a cut is as large as the whole.
        let [queries, keys, values] = [0, 1, 2].map(|part| {
            let of_part = |tensor: Tensor<2>| tensor.narrow(0, part * width, width);
            let weight = of_part(pass.get(self.in_weight, [3 * width, width])).transpose();
            let bias = of_part(pass.get(self.in_bias, [3 * width, 1])).reshape([width]);
            let part = module::linear(x.clone(), weight, Some(bias));
            part.reshape([batch, steps, heads, head]).swap_dims(1, 2)
        });
        let scale = 1.0 / (head as f64).sqrt();
        let mut scores = queries.mul_scalar(scale).matmul(keys.swap_dims(2, 3));
        if let Some(sight) = sight {
            scores = scores + sight.clone();
        }
        let attended = softmax(scores).matmul(values);
        let attended = attended.swap_dims(1, 2).reshape([rows, width]);
        let weight = pass.get(self.out_weight, [width, width]).transpose();
        let out = module::linear(attended, weight, Some(pass.get(self.out_bias, [width])));
        pass.dropout(out.reshape([batch, steps, width]))
    }

    fn dense(&self, pass: &mut Pass<'_>, function: Activation, x: Tensor<3>) -> Tensor<3> {
        let hidden = activate(function, self.linear1.forward_steps(pass, x));
        let hidden = pass.dropout(hidden);
        let out = self.linear2.forward_steps(pass, hidden);
        pass.dropout(out)
    }
}
