//! Bytes to borrowed messages: depth, tops, trades, acknowledgements, notices, REST snapshots.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys,
//! events and channels are tolerated; numbers stay text until an instrument's exponent is known. A frame
//! is read whole before any of it is handed on, and its `arg` is reported as the [`Subject`] of what breaks
//! after it, so that one instrument can be repaired instead of all. Prices and sizes of a depth message
//! are read by its [`Levels`], where their errors appear.

use super::sequence::{checksum, update_ids};
use crate::Side;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::elements::{Element, Elements};
use crate::protocol::fields::{int, millis, optional, quoted_uint, required, uint};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    Subject, TopMessage, TradeMessage, UpdateIds, Visit,
};
use crate::topic::Channel;

/// Code of the notice that comes before connections are cut ("WebSocket connection", notification).
const SERVICE_UPGRADE: &[u8] = b"64008";

/// Decodes a WebSocket frame and hands each of its messages to `visit`.
///
/// # Errors
/// Neither a JSON object nor `pong`, or a known message without a field it must have.
pub fn decode<'a>(frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeError<'a>> {
    if frame == b"pong" {
        visit(Message::Heartbeat);
        return Ok(());
    }
    let mut fields = Frame::default();
    let decoded = fields.read(frame).and_then(|()| fields.visit(visit));
    decoded.map_err(|kind| DecodeError { kind, subject: fields.subject() })
}

/// Decodes the body of an answer to `GET /api/v5/market/books`.
///
/// # Errors
/// Not a JSON object, a refusal, or without a sequence number or one of the sides.
pub fn decode_snapshot(body: &[u8]) -> Result<BookMessage<'_>, DecodeErrorKind> {
    let mut fields = Frame::default();
    fields.read(body)?;
    required(fields.code, "code", |raw| (raw == br#""0""#).then_some(()))?;
    let data = fields.data.first().ok_or(DecodeErrorKind::MissingField("data"))?;
    let ids = UpdateIds::unlinked(required(data.seq_id, "seqId", uint)?);
    data.book(b"", BookKind::Snapshot, ids)
}

/// The raw values of every key of a frame that matters.
#[derive(Clone, Debug, Default)]
struct Frame<'a> {
    channel: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    action: Option<&'a [u8]>,
    data: Elements<'a, Data<'a>>,
    event: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    code: Option<&'a [u8]>,
    words: Option<&'a [u8]>,
}

/// The raw values of every key of a book or a trade that matters.
#[derive(Clone, Copy, Debug, Default)]
struct Data<'a> {
    bids: Option<&'a [u8]>,
    asks: Option<&'a [u8]>,
    ts_ms: Option<&'a [u8]>,
    seq_id: Option<&'a [u8]>,
    prev_seq_id: Option<&'a [u8]>,
    checksum: Option<&'a [u8]>,
    trade_id: Option<&'a [u8]>,
    price: Option<&'a [u8]>,
    qty: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
}

