//! The operators that carry weights: dense layers, batch norms, LSTMs.
//!
//! Invariant: weights are rearranged, and a batch norm folded into the dense layer before it; no other
//! arithmetic is done on them.

use super::operators::Call;
use super::value::{Axis, DenseStage, Dim, LstmStage, Signal, Stage, Value};

/// Gates of a unit.
const GATES: usize = 4;
/// Where PyTorch's gates (input, forget, cell, output) stand among ONNX's (input, output, forget, cell).
const GATE_PLACES: [usize; GATES] = [0, 2, 3, 1];

/// `x · w + b`, or with `w` transposed.
pub(super) fn gemm(call: &Call<'_>) -> Result<Value, String> {
    let signal = call.signal(0)?;
    let is_plain = call.float("alpha", 1.0) == 1.0 && call.float("beta", 1.0) == 1.0;
    if !is_plain || call.int("transA", 0) != 0 || signal.dims.len() != 2 {
        return call.unusual("alpha, beta or transA of no dense layer");
    }
    let (shape, values) = call.floats(1)?;
    let [rows, columns] = *shape else { return call.unusual("weights of other than two axes") };
    let is_transposed = call.int("transB", 0) != 0;
    let (inputs, outputs) = if is_transposed { (columns, rows) } else { (rows, columns) };
    call.copies(values.len())?;
    let weight = if is_transposed { values.to_vec() } else { transposed(values, inputs, outputs) };
    let bias = vec![0.0; outputs];
    let value = dense(call, signal, DenseStage { inputs, outputs, weight, bias })?;
    match (call.optional(2), &value) {
        (Some(_), Value::Signal(signal)) => {
            let (shape, values) = call.floats(2)?;
            biased(call, signal, shape, values)
        }
        _ => Ok(value),
    }
}

/// `x · w`.
pub(super) fn mat_mul(call: &Call<'_>) -> Result<Value, String> {
    let signal = call.signal(0)?;
    let (shape, values) = call.floats(1)?;
    let [inputs, outputs] = *shape else { return call.unusual("weights of other than two axes") };
    call.copies(values.len())?;
    let weight = transposed(values, inputs, outputs);
    dense(call, signal, DenseStage { inputs, outputs, weight, bias: vec![0.0; outputs] })
}

/// `[rows][columns]` as `[columns][rows]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

fn dense(call: &Call<'_>, signal: &Signal, stage: DenseStage) -> Result<Value, String> {
    let mut dims = signal.dims.clone();
    let (inputs, outputs) = (stage.inputs, stage.outputs);
    let Some(last) = dims.last_mut().filter(|dim| **dim == Dim::new(Axis::Features, inputs)) else {
        return call.unusual(format_args!("{inputs} inputs on axes {:?}", signal.dims));
    };
    *last = Dim::new(Axis::Features, outputs);
    signal.then(Stage::Dense(stage), dims)
}

/// The signal's last stage where it is a dense layer.
fn last_dense<'a>(call: &Call<'_>, signal: &'a Signal) -> Result<&'a DenseStage, String> {
    match signal.chain.as_ref().map(|link| &link.stage) {
        Some(Stage::Dense(stage)) => Ok(stage),
        _ => call.unusual("expected a dense layer before it"),
    }
}

/// A bias behind a dense layer: one number for each output, on the last axis.
pub(super) fn biased(
    call: &Call<'_>,
    signal: &Signal,
    shape: &[usize],
    values: &[f32],
) -> Result<Value, String> {
    let stage = last_dense(call, signal)?;
    let (front, last) = shape.split_at(shape.len().saturating_sub(1));
    // More axes than the signal has would be axes of the sum.
    let is_row = last == [stage.outputs]
        && front.iter().all(|size| *size == 1)
        && shape.len() <= signal.dims.len();
    if !is_row {
        return call
            .unusual(format_args!("a bias of shape {shape:?} to {} outputs", stage.outputs));
    }
    call.copies(stage.weight.len())?;
    let mut stage = stage.clone();
    for (bias, more) in stage.bias.iter_mut().zip(values) {
        *bias += more;
    }
    signal.instead(Stage::Dense(stage))
}

