//! What a forecaster is made of.

use purkinje_kernels::{cerebellum::CerebellumConfig, logistic::LogisticConfig};
use purkinje_strategies::{
    calibrate::{Calibration, ConformalConfig},
    combine::{CombineRule, CombinerConfig},
    decide::{Limits, Thresholds},
    features::N as FEATURES,
};

use super::{anomaly::Anomaly, network::Network, shadow::ShadowConfig};
use crate::{clock::Clock, config::Member};

/// Settings of everything in it.
#[derive(Clone, Debug)]
pub struct ForecasterConfig {
    /// Number of instruments.
    pub instruments: usize,
    /// Members in order, before the networks; at most [`MAX_MEMBERS`](crate::signals::MAX_MEMBERS) with those.
    pub members: Vec<Member>,
    /// Features the members see; the others are shown to them as zero.
    pub feature_mask: [bool; FEATURES],
    /// Horizon, ns.
    pub horizon_ns: i64,
    /// Cycle period, ns.
    pub period_ns: i64,
    /// The cerebellum's settings, for the [`leaning`](super::forecaster::leaning) features of so many instruments.
    pub cerebellum: CerebellumConfig,
    /// The regression's settings; the number of features is filled in.
    pub logistic: LogisticConfig,
    /// The settings of every combination.
    pub combiner: CombinerConfig,
    /// The rule of the one that decides at the start.
    pub rule: CombineRule,
    /// Recalibration of what is combined.
    pub calibration: Calibration,
    /// Recalibration of members whose values are no probabilities by construction.
    pub members_calibration: Calibration,
    /// When to abstain; `None` never does.
    pub conformal: Option<ConformalConfig>,
    /// The combination in shadow; `None` has none.
    pub challenger: Option<ShadowConfig>,
    /// What a forecast must exceed.
    pub thresholds: Thresholds,
    /// Age, life and rate of signals.
    pub limits: Limits,
    /// Stretch at the start that is not scored, ns.
    pub warmup_ns: i64,
    /// Who stamps signals.
    pub clock: Clock,
}

/// The trained networks in it.
#[derive(Debug, Default)]
pub struct Networks {
    /// Members behind the configured ones.
    pub members: Vec<Network>,
    /// Members behind those that only the challenger sees.
    pub challenger: Vec<Network>,
    /// Says how unusual features are.
    pub anomaly: Option<Anomaly>,
}
