//! Graphs that are networks of ours: read once, then served by our own kernels.
//!
//! Known are what PyTorch's exporters, the older by tracing and the newer by `torch.export`, write for
//! feed-forward networks (dense layers, batch norms, one activation) and for stacked LSTMs with a dense
//! head on the last step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::model::{Model, Row, told};
use super::operators::Call;
use super::value::{Axis, Chain, DenseStage, Dim, OPEN_BATCH, Signal, Stage, Value};
use crate::predictors::activation::Activation;
use crate::predictors::architecture::{
    Architecture, FeedForwardArchitecture, LstmArchitecture, Output,
};
use crate::predictors::weights::{Tensors, WeightsError};

/// Versions of the standard operators whose meaning is known here.
pub const OPSETS: RangeInclusive<i64> = 7..=28;

/// Why a graph is not one of ours.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum UnknownGraph {
    /// Of operators whose meaning is not known.
    #[error("operators of version {found}, known are {} to {}", OPSETS.start(), OPSETS.end())]
    Opset {
        /// The version.
        found: i64,
    },
    /// Something on the way from input to output is none of our layers.
    #[error("{what}")]
    Layer {
        /// What.
        what: String,
    },
    /// A weight is infinite.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// A network of ours with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownGraph {
    /// What it is made of.
    pub architecture: Architecture,
    /// Its weights under PyTorch's names.
    pub tensors: Tensors,
}

impl KnownGraph {
    /// Reads a graph; `steps` and `features` stand for what its file leaves open.
    ///
    /// # Errors
    /// [`UnknownGraph`]: another runtime may still know it.
    pub fn of(model: &Model, steps: usize, features: usize) -> Result<Self, UnknownGraph> {
        if !OPSETS.contains(&model.opset) {
            return Err(UnknownGraph::Opset { found: model.opset });
        }
        let steps = match model.row {
            Row::Step => None,
            Row::Window { steps: stated } => Some(stated.unwrap_or(steps)),
        };
        let features = model.features.unwrap_or(features);
        let answer = answer(model, steps, features).map_err(|what| UnknownGraph::Layer { what })?;
        let stages = Stages::of(&answer.chain);
        let outputs = outputs(&answer).map_err(|what| UnknownGraph::Layer { what })?;
        let ends = Ends { features, steps: steps.unwrap_or(1), outputs };
        stages.network(&ends)
    }
}

struct Ends {
    features: usize,
    steps: usize,
    outputs: usize,
}

/// What the graph's output is, node by node.
fn answer(model: &Model, steps: Option<usize>, features: usize) -> Result<Signal, String> {
    let mut values: BTreeMap<&str, Value> =
        model.constants.iter().map(|(name, constant)| (&**name, Value::from(constant))).collect();
    let batch = Dim::new(Axis::Batch, model.batch.unwrap_or(OPEN_BATCH));
    let steps = steps.map(|steps| Dim::new(Axis::Steps, steps));
    let dims = [Some(batch), steps, Some(Dim::new(Axis::Features, features))];
    let input = Signal { dims: dims.into_iter().flatten().collect(), chain: None };
    values.insert(&model.input, Value::Signal(input));
    let copied = Cell::new(0);
    for node in &model.nodes {
        let of = |name: &String| if name.is_empty() { None } else { values.get(&**name) };
        let absent = node.input.iter().find(|name| !name.is_empty() && of(name).is_none());
        if let Some(absent) = absent {
            return Err(format!("{}: nothing gives its input {}", told(&node.name), told(absent)));
        }
        let inputs = node.input.iter().map(of).collect();
        let call = Call { node, inputs, copied: &copied };
        let given = call.outputs();
        for (place, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let value = match &given {
                Ok(given) => given.get(place).cloned(),
                Err(why) => Some(Value::Unknown(why.as_str().into())),
            };
            let value = value.unwrap_or_else(|| {
                Value::Unknown(format!("output {place} of {}", told(&node.name)).into())
            });
            if values.insert(name, value).is_some() {
                return Err(format!("{}: given twice", told(name)));
            }
        }
    }
    match values.remove(&*model.output) {
        Some(Value::Signal(signal)) => Ok(signal),
        Some(Value::Unknown(why)) => Err(why.to_string()),
        _ => Err(format!("{}: does not depend on the features", told(&model.output))),
    }
}

