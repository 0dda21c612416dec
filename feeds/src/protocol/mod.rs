//! What a venue's wire protocol is, in one form for all: the [`Protocol`] trait and its vocabulary.
//!
//! A venue is one folder of this crate with a decoder (bytes → [`Message`]s), its sequence rules (how its
//! numbers map to [`sequence`]) and its requests; [`of`] finds it. Everything that differs between
//! venues is behind this trait or is a [`Facts`] value; sessions, connections and simulators are written
//! once. Invariants: a protocol does no I/O, keeps no state and panics on no input; decoding allocates
//! nothing.

pub(crate) mod elements;
pub mod error;
pub(crate) mod fields;
pub mod levels;
pub mod message;
pub mod sequence;

use std::fmt::Debug;
use std::time::Duration;

pub use error::{DecodeError, DecodeErrorKind, Subject};
pub use levels::{LevelStyle, LevelText, Levels};
pub use message::{
    Ack, AckOf, BookKind, BookMessage, Message, OracleMessage, TopMessage, TradeMessage,
};
pub use sequence::{Rules, SnapshotSource, UpdateIds};

use crate::Venue;
use crate::topic::Channel;

/// Takes the messages of a frame, in their order.
pub type Visit<'v, 'a> = dyn FnMut(Message<'a>) + 'v;

/// One venue's wire protocol.
pub trait Protocol: Debug + Send + Sync {
    /// What is fixed about the venue.
    fn facts(&self) -> &Facts;

    /// Decodes a WebSocket frame and hands each of its messages to `visit`. Unknown events are
    /// [`Message::Ignored`], unknown fields are passed over.
    ///
    /// # Errors
    /// The frame is not what frames of the venue are, or a known event lacks a field it must have; the
    /// messages before the one in error have been visited.
    fn decode<'a>(&self, frame: &'a [u8], visit: &mut Visit<'_, 'a>)
    -> Result<(), DecodeError<'a>>;

    /// Decodes the body of an answer to [`snapshot_request`](Self::snapshot_request).
    ///
    /// # Errors
    /// The body is not such an answer. The default, for venues without REST snapshots, refuses all.
    fn decode_snapshot<'a>(&self, body: &'a [u8]) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let _ = body;
        Err(DecodeErrorKind::Malformed)
    }

    /// The REST request for a snapshot of a symbol; `None` where the venue has none or none is needed.
    fn snapshot_request(&self, symbol: &str, options: StreamOptions) -> Option<SnapshotRequest> {
        let _ = (symbol, options);
        None
    }

    /// The texts that subscribe or unsubscribe these topics, in the order to send them. Ids count up
    /// from `first_id`; each request says which of the topics (by index) it is about.
    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        options: StreamOptions,
        first_id: u64,
    ) -> Vec<Request>;

    /// The address to connect to, from the configured base.
    fn url(&self, base: &str) -> String {
        base.to_owned()
    }

    /// Levels a side that the depth topic carries when these are asked for: so many are kept of a
    /// snapshot, and where [`Facts::cuts_to_depth`] of the book after each update.
    fn depth(&self, options: StreamOptions) -> usize {
        options.levels
    }

    /// Whether the venue has a stream for the channel at all.
    fn has(&self, channel: Channel) -> bool {
        channel != Channel::Oracle
    }
}

/// What is fixed about a venue.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its sequence rules.
    pub rules: Rules,
    /// Whether the numbers of its frames show every lost depth update at the next one. Where they do not,
    /// a frame that cannot be read and names no instrument costs every book of the connection.
    pub shows_loss: bool,
    /// How it checks its books, where it sends checksums.
    pub checksum: Option<Checksum>,
    /// The venue keeps only the subscribed depth and sends no delete for a level that falls out of it:
    /// after each message the book is to be cut to [`StreamOptions::levels`] a side.
    pub cuts_to_depth: bool,
    /// How often to compare a book with a REST snapshot, on venues whose stream proves nothing.
    pub audit_every: Option<Duration>,
    /// Most topics of one connection.
    pub max_topics: usize,
    /// Client messages per second on one connection, with room left for pongs where those count.
    pub sends_per_s: u32,
    /// What the client must send to keep a connection.
    pub keepalive: Option<Keepalive>,
    /// Age at which the venue cuts connections, where it says so.
    pub max_lifetime: Option<Duration>,
}

/// A text the client sends regularly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How often.
    pub every: Duration,
    /// The text.
    pub text: &'static str,
}

/// How a venue sums up a book in 32 bits (CRC-32, IEEE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Ten best offers, then ten best bids, best first; price then quantity of each as digits without
    /// the point and without leading zeros.
    Kraken,
    /// Twenty-five best levels, bid and offer in turn, `price:qty` as on the wire, joined by `:`; where
    /// one side is shorter the other goes on alone.
    Okx,
}

/// What a subscription asks for beyond symbol and channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Levels a side wanted; a protocol asks for the least that the venue offers and that is enough.
    pub levels: usize,
    /// Interval of depth updates, ms; 0 is the fastest there is. Protocols choose the nearest.
    pub depth_interval_ms: u32,
    /// Where whole books come from.
    pub snapshot: SnapshotSource,
}

/// One topic of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicName<'a> {
    /// The venue's spelling of the instrument.
    pub symbol: &'a str,
    /// The channel.
    pub channel: Channel,
}

/// Subscribe or unsubscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start.
    Subscribe,
    /// Stop.
    Unsubscribe,
}

/// A text to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What an acknowledgement will carry, where the venue has ids.
    pub id: u64,
    /// The text.
    pub text: String,
    /// The topics it is about: indices into the list that was given. Empty for a request that is about
    /// the connection.
    pub topics: Vec<usize>,
}

/// A REST request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// What follows the base URL, from its first `/`.
    pub path_and_query: String,
    /// Its cost in the venue's units.
    pub weight: u32,
}

/// The protocol of a venue; `None` for venues known from files only.
#[must_use]
pub fn of(venue: Venue) -> Option<&'static dyn Protocol> {
    match venue {
        Venue::BinanceSpot => Some(&crate::binance::SPOT),
        Venue::BinanceUsdm => Some(&crate::binance::USDM),
        Venue::BinanceCoinm => Some(&crate::binance::COINM),
        Venue::Bitstamp => Some(&crate::bitstamp::BITSTAMP),
        Venue::Deribit => Some(&crate::deribit::DERIBIT),
        Venue::BybitSpot => Some(&crate::bybit::SPOT),
        Venue::BybitLinear => Some(&crate::bybit::LINEAR),
        Venue::Okx => Some(&crate::okx::OKX),
        Venue::Kraken => Some(&crate::kraken::SPOT),
        Venue::CoinbaseAdvanced => Some(&crate::coinbase::advanced::ADVANCED),
        Venue::CoinbaseExchange => Some(&crate::coinbase::exchange::EXCHANGE),
        _ => None,
    }
}
