//! Data to train on, and networks as TOML.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "not every user needs every item, and what cannot go on fails"
)]

use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::autoencoder::Autoencoder;
use purkinje_kernels::predictors::cnn::Cnn;
use purkinje_kernels::predictors::feed_forward::FeedForward;
use purkinje_kernels::predictors::lstm::Lstm;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use purkinje_kernels::predictors::transformer::Transformer;
use purkinje_kernels::predictors::weights::Tensors;
use purkinje_kernels::rng::Key;
use purkinje_kernels::training::config::TrainConfig;
use purkinje_kernels::training::data::{Dataset, Label, Rows};

/// What a [`Dataset`] borrows.
pub struct Table {
    pub inputs: usize,
    pub features: Vec<f32>,
    pub streams: Vec<u32>,
    pub labels: Vec<Option<Label>>,
}

impl Table {
    /// Normal features in two streams that take turns. `effect` gives the sum that a label leans on, of a
    /// row's number and those of all features; a label is up with the probability `sigmoid(effect)`.
    pub fn new(
        rows: usize,
        inputs: usize,
        seed: u64,
        effect: impl Fn(&[f32], usize) -> f32,
    ) -> Self {
        let key = Key::new(seed);
        let features: Vec<f32> = (0..(rows * inputs) as u64).map(|i| key.normal(i)).collect();
        let label = |row: usize| {
            let sum = effect(&features, row);
            let is_up = key.fork(1).uniform(row as u64) < 1.0 / (1.0 + (-sum).exp());
            Some(Label { up: f32::from(u8::from(is_up)), magnitude: sum })
        };
        let labels = (0..rows).map(label).collect();
        Self { inputs, streams: (0..rows as u32).map(|row| row % 2).collect(), labels, features }
    }

    pub fn data(&self) -> Dataset<'_> {
        let Self { inputs, features, streams, labels } = self;
        Dataset::new(Rows { inputs: *inputs, features, streams, labels, weights: &[] }).unwrap()
    }
}

/// A configuration of lines above its architecture and of those in it.
pub fn config(top: &str, architecture: &str) -> TrainConfig {
    TrainConfig::from_toml(&format!("{top}\n[architecture]\n{architecture}")).unwrap()
}

/// The network of an architecture as it is served.
pub fn served(architecture: &Architecture, weights: &[u8]) -> Box<dyn Predictor> {
    let (tensors, serving) = (Tensors::read(weights).unwrap(), Serving::new(64));
    match architecture {
        Architecture::FeedForward(a) => Box::new(FeedForward::new(a, tensors, &serving).unwrap()),
        Architecture::Lstm(a) => Box::new(Lstm::new(a, tensors, &serving).unwrap()),
        Architecture::Cnn(a) => Box::new(Cnn::new(a, tensors, &serving).unwrap()),
        Architecture::Transformer(a) => Box::new(Transformer::new(a, tensors, &serving).unwrap()),
        Architecture::Autoencoder(a) => Box::new(Autoencoder::new(a, tensors, &serving).unwrap()),
    }
}

/// The answers of a served network to the windows that end with some rows.
pub fn answers(network: &mut dyn Predictor, data: &Dataset<'_>, rows: &[usize]) -> Vec<f32> {
    let mut all = Vec::new();
    for rows in rows.chunks(64) {
        let mut windows = Vec::new();
        for row in rows {
            data.window(*row, network.steps(), &mut windows);
        }
        let mut outputs = vec![0.0; rows.len() * network.outputs()];
        network.infer(&windows, &mut outputs);
        all.extend(outputs);
    }
    all
}
