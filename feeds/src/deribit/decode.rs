//! Bytes to borrowed messages: book notifications, trades, quotes, heartbeats, answers to requests.
//!
//! Invariants: pure, allocates nothing, panics on no input; keys may come in any order, unknown keys,
//! methods and channels are tolerated. A frame is read in one pass; what was understood before the byte
//! that broke it is reported as the [`Subject`]: the name of the channel comes before its data, so that is
//! nearly always known. The lists of levels and of trades are read when they are used, where their errors
//! appear. Prices and amounts are JSON numbers and stay text; an exponent, which JSON allows and the
//! recordings never show, is no price (the session refuses it and repairs the book).

use super::sequence::update_ids;
use super::{TEST, split_channel};
use crate::Side;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::fields::{millis, optional, required, uint};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    Subject, TopMessage, TradeMessage, Visit,
};
use crate::topic::Channel;

/// Decodes a WebSocket frame and hands its messages to `visit`: one, or one for each trade of a list or
/// channel of an answer.
///
/// # Errors
/// Not a JSON object, or a known notification without a field it must have.
pub fn decode<'a>(frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeError<'a>> {
    let mut fields = Fields::default();
    read_frame(frame, &mut fields)
        .and_then(|()| fields.messages(visit))
        .map_err(|kind| DecodeError { kind, subject: fields.subject() })
}

fn read_frame<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), DecodeErrorKind> {
    let mut cursor = Cursor::new(frame);
    cursor.object(|key, cursor| match key {
        b"params" if cursor.peek()? == b'{' => cursor.object(|key, cursor| match key {
            b"data" if cursor.peek()? == b'{' => cursor.object(|key, cursor| {
                fields.set(key, cursor.value()?);
                Ok::<(), JsonError>(())
            }),
            b"channel" | b"data" | b"type" => {
                fields.set(key, cursor.value()?);
                Ok(())
            }
            _ => cursor.value().map(|_| ()),
        }),
        b"method" | b"id" | b"result" | b"error" => {
            fields.set(key, cursor.value()?);
            Ok(())
        }
        _ => cursor.value().map(|_| ()),
    })?;
    Ok(cursor.end()?)
}

