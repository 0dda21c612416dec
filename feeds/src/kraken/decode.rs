//! WebSocket v2 frames to borrowed messages: books, tickers, trades, acknowledgements, heartbeats.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys
//! and unknown channels are tolerated. A frame is read in one pass (in two where `data` precedes what it
//! is of), and what was understood before the byte that broke it is reported as the [`Subject`]. Prices
//! and quantities are JSON numbers whose digits the checksums are made of: their text is handed on, zeros
//! at the end included.

use super::sequence::IDS;
use crate::Side;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::fields::{optional, required, rfc3339, uint};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    Subject, TopMessage, TradeMessage, Visit,
};
use crate::topic::Channel;

/// How v2 writes a level.
const LEVEL: LevelStyle = LevelStyle::Object { price: b"price", qty: b"qty", side: None };

/// Decodes a frame and hands each of its messages to `visit`.
///
/// # Errors
/// Not a JSON object, or a message of a known channel without a field it must have.
pub fn decode<'a>(frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeError<'a>> {
    let mut reader = Reader::default();
    reader.frame(frame, visit).map_err(|kind| DecodeError { kind, subject: reader.subject() })
}

/// What was read of a frame so far.
#[derive(Debug, Default)]
struct Reader<'a> {
    head: Head<'a>,
    /// The newest element of `data`.
    entry: Entry<'a>,
}

/// Members of the frame itself, raw.
#[derive(Clone, Copy, Debug, Default)]
struct Head<'a> {
    channel: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    result: Option<&'a [u8]>,
    success: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
    has_data: bool,
}

impl<'a> Head<'a> {
    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        let field = match key {
            b"channel" => &mut self.channel,
            b"type" => &mut self.kind,
            b"method" => &mut self.method,
            b"result" => &mut self.result,
            b"success" => &mut self.success,
            // The refusal of too many messages has been seen with a capital.
            b"error" | b"Error" => &mut self.error,
            _ => return,
        };
        *field = Some(raw);
    }

    /// The channel, where it is one of ours.
    fn known(&self) -> Option<Channel> {
        channel(self.channel.and_then(scalar)?)
    }

    fn message(&self) -> Message<'a> {
        match (self.channel.and_then(scalar), self.method.and_then(scalar)) {
            (Some(b"heartbeat" | b"status"), _) | (_, Some(b"pong")) => Message::Heartbeat,
            (Some(other), _) => Message::Ignored(other),
            (None, None) if self.error.is_none() => Message::Ignored(b""),
            (None, method) => Message::Ack(self.ack(method)),
        }
    }

    fn ack(&self, method: Option<&[u8]>) -> Ack<'a> {
        let refusal = self.success.filter(|raw| *raw == b"false");
        let of = match method {
            Some(b"subscribe") => self.result.and_then(acknowledged).unwrap_or(AckOf::Unknown),
            _ => AckOf::Unknown,
        };
        Ack { of, error: self.error.or(refusal) }
    }
}

/// What the `result` of a subscription says was subscribed.
fn acknowledged(result: &[u8]) -> Option<AckOf<'_>> {
    let (mut name, mut symbol) = (None, None);
    let walk = Cursor::new(result).object(|key, cursor| {
        let value = cursor.value()?;
        match key {
            b"channel" => name = scalar(value),
            b"symbol" => symbol = scalar(value),
            _ => {}
        }
        Ok::<(), JsonError>(())
    });
    walk.ok()?;
    Some(AckOf::Topic { symbol: symbol?, channel: channel(name?)? })
}

fn channel(name: &[u8]) -> Option<Channel> {
    match name {
        b"book" => Some(Channel::Depth),
        b"ticker" => Some(Channel::BookTicker),
        b"trade" => Some(Channel::Trade),
        _ => None,
    }
}

