//! Every kind of frame, in every order of keys, damaged at every byte.

use super::*;
use crate::Side;
use crate::protocol::LevelText;

const UPDATE: &str = r#"{"type":"l2update","product_id":"SKL-USD","changes":[["buy","0.7902","468.0"],["sell","0.7905","0.0"]],"time":"2021-04-17T16:44:07.849205Z"}"#;
const SNAPSHOT: &str = r#"{"type":"snapshot","product_id":"SKL-USD","asks":[["0.7905","2.5"],["0.7906","1"]],"bids":[["0.7901","7"]]}"#;
const TICKER: &str = r#"{"type":"ticker","sequence":201393859,"product_id":"SKL-USD","price":"0.7903","best_bid":"0.7901","best_bid_size":"3.5","best_ask":"0.7905","best_ask_size":"9","side":"sell","time":"2021-04-17T16:44:06.654322Z","trade_id":1568318,"last_size":"18"}"#;
const MATCH: &str = r#"{"type":"match","trade_id":1568319,"maker_order_id":"37667a34","taker_order_id":"3d1273d8","side":"buy","size":"18","price":"0.7902","product_id":"SKL-USD","sequence":201393867,"time":"2021-04-17T16:44:06.669388Z"}"#;
const HEARTBEAT: &str = r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"SKL-USD","time":"2014-11-07T08:19:28.464459Z"}"#;
const ACKS: &str = r#"{"type":"subscriptions","channels":[{"name":"level2_batch","product_ids":["A","B"],"account_ids":null},{"name":"status"},{"name":"heartbeat","product_ids":["A"]},{"product_ids":["B"],"name":"matches"}]}"#;
const FRAMES: [&str; 6] = [UPDATE, SNAPSHOT, TICKER, MATCH, HEARTBEAT, ACKS];
const BOOK: &str = r#"{"bids":[["0.7901","7",2]],"asks":[["0.7905","2.5",1]],"sequence":13051505638,"auction_mode":false,"auction":null,"time":"2021-04-17T16:44:08Z"}"#;

fn read(frame: &str) -> (Vec<Message<'_>>, Result<(), DecodeError<'_>>) {
    let mut messages = Vec::new();
    let result = decode(frame.as_bytes(), &mut |message| messages.push(message));
    (messages, result)
}

fn messages(frame: &str) -> Vec<Message<'_>> {
    let (messages, result) = read(frame);
    assert_eq!(result, Ok(()), "{frame}");
    messages
}

fn book(frame: &str) -> BookMessage<'_> {
    match messages(frame).as_slice() {
        [Message::Book(book)] => book.clone(),
        other => panic!("{other:?}"),
    }
}

fn level(side: Option<Side>, price: &'static str, qty: &'static str) -> LevelText<'static> {
    LevelText { side, price: price.as_bytes(), qty: qty.as_bytes() }
}

#[test]
fn an_update_is_ordered_by_its_time() {
    let update = book(UPDATE);
    let time_ns = 1_618_677_847_849_205_000;
    assert_eq!((update.symbol, update.kind), (&b"SKL-USD"[..], BookKind::Update));
    assert_eq!((update.ts_venue_ns, update.ts_sent_ns), (time_ns, 0));
    assert_eq!(update.ids, UpdateIds::unlinked(time_ns as u64));
    let levels: Vec<_> = update.levels[0].clone().map(Result::unwrap).collect();
    let expected =
        [level(Some(Side::Bid), "0.7902", "468.0"), level(Some(Side::Ask), "0.7905", "0.0")];
    assert_eq!(levels, expected);
    let timeless = UPDATE.replace("2021-04-17T16:44:07.849205Z", "0001-01-01T00:00:00.000000Z");
    assert_eq!((book(&timeless).ts_venue_ns, book(&timeless).ids), (0, UpdateIds::NONE));
}

