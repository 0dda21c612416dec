//! Bytes to borrowed messages: depth updates, tops, trades, acknowledgements, REST snapshots.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys
//! and unknown event types are tolerated; numbers stay text until an instrument's exponent is known.
//! A frame is read in one pass, and what was understood before the byte that broke it is reported as
//! the [`Subject`], so that one instrument can be repaired instead of all. Prices and sizes of a depth
//! message are read by its [`Levels`], where their errors appear.

use super::sequence::update_ids;
use super::split_stream;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::fields::{boolean, optional, required, uint};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    OracleMessage, Subject, TopMessage, TradeMessage, UpdateIds,
};
use crate::topic::Channel;
use crate::{Side, Venue};

/// Decodes a WebSocket frame, in the combined-stream envelope or raw.
///
/// # Errors
/// Not a JSON object, or a known event without a field it must have.
pub fn decode(venue: Venue, frame: &[u8]) -> Result<Message<'_>, DecodeError<'_>> {
    let mut fields = Fields::default();
    read_frame(frame, &mut fields)
        .and_then(|()| fields.message(venue))
        .map_err(|kind| DecodeError { kind, subject: fields.subject() })
}

/// Decodes the body of a REST depth request.
///
/// # Errors
/// Not a JSON object, or without an update id or one of the sides.
pub fn decode_snapshot(body: &[u8]) -> Result<BookMessage<'_>, DecodeErrorKind> {
    let (mut id, mut bids, mut asks) = (None, None, None);
    let (mut event, mut transact) = (None, None);
    let mut cursor = Cursor::new(body);
    cursor.object(|key, cursor| {
        let value = cursor.value()?;
        match key {
            b"lastUpdateId" => id = Some(value),
            b"bids" => bids = Some(value),
            b"asks" => asks = Some(value),
            b"E" => event = Some(value),
            b"T" => transact = Some(value),
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    cursor.end()?;
    let ts_sent_ns = optional(event, "E", time_ns)?.unwrap_or(0);
    Ok(BookMessage {
        symbol: b"",
        kind: BookKind::Snapshot,
        ids: UpdateIds::unlinked(required(id, "lastUpdateId", uint)?),
        ts_venue_ns: optional(transact, "T", time_ns)?.unwrap_or(ts_sent_ns),
        ts_sent_ns,
        levels: [required(bids, "bids", levels)?, required(asks, "asks", levels)?],
        checksum: None,
    })
}

/// Whether a text is the body of a REST depth request rather than a frame: the first of the keys that
/// tell them apart decides.
#[must_use]
pub fn is_snapshot(text: &[u8]) -> bool {
    /// Ends the walk early; carries the verdict.
    struct Verdict(bool);
    impl From<JsonError> for Verdict {
        fn from(_: JsonError) -> Self {
            Self(false)
        }
    }
    let walk = Cursor::new(text).object(|key, cursor| match key {
        b"lastUpdateId" => Err(Verdict(true)),
        b"stream" | b"data" | b"e" | b"s" => Err(Verdict(false)),
        _ => Ok(cursor.value().map(|_| ())?),
    });
    matches!(walk, Err(Verdict(true)))
}

fn read_frame<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), DecodeErrorKind> {
    let mut cursor = Cursor::new(frame);
    cursor.object(|key, cursor| match key {
        b"stream" => {
            fields.stream = scalar(cursor.value()?);
            Ok::<(), JsonError>(())
        }
        b"data" if cursor.peek()? == b'{' => cursor.object(|key, cursor| {
            fields.set(key, cursor.value()?);
            Ok::<(), JsonError>(())
        }),
        _ => {
            fields.set(key, cursor.value()?);
            Ok(())
        }
    })?;
    Ok(cursor.end()?)
}

/// The raw values of every key that matters in any message.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    stream: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    event_ms: Option<&'a [u8]>,
    transact_ms: Option<&'a [u8]>,
    first_id: Option<&'a [u8]>,
    final_id: Option<&'a [u8]>,
    prev_id: Option<&'a [u8]>,
    /// Changed bids of a depth update, best bid price of a top.
    bid: Option<&'a [u8]>,
    ask: Option<&'a [u8]>,
    bid_qty: Option<&'a [u8]>,
    ask_qty: Option<&'a [u8]>,
    price: Option<&'a [u8]>,
    qty: Option<&'a [u8]>,
    trade_id: Option<&'a [u8]>,
    buyer_was_maker: Option<&'a [u8]>,
    execution: Option<&'a [u8]>,
    horizon_ms: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    result: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
    error_message: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        let field = match key {
            b"e" => &mut self.event_type,
            b"s" => &mut self.symbol,
            b"E" => &mut self.event_ms,
            b"T" => &mut self.transact_ms,
            b"U" => &mut self.first_id,
            b"u" => &mut self.final_id,
            b"pu" => &mut self.prev_id,
            b"b" => &mut self.bid,
            b"a" => &mut self.ask,
            b"B" => &mut self.bid_qty,
            b"A" => &mut self.ask_qty,
            b"p" => &mut self.price,
            b"q" => &mut self.qty,
            b"t" => &mut self.trade_id,
            b"m" => &mut self.buyer_was_maker,
            b"X" => &mut self.execution,
            b"h" => &mut self.horizon_ms,
            b"id" => &mut self.request_id,
            b"result" => &mut self.result,
            b"error" => &mut self.error,
            b"msg" => &mut self.error_message,
            _ => return,
        };
        *field = Some(raw);
    }

    fn event_type(&self) -> Option<&'a [u8]> {
        self.event_type.and_then(scalar)
    }

    fn subject(&self) -> Subject<'a> {
        let stream = self.stream.and_then(split_stream);
        let channel = match self.event_type() {
            Some(b"depthUpdate") => Some(Channel::Depth),
            Some(b"bookTicker") => Some(Channel::BookTicker),
            Some(b"trade") => Some(Channel::Trade),
            Some(b"oracle") => Some(Channel::Oracle),
            _ => stream.map(|(_, channel)| channel),
        };
        let symbol = self.symbol.and_then(scalar).or(stream.map(|(symbol, _)| symbol));
        Subject { symbol, channel }
    }

    fn message(&self, venue: Venue) -> Result<Message<'a>, DecodeErrorKind> {
        match self.event_type() {
            Some(b"depthUpdate") => self.depth(venue).map(Message::Book),
            Some(b"bookTicker") => self.book_ticker().map(Message::Top),
            Some(b"trade") => self.trade(),
            Some(b"oracle") => self.oracle().map(Message::Oracle),
            Some(other) => Ok(Message::Ignored(other)),
            None if self.looks_like_top() => self.book_ticker().map(Message::Top),
            None if self.looks_like_ack() => Ok(Message::Ack(self.ack())),
            None => Ok(Message::Ignored(b"")),
        }
    }

    /// Spot tops name no event type: the stream name or the keys tell.
    fn looks_like_top(&self) -> bool {
        match self.stream.and_then(split_stream) {
            Some((_, channel)) => channel == Channel::BookTicker,
            None => self.stream.is_none() && self.bid_qty.is_some() && self.ask_qty.is_some(),
        }
    }

    fn looks_like_ack(&self) -> bool {
        let answers = self.result.is_some() || self.error.is_some() || self.error_message.is_some();
        self.stream.is_none() && answers
    }

    fn depth(&self, venue: Venue) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let is_spot = venue == Venue::BinanceSpot;
        let prev = if is_spot { None } else { Some(required(self.prev_id, "pu", uint)?) };
        let (first, last) =
            (required(self.first_id, "U", uint)?, required(self.final_id, "u", uint)?);
        let ts_sent_ns = required(self.event_ms, "E", time_ns)?;
        Ok(BookMessage {
            symbol: required(self.symbol, "s", scalar)?,
            kind: BookKind::Update,
            ids: update_ids(venue, first, last, prev).ok_or(DecodeErrorKind::BadIds)?,
            ts_venue_ns: optional(self.transact_ms, "T", time_ns)?.unwrap_or(ts_sent_ns),
            ts_sent_ns,
            levels: [required(self.bid, "b", levels)?, required(self.ask, "a", levels)?],
            checksum: None,
        })
    }

    fn book_ticker(&self) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let bid = (required(self.bid, "b", scalar)?, required(self.bid_qty, "B", scalar)?);
        let ask = (required(self.ask, "a", scalar)?, required(self.ask_qty, "A", scalar)?);
        Ok(TopMessage {
            symbol: required(self.symbol, "s", scalar)?,
            ts_venue_ns: optional(self.transact_ms, "T", time_ns)?.unwrap_or(0),
            ts_sent_ns: optional(self.event_ms, "E", time_ns)?.unwrap_or(0),
            update_id: required(self.final_id, "u", uint)?,
            bid: Some(bid),
            ask: Some(ask),
        })
    }

    fn trade(&self) -> Result<Message<'a>, DecodeErrorKind> {
        if self.execution.is_some_and(|raw| raw != br#""MARKET""#) {
            return Ok(Message::Ignored(b"trade"));
        }
        let buyer_was_maker = required(self.buyer_was_maker, "m", boolean)?;
        Ok(Message::Trade(TradeMessage {
            symbol: required(self.symbol, "s", scalar)?,
            ts_venue_ns: required(self.transact_ms, "T", time_ns)?,
            ts_sent_ns: required(self.event_ms, "E", time_ns)?,
            trade_id: required(self.trade_id, "t", uint)?,
            price: required(self.price, "p", scalar)?,
            qty: required(self.qty, "q", scalar)?,
            aggressor: if buyer_was_maker { Side::Ask } else { Side::Bid },
            is_history: false,
        }))
    }

    fn oracle(&self) -> Result<OracleMessage<'a>, DecodeErrorKind> {
        let horizon_ms = required(self.horizon_ms, "h", uint)?;
        Ok(OracleMessage {
            symbol: required(self.symbol, "s", scalar)?,
            ts_venue_ns: required(self.event_ms, "E", time_ns)?,
            horizon_ms: u32::try_from(horizon_ms).map_err(|_| DecodeErrorKind::BadField("h"))?,
            p_up: required(self.price, "p", scalar)?,
        })
    }

    fn ack(&self) -> Ack<'a> {
        let of = self.request_id.and_then(uint).map_or(AckOf::Unknown, AckOf::Request);
        Ack { of, error: self.error.or(self.error_message) }
    }
}

