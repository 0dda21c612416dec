//! A trained network as a member of the ensemble.
//!
//! A network is a folder: `model.toml` says what it was trained for and what it is made of,
//! `weights.safetensors` holds its tensors under PyTorch's names:
//!
//! ```toml
//! features = ["all"]        # what its inputs are, in order, by the names of `purkinje dataset --columns`
//! horizon_ms = 1000         # of its labels: must be the strategy's
//! cycle_ms = 100            # between its steps: must be cycle.period_ms
//!
//! [network]
//! kind = "lstm"             # feed-forward, lstm, cnn, transformer
//! inputs = 56
//! outputs = 1
//! output = "sigmoid"        # P(up | moves)
//! ```
//!
//! or `[onnx]` in the place of `[network]` and `model.onnx` in that of the weights ([`super::onnx`]).
//!
//! Each cycle advances the stream of every instrument that can be forecast by one step; a book that was lost
//! ends it. Invariants: nothing allocates after loading; the answers are a pure function of the folder and the
//! features (where ONNX Runtime answers, of its library as well, and live of its being in time); a network for
//! something else is refused with what differs.

use std::path::{Path, PathBuf};

use purkinje_kernels::predictors::{
    architecture::{Architecture, ArchitectureError, Output},
    predictor::{BuildError, Health, Predictor, Serving},
    weights::{Tensors, WeightsError},
};
use purkinje_strategies::features::{N as FEATURES, NAMES};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::onnx::{self, OnnxDescription, OnnxError, OnnxServing};
use crate::files::bounded_file::{BoundedFileError, read_bytes, read_text};

/// The description in a folder.
pub const DESCRIPTION: &str = "model.toml";
/// The weights in it.
pub const WEIGHTS: &str = "weights.safetensors";
/// Longest description, bytes.
pub(crate) const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;
/// Longest file of weights, bytes.
pub(crate) const MAX_WEIGHTS_BYTES: u64 = 512 << 20;
/// Longest name of a network, bytes.
const MAX_NAME_BYTES: usize = 32;

/// Why a network is not taken up.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] BoundedFileError),
    /// The folder's name, which is the member's, is not one.
    #[error(
        "{}: a network is named after its folder, expected 1 to {MAX_NAME_BYTES} of a-z, 0-9, '.', '_' and '-'",
        path.display()
    )]
    Name {
        /// The folder.
        path: PathBuf,
    },
    /// The description cannot be understood.
    #[error("{}: {what}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A value of the description does not fit.
    #[error("{}: {key} = {value}: expected {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// The network itself is refused.
    #[error("{}: network.{source}", path.display())]
    Architecture {
        /// The description.
        path: PathBuf,
        /// Why.
        source: ArchitectureError,
    },
    /// The weights are refused.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WeightsError,
    },
    /// The network cannot be built of the weights.
    #[error("{}: {source}", path.display())]
    Build {
        /// The file of weights.
        path: PathBuf,
        /// Why.
        source: BuildError,
    },
    /// An ONNX file cannot be served.
    #[error("{}: {source}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<OnnxError>,
    },
}

/// What the live daemon asks of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// Instruments.
    pub instruments: usize,
    /// Horizon of forecasts, ms.
    pub horizon_ms: u64,
    /// Time between two steps, ms.
    pub cycle_ms: u64,
}

/// `model.toml`, as it is read here and as a training writes it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// Names of the inputs, in their order, or "all".
    pub(crate) features: Vec<String>,
    /// From an answer to what it is about, ms.
    pub(crate) horizon_ms: u64,
    /// From one step to the next, ms.
    pub(crate) cycle_ms: u64,
    /// The largest usual error of an autoencoder; no other network has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anomaly_scale: Option<f64>,
    /// Of our own layers, or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<Architecture>,
    /// of an ONNX file: exactly one of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) onnx: Option<OnnxDescription>,
}

/// What a network is made of.
#[derive(Debug)]
pub(super) enum Made {
    /// Of our own layers; valid.
    Layers(Architecture),
    /// Of what an ONNX file says.
    Onnx(OnnxDescription),
}

impl Made {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Layers(architecture) => architecture.kind(),
            Self::Onnx(_) => "onnx",
        }
    }
}

/// A folder's description that fits what is asked of it.
#[derive(Debug)]
pub(super) struct Described {
    /// The folder's name, which is the network's.
    pub(super) name: String,
    path: PathBuf,
    text: String,
    /// Where its inputs stand among the features.
    pub(super) features: Vec<usize>,
    /// What it is made of.
    pub(super) network: Made,
    /// The largest usual error of an autoencoder, as given.
    pub(super) anomaly_scale: Option<f64>,
}

