//! Every kind of frame, in every order of keys, damaged at every byte.

use super::*;
use crate::Side;
use crate::protocol::{LevelText, UpdateIds};

const UPDATE: &str = r#"{"channel":"l2_data","client_id":"","timestamp":"2026-08-09T21:05:48.505350477Z","sequence_num":14,"events":[{"type":"update","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"2026-08-09T21:05:48.210883Z","price_level":"65062.5","new_quantity":"0.00583"},{"side":"offer","event_time":"2026-08-09T21:05:48.210883Z","price_level":"65070","new_quantity":"0"}]}]}"#;
const TRADES: &str = r#"{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.251397169Z","sequence_num":9,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"12","price":"65083.67","size":"0.5","time":"2026-08-09T21:05:48.2Z","side":"SELL"},{"product_id":"BTC-USD","trade_id":"11","price":"65083.66","size":"0.25","time":"2026-08-09T21:05:48.1Z","side":"BUY"}]}]}"#;
const TICKER: &str = r#"{"channel":"ticker","timestamp":"2026-08-09T21:05:48.298032046Z","sequence_num":10,"events":[{"type":"update","tickers":[{"type":"ticker","product_id":"ETH-USD","price":"1919.41","best_bid":"1919.44","best_ask":"1919.49","best_bid_quantity":"0.02","best_ask_quantity":"0.07"}]}]}"#;
const ACKS: &str = r#"{"channel":"subscriptions","timestamp":"2026-08-09T21:05:48.6Z","sequence_num":26,"events":[{"subscriptions":{"candles":["ETH-USD"],"heartbeats":["heartbeats"],"level2":["BTC-USD","ETH-USD"],"ticker":["BTC-USD"],"market_trades":[]}}]}"#;
const HEARTBEAT: &str = r#"{"channel":"heartbeats","timestamp":"2026-08-09T21:05:48.8Z","sequence_num":35,"events":[{"current_time":"2026-08-09 21:05:48.85 +0000 UTC m=+41691.26","heartbeat_counter":41691}]}"#;
const FRAMES: [&str; 5] = [UPDATE, TRADES, TICKER, ACKS, HEARTBEAT];

/// The messages of a frame, and why it ended.
fn read(frame: &str) -> (Vec<Message<'_>>, Result<(), DecodeError<'_>>) {
    let mut messages = Vec::new();
    let result = decode(frame.as_bytes(), &mut |message| messages.push(message));
    (messages, result)
}

/// The messages after the number, which must come first.
fn after(number: u64, frame: &str) -> Vec<Message<'_>> {
    let (mut messages, result) = read(frame);
    assert_eq!(result, Ok(()), "{frame}");
    assert!(!messages.is_empty(), "{frame}");
    match messages.remove(0) {
        Message::ConnectionSequence(found) => assert_eq!(found, number, "{frame}"),
        other => panic!("{other:?} comes before the number of {frame}"),
    }
    messages
}

fn book(number: u64, frame: &str) -> BookMessage<'_> {
    match after(number, frame).as_slice() {
        [Message::Book(book)] => book.clone(),
        other => panic!("{other:?}"),
    }
}

fn level(side: Side, price: &'static str, qty: &'static str) -> LevelText<'static> {
    LevelText { side: Some(side), price: price.as_bytes(), qty: qty.as_bytes() }
}

fn acks(messages: &[Message<'_>]) -> Vec<(String, Channel)> {
    let topic = |message: &Message<'_>| match message {
        Message::Ack(Ack { of: AckOf::Topic { symbol, channel }, error: None }) => {
            (String::from_utf8_lossy(symbol).into_owned(), *channel)
        }
        other => panic!("{other:?}"),
    };
    messages.iter().map(topic).collect()
}

