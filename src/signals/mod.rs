//! The product: one documented record per instrument and cycle.
//!
//! | field | type | unit | meaning |
//! |---|---|---|---|
//! | `seq` | u64 | | counts signals of this run from 1, without holes |
//! | `cycle` | u64 | | the cycle that made it |
//! | `instrument` | text | | `venue:symbol` |
//! | `action` | `BUY` `SELL` `HOLD` | | |
//! | `reason` | text | | why, one of [`Reason`]'s names |
//! | `value` | number | probability | P(mid price up, given that it moves within the horizon); the base rate where no member took part |
//! | `confidence` | number | probability | recalibrated probability of the side of 0.5 that `value` is on; under 0.5 where recalibration contradicts it |
//! | `mid` | number | price | mid price at the cut, exact; 0 before the first verified book |
//! | `agreement` | number | share | weight of the members that predict the same side |
//! | `horizon_ms`, `ttl_ms` | u32 | ms | forecast horizon; do not act later than this after `ts_signal_ns` |
//! | `members` | array | | `{name, value, weight}` per member; `value` null when it took no part |
//! | `decided_by` | text | | [`DecidedBy`]: which of the two combinations `value` is of |
//! | `challenger_evidence_log10` | number | log10 of wealth | evidence that the one that did not decide is better: 0 at the start, promoted at `-log10(alpha)` |
//! | `conformal_set` | `up` `down` `both` `none` | | directions that the forecast does not exclude at the target miss rate |
//! | `anomaly` | number | share of the scale | how unusual the features are: over 1, `confidence` was lowered |
//! | `model` | hex | | version of the model: hash of its weights at start and its configuration |
//! | `ts_venue_ns` | i64 | ns since epoch | venue time of the newest input, 0 where the venue does not say |
//! | `ts_recv_ns` | i64 | ns since epoch | receive time of the newest input |
//! | `ts_cycle_ns` | i64 | ns since epoch | boundary of the cycle |
//! | `ts_signal_ns` | i64 | ns since epoch | when it was made |
//!
//! The four from `decided_by` on are there only where what they tell of is switched on, the last two also
//! only where there was a forecast.
//!
//! The stream's SHA-256 covers every byte of every line but the last field, `ts_signal_ns`: that one
//! measures the host, not the forecast, and a replay makes it anew.

pub mod encode;
pub mod journal;
pub mod kafka;
pub mod protobuf;
pub mod received;
pub mod run_constants;
pub mod schema;
pub mod terminal;

use purkinje_feeds::InstrumentId;
pub use purkinje_strategies::{
    calibrate::ConformalSet,
    decide::{Action, Reason},
};

/// Most members an ensemble may have.
pub const MAX_MEMBERS: usize = 8;

/// What one member said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberView {
    /// Its calibrated probability; NaN when it took no part.
    pub value: f32,
    /// Its weight in the combination.
    pub weight: f32,
}

/// Which of two combinations decides about an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// The one under `strategy.combiner`.
    Combiner,
    /// The one under `strategy.challenger`.
    Challenger,
}

impl DecidedBy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Combiner, Self::Challenger];

    /// Name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Combiner => "combiner",
            Self::Challenger => "challenger",
        }
    }

    /// The one in shadow.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Combiner => Self::Challenger,
            Self::Challenger => Self::Combiner,
        }
    }
}

/// One signal. Plain data: it crosses rings by copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signal {
    /// Counts from 1.
    pub seq: u64,
    /// The cycle that made it.
    pub cycle: u64,
    /// Whose.
    pub instrument: InstrumentId,
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// P(up | moves), in [0, 1].
    pub value: f32,
    /// Recalibrated probability of the side of 0.5 that the value is on, in [0, 1].
    pub confidence: f32,
    /// Best bid plus best offer at the cut, mantissas; 0 when unknown.
    pub mid_x2: i64,
    /// Weighted share of members on the predicted side, in [0, 1].
    pub agreement: f32,
    /// Who decided; `None` without a challenger.
    pub decided_by: Option<DecidedBy>,
    /// log10 of the evidence that who did not decide is better; NaN without a challenger.
    pub challenger_evidence_log10: f32,
    /// Directions left by conformal prediction; `None` where it is off or there is no forecast.
    pub conformal_set: Option<ConformalSet>,
    /// How unusual the features are, 1 and under being usual; NaN where nobody says.
    pub anomaly: f32,
    /// Venue time of the newest input, ns; 0 where unknown.
    pub ts_venue_ns: i64,
    /// Receive time of the newest input, ns.
    pub ts_recv_ns: i64,
    /// Cycle boundary, ns.
    pub ts_cycle_ns: i64,
    /// When it was made, ns.
    pub ts_signal_ns: i64,
    /// Receive time of the newest input, monotonic ns: for latency only, not published.
    pub recv_mono_ns: u64,
    /// When it was handed over, monotonic ns: for latency only, not published.
    pub made_mono_ns: u64,
    /// The first `member_count` are valid.
    pub members: [MemberView; MAX_MEMBERS],
    /// How many members there are.
    pub member_count: u8,
}
