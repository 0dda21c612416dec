//! Bytes to borrowed messages: depth, tops, trades, acknowledgements, pongs.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys and
//! unknown topics are tolerated; numbers stay text until an instrument's exponent is known. A frame is
//! read whole before any of it is handed on, and its topic is reported as the [`Subject`] of what breaks
//! after it, so that one instrument can be repaired instead of all. Prices and sizes of a depth message
//! are read by its [`Levels`], where their errors appear.

use super::sequence::place;
use crate::Side;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::elements::{Element, Elements};
use crate::protocol::fields::{boolean, millis, optional, required, uint};
use crate::protocol::{
    Ack, AckOf, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message, Subject,
    TopMessage, TradeMessage, Visit,
};
use crate::topic::Channel;

/// Decodes a WebSocket frame and hands each of its messages to `visit`.
///
/// # Errors
/// Not a JSON object, or a known message without a field it must have.
pub fn decode<'a>(frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeError<'a>> {
    let mut fields = Frame::default();
    let decoded = fields.read(frame).and_then(|()| fields.visit(visit));
    decoded.map_err(|kind| DecodeError { kind, subject: fields.subject() })
}

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Topic<'a> {
    symbol: &'a [u8],
    channel: Channel,
}

impl<'a> Topic<'a> {
    /// `orderbook.50.BTCUSDT`, `publicTrade.BTCUSDT`; `None` for topics of no use here.
    fn parse(name: &'a [u8]) -> Option<Self> {
        if let Some(symbol) = name.strip_prefix(b"publicTrade.") {
            return Some(Self { symbol, channel: Channel::Trade });
        }
        let rest = name.strip_prefix(b"orderbook.")?;
        let dot = rest.iter().position(|&byte| byte == b'.')?;
        let channel = match &rest[..dot] {
            b"1" => Channel::BookTicker,
            b"50" | b"200" | b"1000" => Channel::Depth,
            _ => return None,
        };
        Some(Self { symbol: &rest[dot + 1..], channel })
    }
}

/// The raw values of every key of a frame that matters.
#[derive(Clone, Debug, Default)]
struct Frame<'a> {
    topic: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    sent_ms: Option<&'a [u8]>,
    engine_ms: Option<&'a [u8]>,
    data: Elements<'a, Data<'a>>,
    op: Option<&'a [u8]>,
    success: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    words: Option<&'a [u8]>,
}

/// The raw values of every key of a book or a trade that matters.
#[derive(Clone, Copy, Debug, Default)]
struct Data<'a> {
    bids: Option<&'a [u8]>,
    asks: Option<&'a [u8]>,
    update_id: Option<&'a [u8]>,
    trade_ms: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
    price: Option<&'a [u8]>,
    qty: Option<&'a [u8]>,
    trade_id: Option<&'a [u8]>,
    is_block: Option<&'a [u8]>,
}

impl<'a> Element<'a> for Data<'a> {
    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        let field = match key {
            b"b" => &mut self.bids,
            b"a" => &mut self.asks,
            b"u" => &mut self.update_id,
            b"T" => &mut self.trade_ms,
            b"S" => &mut self.side,
            b"p" => &mut self.price,
            b"v" => &mut self.qty,
            b"i" => &mut self.trade_id,
            b"BT" => &mut self.is_block,
            _ => return,
        };
        *field = Some(raw);
    }
}

impl<'a> Frame<'a> {
    fn read(&mut self, frame: &'a [u8]) -> Result<(), DecodeErrorKind> {
        let mut cursor = Cursor::new(frame);
        cursor.object(|key, cursor| {
            let field = match key {
                b"data" => {
                    self.data = Elements::read(cursor)?;
                    return Ok::<(), JsonError>(());
                }
                b"topic" => &mut self.topic,
                b"type" => &mut self.kind,
                b"ts" => &mut self.sent_ms,
                b"cts" => &mut self.engine_ms,
                b"op" => &mut self.op,
                b"success" => &mut self.success,
                b"req_id" => &mut self.request_id,
                b"ret_msg" => &mut self.words,
                _ => return cursor.value().map(drop),
            };
            *field = Some(cursor.value()?);
            Ok(())
        })?;
        Ok(cursor.end()?)
    }

