//! What stands on an edge of a graph while it is read: a constant, a whole number computed from shapes, or
//! the input after some layers.
//!
//! Exporters surround few layers with much arithmetic on shapes (the batch's size is asked for, zeros of
//! that size made, axes swapped and put back). It is computed here as ONNX Runtime would for a batch of
//! [`OPEN_BATCH`], with a label on each axis of what the layers make, so that a graph is judged by what it
//! computes and not by how an exporter wrote it.

use std::rc::Rc;

use super::model::Constant;
use crate::predictors::activation::Activation;

/// Rows assumed where a file leaves them open: a size that no axis of another meaning has.
pub(super) const OPEN_BATCH: usize = 65_537;
/// Most stages behind one another.
const STAGES_MAX: usize = 256;
/// Most whole numbers of one value: shapes and indices, no tables.
pub(super) const INTEGERS_MAX: usize = 4_096;

/// What an axis of size other than 1 runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Nothing: its size is 1.
    Unit,
    Batch,
    Steps,
    Features,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dim {
    pub(super) axis: Axis,
    pub(super) size: usize,
}

impl Dim {
    pub(super) fn new(axis: Axis, size: usize) -> Self {
        Self { axis: if size == 1 { Axis::Unit } else { axis }, size }
    }
}

/// One layer, or a part of one.
#[derive(Debug)]
pub(super) enum Stage {
    Lstm(LstmStage),
    Dense(DenseStage),
    Activation(Activation),
}

/// Weights as PyTorch has them: `[4 · units][..]`, gates in the order input, forget, cell, output.
#[derive(Debug)]
pub(super) struct LstmStage {
    pub(super) inputs: usize,
    pub(super) units: usize,
    pub(super) weight_ih: Vec<f32>,
    pub(super) weight_hh: Vec<f32>,
    pub(super) bias_ih: Vec<f32>,
    pub(super) bias_hh: Vec<f32>,
}

/// `weight` is `[outputs][inputs]`.
#[derive(Clone, Debug)]
pub(super) struct DenseStage {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// A stage and those before it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stage: Stage,
    pub(super) below: Chain,
    length: usize,
}

pub(super) type Chain = Option<Rc<Link>>;

/// What the layers so far have made of the input.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    pub(super) dims: Vec<Dim>,
    pub(super) chain: Chain,
}

impl Signal {
    /// The same after one stage more.
    pub(super) fn then(&self, stage: Stage, dims: Vec<Dim>) -> Result<Value, String> {
        Self::behind(self.chain.clone(), stage, dims)
    }

    /// A stage in the place of the last one.
    pub(super) fn instead(&self, stage: Stage) -> Result<Value, String> {
        let below = self.chain.as_ref().and_then(|link| link.below.clone());
        Self::behind(below, stage, self.dims.clone())
    }

    fn behind(below: Chain, stage: Stage, dims: Vec<Dim>) -> Result<Value, String> {
        let length = 1 + below.as_ref().map_or(0, |link| link.length);
        if length > STAGES_MAX {
            return Err(format!("more than {STAGES_MAX} layers behind one another"));
        }
        Ok(Value::Signal(Self { dims, chain: Some(Rc::new(Link { stage, below, length })) }))
    }

    pub(super) fn sizes(&self) -> Vec<usize> {
        self.dims.iter().map(|dim| dim.size).collect()
    }

    /// Whether the axes are these.
    pub(super) fn is(&self, dims: &[Dim]) -> bool {
        self.dims == dims
    }

    /// The same numbers in another shape, which may have other axes of size 1 and no other changes.
    pub(super) fn reshaped(&self, sizes: &[usize]) -> Result<Value, String> {
        let mut real = self.dims.iter().filter(|dim| dim.size != 1);
        let place = |size: &usize| match size {
            1 => Some(Dim::new(Axis::Unit, 1)),
            _ => real.next().copied().filter(|dim| dim.size == *size),
        };
        let dims: Option<Vec<Dim>> = sizes.iter().map(place).collect();
        let dims = dims.filter(|_| real.next().is_none());
        let dims = dims.ok_or_else(|| format!("shape {:?} becomes {sizes:?}", self.sizes()))?;
        Ok(Value::Signal(Self { dims, chain: self.chain.clone() }))
    }
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Signal(Signal),
    Floats {
        shape: Vec<usize>,
        values: Rc<[f32]>,
    },
    Integers {
        shape: Vec<usize>,
        values: Rc<[i64]>,
    },
    /// One number everywhere, however large.
    Uniform {
        shape: Vec<usize>,
        value: f32,
    },
    /// Nothing that is known here, and why.
    Unknown(Rc<str>),
}

impl Value {
    pub(super) fn integers(values: Vec<i64>) -> Self {
        Self::Integers { shape: vec![values.len()], values: values.into() }
    }

    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Floats { values, .. } => values.iter().all(|x| *x == 0.0),
            Self::Uniform { value, .. } => *value == 0.0,
            _ => false,
        }
    }
}

impl From<&Constant> for Value {
    fn from(constant: &Constant) -> Self {
        match constant {
            Constant::Floats { shape, values } => {
                Self::Floats { shape: shape.clone(), values: Rc::clone(values) }
            }
            Constant::Integers { values, .. } if values.len() > INTEGERS_MAX => {
                Self::Unknown(format!("more than {INTEGERS_MAX} whole numbers").into())
            }
            Constant::Integers { shape, values } => {
                Self::Integers { shape: shape.clone(), values: Rc::clone(values) }
            }
            Constant::Other => Self::Unknown("a constant of another type than float".into()),
        }
    }
}