#[test]
fn a_snapshot_may_lack_its_time_in_the_stream_but_not_from_rest() {
    let stream = book(SNAPSHOT);
    assert_eq!((stream.kind, stream.ids), (BookKind::Snapshot, UpdateIds::NONE));
    let [bids, asks] = stream.levels;
    assert_eq!(bids.map(Result::unwrap).collect::<Vec<_>>(), [level(None, "0.7901", "7")]);
    assert_eq!(asks.count(), 2);

    let rest = decode_snapshot(BOOK.as_bytes()).unwrap();
    assert_eq!((rest.symbol, rest.kind), (&b""[..], BookKind::Snapshot));
    assert_eq!(rest.ids, UpdateIds::unlinked(1_618_677_848_000_000_000));
    let [bids, asks] = rest.levels;
    assert_eq!(bids.map(Result::unwrap).collect::<Vec<_>>(), [level(None, "0.7901", "7")]);
    assert_eq!(asks.map(Result::unwrap).collect::<Vec<_>>(), [level(None, "0.7905", "2.5")]);
    let kind = |from, to| decode_snapshot(BOOK.replace(from, to).as_bytes()).map(|_| ());
    let missing = |name| Err(DecodeErrorKind::MissingField(name));
    assert_eq!(kind(r#""time""#, r#""t""#), missing("time"));
    assert_eq!(kind(r#""bids""#, r#""b""#), missing("bids"));
    let refusal = br#"{"message":"NotFound"}"#;
    assert!(decode_snapshot(refusal).is_err() && decode_snapshot(b"[]").is_err());
}

#[test]
fn a_match_proves_the_one_before_and_names_the_maker() {
    match messages(MATCH).as_slice() {
        [Message::LastTrade { symbol, trade_id }, Message::Trade(trade)] => {
            assert_eq!((*symbol, *trade_id), (&b"SKL-USD"[..], 1_568_318));
            assert_eq!((trade.trade_id, trade.aggressor), (1_568_319, Side::Ask));
            assert_eq!((trade.price, trade.qty), (&b"0.7902"[..], &b"18"[..]));
            assert_eq!(trade.ts_venue_ns, 1_618_677_846_669_388_000);
            assert!(!trade.is_history);
        }
        other => panic!("{other:?}"),
    }
    match messages(&MATCH.replace(r#""match""#, r#""last_match""#)).as_slice() {
        [Message::Trade(trade)] => assert!(trade.is_history),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ticker_is_the_top_of_the_book_even_without_sizes() {
    let top = |frame: &str, bid_size: &str| match messages(frame).as_slice() {
        [Message::Top(top)] => {
            assert_eq!((top.symbol, top.update_id), (&b"SKL-USD"[..], 201_393_859));
            assert_eq!(top.ts_venue_ns, 1_618_677_846_654_322_000);
            assert_eq!(top.bid, Some((&b"0.7901"[..], bid_size.as_bytes())));
        }
        other => panic!("{other:?}"),
    };
    top(TICKER, "3.5");
    let older = TICKER.replace(r#""best_bid_size":"3.5","#, "");
    top(&older, "0");
}

#[test]
fn heartbeats_acknowledgements_refusals_and_unknown_types_are_told_apart() {
    match messages(HEARTBEAT).as_slice() {
        [Message::LastTrade { symbol: b"SKL-USD", trade_id: 20 }, Message::Heartbeat] => {}
        other => panic!("{other:?}"),
    }
    let acks: Vec<_> = messages(ACKS)
        .into_iter()
        .map(|message| match message {
            Message::Ack(Ack { of: AckOf::Topic { symbol, channel }, error: None }) => {
                (symbol, channel)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(&b"A"[..], Channel::Depth), (b"B", Channel::Depth), (b"B", Channel::Trade)];
    assert_eq!(acks, expected);
    let refusal = r#"{"type":"error","message":"Failed to subscribe","reason":"no such product"}"#;
    match messages(refusal).as_slice() {
        [Message::Ack(Ack { of: AckOf::Unknown, error })] => {
            assert_eq!(*error, Some(&br#""no such product""#[..]));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(messages(r#"{"type":"auction"}"#).as_slice(), [Message::Ignored(b"auction")]));
    assert!(matches!(messages("{}").as_slice(), [Message::Ignored(b"")]));
}

#[test]
fn key_order_white_space_and_unknown_fields_do_not_matter() {
    let frame = r#" { "time" : "2021-04-17T16:44:07Z", "x":{"type":[1]}, "changes":[ [ "sell" , "2" , "1" , {} ] ],
        "product_id":"A-B", "type" : "l2update" } "#;
    let update = book(frame);
    assert_eq!(update.symbol, b"A-B");
    let levels: Vec<_> = update.levels[0].clone().map(Result::unwrap).collect();
    assert_eq!(levels, [level(Some(Side::Ask), "2", "1")]);
}

#[test]
fn a_frame_cut_off_anywhere_is_an_error_that_names_its_subject_once_that_is_known() {
    for frame in FRAMES {
        let product = r#""product_id":"SKL-USD""#;
        let known = frame.find(product).map(|at| at + product.len());
        for end in 0..frame.len() {
            let (messages, result) = read(&frame[..end]);
            let error = result.unwrap_err();
            assert!(messages.is_empty(), "{}", &frame[..end]);
            assert_eq!(error.kind, DecodeErrorKind::Truncated, "{}", &frame[..end]);
            let symbol = known.filter(|&at| end >= at).map(|_| &b"SKL-USD"[..]);
            assert_eq!(error.subject.symbol, symbol, "{}", &frame[..end]);
        }
    }
    let cut = &UPDATE[..UPDATE.find("468").unwrap()];
    assert_eq!(read(cut).1.unwrap_err().subject.channel, Some(Channel::Depth));
}

#[test]
fn fields_that_are_missing_or_of_another_type_are_named() {
    use DecodeErrorKind::{BadField, MissingField};
    let table = [
        (UPDATE, r#""product_id":"SKL-USD","#, "", MissingField("product_id")),
        (UPDATE, r#":"SKL-USD""#, ":7", BadField("product_id")),
        (UPDATE, r#""time":"2021"#, r#""time":"x"#, BadField("time")),
        (UPDATE, r#""time""#, r#""t""#, MissingField("time")),
        (UPDATE, r#""changes":"#, r#""changes":{},"n":"#, BadField("changes")),
        (SNAPSHOT, r#""bids""#, r#""b""#, MissingField("bids")),
        (SNAPSHOT, r#""asks":"#, r#""asks":1,"n":"#, BadField("asks")),
        (TICKER, "201393859", "true", BadField("sequence")),
        (TICKER, r#""best_ask":"0.7905","#, "", MissingField("best_ask")),
        (MATCH, r#":"buy""#, r#":"left""#, BadField("side")),
        (MATCH, "1568319", r#""x""#, BadField("trade_id")),
        (MATCH, r#""size":"18","#, "", MissingField("size")),
        (HEARTBEAT, r#""last_trade_id":20,"#, "", MissingField("last_trade_id")),
        (ACKS, r#""channels":["#, r#""channels":7,"n":["#, DecodeErrorKind::Malformed),
    ];
    for (frame, from, to, kind) in table {
        let frame = frame.replace(from, to);
        assert_eq!(read(&frame).1.unwrap_err().kind, kind, "{frame}");
    }
    for frame in ["", "[]", "7", "{}x", "null"] {
        assert!(read(frame).1.is_err(), "{frame}");
    }
}