impl<'a> Element<'a> for Data<'a> {
    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        let field = match key {
            b"bids" => &mut self.bids,
            b"asks" => &mut self.asks,
            b"ts" => &mut self.ts_ms,
            b"seqId" => &mut self.seq_id,
            b"prevSeqId" => &mut self.prev_seq_id,
            b"checksum" => &mut self.checksum,
            b"tradeId" => &mut self.trade_id,
            b"px" => &mut self.price,
            b"sz" => &mut self.qty,
            b"side" => &mut self.side,
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
                b"arg" if cursor.peek()? == b'{' => return self.read_arg(cursor),
                b"data" => {
                    self.data = Elements::read(cursor)?;
                    return Ok::<(), JsonError>(());
                }
                b"action" => &mut self.action,
                b"event" => &mut self.event,
                b"id" => &mut self.request_id,
                b"code" => &mut self.code,
                b"msg" => &mut self.words,
                _ => return cursor.value().map(drop),
            };
            *field = Some(cursor.value()?);
            Ok(())
        })?;
        Ok(cursor.end()?)
    }

    fn read_arg(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        cursor.object(|key, cursor| {
            let value = cursor.value()?;
            match key {
                b"channel" => self.channel = scalar(value),
                b"instId" => self.symbol = scalar(value),
                _ => {}
            }
            Ok(())
        })
    }

    /// The channel, where it is one of ours.
    fn channel(&self) -> Option<Channel> {
        match self.channel? {
            b"books" | b"books-l2-tbt" | b"books50-l2-tbt" => Some(Channel::Depth),
            b"bbo-tbt" => Some(Channel::BookTicker),
            b"trades" => Some(Channel::Trade),
            _ => None,
        }
    }

    fn subject(&self) -> Subject<'a> {
        Subject { symbol: self.symbol, channel: self.channel() }
    }

    fn visit(&self, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        if let Some(event) = self.event.and_then(scalar) {
            visit(self.event(event));
            return Ok(());
        }
        let Some(channel) = self.channel() else {
            visit(Message::Ignored(self.channel.unwrap_or_default()));
            return Ok(());
        };
        let symbol = self.symbol.ok_or(DecodeErrorKind::MissingField("instId"))?;
        if self.data.first().is_none() {
            return Err(DecodeErrorKind::MissingField("data"));
        }
        self.data.for_each(|data| {
            visit(match channel {
                Channel::Depth => {
                    let kind = self.kind()?;
                    Message::Book(data.book(symbol, kind, data.ids(kind)?)?)
                }
                Channel::BookTicker => Message::Top(data.top(symbol)?),
                _ => Message::Trade(data.trade(symbol)?),
            });
            Ok(())
        })
    }

    fn kind(&self) -> Result<BookKind, DecodeErrorKind> {
        required(self.action, "action", |raw| match raw {
            br#""snapshot""# => Some(BookKind::Snapshot),
            br#""update""# => Some(BookKind::Update),
            _ => None,
        })
    }

    fn event(&self, event: &'a [u8]) -> Message<'a> {
        let id = self.request_id.and_then(quoted_uint);
        let by_id = id.map_or(AckOf::Unknown, AckOf::Request);
        match event {
            b"subscribe" => {
                let of = match (self.symbol, self.channel()) {
                    (Some(symbol), Some(channel)) => AckOf::Topic { symbol, channel },
                    _ => by_id,
                };
                Message::Ack(Ack { of, error: None })
            }
            b"unsubscribe" => Message::Ack(Ack { of: AckOf::Unknown, error: None }),
            b"error" => {
                Message::Ack(Ack { of: by_id, error: Some(self.words.unwrap_or(br#""""#)) })
            }
            b"notice" if self.code.and_then(scalar) == Some(SERVICE_UPGRADE) => {
                Message::ReconnectRequested("64008: the service is about to be upgraded")
            }
            other => Message::Ignored(other),
        }
    }
}

impl<'a> Data<'a> {
    fn ids(&self, kind: BookKind) -> Result<UpdateIds, DecodeErrorKind> {
        let seq_id = optional(self.seq_id, "seqId", uint)?;
        let prev_seq_id = optional(self.prev_seq_id, "prevSeqId", int)?;
        update_ids(kind == BookKind::Snapshot, seq_id, prev_seq_id)
    }

    fn book(
        &self,
        symbol: &'a [u8],
        kind: BookKind,
        ids: UpdateIds,
    ) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let sum = optional(self.checksum, "checksum", |raw| i32::try_from(int(raw)?).ok())?;
        Ok(BookMessage {
            symbol,
            kind,
            ids,
            ts_venue_ns: required(self.ts_ms, "ts", millis)?,
            ts_sent_ns: 0,
            levels: [required(self.bids, "bids", levels)?, required(self.asks, "asks", levels)?],
            checksum: sum.and_then(checksum),
        })
    }

    fn top(&self, symbol: &'a [u8]) -> Result<TopMessage<'a>, DecodeErrorKind> {
        Ok(TopMessage {
            symbol,
            ts_venue_ns: required(self.ts_ms, "ts", millis)?,
            ts_sent_ns: 0,
            update_id: optional(self.seq_id, "seqId", uint)?.unwrap_or(0),
            bid: Some(best(required(self.bids, "bids", levels)?)?),
            ask: Some(best(required(self.asks, "asks", levels)?)?),
        })
    }

    fn trade(&self, symbol: &'a [u8]) -> Result<TradeMessage<'a>, DecodeErrorKind> {
        Ok(TradeMessage {
            symbol,
            ts_venue_ns: required(self.ts_ms, "ts", millis)?,
            ts_sent_ns: 0,
            trade_id: required(self.trade_id, "tradeId", quoted_uint)?,
            price: required(self.price, "px", scalar)?,
            qty: required(self.qty, "sz", scalar)?,
            aggressor: required(self.side, "side", |raw| match raw {
                br#""buy""# => Some(Side::Bid),
                br#""sell""# => Some(Side::Ask),
                _ => None,
            })?,
            is_history: false,
        })
    }
}

/// The best level of a side; zeros where it is empty.
fn best(mut levels: Levels<'_>) -> Result<(&[u8], &[u8]), DecodeErrorKind> {
    let level = levels.next().transpose()?;
    Ok(level.map_or((b"0", b"0"), |level| (level.price, level.qty)))
}

/// `[price, quantity, "0", number of orders]`.
fn levels(raw: &[u8]) -> Option<Levels<'_>> {
    Levels::new(raw, LevelStyle::Pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &str = r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["8476.98","415","0","13"],["8477","0","0","0"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","checksum":-855196043,"prevSeqId":123456,"seqId":123457}]}"#;
    const TOP: &str = r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","seqId":123456}]}"#;
    const TRADES: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USD"},"data":[{"instId":"BTC-USD","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3"},{"instId":"BTC-USD","tradeId":"130639475","px":"42219.8","sz":"1","side":"sell","ts":"1630048897898","count":"1","seqId":1234}]}"#;
    const BODY: &str = r#"{"code":"0","msg":"","data":[{"asks":[["41006.8","0.60038921","0","1"]],"bids":[["41006.3","0.30178218","0","2"]],"ts":"1629966436396","seqId":3235851742}]}"#;

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
    fn an_update_is_read_with_its_numbers_and_checksum() {
        let book = book(UPDATE);
        assert_eq!((book.symbol, book.kind), (&b"BTC-USDT"[..], BookKind::Update));
        assert_eq!(book.ids, UpdateIds::linked(123_456, 123_457));
        assert_eq!((book.ts_venue_ns, book.ts_sent_ns), (1_597_026_383_085_000_000, 0));
        assert_eq!(pairs(&book.levels[0]), texts(&[("8476.97", "256")]));
        assert_eq!(pairs(&book.levels[1]), texts(&[("8476.98", "415"), ("8477", "0")]));
        assert_eq!(book.checksum, Some(3_439_771_253));
    }

    #[test]
    fn a_checksum_of_zero_or_none_is_nothing_to_compare() {
        for sum in ["0", "-0"] {
            assert_eq!(book(&UPDATE.replace("-855196043", sum)).checksum, None);
        }
        assert_eq!(book(&UPDATE.replace(r#""checksum":-855196043,"#, "")).checksum, None);
        let large = UPDATE.replace("-855196043", "3439771253");
        assert_eq!(error(&large), DecodeErrorKind::BadField("checksum"));
    }

    #[test]
    fn snapshots_keep_alives_and_messages_without_numbers_are_told_apart() {
        let snapshot = UPDATE.replace("update", "snapshot").replace("123456", "-1");
        let of = book(&snapshot);
        assert_eq!((of.kind, of.ids), (BookKind::Snapshot, UpdateIds::unlinked(123_457)));
        let alive = UPDATE.replace("123456", "123457");
        assert_eq!(book(&alive).ids, UpdateIds::linked(123_457, 123_457));
        let old = UPDATE.replace(r#","prevSeqId":123456,"seqId":123457"#, "");
        assert_eq!(book(&old).ids, UpdateIds::NONE);
        let rootless = UPDATE.replace("123456", "-1");
        assert_eq!(error(&rootless), DecodeErrorKind::BadIds);
    }

    #[test]
    fn key_order_white_space_unknown_fields_and_escapes_do_not_matter() {
        let frame = r#" { "data" : [ {"seqId":9,"prevSeqId":8,"zz":{"seqId":[1,{"asks":2}]},"ts":"7","asks":[["2","3",[]] , [ "4" , "5" ,"0","1"]],"bids":[],
            "note":"a \"quoted\" \u00e9 thing"} ] , "new":[{}], "action":"update" , "arg":{"instId":"X","zz":1,"channel":"books"} } "#;
        let book = book(frame);
        assert_eq!((book.symbol, book.ids), (&b"X"[..], UpdateIds::linked(8, 9)));
        assert_eq!(book.ts_venue_ns, 7_000_000);
        assert_eq!(pairs(&book.levels[1]), texts(&[("2", "3"), ("4", "5")]));
    }

    #[test]
    fn a_top_is_read_and_an_empty_side_is_zero() {
        let of = top(TOP);
        assert_eq!((of.symbol, of.update_id), (&b"BTC-USDT-SWAP"[..], 123_456));
        assert_eq!((of.ts_venue_ns, of.ts_sent_ns), (1_597_026_383_085_000_000, 0));
        assert_eq!(of.bid, Some((&b"8476.97"[..], &b"256"[..])));
        assert_eq!(of.ask, Some((&b"8476.98"[..], &b"415"[..])));
        let one_sided = TOP.replace(r#"[["8476.98","415","0","13"]]"#, "[]");
        assert_eq!(top(&one_sided).ask, Some((&b"0"[..], &b"0"[..])));
    }

    #[test]
    fn every_trade_of_a_frame_is_read() {
        let (messages, error) = read(TRADES);
        let read: Vec<_> = messages
            .iter()
            .map(|message| match message {
                Message::Trade(t) => (t.symbol, t.trade_id, t.price, t.qty, t.aggressor),
                other => panic!("{other:?}"),
            })
            .collect();
        let symbol = &b"BTC-USD"[..];
        let first = (symbol, 130_639_474, &b"42219.9"[..], &b"0.12060306"[..], Side::Bid);
        assert_eq!(read, [first, (symbol, 130_639_475, b"42219.8", b"1", Side::Ask)]);
        assert_eq!(error, None);
        match &messages[0] {
            Message::Trade(trade) => assert_eq!(trade.ts_venue_ns, 1_630_048_897_897_000_000),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_to_requests_and_pongs_are_told_from_data() {
        let topic = AckOf::Topic { symbol: b"BTC-USDT", channel: Channel::Depth };
        let arg = r#""arg":{"channel":"books","instId":"BTC-USDT"}"#;
        let words = &br#""Invalid request""#[..];
        let table = [
            (format!(r#"{{"id":"3","event":"subscribe",{arg},"connId":"a4"}}"#), topic, None),
            (
                r#"{"id":"3","event":"subscribe","arg":{"channel":"x","instId":"Y"}}"#.to_owned(),
                AckOf::Request(3),
                None,
            ),
            (format!(r#"{{"event":"unsubscribe",{arg},"connId":"a4"}}"#), AckOf::Unknown, None),
            (
                r#"{"id":"4","event":"error","code":"60012","msg":"Invalid request"}"#.to_owned(),
                AckOf::Request(4),
                Some(words),
            ),
            (
                r#"{"event":"error","code":"60012","msg":"Invalid request"}"#.to_owned(),
                AckOf::Unknown,
                Some(words),
            ),
        ];
        for (frame, of, error) in table {
            match one(&frame) {
                Message::Ack(ack) => assert_eq!(ack, Ack { of, error }, "{frame}"),
                other => panic!("{frame}: {other:?}"),
            }
        }
        assert!(matches!(one("pong"), Message::Heartbeat));
        assert_eq!(error("ping"), DecodeErrorKind::Malformed, "the venue does not ping");
    }

    #[test]
    fn the_notice_of_an_upgrade_asks_for_a_new_connection() {
        let notice = |code: &str| {
            format!(
                r#"{{"event":"notice","code":"{code}","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4"}}"#
            )
        };
        assert!(matches!(one(&notice("64008")), Message::ReconnectRequested(_)));
        assert!(matches!(one(&notice("64009")), Message::Ignored(b"notice")));
    }

    #[test]
    fn unknown_events_and_channels_are_ignored() {
        let table: [(&str, &[u8]); 4] = [
            (r#"{"arg":{"channel":"tickers","instId":"X"},"data":[{"ts":7}]}"#, b"tickers"),
            (r#"{"arg":{"channel":"books5","instId":"X"},"data":[{"asks":7}]}"#, b"books5"),
            (
                r#"{"event":"channel-conn-count","channel":"orders","connCount":"2"}"#,
                b"channel-conn-count",
            ),
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
        use DecodeErrorKind::{BadField, Malformed, MissingField};
        let with = |from: &str, to: &str| UPDATE.replace(from, to);
        assert_eq!(error(&with(r#""prevSeqId":123456,"#, "")), MissingField("prevSeqId"));
        assert_eq!(error(&with("123456", r#""123456""#)), BadField("prevSeqId"));
        assert_eq!(error(&with("123457", "-123457")), BadField("seqId"));
        assert_eq!(error(&with(r#""action":"update","#, "")), MissingField("action"));
        assert_eq!(error(&with("update", "partial")), BadField("action"));
        assert_eq!(error(&with(r#""ts":"1597026383085","#, "")), MissingField("ts"));
        assert_eq!(error(&with("1597026383085", "yesterday")), BadField("ts"));
        assert_eq!(error(&with(r#"[["8476.97","256","0","12"]]"#, "{}")), BadField("bids"));
        assert_eq!(error(&with(r#","instId":"BTC-USDT""#, "")), MissingField("instId"));
        let no_data = r#"{"arg":{"channel":"books","instId":"X"},"action":"update","data":[]}"#;
        assert_eq!(error(no_data), MissingField("data"));
        let side = TRADES.replace(r#""side":"buy""#, r#""side":"BUY""#);
        assert_eq!(error(&side), BadField("side"));
        for frame in ["[]", "7", "{} {}", "not json", "", "pong "] {
            let expected = if frame.is_empty() { DecodeErrorKind::Truncated } else { Malformed };
            assert_eq!(error(frame), expected, "{frame}");
        }
    }

    #[test]
    fn a_truncated_frame_tells_its_subject_once_it_was_read() {
        for (frame, channel) in [(UPDATE, Channel::Depth), (TRADES, Channel::Trade)] {
            let channel_end = frame.find(r#","instId""#).unwrap();
            let symbol_end = frame.find("},").unwrap();
            for end in 0..frame.len() {
                let error = decode(&frame.as_bytes()[..end], &mut |message| {
                    panic!("{end}: {message:?} of a frame that is not whole")
                });
                let error = error.unwrap_err();
                assert_eq!(error.kind, DecodeErrorKind::Truncated, "{end}");
                let expected = (end >= channel_end).then_some(channel);
                assert_eq!(error.subject.channel, expected, "{end}");
                assert_eq!(error.subject.symbol.is_some(), end >= symbol_end, "{end}");
            }
        }
    }

    #[test]
    fn rest_snapshots_are_read_and_refusals_told() {
        use DecodeErrorKind::{BadField, MissingField, Truncated};
        let snapshot = decode_snapshot(BODY.as_bytes()).unwrap();
        assert_eq!(snapshot.ids, UpdateIds::unlinked(3_235_851_742));
        assert_eq!((snapshot.kind, snapshot.symbol), (BookKind::Snapshot, &b""[..]));
        assert_eq!(snapshot.ts_venue_ns, 1_629_966_436_396_000_000);
        assert_eq!(pairs(&snapshot.levels[0]), texts(&[("41006.3", "0.30178218")]));
        assert_eq!(pairs(&snapshot.levels[1]), texts(&[("41006.8", "0.60038921")]));
        let refused = |body: &str| decode_snapshot(body.as_bytes()).unwrap_err();
        assert_eq!(refused(r#"{"code":"51001","msg":"no","data":[]}"#), BadField("code"));
        assert_eq!(refused(r#"{"code":"0","msg":"","data":[]}"#), MissingField("data"));
        assert_eq!(refused(r#"{"data":[]}"#), MissingField("code"));
        assert_eq!(refused(&BODY.replace(r#","seqId":3235851742"#, "")), MissingField("seqId"));
        for end in 0..BODY.len() {
            assert_eq!(refused(&BODY[..end]), Truncated, "{end}");
        }
    }
}
