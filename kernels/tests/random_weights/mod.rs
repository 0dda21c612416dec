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
