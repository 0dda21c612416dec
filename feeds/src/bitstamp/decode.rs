//! Bytes to borrowed messages: book updates, tops, trades, acknowledgements, REST books.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys,
//! events and channels are tolerated. A frame is read in one pass. The venue names the channel *after* the
//! data, so a frame that breaks within them is searched for the name, to tell its [`Subject`]: a wrong
//! guess costs one needless repair, no guess an unnoticed hole, because updates are not numbered.
//! Numbers are taken from the fields that hold them as text; the JSON numbers beside them carry binary
//! noise.

use super::sequence::update_ids;
use super::split_channel;
use crate::Side;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::fields::{micros, quoted_uint, required, uint};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    Subject, TopMessage, TradeMessage,
};
use crate::topic::Channel;

/// Decodes a WebSocket frame.
///
/// # Errors
/// Not a JSON object, or a known event without a field it must have.
pub fn decode(frame: &[u8]) -> Result<Message<'_>, DecodeError<'_>> {
    let mut fields = Fields::default();
    read_frame(frame, &mut fields).and_then(|()| fields.message()).map_err(|kind| {
        let channel = fields.channel.and_then(scalar).and_then(split_channel);
        let (symbol, channel) = channel.or_else(|| search_channel(frame)).unzip();
        DecodeError { kind, subject: Subject { symbol, channel } }
    })
}

/// Decodes the body of a REST order book.
///
/// # Errors
/// Not a JSON object, or without a time or one of the sides.
pub fn decode_snapshot(body: &[u8]) -> Result<BookMessage<'_>, DecodeErrorKind> {
    let mut fields = Fields::default();
    let mut cursor = Cursor::new(body);
    read_data(&mut cursor, &mut fields)?;
    cursor.end()?;
    fields.book(b"", BookKind::Snapshot)
}

fn read_frame<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), DecodeErrorKind> {
    let mut cursor = Cursor::new(frame);
    cursor.object(|key, cursor| match key {
        b"event" => {
            fields.event = Some(cursor.value()?);
            Ok::<(), JsonError>(())
        }
        b"channel" => {
            fields.channel = Some(cursor.value()?);
            Ok(())
        }
        b"data" if cursor.peek()? == b'{' => read_data(cursor, fields),
        _ => cursor.value().map(|_| ()),
    })?;
    Ok(cursor.end()?)
}

fn read_data<'a>(cursor: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Result<(), JsonError> {
    cursor.object(|key, cursor| {
        let raw = cursor.value()?;
        let field = match key {
            b"microtimestamp" => &mut fields.micros,
            b"bids" => &mut fields.bids,
            b"asks" => &mut fields.asks,
            b"id" => &mut fields.trade_id,
            b"price_str" => &mut fields.price,
            b"amount_str" => &mut fields.amount,
            b"type" => &mut fields.side,
            b"message" => &mut fields.message,
            _ => return Ok(()),
        };
        *field = Some(raw);
        Ok(())
    })
}

/// The channel whose name stands in a text that is not JSON.
fn search_channel(text: &[u8]) -> Option<(&[u8], Channel)> {
    const KEY: &[u8] = br#""channel":""#;
    let at = text.windows(KEY.len()).rposition(|window| window == KEY)? + KEY.len();
    let len = text[at..].iter().position(|&byte| byte == b'"')?;
    split_channel(&text[at..at + len])
}

