//! Bytes to borrowed messages: books, tops, trades, acknowledgements, heartbeats, each frame's number.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys,
//! channels and event types are tolerated; numbers stay text. A frame is read in one pass as it comes
//! from the venue (channel, time and number before the events).
//!
//! The frame's number is told before its first message, and also when the frame's book cannot be read
//! but its product is known: then that product alone is repaired. Where the product is not known the
//! number is not told either, so that the next frame shows the loss. (An event that breaks a frame is
//! taken to be its only one; every book frame on record holds one event.)

use super::sequence::update_ids;
use crate::coinbase::{aggressor, elements, string, time_ns};
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::fields::{quoted_uint, required};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    Subject, TopMessage, TradeMessage, Visit,
};
use crate::topic::Channel;

/// How the venue writes a level.
const LEVELS: LevelStyle =
    LevelStyle::Object { price: b"price_level", qty: b"new_quantity", side: Some(b"side") };

/// Trades whose places in a frame are noted at once; a frame may hold more.
const TRADES_AT_ONCE: usize = 32;

/// Decodes a WebSocket frame and hands its messages to `visit`.
///
/// # Errors
/// Not a JSON object, or a known event without a field it must have.
pub fn decode<'a>(frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeError<'a>> {
    let mut reader = Reader::default();
    reader.read(frame, visit).map_err(|kind| {
        let subject = reader.subject;
        if subject.symbol.is_some() {
            reader.tell_number(visit);
        }
        DecodeError { kind, subject }
    })
}

