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

#[cfg(test)]
mod tests {
    use super::super::data::{Label, Rows};
    use super::super::export::numbers;
    use super::*;

    const LABELS: [Option<Label>; 3] = [
        Some(Label { up: 1.0, magnitude: 0.5 }),
        Some(Label { up: 0.0, magnitude: -3.0 }),
        Some(Label { up: 0.25, magnitude: 0.0 }),
    ];

    /// What rows lose and count: `[rows][outputs]` sums, for the labels above.
    fn of(text: &str, outputs: usize, sums: &[f32]) -> (Vec<f32>, Vec<f32>, f64) {
        let config = TrainConfig::from_toml(text).unwrap();
        let features = [1.0, 2.0, 3.0];
        let rows = Rows {
            inputs: 1,
            features: &features,
            streams: &[0; 3],
            labels: &LABELS,
            weights: &[1.0, 2.0, 0.5],
        };
        let (data, device) = (Dataset::new(rows).unwrap(), Device::flex());
        let criterion = Criterion::new(&config, Activation::Identity);
        let windows = vector(features.to_vec(), &device).reshape([3, 1, 1]);
        let sums = vector(sums.to_vec(), &device).reshape([3, outputs]);
        let losses = criterion.losses(&data, &[0, 1, 2], windows, sums, &device);
        let weights = criterion.weights(&data, &[0, 1, 2], &device);
        (numbers(&losses).unwrap(), numbers(&weights.of_rows).unwrap(), weights.total)
    }

    fn assert_near(found: &[f32], expected: [f64; 3]) {
        for (x, y) in found.iter().zip(expected) {
            assert!((f64::from(*x) - y).abs() < 1e-5 * y.max(1.0), "{found:?}, {expected:?}");
        }
    }

    const ARCHITECTURE: &str = "[architecture]\nkind = \"feed-forward\"\ninputs = 1";

    #[test]
    fn cross_entropy_is_that_of_a_probability_however_far_the_logit() {
        let text = format!("class_weights = [1.0, 3.0]\n{ARCHITECTURE}\noutputs = 1");
        let (losses, weights, total) = of(&text, 1, &[2.0, 100.0, -1.0]);
        let p = 1.0 / (1.0 + 1.0_f64.exp());
        let mixed = -0.25 * p.ln() - 0.75 * (1.0 - p).ln();
        assert_near(&losses, [(-2.0_f64).exp().ln_1p(), 100.0, mixed]);
        assert_near(&weights, [3.0, 2.0, 0.75]);
        assert_eq!(total, 5.75);
    }

    #[test]
    fn a_magnitudes_loss_is_quadratic_near_and_linear_far() {
        let loss = "[loss]\nmagnitude_share = 0.25\nhuber_delta = 2.0";
        let text = format!("{loss}\n{ARCHITECTURE}\noutputs = 2");
        let (losses, ..) = of(&text, 2, &[0.0, 1.5, 0.0, 2.0, 0.0, -2.0]);
        // Differences 1, 5 and -2.
        let even = 0.75 * std::f64::consts::LN_2;
        assert_near(&losses, [even + 0.25 * 0.5, even + 0.25 * 8.0, even + 0.25 * 2.0]);
    }

    #[test]
    fn an_autoencoders_loss_is_the_mean_squared_difference() {
        let text = "class_weights = [9.0, 9.0]\n[architecture]\nkind = \"autoencoder\"\ninputs = 1";
        let (losses, weights, _) = of(text, 1, &[1.5, 2.0, 0.0]);
        assert_near(&losses, [0.25, 0.0, 9.0]);
        assert_near(&weights, [1.0, 2.0, 0.5]);
    }
}
