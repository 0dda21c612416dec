//! What a frame of any venue can say: borrowed messages in one vocabulary.
//!
//! Invariants: a message points into its frame and owns nothing; prices and quantities are still text,
//! because only an instrument's exponents can read them; times are nanoseconds since the epoch, UTC, and
//! 0 where the venue does not say; ids are the venue's own and 0 where it has none.

use super::levels::Levels;
use super::sequence::UpdateIds;
use crate::Side;
use crate::topic::Channel;

/// One message of a frame; a frame may hold several.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// An order book, whole or in part.
    Book(BookMessage<'a>),
    /// Best bid and offer.
    Top(TopMessage<'a>),
    /// A trade on the market.
    Trade(TradeMessage<'a>),
    /// The simulator's oracle.
    Oracle(OracleMessage<'a>),
    /// Answer to a subscription request of ours.
    Ack(Ack<'a>),
    /// The frame's number, on venues that count every frame of a connection by one. Comes first of the
    /// messages of its frame.
    ConnectionSequence(u64),
    /// The id of the newest trade of an instrument that should have been received by now.
    LastTrade {
        /// The venue's spelling of the instrument.
        symbol: &'a [u8],
        /// The trade id.
        trade_id: u64,
    },
    /// The venue wants this text sent back at once.
    Respond(&'static str),
    /// The venue is about to close the connection and asks for a new one; what it said.
    ReconnectRequested(&'static str),
    /// A sign of life that belongs to no topic: heartbeat, pong, system status.
    Heartbeat,
    /// An event of no use here; its type, empty where it has none.
    Ignored(&'a [u8]),
}

/// Whether a book message holds the whole book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookKind {
    /// Every level the venue's channel carries: forget what was known.
    Snapshot,
    /// Changed levels: absolute quantities at prices, 0 deletes.
    Update,
}

/// An order book, whole or in part.
#[derive(Clone, Debug)]
pub struct BookMessage<'a> {
    /// The venue's spelling of the instrument; empty in a REST answer that does not repeat it.
    pub symbol: &'a [u8],
    /// Whole or in part.
    pub kind: BookKind,
    /// What it continues from and ends at.
    pub ids: UpdateIds,
    /// When the matching engine did it.
    pub ts_venue_ns: i64,
    /// When the venue sent it.
    pub ts_sent_ns: i64,
    /// Bids and offers; a level that names its side belongs to that one, whichever list it is in.
    pub levels: [Levels<'a>; 2],
    /// The venue's checksum of the book after this message.
    pub checksum: Option<u32>,
}

/// The top of the book. A side that is `None` did not change.
#[derive(Clone, Copy, Debug)]
pub struct TopMessage<'a> {
    /// The venue's spelling of the instrument.
    pub symbol: &'a [u8],
    /// When the matching engine did it.
    pub ts_venue_ns: i64,
    /// When the venue sent it.
    pub ts_sent_ns: i64,
    /// Update id of the book this is the top of.
    pub update_id: u64,
    /// Price and quantity of the best bid; an empty side has zeros.
    pub bid: Option<(&'a [u8], &'a [u8])>,
    /// Price and quantity of the best offer.
    pub ask: Option<(&'a [u8], &'a [u8])>,
}

/// A trade, executed on the market.
#[derive(Clone, Copy, Debug)]
pub struct TradeMessage<'a> {
    /// The venue's spelling of the instrument.
    pub symbol: &'a [u8],
    /// When it happened.
    pub ts_venue_ns: i64,
    /// When the venue sent it.
    pub ts_sent_ns: i64,
    /// The venue's number of it; 0 where that is no number.
    pub trade_id: u64,
    /// Price.
    pub price: &'a [u8],
    /// Quantity.
    pub qty: &'a [u8],
    /// Whose order came in: `Bid` when the buyer took a resting offer.
    pub aggressor: Side,
    /// It happened before the subscription (venues send a few old trades first).
    pub is_history: bool,
}

/// `oracle`, from our simulator only.
#[derive(Clone, Copy, Debug)]
pub struct OracleMessage<'a> {
    /// The simulator's spelling of the instrument.
    pub symbol: &'a [u8],
    /// The time it holds at.
    pub ts_venue_ns: i64,
    /// The horizon, ms.
    pub horizon_ms: u32,
    /// Probability of an up move, given a move.
    pub p_up: &'a [u8],
}

/// Answer to a subscription request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// What it answers.
    pub of: AckOf<'a>,
    /// The venue's words when it refused, as JSON text.
    pub error: Option<&'a [u8]>,
}

/// What an acknowledgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOf<'a> {
    /// The request of that id.
    Request(u64),
    /// One topic.
    Topic {
        /// The venue's spelling of the instrument.
        symbol: &'a [u8],
        /// Its channel.
        channel: Channel,
    },
    /// It does not say.
    Unknown,
}
