//! A feed preset as typed values; the invariants are those of [`super`].

use serde::Deserialize;

/// A feed: venue, addresses, channels, instruments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedPreset {
    /// A name of `purkinje_feeds::instrument::Venue`.
    pub venue: String,
    /// WebSocket address; empty means the simulated exchange inside this process.
    pub ws_url: String,
    /// REST address; empty exactly when `ws_url` is.
    pub rest_url: String,
    /// What to subscribe to.
    pub channels: Channels,
    /// Levels per side of a snapshot.
    pub snapshot_limit: u32,
    /// Request weight the venue allows a minute.
    pub rest_weight_per_min: u32,
    /// Silence after which a connection is replaced, ms.
    pub idle_timeout_ms: u64,
    /// Age at which a connection is replaced, s.
    pub max_lifetime_s: u64,
    /// Failures in a row after which a connection is given up; 0 is without limit.
    pub max_connect_failures: u32,
    /// Most streams on one connection.
    pub max_streams_per_connection: usize,
    /// Connections over which the instruments are spread.
    pub connections: usize,
    /// What to listen to; empty only with the simulated exchange inside this process, and then
    /// all it trades.
    pub instruments: Vec<InstrumentConfig>,
}

impl FeedPreset {
    /// Whether the feed is the simulated exchange inside this process.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.ws_url.is_empty()
    }
}

/// Streams to subscribe to for every instrument.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// Interval of order-book updates as in the stream's name, for example `100ms`.
    pub depth: String,
    /// Best bid and ask.
    pub book_ticker: bool,
    /// Trades.
    pub trade: bool,
    /// The simulated exchange's own forecast.
    pub oracle: bool,
}

impl Channels {
    /// Interval of order-book updates, ms; 0 is unthrottled.
    #[must_use]
    pub fn depth_interval_ms(&self) -> u32 {
        self.depth.strip_suffix("ms").and_then(|ms| ms.parse().ok()).unwrap_or(0)
    }

    /// Streams per instrument.
    #[must_use]
    pub fn per_instrument(&self) -> usize {
        1 + usize::from(self.book_ticker) + usize::from(self.trade) + usize::from(self.oracle)
    }
}

/// One instrument of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentConfig {
    /// The venue's own spelling.
    pub symbol: String,
    /// Decimals of a price.
    pub price_decimals: u8,
    /// Decimals of a quantity.
    pub qty_decimals: u8,
}
