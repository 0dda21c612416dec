//! Batch normalisation, as it is used after training: folded into the layer before or after it.
//!
//! With fixed statistics it is `y = scale · x + shift` for each channel, which a neighbouring layer takes
//! into its weights and bias when a model is loaded, so that it costs nothing later. The folding computes
//! in f64 and rounds once.

use super::weights::{Tensors, WeightsError};

/// The tensors of PyTorch's `BatchNorm1d`, one number for each channel.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Factor after normalisation.
    pub weight: &'a [f32],
    /// Added after it.
    pub bias: &'a [f32],
    /// Mean that training has seen.
    pub running_mean: &'a [f32],
    /// Variance that training has seen.
    pub running_var: &'a [f32],
    /// Added to the variance.
    pub epsilon: f64,
}

/// What PyTorch adds to a variance where nothing else is said.
pub const EPSILON: f64 = 1e-5;

impl BatchNorm<'_> {
    /// Scale and shift of a channel.
    fn affine(&self, channel: usize) -> (f64, f64) {
        let [weight, bias, mean, var] =
            [self.weight, self.bias, self.running_mean, self.running_var]
                .map(|numbers| f64::from(numbers[channel]));
        let scale = weight / (var + self.epsilon).sqrt();
        (scale, bias - mean * scale)
    }

    /// Folds it into the layer whose outputs it normalises: `weight` is `[outputs][…]`, `bias` one number
    /// for each output (zeros where the layer has none).
    ///
    /// # Panics
    /// Where lengths do not fit: shapes are checked when a model is loaded.
    pub fn fold_into_layer_before(&self, weight: &mut [f32], bias: &mut [f32]) {
        let columns = columns(weight, bias);
        for (output, (row, bias)) in weight.chunks_exact_mut(columns).zip(bias).enumerate() {
            let (scale, shift) = self.affine(output);
            for weight in row {
                *weight = (f64::from(*weight) * scale) as f32;
            }
            *bias = f64::from(*bias).mul_add(scale, shift) as f32;
        }
    }

    /// Folds it into the layer whose inputs it normalises: `weight` is `[outputs][inputs]` or, of a
    /// convolution that pads with nothing, `[outputs][inputs][kernel]`.
    ///
    /// # Panics
    /// Where lengths do not fit: shapes are checked when a model is loaded.
    pub fn fold_into_layer_after(&self, weight: &mut [f32], bias: &mut [f32]) {
        let columns = columns(weight, bias);
        let channels = self.weight.len();
        assert_eq!(columns % channels, 0, "{columns} columns of {channels} channels");
        let kernel = columns / channels;
        for (row, bias) in weight.chunks_exact_mut(columns).zip(bias) {
            let mut sum = f64::from(*bias);
            for (channel, taps) in row.chunks_exact_mut(kernel).enumerate() {
                let (scale, shift) = self.affine(channel);
                for weight in taps {
                    sum = f64::from(*weight).mul_add(shift, sum);
                    *weight = (f64::from(*weight) * scale) as f32;
                }
            }
            *bias = sum as f32;
        }
    }
}

/// Takes the batch norm `name` if it is there and folds it into the layer before it: see
/// [`BatchNorm::fold_into_layer_before`].
///
/// # Errors
/// [`WeightsError`] where one of its tensors is missing, has another shape or is no variance.
pub fn fold(
    tensors: &mut Tensors,
    name: &str,
    weight: &mut [f32],
    bias: &mut [f32],
) -> Result<(), WeightsError> {
    let shape = [bias.len()];
    let variance_name = format!("{name}.running_var");
    let Some(running_var) = tensors.take_optional(&variance_name, &shape)? else { return Ok(()) };
    if let Some(index) = running_var.iter().position(|variance| *variance < 0.0) {
        return Err(WeightsError::Value {
            name: variance_name,
            index,
            value: running_var[index],
            expected: "a variance, 0 or more",
        });
    }
    let mut take = |rest: &str| tensors.take(&format!("{name}.{rest}"), &shape);
    let norm = BatchNorm {
        weight: &take("weight")?,
        bias: &take("bias")?,
        running_mean: &take("running_mean")?,
        running_var: &running_var,
        epsilon: EPSILON,
    };
    norm.fold_into_layer_before(weight, bias);
    Ok(())
}

fn columns(weight: &[f32], bias: &[f32]) -> usize {
    assert!(
        !bias.is_empty() && !weight.is_empty() && weight.len().is_multiple_of(bias.len()),
        "{} weights of {} outputs",
        weight.len(),
        bias.len()
    );
    weight.len() / bias.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORM: BatchNorm<'static> = BatchNorm {
        weight: &[2.0, -1.0],
        bias: &[0.5, 0.25],
        running_mean: &[1.0, -2.0],
        running_var: &[4.0, 0.25],
        epsilon: EPSILON,
    };

    fn normalised(x: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|c| {
            let deviation = (f64::from(NORM.running_var[c]) + EPSILON).sqrt();
            let centred = x[c] - f64::from(NORM.running_mean[c]);
            centred / deviation * f64::from(NORM.weight[c]) + f64::from(NORM.bias[c])
        })
    }

    fn layer(weight: &[f32], bias: &[f32], x: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|o| {
            let row = &weight[2 * o..];
            f64::from(bias[o]) + f64::from(row[0]) * x[0] + f64::from(row[1]) * x[1]
        })
    }

    #[test]
    fn a_folded_layer_gives_what_layer_and_normalisation_gave() {
        let (weight, bias, x) = ([0.3, -0.7, 1.1, 0.9], [0.2, -0.4], [0.8, -1.6]);
        let expected_before = normalised(layer(&weight, &bias, x));
        let expected_after = layer(&weight, &bias, normalised(x));
        let (mut w, mut b) = (weight, bias);
        NORM.fold_into_layer_before(&mut w, &mut b);
        let before = layer(&w, &b, x);
        let (mut w, mut b) = (weight, bias);
        NORM.fold_into_layer_after(&mut w, &mut b);
        let after = layer(&w, &b, x);
        for (got, expected) in [(before, expected_before), (after, expected_after)] {
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_normalisation_before_a_kernel_reaches_every_tap() {
        let (mut weight, mut bias) = ([0.3, -0.7, 1.1, 0.9], [0.2]);
        let taps = weight;
        NORM.fold_into_layer_after(&mut weight, &mut bias);
        let (x, y) = ([0.8, -1.6], [2.5, 0.1]);
        let (x_normal, y_normal) = (normalised(x), normalised(y));
        let sum = |w: [f32; 4], b: f32, x: [f64; 2], y: [f64; 2]| {
            let w = w.map(f64::from);
            f64::from(b) + w[0] * x[0] + w[1] * y[0] + w[2] * x[1] + w[3] * y[1]
        };
        let expected = sum(taps, 0.2, x_normal, y_normal);
        assert!((sum(weight, bias[0], x, y) - expected).abs() < 1e-6);
    }
}
