//! From a file's bytes to its graph: inputs, constants and nodes, checked.
//!
//! Invariants: nothing outside the file is read; a number of a constant that is NaN, or a shape that
//! contradicts the bytes, is refused wherever in the file it stands; limits are checked before the memory
//! they bound is asked for.

use std::collections::BTreeMap;
use std::rc::Rc;

use prost::Message as _;
use thiserror::Error;

use super::messages::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
    ValueInfoProto,
};
use super::wire::{self, WireError};

/// Longest file, bytes: what protobuf's own limit of 2 GiB is far above.
pub const FILE_BYTES_MAX: usize = 1 << 29;
/// Most dimensions of a tensor.
const RANK_MAX: usize = 8;
/// Most of a name that an error tells.
const NAME_TOLD: usize = 80;

/// Numbers of 32 bits, in `TensorProto.data_type`.
const FLOAT: i32 = 1;
/// Whole numbers of 64 bits.
const INT64: i32 = 7;
/// Numbers of 16 bits.
const FLOAT16: i32 = 10;
/// Numbers of 64 bits.
const DOUBLE: i32 = 11;
/// The upper half of a number of 32 bits.
const BFLOAT16: i32 = 16;

/// Why a file is refused, whoever would run it.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ModelError {
    /// It is longer than any that is read.
    #[error("the file holds {bytes} bytes: expected at most {FILE_BYTES_MAX}")]
    FileTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Its bytes are none of an ONNX model, or too many messages.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its bytes cannot be decoded.
    #[error("no ONNX model: {message}")]
    Decode {
        /// Why.
        message: String,
    },
    /// Something that every model has is missing.
    #[error("{what}: missing; the file is no ONNX model")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// Weights lie in another file.
    #[error(
        "{name}: its numbers lie in another file; save the model with its weights, in one file \
         (torch.onnx.export(..., external_data=False))"
    )]
    External {
        /// The tensor.
        name: String,
    },
    /// A tensor contradicts itself.
    #[error("{name}: shape {dims:?} of numbers of type {data_type} in {bytes} bytes")]
    Shape {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: Vec<i64>,
        /// Its type, a number of `TensorProto.DataType`.
        data_type: i32,
        /// Bytes of its numbers.
        bytes: usize,
    },
    /// A number that is none.
    #[error("{name}[{index}] = NaN: expected a number")]
    NotANumber {
        /// The tensor.
        name: String,
        /// Which of its numbers, counted from 0 in memory order.
        index: usize,
    },
    /// The graph is fed by, or answers with, something else than one tensor.
    #[error("{what}: found {found}, expected {expected}")]
    Ends {
        /// Inputs or outputs.
        what: &'static str,
        /// What the graph has.
        found: String,
        /// What a predictor has.
        expected: &'static str,
    },
}

/// A constant of the graph.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Floats {
        shape: Vec<usize>,
        values: Rc<[f32]>,
    },
    Integers {
        shape: Vec<usize>,
        values: Rc<[i64]>,
    },
    /// Of a type that nothing here reads.
    Other,
}

/// What the graph is fed with for each instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// The features of one step.
    Step,
    /// Those of several, oldest first.
    Window {
        /// How many; `None` where the file leaves it open.
        steps: Option<usize>,
    },
}

/// Sizes of axes; `None` for those that a file leaves open.
type Sizes = Vec<Option<usize>>;

/// The graph of a file.
#[derive(Debug)]
pub struct Model {
    /// Version of the standard operators.
    pub(super) opset: i64,
    /// Name of what the graph is fed with.
    pub(super) input: String,
    /// Name of what it answers with.
    pub(super) output: String,
    /// Rows in one call; `None` where the file leaves it open.
    pub(super) batch: Option<usize>,
    pub(super) row: Row,
    /// Features of a step; `None` where the file leaves them open.
    pub(super) features: Option<usize>,
    pub(super) constants: BTreeMap<String, Constant>,
    pub(super) nodes: Vec<NodeProto>,
}