/// What is known of a frame while it is read.
#[derive(Clone, Copy, Debug, Default)]
struct Reader<'a> {
    channel: Option<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
    number: Option<&'a [u8]>,
    /// Type and text of a refusal, which has no channel.
    kind: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
    is_number_told: bool,
    subject: Subject<'a>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        let mut cursor = Cursor::new(frame);
        let (mut late_events, mut has_events) = (None, false);
        cursor.object(|key, cursor| {
            if key == b"events" {
                has_events = true;
                if self.is_head_known() {
                    return self.events(cursor, visit);
                }
                late_events = Some(cursor.value()?);
                return Ok(());
            }
            self.set(key, cursor.value()?);
            Ok::<(), DecodeErrorKind>(())
        })?;
        cursor.end()?;
        if let Some(raw) = late_events {
            self.events(&mut Cursor::new(raw), visit)?;
        }
        self.finish(has_events, visit)
    }

    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        match key {
            b"channel" => {
                self.channel = string(raw);
                self.subject.channel = match self.channel {
                    Some(b"l2_data") => Some(Channel::Depth),
                    Some(b"ticker") => Some(Channel::BookTicker),
                    Some(b"market_trades") => Some(Channel::Trade),
                    _ => None,
                };
            }
            b"timestamp" => self.timestamp = Some(raw),
            b"sequence_num" => self.number = Some(raw),
            b"type" => self.kind = string(raw),
            b"message" => self.message = Some(raw),
            _ => {}
        }
    }

    fn is_head_known(&self) -> bool {
        self.channel.is_some() && self.timestamp.is_some() && self.number.is_some()
    }

    fn number(&self) -> Result<u64, DecodeErrorKind> {
        required(self.number, "sequence_num", quoted_uint)
    }

    fn ts_sent_ns(&self) -> Result<i64, DecodeErrorKind> {
        required(self.timestamp, "timestamp", time_ns)
    }

    /// Tells the frame's number once, if it has one.
    fn tell_number(&mut self, visit: &mut Visit<'_, 'a>) {
        if let Ok(number) = self.number()
            && !std::mem::replace(&mut self.is_number_told, true)
        {
            visit(Message::ConnectionSequence(number));
        }
    }

    /// What a frame says by itself.
    fn finish(
        &mut self,
        has_events: bool,
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeErrorKind> {
        if self.subject.channel.is_some() {
            self.number()?;
            if !has_events {
                return Err(DecodeErrorKind::MissingField("events"));
            }
        }
        self.tell_number(visit);
        match (self.channel, self.kind) {
            (Some(b"l2_data" | b"ticker" | b"market_trades" | b"subscriptions"), _) => {}
            (Some(b"heartbeats"), _) => visit(Message::Heartbeat),
            (None, Some(b"error")) => {
                let error = Some(self.message.unwrap_or(br#""error""#));
                visit(Message::Ack(Ack { of: AckOf::Unknown, error }));
            }
            (channel, kind) => visit(Message::Ignored(channel.or(kind).unwrap_or(b""))),
        }
        Ok(())
    }

    fn events(
        &mut self,
        cursor: &mut Cursor<'a>,
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeErrorKind> {
        if self.subject.channel != Some(Channel::Depth) {
            self.tell_number(visit);
        }
        let mut more = cursor.enter_array()?;
        while more {
            match self.channel {
                Some(b"l2_data") => self.book(cursor, visit)?,
                Some(b"ticker") => self.tops(cursor, visit)?,
                Some(b"market_trades") => self.trades(cursor, visit)?,
                Some(b"subscriptions") => acks(cursor, visit)?,
                _ => _ = cursor.value()?,
            }
            more = cursor.next_element()?;
        }
        Ok(())
    }

    fn book(
        &mut self,
        cursor: &mut Cursor<'a>,
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeErrorKind> {
        let (mut kind, mut product, mut updates) = (None, None, None);
        self.subject.symbol = None;
        cursor.object(|key, cursor| {
            match key {
                b"type" => kind = Some(cursor.value()?),
                b"product_id" => {
                    product = Some(cursor.value()?);
                    self.subject.symbol = product.and_then(string);
                }
                b"updates" => updates = Some(cursor.value()?),
                _ => _ = cursor.value()?,
            }
            Ok::<(), JsonError>(())
        })?;
        let symbol = required(product, "product_id", string)?;
        let kind = match required(kind, "type", string)? {
            b"snapshot" => BookKind::Snapshot,
            b"update" => BookKind::Update,
            _ => return Err(DecodeErrorKind::BadField("type")),
        };
        let levels = required(updates, "updates", |raw| Levels::new(raw, LEVELS))?;
        let book = BookMessage {
            symbol,
            kind,
            ids: update_ids(self.number()?),
            ts_venue_ns: first_event_time_ns(updates.unwrap_or(b"[]"))?,
            ts_sent_ns: self.ts_sent_ns()?,
            levels: [levels, Levels::none()],
            checksum: None,
        };
        self.tell_number(visit);
        visit(Message::Book(book));
        Ok(())
    }

    fn tops(
        &mut self,
        cursor: &mut Cursor<'a>,
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeErrorKind> {
        let mut cursor = Cursor::new(list(cursor, "tickers")?.items);
        let mut more = cursor.enter_array()?;
        while more {
            let top = self.top(&mut cursor)?;
            visit(Message::Top(top));
            more = cursor.next_element()?;
        }
        Ok(())
    }

    /// Says when it was sent, not when the book became so.
    fn top(&mut self, cursor: &mut Cursor<'a>) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let (mut product, mut bid, mut bid_qty, mut ask, mut ask_qty) = Default::default();
        self.subject.symbol = None;
        cursor.object(|key, cursor| {
            let raw = Some(cursor.value()?);
            match key {
                b"product_id" => {
                    product = raw;
                    self.subject.symbol = raw.and_then(string);
                }
                b"best_bid" => bid = raw,
                b"best_bid_quantity" => bid_qty = raw,
                b"best_ask" => ask = raw,
                b"best_ask_quantity" => ask_qty = raw,
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        let bid_qty = required(bid_qty, "best_bid_quantity", scalar)?;
        let ask_qty = required(ask_qty, "best_ask_quantity", scalar)?;
        Ok(TopMessage {
            symbol: required(product, "product_id", string)?,
            ts_venue_ns: 0,
            ts_sent_ns: self.ts_sent_ns()?,
            update_id: self.number()?,
            bid: Some((required(bid, "best_bid", scalar)?, bid_qty)),
            ask: Some((required(ask, "best_ask", scalar)?, ask_qty)),
        })
    }

    /// The venue writes the newest trade first; they are visited in the order in which they happened.
    fn trades(
        &mut self,
        cursor: &mut Cursor<'a>,
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeErrorKind> {
        let List { kind, items: trades } = list(cursor, "trades")?;
        let is_history = required(kind, "type", string)? == b"snapshot";
        let mut end = elements(trades, |_, _| {})?;
        while end > 0 {
            let start = end.saturating_sub(TRADES_AT_ONCE);
            let mut places = [&b""[..]; TRADES_AT_ONCE];
            elements(trades, |index, raw| {
                if (start..end).contains(&index) {
                    places[index - start] = raw;
                }
            })?;
            for raw in places[..end - start].iter().rev() {
                visit(Message::Trade(self.trade(raw, is_history)?));
            }
            end = start;
        }
        Ok(())
    }

    fn trade(
        &mut self,
        raw: &'a [u8],
        is_history: bool,
    ) -> Result<TradeMessage<'a>, DecodeErrorKind> {
        let (mut product, mut id, mut price) = Default::default();
        let (mut size, mut time, mut side) = Default::default();
        self.subject.symbol = None;
        Cursor::new(raw).object(|key, cursor| {
            let raw = Some(cursor.value()?);
            match key {
                b"product_id" => {
                    product = raw;
                    self.subject.symbol = raw.and_then(string);
                }
                b"trade_id" => id = raw,
                b"price" => price = raw,
                b"size" => size = raw,
                b"time" => time = raw,
                b"side" => side = raw,
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(TradeMessage {
            symbol: required(product, "product_id", string)?,
            ts_venue_ns: required(time, "time", time_ns)?,
            ts_sent_ns: self.ts_sent_ns()?,
            trade_id: required(id, "trade_id", quoted_uint)?,
            price: required(price, "price", scalar)?,
            qty: required(size, "size", scalar)?,
            // Not documented; on record (`tests/captures_coinbase.rs`) it is the maker's.
            aggressor: required(side, "side", aggressor)?,
            is_history,
        })
    }
}

/// What an event that lists things says, raw.
#[derive(Clone, Copy, Debug)]
struct List<'a> {
    kind: Option<&'a [u8]>,
    items: &'a [u8],
}

/// The next event, whose list is under `name`.
fn list<'a>(cursor: &mut Cursor<'a>, name: &'static str) -> Result<List<'a>, DecodeErrorKind> {
    let (mut kind, mut items) = (None, None);
    cursor.object(|key, cursor| {
        let value = cursor.value()?;
        if key == name.as_bytes() {
            items = Some(value);
        } else if key == b"type" {
            kind = Some(value);
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(List { kind, items: items.ok_or(DecodeErrorKind::MissingField(name))? })
}

/// The time of the matching engine stands in every level, the same in all of an event; 0 where there is
/// none.
fn first_event_time_ns(updates: &[u8]) -> Result<i64, DecodeErrorKind> {
    let mut cursor = Cursor::new(updates);
    if !cursor.enter_array()? {
        return Ok(0);
    }
    let mut time = None;
    cursor.object(|key, cursor| {
        let value = cursor.value()?;
        if key == b"event_time" {
            time = Some(value);
        }
        Ok::<(), JsonError>(())
    })?;
    required(time, "event_time", time_ns)
}

/// The venue answers a request with all that is subscribed on the connection.
fn acks<'a>(cursor: &mut Cursor<'a>, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
    cursor.object(|key, cursor| {
        if key != b"subscriptions" {
            cursor.value()?;
            return Ok(());
        }
        cursor.object(|name, cursor| {
            let channel = match name {
                b"level2" => Some(Channel::Depth),
                b"ticker" => Some(Channel::BookTicker),
                b"market_trades" => Some(Channel::Trade),
                _ => None,
            };
            let products = cursor.value()?;
            let Some(channel) = channel else { return Ok(()) };
            elements(products, |_, raw| {
                if let Some(symbol) = string(raw) {
                    let of = AckOf::Topic { symbol, channel };
                    visit(Message::Ack(Ack { of, error: None }));
                }
            })?;
            Ok::<(), DecodeErrorKind>(())
        })
    })
}

#[cfg(test)]
mod tests;
