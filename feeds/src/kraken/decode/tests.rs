//! The decoder alone and behind a session.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::session::{BadInput, Session, SessionSpec};
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, Venue};

const BOOK: &str = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":45283.5,"qty":0.10000000},{"price":45283.4,"qty":0.00000000}],"asks":[],"checksum":3310070434,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#;
const TICKER: &str = r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":1.50,"bid_qty":2.5,"ask":1.60,"ask_qty":3.2,"last":9,"timestamp":"1970-01-01T00:00:01Z"}]}"#;
const TRADES: &str = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":1.20,"qty":0.5,"ord_type":"limit","trade_id":7,"timestamp":"1970-01-01T00:00:01Z"},{"symbol":"ETH/USD","side":"sell","price":3,"qty":4,"ord_type":"market","trade_id":8,"timestamp":"1970-01-01T00:00:02Z"}]}"#;

/// Every message, on a line each.
fn read(frame: &str) -> Result<Vec<String>, DecodeError<'_>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = Vec::new();
    decode(frame.as_bytes(), &mut |message| {
        found.push(match message {
            Message::Book(book) => {
                assert_eq!((book.ids, book.ts_sent_ns), (IDS, 0));
                let side = |levels: &Levels<'_>| {
                    let levels = levels.clone().map(Result::unwrap);
                    let levels = levels.map(|l| format!("{}x{}", text(l.qty), text(l.price)));
                    levels.collect::<Vec<_>>().join(" ")
                };
                let [bids, asks] = &book.levels;
                let (symbol, kind, time) = (text(book.symbol), book.kind, book.ts_venue_ns);
                format!(
                    "{symbol} {kind:?} {time} [{}|{}] {:?}",
                    side(bids),
                    side(asks),
                    book.checksum
                )
            }
            Message::Top(top) => {
                let side = |side: Option<(&[u8], &[u8])>| {
                    side.map(|(price, qty)| format!("{}x{}", text(qty), text(price))).unwrap()
                };
                let (symbol, time) = (text(top.symbol), top.ts_venue_ns);
                format!("{symbol} {time} [{}|{}]", side(top.bid), side(top.ask))
            }
            Message::Trade(t) => {
                let (symbol, time, id) = (text(t.symbol), t.ts_venue_ns, t.trade_id);
                let (side, past) = (t.aggressor, t.is_history);
                format!("{symbol} {time} #{id} {side:?} {}x{} {past}", text(t.qty), text(t.price))
            }
            Message::Ack(Ack { of: AckOf::Topic { symbol, channel }, error }) => {
                format!("ack {} {} {error:?}", text(symbol), channel.name())
            }
            Message::Ack(Ack { error, .. }) => format!("ack {:?}", error.map(text)),
            Message::Ignored(what) => format!("ignored {}", text(what)),
            other => format!("{other:?}"),
        });
    })
    .map(|()| found)
}