    fn topic(&self) -> Option<Topic<'a>> {
        self.topic.and_then(scalar).and_then(Topic::parse)
    }

    fn subject(&self) -> Subject<'a> {
        let topic = self.topic();
        Subject { symbol: topic.map(|t| t.symbol), channel: topic.map(|t| t.channel) }
    }

    fn visit(&self, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        let Some(name) = self.topic else {
            visit(self.answer()?);
            return Ok(());
        };
        let Some(Topic { symbol, channel }) = self.topic() else {
            visit(Message::Ignored(scalar(name).unwrap_or_default()));
            return Ok(());
        };
        let first = self.data.first().ok_or(DecodeErrorKind::MissingField("data"));
        match channel {
            Channel::Depth => visit(Message::Book(self.book(symbol, first?)?)),
            Channel::BookTicker => visit(Message::Top(self.top(symbol, first?)?)),
            _ => self.data.for_each(|trade| {
                visit(self.trade(symbol, trade)?);
                Ok(())
            })?,
        }
        Ok(())
    }

    fn is_snapshot(&self) -> Result<bool, DecodeErrorKind> {
        required(self.kind, "type", |raw| match raw {
            br#""snapshot""# => Some(true),
            br#""delta""# => Some(false),
            _ => None,
        })
    }

    /// Times of the matching engine and of sending.
    fn times(&self) -> Result<(i64, i64), DecodeErrorKind> {
        let sent_ns = required(self.sent_ms, "ts", millis)?;
        Ok((optional(self.engine_ms, "cts", millis)?.unwrap_or(sent_ns), sent_ns))
    }

    fn book(&self, symbol: &'a [u8], data: &Data<'a>) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let (ts_venue_ns, ts_sent_ns) = self.times()?;
        let u = required(data.update_id, "u", uint)?;
        let (kind, ids) = place(self.is_snapshot()?, u).ok_or(DecodeErrorKind::BadIds)?;
        Ok(BookMessage {
            symbol,
            kind,
            ids,
            ts_venue_ns,
            ts_sent_ns,
            levels: [required(data.bids, "b", levels)?, required(data.asks, "a", levels)?],
            checksum: None,
        })
    }

    fn top(&self, symbol: &'a [u8], data: &Data<'a>) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let (ts_venue_ns, ts_sent_ns) = self.times()?;
        let is_snapshot = self.is_snapshot()?;
        Ok(TopMessage {
            symbol,
            ts_venue_ns,
            ts_sent_ns,
            update_id: required(data.update_id, "u", uint)?,
            bid: best(required(data.bids, "b", levels)?, is_snapshot)?,
            ask: best(required(data.asks, "a", levels)?, is_snapshot)?,
        })
    }

    /// Block trades are agreed upon away from the book and are none of the market.
    fn trade(&self, symbol: &'a [u8], data: &Data<'a>) -> Result<Message<'a>, DecodeErrorKind> {
        if optional(data.is_block, "BT", boolean)? == Some(true) {
            return Ok(Message::Ignored(b"publicTrade"));
        }
        Ok(Message::Trade(TradeMessage {
            symbol,
            ts_venue_ns: required(data.trade_ms, "T", millis)?,
            ts_sent_ns: required(self.sent_ms, "ts", millis)?,
            // A number on spot, a UUID on contracts.
            trade_id: data.trade_id.and_then(scalar).and_then(uint).unwrap_or(0),
            price: required(data.price, "p", scalar)?,
            qty: required(data.qty, "v", scalar)?,
            aggressor: required(data.side, "S", |raw| match raw {
                br#""Buy""# => Some(Side::Bid),
                br#""Sell""# => Some(Side::Ask),
                _ => None,
            })?,
            is_history: false,
        }))
    }

    /// A frame without a topic. A ping is answered with `"op":"ping","ret_msg":"pong"` by one product and
    /// with `"op":"pong"` by another.
    fn answer(&self) -> Result<Message<'a>, DecodeErrorKind> {
        let op = self.op.and_then(scalar).unwrap_or_default();
        match op {
            b"ping" | b"pong" => return Ok(Message::Heartbeat),
            b"subscribe" | b"unsubscribe" => {}
            other => return Ok(Message::Ignored(other)),
        }
        let is_refused = !required(self.success, "success", boolean)?;
        let id = self.request_id.and_then(scalar).and_then(|id| id.strip_prefix(b"sub-"));
        Ok(Message::Ack(Ack {
            of: id.and_then(uint).map_or(AckOf::Unknown, AckOf::Request),
            error: is_refused.then(|| self.words.unwrap_or(br#""""#)),
        }))
    }
}