/// The raw values of every key that matters in any message.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    method: Option<&'a [u8]>,
    channel: Option<&'a [u8]>,
    /// Data that is no object: the list of trades.
    list: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
    change_id: Option<&'a [u8]>,
    prev_change_id: Option<&'a [u8]>,
    bids: Option<&'a [u8]>,
    asks: Option<&'a [u8]>,
    bid_price: Option<&'a [u8]>,
    bid_amount: Option<&'a [u8]>,
    ask_price: Option<&'a [u8]>,
    ask_amount: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    result: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn set(&mut self, key: &[u8], raw: &'a [u8]) {
        let field = match key {
            b"method" => &mut self.method,
            b"channel" => &mut self.channel,
            b"data" => &mut self.list,
            b"type" => &mut self.kind,
            b"instrument_name" => &mut self.symbol,
            b"timestamp" => &mut self.timestamp,
            b"change_id" => &mut self.change_id,
            b"prev_change_id" => &mut self.prev_change_id,
            b"bids" => &mut self.bids,
            b"asks" => &mut self.asks,
            b"best_bid_price" => &mut self.bid_price,
            b"best_bid_amount" => &mut self.bid_amount,
            b"best_ask_price" => &mut self.ask_price,
            b"best_ask_amount" => &mut self.ask_amount,
            b"id" => &mut self.request_id,
            b"result" => &mut self.result,
            b"error" => &mut self.error,
            _ => return,
        };
        *field = Some(raw);
    }

    fn subject(&self) -> Subject<'a> {
        let channel = self.channel.and_then(scalar).and_then(split_channel);
        let symbol = self.symbol.and_then(scalar);
        Subject {
            symbol: symbol.or(channel.map(|(symbol, _)| symbol)),
            channel: channel.map(|(_, channel)| channel),
        }
    }

    fn messages(&self, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        match self.method.map(scalar) {
            Some(Some(b"subscription")) => return self.notification(visit),
            Some(Some(b"heartbeat")) if self.kind == Some(br#""test_request""#) => {
                visit(Message::Respond(TEST));
            }
            Some(Some(b"heartbeat")) => visit(Message::Heartbeat),
            Some(method) => visit(Message::Ignored(method.unwrap_or_default())),
            None => return self.answer(visit),
        }
        Ok(())
    }

    fn notification(&self, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        let name = required(self.channel, "channel", scalar)?;
        match split_channel(name) {
            Some((_, Channel::Depth)) => visit(Message::Book(self.book()?)),
            Some((_, Channel::BookTicker)) => visit(Message::Top(self.quote()?)),
            Some((_, Channel::Trade)) => return trades(self.list, visit),
            Some((_, Channel::Oracle)) | None => visit(Message::Ignored(name)),
        }
        Ok(())
    }

    fn book(&self) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let change_id = required(self.change_id, "change_id", uint)?;
        let (kind, prev) = match required(self.kind, "type", scalar)? {
            b"snapshot" => (BookKind::Snapshot, None),
            b"change" => {
                let prev = required(self.prev_change_id, "prev_change_id", uint)?;
                (BookKind::Update, Some(prev))
            }
            _ => return Err(DecodeErrorKind::BadField("type")),
        };
        Ok(BookMessage {
            symbol: required(self.symbol, "instrument_name", scalar)?,
            kind,
            ids: update_ids(prev, change_id),
            ts_venue_ns: required(self.timestamp, "timestamp", millis)?,
            ts_sent_ns: 0,
            levels: [required(self.bids, "bids", levels)?, required(self.asks, "asks", levels)?],
            checksum: None,
        })
    }

    fn quote(&self) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let bid = (
            required(self.bid_price, "best_bid_price", number_or_null)?,
            required(self.bid_amount, "best_bid_amount", number_or_null)?,
        );
        let ask = (
            required(self.ask_price, "best_ask_price", number_or_null)?,
            required(self.ask_amount, "best_ask_amount", number_or_null)?,
        );
        Ok(TopMessage {
            symbol: required(self.symbol, "instrument_name", scalar)?,
            ts_venue_ns: required(self.timestamp, "timestamp", millis)?,
            ts_sent_ns: 0,
            update_id: 0,
            bid: Some(bid),
            ask: Some(ask),
        })
    }

    /// A subscription is answered with the channels that it is for; one that is left out was not
    /// accepted. Other requests are answered with a word or an object.
    fn answer(&self, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        let of = self.request_id.and_then(uint).map_or(AckOf::Unknown, AckOf::Request);
        let Some(result) = self.result.filter(|_| self.error.is_none()) else {
            visit(match self.error {
                Some(_) => Message::Ack(Ack { of, error: self.error }),
                None => Message::Ignored(b""),
            });
            return Ok(());
        };
        match result.first() {
            Some(b'[') => accepted(result, visit)?,
            Some(b'{') => visit(Message::Heartbeat),
            _ => visit(Message::Ack(Ack { of, error: None })),
        }
        Ok(())
    }
}

/// One acknowledgement for each channel of the list.
fn accepted<'a>(list: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
    let mut cursor = Cursor::new(list);
    let mut more = cursor.enter_array()?;
    while more {
        let name = scalar(cursor.value()?).ok_or(DecodeErrorKind::BadField("result"))?;
        visit(match split_channel(name) {
            Some((symbol, channel)) => {
                Message::Ack(Ack { of: AckOf::Topic { symbol, channel }, error: None })
            }
            None => Message::Ignored(name),
        });
        more = cursor.next_element()?;
    }
    Ok(())
}

fn trades<'a>(list: Option<&'a [u8]>, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
    let list = list.ok_or(DecodeErrorKind::MissingField("data"))?;
    if list.first() != Some(&b'[') {
        return Err(DecodeErrorKind::BadField("data"));
    }
    let mut cursor = Cursor::new(list);
    let mut more = cursor.enter_array()?;
    while more {
        visit(trade(&mut cursor)?);
        more = cursor.next_element()?;
    }
    Ok(())
}