/// Numbers in an answer.
fn outputs(answer: &Signal) -> Result<usize, String> {
    let real: Vec<Dim> = answer.dims.iter().copied().filter(|dim| dim.size != 1).collect();
    match real[..] {
        [] | [Dim { axis: Axis::Batch, .. }] => Ok(1),
        [Dim { axis: Axis::Features, size }]
        | [Dim { axis: Axis::Batch, .. }, Dim { axis: Axis::Features, size }] => Ok(size),
        _ => Err(format!("an answer on axes {real:?}, expected one row for each window")),
    }
}

/// The stages from the input on.
struct Stages<'a>(Vec<&'a Stage>);

impl<'a> Stages<'a> {
    fn of(chain: &'a Chain) -> Self {
        let mut stages = Vec::new();
        let mut next = chain.as_ref();
        while let Some(link) = next {
            stages.push(&link.stage);
            next = link.below.as_ref();
        }
        stages.reverse();
        Self(stages)
    }

    fn network(mut self, ends: &Ends) -> Result<KnownGraph, UnknownGraph> {
        let unknown = |what: String| UnknownGraph::Layer { what };
        let output = match self.0.last() {
            Some(Stage::Activation(activation)) => {
                let output = match activation {
                    Activation::Sigmoid => Output::Sigmoid,
                    Activation::Tanh => Output::Tanh,
                    other => return Err(unknown(format!("{other:?} behind the last layer"))),
                };
                self.0.pop();
                output
            }
            _ => Output::Identity,
        };
        let Some(Stage::Dense(head)) = self.0.pop() else {
            return Err(unknown("its last layer is no dense one".to_owned()));
        };
        if matches!(self.0.first(), Some(Stage::Lstm(_))) {
            self.lstm(head, output, ends)
        } else {
            self.feed_forward(head, output, ends)
        }
    }

    fn feed_forward(
        &self,
        head: &DenseStage,
        output: Output,
        ends: &Ends,
    ) -> Result<KnownGraph, UnknownGraph> {
        let unknown = |what: String| UnknownGraph::Layer { what };
        let mut tensors = Tensors::default();
        let mut hidden = Vec::new();
        let mut activation = None;
        for (n, pair) in self.0.chunks(2).enumerate() {
            let [Stage::Dense(layer), Stage::Activation(own)] = pair else {
                return Err(unknown(format!("layer {n} is not a dense one with an activation")));
            };
            if *activation.get_or_insert(*own) != *own {
                return Err(unknown(format!("layer {n} has another activation than the first")));
            }
            insert_dense(&mut tensors, &format!("layers.{n}"), layer)?;
            hidden.push(layer.outputs);
        }
        insert_dense(&mut tensors, "head", head)?;
        let architecture = Architecture::FeedForward(FeedForwardArchitecture {
            inputs: ends.features,
            outputs: ends.outputs,
            output,
            hidden,
            activation: activation.unwrap_or(Activation::Relu),
        });
        Ok(KnownGraph { architecture, tensors })
    }

    fn lstm(
        &self,
        head: &DenseStage,
        output: Output,
        ends: &Ends,
    ) -> Result<KnownGraph, UnknownGraph> {
        let mut tensors = Tensors::default();
        let mut hidden = Vec::new();
        for (n, stage) in self.0.iter().enumerate() {
            let Stage::Lstm(layer) = stage else {
                let what = "between the LSTM layers and the last dense one is another".to_owned();
                return Err(UnknownGraph::Layer { what });
            };
            let rows = layer.bias_ih.len();
            let mut insert = |part: &str, shape: &[usize], values: &[f32]| {
                tensors.insert(&format!("lstm.{n}.{part}_l0"), shape, values.to_vec())
            };
            insert("weight_ih", &[rows, layer.inputs], &layer.weight_ih)?;
            insert("weight_hh", &[rows, layer.units], &layer.weight_hh)?;
            insert("bias_ih", &[rows], &layer.bias_ih)?;
            insert("bias_hh", &[rows], &layer.bias_hh)?;
            hidden.push(layer.units);
        }
        insert_dense(&mut tensors, "head", head)?;
        let architecture = Architecture::Lstm(LstmArchitecture {
            inputs: ends.features,
            outputs: ends.outputs,
            output,
            steps: ends.steps,
            hidden,
        });
        Ok(KnownGraph { architecture, tensors })
    }
}

fn insert_dense(tensors: &mut Tensors, name: &str, layer: &DenseStage) -> Result<(), WeightsError> {
    let shape = [layer.outputs, layer.inputs];
    tensors.insert(&format!("{name}.weight"), &shape, layer.weight.clone())?;
    tensors.insert(&format!("{name}.bias"), &[layer.outputs], layer.bias.clone())
}
