//! An ONNX file as a network of a folder: `model.onnx`, and in `model.toml`
//!
//! ```toml
//! [onnx]
//! sigmoid = false     # whether its answer is a logit, of which the sigmoid is to be taken
//! steps = 50          # of a window, where the file leaves them open
//! engine = "auto"     # "kernels", "onnx-runtime", or auto: our kernels where they know the graph
//! ```
//!
//! On our kernels an LSTM advances its stream by one step a cycle; ONNX Runtime is given the whole window each
//! time.

use std::{path::PathBuf, time::Duration};

use purkinje_kernels::predictors::{
    architecture::{Architecture, Output, STEPS_MAX},
    onnx::{
        known::{KnownGraph, UnknownGraph},
        model::{Model, ModelError, Row},
        runtime::{Limits, Runtime, RuntimeConfig, RuntimeError},
    },
    predictor::{BuildError, Predictor, Serving},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The model in a folder.
pub const MODEL: &str = "model.onnx";
/// Steps of a window that neither file nor description says; a stream does not depend on them.
const WINDOW_STEPS: usize = 50;

/// The table `[onnx]` of `model.toml`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OnnxDescription {
    sigmoid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    engine: Engine,
}

/// What runs a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Engine {
    #[default]
    Auto,
    Kernels,
    OnnxRuntime,
}

/// How graphs are served that need ONNX Runtime.
#[derive(Clone, Debug)]
pub struct OnnxServing {
    /// The library; `None` looks it up.
    pub library: Option<PathBuf>,
    /// What its calls may take.
    pub limits: Limits,
}

impl Default for OnnxServing {
    /// As a replay does: 200 calls to warm up, nothing enforced.
    fn default() -> Self {
        let limits = Limits {
            warm_up_runs: 200,
            budget: Duration::from_millis(25),
            sleep_after_steps: 3,
            are_enforced: false,
        };
        Self { library: None, limits }
    }
}

/// Why an ONNX file cannot be served.
#[derive(Debug, Error)]
pub enum OnnxError {
    /// It is refused whoever would run it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Our kernels are asked for and do not know it.
    #[error("onnx.engine = \"kernels\": none of our networks: {0}")]
    Unknown(UnknownGraph),
    /// A key and the file contradict each other.
    #[error("{key} = {value}: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// Our kernels refuse the network.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// ONNX Runtime, which was asked for, cannot run it.
    #[error(transparent)]
    Runtime(RuntimeError),
    /// ONNX Runtime cannot run what our kernels do not know.
    #[error("{source}; our own kernels do not know the graph: {unknown}")]
    Neither {
        /// Why ONNX Runtime cannot.
        source: RuntimeError,
        /// Why ours cannot.
        unknown: Box<UnknownGraph>,
    },
}

/// What answers for a file, and its kind.
pub(super) fn open(
    bytes: &[u8],
    description: &OnnxDescription,
    [instruments, features]: [usize; 2],
    serving: &OnnxServing,
) -> Result<(&'static str, Box<dyn Predictor>), OnnxError> {
    let model = Model::read(bytes)?;
    check_ends(&model, description, features)?;
    let graph = (description.engine != Engine::OnnxRuntime)
        .then(|| KnownGraph::of(&model, description.steps.unwrap_or(WINDOW_STEPS), features));
    let unknown = match graph {
        Some(Ok(graph)) => return own(graph, description, instruments),
        Some(Err(unknown)) if description.engine == Engine::Kernels => {
            return Err(OnnxError::Unknown(unknown));
        }
        Some(Err(unknown)) => Some(unknown),
        None => None,
    };
    let config = RuntimeConfig {
        library: serving.library.as_deref(),
        instruments,
        features,
        steps: description.steps,
        is_logit: description.sigmoid,
        limits: serving.limits,
    };
    let runtime = Runtime::new(bytes, &model, &config).map_err(|source| match unknown {
        Some(unknown) => OnnxError::Neither { source, unknown: Box::new(unknown) },
        None => OnnxError::Runtime(source),
    })?;
    Ok(("onnx", Box::new(runtime)))
}

/// Whether features and steps are those of the file.
fn check_ends(
    model: &Model,
    description: &OnnxDescription,
    features: usize,
) -> Result<(), OnnxError> {
    let wrong = |key, value: String, expected| Err(OnnxError::Value { key, value, expected });
    if let Some(stated) = model.features().filter(|stated| *stated != features) {
        let expected = format!("{features}, one for each of features");
        return wrong("the file's features", stated.to_string(), expected);
    }
    let Some(steps) = description.steps else { return Ok(()) };
    match model.row() {
        Row::Step => wrong("onnx.steps", steps.to_string(), "none: a row is one step".to_owned()),
        Row::Window { steps: Some(stated) } if stated != steps => {
            wrong("onnx.steps", steps.to_string(), format!("{stated}, as the file has"))
        }
        _ if !(1..=STEPS_MAX).contains(&steps) => {
            wrong("onnx.steps", steps.to_string(), format!("1 to {STEPS_MAX}"))
        }
        Row::Window { .. } => Ok(()),
    }
}

/// Our own kernels with the weights of the file.
fn own(
    mut graph: KnownGraph,
    description: &OnnxDescription,
    instruments: usize,
) -> Result<(&'static str, Box<dyn Predictor>), OnnxError> {
    let wrong = |key, value: String, expected: &str| {
        Err(OnnxError::Value { key, value, expected: expected.to_owned() })
    };
    let (output, outputs) = match &mut graph.architecture {
        Architecture::FeedForward(network) => (&mut network.output, network.outputs),
        Architecture::Lstm(network) => (&mut network.output, network.outputs),
        other => return wrong("the graph", other.kind().to_owned(), "feed-forward or lstm"),
    };
    if outputs != 1 {
        let expected = "1, the probability of a rise";
        return wrong("the answer's numbers", outputs.to_string(), expected);
    }
    match (*output, description.sigmoid) {
        (Output::Sigmoid, false) => {}
        (Output::Identity, true) => *output = Output::Sigmoid,
        (Output::Sigmoid, true) => {
            return wrong("onnx.sigmoid", "true".to_owned(), "false: the file ends with a sigmoid");
        }
        (other, _) => {
            let value = format!("{other:?}").to_lowercase();
            let expected = "a sigmoid, or a logit and onnx.sigmoid = true: a member answers with a \
                            probability";
            return wrong("the file's last layer", value, expected);
        }
    }
    let kind = graph.architecture.kind();
    let serving = Serving { max_batch: 1, ..Serving::new(instruments) };
    Ok((kind, graph.architecture.build(graph.tensors, &serving)?))
}
