//! Bytes to borrowed messages: books, tops, trades, acknowledgements, heartbeats, REST books.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys and
//! types are tolerated; numbers stay text. A frame is one flat object, read in one pass; what was
//! understood before the byte that broke it is reported as the [`Subject`]. Levels are read by
//! [`Levels`], where their errors appear.

use super::sequence::update_ids;
use crate::coinbase::{aggressor, elements, string, time_ns};
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::fields::{optional, required, uint};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    Subject, TopMessage, TradeMessage, UpdateIds, Visit,
};
use crate::topic::Channel;

/// Decodes a WebSocket frame and hands its messages to `visit`.
///
/// # Errors
/// Not a JSON object, or a known event without a field it must have.
pub fn decode<'a>(frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeError<'a>> {
    let mut fields = Fields::default();
    fields
        .read(frame)
        .and_then(|()| fields.messages(visit))
        .map_err(|kind| DecodeError { kind, subject: fields.subject() })
}

/// Decodes the answer to a request for a product's book.
///
/// # Errors
/// Not a JSON object, or without a time or one of the sides.
pub fn decode_snapshot(body: &[u8]) -> Result<BookMessage<'_>, DecodeErrorKind> {
    let mut fields = Fields::default();
    fields.read(body)?;
    if fields.time.is_none() {
        return Err(DecodeErrorKind::MissingField("time"));
    }
    fields.whole_book(b"")
}

