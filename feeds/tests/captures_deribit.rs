//! Deribit's rules against a real recording (ten options, 2021): undisturbed, with frames deleted, doubled
//! and damaged.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod capture_support;

use capture_support::{Feed, Line, lines};
use proptest::prelude::*;
use purkinje_feeds::deribit::decode::decode;
use purkinje_feeds::protocol::Message;
use purkinje_feeds::recording::capture::CaptureKind;
use purkinje_feeds::session::{Action, BadInput};
use purkinje_feeds::topic::{Channel, TopicId};
use purkinje_feeds::{DesyncReason, EventBody, Side, Venue};

const SYMBOLS: [&str; 10] = [
    "BTC-24SEP21-8000-P",
    "BTC-30JUL21-24000-P",
    "ETH-30JUL21-2800-C",
    "BTC-31DEC21-34000-P",
    "BTC-24SEP21-34000-P",
    "BTC-24JUN22-15000-C",
    "BTC-31DEC21-300000-C",
    "ETH-27AUG21-4000-P",
    "BTC-25MAR22-30000-C",
    "ETH-23JUL21-2300-C",
];

fn feed() -> Feed {
    Feed::new(Venue::Deribit, &SYMBOLS)
}

fn frames() -> Option<Vec<Line>> {
    let mut lines = lines("DERIBIT.jsonl.zst")?;
    lines.retain(|line| line.kind == CaptureKind::Frame);
    Some(lines)
}

/// Symbol of a book change.
fn change_of(line: &Line) -> Option<&'static str> {
    let text = std::str::from_utf8(&line.bytes).unwrap();
    if !text.contains(r#""type":"change""#) {
        return None;
    }
    SYMBOLS.into_iter().find(|symbol| text.contains(&format!("\"book.{symbol}.raw\"")))
}

/// What the venue sends after a new subscription.
fn snapshot_frame(feed: &Feed, symbol: &str) -> String {
    let [bids, asks] = feed.sides(symbol, |price, qty| format!(r#"["new",{price},{qty}]"#));
    let id = feed.view(symbol).last_commit;
    format!(
        r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"book.{symbol}.raw","data":{{"type":"snapshot","timestamp":1626993753632,"instrument_name":"{symbol}","change_id":{id},"bids":{bids},"asks":{asks}}}}}}}"#
    )
}

/// Best bid and offer, price and quantity; zeros for an empty side.
type Best = [f64; 4];

#[test]
fn the_recording_runs_without_a_gap_and_agrees_with_its_tickers() {
    let Some(frames) = frames() else { return };
    let mut feed = feed();
    // By instrument and venue time; a ticker is sent before the change that it shows.
    let (mut books, mut tickers) = (Vec::<(String, i64, Best)>::new(), Vec::new());
    for line in &frames {
        assert!(feed.frame(line.ts_recv_ns, &line.bytes).is_empty());
        let json: serde_json::Value = serde_json::from_slice(&line.bytes).unwrap();
        let (channel, data) = (json["params"]["channel"].as_str(), &json["params"]["data"]);
        let Some(channel) = channel else { continue };
        let symbol = data["instrument_name"].as_str().unwrap().to_owned();
        let time_ms = data["timestamp"].as_i64().unwrap();
        if channel.starts_with("ticker.") {
            let told = ["bid_price", "bid_amount", "ask_price", "ask_amount"];
            let told = told.map(|what| data[format!("best_{what}")].as_f64().unwrap());
            tickers.push((symbol, time_ms, told));
        } else {
            let float = |mantissa: i64| mantissa as f64 / 1e8;
            let best = |side| feed.view(&symbol).book.best(side);
            let [bid, ask] = [Side::Bid, Side::Ask]
                .map(|side| best(side).map_or([0.0; 2], |l| [float(l.price), float(l.qty)]));
            books.push((symbol, time_ms, [bid[0], bid[1], ask[0], ask[1]]));
        }
    }
    let book_at = |symbol: &str, time_ms: i64| {
        let is_it = |(of, at, _): &&(String, i64, Best)| of == symbol && *at <= time_ms;
        books.iter().rfind(is_it).map(|(_, _, best)| *best)
    };
    let pairs: Vec<(Best, Best)> = tickers
        .iter()
        .filter_map(|(symbol, time_ms, told)| Some((*told, book_at(symbol, *time_ms)?)))
        .collect();
    let (compared, agreeing) =
        (pairs.len(), pairs.iter().filter(|(told, book)| told == book).count());
    let c = feed.counters();
    let commits: u64 = feed.views.iter().map(|view| view.commits).sum();
    println!("{} frames, {commits} commits, tickers {agreeing}/{compared}, {c:?}", c.frames);
    assert_eq!((c.frames, c.depth, c.ignored, c.acks), (136, 46, 89 + 10, 20));
    assert_eq!((c.gaps, c.duplicates, c.awaiting_snapshot, c.bad_input.total()), (0, 0, 0, 0));
    assert_eq!((c.snapshots_applied, commits), (10, 46));
    assert!(feed.views.iter().all(|view| view.crossed == 0 && view.desyncs.is_empty()));
    assert_eq!((agreeing, compared), (89, 89));
}

