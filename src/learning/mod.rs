//! Members, their learning, and the forecaster that joins them.

pub mod anomaly;
pub mod backend;
pub mod ensemble;
pub mod forecaster;
pub mod judge;
pub mod label;
pub mod loss_probe;
pub mod models;
pub mod names;
pub mod network;
pub mod onnx;
pub mod pending;
pub mod settings;
pub mod shadow;

use purkinje_kernels::{cerebellum, logistic::LogisticError};
use purkinje_strategies::{
    calibrate::CalibrationError, challenger::ChallengerError, combine::CombinerError,
    decide::DecideError, score::ScoreError,
};
use thiserror::Error;

use crate::signals::MAX_MEMBERS;

/// Why a forecaster could not be built.
#[derive(Debug, Error)]
pub enum ForecasterError {
    /// None, or too many.
    #[error(
        "strategy.members, strategy.networks and strategy.challenger.networks list {found} members, \
         expected 1 to {MAX_MEMBERS}"
    )]
    Members {
        /// How many.
        found: usize,
    },
    /// Two members have one name.
    #[error("strategy.networks: there is a member {name:?} already; rename the network's folder")]
    Twice {
        /// The name.
        name: String,
    },
    /// The cerebellum refused its settings.
    #[error("strategy.cerebellum.{0}")]
    Cerebellum(#[from] cerebellum::ConfigError),
    /// The regression refused its settings.
    #[error("strategy.logistic.{0}")]
    Logistic(#[from] LogisticError),
    /// A calibrator refused its settings.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The combination refused its settings.
    #[error("strategy.{0}")]
    Combiner(#[from] CombinerError),
    /// The duels refused their settings.
    #[error("strategy.{0}")]
    Challenger(#[from] ChallengerError),
    /// The decision refused its settings.
    #[error("strategy.{0}")]
    Decide(#[from] DecideError),
    /// The scorecard refused its settings.
    #[error(transparent)]
    Score(#[from] ScoreError),
}