/// The raw values of every key that matters in any message.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    event: Option<&'a [u8]>,
    channel: Option<&'a [u8]>,
    micros: Option<&'a [u8]>,
    bids: Option<&'a [u8]>,
    asks: Option<&'a [u8]>,
    trade_id: Option<&'a [u8]>,
    price: Option<&'a [u8]>,
    amount: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn message(&self) -> Result<Message<'a>, DecodeErrorKind> {
        let Some(event) = self.event.and_then(scalar) else {
            return Ok(Message::Ignored(b""));
        };
        let topic = self.channel.and_then(scalar).and_then(split_channel);
        let of = topic.map_or(AckOf::Unknown, |(symbol, channel)| AckOf::Topic { symbol, channel });
        match (event, topic) {
            (b"data", Some((symbol, Channel::Depth))) => {
                self.book(symbol, BookKind::Update).map(Message::Book)
            }
            (b"data", Some((symbol, Channel::BookTicker))) => self.top(symbol).map(Message::Top),
            (b"trade", Some((symbol, Channel::Trade))) => self.trade(symbol).map(Message::Trade),
            (b"bts:subscription_succeeded", _) => Ok(Message::Ack(Ack { of, error: None })),
            (b"bts:error", _) => {
                Ok(Message::Ack(Ack { of, error: Some(self.message.unwrap_or(b"null")) }))
            }
            (b"bts:request_reconnect", _) => {
                Ok(Message::ReconnectRequested("bts:request_reconnect"))
            }
            (b"bts:heartbeat", _) => Ok(Message::Heartbeat),
            _ => Ok(Message::Ignored(event)),
        }
    }

    fn book(&self, symbol: &'a [u8], kind: BookKind) -> Result<BookMessage<'a>, DecodeErrorKind> {
        Ok(BookMessage {
            symbol,
            kind,
            ids: update_ids(required(self.micros, "microtimestamp", quoted_uint)?),
            ts_venue_ns: required(self.micros, "microtimestamp", micros)?,
            ts_sent_ns: 0,
            levels: self.levels()?,
            checksum: None,
        })
    }

    /// The first of the hundred levels of either side.
    fn top(&self, symbol: &'a [u8]) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let [mut bids, mut asks] = self.levels()?;
        let first = |levels: &mut Levels<'a>| match levels.next().transpose()? {
            Some(level) => Ok::<_, DecodeErrorKind>(Some((level.price, level.qty))),
            None => Ok(Some((&b"0"[..], &b"0"[..]))),
        };
        Ok(TopMessage {
            symbol,
            ts_venue_ns: required(self.micros, "microtimestamp", micros)?,
            ts_sent_ns: 0,
            update_id: required(self.micros, "microtimestamp", quoted_uint)?,
            bid: first(&mut bids)?,
            ask: first(&mut asks)?,
        })
    }

    fn trade(&self, symbol: &'a [u8]) -> Result<TradeMessage<'a>, DecodeErrorKind> {
        let aggressor = |raw: &[u8]| match raw {
            b"0" => Some(Side::Bid),
            b"1" => Some(Side::Ask),
            _ => None,
        };
        Ok(TradeMessage {
            symbol,
            ts_venue_ns: required(self.micros, "microtimestamp", micros)?,
            ts_sent_ns: 0,
            trade_id: required(self.trade_id, "id", uint)?,
            price: required(self.price, "price_str", scalar)?,
            qty: required(self.amount, "amount_str", scalar)?,
            aggressor: required(self.side, "type", aggressor)?,
            is_history: false,
        })
    }

    fn levels(&self) -> Result<[Levels<'a>; 2], DecodeErrorKind> {
        let levels = |raw: &'a [u8]| Levels::new(raw, LevelStyle::Pair);
        Ok([required(self.bids, "bids", levels)?, required(self.asks, "asks", levels)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::UpdateIds;

    const DIFF: &str = r#"{"data":{"timestamp":"1641343691","microtimestamp":"1641343691244908","bids":[["1.15979","993.02588113"],["1.14866","0.00000000"]],"asks":[["1.16601","1200.00000000"]]},"channel":"diff_order_book_bateur","event":"data"}"#;
    const TOP: &str = r#"{"data":{"timestamp":"1641343691","microtimestamp":"1641343691244908","bids":[["1.15979","993.02588113"],["1.14866","7.0"]],"asks":[]},"channel":"order_book_bateur","event":"data"}"#;
    const TRADE: &str = r#"{"data":{"id":216000477,"timestamp":"1641343699","amount":0.0792,"amount_str":"0.07920000","price":3805.44,"price_str":"3805.44","type":0,"microtimestamp":"1641343699596000","buy_order_id":1443875737346049,"sell_order_id":1443875731320832},"channel":"live_trades_ethusd","event":"trade"}"#;
    const BOOK: &str = r#"{"timestamp": "1641343695", "microtimestamp": "1641343695681418", "bids": [["3802.90", "0.60000000"]], "asks": [["3803.10", "1.5"], ["3803.20", "2"]]}"#;

    fn message(frame: &str) -> Message<'_> {
        decode(frame.as_bytes()).unwrap()
    }

    fn error(frame: &str) -> DecodeErrorKind {
        decode(frame.as_bytes()).unwrap_err().kind
    }

    fn update(frame: &str) -> BookMessage<'_> {
        match message(frame) {
            Message::Book(book) => book,
            other => panic!("{other:?}"),
        }
    }

    fn texts(levels: &Levels<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        levels.clone().map(|level| level.map(|l| (text(l.price), text(l.qty))).unwrap()).collect()
    }

    #[test]
    fn an_update_is_known_by_its_channel_and_numbered_by_its_time() {
        let book = update(DIFF);
        assert_eq!((book.symbol, book.kind), (&b"bateur"[..], BookKind::Update));
        assert_eq!(book.ids, UpdateIds::unlinked(1_641_343_691_244_908));
        assert_eq!((book.ts_venue_ns, book.ts_sent_ns), (1_641_343_691_244_908_000, 0));
        let bids = [("1.15979", "993.02588113"), ("1.14866", "0.00000000")];
        assert_eq!(texts(&book.levels[0]), bids.map(|(p, q)| (p.to_owned(), q.to_owned())));
        assert_eq!(texts(&book.levels[1]).len(), 1);
    }

    #[test]
    fn key_order_white_space_and_unknown_fields_do_not_matter() {
        let frame = r#" {"event" : "data", "new":[{"data":1}], "channel":"diff_order_book_x", "data": {"asks":[], "zz":{"bids":1},
            "bids":[ ["1" , "2"] ],"microtimestamp":"7","note":"a \"b\""}} "#;
        let book = update(frame);
        assert_eq!((book.symbol, book.ids), (&b"x"[..], UpdateIds::unlinked(7)));
        assert_eq!(texts(&book.levels[0]), [("1".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn the_top_is_the_first_of_the_hundred_levels_and_zero_where_there_is_none() {
        match message(TOP) {
            Message::Top(top) => {
                assert_eq!(top.bid, Some((&b"1.15979"[..], &b"993.02588113"[..])));
                assert_eq!(top.ask, Some((&b"0"[..], &b"0"[..])));
                assert_eq!((top.symbol, top.update_id), (&b"bateur"[..], 1_641_343_691_244_908));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            error(&TOP.replace(r#""asks":[]"#, r#""asks":[[]]"#)),
            DecodeErrorKind::BadField("levels")
        );
    }

    #[test]
    fn a_trade_is_read_from_its_texts() {
        let sold = TRADE.replace(r#""type":0"#, r#""type":1"#);
        for (frame, aggressor) in [(TRADE, Side::Bid), (&sold[..], Side::Ask)] {
            match message(frame) {
                Message::Trade(trade) => {
                    assert_eq!((trade.price, trade.qty), (&b"3805.44"[..], &b"0.07920000"[..]));
                    assert_eq!((trade.symbol, trade.trade_id), (&b"ethusd"[..], 216_000_477));
                    assert_eq!(trade.ts_venue_ns, 1_641_343_699_596_000_000);
                    assert_eq!(trade.aggressor, aggressor);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn control_events_are_told_apart() {
        let of = AckOf::Topic { symbol: b"sgbeur", channel: Channel::Depth };
        let refused = Ack { of: AckOf::Unknown, error: Some(br#""Bad subscription string.""#) };
        let table = [
            (
                r#"{"event":"bts:subscription_succeeded","channel":"diff_order_book_sgbeur","data":{}}"#,
                Message::Ack(Ack { of, error: None }),
            ),
            (
                r#"{"event":"bts:error","channel":"","data":{"code":null,"message":"Bad subscription string."}}"#,
                Message::Ack(refused),
            ),
            (
                r#"{"event":"bts:request_reconnect","channel":"","data":""}"#,
                Message::ReconnectRequested("bts:request_reconnect"),
            ),
            (
                r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#,
                Message::Heartbeat,
            ),
            (
                r#"{"event":"bts:unsubscription_succeeded","channel":"order_book_x","data":{}}"#,
                Message::Ignored(b"bts:unsubscription_succeeded"),
            ),
            (
                r#"{"event":"data","channel":"detail_order_book_x","data":{}}"#,
                Message::Ignored(b"data"),
            ),
            (
                r#"{"event":"order_created","channel":"live_orders_x"}"#,
                Message::Ignored(b"order_created"),
            ),
            (r#"{"event":7}"#, Message::Ignored(b"7")),
            ("{}", Message::Ignored(b"")),
        ];
        for (frame, expected) in table {
            assert_eq!(format!("{:?}", message(frame)), format!("{expected:?}"), "{frame}");
        }
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        use DecodeErrorKind::{BadField, Malformed, MissingField};
        let time = r#""microtimestamp":"1641343691244908","#;
        assert_eq!(error(&DIFF.replace(time, "")), MissingField("microtimestamp"));
        assert_eq!(error(&DIFF.replace("1641343691244908", "soon")), BadField("microtimestamp"));
        assert_eq!(error(&DIFF.replace(r#""asks":["#, r#""oops":["#)), MissingField("asks"));
        assert_eq!(error(&TRADE.replace(r#""type":0"#, r#""type":2"#)), BadField("type"));
        assert_eq!(error(&TRADE.replace(r#""3805.44""#, "null")), BadField("price_str"));
        for frame in ["[]", "7", "{} {}", "not json"] {
            assert_eq!(error(frame), Malformed, "{frame}");
        }
    }

    #[test]
    fn a_frame_that_breaks_before_its_channel_is_searched_for_it() {
        for (frame, symbol, channel) in [
            (DIFF, &b"bateur"[..], Channel::Depth),
            (TOP, b"bateur", Channel::BookTicker),
            (TRADE, b"ethusd", Channel::Trade),
        ] {
            for at in 0..frame.find("channel").unwrap() - 1 {
                let mut bytes = frame.as_bytes().to_vec();
                bytes[at] = 0;
                let error = decode(&bytes).unwrap_err();
                assert_eq!(error.kind, DecodeErrorKind::Malformed, "{at}");
                let subject = Subject { symbol: Some(symbol), channel: Some(channel) };
                assert_eq!(error.subject, subject, "{at}");
            }
        }
    }

    #[test]
    fn a_truncated_frame_tells_its_subject_once_it_was_read() {
        for frame in [DIFF, TOP, TRADE] {
            let named = frame.find(r#"","event""#).unwrap() + 1;
            for end in 0..frame.len() {
                let error = decode(&frame.as_bytes()[..end]).unwrap_err();
                assert_eq!(error.kind, DecodeErrorKind::Truncated, "{end}");
                assert_eq!(error.subject.symbol.is_some(), end >= named, "{end}");
            }
        }
    }

    #[test]
    fn a_rest_book_is_a_snapshot_of_its_time() {
        let book = decode_snapshot(BOOK.as_bytes()).unwrap();
        assert_eq!((book.kind, book.symbol), (BookKind::Snapshot, &b""[..]));
        assert_eq!(book.ids, UpdateIds::unlinked(1_641_343_695_681_418));
        assert_eq!(book.levels.map(Iterator::count), [1, 2]);
        for end in 0..BOOK.len() {
            let error = decode_snapshot(&BOOK.as_bytes()[..end]).unwrap_err();
            assert_eq!(error, DecodeErrorKind::Truncated, "{end}");
        }
        let error = decode_snapshot(br#"{"error":"Not found"}"#).unwrap_err();
        assert_eq!(error, DecodeErrorKind::MissingField("microtimestamp"));
    }
}
