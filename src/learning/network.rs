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
//! Each cycle advances the stream of every instrument that can be forecast by one step; a book that was lost
//! ends it. Invariants: nothing allocates after loading; the answers are a pure function of the folder and the
//! features; a network for something else is refused with what differs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use purkinje_kernels::predictors::{
    architecture::{Architecture, ArchitectureError, Output},
    predictor::{BuildError, Predictor, Serving},
    weights::{Tensors, WeightsError},
};
use purkinje_strategies::features::{N as FEATURES, NAMES};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The description in a folder.
pub const DESCRIPTION: &str = "model.toml";
/// The weights in it.
pub const WEIGHTS: &str = "weights.safetensors";
/// Longest description, bytes.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;
/// Longest file of weights, bytes.
const MAX_WEIGHTS_BYTES: u64 = 512 << 20;
/// Longest name of a network, bytes.
const MAX_NAME_BYTES: usize = 32;

/// Why a network is not taken up.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is too long.
    #[error("{}: longer than {max} bytes", path.display())]
    Long {
        /// The file.
        path: PathBuf,
        /// The bound.
        max: u64,
    },
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

/// `model.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    features: Vec<String>,
    horizon_ms: u64,
    cycle_ms: u64,
    network: Architecture,
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
    /// Loads a folder.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the network is for something else.
    pub fn load(folder: &Path, demands: &Demands) -> Result<Self, NetworkError> {
        let name = name_of(folder)?;
        let path = folder.join(DESCRIPTION);
        let text = read(&path, MAX_DESCRIPTION_BYTES)?;
        let refused = |what: String| NetworkError::Description { path: path.clone(), what };
        let description = std::str::from_utf8(&text).map_err(|e| refused(e.to_string()))?;
        let description: Description =
            toml::from_str(description).map_err(|e| refused(e.to_string()))?;
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
        let architecture = &description.network;
        architecture
            .validate()
            .map_err(|source| NetworkError::Architecture { path: path.clone(), source })?;
        if architecture.output() != Some(Output::Sigmoid) {
            let found = match architecture.output() {
                Some(output) => format!("{output:?}").to_lowercase(),
                None => architecture.kind().to_owned(),
            };
            return Err(wrong(
                "network.output",
                found,
                "\"sigmoid\": a member answers with a probability".into(),
            ));
        }
        let weights_path = folder.join(WEIGHTS);
        let bytes = read(&weights_path, MAX_WEIGHTS_BYTES)?;
        let tensors = Tensors::read(&bytes)
            .map_err(|source| NetworkError::Weights { path: weights_path.clone(), source })?;
        let serving = Serving { max_batch: 1, ..Serving::new(demands.instruments) };
        let predictor = architecture
            .build(tensors, &serving)
            .map_err(|source| NetworkError::Build { path: weights_path, source })?;
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
                return Err(wrong(key, value.to_string(), expected));
            }
        }
        let mut hash = Sha256::new();
        hash.update(&text);
        hash.update(&bytes);
        Ok(Self {
            name,
            kind: architecture.kind(),
            rows: vec![0.0; demands.instruments * features.len()],
            // An instrument that has not been seen yet is not asked for.
            answers: vec![0.5; demands.instruments],
            predictor,
            features,
            sha256: hash.finalize().into(),
        })
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

    /// SHA-256 of description and weights.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Takes one cycle: `features` is `[instruments][FEATURES]`; instruments that are not active keep their
    /// streams as they are.
    pub fn advance(&mut self, features: &[f32], active: &[bool]) {
        let rows = self.rows.chunks_exact_mut(self.features.len());
        for (to, from) in rows.zip(features.chunks_exact(FEATURES)) {
            for (to, place) in to.iter_mut().zip(&self.features) {
                *to = from[*place];
            }
        }
        self.predictor.step(&self.rows, active, &mut self.answers);
    }

    /// P(up | moves) of an instrument that was active in the last cycle taken.
    #[must_use]
    pub fn p_up(&self, instrument: usize) -> f64 {
        f64::from(self.answers[instrument])
    }

    /// Begins the stream of an instrument anew: what it has seen is not its past.
    pub fn reset(&mut self, instrument: usize) {
        self.predictor.reset(instrument);
    }
}

pub(crate) fn name_of(folder: &Path) -> Result<String, NetworkError> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| name.len() <= MAX_NAME_BYTES && name.bytes().all(is_plain));
    name.map(str::to_owned).ok_or_else(|| NetworkError::Name { path: folder.to_owned() })
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, NetworkError> {
    let failed = |source| NetworkError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(NetworkError::Long { path: path.to_owned(), max });
    }
    Ok(bytes)
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