/// The raw values of every key that matters in any message.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    product: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    changes: Option<&'a [u8]>,
    bids: Option<&'a [u8]>,
    asks: Option<&'a [u8]>,
    sequence: Option<&'a [u8]>,
    trade_id: Option<&'a [u8]>,
    last_trade_id: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
    size: Option<&'a [u8]>,
    price: Option<&'a [u8]>,
    best_bid: Option<&'a [u8]>,
    best_bid_size: Option<&'a [u8]>,
    best_ask: Option<&'a [u8]>,
    best_ask_size: Option<&'a [u8]>,
    channels: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
    reason: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, text: &'a [u8]) -> Result<(), DecodeErrorKind> {
        let mut cursor = Cursor::new(text);
        cursor.object(|key, cursor| {
            let value = cursor.value()?;
            self.set(key, value);
            Ok::<(), JsonError>(())
        })?;
        Ok(cursor.end()?)
    }

    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        let field = match key {
            b"type" => &mut self.kind,
            b"product_id" => &mut self.product,
            b"time" => &mut self.time,
            b"changes" => &mut self.changes,
            b"bids" => &mut self.bids,
            b"asks" => &mut self.asks,
            b"sequence" => &mut self.sequence,
            b"trade_id" => &mut self.trade_id,
            b"last_trade_id" => &mut self.last_trade_id,
            b"side" => &mut self.side,
            b"size" => &mut self.size,
            b"price" => &mut self.price,
            b"best_bid" => &mut self.best_bid,
            b"best_bid_size" => &mut self.best_bid_size,
            b"best_ask" => &mut self.best_ask,
            b"best_ask_size" => &mut self.best_ask_size,
            b"channels" => &mut self.channels,
            b"message" => &mut self.message,
            b"reason" => &mut self.reason,
            _ => return,
        };
        *field = Some(raw);
    }

    fn kind(&self) -> &'a [u8] {
        self.kind.and_then(string).unwrap_or(b"")
    }

    fn subject(&self) -> Subject<'a> {
        let channel = match self.kind() {
            b"snapshot" | b"l2update" => Some(Channel::Depth),
            b"ticker" => Some(Channel::BookTicker),
            b"match" | b"last_match" => Some(Channel::Trade),
            _ => None,
        };
        Subject { symbol: self.product.and_then(string), channel }
    }

    fn messages(&self, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        match self.kind() {
            b"l2update" => visit(Message::Book(self.update()?)),
            b"snapshot" => visit(Message::Book(self.whole_book(self.symbol()?)?)),
            b"ticker" => visit(Message::Top(self.top()?)),
            b"match" => {
                let trade = self.trade(false)?;
                // Ids count up by one: the one before must have been here.
                let (symbol, trade_id) = (trade.symbol, trade.trade_id.saturating_sub(1));
                visit(Message::LastTrade { symbol, trade_id });
                visit(Message::Trade(trade));
            }
            b"last_match" => visit(Message::Trade(self.trade(true)?)),
            b"heartbeat" => {
                let symbol = self.symbol()?;
                let trade_id = required(self.last_trade_id, "last_trade_id", uint)?;
                visit(Message::LastTrade { symbol, trade_id });
                visit(Message::Heartbeat);
            }
            b"subscriptions" => acks(self.channels.unwrap_or(b"[]"), visit)?,
            b"error" => {
                let error = Some(self.reason.or(self.message).unwrap_or(br#""error""#));
                visit(Message::Ack(Ack { of: AckOf::Unknown, error }));
            }
            other => visit(Message::Ignored(other)),
        }
        Ok(())
    }

    fn symbol(&self) -> Result<&'a [u8], DecodeErrorKind> {
        required(self.product, "product_id", string)
    }

    fn ids(time_ns: i64) -> Result<UpdateIds, DecodeErrorKind> {
        update_ids(time_ns).ok_or(DecodeErrorKind::BadField("time"))
    }

    fn update(&self) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let ts_venue_ns = required(self.time, "time", time_ns)?;
        let levels = |raw| Levels::new(raw, LevelStyle::Sided);
        Ok(BookMessage {
            symbol: self.symbol()?,
            kind: BookKind::Update,
            ids: Self::ids(ts_venue_ns)?,
            ts_venue_ns,
            ts_sent_ns: 0,
            levels: [required(self.changes, "changes", levels)?, Levels::none()],
            checksum: None,
        })
    }

    /// From the stream, where the time may be missing, or from REST.
    fn whole_book(&self, symbol: &'a [u8]) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let ts_venue_ns = optional(self.time, "time", time_ns)?.unwrap_or(0);
        let levels = |raw| Levels::new(raw, LevelStyle::Pair);
        Ok(BookMessage {
            symbol,
            kind: BookKind::Snapshot,
            ids: Self::ids(ts_venue_ns)?,
            ts_venue_ns,
            ts_sent_ns: 0,
            levels: [required(self.bids, "bids", levels)?, required(self.asks, "asks", levels)?],
            checksum: None,
        })
    }

    /// Sent with every match only ("Ticker channel"); its sizes are missing on older records, and are
    /// zero then.
    fn top(&self) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let size = |raw, name| optional(raw, name, scalar).map(|size| size.unwrap_or(b"0"));
        let bid_size = size(self.best_bid_size, "best_bid_size")?;
        let ask_size = size(self.best_ask_size, "best_ask_size")?;
        Ok(TopMessage {
            symbol: self.symbol()?,
            ts_venue_ns: optional(self.time, "time", time_ns)?.unwrap_or(0),
            ts_sent_ns: 0,
            update_id: required(self.sequence, "sequence", uint)?,
            bid: Some((required(self.best_bid, "best_bid", scalar)?, bid_size)),
            ask: Some((required(self.best_ask, "best_ask", scalar)?, ask_size)),
        })
    }

    /// `side` is the maker's ("Matches channel").
    fn trade(&self, is_history: bool) -> Result<TradeMessage<'a>, DecodeErrorKind> {
        Ok(TradeMessage {
            symbol: self.symbol()?,
            ts_venue_ns: required(self.time, "time", time_ns)?,
            ts_sent_ns: 0,
            trade_id: required(self.trade_id, "trade_id", uint)?,
            price: required(self.price, "price", scalar)?,
            qty: required(self.size, "size", scalar)?,
            aggressor: required(self.side, "side", aggressor)?,
            is_history,
        })
    }
}

/// The venue answers a request with all that is subscribed on the connection.
fn acks<'a>(channels: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
    let mut cursor = Cursor::new(channels);
    let mut more = cursor.enter_array()?;
    while more {
        let (mut name, mut products) = (None, None);
        cursor.object(|key, cursor| {
            let value = cursor.value()?;
            match key {
                b"name" => name = string(value),
                b"product_ids" => products = Some(value),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        let channel = match name {
            Some(b"level2" | b"level2_batch") => Some(Channel::Depth),
            Some(b"ticker") => Some(Channel::BookTicker),
            Some(b"matches") => Some(Channel::Trade),
            _ => None,
        };
        if let (Some(channel), Some(products)) = (channel, products) {
            elements(products, |_, raw| {
                if let Some(symbol) = string(raw) {
                    let of = AckOf::Topic { symbol, channel };
                    visit(Message::Ack(Ack { of, error: None }));
                }
            })?;
        }
        more = cursor.next_element()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
