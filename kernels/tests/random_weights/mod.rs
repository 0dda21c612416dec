//! Weights drawn from a seed, as the bytes of a safetensors file.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "not every user needs every item, and what cannot go on fails"
)]

use purkinje_kernels::predictors::weights::Tensors;
use purkinje_kernels::rng::Key;
use safetensors::tensor::{Dtype, TensorView};

/// Names and shapes of a feed-forward network's tensors.
pub fn feed_forward(widths: &[usize]) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    for (n, pair) in widths.windows(2).enumerate() {
        let is_head = n + 2 == widths.len();
        let name = if is_head { "head".to_owned() } else { format!("layers.{n}") };
        all.push((format!("{name}.weight"), vec![pair[1], pair[0]]));
        all.push((format!("{name}.bias"), vec![pair[1]]));
    }
    all
}

/// Names and shapes of an LSTM's tensors, one answer a step.
pub fn lstm(inputs: usize, hidden: &[usize]) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut below = inputs;
    for (n, units) in hidden.iter().enumerate() {
        for (name, columns) in [("weight_ih", Some(below)), ("weight_hh", Some(*units))]
            .into_iter()
            .chain([("bias_ih", None), ("bias_hh", None)])
        {
            let shape = std::iter::once(4 * units).chain(columns).collect();
            all.push((format!("lstm.{n}.{name}_l0"), shape));
        }
        below = *units;
    }
    all.extend([("head.weight".to_owned(), vec![1, below]), ("head.bias".to_owned(), vec![1])]);
    all
}

/// Names and shapes of an autoencoder's tensors.
pub fn autoencoder(inputs: usize, encoder: &[usize]) -> Vec<(String, Vec<usize>)> {
    let widths = [&[inputs], encoder].concat();
    let down = widths.windows(2).map(|pair| [pair[0], pair[1]]);
    let up = widths.windows(2).rev().map(|pair| [pair[1], pair[0]]);
    let (down, up) = (down.enumerate(), up.enumerate());
    let layers = down
        .map(|(n, shape)| ("encoder", n, shape))
        .chain(up.map(|(n, shape)| ("decoder", n, shape)));
    layers
        .flat_map(|(part, n, [inputs, outputs])| {
            let (weight, bias) = (format!("{part}.{n}.weight"), format!("{part}.{n}.bias"));
            [(weight, vec![outputs, inputs]), (bias, vec![outputs])]
        })
        .collect()
}

/// Names and shapes of a convolutional network's tensors, one answer.
pub fn cnn(inputs: usize, channels: &[usize], kernel: usize) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut below = inputs;
    for (n, outputs) in channels.iter().enumerate() {
        all.push((format!("convs.{n}.weight"), vec![*outputs, below, kernel]));
        all.push((format!("convs.{n}.bias"), vec![*outputs]));
        below = *outputs;
    }
    all.extend([("head.weight".to_owned(), vec![1, below]), ("head.bias".to_owned(), vec![1])]);
    all
}

/// Names and shapes of a transformer's tensors, one answer, without a table of positions.
pub fn transformer(
    inputs: usize,
    width: usize,
    layers: usize,
    feed_forward: usize,
) -> Vec<(String, Vec<usize>)> {
    let mut all = vec![("input.weight".to_owned(), vec![width, inputs])];
    all.push(("input.bias".to_owned(), vec![width]));
    for n in 0..layers {
        let tensors = [
            ("self_attn.in_proj_weight", vec![3 * width, width]),
            ("self_attn.in_proj_bias", vec![3 * width]),
            ("self_attn.out_proj.weight", vec![width, width]),
            ("self_attn.out_proj.bias", vec![width]),
            ("linear1.weight", vec![feed_forward, width]),
            ("linear1.bias", vec![feed_forward]),
            ("linear2.weight", vec![width, feed_forward]),
            ("linear2.bias", vec![width]),
            ("norm1.weight", vec![width]),
            ("norm1.bias", vec![width]),
            ("norm2.weight", vec![width]),
            ("norm2.bias", vec![width]),
        ];
        let named = |(name, shape)| (format!("encoder.layers.{n}.{name}"), shape);
        all.extend(tensors.map(named));
    }
    all.extend([("head.weight".to_owned(), vec![1, width]), ("head.bias".to_owned(), vec![1])]);
    all
}

/// Uniform between -`size` and `size`.
pub fn numbers(key: Key, len: usize, size: f32) -> Vec<f32> {
    (0..len as u64).map(|i| size * (2.0 * key.uniform(i) - 1.0)).collect()
}

/// The file's bytes.
pub fn file(tensors: &[(String, Vec<usize>)], seed: u64) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .zip(0..)
        .map(|((_, shape), n)| {
            let fan_in = *shape.last().unwrap() as f32;
            numbers(Key::new(seed).fork(n), shape.iter().product(), 1.0 / fan_in.sqrt())
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The file, read.
pub fn tensors(tensors: &[(String, Vec<usize>)], seed: u64) -> Tensors {
    Tensors::read(&file(tensors, seed)).unwrap()
}
