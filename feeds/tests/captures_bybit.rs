//! Bybit's rules against recordings: both connections of a v5 capture run through a session and are
//! compared with a naive reader, undisturbed and with frames deleted; the interface before v5 is refused.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod stream_captures;

use purkinje_feeds::bybit::decode::decode;
use purkinje_feeds::protocol::Message;
use purkinje_feeds::{DesyncReason, Side, Venue};
use serde_json::{Value, json};

use stream_captures::{Feed, Frame, Naive, frames};

const CAPTURE: &str = "cryptofeed_v2/BYBIT.jsonl.zst";
const LEVELS: usize = 200;

/// One connection of the capture and what is on it.
struct Connection {
    venue: Venue,
    address_end: &'static str,
    symbols: &'static [&'static str],
    depth: u64,
    trades: u64,
    acks: u64,
    ignored: u64,
}

const CONNECTIONS: [Connection; 2] = [
    Connection {
        venue: Venue::BybitLinear,
        address_end: "/linear",
        symbols: &["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"],
        depth: 1598,
        trades: 327,
        acks: 17,
        ignored: 829,
    },
    Connection {
        venue: Venue::BybitSpot,
        address_end: "/spot",
        symbols: &["BTCUSDT", "ETHUSDT"],
        depth: 550,
        trades: 20,
        acks: 7,
        ignored: 106,
    },
];

/// The instrument of a depth frame and what it says.
fn depth(connection: &Connection, frame: &Frame) -> Option<(usize, Value)> {
    let message: Value = serde_json::from_str(&frame.1).unwrap();
    let symbol = message["topic"].as_str()?.strip_prefix("orderbook.200.")?;
    let at = connection.symbols.iter().position(|known| *known == symbol).unwrap();
    Some((at, message))
}

fn apply(naive: &mut Naive, message: &Value) {
    if message["type"] == "snapshot" {
        naive.clear();
    }
    naive.apply(Side::Bid, &message["data"]["b"]);
    naive.apply(Side::Ask, &message["data"]["a"]);
}

/// The snapshot that a subscription at this moment would begin with.
fn snapshot(symbol: &str, naive: &Naive, message: &Value) -> String {
    json!({
        "topic": format!("orderbook.200.{symbol}"),
        "type": "snapshot",
        "ts": message["ts"],
        "cts": message["cts"],
        "data": {
            "s": symbol,
            "b": naive.texts(Side::Bid),
            "a": naive.texts(Side::Ask),
            "u": message["data"]["u"],
            "seq": message["data"]["seq"],
        },
    })
    .to_string()
}

#[test]
fn every_connection_runs_without_a_break_and_equals_a_naive_reader() {
    for connection in &CONNECTIONS {
        let Some(frames) = frames(CAPTURE, connection.address_end) else { return };
        let mut feed = Feed::new(connection.venue, connection.symbols, LEVELS);
        let mut naive = vec![Naive::default(); connection.symbols.len()];
        for frame in &frames {
            assert_eq!(feed.frame(frame), [], "nothing is to be repaired");
            if let Some((at, message)) = depth(connection, frame) {
                apply(&mut naive[at], &message);
                assert!(feed.books[at].is_usable && feed.is_equal(at, &naive[at]));
                assert!(
                    naive[at].texts(Side::Bid).len() <= LEVELS,
                    "the venue deletes what leaves"
                );
            }
        }
        let c = feed.counters();
        println!(
            "{}: {} frames, {} depth, {} trades, {} gaps",
            connection.venue.name(),
            c.frames,
            c.depth,
            c.trades,
            c.gaps
        );
        assert_eq!((c.depth, c.trades), (connection.depth, connection.trades));
        assert_eq!((c.acks, c.ignored), (connection.acks, connection.ignored));
        assert_eq!((c.gaps, c.duplicates, c.bad_input.total()), (0, 0, 0));
        assert_eq!((c.acks_refused, c.unknown_symbol, c.awaiting_snapshot), (0, 0, 0));
        assert_eq!(c.snapshots_applied, connection.symbols.len() as u64);
        assert_eq!((feed.not_normal, c.snapshot_levels_cut), (0, 0));
        let commits: u64 = feed.books.iter().map(|consumer| consumer.commits).sum();
        assert_eq!(commits, c.depth, "every message is published");
    }
}

#[test]
fn any_deleted_depth_frame_is_detected_at_the_next_one_of_its_instrument_and_repaired() {
    const SAMPLES: usize = 25;
    for connection in &CONNECTIONS {
        let Some(frames) = frames(CAPTURE, connection.address_end) else { return };
        let messages: Vec<_> = frames.iter().map(|frame| depth(connection, frame)).collect();
        let of = |at: usize| {
            let is_of = move |(_, m): &(usize, &Option<(usize, Value)>)| {
                m.as_ref().is_some_and(|(of, _)| *of == at)
            };
            messages.iter().enumerate().filter(is_of).map(|(i, _)| i)
        };
        // Deltas that have a successor, and that successor.
        let mut deletable: Vec<(usize, usize)> = (0..connection.symbols.len())
            .flat_map(|at| of(at).skip(1).zip(of(at).skip(2)))
            .collect();
        deletable.sort_unstable();
        let step = deletable.len() / SAMPLES;
        let mut tried = 0;
        for (deleted, noticed) in deletable.iter().copied().step_by(step) {
            let mut feed = Feed::new(connection.venue, connection.symbols, LEVELS);
            let mut naive = vec![Naive::default(); connection.symbols.len()];
            let (hurt, _) = messages[deleted].clone().unwrap();
            for (i, frame) in frames.iter().enumerate() {
                if let Some((at, message)) = &messages[i] {
                    apply(&mut naive[*at], message);
                }
                if i == deleted {
                    continue;
                }
                let actions = feed.frame(frame);
                if i != noticed {
                    assert_eq!(actions, [], "frame {i}");
                    continue;
                }
                assert!(!feed.books[hurt].is_usable, "{deleted} is noticed at {noticed}");
                assert_eq!(actions.len(), 1);
                assert!(feed.is_resubscription(actions[0], hurt));
                let (_, message) = messages[i].as_ref().unwrap();
                let repair = snapshot(connection.symbols[hurt], &naive[hurt], message);
                assert_eq!(feed.frame(&(frame.0, repair)), []);
                assert!(feed.books[hurt].is_usable);
            }
            for (at, consumer) in feed.books.iter().enumerate() {
                let expected: &[_] = if at == hurt { &[DesyncReason::SequenceGap] } else { &[] };
                assert_eq!(consumer.desyncs, expected, "the others go on");
                assert!(feed.is_equal(at, &naive[at]));
            }
            let c = feed.counters();
            assert_eq!((c.gaps, c.repairs_started, c.repairs_done), (1, 1, 1));
            tried += 1;
        }
        println!("{}: {tried} deletions, all noticed at once", connection.venue.name());
        assert!(tried >= SAMPLES);
    }
}

#[test]
fn the_interface_before_v5_is_ignored_and_never_misread() {
    let Some(frames) = frames("cryptofeed_v1/BYBIT.ws.25.0.txt.gz", "/realtime_public") else {
        return;
    };
    let (mut ignored, mut errors) = (0, 0);
    for (_, text) in &frames {
        let decoded = decode(text.as_bytes(), &mut |message| match message {
            Message::Ignored(_) => ignored += 1,
            other => panic!("{other:?} from {text}"),
        });
        errors += u32::from(decoded.is_err());
    }
    println!("{} frames: {ignored} ignored, {errors} refused", frames.len());
    assert_eq!((ignored, errors), (frames.len(), 0));
    assert!(ignored > 3000);
}