impl Model {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`ModelError`] for whatever is not as the format or the limits of this module say.
    pub fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ModelError::FileTooLong { bytes: bytes.len() });
        }
        wire::check(bytes)?;
        let file =
            ModelProto::decode(bytes).map_err(|e| ModelError::Decode { message: e.to_string() })?;
        if file.ir_version < 1 {
            return Err(ModelError::Missing { what: "ir_version" });
        }
        let of_standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let opset = file.opset_import.iter().find(|import| of_standard(&import.domain));
        let opset = opset.ok_or(ModelError::Missing { what: "opset_import" })?.version;
        for function in &file.functions {
            check_nodes(&function.node)?;
        }
        let graph = file.graph.ok_or(ModelError::Missing { what: "graph" })?;
        check_graph(&graph)?;
        Self::of(graph, opset)
    }

    /// What it is fed with for each instrument.
    #[must_use]
    pub fn row(&self) -> Row {
        self.row
    }

    /// Features of a step, where the file says.
    #[must_use]
    pub fn features(&self) -> Option<usize> {
        self.features
    }

    fn of(graph: GraphProto, opset: i64) -> Result<Self, ModelError> {
        let mut constants = BTreeMap::new();
        for tensor in graph.initializer {
            constants.insert(tensor.name.clone(), constant(tensor));
        }
        // Up to IR version 3 weights are listed among the inputs, too.
        let fed: Vec<_> = graph.input.iter().filter(|i| !constants.contains_key(&i.name)).collect();
        let (input, dims) = one("inputs", &fed)?;
        let (batch, row, features) = match dims.as_deref() {
            Some([batch, features]) => (*batch, Row::Step, *features),
            Some([batch, steps, features]) => (*batch, Row::Window { steps: *steps }, *features),
            other => {
                let found = other.map_or("no shape".to_owned(), |dims| format!("{dims:?}"));
                let expected = "[batch, features] or [batch, steps, features]";
                return Err(ModelError::Ends { what: "the input's shape", found, expected });
            }
        };
        if dims.iter().flatten().any(|size| *size == Some(0)) {
            let (found, expected) = (format!("{dims:?}"), "at least 1 of each");
            return Err(ModelError::Ends { what: "the input's shape", found, expected });
        }
        let outputs: Vec<_> = graph.output.iter().collect();
        let (output, _) = one("outputs", &outputs)?;
        let mut nodes = graph.node;
        nodes.retain_mut(|node| match constant_of(node) {
            Some((name, value)) => {
                constants.insert(name, value);
                false
            }
            None => true,
        });
        Ok(Self { opset, input, output, batch, row, features, constants, nodes })
    }
}

/// The one tensor of 32-bit numbers among inputs or outputs, and its dimensions.
fn one(
    what: &'static str,
    infos: &[&ValueInfoProto],
) -> Result<(String, Option<Sizes>), ModelError> {
    let [info] = infos else {
        let names: Vec<_> = infos.iter().take(5).map(|info| told(&info.name)).collect();
        let found = format!("{} of them ({})", infos.len(), names.join(", "));
        return Err(ModelError::Ends { what, found, expected: "one" });
    };
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let elements = tensor.map_or(0, |tensor| tensor.elem_type);
    if elements != FLOAT {
        let found = format!("{} of type {elements}", told(&info.name));
        return Err(ModelError::Ends { what, found, expected: "a tensor of type 1, float" });
    }
    let dims = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
        let known = |value: &Option<Dimension>| match value {
            Some(Dimension::Value(n)) => usize::try_from(*n).ok(),
            _ => None,
        };
        shape.dim.iter().map(|dim| known(&dim.value)).collect()
    });
    Ok((info.name.clone(), dims))
}

/// A name as errors tell it.
pub(super) fn told(name: &str) -> String {
    name.chars().take(NAME_TOLD).flat_map(char::escape_debug).collect()
}

fn check_graph(graph: &GraphProto) -> Result<(), ModelError> {
    graph.initializer.iter().try_for_each(check_tensor)?;
    graph.sparse_initializer.iter().try_for_each(check_sparse)?;
    check_nodes(&graph.node)
}

fn check_nodes(nodes: &[NodeProto]) -> Result<(), ModelError> {
    nodes.iter().flat_map(|node| &node.attribute).try_for_each(|attribute| {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
        let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
        sparse.into_iter().try_for_each(check_sparse)?;
        attribute.g.iter().chain(&attribute.graphs).try_for_each(check_graph)
    })
}

fn check_sparse(tensor: &SparseTensorProto) -> Result<(), ModelError> {
    tensor.values.iter().chain(&tensor.indices).try_for_each(check_tensor)
}

