//! What the engine consumes, in the order in which it consumes it.

use purkinje_feeds::MarketEvent;

use super::live_settings::LiveSettings;

/// One item of a feed ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// Something happened on a market.
    Event(MarketEvent),
    /// The events of one received frame end here; carries the times (monotonic, ns) at which the
    /// frame left the socket and at which its events were ready. Only measured, never acted upon.
    FrameEnd {
        /// When the socket read returned.
        recv_mono_ns: u64,
        /// When decoding and sequencing were done.
        decoded_mono_ns: u64,
    },
    /// Cut a cycle now. Replays carry their cuts in the stream; a live engine makes its own.
    Cut(Cut),
    /// The operator halted or resumed trading.
    Halt(bool),
    /// The operator changed settings.
    Settings(LiveSettings),
    /// Nothing follows.
    End,
}

/// The boundary of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Counts from 1; missed cycles are counted too.
    pub cycle: u64,
    /// The grid time of the boundary, ns since the epoch.
    pub ts_cycle_ns: i64,
    /// Cycles between the previous cut and this one that could not be made.
    pub missed: u32,
}