#[test]
fn every_kind_of_frame_becomes_its_messages() {
    let update = "BTC/USD Update 1696613755440295000 [0.10000000x45283.5 0.00000000x45283.4|] Some(3310070434)";
    let table: [(&str, &[&str]); 12] = [
        (BOOK, &[update]),
        (TICKER, &["BTC/USD 1000000000 [2.5x1.50|3.2x1.60]"]),
        (
            TRADES,
            &["BTC/USD 1000000000 #7 Bid 0.5x1.20 false", "ETH/USD 2000000000 #8 Ask 4x3 false"],
        ),
        (r#"{"channel":"heartbeat"}"#, &["Heartbeat"]),
        (
            r#"{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]}"#,
            &["Heartbeat"],
        ),
        (r#"{"method":"pong","req_id":42,"time_in":"x"}"#, &["Heartbeat"]),
        (
            r#"{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true,"req_id":1}"#,
            &["ack BTC/USD depth None"],
        ),
        (
            r#"{"method":"unsubscribe","result":{"channel":"book","depth":10,"symbol":"BTC/USD"},"success":true}"#,
            &["ack None"],
        ),
        (
            r#"{"error":"Currency pair not supported A/B","method":"subscribe","success":false,"symbol":"A/B"}"#,
            &["ack Some(\"\\\"Currency pair not supported A/B\\\"\")"],
        ),
        (r#"{"Error":"Exceeded msg rate"}"#, &["ack Some(\"\\\"Exceeded msg rate\\\"\")"]),
        (
            r#"{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"A/B"}]}}"#,
            &["ignored instrument"],
        ),
        ("{}", &["ignored "]),
    ];
    for (frame, expected) in table {
        assert_eq!(read(frame).unwrap(), expected, "{frame}");
    }
    let snapshot = BOOK
        .replace("update", "snapshot")
        .replace(r#","timestamp":"2023-10-06T17:35:55.440295Z""#, "");
    let expected = update.replace("Update 1696613755440295000", "Snapshot 0");
    assert_eq!(read(&snapshot).unwrap(), [expected]);
    let past = TRADES.replace("update", "snapshot");
    assert!(read(&past).unwrap().iter().all(|trade| trade.ends_with("true")));
}

#[test]
fn key_order_white_space_and_unknown_fields_do_not_matter() {
    let data = r#" "data" : [ { "checksum":1 , "new":{"symbol":[{}]}, "asks":[ {"qty":2.0,"z":[1],"price":1.0} ] ,
        "symbol":"A/B" } ] "#;
    let expected = ["A/B Snapshot 0 [|2.0x1.0] Some(1)"];
    for frame in [
        format!(r#"{{{data},"type":"snapshot","channel":"book"}}"#),
        format!(r#"{{"channel":"book",{data},"type":"snapshot"}}"#),
        format!(r#"{{"type":"snapshot",{data},"x":[[]],"channel":"book"}}"#),
        format!(r#"{{"req":null,"type":"snapshot","channel":"book",{data}}}"#),
    ] {
        assert_eq!(read(&frame).unwrap(), expected, "{frame}");
    }
}

#[test]
fn a_wrong_or_missing_field_is_named_and_so_is_the_instrument() {
    use DecodeErrorKind::{BadField, Malformed, MissingField};
    let with = |from: &str, to: &str| BOOK.replace(from, to);
    let depth = Some(Channel::Depth);
    let table = [
        (with(r#""symbol":"BTC/USD","#, ""), MissingField("symbol"), None, depth),
        (with(r#","checksum":3310070434"#, ""), MissingField("checksum"), Some("BTC/USD"), depth),
        (with("3310070434", "4294967296"), BadField("checksum"), Some("BTC/USD"), depth),
        (with("3310070434", "-1"), BadField("checksum"), Some("BTC/USD"), depth),
        (with(r#""asks":[]"#, r#""asks":{}"#), BadField("asks"), Some("BTC/USD"), depth),
        (with("2023-10-06T", "2023-10-06 at "), BadField("timestamp"), Some("BTC/USD"), depth),
        (with("\"update\"", "\"news\""), BadField("type"), Some("BTC/USD"), depth),
        (with(r#""type":"update","#, ""), MissingField("type"), Some("BTC/USD"), depth),
        (
            r#"{"channel":"book","type":"update","data":[{"symbol":"A/B","checksum":1}]}"#.into(),
            MissingField("bids"),
            Some("A/B"),
            depth,
        ),
        (r#"{"channel":"book","type":"update","data":{}}"#.into(), BadField("data"), None, depth),
        (r#"{"channel":"book","type":"update"}"#.into(), MissingField("data"), None, depth),
        (
            r#"{"channel":"book","type":"update","data":[7]}"#.into(),
            MissingField("symbol"),
            None,
            depth,
        ),
        (
            TICKER.replace("1.60", "null"),
            BadField("ask"),
            Some("BTC/USD"),
            Some(Channel::BookTicker),
        ),
        (TRADES.replace("sell", "none"), BadField("side"), Some("ETH/USD"), Some(Channel::Trade)),
        (TRADES.replace(":8", ":8.5"), BadField("trade_id"), Some("ETH/USD"), Some(Channel::Trade)),
        ("7".into(), Malformed, None, None),
        ("{} {}".into(), Malformed, None, None),
    ];
    for (frame, kind, symbol, channel) in table {
        let error = read(&frame).unwrap_err();
        let subject = Subject { symbol: symbol.map(str::as_bytes), channel };
        assert_eq!((error.kind, error.subject), (kind, subject), "{frame}");
    }
}

#[test]
fn levels_of_a_wrong_shape_end_with_an_error() {
    for wrong in ["[[1,2]]", r#"[{"price":1}]"#, r#"[{"price":1,"qty":null}]"#, "[1]"] {
        let frame = BOOK.replace(r#""asks":[]"#, &format!(r#""asks":{wrong}"#));
        let visit = &mut |message: Message<'_>| match message {
            Message::Book(BookMessage { levels: [_, mut asks], .. }) => {
                assert!(asks.next().unwrap().is_err() && asks.next().is_none(), "{wrong}");
            }
            other => panic!("{other:?}"),
        };
        decode(frame.as_bytes(), visit).unwrap();
    }
}

#[test]
fn a_truncated_frame_tells_its_subject_once_it_was_read() {
    let early = BOOK.replace(r#""channel":"book","type":"update","#, "");
    // Where channel and symbol are known; without the channel, where the first side of the book is.
    for (frame, after) in [(BOOK, r#""BTC/USD""#), (&early, r#""qty":0.00000000}]"#)] {
        let known = frame.find(after).unwrap() + after.len();
        for end in 0..frame.len() {
            let error = read(&frame[..end]).unwrap_err();
            assert_eq!(error.kind, DecodeErrorKind::Truncated, "{end}");
            let is_told = error.subject.symbol.is_some() && error.subject.channel.is_some();
            assert_eq!(is_told, end >= known, "{end}");
        }
    }
}

fn session() -> Session {
    let item = |symbol: &str| Instrument {
        venue: Venue::Kraken,
        symbol: symbol.into(),
        price_decimals: 1,
        qty_decimals: 8,
    };
    let table = InstrumentTable::new(vec![item("BTC/USD"), item("ETH/USD")]).unwrap();
    let mut spec = SessionSpec::new(0, Venue::Kraken, vec![InstrumentId(0), InstrumentId(1)]);
    spec.snapshot_limit = 10;
    // Mutated books would all fail their checksums.
    spec.verify_checksums = false;
    Session::new(spec, Arc::new(table)).unwrap()
}

#[test]
fn a_bad_book_frame_desyncs_its_instrument_alone() {
    let mut session = session();
    let mut out = session.outbox();
    session.on_connected(0, &mut out);
    for symbol in ["BTC/USD", "ETH/USD"] {
        let snapshot = BOOK.replace("update", "snapshot").replace("BTC/USD", symbol);
        session.on_frame(1, snapshot.as_bytes(), &mut out);
    }
    out.clear();
    let bad = BOOK.replace("45283.4", "45283.45");
    session.on_frame(2, bad.as_bytes(), &mut out);
    assert!(matches!(out.events[..], [event] if event.instrument == InstrumentId(0)
        && matches!(event.body, EventBody::Desync { .. })));
    assert_eq!(session.counters().bad_input.of(BadInput::TooPrecise), 1);
}

proptest! {
    #[test]
    fn no_bytes_make_a_session_panic_or_publish_out_of_sequence(
        edits in prop::collection::vec((0usize..7, 0usize..240, any::<u8>()), 0..12),
    ) {
        let mut session = session();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let mut frames = [
            BOOK.replace("update", "snapshot").into_bytes(),
            BOOK.into(),
            TICKER.into(),
            TRADES.into(),
            br#"[1,{"as":[["0.5","2","3.5"]],"bs":[["0.4","1","4.000000001"]]},"book-10","ETH/USD"]"#.to_vec(),
            br#"[1,{"a":[["0.5","2","3.5"]]},{"b":[["0.4","1","4.0"]],"c":"1"},"book-10","ETH/USD"]"#.to_vec(),
            br#"{"event":"subscriptionStatus","status":"subscribed","pair":"BTC/USD","channelName":"trade"}"#.to_vec(),
        ];
        for (frame, at, byte) in edits {
            let frame = &mut frames[frame];
            let at = at % frame.len();
            frame[at] = byte;
        }
        for (i, frame) in frames.iter().enumerate() {
            session.on_frame(i as i64, frame, &mut out);
        }
        prop_assert_eq!(session.counters().frames, 7);
        // Levels and commits stand only between a `BookBegin` and the next `Desync` of their instrument.
        let mut is_open = [false; 2];
        for event in &out.events {
            let open = &mut is_open[event.instrument.index()];
            match event.body {
                EventBody::BookBegin => *open = true,
                EventBody::Desync { .. } => *open = false,
                EventBody::Level { qty, .. } => prop_assert!(*open && qty >= 0),
                EventBody::BookCommit { .. } => prop_assert!(*open),
                _ => {}
            }
        }
    }
}
