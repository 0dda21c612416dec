//! What a trained cerebellum is on file, and what must agree before its weights are taken up.
//!
//! Keys under `model.` say what the weights mean: the circuit, its inputs in order, the clock and the
//! horizon. Invariants: weights are taken up by a network of exactly that meaning or by none; the
//! number of instruments, threads and learning rates may differ.

use std::path::Path;

use purkinje_kernels::cerebellum::{Cerebellum, CerebellumConfig, LearnedWeights, WeightsError};
use purkinje_strategies::features::NAMES;
use thiserror::Error;

use crate::{
    config::{Loaded, Normaliser},
    learning::forecaster::leaning,
    run::spine::{RunError, cerebellum_config, feature_mask},
    training::checkpoint::{Checkpoint, CheckpointError, Section, Topology},
};

/// What the keys begin with that must agree.
pub const PREFIX: &str = "model.";

const PARALLEL: &str = "weights.parallel";
const READOUT: &str = "weights.readout";
const OUTCOMES: &str = "weights.outcomes";

/// Why trained weights were not taken up.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights cannot.
    #[error("{path}: {source}")]
    Weights {
        /// The file.
        path: String,
        /// What is wrong with them.
        source: WeightsError,
    },
}

/// What an input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Where its values come from.
    pub kind: InputKind,
}

/// Where an input's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// The daemon's feature of that name.
    Live,
    /// The daemon's feature of that name, which is shown as 0.
    Hidden,
    /// A file's, put on one scale by the training rows: the daemon has no such feature.
    Standardised,
}

impl InputKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Hidden => "hidden",
            Self::Standardised => "standardised",
        }
    }
}

/// The inputs of the daemon's cerebellum.
///
/// # Errors
/// An unknown feature.
pub fn live_inputs(loaded: &Loaded) -> Result<Vec<Input>, RunError> {
    let mask = feature_mask(loaded)?;
    let kind = |k: usize| if mask[k] { InputKind::Live } else { InputKind::Hidden };
    Ok(leaning().map(|k| Input { name: NAMES[k].to_owned(), kind: kind(k) }).collect())
}

/// What the weights of a configuration's cerebellum mean.
///
/// # Errors
/// An unknown feature.
pub fn live_topology(loaded: &Loaded) -> Result<Topology, RunError> {
    Ok(topology(loaded, &cerebellum_config(loaded, 1), &live_inputs(loaded)?))
}

/// What the weights of a cerebellum on some inputs mean.
#[must_use]
pub fn topology(loaded: &Loaded, circuit: &CerebellumConfig, inputs: &[Input]) -> Topology {
    let normaliser = match loaded.strategy.normaliser {
        Normaliser::RobustZ => "robust-z",
        Normaliser::MinMax => "min-max",
    };
    let c = circuit;
    let mut topology = Topology::new()
        .with("model.features", &c.features)
        .with("model.granule_cells", &c.granule_cells)
        .with("model.granule_per_golgi", &c.granule_per_golgi)
        .with("model.fibres_per_feature", &c.fibres_per_feature)
        .with("model.field_sd", &format!("{:?}", c.field_sd))
        .with("model.fibre_peak_hz", &format!("{:?}", c.fibre_peak_hz))
        .with("model.granule_hz", &format!("{:?}", c.granule_hz))
        .with("model.steps_per_cycle", &c.steps_per_cycle)
        .with("model.step_ms", &format!("{:?}", c.step_ms))
        .with("model.settle_steps", &c.settle_steps)
        .with("model.purkinje_per_zone", &c.purkinje_per_zone)
        .with("model.nuclear_per_zone", &c.nuclear_per_zone)
        .with("model.weight_cap", &format!("{:?}", c.weight_cap))
        .with("model.decode_hz", &format!("{:?}", c.decode_hz))
        .with("model.seed", &c.seed)
        .with("model.normaliser", normaliser)
        .with("model.cycle_ms", &loaded.config.cycle.period_ms)
        .with("model.horizon_ms", &loaded.strategy.horizon_ms);
    for input in inputs {
        topology = topology.with(&format!("model.input.{}", input.name), input.kind.name());
    }
    topology
}

/// Puts the weights into a checkpoint.
pub fn put(checkpoint: &mut Checkpoint, weights: &LearnedWeights) {
    checkpoint.put(PARALLEL, Section::F32(weights.parallel.clone()));
    let readout = vec![weights.readout_gain, weights.readout_bias];
    checkpoint.put(READOUT, Section::F32(readout));
    checkpoint.put(OUTCOMES, Section::Bytes(weights.outcomes.to_le_bytes().to_vec()));
}

/// Takes the weights out of a checkpoint, `count` of them.
///
/// # Errors
/// They are not there, or of another number.
pub fn take(checkpoint: &mut Checkpoint, count: usize) -> Result<LearnedWeights, CheckpointError> {
    let parallel = checkpoint.take_f32(PARALLEL, count)?;
    let readout = checkpoint.take_f32(READOUT, 2)?;
    let outcomes = checkpoint.take_bytes_of::<8>(OUTCOMES)?;
    Ok(LearnedWeights {
        parallel,
        readout_gain: readout[0],
        readout_bias: readout[1],
        outcomes: u64::from_le_bytes(outcomes),
    })
}

/// Reads a checkpoint and gives its weights to a cerebellum of the expected topology.
///
/// # Errors
/// The file is missing, damaged or of another topology, or its weights are no weights; the cerebellum
/// is then as it was.
pub fn load(path: &Path, expected: &Topology, to: &mut Cerebellum) -> Result<(), ModelError> {
    let mut checkpoint = Checkpoint::read(path)?;
    checkpoint.expect_part(PREFIX, expected)?;
    let c = to.config();
    let weights = take(&mut checkpoint, c.granule_cells * 2 * c.purkinje_per_zone)?;
    to.set_weights(&weights).map(drop).map_err(|source| {
        let path = path.display().to_string();
        ModelError::Weights { path, source }
    })
}
