//! WebSocket v1 frames to the same messages, for recordings from before v2.
//!
//! Data is an array, `[id, payload…, "channel", "pair"]`; what happens to the connection is an object with an
//! `event`. Invariants: as in [`super::decode`]; a message's time is that of its newest level, since it has
//! none of its own. The number in `book-1000` is the depth the book is to be cut to: it must be that of
//! the session. A frame that breaks before its end cannot tell its pair, which stands last.

use super::decode::checksum;
use super::sequence::IDS;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::fields::required;
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, DecodeError, DecodeErrorKind, LevelStyle, Levels, Message,
    Subject, TopMessage, TradeMessage, Visit,
};
use crate::topic::Channel;
use crate::{Side, fixed};

/// Whether a frame is of v1: an array, or an object whose first telling key is one of v1's.
#[must_use]
pub fn is_v1(frame: &[u8]) -> bool {
    /// Ends the walk early; carries the verdict.
    struct Verdict(bool);
    impl From<JsonError> for Verdict {
        fn from(_: JsonError) -> Self {
            Self(false)
        }
    }
    let mut cursor = Cursor::new(frame);
    if cursor.peek() == Ok(b'[') {
        return true;
    }
    let walk = cursor.object(|key, cursor| match key {
        b"event" | b"channelID" | b"channelName" | b"connectionID" | b"errorMessage" | b"pair"
        | b"subscription" => Err(Verdict(true)),
        b"channel" | b"data" | b"method" | b"type" => Err(Verdict(false)),
        _ => Ok(cursor.value().map(|_| ())?),
    });
    matches!(walk, Err(Verdict(true)))
}

/// Decodes a frame and hands each of its messages to `visit`.
///
/// # Errors
/// Neither an array nor an object, or a message of a known channel without a part it must have.
pub fn decode<'a>(frame: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeError<'a>> {
    let mut cursor = Cursor::new(frame);
    if cursor.peek() != Ok(b'[') {
        let event = Event::read(frame).map(|event| visit(event.message()));
        return event.map_err(|kind| DecodeError { kind, subject: Subject::default() });
    }
    let mut data = Data::default();
    data.read(frame)
        .and_then(|()| data.visit(visit))
        .map_err(|kind| DecodeError { kind, subject: data.subject() })
}

