//! What a frame can say: borrowed messages whose numbers are still text where only an instrument's
//! exponent can read them. Times are the venue's, milliseconds since the epoch unless spot was asked for
//! microseconds.

use super::decode::Levels;

/// A frame of the venue.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// An order book update.
    Depth(Depth<'a>),
    /// Best bid and offer.
    BookTicker(BookTicker<'a>),
    /// A trade on the market.
    Trade(Trade<'a>),
    /// The simulator's oracle.
    Oracle(Oracle<'a>),
    /// Answer to a request of ours.
    Ack(Ack<'a>),
    /// An event of no use here; its type, empty when it has none.
    Ignored(&'a [u8]),
}

/// `depthUpdate`: absolute quantities at prices.
#[derive(Clone, Debug)]
pub struct Depth<'a> {
    /// The venue's spelling of the instrument.
    pub symbol: &'a [u8],
    /// `E`: when the venue sent it, ms.
    pub event_ms: i64,
    /// `T`: when the matching engine did it, ms; futures only.
    pub transact_ms: Option<i64>,
    /// `U`: first update id covered.
    pub first_id: u64,
    /// `u`: last update id covered.
    pub final_id: u64,
    /// `pu`: last update id of the message before; futures only.
    pub prev_id: Option<u64>,
    /// Changed bids.
    pub bids: Levels<'a>,
    /// Changed offers.
    pub asks: Levels<'a>,
}

/// `bookTicker`: the top of the book. On spot it has no event type and no times.
#[derive(Clone, Copy, Debug)]
pub struct BookTicker<'a> {
    /// The venue's spelling of the instrument.
    pub symbol: &'a [u8],
    /// `E`, ms; futures only.
    pub event_ms: Option<i64>,
    /// `T`, ms; futures only.
    pub transact_ms: Option<i64>,
    /// `u`: update id of the book this is the top of.
    pub update_id: u64,
    /// Best bid price.
    pub bid_price: &'a [u8],
    /// Quantity at the best bid.
    pub bid_qty: &'a [u8],
    /// Best offer price.
    pub ask_price: &'a [u8],
    /// Quantity at the best offer.
    pub ask_qty: &'a [u8],
}

/// `trade`, executed on the market (`X` is `MARKET` or absent).
#[derive(Clone, Copy, Debug)]
pub struct Trade<'a> {
    /// The venue's spelling of the instrument.
    pub symbol: &'a [u8],
    /// `E`: when the venue sent it, ms.
    pub event_ms: i64,
    /// `T`: when it happened, ms.
    pub transact_ms: i64,
    /// `t`: trade id.
    pub trade_id: u64,
    /// Price.
    pub price: &'a [u8],
    /// Quantity.
    pub qty: &'a [u8],
    /// `m`: the buyer's order was resting, so the aggressor sold.
    pub buyer_was_maker: bool,
}

/// `oracle`, from our simulator only.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'a> {
    /// The simulator's spelling of the instrument.
    pub symbol: &'a [u8],
    /// `E`: the time it holds at, ms.
    pub event_ms: i64,
    /// `h`: the horizon, ms.
    pub horizon_ms: u32,
    /// `p`: probability of an up move, given a move.
    pub p_up: &'a [u8],
}

/// Answer to a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The id of the request, where it is one of ours.
    pub id: Option<u64>,
    /// The venue's words when it refused, as JSON text.
    pub error: Option<&'a [u8]>,
}

/// The body of a REST depth request.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The update id the book stands at.
    pub last_update_id: u64,
    /// `E`, ms; futures only.
    pub event_ms: Option<i64>,
    /// `T`, ms; futures only.
    pub transact_ms: Option<i64>,
    /// Bids, best first.
    pub bids: Levels<'a>,
    /// Offers, best first.
    pub asks: Levels<'a>,
}