/// A folder's weights.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) path: PathBuf,
    pub(super) tensors: Tensors,
    /// SHA-256 of description and weights.
    pub(super) sha256: [u8; 32],
}

impl Described {
    /// Reads and checks a folder's description.
    ///
    /// # Errors
    /// The file cannot be read or is not what it should be, or the network is for something else.
    pub(super) fn read(folder: &Path, demands: &Demands) -> Result<Self, NetworkError> {
        let name = name_of(folder)?;
        let path = folder.join(DESCRIPTION);
        let text = read_text(&path, MAX_DESCRIPTION_BYTES)?;
        let refused = |what: String| NetworkError::Description { path: path.clone(), what };
        let description: Description = toml::from_str(&text).map_err(|e| refused(e.to_string()))?;
        let wrong = |key, value: String, expected: String| NetworkError::Value {
            path: path.clone(),
            key,
            value,
            expected,
        };
        for (key, value, wanted, of) in [
            ("horizon_ms", description.horizon_ms, demands.horizon_ms, "strategy.horizon_ms"),
            ("cycle_ms", description.cycle_ms, demands.cycle_ms, "cycle.period_ms"),
        ] {
            if value != wanted {
                return Err(wrong(key, value.to_string(), format!("{wanted}, which is {of}")));
            }
        }
        let features = places(&description.features).map_err(|unknown| {
            wrong("features", unknown, "names of features, or \"all\"".into())
        })?;
        let Description { network, onnx, anomaly_scale, .. } = description;
        let network = match (network, onnx) {
            (Some(network), None) => {
                network
                    .validate()
                    .map_err(|source| NetworkError::Architecture { path: path.clone(), source })?;
                Made::Layers(network)
            }
            (None, Some(onnx)) => Made::Onnx(onnx),
            _ => return Err(refused("expected one of the tables [network] and [onnx]".into())),
        };
        Ok(Self { name, path, text, features, network, anomaly_scale })
    }

    /// A value of the description that does not fit.
    pub(super) fn wrong(&self, key: &'static str, value: String, expected: String) -> NetworkError {
        NetworkError::Value { path: self.path.clone(), key, value, expected }
    }

    /// Whether it is free of what only an autoencoder has.
    fn has_no_scale(&self) -> Result<(), NetworkError> {
        let Some(scale) = self.anomaly_scale else { return Ok(()) };
        let expected = "none: only an autoencoder has one".into();
        Err(self.wrong("anomaly_scale", scale.to_string(), expected))
    }

    /// Reads the weights beside the description.
    ///
    /// # Errors
    /// The file cannot be read or is not what it should be.
    pub(super) fn weights(&self) -> Result<Weights, NetworkError> {
        let (path, bytes, sha256) = self.file(WEIGHTS)?;
        let tensors = Tensors::read(&bytes)
            .map_err(|source| NetworkError::Weights { path: path.clone(), source })?;
        Ok(Weights { path, tensors, sha256 })
    }