/// Folded into the dense layer before it.
pub(super) fn batch_norm(call: &Call<'_>) -> Result<Value, String> {
    let signal = call.signal(0)?;
    let stage = last_dense(call, signal)?;
    call.copies(stage.weight.len())?;
    let mut stage = stage.clone();
    let channels = Dim::new(Axis::Features, stage.outputs);
    if call.int("training_mode", 0) != 0 || signal.dims.len() != 2 || signal.dims[1] != channels {
        return call.unusual("no norm of a dense layer");
    }
    let mut rows = [&[][..]; 4];
    for (row, input) in rows.iter_mut().zip(1..) {
        let (shape, values) = call.floats(input)?;
        if shape != [stage.outputs] {
            return call.unusual(format_args!("input {input} of shape {shape:?}"));
        }
        *row = values;
    }
    let [weight, bias, mean, variance] = rows;
    let epsilon = f64::from(call.float("epsilon", 1e-5));
    for (unit, to) in stage.weight.chunks_exact_mut(stage.inputs.max(1)).enumerate() {
        let spread = f64::from(variance[unit]) + epsilon;
        if spread <= 0.0 {
            return call.unusual(format_args!("variance[{unit}] = {}", variance[unit]));
        }
        let scale = f64::from(weight[unit]) / spread.sqrt();
        for weight in to {
            *weight = (f64::from(*weight) * scale) as f32;
        }
        let centred = f64::from(stage.bias[unit]) - f64::from(mean[unit]);
        stage.bias[unit] = centred.mul_add(scale, f64::from(bias[unit])) as f32;
    }
    signal.instead(Stage::Dense(stage))
}

/// Forward, from zeros, with the usual activations.
pub(super) fn lstm(call: &Call<'_>) -> Result<Vec<Value>, String> {
    let usual = call.text("direction", "forward") == "forward"
        && call.int("layout", 0) == 0
        && call.int("input_forget", 0) == 0
        && !["activations", "activation_alpha", "activation_beta", "clip"]
            .iter()
            .any(|name| call.has(name));
    if !usual {
        return call.unusual("another direction, layout, activation or clip than PyTorch's");
    }
    // Lengths of sequences, then peepholes.
    if call.optional(4).is_some() || call.optional(7).is_some() {
        return call.unusual("lengths of sequences or peepholes");
    }
    for state in [5, 6] {
        if call.optional(state).is_some() && !call.known(state)?.is_zero() {
            return call.unusual(format_args!("input {state}: it does not begin with zeros"));
        }
    }
    let signal = call.signal(0)?;
    let [steps, batch, features] = signal.dims[..] else {
        return call.unusual(format_args!("an input of {} axes", signal.dims.len()));
    };
    let (shape, weight) = call.floats(1)?;
    let [1, rows, inputs] = *shape else {
        return call.unusual(format_args!("weights of shape {shape:?}"));
    };
    let units = rows / GATES;
    let (shape, recurrence) = call.floats(2)?;
    if rows != GATES * units
        || shape != [1, rows, units]
        || call.int("hidden_size", 0) != units as i64
    {
        return call.unusual(format_args!("recurrent weights of shape {shape:?} to {rows} rows"));
    }
    let is_sequence = [steps.axis, batch.axis, features.axis];
    if !matches!(is_sequence, [Axis::Steps, Axis::Batch | Axis::Unit, _])
        || features != Dim::new(Axis::Features, inputs)
    {
        return call.unusual(format_args!("{inputs} inputs on axes {:?}", signal.dims));
    }
    call.copies(weight.len() + recurrence.len())?;
    let zeros = vec![0.0; 2 * rows];
    let bias = match call.optional(3) {
        None => &zeros[..],
        Some(_) => match call.floats(3)? {
            ([1, both], bias) if *both == 2 * rows => bias,
            (shape, _) => return call.unusual(format_args!("biases of shape {shape:?}")),
        },
    };
    let ordered = |rows: &[f32], columns: usize| -> Vec<f32> {
        let gate = |place: usize| &rows[place * units * columns..][..units * columns];
        GATE_PLACES.into_iter().flat_map(gate).copied().collect()
    };
    let stage = LstmStage {
        inputs,
        units,
        weight_ih: ordered(weight, inputs),
        weight_hh: ordered(recurrence, units),
        bias_ih: ordered(&bias[..rows], 1),
        bias_hh: ordered(&bias[rows..], 1),
    };
    let (one, unit_dim) = (Dim::new(Axis::Unit, 1), Dim::new(Axis::Features, units));
    let all = signal.then(Stage::Lstm(stage), vec![steps, one, batch, unit_dim])?;
    let Value::Signal(signal) = &all else { return call.unusual("no layer") };
    let last = Signal { dims: vec![one, batch, unit_dim], chain: signal.chain.clone() };
    let cells = Value::Unknown(format!("{}: its cells are read", call.name()).into());
    Ok(vec![all.clone(), Value::Signal(last), cells])
}
