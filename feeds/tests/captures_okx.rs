//! OKX's rules against a recording of 2022, which has checksums and no sequence numbers: undisturbed,
//! every checksum matches; with a frame deleted, the first one that contradicts is noticed.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod stream_captures;

use purkinje_feeds::{DesyncReason, Side, Venue};
use serde_json::{Value, json};

use stream_captures::{Feed, Frame, Naive, frames};

const CAPTURE: &str = "cryptofeed_v2/OKX.jsonl.zst";
const ADDRESS_END: &str = "/ws/v5/public";
const SYMBOLS: [&str; 3] = ["BTC-USD-220527", "UNI-USD-SWAP", "BTC-USDT"];
const LEVELS: usize = 400;

/// The instrument of a depth frame and what it says.
fn depth(frame: &Frame) -> Option<(usize, Value)> {
    let message: Value = serde_json::from_str(&frame.1).unwrap();
    let is_data = message["arg"]["channel"] == "books" && message["action"].is_string();
    let at = SYMBOLS.iter().position(|known| message["arg"]["instId"] == **known)?;
    is_data.then_some((at, message))
}

fn apply(naive: &mut Naive, message: &Value) {
    if message["action"] == "snapshot" {
        naive.clear();
    }
    naive.apply(Side::Bid, &message["data"][0]["bids"]);
    naive.apply(Side::Ask, &message["data"][0]["asks"]);
}

/// The venue's checksum of a book, as the documentation words it.
fn checksum(naive: &Naive) -> i32 {
    let (bids, asks) = (naive.texts(Side::Bid), naive.texts(Side::Ask));
    let mut parts = Vec::new();
    for i in 0..25 {
        for side in [&bids, &asks] {
            if let Some((price, qty)) = side.get(i) {
                parts.push(format!("{price}:{qty}"));
            }
        }
    }
    crc32fast::hash(parts.join(":").as_bytes()).cast_signed()
}

/// The snapshot that a subscription at this moment would begin with.
fn snapshot(symbol: &str, naive: &Naive, message: &Value) -> String {
    json!({
        "arg": {"channel": "books", "instId": symbol},
        "action": "snapshot",
        "data": [{
            "asks": naive.texts(Side::Ask),
            "bids": naive.texts(Side::Bid),
            "ts": message["data"][0]["ts"],
            "checksum": message["data"][0]["checksum"],
        }],
    })
    .to_string()
}

#[test]
fn every_checksum_of_the_recording_matches() {
    let Some(frames) = frames(CAPTURE, ADDRESS_END) else { return };
    let mut feed = Feed::new(Venue::Okx, &SYMBOLS, LEVELS);
    let mut naive = vec![Naive::default(); SYMBOLS.len()];
    for frame in &frames {
        assert_eq!(feed.frame(frame), [], "nothing is to be repaired");
        if let Some((at, message)) = depth(frame) {
            apply(&mut naive[at], &message);
            assert_eq!(message["data"][0]["checksum"], checksum(&naive[at]));
            assert!(feed.books[at].is_usable && feed.is_equal(at, &naive[at]));
        }
    }
    let c = feed.counters();
    println!(
        "{} frames, {} depth, {} trades, {} checksums, {} levels cut",
        c.frames, c.depth, c.trades, c.checksums, c.levels_cut
    );
    assert_eq!((c.frames, c.depth, c.trades, c.acks, c.ignored), (410, 290, 74, 18, 28));
    assert_eq!((c.checksums, c.checksum_mismatches), (290, 0));
    assert_eq!((c.gaps, c.duplicates, c.bad_input.total(), c.unknown_symbol), (0, 0, 0, 0));
    assert_eq!((c.snapshots_applied, c.levels_cut, feed.not_normal), (3, 0, 0));
}

#[test]
fn a_deleted_frame_is_noticed_where_the_books_first_differ_in_what_is_summed_up() {
    const EVERY: usize = 5;
    let Some(frames) = frames(CAPTURE, ADDRESS_END) else { return };
    let messages: Vec<_> = frames.iter().map(depth).collect();
    let is_update = |i: &usize| messages[*i].as_ref().is_some_and(|(_, m)| m["action"] == "update");
    let (mut tried, mut at_once, mut later, mut harmless) = (0, 0, 0, 0);
    for deleted in (0..frames.len()).filter(is_update).step_by(EVERY) {
        let (hurt, _) = messages[deleted].clone().unwrap();
        let mut feed = Feed::new(Venue::Okx, &SYMBOLS, LEVELS);
        let mut naive = vec![Naive::default(); SYMBOLS.len()];
        // What a reader that does not check makes of the frames that are left.
        let mut blind = Naive::default();
        let (mut noticed, mut frames_since) = (false, 0);
        for (i, frame) in frames.iter().enumerate() {
            if let Some((at, message)) = &messages[i] {
                apply(&mut naive[*at], message);
                if *at == hurt && i != deleted {
                    apply(&mut blind, message);
                }
            }
            if i == deleted {
                continue;
            }
            let actions = feed.frame(frame);
            let of_hurt = messages[i].as_ref().filter(|(at, _)| *at == hurt && i > deleted);
            let Some((_, message)) = of_hurt.filter(|_| !noticed) else {
                assert_eq!(actions, [], "frame {i}, {deleted} deleted");
                continue;
            };
            frames_since += 1;
            if checksum(&blind) == checksum(&naive[hurt]) {
                assert_eq!(actions, [], "nothing contradicts yet");
                continue;
            }
            noticed = true;
            assert!(!feed.books[hurt].is_usable, "{deleted} is noticed at {i}");
            assert_eq!(actions.len(), 1);
            assert!(feed.is_resubscription(actions[0], hurt));
            let repair = snapshot(SYMBOLS[hurt], &naive[hurt], message);
            assert_eq!(feed.frame(&(frame.0, repair)), []);
            assert!(feed.books[hurt].is_usable);
        }
        tried += 1;
        match (noticed, frames_since) {
            (false, _) => harmless += 1,
            (true, 1) => at_once += 1,
            (true, _) => later += 1,
        }
        for (at, consumer) in feed.books.iter().enumerate() {
            let was_hurt = noticed && at == hurt;
            let expected: &[_] = if was_hurt { &[DesyncReason::ChecksumMismatch] } else { &[] };
            assert_eq!(consumer.desyncs, expected, "the others go on");
            assert!(!was_hurt && at == hurt || feed.is_equal(at, &naive[at]));
        }
        assert_eq!(feed.counters().checksum_mismatches, u64::from(noticed));
    }
    // Those never noticed touch only levels beyond the 25 that are summed up, or come at the end.
    println!("{tried} deletions: {at_once} noticed at once, {later} later, {harmless} never");
    assert_eq!((tried, at_once, later, harmless), (58, 53, 0, 5));
}