/// Texts of a price and a quantity.
type PriceQty<'a> = (&'a [u8], &'a [u8]);

/// The one level of a side of a top. A snapshot that lists none says that the side is empty, and so does
/// a change that only removes; a change that lists none leaves the side as it was.
fn best(levels: Levels<'_>, is_snapshot: bool) -> Result<Option<PriceQty<'_>>, DecodeErrorKind> {
    let (mut best, mut is_told) = (None, is_snapshot);
    for level in levels {
        let level = level?;
        is_told = true;
        if best.is_none() && !level.qty.iter().all(|byte| matches!(byte, b'0' | b'.')) {
            best = Some((level.price, level.qty));
        }
    }
    let empty: PriceQty<'_> = (b"0", b"0");
    Ok(best.or(is_told.then_some(empty)))
}

fn levels(raw: &[u8]) -> Option<Levels<'_>> {
    Levels::new(raw, LevelStyle::Pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{BookKind, UpdateIds};

    const DELTA: &str = r#"{"topic":"orderbook.200.BTCUSDT","ts":1786310816618,"type":"delta","data":{"s":"BTCUSDT","b":[["65140.4","0.875077"]],"a":[["65154.6","0.09948"],["65239.1","0"]],"u":62505425,"seq":112488545865},"cts":1786310816585}"#;
    const TOP: &str = r#"{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":7,"data":{"s":"BTCUSDT","b":[["1.5","2"]],"a":[["1.6","3"]],"u":42,"seq":1},"cts":6}"#;
    const TRADES: &str = r#"{"topic":"publicTrade.ETHUSDT","ts":9,"type":"snapshot","data":[{"i":"2280000001739247417","T":8,"p":"1923.28","v":"0.04537","S":"Sell","seq":1,"s":"ETHUSDT","BT":false,"RPI":false},{"T":7,"s":"ETHUSDT","S":"Buy","v":"2","p":"1923.30","L":"PlusTick","i":"a9188a0a-82bc-50de-be60-03eedbe3cdd7","BT":false}]}"#;

    /// The messages of a frame, and how it ended.
    fn read(frame: &str) -> (Vec<Message<'_>>, Option<DecodeErrorKind>) {
        let mut messages = Vec::new();
        let result = decode(frame.as_bytes(), &mut |message| messages.push(message));
        (messages, result.err().map(|error| error.kind))
    }

    fn one(frame: &str) -> Message<'_> {
        let (mut messages, error) = read(frame);
        assert_eq!((messages.len(), error), (1, None), "{frame}");
        messages.remove(0)
    }

    fn error(frame: &str) -> DecodeErrorKind {
        let (messages, error) = read(frame);
        assert!(messages.is_empty(), "{messages:?}");
        error.unwrap()
    }

    fn book(frame: &str) -> BookMessage<'_> {
        match one(frame) {
            Message::Book(book) => book,
            other => panic!("{other:?}"),
        }
    }

    fn top(frame: &str) -> TopMessage<'_> {
        match one(frame) {
            Message::Top(top) => top,
            other => panic!("{other:?}"),
        }
    }

    fn pairs(levels: &Levels<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        levels.clone().map(|level| level.map(|l| (text(l.price), text(l.qty))).unwrap()).collect()
    }

    fn texts(levels: &[(&str, &str)]) -> Vec<(String, String)> {
        levels.iter().map(|(price, qty)| ((*price).to_owned(), (*qty).to_owned())).collect()
    }

    #[test]
    fn a_delta_is_read_with_the_time_of_the_matching_engine() {
        let book = book(DELTA);
        assert_eq!((book.symbol, book.kind), (&b"BTCUSDT"[..], BookKind::Update));
        assert_eq!(book.ids, UpdateIds::linked(62_505_424, 62_505_425));
        let times = (1_786_310_816_585_000_000, 1_786_310_816_618_000_000);
        assert_eq!((book.ts_venue_ns, book.ts_sent_ns), times);
        assert_eq!(pairs(&book.levels[0]), texts(&[("65140.4", "0.875077")]));
        assert_eq!(pairs(&book.levels[1]), texts(&[("65154.6", "0.09948"), ("65239.1", "0")]));
        assert_eq!(book.checksum, None);
    }

    #[test]
    fn a_snapshot_and_a_restart_replace_the_book() {
        let snapshot = DELTA.replace("delta", "snapshot");
        let book_of = book(&snapshot);
        assert_eq!(book_of.kind, BookKind::Snapshot);
        assert_eq!(book_of.ids, UpdateIds::unlinked(62_505_425));
        let restarted = DELTA.replace("62505425", "1");
        let book_of = book(&restarted);
        assert_eq!((book_of.kind, book_of.ids), (BookKind::Snapshot, UpdateIds::unlinked(1)));
    }

    #[test]
    fn key_order_white_space_unknown_fields_and_escapes_do_not_matter() {
        let frame = r#" { "cts" : 5 , "data" : {"seq":9,"u":12,"zz":{"u":[1,{"b":2}]},"a":[["2","3",[]] , [ "4" , "5" ]],"b":[],
            "note":"a \"quoted\" \u00e9 thing"} , "new":[{}], "type":"delta", "topic":"orderbook.50.X-26DEC26","ts":7 } "#;
        let book = book(frame);
        assert_eq!((book.symbol, book.ids), (&b"X-26DEC26"[..], UpdateIds::linked(11, 12)));
        assert_eq!((book.ts_venue_ns, book.ts_sent_ns), (5_000_000, 7_000_000));
        assert_eq!(pairs(&book.levels[1]), texts(&[("2", "3"), ("4", "5")]));
    }

    #[test]
    fn one_level_books_are_tops() {
        let of = top(TOP);
        assert_eq!((of.symbol, of.update_id), (&b"BTCUSDT"[..], 42));
        assert_eq!((of.ts_venue_ns, of.ts_sent_ns), (6_000_000, 7_000_000));
        assert_eq!(
            (of.bid, of.ask),
            (Some((&b"1.5"[..], &b"2"[..])), Some((&b"1.6"[..], &b"3"[..])))
        );
    }

    #[test]
    fn a_side_of_a_top_can_be_empty_unchanged_or_replaced() {
        let empty = Some((&b"0"[..], &b"0"[..]));
        let new = Some((&b"1.4"[..], &b"7"[..]));
        let table = [
            ("snapshot", "[]", empty),
            ("delta", "[]", None),
            ("delta", r#"[["1.5","0.000"]]"#, empty),
            ("delta", r#"[["1.5","0"],["1.4","7"]]"#, new),
            ("snapshot", r#"[["1.4","7"],["1.3","2"]]"#, new),
        ];
        for (kind, bids, expected) in table {
            let frame = TOP.replace("snapshot", kind).replace(r#"[["1.5","2"]]"#, bids);
            assert_eq!(top(&frame).bid, expected, "{kind} {bids}");
        }
        let bad = TOP.replace(r#"[["1.5","2"]]"#, r#"[["1.5"]]"#);
        assert_eq!(error(&bad), DecodeErrorKind::BadField("levels"));
    }

    #[test]
    fn every_trade_of_a_frame_is_read() {
        let (messages, error) = read(TRADES);
        let read: Vec<_> = messages
            .iter()
            .map(|message| match message {
                Message::Trade(t) => (t.trade_id, t.ts_venue_ns, t.price, t.qty, t.aggressor),
                other => panic!("{other:?}"),
            })
            .collect();
        let first =
            (2_280_000_001_739_247_417, 8_000_000, &b"1923.28"[..], &b"0.04537"[..], Side::Ask);
        assert_eq!(read, [first, (0, 7_000_000, b"1923.30", b"2", Side::Bid)]);
        assert_eq!(error, None);
    }

    #[test]
    fn block_trades_are_none_of_the_market() {
        let frame = TRADES.replacen(r#""BT":false"#, r#""BT":true"#, 1);
        let (messages, _) = read(&frame);
        assert!(matches!(messages[..], [Message::Ignored(b"publicTrade"), Message::Trade(_)]));
    }

    #[test]
    fn trades_before_a_bad_one_are_handed_on() {
        let frame = TRADES.replace(r#""S":"Buy""#, r#""S":"buy""#);
        let (messages, error) = read(&frame);
        assert_eq!((messages.len(), error), (1, Some(DecodeErrorKind::BadField("S"))));
    }

    #[test]
    fn answers_to_requests_are_told_from_data() {
        let table = [
            (
                r#"{"success":true,"ret_msg":"","conn_id":"x","req_id":"sub-7","op":"subscribe"}"#,
                AckOf::Request(7),
                None,
            ),
            (
                r#"{"success":true,"ret_msg":"subscribe","conn_id":"x","op":"subscribe"}"#,
                AckOf::Unknown,
                None,
            ),
            (r#"{"success":true,"req_id":"unsub-7","op":"unsubscribe"}"#, AckOf::Unknown, None),
            (
                r#"{"success":false,"ret_msg":"error:handler not found","req_id":"sub-8","op":"subscribe"}"#,
                AckOf::Request(8),
                Some(&br#""error:handler not found""#[..]),
            ),
        ];
        for (frame, of, error) in table {
            match one(frame) {
                Message::Ack(ack) => assert_eq!(ack, Ack { of, error }, "{frame}"),
                other => panic!("{frame}: {other:?}"),
            }
        }
        for pong in [
            r#"{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"ping","op":"ping"}"#,
            r#"{"req_id":"ping","op":"pong","args":["1786310816618"],"conn_id":"x"}"#,
        ] {
            assert!(matches!(one(pong), Message::Heartbeat), "{pong}");
        }
    }

    #[test]
    fn unknown_topics_and_those_of_the_older_interface_are_ignored() {
        let table: [(&str, &[u8]); 7] = [
            (
                r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"b":7},"ts":"x"}"#,
                b"tickers.BTCUSDT",
            ),
            (r#"{"topic":"kline.1.X","data":[{"start":1}],"ts":1}"#, b"kline.1.X"),
            (
                r#"{"topic":"trade.BCHUSDT","data":[{"symbol":"BCHUSDT","price":"1","size":0.14}]}"#,
                b"trade.BCHUSDT",
            ),
            (
                r#"{"topic":"orderBookL2_25.X","type":"snapshot","data":{"order_book":[]}}"#,
                b"orderBookL2_25.X",
            ),
            (r#"{"topic":"orderbook.full.X","type":"delta","data":{}}"#, b"orderbook.full.X"),
            (r#"{"success":true,"ret_msg":"","request":{"op":"subscribe","args":["x"]}}"#, b""),
            ("{}", b""),
        ];
        for (frame, name) in table {
            match one(frame) {
                Message::Ignored(found) => assert_eq!(found, name),
                other => panic!("{frame}: {other:?}"),
            }
        }
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        use DecodeErrorKind::{BadField, BadIds, Malformed, MissingField};
        let with = |from: &str, to: &str| DELTA.replace(from, to);
        assert_eq!(error(&with(r#""u":62505425,"#, "")), MissingField("u"));
        assert_eq!(error(&with("62505425", "-1")), BadField("u"));
        assert_eq!(error(&with("62505425", "0")), BadIds);
        assert_eq!(error(&with("62505425", "99999999999999999999")), BadField("u"));
        assert_eq!(error(&with("delta", "partial")), BadField("type"));
        assert_eq!(error(&with(r#""type":"delta","#, "")), MissingField("type"));
        assert_eq!(error(&with(r#""ts":1786310816618,"#, "")), MissingField("ts"));
        assert_eq!(error(&with("1786310816585", "1.5")), BadField("cts"));
        assert_eq!(error(&with(r#""b":[["65140.4","0.875077"]]"#, r#""b":{}"#)), BadField("b"));
        assert_eq!(
            error(r#"{"topic":"orderbook.50.X","type":"delta","ts":1}"#),
            MissingField("data")
        );
        assert_eq!(error(r#"{"op":"subscribe"}"#), MissingField("success"));
        for frame in ["[]", "7", "{} {}", "not json"] {
            assert_eq!(error(frame), Malformed, "{frame}");
        }
    }

    #[test]
    fn a_truncated_frame_tells_its_subject_once_it_was_read() {
        for (frame, channel) in [(DELTA, Channel::Depth), (TRADES, Channel::Trade)] {
            let topic_end = frame.find(r#"","ts""#).unwrap() + 1;
            for end in 0..frame.len() {
                let error = decode(&frame.as_bytes()[..end], &mut |message| {
                    panic!("{end}: {message:?} of a frame that is not whole")
                });
                let error = error.unwrap_err();
                assert_eq!(error.kind, DecodeErrorKind::Truncated, "{end}");
                let expected = (end >= topic_end).then_some(channel);
                assert_eq!(error.subject.channel, expected, "{end}");
                assert_eq!(error.subject.symbol.is_some(), expected.is_some(), "{end}");
            }
        }
    }
}
