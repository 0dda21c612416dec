//! What single operators make of what is known about their inputs.
//!
//! Semantics: <https://onnx.ai/onnx/operators/>, versions 7 to 28 of the standard set. An operator, or a use
//! of one, that no layer of ours answers to is an error that says so; it refuses nothing until the graph's
//! output turns out to depend on it.

use std::cell::Cell;
use std::rc::Rc;

use super::layers;
use super::messages::NodeProto;
use super::model::told;
use super::value::{Axis, Dim, INTEGERS_MAX, Signal, Stage, Value};
use crate::predictors::activation::Activation;
use crate::predictors::architecture::WEIGHTS_MAX;

/// Most weights that are copied while a graph is read: folded layers leave those before them behind.
const COPIED_MAX: usize = 2 * WEIGHTS_MAX;
/// Most axes.
const RANK_MAX: usize = 8;

/// A node and what is known about its inputs.
pub(super) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    /// By input; `None` for those left out.
    pub(super) inputs: Vec<Option<&'a Value>>,
    /// Weights copied so far, by all nodes.
    pub(super) copied: &'a Cell<usize>,
}

impl Call<'_> {
    /// What the node gives, output by output.
    ///
    /// # Errors
    /// Why none of it is known.
    pub(super) fn outputs(&self) -> Result<Vec<Value>, String> {
        if !self.node.domain.is_empty() && self.node.domain != "ai.onnx" {
            return Err(format!("{} is no standard operator", self.name()));
        }
        let value = match self.node.op_type.as_str() {
            "Identity" => self.known(0)?.clone(),
            "Dropout" if self.optional(2).is_none() => Value::Signal(self.signal(0)?.clone()),
            "Relu" => self.activation(Activation::Relu)?,
            "Tanh" => self.activation(Activation::Tanh)?,
            "Sigmoid" => self.activation(Activation::Sigmoid)?,
            "LeakyRelu" if self.float("alpha", 0.01) == 0.01 => {
                self.activation(Activation::LeakyRelu)?
            }
            "Elu" if self.float("alpha", 1.0) == 1.0 => self.activation(Activation::Elu)?,
            "Gelu" if self.text("approximate", "none") == "none" => {
                self.activation(Activation::Gelu)?
            }
            "Gemm" => layers::gemm(self)?,
            "MatMul" => layers::mat_mul(self)?,
            "BatchNormalization" => layers::batch_norm(self)?,
            "LSTM" => return layers::lstm(self),
            "Add" => self.add()?,
            "Mul" => self.mul()?,
            "Shape" => self.shape()?,
            "Gather" => self.gather()?,
            "Slice" => self.slice()?,
            "Concat" => self.concat()?,
            "Squeeze" => self.squeeze()?,
            "Unsqueeze" => self.unsqueeze()?,
            "Reshape" => self.reshape()?,
            "Flatten" => self.flatten()?,
            "Transpose" => self.transpose()?,
            "Expand" => self.expand()?,
            "ConstantOfShape" => self.constant_of_shape()?,
            _ => {
                // The first of them is what tells most.
                (0..self.inputs.len())
                    .filter(|input| self.optional(*input).is_some())
                    .try_for_each(|input| self.known(input).map(drop))?;
                return Err(format!("{} is none of the known layers", self.name()));
            }
        };
        Ok(vec![value])
    }

    /// Operator and name of the node, for people.
    pub(super) fn name(&self) -> String {
        let NodeProto { op_type, name, domain, .. } = self.node;
        let domain = if domain.is_empty() { String::new() } else { format!("{}.", told(domain)) };
        format!("{domain}{} ({})", told(op_type), told(name))
    }

    /// That this use of the operator is none of a known layer.
    pub(super) fn unusual<T>(&self, what: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("{}: {what}", self.name()))
    }

    /// Before that many weights are copied.
    pub(super) fn copies(&self, weights: usize) -> Result<(), String> {
        self.copied.set(self.copied.get().saturating_add(weights));
        if self.copied.get() > COPIED_MAX {
            return self.unusual(format_args!("more than {COPIED_MAX} weights copied"));
        }
        Ok(())
    }

    pub(super) fn optional(&self, input: usize) -> Option<&Value> {
        self.inputs.get(input).copied().flatten()
    }

    pub(super) fn known(&self, input: usize) -> Result<&Value, String> {
        match self.optional(input) {
            Some(Value::Unknown(why)) => Err(why.to_string()),
            Some(value) => Ok(value),
            None => self.unusual(format_args!("input {input} is missing")),
        }
    }

    pub(super) fn signal(&self, input: usize) -> Result<&Signal, String> {
        match self.known(input)? {
            Value::Signal(signal) => Ok(signal),
            _ => self.unusual(format_args!("input {input} does not depend on the features")),
        }
    }

    pub(super) fn floats(&self, input: usize) -> Result<(&[usize], &[f32]), String> {
        match self.known(input)? {
            Value::Floats { shape, values } => Ok((shape, values)),
            _ => self.unusual(format_args!("input {input} is no constant of type float")),
        }
    }

    fn integers(&self, input: usize) -> Result<&[i64], String> {
        match self.known(input)? {
            Value::Integers { values, .. } => Ok(values),
            _ => self.unusual(format_args!("input {input} is no known whole numbers")),
        }
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.f)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.node.attribute.iter().any(|a| a.name == name)
    }

    fn ints(&self, name: &str) -> Option<&[i64]> {
        self.node.attribute.iter().find(|a| a.name == name).map(|a| &a.ints[..])
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> String {
        let found = self.node.attribute.iter().find(|a| a.name == name);
        found.map_or(default.to_owned(), |a| told(&String::from_utf8_lossy(&a.s)))
    }

    fn activation(&self, activation: Activation) -> Result<Value, String> {
        let signal = self.signal(0)?;
        signal.then(Stage::Activation(activation), signal.dims.clone())
    }

    /// An axis counted from either end.
    fn axis(&self, axis: i64, rank: usize) -> Result<usize, String> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        let found = usize::try_from(from_front).ok().filter(|axis| *axis < rank);
        found.map_or_else(|| self.unusual(format_args!("axis {axis} of {rank}")), Ok)
    }

    /// A bias onto a dense layer, or a sum of whole numbers.
    fn add(&self) -> Result<Value, String> {
        match (self.known(0)?, self.known(1)?) {
            (Value::Signal(signal), Value::Floats { shape, values })
            | (Value::Floats { shape, values }, Value::Signal(signal)) => {
                layers::biased(self, signal, shape, values)
            }
            _ => self.of_integers(i64::checked_add),
        }
    }

    /// `x · sigmoid(x)`, or a product of whole numbers.
    fn mul(&self) -> Result<Value, String> {
        let (Value::Signal(a), Value::Signal(b)) = (self.known(0)?, self.known(1)?) else {
            return self.of_integers(i64::checked_mul);
        };
        let is_gate_of = |gate: &Signal, x: &Signal| {
            let link = gate.chain.as_ref();
            let Some(link) = link.filter(|l| is_sigmoid(&l.stage)) else { return false };
            let is_same = match (&link.below, &x.chain) {
                (Some(below), Some(own)) => Rc::ptr_eq(below, own),
                (None, None) => true,
                _ => false,
            };
            is_same && gate.is(&x.dims)
        };
        let x = if is_gate_of(b, a) {
            a
        } else if is_gate_of(a, b) {
            b
        } else {
            return self.unusual("a product of two layers");
        };
        x.then(Stage::Activation(Activation::Silu), x.dims.clone())
    }

    fn of_integers(&self, of: fn(i64, i64) -> Option<i64>) -> Result<Value, String> {
        let (Value::Integers { shape, values: a }, b) = (self.known(0)?, self.integers(1)?) else {
            return self.unusual("arithmetic beside dense layers");
        };
        if a.len() != b.len() {
            return self.unusual("whole numbers of different counts");
        }
        let values: Option<Rc<[i64]>> = a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect();
        let values = values.map_or_else(|| self.unusual("numbers beyond 64 bits"), Ok)?;
        Ok(Value::Integers { shape: shape.clone(), values })
    }

    fn shape(&self) -> Result<Value, String> {
        let sizes = match self.known(0)? {
            Value::Signal(signal) => signal.sizes(),
            Value::Floats { shape, .. }
            | Value::Integers { shape, .. }
            | Value::Uniform { shape, .. } => shape.clone(),
            Value::Unknown(why) => return Err(why.to_string()),
        };
        let rank = sizes.len() as i64;
        let bound = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
        let (start, end) = (bound(self.int("start", 0)), bound(self.int("end", rank)));
        let part = sizes.get(start..end).unwrap_or(&[]);
        Ok(Value::integers(part.iter().map(|size| *size as i64).collect()))
    }

    /// One step or one index of an axis of size 1; of whole numbers any.
    fn gather(&self) -> Result<Value, String> {
        let Value::Integers { shape: index_shape, values: indices } = self.known(1)? else {
            return self.unusual("indices that are not known");
        };
        match self.known(0)? {
            Value::Integers { shape, values } if shape.len() == 1 => {
                let picked = indices
                    .iter()
                    .map(|index| self.axis(*index, values.len()).map(|index| values[index]));
                let values = picked.collect::<Result<Rc<[i64]>, _>>()?;
                Ok(Value::Integers { shape: index_shape.clone(), values })
            }
            Value::Signal(signal) => {
                let axis = self.axis(self.int("axis", 0), signal.dims.len())?;
                let [index] = indices[..] else { return self.unusual("several indices") };
                let index = self.axis(index, signal.dims[axis].size)?;
                let mut last = self.last_only(signal, axis, index)?;
                match index_shape[..] {
                    [] => drop(last.dims.remove(axis)),
                    [_] => {}
                    _ => return self.unusual("an index of several axes"),
                }
                Ok(Value::Signal(last))
            }
            _ => self.unusual("a part of a constant"),
        }
    }

    /// The signal where an axis is only its last place, which for steps is all that a head reads.
    fn last_only(&self, signal: &Signal, axis: usize, index: usize) -> Result<Signal, String> {
        let dim = signal.dims[axis];
        if index + 1 != dim.size || !matches!(dim.axis, Axis::Steps | Axis::Unit) {
            let what = format!("place {index} of {} on an axis of {:?}", dim.size, dim.axis);
            return self.unusual(what);
        }
        let mut last = signal.clone();
        last.dims[axis] = Dim::new(Axis::Unit, 1);
        Ok(last)
    }

    fn slice(&self) -> Result<Value, String> {
        let (starts, ends) = (self.integers(1)?, self.integers(2)?);
        let axes = match self.optional(3) {
            Some(_) => self.integers(3)?.to_vec(),
            None => (0..starts.len() as i64).collect(),
        };
        let strides = match self.optional(4) {
            Some(_) => self.integers(4)?,
            None => &[],
        };
        if strides.iter().any(|stride| *stride != 1) || ends.len() != starts.len() {
            return self.unusual("strides");
        }
        // The end is cut to the size; so is the start.
        let range = |which: usize, size: usize| {
            let size = size as i64;
            let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
            let [start, end] = [starts[which], ends[which]].map(|at| place(at).clamp(0, size));
            (start as usize, end.max(start) as usize)
        };
        if axes.len() != starts.len() {
            return self.unusual("axes and starts of different counts");
        }
        match self.known(0)? {
            Value::Integers { shape, values } if shape.len() == 1 && axes.len() == 1 => {
                self.axis(axes[0], 1)?;
                let (start, end) = range(0, values.len());
                Ok(Value::integers(values[start..end].to_vec()))
            }
            Value::Uniform { shape, value } => {
                let mut shape = shape.clone();
                for (which, axis) in axes.iter().enumerate() {
                    let axis = self.axis(*axis, shape.len())?;
                    let (start, end) = range(which, shape[axis]);
                    shape[axis] = end - start;
                }
                Ok(Value::Uniform { shape, value: *value })
            }
            Value::Signal(signal) => {
                let mut signal = signal.clone();
                for (which, axis) in axes.iter().enumerate() {
                    let axis = self.axis(*axis, signal.dims.len())?;
                    let size = signal.dims[axis].size;
                    match range(which, size) {
                        (0, end) if end == size => {}
                        (start, end) if start + 1 == end => {
                            signal = self.last_only(&signal, axis, start)?;
                        }
                        (start, end) => {
                            return self.unusual(format_args!("places {start} to {end} of {size}"));
                        }
                    }
                }
                Ok(Value::Signal(signal))
            }
            _ => self.unusual("a part of a constant"),
        }
    }

    fn concat(&self) -> Result<Value, String> {
        let mut all = Vec::new();
        for input in 0..self.inputs.len() {
            all.extend_from_slice(self.integers(input)?);
            if all.len() > INTEGERS_MAX {
                return self.unusual(format_args!("more than {INTEGERS_MAX} whole numbers"));
            }
        }
        Ok(Value::integers(all))
    }

    /// From an input since version 13, from an attribute before.
    fn axes(&self) -> Result<Option<&[i64]>, String> {
        let axes = match self.optional(1) {
            Some(_) => Some(self.integers(1)?),
            None => self.ints("axes"),
        };
        match axes {
            Some(axes) if axes.len() > RANK_MAX => self.unusual("too many axes"),
            axes => Ok(axes),
        }
    }

    fn squeeze(&self) -> Result<Value, String> {
        let axes = self.axes()?;
        let keep = |sizes: &[usize]| -> Result<Vec<usize>, String> {
            let rank = sizes.len();
            let Some(axes) = axes else {
                return Ok(sizes.iter().copied().filter(|size| *size != 1).collect());
            };
            let axes: Vec<usize> =
                axes.iter().map(|axis| self.axis(*axis, rank)).collect::<Result<_, _>>()?;
            if axes.iter().any(|axis| sizes[*axis] != 1) {
                return self.unusual("an axis of another size than 1");
            }
            Ok((0..rank).filter(|k| !axes.contains(k)).map(|k| sizes[k]).collect())
        };
        match self.known(0)? {
            Value::Signal(signal) => signal.reshaped(&keep(&signal.sizes())?),
            Value::Integers { shape, values } => {
                Ok(Value::Integers { shape: keep(shape)?, values: Rc::clone(values) })
            }
            _ => self.unusual("a constant"),
        }
    }

    fn unsqueeze(&self) -> Result<Value, String> {
        let Some(axes) = self.axes()? else { return self.unusual("no axes") };
        let widen = |sizes: &[usize]| -> Result<Vec<usize>, String> {
            let rank = sizes.len() + axes.len();
            let axes: Vec<usize> =
                axes.iter().map(|axis| self.axis(*axis, rank)).collect::<Result<_, _>>()?;
            let mut sizes = sizes.iter();
            let size = |k| if axes.contains(&k) { Some(1) } else { sizes.next().copied() };
            (0..rank).map(size).collect::<Option<_>>().map_or_else(|| self.unusual("axes"), Ok)
        };
        match self.known(0)? {
            Value::Signal(signal) => signal.reshaped(&widen(&signal.sizes())?),
            Value::Integers { shape, values } => {
                Ok(Value::Integers { shape: widen(shape)?, values: Rc::clone(values) })
            }
            _ => self.unusual("a constant"),
        }
    }

    fn reshape(&self) -> Result<Value, String> {
        let target = self.integers(1)?;
        if target.len() > RANK_MAX {
            return self.unusual("too many axes");
        }
        let sizes = match self.known(0)? {
            Value::Signal(signal) => signal.sizes(),
            Value::Integers { shape, .. } => shape.clone(),
            _ => return self.unusual("a constant"),
        };
        let copies_zero = self.int("allowzero", 0) == 0;
        let mut wanted = Vec::with_capacity(target.len());
        let mut open = None;
        for (k, size) in target.iter().enumerate() {
            wanted.push(match size {
                -1 if open.is_none() => {
                    open = Some(k);
                    1
                }
                0 if copies_zero => sizes.get(k).copied().unwrap_or(0),
                size => usize::try_from(*size).unwrap_or(0),
            });
        }
        let count = |sizes: &[usize]| sizes.iter().try_fold(1_usize, |all, n| all.checked_mul(*n));
        let (have, given) = (count(&sizes), count(&wanted));
        if let (Some(k), Some(have), Some(given)) = (open, have, given) {
            wanted[k] = have.checked_div(given).unwrap_or(0);
        }
        if have.is_none() || count(&wanted) != have {
            return self.unusual(format_args!("shape {sizes:?} becomes {target:?}"));
        }
        match self.known(0)? {
            Value::Signal(signal) => signal.reshaped(&wanted).or_else(|what| self.unusual(what)),
            Value::Integers { values, .. } => {
                Ok(Value::Integers { shape: wanted, values: Rc::clone(values) })
            }
            _ => self.unusual("a constant"),
        }
    }

    fn flatten(&self) -> Result<Value, String> {
        let signal = self.signal(0)?;
        let (sizes, axis) = (signal.sizes(), self.int("axis", 1));
        let axis =
            if axis == sizes.len() as i64 { sizes.len() } else { self.axis(axis, sizes.len())? };
        let count = |sizes: &[usize]| sizes.iter().try_fold(1_usize, |all, n| all.checked_mul(*n));
        let (Some(front), Some(back)) = (count(&sizes[..axis]), count(&sizes[axis..])) else {
            return self.unusual("a shape beyond 64 bits");
        };
        signal.reshaped(&[front, back]).or_else(|what| self.unusual(what))
    }

    fn transpose(&self) -> Result<Value, String> {
        let signal = self.signal(0)?;
        let rank = signal.dims.len();
        let order: Vec<usize> = match self.ints("perm") {
            Some(perm) => {
                perm.iter().map(|axis| self.axis(*axis, rank)).collect::<Result<_, _>>()?
            }
            None => (0..rank).rev().collect(),
        };
        if order.len() != rank || (0..rank).any(|axis| !order.contains(&axis)) {
            return self.unusual(format_args!("order {order:?} of {rank} axes"));
        }
        let dims = order.iter().map(|axis| signal.dims[*axis]).collect();
        Ok(Value::Signal(Signal { dims, chain: signal.chain.clone() }))
    }

    /// One number in a larger shape, as for the units that an LSTM begins with.
    fn expand(&self) -> Result<Value, String> {
        let (shape, value) = match self.known(0)? {
            Value::Floats { shape, values } if values.windows(2).all(|pair| pair[0] == pair[1]) => {
                (shape, values.first().copied())
            }
            Value::Uniform { shape, value } => (shape, Some(*value)),
            _ => return self.unusual("different numbers"),
        };
        let Some(value) = value else { return self.unusual("no number") };
        let target = self.shape_given(1)?;
        let rank = shape.len().max(target.len());
        let at = |sizes: &[usize], k: usize| {
            (k + sizes.len()).checked_sub(rank).map_or(1, |place| sizes[place])
        };
        let joined = (0..rank).map(|k| match (at(shape, k), at(&target, k)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        });
        let shape = joined.collect::<Option<_>>();
        let shape = shape.map_or_else(|| self.unusual("shapes that do not fit"), Ok)?;
        Ok(Value::Uniform { shape, value })
    }

    fn constant_of_shape(&self) -> Result<Value, String> {
        let value = match self.node.attribute.iter().find_map(|a| a.t.as_ref()) {
            None => 0.0,
            Some(tensor) => {
                match (tensor.data_type, &tensor.float_data[..], &tensor.raw_data[..]) {
                    (1, [value], []) => *value,
                    (1, [], &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
                    _ => return self.unusual("a number of another type than float"),
                }
            }
        };
        Ok(Value::Uniform { shape: self.shape_given(0)?, value })
    }

    fn shape_given(&self, input: usize) -> Result<Vec<usize>, String> {
        let sizes = self.integers(input)?.iter().map(|size| usize::try_from(*size).ok());
        let sizes: Option<Vec<usize>> = sizes.collect();
        sizes
            .filter(|s| s.len() <= RANK_MAX)
            .map_or_else(|| self.unusual("a shape that is none"), Ok)
    }
}

fn is_sigmoid(stage: &Stage) -> bool {
    matches!(stage, Stage::Activation(Activation::Sigmoid))
}