#[test]
fn any_deleted_change_is_detected_at_the_next_one_and_repaired() {
    let Some(frames) = frames() else { return };
    let changes: Vec<usize> =
        (0..frames.len()).filter(|&i| change_of(&frames[i]).is_some()).collect();
    let mut detected = 0;
    for &deleted in &changes {
        let symbol = change_of(&frames[deleted]).unwrap();
        let next =
            changes.iter().copied().find(|&i| i > deleted && change_of(&frames[i]) == Some(symbol));
        let (mut reference, mut disturbed) = (feed(), feed());
        for (i, line) in frames.iter().enumerate() {
            reference.frame(line.ts_recv_ns, &line.bytes);
            if i == deleted {
                continue;
            }
            let actions = disturbed.frame(line.ts_recv_ns, &line.bytes);
            if Some(i) != next {
                assert!(actions.is_empty());
                continue;
            }
            detected += 1;
            assert_eq!(disturbed.view(symbol).desyncs, [DesyncReason::SequenceGap]);
            let topic = TopicId(2 * disturbed.id(symbol).0);
            assert_eq!(actions, [Action::Resubscribe { topic }]);
            let subject = Some((disturbed.id(symbol), Channel::Depth));
            assert_eq!(disturbed.session.topic_subject(topic), subject);
            let snapshot = snapshot_frame(&reference, symbol);
            disturbed.frame(line.ts_recv_ns, snapshot.as_bytes());
            assert!(disturbed.view(symbol).usable);
        }
        disturbed.assert_others_untouched(symbol);
        assert_eq!(disturbed.counters().gaps, u64::from(next.is_some()));
        if next.is_some() {
            for symbol in SYMBOLS {
                assert_eq!(disturbed.levels(symbol), reference.levels(symbol), "{symbol}");
            }
        }
    }
    println!("{} changes deleted one at a time, {detected} had a successor", changes.len());
    assert_eq!((changes.len(), detected), (36, 31));
}

#[test]
fn doubled_frames_are_harmless() {
    let Some(frames) = frames() else { return };
    let (mut reference, mut disturbed) = (feed(), feed());
    for line in &frames {
        reference.frame(line.ts_recv_ns, &line.bytes);
        disturbed.frame(line.ts_recv_ns, &line.bytes);
        if change_of(line).is_some() {
            assert!(disturbed.frame(line.ts_recv_ns, &line.bytes).is_empty());
        }
    }
    assert_eq!((disturbed.counters().duplicates, disturbed.counters().gaps), (36, 0));
    for symbol in SYMBOLS {
        assert_eq!(disturbed.levels(symbol), reference.levels(symbol));
    }
}