    /// Reads a file beside the description, and the SHA-256 of both.
    fn file(&self, name: &str) -> Result<(PathBuf, Vec<u8>, [u8; 32]), NetworkError> {
        let path = self.path.with_file_name(name);
        let bytes = read_bytes(&path, MAX_WEIGHTS_BYTES)?;
        let mut hash = Sha256::new();
        hash.update(&self.text);
        hash.update(&bytes);
        Ok((path, bytes, hash.finalize().into()))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Network {
    name: String,
    kind: &'static str,
    predictor: Box<dyn Predictor>,
    /// Where its inputs stand among the features.
    features: Vec<usize>,
    rows: Vec<f32>,
    answers: Vec<f32>,
    sha256: [u8; 32],
}

impl Network {
    /// Loads a folder; ONNX files are served as [`OnnxServing::default`] says.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the network is for something else.
    pub fn load(folder: &Path, demands: &Demands) -> Result<Self, NetworkError> {
        Self::load_serving(folder, demands, &OnnxServing::default())
    }

    /// Loads a folder.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the network is for something else.
    pub fn load_serving(
        folder: &Path,
        demands: &Demands,
        onnx: &OnnxServing,
    ) -> Result<Self, NetworkError> {
        let described = Described::read(folder, demands)?;
        match &described.network {
            Made::Layers(architecture) => Self::of_layers(architecture, &described, demands),
            Made::Onnx(description) => {
                described.has_no_scale()?;
                let (path, bytes, sha256) = described.file(onnx::MODEL)?;
                let size = [demands.instruments, described.features.len()];
                let (kind, predictor) = onnx::open(&bytes, description, size, onnx)
                    .map_err(|e| NetworkError::Onnx { path, source: Box::new(e) })?;
                Ok(Self::of(kind, predictor, &described, demands, sha256))
            }
        }
    }

    fn of_layers(
        architecture: &Architecture,
        described: &Described,
        demands: &Demands,
    ) -> Result<Self, NetworkError> {
        if architecture.output() != Some(Output::Sigmoid) {
            let found = match architecture.output() {
                Some(output) => format!("{output:?}").to_lowercase(),
                None => architecture.kind().to_owned(),
            };
            return Err(described.wrong(
                "network.output",
                found,
                "\"sigmoid\": a member answers with a probability".into(),
            ));
        }
        described.has_no_scale()?;
        let Weights { path, tensors, sha256 } = described.weights()?;
        let serving = Serving { max_batch: 1, ..Serving::new(demands.instruments) };
        let predictor = architecture
            .build(tensors, &serving)
            .map_err(|source| NetworkError::Build { path, source })?;
        let features = &described.features;
        for (key, value, wanted) in [
            ("network.inputs", predictor.inputs(), features.len()),
            ("network.outputs", predictor.outputs(), 1),
        ] {
            if value != wanted {
                let expected = if key == "network.inputs" {
                    format!("{wanted}, one for each of features")
                } else {
                    "1, the probability of a rise".to_owned()
                };
                return Err(described.wrong(key, value.to_string(), expected));
            }
        }
        Ok(Self::of(architecture.kind(), predictor, described, demands, sha256))
    }

    fn of(
        kind: &'static str,
        predictor: Box<dyn Predictor>,
        described: &Described,
        demands: &Demands,
        sha256: [u8; 32],
    ) -> Self {
        let features = described.features.clone();
        Self {
            name: described.name.clone(),
            kind,
            rows: vec![0.0; demands.instruments * features.len()],
            // An instrument that has not been seen yet is not asked for.
            answers: vec![0.5; demands.instruments],
            predictor,
            features,
            sha256,
        }
    }

    /// Its name as a member.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Bytes of weights that an answer reads.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.predictor.weight_bytes()
    }

    /// Steps of its window; 1 where it has no memory.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.predictor.steps()
    }

    /// Where its inputs stand among the features of the live table.
    #[must_use]
    pub fn features(&self) -> &[usize] {
        &self.features
    }

    /// What became of its calls, where ONNX Runtime answers.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.predictor.health()
    }

    /// SHA-256 of description and weights.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Takes one cycle: `features` is `[instruments][FEATURES]`; instruments that are not active keep their
    /// streams as they are.
    pub fn advance(&mut self, features: &[f32], active: &[bool]) {
        gather(features, &self.features, &mut self.rows);
        self.predictor.step(&self.rows, active, &mut self.answers);
    }

    /// What answers for it.
    pub(super) fn predictor(&self) -> &dyn Predictor {
        &*self.predictor
    }

    /// What answers on the CPU, and the answers, wherever they come from.
    pub(super) fn parts(&mut self) -> (&mut dyn Predictor, &mut [f32]) {
        (&mut *self.predictor, &mut self.answers)
    }

    /// P(up | moves) of an instrument that was active in the last cycle taken; NaN where ONNX Runtime gave none.
    #[must_use]
    pub fn p_up(&self, instrument: usize) -> f64 {
        f64::from(self.answers[instrument])
    }

    /// Begins the stream of an instrument anew: what it has seen is not its past.
    pub fn reset(&mut self, instrument: usize) {
        self.predictor.reset(instrument);
    }
}

/// Picks from `[instruments][FEATURES]` those at `places`, row by row.
pub(super) fn gather(features: &[f32], places: &[usize], rows: &mut [f32]) {
    for (to, from) in rows.chunks_exact_mut(places.len()).zip(features.chunks_exact(FEATURES)) {
        for (to, place) in to.iter_mut().zip(places) {
            *to = from[*place];
        }
    }
}

pub(crate) fn name_of(folder: &Path) -> Result<String, NetworkError> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| name.len() <= MAX_NAME_BYTES && name.bytes().all(is_plain));
    name.map(str::to_owned).ok_or_else(|| NetworkError::Name { path: folder.to_owned() })
}

/// Where the named features stand; the first name that is none as the error.
fn places(names: &[String]) -> Result<Vec<usize>, String> {
    if names.len() == 1 && names[0] == "all" {
        return Ok((0..FEATURES).collect());
    }
    if names.is_empty() {
        return Err("none".to_owned());
    }
    let place = |name: &String| NAMES.iter().position(|known| known == name);
    names.iter().map(|name| place(name).ok_or_else(|| format!("{name:?}"))).collect()
}
