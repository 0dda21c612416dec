//! A strategy preset as typed values; the invariants are those of [`super`].

use std::path::PathBuf;

use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer as _, value::StringDeserializer},
};

/// A strategy: members, horizon, features, thresholds, risk.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyPreset {
    /// Predictors of the ensemble, in order.
    pub members: Vec<Member>,
    /// Folders of trained networks that are members behind those.
    pub networks: Vec<String>,
    /// How far ahead a forecast looks, ms.
    pub horizon_ms: u64,
    /// How features are put on one scale.
    pub normaliser: Normaliser,
    /// Cycles a feature is watched before it is put on the scale.
    pub normaliser_warm_up_cycles: u32,
    /// Time constant with which the scale forgets, cycles.
    pub normaliser_memory_cycles: u32,
    /// Feature names, or exactly `["all"]`; see `Loaded::select_features`.
    pub features: Vec<String>,
    /// Life of a signal, ms.
    pub ttl_ms: u64,
    /// Most BUY and SELL signals per instrument and second.
    pub max_signals_per_s: u32,
    /// When to BUY and SELL.
    pub thresholds: Thresholds,
    /// The cerebellar circuit.
    pub cerebellum: Cerebellum,
    /// ONNX Runtime.
    pub onnx: Onnx,
    /// The online logistic regression.
    pub logistic: Logistic,
    /// The combination of members.
    pub combiner: Combiner,
    /// The recalibration of probabilities.
    pub calibration: Calibration,
    /// Abstention.
    pub conformal: Conformal,
    /// The combination in shadow.
    pub challenger: Challenger,
    /// What lowers confidence where features are unusual.
    pub anomaly: Anomaly,
}

/// A predictor of the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Member {
    /// The spiking cerebellar circuit.
    Cerebellum,
    /// Online logistic regression on the features.
    Logistic,
    /// Logistic regression on two queue imbalances: the forecaster to beat.
    QueueImbalance,
    /// Continuation of the last move.
    Persistence,
}

/// How features are put on one scale online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normaliser {
    /// Distance from a running median in running absolute deviations.
    RobustZ,
    /// Position between decaying extremes.
    MinMax,
}

/// When to BUY and SELL.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// BUY needs a value above this.
    pub buy_value: f64,
    /// SELL needs a value below this.
    pub sell_value: f64,
    /// Both need a confidence above this.
    pub confidence: f64,
}

/// The cerebellar circuit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cerebellum {
    /// Seed of wiring and spike generation.
    pub seed: u64,
    /// Granule cells per instrument.
    pub granule_cells: usize,
    /// Mossy fibres per feature.
    pub fibres_per_feature: usize,
    /// Simulation steps of 1 ms per cycle.
    pub steps_per_cycle: usize,
    /// Mean rate of every granule cell, Hz.
    pub granule_hz: f64,
    /// Depression by one climbing-fibre spike at the first outcome, in initial weights.
    pub learning_rate: f64,
    /// Whether all instruments share the plastic synapses.
    pub shared_weights: bool,
    /// Threads that share the instruments.
    pub threads: usize,
    /// Whether anything learns.
    pub plastic: bool,
    /// What of the past activity an outcome teaches.
    pub eligibility: Eligibility,
    /// Which rules are on.
    pub rules: CerebellumRules,
    /// The nucleo-olivary brake.
    pub brake: Brake,
    /// Pair STDP.
    pub stdp: Stdp,
    /// Metaplasticity.
    pub metaplasticity: Metaplasticity,
    /// The sliding threshold.
    pub bcm: Bcm,
    /// Checkpoint of a training that the weights start from; empty starts untaught.
    pub weights: PathBuf,
}

/// What of the granule cells' past activity an outcome teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eligibility {
    /// The activity of the cycle that forecast.
    Held,
    /// All activity, weighed by a kernel that peaks one horizon back.
    Kernel,
}

/// Which online rules of the cerebellum are on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CerebellumRules {
    /// Plasticity gated by climbing fibres.
    pub climbing_fibre: bool,
    /// Synaptic scaling.
    pub scaling: bool,
    /// Nucleo-olivary inhibition.
    pub brake: bool,
    /// Pair STDP.
    pub stdp: bool,
    /// Metaplasticity.
    pub metaplasticity: bool,
    /// Sliding threshold.
    pub bcm: bool,
    /// Intrinsic plasticity.
    pub intrinsic: bool,
}

/// The nucleo-olivary brake.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brake {
    /// Share of the value's distance from one half that it takes off the error.
    pub strength: f64,
}

