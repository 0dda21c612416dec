//! What training makes small, row by row.

use burn::tensor::{Device, Tensor, activation};

use super::config::TrainConfig;
use super::data::Dataset;
use super::layers::activate;
use super::parameters::vector;
use crate::predictors::activation::Activation;

/// How far answers are from what they should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Criterion {
    class_weights: [f64; 2],
    magnitude_share: f64,
    huber_delta: f64,
    /// Whether features are to be rebuilt, and not labels foretold.
    is_rebuilding: bool,
    output: Activation,
}

/// What some rows count, and the sum of it.
pub(super) struct Weights {
    pub(super) of_rows: Tensor<1>,
    pub(super) total: f64,
}

impl Criterion {
    pub(super) fn new(config: &TrainConfig, output: Activation) -> Self {
        Self {
            class_weights: config.class_weights,
            magnitude_share: config.loss.magnitude_share,
            huber_delta: config.loss.huber_delta,
            is_rebuilding: !config.needs_labels(),
            output,
        }
    }

    /// What each row counts: its own weight, times that of its class.
    pub(super) fn weights(&self, data: &Dataset<'_>, rows: &[usize], device: &Device) -> Weights {
        let [down, up] = self.class_weights;
        let weight = |row: &usize| {
            let label = data.label(*row).filter(|_| !self.is_rebuilding);
            let class = label.map_or(1.0, |l| {
                let p = f64::from(l.up);
                p * up + (1.0 - p) * down
            });
            (f64::from(data.weight(*row)) * class) as f32
        };
        let weights: Vec<f32> = rows.iter().map(weight).collect();
        let total = weights.iter().copied().map(f64::from).sum();
        Weights { of_rows: vector(weights, device), total }
    }

    /// The loss of each row. `windows` and `sums` are what went into the network and came out of it.
    pub(super) fn losses(
        &self,
        data: &Dataset<'_>,
        rows: &[usize],
        windows: Tensor<3>,
        sums: Tensor<2>,
        device: &Device,
    ) -> Tensor<1> {
        let [batch, outputs] = sums.dims();
        if self.is_rebuilding {
            let difference = activate(self.output, sums) - windows.reshape([batch, outputs]);
            return (difference.clone() * difference).mean_dim(1).reshape([batch]);
        }
        let column = |n: usize| sums.clone().slice([0..batch, n..n + 1]).reshape([batch]);
        let labels = rows.iter().filter_map(|row| data.label(*row));
        let up = vector(labels.clone().map(|l| l.up).collect(), device);
        // Of the logit, whatever the head does with it: a logarithm of a probability loses all digits.
        let logit = column(0);
        let down = up.clone().mul_scalar(-1.0).add_scalar(1.0);
        let cross_entropy = (up * activation::log_sigmoid(logit.clone())
            + down * activation::log_sigmoid(logit.neg()))
        .neg();
        if outputs == 1 {
            return cross_entropy;
        }
        let magnitude = vector(labels.map(|l| l.magnitude).collect(), device);
        let distance = (column(1) - magnitude).abs();
        let near = distance.clone().clamp_max(self.huber_delta);
        let huber = near.clone() * near.clone() * 0.5 + (distance - near) * self.huber_delta;
        cross_entropy * (1.0 - self.magnitude_share) + huber * self.magnitude_share
    }
}