/// Bytes of one number; `None` for types of which nothing is read, half bytes and texts among them.
fn element_bytes(data_type: i32) -> Option<usize> {
    match data_type {
        2 | 3 | 9 => Some(1),
        4 | 5 | FLOAT16 | BFLOAT16 => Some(2),
        FLOAT | 6 | 12 => Some(4),
        INT64 | DOUBLE | 13 => Some(8),
        _ => None,
    }
}

fn check_tensor(tensor: &TensorProto) -> Result<(), ModelError> {
    let name = || told(&tensor.name);
    if tensor.data_location != 0 || !tensor.external_data.is_empty() {
        return Err(ModelError::External { name: name() });
    }
    let Some(bytes_each) = element_bytes(tensor.data_type) else { return Ok(()) };
    let typed = match tensor.data_type {
        FLOAT => 4 * tensor.float_data.len(),
        INT64 => 8 * tensor.int64_data.len(),
        DOUBLE => 8 * tensor.double_data.len(),
        // In a field that is not decoded.
        _ if tensor.raw_data.is_empty() => return Ok(()),
        _ => 0,
    };
    let bytes = tensor.raw_data.len() + typed;
    let mut sizes = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok());
    let elements = sizes.try_fold(1_usize, |all, size| all.checked_mul(size?));
    let expected = elements.and_then(|elements| elements.checked_mul(bytes_each));
    if expected != Some(bytes) || tensor.dims.len() > RANK_MAX {
        let (dims, data_type) = (tensor.dims.clone(), tensor.data_type);
        return Err(ModelError::Shape { name: name(), dims, data_type, bytes });
    }
    match not_a_number(tensor) {
        Some(index) => Err(ModelError::NotANumber { name: name(), index }),
        None => Ok(()),
    }
}

fn not_a_number(tensor: &TensorProto) -> Option<usize> {
    let raw = &tensor.raw_data;
    // The exponent all ones and a mantissa.
    let is_nan = |bits: u16, infinity: u16| bits & 0x7fff > infinity;
    match tensor.data_type {
        FLOAT if raw.is_empty() => tensor.float_data.iter().position(|x| x.is_nan()),
        FLOAT => raw.as_chunks().0.iter().position(|b| f32::from_le_bytes(*b).is_nan()),
        DOUBLE if raw.is_empty() => tensor.double_data.iter().position(|x| x.is_nan()),
        DOUBLE => raw.as_chunks().0.iter().position(|b| f64::from_le_bytes(*b).is_nan()),
        FLOAT16 => raw.as_chunks().0.iter().position(|b| is_nan(u16::from_le_bytes(*b), 0x7c00)),
        BFLOAT16 => raw.as_chunks().0.iter().position(|b| is_nan(u16::from_le_bytes(*b), 0x7f80)),
        _ => None,
    }
}

/// A tensor that passed [`check_tensor`].
fn constant(tensor: TensorProto) -> Constant {
    let shape = tensor.dims.iter().map(|dim| *dim as usize).collect();
    let raw = tensor.raw_data;
    match tensor.data_type {
        FLOAT if raw.is_empty() => Constant::Floats { shape, values: tensor.float_data.into() },
        FLOAT => {
            let values = raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Constant::Floats { shape, values }
        }
        INT64 if raw.is_empty() => Constant::Integers { shape, values: tensor.int64_data.into() },
        INT64 => {
            let values = raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
            Constant::Integers { shape, values }
        }
        _ => Constant::Other,
    }
}

/// What a node `Constant` holds, and the name under which.
fn constant_of(node: &mut NodeProto) -> Option<(String, Constant)> {
    let [name] = &node.output[..] else { return None };
    let [attribute] = &mut node.attribute[..] else { return None };
    if node.op_type != "Constant" || !node.domain.is_empty() {
        return None;
    }
    let name = name.clone();
    let AttributeProto { name: kind, t, f, i, floats, ints, .. } = attribute;
    let value = match kind.as_str() {
        "value" => constant(t.take()?),
        "value_float" => Constant::Floats { shape: vec![], values: [*f].into() },
        "value_floats" => Constant::Floats { shape: vec![floats.len()], values: floats[..].into() },
        "value_int" => Constant::Integers { shape: vec![], values: [*i].into() },
        "value_ints" => Constant::Integers { shape: vec![ints.len()], values: ints[..].into() },
        _ => Constant::Other,
    };
    Some((name, value))
}