/// What happened to the connection or to a subscription.
#[derive(Debug, Default)]
struct Event<'a> {
    name: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    pair: Option<&'a [u8]>,
    channel_name: Option<&'a [u8]>,
    error_message: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    fn read(frame: &'a [u8]) -> Result<Self, DecodeErrorKind> {
        let mut event = Self::default();
        let mut cursor = Cursor::new(frame);
        cursor.object(|key, cursor| {
            let value = cursor.value()?;
            match key {
                b"event" => event.name = scalar(value),
                b"status" => event.status = scalar(value),
                b"pair" => event.pair = scalar(value),
                b"channelName" => event.channel_name = scalar(value),
                b"errorMessage" => event.error_message = Some(value),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        cursor.end()?;
        Ok(event)
    }

    fn message(&self) -> Message<'a> {
        match self.name {
            Some(b"heartbeat" | b"pong" | b"systemStatus") => Message::Heartbeat,
            Some(b"subscriptionStatus") => {
                let channel = self.channel_name.and_then(channel);
                let of = match (self.status, self.pair, channel) {
                    (Some(b"subscribed"), Some(symbol), Some(channel)) => {
                        AckOf::Topic { symbol, channel }
                    }
                    _ => AckOf::Unknown,
                };
                let refusal = self.status.filter(|status| *status == b"error");
                Message::Ack(Ack { of, error: self.error_message.or(refusal) })
            }
            other => Message::Ignored(other.unwrap_or(b"")),
        }
    }
}

/// The channel of a name; `book-1000` names the depth too.
fn channel(name: &[u8]) -> Option<Channel> {
    match name {
        b"ticker" | b"spread" => Some(Channel::BookTicker),
        b"trade" => Some(Channel::Trade),
        _ if name == b"book" || name.starts_with(b"book-") => Some(Channel::Depth),
        _ => None,
    }
}

/// The raw parts of a data frame.
#[derive(Debug, Default)]
struct Data<'a> {
    /// `as`, `bs`: the whole book.
    whole: [Option<&'a [u8]>; 2],
    /// `b`, `a`: changed levels, or the best ones of a ticker.
    bid: Option<&'a [u8]>,
    ask: Option<&'a [u8]>,
    checksum: Option<&'a [u8]>,
    /// The payload where it is a list.
    list: Option<&'a [u8]>,
    /// Channel and pair.
    names: [Option<&'a [u8]>; 2],
}

impl<'a> Data<'a> {
    fn read(&mut self, frame: &'a [u8]) -> Result<(), DecodeErrorKind> {
        let mut cursor = Cursor::new(frame);
        let mut more = cursor.enter_array()?;
        while more {
            match cursor.peek()? {
                b'{' => cursor.object(|key, cursor| {
                    let value = cursor.value()?;
                    let field = match key {
                        b"bs" => &mut self.whole[0],
                        b"as" => &mut self.whole[1],
                        b"b" => &mut self.bid,
                        b"a" => &mut self.ask,
                        b"c" => &mut self.checksum,
                        _ => return Ok(()),
                    };
                    *field = Some(value);
                    Ok::<(), JsonError>(())
                })?,
                b'[' => self.list = Some(cursor.value()?),
                b'"' => {
                    let name = scalar(cursor.value()?);
                    if self.names[0].is_none() {
                        self.names[0] = name;
                    } else {
                        self.names[1] = self.names[1].or(name);
                    }
                }
                _ => drop(cursor.value()?),
            }
            more = cursor.next_element()?;
        }
        Ok(cursor.end()?)
    }

    fn subject(&self) -> Subject<'a> {
        let is_book = self.whole.iter().any(Option::is_some) || self.checksum.is_some();
        let channel = match self.names[0] {
            Some(name) => channel(name),
            None => is_book.then_some(Channel::Depth),
        };
        Subject { symbol: self.names[1], channel }
    }

    fn visit(&self, visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        let name = required(self.names[0], "channelName", Some)?;
        let Some(channel) = channel(name) else {
            visit(Message::Ignored(name));
            return Ok(());
        };
        let symbol = required(self.names[1], "pair", Some)?;
        match channel {
            Channel::Depth => visit(Message::Book(self.book(symbol)?)),
            Channel::BookTicker if name == b"spread" => visit(Message::Top(self.spread(symbol)?)),
            Channel::Trade => self.trades(symbol, visit)?,
            Channel::BookTicker | Channel::Oracle => visit(Message::Top(self.ticker(symbol)?)),
        }
        Ok(())
    }

    fn book(&self, symbol: &'a [u8]) -> Result<BookMessage<'a>, DecodeErrorKind> {
        let is_whole = self.whole.iter().any(Option::is_some);
        let raw = if is_whole { self.whole } else { [self.bid, self.ask] };
        if raw == [None; 2] {
            return Err(DecodeErrorKind::MissingField("b"));
        }
        let side = |raw: Option<&'a [u8]>, name| match raw {
            Some(raw) => required(Some(raw), name, |raw| Levels::new(raw, LevelStyle::Pair)),
            None => Ok(Levels::none()),
        };
        let newest_ns = raw.into_iter().flatten().filter_map(newest_ns).max();
        // Snapshots have no checksum, updates always do.
        let sum = required(self.checksum, "c", checksum);
        Ok(BookMessage {
            symbol,
            kind: if is_whole { BookKind::Snapshot } else { BookKind::Update },
            ids: IDS,
            ts_venue_ns: newest_ns.unwrap_or(0),
            ts_sent_ns: 0,
            levels: [side(raw[0], "b")?, side(raw[1], "a")?],
            checksum: if is_whole { None } else { Some(sum?) },
        })
    }

    /// `{"b":[price, whole lots, lots], "a":…}`; it has no time.
    fn ticker(&self, symbol: &'a [u8]) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let best = |raw| {
            let [price, _, qty] = texts(raw)?;
            Some((price, qty))
        };
        Ok(TopMessage {
            symbol,
            ts_venue_ns: 0,
            ts_sent_ns: 0,
            update_id: 0,
            bid: Some(required(self.bid, "b", best)?),
            ask: Some(required(self.ask, "a", best)?),
        })
    }

    /// `[bid, ask, time, bid quantity, ask quantity]`.
    fn spread(&self, symbol: &'a [u8]) -> Result<TopMessage<'a>, DecodeErrorKind> {
        let [bid, ask, time, bid_qty, ask_qty] = required(self.list, "spread", texts)?;
        Ok(TopMessage {
            symbol,
            ts_venue_ns: required(Some(time), "timestamp", seconds)?,
            ts_sent_ns: 0,
            update_id: 0,
            bid: Some((bid, bid_qty)),
            ask: Some((ask, ask_qty)),
        })
    }

    /// A list of `[price, quantity, time, "b" or "s", …]`; trades have no numbers in v1.
    fn trades(&self, symbol: &'a [u8], visit: &mut Visit<'_, 'a>) -> Result<(), DecodeErrorKind> {
        let mut cursor = Cursor::new(required(self.list, "trade", Some)?);
        let mut more = cursor.enter_array()?;
        while more {
            let [price, qty, time, side] = required(Some(cursor.value()?), "trade", texts)?;
            let side = required(Some(side), "side", |side| match side {
                b"b" => Some(Side::Bid),
                b"s" => Some(Side::Ask),
                _ => None,
            });
            visit(Message::Trade(TradeMessage {
                symbol,
                ts_venue_ns: required(Some(time), "time", seconds)?,
                ts_sent_ns: 0,
                trade_id: 0,
                price,
                qty,
                aggressor: side?,
                is_history: false,
            }));
            more = cursor.next_element()?;
        }
        Ok(())
    }
}

/// The first `N` scalars of an array.
fn texts<const N: usize>(raw: &[u8]) -> Option<[&[u8]; N]> {
    let mut cursor = Cursor::new(raw);
    let mut texts = [&b""[..]; N];
    let mut more = cursor.enter_array().ok()?;
    for text in &mut texts {
        if !more {
            return None;
        }
        *text = scalar(cursor.value().ok()?)?;
        more = cursor.next_element().ok()?;
    }
    Some(texts)
}

/// A time in seconds with decimals, as nanoseconds.
fn seconds(text: &[u8]) -> Option<i64> {
    fixed::parse(text, 9).ok().filter(|ns| *ns >= 0)
}

/// Time of the newest of a list of levels, ns; levels of another shape are the level reader's to refuse.
fn newest_ns(raw: &[u8]) -> Option<i64> {
    let mut cursor = Cursor::new(raw);
    let mut newest = None;
    let mut more = cursor.enter_array().ok()?;
    while more {
        let time = texts(cursor.value().ok()?).and_then(|[_, _, time]| seconds(time));
        newest = newest.max(time);
        more = cursor.next_element().ok()?;
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::UpdateIds;

    /// A readable account of every message.
    fn read(
        frame: &str,
    ) -> Result<Vec<String>, (DecodeErrorKind, Option<String>, Option<Channel>)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut found = Vec::new();
        let decoded = decode(frame.as_bytes(), &mut |message| {
            found.push(match message {
                Message::Book(book) => {
                    assert_eq!((book.ids, book.ts_sent_ns), (UpdateIds::NONE, 0));
                    let side = |levels: &Levels<'_>| {
                        let levels = levels.clone().map(Result::unwrap);
                        let levels = levels.map(|l| format!("{}x{}", text(l.qty), text(l.price)));
                        levels.collect::<Vec<_>>().join(" ")
                    };
                    let [bids, asks] = &book.levels;
                    let (kind, time, sum) = (book.kind, book.ts_venue_ns, book.checksum);
                    let symbol = text(book.symbol);
                    format!("{symbol} {kind:?} {time} [{}|{}] {sum:?}", side(bids), side(asks))
                }
                Message::Top(top) => {
                    let side = |side: Option<(&[u8], &[u8])>| {
                        side.map(|(price, qty)| format!("{}x{}", text(qty), text(price))).unwrap()
                    };
                    let (symbol, time) = (text(top.symbol), top.ts_venue_ns);
                    format!("{symbol} {time} [{}|{}]", side(top.bid), side(top.ask))
                }
                Message::Trade(t) => {
                    assert!(!t.is_history && t.trade_id == 0);
                    let (symbol, time, side) = (text(t.symbol), t.ts_venue_ns, t.aggressor);
                    format!("{symbol} {time} {side:?} {}x{}", text(t.qty), text(t.price))
                }
                Message::Ack(Ack { of: AckOf::Topic { symbol, channel }, error }) => {
                    format!("ack {} {} {error:?}", text(symbol), channel.name())
                }
                Message::Ack(Ack { error, .. }) => format!("ack {:?}", error.map(text)),
                Message::Ignored(what) => format!("ignored {}", text(what)),
                other => format!("{other:?}"),
            });
        });
        let told = |error: DecodeError<'_>| {
            (error.kind, error.subject.symbol.map(text), error.subject.channel)
        };
        decoded.map(|()| found).map_err(told)
    }

    const UPDATE: &str = r#"[1920,{"a":[["0.042990","364630.28","1618678145.920470"]]},{"b":[["0.042980","0.00000000","1618678145.920708"]],"c":"4105471083"},"book-1000","SC/EUR"]"#;

    #[test]
    fn every_kind_of_frame_becomes_its_message() {
        let table = [
            (
                r#"[1,{"as":[["0.5","2","3.5"]],"bs":[["0.4","1","4.000000001"],["0.3","1","2"]]},"book-25","XBT/USD"]"#,
                "XBT/USD Snapshot 4000000001 [1x0.4 1x0.3|2x0.5] None",
            ),
            (
                UPDATE,
                "SC/EUR Update 1618678145920708000 [0.00000000x0.042980|364630.28x0.042990] Some(4105471083)",
            ),
            (
                r#" [ 2, {"c":"7","new":{"b":[1]},"b":[["1","2","3","r"]]} , "book-10","A/B" ] "#,
                "A/B Update 3000000000 [2x1|] Some(7)",
            ),
            (
                r#"[9,[["354.11","0.8","1618678142.557535","s","l",""]],"trade","XMR/USD"]"#,
                "XMR/USD 1618678142557535000 Ask 0.8x354.11",
            ),
            (
                r#"[8,{"a":["13.25",35,"35.7"],"b":["13.23",185,"185.1"],"c":["13.25","3.7"]},"ticker","W/E"]"#,
                "W/E 0 [185.1x13.23|35.7x13.25]",
            ),
            (r#"[8,["1.1","1.2","5.5","3","4"],"spread","W/E"]"#, "W/E 5500000000 [3x1.1|4x1.2]"),
            (r#"[8,["1"],"ohlc-5","W/E"]"#, "ignored ohlc-5"),
            (r#"{"event":"heartbeat"}"#, "Heartbeat"),
            (r#"{"event":"pong","reqid":4}"#, "Heartbeat"),
            (
                r#"{"connectionID":18239578009413566319,"event":"systemStatus","status":"online"}"#,
                "Heartbeat",
            ),
            (
                r#"{"channelID":1,"channelName":"book-10","event":"subscriptionStatus","pair":"X/Y","status":"subscribed","subscription":{"name":"book","depth":10}}"#,
                "ack X/Y depth None",
            ),
            (
                r#"{"event":"subscriptionStatus","errorMessage":"Subscription depth not supported","pair":"X/Y","status":"error"}"#,
                "ack Some(\"\\\"Subscription depth not supported\\\"\")",
            ),
            (r#"{"event":"somethingNew"}"#, "ignored somethingNew"),
        ];
        for (frame, expected) in table {
            assert!(is_v1(frame.as_bytes()), "{frame}");
            assert_eq!(read(frame), Ok(vec![expected.to_owned()]), "{frame}");
        }
        let two = r#"[9,[["1","2","3","b"],["4","5","6","s"]],"trade","X/Y"]"#;
        assert_eq!(read(two).unwrap(), ["X/Y 3000000000 Bid 2x1", "X/Y 6000000000 Ask 5x4"]);
    }

    #[test]
    fn what_is_not_v1_is_told_from_it() {
        for frame in [
            r#"{"channel":"heartbeat"}"#,
            r#"{"method":"pong","req_id":1}"#,
            r#"{"data":[{"pair":1}],"channel":"book"}"#,
            "{}",
            "",
            "nonsense",
        ] {
            assert!(!is_v1(frame.as_bytes()), "{frame}");
        }
    }

    #[test]
    fn a_wrong_or_missing_part_is_named_and_so_is_the_pair() {
        use DecodeErrorKind::{BadField, MissingField};
        let depth = |kind, symbol: &str| (kind, Some(symbol.to_owned()), Some(Channel::Depth));
        let table = [
            (UPDATE.replace(r#","c":"4105471083""#, ""), depth(MissingField("c"), "SC/EUR")),
            (UPDATE.replace("4105471083", "4294967296"), depth(BadField("c"), "SC/EUR")),
            (r#"[1,{},"book-10","X/Y"]"#.to_owned(), depth(MissingField("b"), "X/Y")),
            (r#"[1,{"b":{},"c":"1"},"book-10","X/Y"]"#.to_owned(), depth(BadField("b"), "X/Y")),
            (
                r#"[1,{"b":[],"c":"1"},"book-10"]"#.to_owned(),
                (MissingField("pair"), None, Some(Channel::Depth)),
            ),
            ("[1,{}]".to_owned(), (MissingField("channelName"), None, None)),
            (
                r#"[1,[["1","2","3","x"]],"trade","X/Y"]"#.to_owned(),
                (BadField("side"), Some("X/Y".to_owned()), Some(Channel::Trade)),
            ),
            (
                r#"[1,{"b":["1",2],"a":[]},"ticker","X/Y"]"#.to_owned(),
                (BadField("b"), Some("X/Y".to_owned()), Some(Channel::BookTicker)),
            ),
        ];
        for (frame, expected) in table {
            assert_eq!(read(&frame), Err(expected), "{frame}");
        }
    }

    #[test]
    fn a_truncated_frame_tells_what_it_can() {
        for end in 0..UPDATE.len() {
            let (kind, symbol, channel) = read(&UPDATE[..end]).unwrap_err();
            assert_eq!(
                (kind, symbol.is_some()),
                (DecodeErrorKind::Truncated, end == UPDATE.len() - 1)
            );
            // Only books have a checksum.
            let read_checksum = UPDATE.find("4105471083\"").unwrap() + "4105471083\"".len();
            assert_eq!(channel.is_some(), end >= read_checksum, "{end}");
        }
    }
}