/// Pair STDP.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdp {
    /// Decay of the presynaptic trace, ms.
    pub tau_pre_ms: f64,
    /// Decay of the postsynaptic trace, ms.
    pub tau_post_ms: f64,
    /// Potentiation by a coincident pair at a rate of 1.
    pub a_plus: f64,
    /// Depression by a coincident pair at a rate of 1.
    pub a_minus: f64,
    /// Learning rate.
    pub rate: f64,
}

/// Metaplasticity.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metaplasticity {
    /// Mean movement of the weights above which learning slows, share of their range per second.
    pub threshold_per_s: f64,
    /// Time constant, ms.
    pub tau_ms: f64,
    /// What the rate is divided or multiplied by in that time.
    pub factor: f64,
}

/// The sliding threshold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bcm {
    /// Change by one parallel-fibre spike at a modification of 1, in initial weights.
    pub rate: f64,
}

/// ONNX Runtime, for networks that our own kernels do not know.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Onnx {
    /// Its library; empty looks it up.
    pub library: PathBuf,
    /// Share of a cycle that all calls for one network may take.
    pub cycle_share: f64,
    /// Cycles in a row over it after which a live run asks the network no more.
    pub sleep_after_cycles: u32,
    /// Calls before the run.
    pub warm_up_runs: u32,
}

/// The online logistic regression.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logistic {
    /// Standard deviation of a weight before any label, logits per unit of its feature.
    pub prior_sd: f64,
    /// Label weight after which old labels count 1/e as much.
    pub memory_labels: f64,
}

/// How members are combined; see `purkinje_strategies::combine::CombineRule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CombineRule {
    /// ML-Poly mixes of log odds.
    MlPoly,
    /// Mean of the probabilities.
    Mean,
    /// Share of the members above one half.
    Vote,
    /// Median of the probabilities.
    Median,
    /// Logistic regression on the members' log odds.
    Stacking,
    /// Bayesian mixture that expects switches.
    FixedShare,
    /// Bernstein online aggregation of log odds.
    Boa,
}

/// The combination of members.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Combiner {
    /// The rule.
    pub rule: CombineRule,
    /// Share of the weight dealt out equally to the awake experts.
    pub share_floor: f64,
    /// Memory of the mix that follows changes, labels.
    pub tracking_memory_labels: f64,
    /// Memory of the base rate, labels.
    pub base_rate_memory_labels: f64,
    /// Members' probabilities are kept this far from 0 and 1.
    pub probability_clip: f64,
}

/// The recalibration of probabilities.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How what is combined is recalibrated.
    pub map: CalibrationMap,
    /// How members that are no probabilities by construction are.
    pub members_map: CalibrationMap,
    /// Prior standard deviation of the slope around 1.
    pub slope_sd: f64,
    /// Prior standard deviation of the offset around 0, log-odds.
    pub offset_sd: f64,
    /// Labels after which it forgets by a factor of e.
    pub memory_labels: f64,
    /// The isotonic map.
    pub isotonic: Isotonic,
}

/// A recalibration; see `purkinje_strategies::calibrate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CalibrationMap {
    /// Slope and offset in log-odds.
    Platt,
    /// Any monotone map.
    Isotonic,
    /// The identity.
    None,
}

/// The isotonic recalibration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isotonic {
    /// Independent labels that the identity is worth in each bin.
    pub prior_labels: f64,
    /// Labels from one fit to the next.
    pub refit_labels: u32,
}

/// Abstention by adaptive conformal prediction.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conformal {
    /// Whether it abstains at all.
    pub enabled: bool,
    /// Share of outcomes that the set may miss.
    pub target_miss_rate: f64,
    /// Step of the adaptation.
    pub rate: f64,
    /// Outcomes that the quantile is taken over.
    pub window_labels: usize,
}

/// The combination in shadow.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenger {
    /// Its rule; `None` is no challenger.
    #[serde(deserialize_with = "rule_unless_off")]
    pub rule: Option<CombineRule>,
    /// Folders of trained networks that only it combines.
    pub networks: Vec<String>,
    /// Largest probability of a promotion that is not deserved.
    pub alpha: f64,
    /// Outcomes that must have counted before a promotion.
    pub labels_min: u64,
}

/// The word `off` means none.
fn rule_unless_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CombineRule>, D::Error> {
    let word = String::deserialize(from)?;
    if word == "off" {
        return Ok(None);
    }
    let word: StringDeserializer<D::Error> = word.into_deserializer();
    CombineRule::deserialize(word).map(Some)
}

/// What lowers confidence where features are unusual.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anomaly {
    /// Folder of an autoencoder; empty is none.
    pub network: PathBuf,
}