/// The venue's time as nanoseconds. It counts milliseconds, or microseconds where spot was asked for
/// them (`?timeUnit=microsecond`): read as milliseconds those would lie beyond the year 5000.
fn time_ns(raw: &[u8]) -> Option<i64> {
    const LEAST_MICROSECONDS: i64 = 100_000_000_000_000;
    let time = i64::try_from(uint(raw)?).ok()?;
    time.checked_mul(if time < LEAST_MICROSECONDS { 1_000_000 } else { 1_000 })
}

fn levels(raw: &[u8]) -> Option<Levels<'_>> {
    Levels::new(raw, LevelStyle::Pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOT: Venue = Venue::BinanceSpot;
    const USDM: Venue = Venue::BinanceUsdm;
    const DEPTH: &str = r#"{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT","U":12,"u":15,"pu":9,"b":[["58710.20","0.014"],["61496.50","0.010"]],"a":[]}}"#;

    fn pairs(levels: &Levels<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        levels.clone().map(|level| level.map(|l| (text(l.price), text(l.qty))).unwrap()).collect()
    }

    fn depth(venue: Venue, frame: &str) -> BookMessage<'_> {
        match decode(venue, frame.as_bytes()) {
            Ok(Message::Book(book)) => book,
            other => panic!("{other:?}"),
        }
    }

    fn error(venue: Venue, frame: &str) -> DecodeErrorKind {
        decode(venue, frame.as_bytes()).unwrap_err().kind
    }

    #[test]
    fn a_futures_depth_update_is_read_from_its_envelope() {
        let depth = depth(USDM, DEPTH);
        assert_eq!(depth.symbol, b"BTCUSDT");
        let times = (1_723_161_256_298_000_000, 1_723_161_256_299_000_000);
        assert_eq!((depth.ts_venue_ns, depth.ts_sent_ns), times);
        assert_eq!(depth.ids, UpdateIds::linked(9, 15));
        let bids = [("58710.20", "0.014"), ("61496.50", "0.010")];
        assert_eq!(pairs(&depth.levels[0]), bids.map(|(p, q)| (p.to_owned(), q.to_owned())));
        assert_eq!(pairs(&depth.levels[1]), []);
    }

    #[test]
    fn key_order_white_space_unknown_fields_and_escapes_do_not_matter() {
        let frame = r#" { "data" : {"a":[["2","3",[]] , [ "4" , "5" ]],"zz":{"b":[1,{"u":2}]},"b":[],"u":2,"U":1,"s":"X",
            "note":"a \"quoted\" \u00e9 thing","E":7,"e":"depthUpdate"} , "new":[{}], "stream":"x@depth" } "#;
        let depth = depth(SPOT, frame);
        assert_eq!((depth.symbol, depth.ids), (&b"X"[..], UpdateIds::linked(0, 2)));
        assert_eq!((depth.ts_venue_ns, depth.ts_sent_ns), (7_000_000, 7_000_000));
        assert_eq!(
            pairs(&depth.levels[1]),
            [("2", "3"), ("4", "5")].map(|(p, q)| (p.into(), q.into()))
        );
    }

    #[test]
    fn a_spot_top_is_recognised_by_stream_or_by_keys() {
        let raw = r#"{"u":42,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}"#;
        let combined = format!(r#"{{"stream":"btcusdt@bookTicker","data":{raw}}}"#);
        for frame in [raw, &combined] {
            match decode(SPOT, frame.as_bytes()) {
                Ok(Message::Top(top)) => {
                    assert_eq!((top.update_id, top.ts_venue_ns, top.ts_sent_ns), (42, 0, 0));
                    assert_eq!(top.bid, Some((&b"1.5"[..], &b"2"[..])));
                    assert_eq!(top.ask, Some((&b"1.6"[..], &b"3"[..])));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_trades_on_the_market_count() {
        let frame = |extra: &str| {
            format!(r#"{{"e":"trade","E":5,"T":4,"s":"X","t":9,"p":"1","q":"2","m":true{extra}}}"#)
        };
        for extra in ["", r#","X":"MARKET""#, r#","M":true"#] {
            match decode(USDM, frame(extra).as_bytes()) {
                Ok(Message::Trade(trade)) => {
                    let found = (trade.trade_id, trade.ts_venue_ns, trade.ts_sent_ns);
                    assert_eq!(found, (9, 4_000_000, 5_000_000));
                    assert_eq!(trade.aggressor, Side::Ask);
                }
                other => panic!("{other:?}"),
            }
        }
        let insurance = frame(r#","X":"INSURANCE_FUND""#);
        assert!(matches!(decode(USDM, insurance.as_bytes()), Ok(Message::Ignored(b"trade"))));
    }

    #[test]
    fn answers_to_requests_are_told_from_data() {
        let table = [
            (r#"{"result":null,"id":3}"#, AckOf::Request(3), false),
            (r#"{"id":4,"error":{"code":2,"msg":"bad"}}"#, AckOf::Request(4), true),
            (r#"{"code":2,"msg":"Invalid request"}"#, AckOf::Unknown, true),
            (r#"{"result":null,"id":"text"}"#, AckOf::Unknown, false),
        ];
        for (frame, of, refused) in table {
            match decode(SPOT, frame.as_bytes()) {
                Ok(Message::Ack(ack)) => assert_eq!((ack.of, ack.error.is_some()), (of, refused)),
                other => panic!("{frame}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_oracle_is_read_from_a_number() {
        let frame = r#"{"stream":"sima@oracle","data":{"e":"oracle","E":9,"s":"SIMA","h":1000,"p":0.6123456}}"#;
        match decode(SPOT, frame.as_bytes()) {
            Ok(Message::Oracle(oracle)) => {
                assert_eq!((oracle.ts_venue_ns, oracle.horizon_ms), (9_000_000, 1000));
                assert_eq!(oracle.p_up, b"0.6123456");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unknown_events_are_ignored_whatever_their_keys_hold() {
        let table: [(&str, &[u8]); 4] = [
            (r#"{"e":"forceOrder","o":{"s":"X"},"b":7,"u":"text"}"#, b"forceOrder"),
            (r#"{"stream":"x@depth20","data":{"lastUpdateId":1,"bids":[],"asks":[]}}"#, b""),
            (r#"{"stream":"!ticker@arr","data":[1,2]}"#, b""),
            ("{}", b""),
        ];
        for (frame, event_type) in table {
            match decode(SPOT, frame.as_bytes()) {
                Ok(Message::Ignored(found)) => assert_eq!(found, event_type),
                other => panic!("{frame}: {other:?}"),
            }
        }
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        use DecodeErrorKind::{BadField, Malformed, MissingField};
        let with = |from: &str, to: &str| DEPTH.replace(from, to);
        assert_eq!(error(USDM, &with(r#","pu":9"#, "")), MissingField("pu"));
        assert_eq!(error(USDM, &with(r#""pu":9"#, r#""pu":-9"#)), BadField("pu"));
        assert_eq!(error(USDM, &with(r#""u":15"#, r#""u":99999999999999999999"#)), BadField("u"));
        assert_eq!(error(USDM, &with(r#""a":[]"#, r#""a":{}"#)), BadField("a"));
        assert_eq!(error(USDM, &with(r#""E":1723161256299"#, r#""E":1.5"#)), BadField("E"));
        for frame in ["[]", "7", "{} {}", "not json"] {
            assert_eq!(error(SPOT, frame), Malformed, "{frame}");
        }
    }

    #[test]
    fn levels_of_a_wrong_shape_end_with_an_error() {
        for wrong in [r#"[["1"]]"#, "[[]]", "[1]", r#"[["1",null]]"#, r#"[[["1"],"2"]]"#, "[{}]"] {
            let frame = DEPTH.replace(r#""a":[]"#, &format!(r#""a":{wrong}"#));
            let [_, mut asks] = depth(USDM, &frame).levels;
            assert!(asks.next().unwrap().is_err(), "{wrong}");
            assert!(asks.next().is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_truncated_frame_tells_its_subject_once_it_was_read() {
        let mut told = 0;
        for end in 0..DEPTH.len() {
            let error = decode(USDM, &DEPTH.as_bytes()[..end]).unwrap_err();
            assert_eq!(error.kind, DecodeErrorKind::Truncated, "{end}");
            if let Some(symbol) = error.subject.symbol {
                assert!(symbol.eq_ignore_ascii_case(b"btcusdt"));
                assert_eq!(error.subject.channel, Some(Channel::Depth));
                told += 1;
            }
        }
        // The stream name ends at byte 29.
        assert_eq!(told, DEPTH.len() - 29);
    }

    #[test]
    fn snapshots_are_read_and_told_from_frames() {
        let body = br#"{"lastUpdateId":105,"E":8,"T":7,"bids":[["1","2"]],"asks":[["3","4",[]]]}"#;
        let snapshot = decode_snapshot(body).unwrap();
        assert_eq!(snapshot.ids, UpdateIds::unlinked(105));
        assert_eq!((snapshot.ts_venue_ns, snapshot.ts_sent_ns), (7_000_000, 8_000_000));
        assert_eq!(snapshot.levels.map(Iterator::count), [1, 1]);
        assert!(is_snapshot(body));
        assert!(is_snapshot(br#"{"symbol":"X","lastUpdateId":1}"#));
        assert!(!is_snapshot(DEPTH.as_bytes()));
        assert!(!is_snapshot(b"{}") && !is_snapshot(b"garbage"));
        let missing = decode_snapshot(br#"{"lastUpdateId":1,"bids":[]}"#).unwrap_err();
        assert_eq!(missing, DecodeErrorKind::MissingField("asks"));
        for end in 0..body.len() {
            let error = decode_snapshot(&body[..end]).unwrap_err();
            assert_eq!(error, DecodeErrorKind::Truncated, "{end}");
        }
    }
}
