//! What the engine hands to the model at a cycle boundary: one row per instrument.
//!
//! Batches are allocated once and travel in a circle (engine → model → engine), so that handing over
//! is moving a pointer.

use purkinje_strategies::features::N as FEATURES;

use super::{input::Cut, live_settings::LiveSettings};

/// Whether an instrument may be forecast in this cycle, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The book is verified and fresh.
    Ready,
    /// No verified book: before the first snapshot, or after a gap until it is repaired.
    Unsynchronised,
    /// The book is verified but crossed or locked.
    Crossed,
    /// The book has not changed for longer than the staleness limit.
    Stale,
    /// The feature windows are not filled yet.
    WarmingUp,
}

/// One instrument at the cut.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Whether the numbers below may be used.
    pub status: Status,
    /// Best bid plus best offer, as mantissas: twice the mid price, exact.
    pub mid_x2: i64,
    /// Level-1 and 5-level queue imbalance, each in [-1, 1]: the inputs of the baseline to beat.
    pub queue_imbalance: [f32; 2],
    /// Venue time of the newest input, ns since the epoch; 0 where the venue does not say.
    pub ts_venue_ns: i64,
    /// Receive time of the newest input, ns since the epoch; 0 before the first.
    pub ts_recv_ns: i64,
    /// How long the book has not changed at the cut, ns: trades alone do not keep it fresh.
    pub book_age_ns: i64,
    /// Receive time of the newest input on the monotonic clock, for latency only.
    pub recv_mono_ns: u64,
    /// The simulator's best achievable P(up | moves), NaN elsewhere. Scored against only.
    pub oracle: f64,
}

impl Row {
    /// A row that knows nothing.
    pub const EMPTY: Self = Self {
        status: Status::Unsynchronised,
        mid_x2: 0,
        queue_imbalance: [0.0; 2],
        ts_venue_ns: 0,
        ts_recv_ns: 0,
        book_age_ns: i64::MAX,
        recv_mono_ns: 0,
        oracle: f64::NAN,
    };
}

/// All instruments at one cut.
#[derive(Clone, Debug)]
pub struct CycleBatch {
    /// Which cycle, and when.
    pub cut: Cut,
    /// When the cut was due and when the batch was ready, on the monotonic clock.
    pub ready_mono_ns: u64,
    /// Whether trading is halted.
    pub halted: bool,
    /// Settings that were changed while running; `None` before the first change.
    pub settings: Option<LiveSettings>,
    /// One row per instrument, in table order.
    pub rows: Vec<Row>,
    /// `[instruments × FEATURES]`, normalised, finite.
    pub features: Vec<f32>,
}

impl CycleBatch {
    /// A batch for so many instruments.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self {
            cut: Cut { cycle: 0, ts_cycle_ns: 0, missed: 0 },
            ready_mono_ns: 0,
            halted: false,
            settings: None,
            rows: vec![Row::EMPTY; instruments],
            features: vec![0.0; instruments * FEATURES],
        }
    }

    /// The features of one instrument.
    #[must_use]
    pub fn features_of(&self, instrument: usize) -> &[f32] {
        &self.features[instrument * FEATURES..][..FEATURES]
    }
}
