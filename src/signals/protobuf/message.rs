//! The messages of `schema/signal.v1.proto` as Rust types.
//!
//! Written by hand, because they are few and a build needs no Protobuf compiler then;
//! `tests/schema_compatibility.rs` holds them against the definition.

use prost::{Enumeration, Message};

use crate::signals;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Action {
    /// A value of a later version, or none.
    Unspecified = 0,
    /// The price is expected to rise.
    Buy = 1,
    /// The price is expected to fall.
    Sell = 2,
    /// Do nothing.
    Hold = 3,
}

impl From<signals::Action> for Action {
    fn from(action: signals::Action) -> Self {
        match action {
            signals::Action::Buy => Self::Buy,
            signals::Action::Sell => Self::Sell,
            signals::Action::Hold => Self::Hold,
        }
    }
}

impl Action {
    /// The daemon's own type; `None` where unspecified.
    #[must_use]
    pub fn known(self) -> Option<signals::Action> {
        match self {
            Self::Unspecified => None,
            Self::Buy => Some(signals::Action::Buy),
            Self::Sell => Some(signals::Action::Sell),
            Self::Hold => Some(signals::Action::Hold),
        }
    }
}

/// Why, see [`signals::Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
#[expect(missing_docs, reason = "documented where the daemon has them")]
pub enum Reason {
    Unspecified = 0,
    Halted = 1,
    Unsynchronised = 2,
    CrossedBook = 3,
    StaleData = 4,
    WarmingUp = 5,
    NoForecast = 6,
    InvalidForecast = 7,
    BelowThreshold = 8,
    RateLimited = 9,
    ThresholdMet = 10,
    Abstained = 11,
}

impl From<signals::Reason> for Reason {
    fn from(reason: signals::Reason) -> Self {
        match reason {
            signals::Reason::Halted => Self::Halted,
            signals::Reason::Unsynchronised => Self::Unsynchronised,
            signals::Reason::CrossedBook => Self::CrossedBook,
            signals::Reason::StaleData => Self::StaleData,
            signals::Reason::WarmingUp => Self::WarmingUp,
            signals::Reason::NoForecast => Self::NoForecast,
            signals::Reason::InvalidForecast => Self::InvalidForecast,
            signals::Reason::Abstained => Self::Abstained,
            signals::Reason::BelowThreshold => Self::BelowThreshold,
            signals::Reason::RateLimited => Self::RateLimited,
            signals::Reason::ThresholdMet => Self::ThresholdMet,
        }
    }
}

impl Reason {
    /// The daemon's own type; `None` where unspecified.
    #[must_use]
    pub fn known(self) -> Option<signals::Reason> {
        signals::Reason::ALL.into_iter().find(|&reason| Self::from(reason) == self)
    }
}

/// Which combination decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Decider {
    /// A value of a later version, or none.
    Unspecified = 0,
    /// The one under `strategy.combiner`.
    Combiner = 1,
    /// The one under `strategy.challenger`.
    Challenger = 2,
}

impl From<signals::DecidedBy> for Decider {
    fn from(by: signals::DecidedBy) -> Self {
        match by {
            signals::DecidedBy::Combiner => Self::Combiner,
            signals::DecidedBy::Challenger => Self::Challenger,
        }
    }
}

impl Decider {
    /// The daemon's own type; `None` where unspecified.
    #[must_use]
    pub fn known(self) -> Option<signals::DecidedBy> {
        signals::DecidedBy::ALL.into_iter().find(|&by| Self::from(by) == self)
    }
}

/// Directions that conformal prediction leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Directions {
    /// A value of a later version, or none.
    Unspecified = 0,
    /// Up alone.
    Up = 1,
    /// Down alone.
    Down = 2,
    /// Both.
    Both = 3,
    /// Neither.
    None = 4,
}

impl From<signals::ConformalSet> for Directions {
    fn from(set: signals::ConformalSet) -> Self {
        match (set.up, set.down) {
            (true, false) => Self::Up,
            (false, true) => Self::Down,
            (true, true) => Self::Both,
            (false, false) => Self::None,
        }
    }
}

impl Directions {
    /// The daemon's own type; `None` where unspecified.
    #[must_use]
    pub fn known(self) -> Option<signals::ConformalSet> {
        signals::ConformalSet::ALL.into_iter().find(|&set| Self::from(set) == self)
    }
}

/// What one member of the ensemble said.
#[derive(Clone, PartialEq, Message)]
pub struct Member {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its calibrated probability; absent when it took no part.
    #[prost(float, optional, tag = "2")]
    pub value: Option<f32>,
    /// Its weight in the combination.
    #[prost(float, optional, tag = "3")]
    pub weight: Option<f32>,
}

/// One signal; fields as in [`signals`].
#[derive(Clone, PartialEq, Message)]
pub struct Signal {
    /// Counts from 1.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// The cycle that made it.
    #[prost(uint64, tag = "2")]
    pub cycle: u64,
    /// `venue:symbol`.
    #[prost(string, tag = "3")]
    pub instrument: String,
    /// What to do.
    #[prost(enumeration = "Action", tag = "4")]
    pub action: i32,
    /// Why.
    #[prost(enumeration = "Reason", tag = "5")]
    pub reason: i32,
    /// Mid price, an exact decimal number.
    #[prost(string, tag = "6")]
    pub mid: String,
    /// P(up | moves).
    #[prost(float, optional, tag = "7")]
    pub value: Option<f32>,
    /// Recalibrated probability of the predicted side.
    #[prost(float, optional, tag = "8")]
    pub confidence: Option<f32>,
    /// Weighted share of members on the predicted side.
    #[prost(float, optional, tag = "9")]
    pub agreement: Option<f32>,
    /// Forecast horizon, ms.
    #[prost(uint32, tag = "10")]
    pub horizon_ms: u32,
    /// Validity after `ts_signal_ns`, ms.
    #[prost(uint32, tag = "11")]
    pub ttl_ms: u32,
    /// What the members said.
    #[prost(message, repeated, tag = "12")]
    pub members: Vec<Member>,
    /// Version of the model.
    #[prost(string, tag = "13")]
    pub model: String,
    /// Venue time of the newest input, ns.
    #[prost(int64, tag = "14")]
    pub ts_venue_ns: i64,
    /// Receive time of the newest input, ns.
    #[prost(int64, tag = "15")]
    pub ts_recv_ns: i64,
    /// Cycle boundary, ns.
    #[prost(int64, tag = "16")]
    pub ts_cycle_ns: i64,
    /// When it was made, ns.
    #[prost(int64, tag = "17")]
    pub ts_signal_ns: i64,
    /// Who decided.
    #[prost(enumeration = "Decider", optional, tag = "18")]
    pub decided_by: Option<i32>,
    /// log10 of the evidence that who did not decide is better.
    #[prost(float, optional, tag = "19")]
    pub challenger_evidence_log10: Option<f32>,
    /// Directions left by conformal prediction.
    #[prost(enumeration = "Directions", optional, tag = "20")]
    pub conformal_set: Option<i32>,
    /// How unusual the features are.
    #[prost(float, optional, tag = "21")]
    pub anomaly: Option<f32>,
}