/// Members of one element of `data` that matter in any channel, raw.
#[derive(Clone, Copy, Debug, Default)]
struct Entry<'a> {
    symbol: Option<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
    bids: Option<&'a [u8]>,
    asks: Option<&'a [u8]>,
    checksum: Option<&'a [u8]>,
    bid: Option<&'a [u8]>,
    bid_qty: Option<&'a [u8]>,
    ask: Option<&'a [u8]>,
    ask_qty: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
    price: Option<&'a [u8]>,
    qty: Option<&'a [u8]>,
    trade_id: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        let field = match key {
            b"symbol" => &mut self.symbol,
            b"timestamp" => &mut self.timestamp,
            b"bids" => &mut self.bids,
            b"asks" => &mut self.asks,
            b"checksum" => &mut self.checksum,
            b"bid" => &mut self.bid,
            b"bid_qty" => &mut self.bid_qty,
            b"ask" => &mut self.ask,
            b"ask_qty" => &mut self.ask_qty,
            b"side" => &mut self.side,
            b"price" => &mut self.price,
            b"qty" => &mut self.qty,
            b"trade_id" => &mut self.trade_id,
            _ => return,
        };
        *field = Some(raw);
    }

    fn book(&self, kind: BookKind) -> Result<BookMessage<'a>, DecodeErrorKind> {
        // A side without changes may be left out; a book without both is none.
        let side = |raw: Option<&'a [u8]>, name, other: Option<&'a [u8]>| match (raw, other) {
            (None, Some(_)) => Ok(Levels::none()),
            _ => required(raw, name, |raw| Levels::new(raw, LEVEL)),
        };
        Ok(BookMessage {
            symbol: required(self.symbol, "symbol", scalar)?,
            kind,
            ids: IDS,
            ts_venue_ns: optional(self.timestamp, "timestamp", rfc3339)?.unwrap_or(0),
            ts_sent_ns: 0,
            levels: [side(self.bids, "bids", self.asks)?, side(self.asks, "asks", self.bids)?],
            checksum: Some(required(self.checksum, "checksum", checksum)?),
        })
    }

    fn top(&self) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let bid = (required(self.bid, "bid", scalar)?, required(self.bid_qty, "bid_qty", scalar)?);
        let ask = (required(self.ask, "ask", scalar)?, required(self.ask_qty, "ask_qty", scalar)?);
        Ok(TopMessage {
            symbol: required(self.symbol, "symbol", scalar)?,
            ts_venue_ns: optional(self.timestamp, "timestamp", rfc3339)?.unwrap_or(0),
            ts_sent_ns: 0,
            update_id: 0,
            bid: Some(bid),
            ask: Some(ask),
        })
    }

    fn trade(&self, is_history: bool) -> Result<TradeMessage<'a>, DecodeErrorKind> {
        Ok(TradeMessage {
            symbol: required(self.symbol, "symbol", scalar)?,
            ts_venue_ns: required(self.timestamp, "timestamp", rfc3339)?,
            ts_sent_ns: 0,
            trade_id: required(self.trade_id, "trade_id", uint)?,
            price: required(self.price, "price", scalar)?,
            qty: required(self.qty, "qty", scalar)?,
            aggressor: required(self.side, "side", taker)?,
            is_history,
        })
    }
}

impl<'a> Reader<'a> {
    fn frame(&mut self, frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        let mut cursor = Cursor::new(frame);
        // Where `data` begins, if it came before what it is of.
        let mut early = None;
        cursor.object(|key, cursor| {
            if key != b"data" {
                self.head.set(key, cursor.value()?);
                return Ok(());
            }
            self.head.has_data = true;
            cursor.peek()?;
            match (self.head.channel, self.head.known(), self.head.kind) {
                (Some(_), Some(_), Some(_)) => self.entries(cursor, Some(&mut *visit)),
                (Some(_), None, _) => Ok(cursor.value().map(|_| ())?),
                _ => {
                    early = Some(*cursor);
                    match cursor.peek()? {
                        b'[' => self.entries(cursor, None),
                        _ => Ok(cursor.value().map(|_| ())?),
                    }
                }
            }
        })?;
        cursor.end()?;
        match (self.head.known(), early) {
            (None, _) => visit(self.head.message()),
            (Some(_), Some(mut cursor)) => self.entries(&mut cursor, Some(visit))?,
            (Some(_), None) if !self.head.has_data => {
                return Err(DecodeErrorKind::MissingField("data"));
            }
            (Some(_), None) => {}
        }
        Ok(())
    }

    /// Walks `data`; with nobody to visit it only finds out what it is about.
    fn entries(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut visit: Option<&mut Visit<'_, 'a>>,
    ) -> Result<(), DecodeErrorKind> {
        if cursor.peek()? != b'[' {
            return Err(DecodeErrorKind::BadField("data"));
        }
        let mut more = cursor.enter_array()?;
        while more {
            self.entry = Entry::default();
            if cursor.peek()? == b'{' {
                cursor.object(|key, cursor| {
                    self.entry.set(key, cursor.value()?);
                    Ok::<(), JsonError>(())
                })?;
            } else {
                cursor.value()?;
            }
            if let Some(visit) = &mut visit {
                visit(self.message()?);
            }
            more = cursor.next_element()?;
        }
        Ok(())
    }

    fn message(&self) -> Result<Message<'a>, DecodeErrorKind> {
        let is_snapshot = required(self.head.kind, "type", |raw| match raw {
            br#""snapshot""# => Some(true),
            br#""update""# => Some(false),
            _ => None,
        })?;
        let kind = if is_snapshot { BookKind::Snapshot } else { BookKind::Update };
        Ok(match self.head.known() {
            Some(Channel::Depth) => Message::Book(self.entry.book(kind)?),
            Some(Channel::BookTicker) => Message::Top(self.entry.top()?),
            Some(Channel::Trade) => Message::Trade(self.entry.trade(is_snapshot)?),
            Some(Channel::Oracle) | None => self.head.message(),
        })
    }

    fn subject(&self) -> Subject<'a> {
        let entry = &self.entry;
        let is_book = entry.bids.is_some() || entry.asks.is_some() || entry.checksum.is_some();
        let channel = match self.head.channel {
            Some(_) => self.head.known(),
            None => is_book.then_some(Channel::Depth),
        };
        Subject { symbol: entry.symbol.and_then(scalar), channel }
    }
}

/// `side` of a trade: whose order came in ("Trade").
fn taker(raw: &[u8]) -> Option<Side> {
    match raw {
        br#""buy""# => Some(Side::Bid),
        br#""sell""# => Some(Side::Ask),
        _ => None,
    }
}

/// A checksum, with or without quotes.
pub(super) fn checksum(raw: &[u8]) -> Option<u32> {
    u32::try_from(uint(scalar(raw)?)?).ok()
}

#[cfg(test)]
mod tests;
