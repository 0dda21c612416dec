//! From features to signals, and from outcomes back to the members.
//!
//! Once per cycle: forecasts whose horizon has passed are compared with what the mid price did, and
//! every learner is told (`think`, first half); the members look at the new features (`think`, second
//! half); their probabilities are calibrated, combined, judged and become signals (`decide`).
//!
//! Invariants: a pure function of the sequence of batches (no clock is read but to stamp signals);
//! nothing allocates after construction; what a learner is told was unknown when it forecast; a
//! forecast that a gap in the book has made unverifiable is discarded and counted, never scored.

use std::sync::Arc;

use purkinje_kernels::{
    cerebellum::{Cerebellum, CerebellumConfig},
    logistic::{LogisticConfig, OnlineLogistic},
};
use purkinje_strategies::{
    calibrate::{Platt, PlattConfig},
    combine::{Combiner, CombinerConfig, Forecast},
    decide::{Decider, DecideConfig, Guards},
    features::COUNT as FEATURES,
    score::{Direction, Persistence, Scorecard},
};
use purkinje_feeds::InstrumentId;

use super::pending::Pending;
use crate::{
    clock::{Clock, monotonic_ns},
    config::Member,
    pipeline::{
        batch::{CycleBatch, Row, Status},
        sink::Output,
    },
    signals::{MAX_MEMBERS, MemberView, Signal},
};

/// Forecasts kept beyond those a horizon needs, so that a few late cycles lose none.
const PENDING_SLACK: usize = 16;

/// Labels after which what calibration and persistence learned has faded by e.
const MEMORY_LABELS: f64 = 20_000.0;

/// Columns of the scorecard beside the members.
pub const EXTRA_COLUMNS: [&str; 5] =
    ["combined", "recalibrated", "base rate", "queue imbalance", "oracle"];

/// What a forecaster is made of.
#[derive(Clone, Debug)]
pub struct ForecasterConfig {
    /// Number of instruments.
    pub instruments: usize,
    /// Members in order.
    pub members: Vec<Member>,
    /// Features the members see; others are shown to them as zero.
    pub feature_mask: [bool; FEATURES],
    /// Horizon, ns.
    pub horizon_ns: i64,
    /// Cycle period, ns.
    pub period_ns: i64,
    /// The cerebellum's settings; features, instruments and pending cycles are filled in.
    pub cerebellum: CerebellumConfig,
    /// The regression's settings; features are filled in.
    pub logistic: LogisticConfig,
    /// The combination's settings.
    pub combiner: CombinerConfig,
    /// Thresholds, limits.
    pub decide: DecideConfig,
    /// Stretch at the start that is not scored, ns.
    pub warmup_ns: i64,
    /// Who stamps signals.
    pub clock: Clock,
}

/// One forecast that waits for its outcome.
#[derive(Clone, Copy, Debug)]
struct Made {
    cycle: u64,
    ts_cycle_ns: i64,
    mid_x2: i64,
    forecast: Forecast,
    /// Members before calibration; NaN where absent.
    raw: [f64; MAX_MEMBERS],
    recalibrated: f64,
    imbalance: [f32; 2],
    imbalance_p: f64,
    last_move: Option<Direction>,
    oracle: f64,
}

/// Counters of the learning loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearningCounts {
    /// Forecasts made.
    pub forecasts: u64,
    /// Outcomes with a move: learned from and scored.
    pub moved: u64,
    /// Outcomes without a move: neither.
    pub unchanged: u64,
    /// Forecasts discarded because the book was lost or the clock jumped before their horizon.
    pub discarded: u64,
    /// Forecasts displaced because too many were waiting.
    pub displaced: u64,
}

/// The members and all that surrounds them.
#[derive(Debug)]
pub struct Forecaster {
    config: ForecasterConfig,
    names: Arc<[String]>,
    cerebellum: Option<Cerebellum>,
    logistic: OnlineLogistic,
    imbalance: OnlineLogistic,
    persistence: Persistence,
    calibrators: Vec<Platt>,
    combiner: Combiner,
    recalibrator: Platt,
    decider: Decider,
    scorecard: Scorecard,
    pending: Vec<Pending<Made>>,
    counts: LearningCounts,
    /// Weight of one label: horizons overlap, so it is less than an independent one.
    label_weight: f64,
    score_from_ns: Option<i64>,
    halted: bool,
    seq: u64,
    // Scratch of one cycle.
    features: Vec<f32>,
    active: Vec<bool>,
    values: Vec<f32>,
}