#[test]
fn a_book_event_has_the_frames_number_and_its_levels_time() {
    let update = book(14, UPDATE);
    assert_eq!((update.symbol, update.kind), (&b"BTC-USD"[..], BookKind::Update));
    assert_eq!((update.ids, update.checksum), (UpdateIds::unlinked(14), None));
    let times = (1_786_309_548_210_883_000, 1_786_309_548_505_350_477);
    assert_eq!((update.ts_venue_ns, update.ts_sent_ns), times);
    let [levels, none] = update.levels;
    let levels: Vec<_> = levels.map(Result::unwrap).collect();
    assert_eq!(levels, [level(Side::Bid, "65062.5", "0.00583"), level(Side::Ask, "65070", "0")]);
    assert_eq!(none.count(), 0);
    let snapshot = UPDATE.replace(r#""type":"update""#, r#""type":"snapshot""#);
    assert_eq!(book(14, &snapshot).kind, BookKind::Snapshot);
    let start = UPDATE.find(r#"{"side""#).unwrap();
    let empty = format!("{}]}}]}}", &UPDATE[..start]);
    assert_eq!(book(14, &empty).ts_venue_ns, 0);
}

#[test]
fn trades_come_in_order_of_time_with_the_side_opposite_to_the_makers() {
    let trades: Vec<_> = after(9, TRADES)
        .into_iter()
        .map(|message| match message {
            Message::Trade(trade) => trade,
            other => panic!("{other:?}"),
        })
        .collect();
    let found: Vec<_> = trades.iter().map(|t| (t.trade_id, t.aggressor, t.is_history)).collect();
    assert_eq!(found, [(11, Side::Ask, false), (12, Side::Bid, false)]);
    assert_eq!((trades[1].price, trades[1].qty), (&b"65083.67"[..], &b"0.5"[..]));
    assert_eq!(trades[1].ts_venue_ns, 1_786_309_548_200_000_000);
    assert_eq!(trades[1].ts_sent_ns, 1_786_309_548_251_397_169);

    let history = TRADES.replace(r#""type":"update""#, r#""type":"snapshot""#);
    let is_old = |message: &Message<'_>| matches!(message, Message::Trade(t) if t.is_history);
    assert!(after(9, &history).iter().all(is_old));
}

#[test]
fn any_number_of_trades_comes_in_order_of_time() {
    for count in [0, 1, TRADES_AT_ONCE, TRADES_AT_ONCE + 1, 3 * TRADES_AT_ONCE, 100] {
        let trade = |id| {
            format!(
                r#"{{"product_id":"A","trade_id":"{id}","price":"1","size":"1","time":"2026-08-09T21:05:48Z","side":"BUY"}}"#
            )
        };
        let trades: Vec<_> = (1..=count).rev().map(trade).collect();
        let frame = format!(
            r#"{{"channel":"market_trades","timestamp":"2026-08-09T21:05:48Z","sequence_num":0,"events":[{{"type":"update","trades":[{}]}}]}}"#,
            trades.join(",")
        );
        let id = |message: &Message<'_>| match message {
            Message::Trade(trade) => trade.trade_id,
            other => panic!("{other:?}"),
        };
        let ids: Vec<_> = after(0, &frame).iter().map(id).collect();
        assert_eq!(ids, (1..=count as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_ticker_is_the_top_of_the_book_and_says_when_it_was_sent() {
    match after(10, TICKER).as_slice() {
        [Message::Top(top)] => {
            assert_eq!((top.symbol, top.update_id), (&b"ETH-USD"[..], 10));
            assert_eq!((top.ts_venue_ns, top.ts_sent_ns), (0, 1_786_309_548_298_032_046));
            assert_eq!(top.bid, Some((&b"1919.44"[..], &b"0.02"[..])));
            assert_eq!(top.ask, Some((&b"1919.49"[..], &b"0.07"[..])));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn acknowledgements_confirm_each_topic_and_refusals_are_told() {
    let topics = [("BTC-USD", Channel::Depth), ("ETH-USD", Channel::Depth)];
    let topics = [&topics[..], &[("BTC-USD", Channel::BookTicker)]].concat();
    let expected: Vec<_> = topics.into_iter().map(|(s, c)| (s.to_owned(), c)).collect();
    assert_eq!(acks(&after(26, ACKS)), expected);
    let (messages, result) = read(r#"{"type":"error","message":"unknown channel"}"#);
    assert_eq!(result, Ok(()));
    match messages.as_slice() {
        [Message::Ack(Ack { of: AckOf::Unknown, error })] => {
            assert_eq!(*error, Some(&br#""unknown channel""#[..]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn heartbeats_and_unknown_channels_count_as_frames_of_the_connection() {
    assert!(matches!(after(35, HEARTBEAT).as_slice(), [Message::Heartbeat]));
    let candles = HEARTBEAT.replace("heartbeats", "candles");
    assert!(matches!(after(35, &candles).as_slice(), [Message::Ignored(b"candles")]));
    let (messages, result) = read(r#"{"type":"news"}"#);
    assert_eq!(result, Ok(()));
    assert!(matches!(messages.as_slice(), [Message::Ignored(b"news")]));
}

#[test]
fn key_order_white_space_and_unknown_fields_do_not_matter() {
    let frame = r#" { "events" : [ {"updates":[ {"new_quantity":"2","x":[{}], "price_level" : "1.5",
        "event_time":"2026-08-09T21:05:48Z","side":"bid"} ],"new":{"side":1},"product_id":"A-B","type":"update"} ] ,
        "sequence_num" : 7, "timestamp":"2026-08-09T21:05:49Z", "extra":[null,{"channel":"no"}], "channel":"l2_data" } "#;
    let book = book(7, frame);
    assert_eq!((book.symbol, book.ids), (&b"A-B"[..], UpdateIds::unlinked(7)));
    let levels: Vec<_> = book.levels[0].clone().map(Result::unwrap).collect();
    assert_eq!(levels, [level(Side::Bid, "1.5", "2")]);
}

#[test]
fn several_events_of_one_frame_share_its_number() {
    let event = &UPDATE[UPDATE.find(r#"{"type""#).unwrap()..UPDATE.len() - 2];
    let second = event.replace("BTC-USD", "ETH-USD");
    let frame = UPDATE.replace(event, &format!("{event},{second}"));
    match after(14, &frame).as_slice() {
        [Message::Book(first), Message::Book(second)] => {
            assert_eq!((first.symbol, second.symbol), (&b"BTC-USD"[..], &b"ETH-USD"[..]));
            assert_eq!(first.ids, second.ids);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_cut_off_anywhere_is_an_error_that_names_its_subject_once_that_is_known() {
    for frame in FRAMES {
        let known = |after: &str| frame.find(after).map(|at| at + after.len());
        let product_known = known(r#""product_id":"BTC-USD""#).filter(|_| frame == UPDATE);
        for end in 0..frame.len() {
            let (messages, result) = read(&frame[..end]);
            let error = result.unwrap_err();
            assert_eq!(error.kind, DecodeErrorKind::Truncated, "{}", &frame[..end]);
            let is_known = product_known.is_some_and(|at| end >= at);
            if frame == UPDATE {
                let symbol = is_known.then_some(&b"BTC-USD"[..]);
                assert_eq!(error.subject.symbol, symbol, "{}", &frame[..end]);
                // Without a product the number stays untold, and the next frame shows the loss.
                let is_told = matches!(messages.first(), Some(Message::ConnectionSequence(14)));
                assert_eq!(is_told, is_known, "{}", &frame[..end]);
            }
            let is_depth = frame == UPDATE && end >= r#"{"channel":"l2_data""#.len();
            assert_eq!(error.subject.channel == Some(Channel::Depth), is_depth);
        }
    }
}

#[test]
fn fields_that_are_missing_or_of_another_type_are_named() {
    use DecodeErrorKind::{BadField, MissingField};
    let table = [
        (UPDATE, r#","sequence_num":14"#, "", MissingField("sequence_num")),
        (UPDATE, ":14", ":-14", BadField("sequence_num")),
        (UPDATE, r#""timestamp":"2026"#, r#""timestamp":"x"#, BadField("timestamp")),
        (UPDATE, r#""product_id":"BTC-USD","#, "", MissingField("product_id")),
        (UPDATE, r#":"BTC-USD""#, ":5", BadField("product_id")),
        (UPDATE, r#":"update""#, r#":"rumour""#, BadField("type")),
        (UPDATE, r#""type":"update","#, "", MissingField("type")),
        (UPDATE, r#""updates":["#, r#""updates":7,"n":["#, BadField("updates")),
        (UPDATE, r#""updates":"#, r#""u":"#, MissingField("updates")),
        (UPDATE, r#""event_time":"2026"#, r#""event_time":"x"#, BadField("event_time")),
        (UPDATE, r#""events":"#, r#""e":"#, MissingField("events")),
        (UPDATE, r#""events":["#, r#""events":7,"e":["#, DecodeErrorKind::Malformed),
        (TRADES, r#""trade_id":"11""#, r#""trade_id":"x""#, BadField("trade_id")),
        (TRADES, r#""side":"BUY""#, r#""side":null"#, BadField("side")),
        (TRADES, r#","side":"BUY""#, "", MissingField("side")),
        (TRADES, r#""trades":"#, r#""t":"#, MissingField("trades")),
        (TICKER, r#""best_bid":"1919.44","#, "", MissingField("best_bid")),
        (TICKER, r#":"0.07""#, ":[]", BadField("best_ask_quantity")),
        (TICKER, r#""tickers":"#, r#""t":"#, MissingField("tickers")),
    ];
    for (frame, from, to, kind) in table {
        let frame = frame.replace(from, to);
        assert_eq!(read(&frame).1.unwrap_err().kind, kind, "{frame}");
    }
    for frame in ["", "[]", "7", "{}x", "null"] {
        assert!(read(frame).1.is_err(), "{frame}");
    }
}

#[test]
fn a_book_that_cannot_be_read_still_tells_its_frames_number() {
    let frame = UPDATE.replace(r#":"update""#, r#":"rumour""#);
    let (messages, result) = read(&frame);
    assert_eq!(result.unwrap_err().subject.symbol, Some(&b"BTC-USD"[..]));
    assert!(matches!(messages.as_slice(), [Message::ConnectionSequence(14)]));
}