/// One trade of the list. A block trade was agreed off the book: not a trade on the market.
fn trade<'a>(cursor: &mut Cursor<'a>) -> Result<Message<'a>, DecodeErrorKind> {
    let (mut symbol, mut timestamp, mut seq, mut price) = (None, None, None, None);
    let (mut amount, mut direction, mut is_block) = (None, None, false);
    cursor.object(|key, cursor| {
        let value = cursor.value()?;
        match key {
            b"instrument_name" => symbol = Some(value),
            b"timestamp" => timestamp = Some(value),
            b"trade_seq" => seq = Some(value),
            b"price" => price = Some(value),
            b"amount" => amount = Some(value),
            b"direction" => direction = Some(value),
            b"block_trade_id" => is_block = value != b"null",
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    if is_block {
        return Ok(Message::Ignored(b"block trade"));
    }
    let side = |raw: &[u8]| match raw {
        br#""buy""# => Some(Side::Bid),
        br#""sell""# => Some(Side::Ask),
        _ => None,
    };
    Ok(Message::Trade(TradeMessage {
        symbol: required(symbol, "instrument_name", scalar)?,
        ts_venue_ns: required(timestamp, "timestamp", millis)?,
        ts_sent_ns: 0,
        // `trade_id` is a number for some instruments only; `trade_seq` counts the trades of each.
        trade_id: optional(seq, "trade_seq", uint)?.unwrap_or(0),
        price: required(price, "price", scalar)?,
        qty: required(amount, "amount", scalar)?,
        aggressor: required(direction, "direction", side)?,
        is_history: false,
    }))
}

/// A number, or zero for a side of the book that is empty.
fn number_or_null(raw: &[u8]) -> Option<&[u8]> {
    if raw == b"null" { Some(b"0") } else { scalar(raw) }
}

fn levels(raw: &[u8]) -> Option<Levels<'_>> {
    Levels::new(raw, LevelStyle::Action)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"type":"snapshot","timestamp":1626993723632,"instrument_name":"BTC-PERPETUAL","change_id":100,"bids":[["new",42500.0,1000.0]],"asks":[["new",42501.0,800.0],["new",42501.5,600.0]]}}}"#;
    const CHANGE: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"type":"change","timestamp":1626993724318,"prev_change_id":100,"instrument_name":"BTC-PERPETUAL","change_id":107,"bids":[["change",42500.0,950.0],["new",42498.5,300.0]],"asks":[["delete",42501.0,0.0]]}}}"#;
    const TRADES: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.ETH-PERPETUAL.100ms","data":[{"trade_seq":7,"trade_id":"ETH-403","timestamp":5,"price":2003.45,"instrument_name":"ETH-PERPETUAL","direction":"sell","amount":10.0},{"trade_seq":8,"trade_id":"ETH-404","timestamp":6,"price":2003.5,"instrument_name":"ETH-PERPETUAL","direction":"buy","amount":3.0,"legs":[{"price":1}]}]}}"#;
    const QUOTE: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"quote.BTC-PERPETUAL","data":{"timestamp":1765541767174,"instrument_name":"BTC-PERPETUAL","best_ask_price":92288.5,"best_bid_price":92288.0,"best_ask_amount":99470.0,"best_bid_amount":133440.0}}}"#;
    const SUBSCRIBED: &str = r#"{"jsonrpc":"2.0","id":1,"result":["trades.BTC-PERPETUAL.100ms","book.BTC-PERPETUAL.100ms","ticker.X.raw"],"usIn":1,"usOut":2,"usDiff":1,"testnet":false}"#;

    fn messages(frame: &str) -> Vec<Message<'_>> {
        let mut messages = Vec::new();
        decode(frame.as_bytes(), &mut |message| messages.push(message)).unwrap();
        messages
    }

    fn book(frame: &str) -> BookMessage<'_> {
        match messages(frame).pop() {
            Some(Message::Book(book)) => book,
            other => panic!("{other:?}"),
        }
    }

    fn texts(levels: &Levels<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        levels.clone().map(|level| level.map(|l| (text(l.price), text(l.qty))).unwrap()).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(price, qty)| (price.to_owned(), qty.to_owned())).into()
    }

    fn error(frame: &str) -> DecodeErrorKind {
        decode(frame.as_bytes(), &mut |_| {}).unwrap_err().kind
    }

    #[test]
    fn a_snapshot_is_the_whole_book_and_a_change_names_the_one_before() {
        for frame in
            [SNAPSHOT.to_owned(), SNAPSHOT.replace(":100,", r#":100,"prev_change_id":null,"#)]
        {
            let snapshot = book(&frame);
            assert_eq!((snapshot.kind, snapshot.ids), (BookKind::Snapshot, update_ids(None, 100)));
            assert_eq!((snapshot.symbol, snapshot.checksum), (&b"BTC-PERPETUAL"[..], None));
            let times = (snapshot.ts_venue_ns, snapshot.ts_sent_ns);
            assert_eq!(times, (1_626_993_723_632_000_000, 0));
            assert_eq!(texts(&snapshot.levels[0]), pairs([("42500.0", "1000.0")]));
        }
        let change = book(CHANGE);
        assert_eq!((change.kind, change.ids), (BookKind::Update, update_ids(Some(100), 107)));
        let bids = pairs([("42500.0", "950.0"), ("42498.5", "300.0")]);
        assert_eq!(texts(&change.levels[0]), bids);
        assert_eq!(texts(&change.levels[1]), pairs([("42501.0", "0")]));
    }

    #[test]
    fn key_order_white_space_and_unknown_fields_do_not_matter() {
        let frame = r#" {"new":[{"data":1}], "params" : {"data":{"asks":[], "bids":[[ "new" , 1 , 2 ]],"change_id":2,"zz":{"type":"x"},
            "instrument_name":"X","prev_change_id":1,"timestamp":7,"type":"change"},"channel":"book.X.raw","label":"\"a\""},"method":"subscription"} "#;
        let book = book(frame);
        assert_eq!((book.symbol, book.ts_venue_ns), (&b"X"[..], 7_000_000));
        assert_eq!(texts(&book.levels[0]), pairs([("1", "2")]));
    }

    #[test]
    fn every_trade_of_a_list_is_a_message_and_block_trades_are_none() {
        let trades = messages(TRADES);
        let [Message::Trade(first), Message::Trade(second)] = &trades[..] else {
            panic!("{trades:?}");
        };
        assert_eq!((first.trade_id, first.ts_venue_ns, first.aggressor), (7, 5_000_000, Side::Ask));
        assert_eq!((first.price, first.qty), (&b"2003.45"[..], &b"10.0"[..]));
        assert_eq!((second.trade_id, second.ts_venue_ns), (8, 6_000_000));
        assert_eq!((second.symbol, second.aggressor), (&b"ETH-PERPETUAL"[..], Side::Bid));
        let block = TRADES.replacen(r#""amount""#, r#""block_trade_id":"12","amount""#, 1);
        assert!(matches!(
            messages(&block)[..],
            [Message::Ignored(b"block trade"), Message::Trade(_)]
        ));
        let empty = r#"{"method":"subscription","params":{"channel":"trades.X.raw","data":[]}}"#;
        assert_eq!(messages(empty).len(), 0);
    }

    #[test]
    fn the_trades_before_a_bad_one_are_visited() {
        let frame = TRADES.replace(r#""direction":"buy""#, r#""direction":"up""#);
        let mut count = 0;
        let error = decode(frame.as_bytes(), &mut |_| count += 1).unwrap_err();
        assert_eq!((error.kind, count), (DecodeErrorKind::BadField("direction"), 1));
        assert_eq!(error.subject.channel, Some(Channel::Trade));
    }

    #[test]
    fn a_quote_is_the_top_and_a_side_without_orders_is_zero() {
        let frame = QUOTE.replace("92288.0", "null").replace("133440.0", "null");
        let zero = Some((&b"0"[..], &b"0"[..]));
        for (frame, bid) in [(QUOTE, Some((&b"92288.0"[..], &b"133440.0"[..]))), (&frame[..], zero)]
        {
            match messages(frame)[..] {
                [Message::Top(top)] => {
                    assert_eq!((top.bid, top.ask), (bid, Some((&b"92288.5"[..], &b"99470.0"[..]))));
                    assert_eq!(top.ts_venue_ns, 1_765_541_767_174_000_000);
                }
                ref other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_subscription_is_acknowledged_channel_by_channel() {
        let acks: Vec<_> = messages(SUBSCRIBED)
            .into_iter()
            .map(|message| match message {
                Message::Ack(Ack { of: AckOf::Topic { symbol, channel }, error: None }) => {
                    Some((symbol, channel))
                }
                Message::Ignored(b"ticker.X.raw") => None,
                other => panic!("{other:?}"),
            })
            .collect();
        let topic = |channel| Some((&b"BTC-PERPETUAL"[..], channel));
        assert_eq!(acks, [topic(Channel::Trade), topic(Channel::Depth), None]);
    }

    #[test]
    fn heartbeats_answers_and_unknown_events_are_told_apart() {
        let text = |frame: &str| format!("{:?}", messages(frame));
        let ok = Ack { of: AckOf::Request(4), error: None };
        let refused = Ack { of: AckOf::Request(1), error: Some(br#"{"code":10028}"#) };
        let table = [
            (r#"{"method":"heartbeat","params":{"type":"test_request"}}"#, Message::Respond(TEST)),
            (r#"{"method":"heartbeat","params":{"type":"heartbeat"}}"#, Message::Heartbeat),
            (r#"{"id":0,"result":{"version":"1.2.26"},"usIn":1}"#, Message::Heartbeat),
            (r#"{"id":4,"result":"ok"}"#, Message::Ack(ok)),
            (r#"{"id":1,"error":{"code":10028}}"#, Message::Ack(refused)),
            (r#"{"method":"else","params":[1]}"#, Message::Ignored(b"else")),
            ("{}", Message::Ignored(b"")),
        ];
        for (frame, expected) in table {
            assert_eq!(text(frame), format!("{:?}", [expected]), "{frame}");
        }
        let grouped = SNAPSHOT.replace("book.BTC-PERPETUAL", "book.BTC-PERPETUAL.none.10");
        assert!(matches!(messages(&grouped)[..], [Message::Ignored(_)]));
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        use DecodeErrorKind::{BadField, Malformed, MissingField};
        let with = |from: &str, to: &str| error(&CHANGE.replace(from, to));
        assert_eq!(with(r#""prev_change_id":100,"#, ""), MissingField("prev_change_id"));
        assert_eq!(with(":100,", ":-1,"), BadField("prev_change_id"));
        assert_eq!(with(r#""change_id":107"#, r#""change_id":1.5"#), BadField("change_id"));
        assert_eq!(with(r#""change","timestamp""#, r#""new","timestamp""#), BadField("type"));
        assert_eq!(with(r#""asks":[["delete",42501.0,0.0]]"#, r#""asks":{}"#), BadField("asks"));
        assert_eq!(with("1626993724318", "true"), BadField("timestamp"));
        assert_eq!(error(&QUOTE.replace("92288.5", "[]")), BadField("best_ask_price"));
        assert_eq!(error(&TRADES.replace(r#""price":2003.45,"#, "")), MissingField("price"));
        assert_eq!(
            error(&TRADES.replace(r#""trade_seq":7"#, r#""trade_seq":{}"#)),
            BadField("trade_seq")
        );
        let no_list = r#"{"method":"subscription","params":{"channel":"trades.X.raw","data":7}}"#;
        assert_eq!(error(no_list), BadField("data"));
        for frame in ["[]", "7", "{} {}", "not json"] {
            assert_eq!(error(frame), Malformed, "{frame}");
        }
    }

    #[test]
    fn levels_of_a_wrong_shape_end_with_an_error() {
        for wrong in [r#"["new",1]"#, "[]", "1", r#"["new",null,1]"#, "{}"] {
            let frame = CHANGE.replace(r#"["delete",42501.0,0.0]"#, wrong);
            let [_, mut asks] = book(&frame).levels;
            assert!(asks.next().unwrap().is_err(), "{wrong}");
            assert!(asks.next().is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_truncated_frame_tells_its_subject_once_it_was_read() {
        for frame in [SNAPSHOT, CHANGE, TRADES, QUOTE, SUBSCRIBED] {
            let mut untold = 0;
            for end in 0..frame.len() {
                let error = decode(&frame.as_bytes()[..end], &mut |_| {}).unwrap_err();
                assert_eq!(error.kind, DecodeErrorKind::Truncated, "{end}");
                untold += usize::from(error.subject.symbol.is_none());
                assert_eq!(error.subject.symbol.is_some(), error.subject.channel.is_some());
            }
            // The name of the channel and its quote.
            let named = frame.find(r#"channel":""#).map(|at| at + r#"channel":""#.len());
            let expected = named.map_or(frame.len(), |at| at + frame[at..].find('"').unwrap() + 1);
            assert_eq!(untold, expected);
        }
    }
}