#[test]
fn a_change_that_cannot_be_read_costs_its_own_instrument_the_book() {
    let Some(frames) = frames() else { return };
    let at = frames.iter().rposition(|line| change_of(line).is_some()).unwrap();
    let symbol = change_of(&frames[at]).unwrap();
    let text = String::from_utf8(frames[at].bytes.clone()).unwrap();
    let level = text.find(r#"[[""#).unwrap() + 1;
    let end = level + text[level..].find(']').unwrap() + 1;
    let with_level = |new: &str| [&text[..level], new, &text[end..]].concat();
    let cases = [
        (text[..end].to_owned(), BadInput::Truncated),
        (with_level(r#"["new",1.0e-4,1.0]"#), BadInput::NotANumber),
        (with_level(r#"["new",0.0001,-1.0]"#), BadInput::OutOfRange),
        (with_level(r#"["new",0.0001]"#), BadInput::BadField),
    ];
    for (bad, kind) in cases {
        let mut feed = feed();
        for line in &frames[..at] {
            feed.frame(line.ts_recv_ns, &line.bytes);
        }
        let ts_recv_ns = frames[at].ts_recv_ns;
        let actions = feed.frame(ts_recv_ns, bad.as_bytes());
        assert_eq!(feed.counters().bad_input.of(kind), 1, "{bad}");
        assert_eq!(feed.view(symbol).desyncs, [DesyncReason::BadMessage]);
        assert_eq!(actions, [Action::Resubscribe { topic: TopicId(2 * feed.id(symbol).0) }]);
        feed.assert_others_untouched(symbol);
    }
}

#[test]
fn the_fixtures_of_a_public_client_are_read() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/ws_captures/single_message_fixtures.jsonl"
    );
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: {path} is absent");
        return;
    };
    let mut kinds = Vec::new();
    for line in text.lines() {
        let fixture: serde_json::Value = serde_json::from_str(line).unwrap();
        if fixture["venue"] != "deribit" {
            continue;
        }
        let name = fixture["path"].as_str().unwrap().rsplit('/').next().unwrap();
        let mut kind = String::new();
        decode(fixture["raw"].as_str().unwrap().as_bytes(), &mut |message| {
            kind.push(match message {
                Message::Book(book) => {
                    assert!(book.levels.into_iter().flatten().all(|level| level.is_ok()));
                    'b'
                }
                Message::Top(_) => 'q',
                Message::Trade(_) => 't',
                Message::Ack(ack) if ack.error.is_none() => 'a',
                Message::Ack(_) => 'e',
                Message::Ignored(_) => '-',
                other => panic!("{name}: {other:?}"),
            });
        })
        .unwrap();
        kinds.push((name.to_owned(), kind));
    }
    println!("{kinds:?}");
    let kind = |name: &str| {
        let found = kinds.iter().find(|(known, _)| known == name);
        found.map(|(_, kind)| kind.as_str())
    };
    for (name, expected) in [
        ("ws_book_snapshot.json", "b"),
        ("ws_book_delta.json", "b"),
        ("ws_book_grouped_snapshot.json", "-"),
        ("ws_quote.json", "q"),
        ("ws_trades.json", "tt"),
        ("ws_trades_option_combo.json", "t"),
        ("ws_subscribe_response.json", "aa"),
        ("ws_error.json", "e"),
        ("ws_ticker.json", "-"),
    ] {
        assert_eq!(kind(name), Some(expected), "{name}");
    }
}

const SAMPLES: [&str; 7] = [
    r#"{"jsonrpc":"2.0","id":1,"result":["book.BTC-24SEP21-8000-P.raw","trades.BTC-24SEP21-8000-P.raw"]}"#,
    r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-24SEP21-8000-P.raw","data":{"type":"snapshot","timestamp":5,"instrument_name":"BTC-24SEP21-8000-P","change_id":100,"bids":[["new",0.0005,153.1]],"asks":[["new",0.0015,94.7]]}}}"#,
    r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-24SEP21-8000-P.raw","data":{"type":"change","timestamp":6,"prev_change_id":100,"instrument_name":"BTC-24SEP21-8000-P","change_id":107,"bids":[["change",0.0005,1.0]],"asks":[["delete",0.0015,0.0]]}}}"#,
    r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-24SEP21-8000-P.raw","data":[{"trade_seq":7,"timestamp":5,"price":0.0005,"instrument_name":"BTC-24SEP21-8000-P","direction":"sell","amount":10.0}]}}"#,
    r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#,
    r#"{"jsonrpc":"2.0","id":0,"result":{"version":"1.2.26"}}"#,
    r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-24SEP21-8000-P.raw","data":{"type":"change","timestamp":7,"prev_change_id":107,"instrument_name":"BTC-24SEP21-8000-P","change_id":109,"bids":[],"asks":[["new",0.002,3.0]]}}}"#,
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_make_a_session_panic_or_publish_out_of_sequence(
        edits in prop::collection::vec((0..SAMPLES.len(), 0usize..260, any::<u8>()), 0..12),
    ) {
        let mut feed = feed();
        let mut frames = SAMPLES.map(|text| text.as_bytes().to_vec());
        for (frame, at, byte) in edits {
            let frame = &mut frames[frame];
            let at = at % frame.len();
            frame[at] = byte;
        }
        for frame in &frames {
            feed.session.on_frame(1, frame, &mut feed.out);
        }
        prop_assert_eq!(feed.counters().frames, frames.len() as u64);
        let mut is_open = false;
        for event in &feed.out.events {
            match event.body {
                EventBody::BookBegin => is_open = true,
                EventBody::Desync { .. } => is_open = false,
                EventBody::Level { qty, .. } => prop_assert!(is_open && qty >= 0),
                EventBody::BookCommit { .. } => prop_assert!(is_open),
                _ => {}
            }
        }
    }
}
