//! Batch norm as PyTorch's `eval` mode computes it, folded into the layer before it.
//!
//! Invariant: the folded numbers are computed in f64 and rounded once.

use super::weights::{Tensors, WeightsError};

/// What PyTorch adds to a variance unless told otherwise.
const EPSILON: f64 = 1e-5;

/// Takes the batch norm `name` if it is there and folds it into a layer's weights, given row by row with
/// one bias a row.
///
/// # Errors
/// [`WeightsError`] where one of its tensors is missing, has another shape or is no variance.
pub fn fold(
    tensors: &mut Tensors,
    name: &str,
    weights: &mut [f32],
    bias: &mut [f32],
) -> Result<(), WeightsError> {
    let rows = bias.len();
    let variance_name = format!("{name}.running_var");
    let Some(variance) = tensors.take_optional(&variance_name, &[rows])? else { return Ok(()) };
    let scale = tensors.take(&format!("{name}.weight"), &[rows])?;
    let shift = tensors.take(&format!("{name}.bias"), &[rows])?;
    let mean = tensors.take(&format!("{name}.running_mean"), &[rows])?;
    if let Some(index) = variance.iter().position(|v| *v < 0.0) {
        return Err(WeightsError::Value {
            name: variance_name,
            index,
            value: variance[index],
            expected: "a variance, 0 or more",
        });
    }
    let columns = weights.len() / rows;
    for (row, bias) in bias.iter_mut().enumerate() {
        let factor = f64::from(scale[row]) / (f64::from(variance[row]) + EPSILON).sqrt();
        for weight in &mut weights[row * columns..][..columns] {
            *weight = (f64::from(*weight) * factor) as f32;
        }
        let centred = f64::from(*bias) - f64::from(mean[row]);
        *bias = centred.mul_add(factor, f64::from(shift[row])) as f32;
    }
    Ok(())
}
