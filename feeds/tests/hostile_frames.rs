//! No bytes make a session of any stream-snapshot venue panic or publish out of sequence: valid frames,
//! damaged at random.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

use std::sync::Arc;

use proptest::prelude::*;
use purkinje_feeds::session::{Session, SessionSpec};
use purkinje_feeds::{EventBody, Instrument, InstrumentTable, Venue};

/// Frames of one instrument, `AAA`, of which undamaged ones publish a book, a top and a trade.
fn frames(venue: Venue) -> Vec<String> {
    let okx_book = |action: &str, prev: i64, last: u64| {
        format!(
            r#"{{"arg":{{"channel":"books","instId":"AAA"}},"action":"{action}","data":[{{"asks":[["3","4","0","1"]],"bids":[["1.50","{last}","0","2"]],"ts":"5","checksum":0,"prevSeqId":{prev},"seqId":{last}}}]}}"#
        )
    };
    let bybit_book = |kind: &str, u: u64| {
        format!(
            r#"{{"topic":"orderbook.200.AAA","type":"{kind}","ts":6,"data":{{"s":"AAA","b":[["1.50","{u}"]],"a":[["3","4"]],"u":{u},"seq":9}},"cts":5}}"#
        )
    };
    match venue {
        Venue::Okx => vec![
            r#"{"id":"1","event":"subscribe","arg":{"channel":"books","instId":"AAA"}}"#.into(),
            okx_book("snapshot", -1, 10),
            okx_book("update", 10, 12),
            r#"{"arg":{"channel":"bbo-tbt","instId":"AAA"},"data":[{"asks":[["3","4","0","1"]],"bids":[["2","1","0","1"]],"ts":"5","seqId":12}]}"#.into(),
            r#"{"arg":{"channel":"trades","instId":"AAA"},"data":[{"tradeId":"7","px":"2","sz":"1","side":"buy","ts":"5"},{"tradeId":"8","px":"2","sz":"1","side":"sell","ts":"5"}]}"#.into(),
            "pong".into(),
            okx_book("update", 12, 13),
        ],
        _ => vec![
            r#"{"success":true,"ret_msg":"","req_id":"sub-1","op":"subscribe"}"#.into(),
            bybit_book("snapshot", 10),
            bybit_book("delta", 11),
            r#"{"topic":"orderbook.1.AAA","type":"snapshot","ts":6,"data":{"b":[["2","1"]],"a":[["3","4"]],"u":4},"cts":5}"#.into(),
            r#"{"topic":"publicTrade.AAA","ts":6,"data":[{"T":5,"S":"Buy","v":"1","p":"2","i":"7"},{"T":5,"S":"Sell","v":"1","p":"2","i":"x"}]}"#.into(),
            r#"{"req_id":"ping","op":"pong"}"#.into(),
            bybit_book("delta", 12),
        ],
    }
}

/// What the frames make a session emit, checked for order.
fn run(venue: Venue, frames: &[Vec<u8>]) -> Vec<EventBody> {
    let item = Instrument { venue, symbol: "AAA".into(), price_decimals: 2, qty_decimals: 3 };
    let table = Arc::new(InstrumentTable::new(vec![item]).unwrap());
    let ids = table.iter().map(|(id, _)| id).collect();
    let mut session = Session::new(SessionSpec::new(0, venue, ids), table).unwrap();
    let mut out = session.outbox();
    session.on_connected(0, &mut out);
    for frame in frames {
        session.on_frame(1, frame, &mut out);
    }
    assert_eq!(session.counters().frames, frames.len() as u64);
    // Levels and commits stand only between a `BookBegin` and the next `Desync`.
    let mut is_open = false;
    for event in &out.events {
        match event.body {
            EventBody::BookBegin => is_open = true,
            EventBody::Desync { .. } => is_open = false,
            EventBody::Level { qty, .. } => assert!(is_open && qty >= 0),
            EventBody::BookCommit { .. } => assert!(is_open),
            _ => {}
        }
    }
    out.events.iter().map(|event| event.body).collect()
}

const VENUES: [Venue; 3] = [Venue::BybitSpot, Venue::BybitLinear, Venue::Okx];

#[test]
fn undamaged_frames_publish_a_book_a_top_and_trades() {
    for venue in VENUES {
        let frames: Vec<_> = frames(venue).into_iter().map(String::into_bytes).collect();
        let events = run(venue, &frames);
        let count = |is: fn(&EventBody) -> bool| events.iter().filter(|body| is(body)).count();
        assert_eq!(count(|body| matches!(body, EventBody::BookCommit { .. })), 3, "{venue:?}");
        assert_eq!(count(|body| matches!(body, EventBody::Top { .. })), 1);
        assert_eq!(count(|body| matches!(body, EventBody::Trade { .. })), 2);
        assert_eq!(count(|body| matches!(body, EventBody::Desync { .. })), 0);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_session_panic_or_publish_out_of_sequence(
        venue in prop::sample::select(VENUES.to_vec()),
        edits in prop::collection::vec((0usize..7, 0usize..260, any::<u8>()), 0..12),
        cuts in prop::collection::vec((0usize..7, 0usize..260), 0..2),
    ) {
        let mut frames: Vec<_> = frames(venue).into_iter().map(String::into_bytes).collect();
        for (frame, at, byte) in edits {
            let frame = &mut frames[frame];
            let at = at % frame.len();
            frame[at] = byte;
        }
        for (frame, at) in cuts {
            frames[frame].truncate(at);
        }
        run(venue, &frames);
    }
}
