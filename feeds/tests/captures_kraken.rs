//! Kraken's checksums against a recording: ten pairs run through a session undisturbed, with frames left
//! out, and said in v2; every checksum is compared, and every book with a naive one.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod kraken_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use purkinje_feeds::book::{Book, Level, Shape};
use purkinje_feeds::fixed::{self, Fixed};
use purkinje_feeds::history::HistoryReader;
use purkinje_feeds::history::capture::CaptureHistory;
use purkinje_feeds::protocol::{self, Message};
use purkinje_feeds::session::{Action, Outbox, Session, SessionSpec};
use purkinje_feeds::topic::{Channel, TopicState};
use purkinje_feeds::{DesyncReason, EventBody, InstrumentId, Side, Venue};

use kraken_support::{DEPTH, PAIRS, as_v2, book, file, frames, recording, table};

/// Book updates of the recording, each with a checksum.
const UPDATES: u64 = 4269;

/// Levels a side that a checksum covers.
const COVERED: usize = 10;

fn ids() -> impl Iterator<Item = InstrumentId> {
    (0..PAIRS.len() as u16).map(InstrumentId)
}

/// A session over all pairs and the books of its consumer.
struct Feed {
    session: Session,
    out: Outbox,
    books: Vec<Book>,
    usable: Vec<bool>,
    desyncs: Vec<(InstrumentId, DesyncReason)>,
    commits: u64,
    not_normal: u64,
}

impl Feed {
    fn new(verify_checksums: bool) -> Self {
        let mut spec = SessionSpec::new(0, Venue::Kraken, ids().collect());
        spec.snapshot_limit = DEPTH;
        spec.verify_checksums = verify_checksums;
        let mut session = Session::new(spec, table()).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let books = PAIRS.map(|_| Book::with_depth(2 * DEPTH)).to_vec();
        let usable = vec![false; PAIRS.len()];
        Self { session, out, books, usable, desyncs: Vec::new(), commits: 0, not_normal: 0 }
    }

    fn frame(&mut self, ts_recv_ns: i64, text: &str) -> Vec<Action> {
        self.session.on_frame(ts_recv_ns, text.as_bytes(), &mut self.out);
        for event in self.out.events.drain(..) {
            let at = event.instrument.index();
            match event.body {
                EventBody::BookBegin => self.books[at].clear(),
                EventBody::Level { side, price, qty } => {
                    self.books[at].set(side, price, qty);
                }
                EventBody::BookCommit { .. } => {
                    self.usable[at] = true;
                    self.commits += 1;
                    self.not_normal += u64::from(self.books[at].shape() != Shape::Normal);
                }
                EventBody::Desync { reason } => {
                    self.usable[at] = false;
                    self.desyncs.push((event.instrument, reason));
                }
                _ => {}
            }
        }
        self.out.topics.clear();
        self.out.actions.drain(..).collect()
    }

    fn levels(&self, id: InstrumentId, most: usize) -> [Vec<Level>; 2] {
        [Side::Bid, Side::Ask].map(|side| self.books[id.index()].levels(side).take(most).collect())
    }

    /// What the venue would send upon a subscription at this moment.
    fn snapshot(&self, id: InstrumentId) -> String {
        let (pair, price_decimals) = PAIRS[id.index()];
        let side = |side| {
            let mut text = String::new();
            for Level { price, qty } in self.books[id.index()].levels(side) {
                let comma = if text.is_empty() { "" } else { "," };
                let price = Fixed { mantissa: price, decimals: price_decimals };
                let qty = Fixed { mantissa: qty, decimals: 8 };
                write!(text, r#"{comma}["{price}","{qty}","1618678133.365913"]"#).unwrap();
            }
            text
        };
        let (bids, asks) = (side(Side::Bid), side(Side::Ask));
        format!(r#"[1,{{"as":[{asks}],"bs":[{bids}]}},"book-{DEPTH}","{pair}"]"#)
    }
}

/// A book as anyone would write it: two sorted maps, cut after each message.
#[derive(Default)]
struct Naive([BTreeMap<i64, i64>; 2]);

impl Naive {
    fn apply(&mut self, objects: &[serde_json::Value], price_decimals: u8) {
        for (side, keys) in [["b", "bs"], ["a", "as"]].into_iter().enumerate() {
            let lists =
                objects.iter().flat_map(|o| keys.iter().filter_map(|key| o[*key].as_array()));
            for level in lists.flatten() {
                let number = |at: usize, decimals| {
                    fixed::parse(level[at].as_str().unwrap().as_bytes(), decimals).unwrap()
                };
                let (price, qty) = (number(0, price_decimals), number(1, 8));
                if qty == 0 {
                    self.0[side].remove(&price);
                } else {
                    self.0[side].insert(price, qty);
                }
            }
        }
        while self.0[0].len() > DEPTH {
            self.0[0].pop_first();
        }
        while self.0[1].len() > DEPTH {
            self.0[1].pop_last();
        }
    }

    fn levels(&self) -> [Vec<Level>; 2] {
        let level = |(&price, &qty): (&i64, &i64)| Level { price, qty };
        [self.0[0].iter().rev().map(level).collect(), self.0[1].iter().map(level).collect()]
    }
}

fn id_of(pair: &str) -> InstrumentId {
    InstrumentId(PAIRS.iter().position(|(symbol, _)| *symbol == pair).unwrap() as u16)
}

#[test]
fn every_checksum_of_the_recording_matches_and_every_book_is_the_naive_one() {
    let Some(frames) = frames() else { return };
    let mut feed = Feed::new(true);
    let mut naive: Vec<Naive> = PAIRS.map(|_| Naive::default()).into();
    for (i, (ts_recv_ns, text)) in frames.iter().enumerate() {
        assert!(feed.frame(*ts_recv_ns, text).is_empty());
        if let Some((objects, pair)) = book(text) {
            let id = id_of(&pair);
            naive[id.index()].apply(&objects, PAIRS[id.index()].1);
            if i % 50 == 0 || i + 200 > frames.len() {
                assert_eq!(feed.levels(id, usize::MAX), naive[id.index()].levels(), "{pair}");
            }
        }
    }
    let c = feed.session.counters();
    println!("{} frames, {} commits, {c:?}", frames.len(), feed.commits);
    assert_eq!((c.checksums, c.checksum_mismatches, c.gaps), (UPDATES, 0, 0));
    assert_eq!((c.depth, c.snapshots_applied, feed.commits), (UPDATES + 10, 10, UPDATES + 10));
    assert_eq!((c.bad_input.total(), c.unknown_symbol, c.ignored), (0, 0, 0));
    assert_eq!((c.tops, c.acks, c.acks_refused, c.heartbeats), (18, 30, 0, 95));
    assert!(c.trades >= 8, "{} trades in 8 frames", c.trades);
    assert_eq!((feed.not_normal, feed.desyncs.len()), (0, 0));
    for id in ids() {
        let state = feed.session.topic_state(id, Channel::Depth);
        assert_eq!(state, Some(TopicState::Flowing));
    }
}

#[test]
fn a_frame_left_out_is_noticed_as_soon_as_a_checksum_covers_it_and_costs_one_pair_its_book() {
    let Some(frames) = frames() else { return };
    let updates: Vec<usize> = (0..frames.len())
        .filter(|&i| {
            book(&frames[i].1).is_some_and(|(o, _)| o.iter().any(|o| o.get("c").is_some()))
        })
        .collect();
    assert_eq!(updates.len() as u64, UPDATES);
    let (mut noticed, mut at_once, mut never, mut pairs) = (0, 0, 0, BTreeSet::new());
    for &left_out in updates.iter().skip(7).step_by(85) {
        let pair = book(&frames[left_out].1).unwrap().1;
        let id = id_of(&pair);
        // With every frame; without the one, checked; without the one, unchecked.
        let (mut whole, mut checked, mut unchecked) =
            (Feed::new(true), Feed::new(true), Feed::new(false));
        let (mut since, mut repaired) = (0, false);
        for (i, (ts_recv_ns, text)) in frames.iter().enumerate() {
            whole.frame(*ts_recv_ns, text);
            if i == left_out {
                continue;
            }
            let actions = checked.frame(*ts_recv_ns, text);
            if repaired || i < left_out {
                assert!(actions.is_empty(), "{pair} {i}");
                unchecked.frame(*ts_recv_ns, text);
                continue;
            }
            unchecked.frame(*ts_recv_ns, text);
            let is_ours = text.ends_with(&format!("\"{pair}\"]"));
            since += usize::from(is_ours && book(text).is_some());
            // A checksum can tell only what it covers.
            if whole.levels(id, COVERED) == unchecked.levels(id, COVERED) || !is_ours {
                assert!(actions.is_empty() && checked.desyncs.is_empty(), "{pair} {i}");
                continue;
            }
            assert_eq!(checked.desyncs, [(id, DesyncReason::ChecksumMismatch)], "{pair} {i}");
            let [Action::Resubscribe { topic }] = actions[..] else { panic!("{actions:?}") };
            assert_eq!(checked.session.topic_subject(topic), Some((id, Channel::Depth)));
            assert_eq!(checked.usable.iter().filter(|usable| !**usable).count(), 1);
            checked.frame(*ts_recv_ns, &whole.snapshot(id));
            assert_eq!(checked.levels(id, usize::MAX), whole.levels(id, usize::MAX));
            at_once += usize::from(since == 1);
            pairs.insert(pair.clone());
            repaired = true;
        }
        if repaired {
            noticed += 1;
            assert_eq!(checked.desyncs.len(), 1);
            for id in ids() {
                assert_eq!(checked.levels(id, usize::MAX), whole.levels(id, usize::MAX));
            }
        } else {
            never += 1;
        }
        let c = checked.session.counters();
        let expected = u64::from(repaired);
        assert_eq!(
            (c.checksum_mismatches, c.repairs_started, c.repairs_done),
            (expected, expected, expected)
        );
    }
    println!(
        "{} left out one by one: {noticed} noticed, {at_once} of them by the next update; {never} lay \
         beyond the checksum to the end; {} pairs",
        noticed + never,
        pairs.len()
    );
    assert_eq!((noticed + never, pairs.len() >= 5), (51, true));
    assert!(noticed > 25 && at_once > 15);
}

#[test]
fn the_same_books_said_in_v2_match_every_checksum_too() {
    let Some(frames) = frames() else { return };
    let (mut old, mut new) = (Feed::new(true), Feed::new(true));
    let mut sent = 0;
    for (ts_recv_ns, text) in &frames {
        old.frame(*ts_recv_ns, text);
        let Some((_, pair)) = book(text) else { continue };
        let id = id_of(&pair);
        let text = as_v2(text, checksum(&old, id)).unwrap();
        assert!(new.frame(*ts_recv_ns, &text).is_empty());
        sent += 1;
    }
    let c = new.session.counters();
    println!(
        "{sent} book frames in v2: {} checksums, {} wrong",
        c.checksums, c.checksum_mismatches
    );
    assert_eq!((c.checksums, c.checksum_mismatches), (UPDATES + 10, 0));
    for id in ids() {
        assert_eq!(new.levels(id, usize::MAX), old.levels(id, usize::MAX));
    }
}

/// The checksum of a pair's book, straight from the documentation.
fn checksum(feed: &Feed, id: InstrumentId) -> u32 {
    let bare = |mantissa, decimals| {
        let text = Fixed { mantissa, decimals }.to_string().replace('.', "");
        text.trim_start_matches('0').to_owned()
    };
    let [bids, asks] = feed.levels(id, COVERED);
    let levels = asks.into_iter().chain(bids);
    let text: String =
        levels.map(|l| bare(l.price, PAIRS[id.index()].1) + &bare(l.qty, 8)).collect();
    crc32fast::hash(text.as_bytes())
}

#[test]
fn the_history_reader_finds_symbols_decimals_and_depth_by_itself() {
    let Some(path) = recording() else { return };
    let mut reader = CaptureHistory::open(&path).unwrap();
    let mut events = Vec::new();
    while reader.next_batch(&mut events).unwrap() {}
    let sessions = reader.sessions();
    let sum = |of: fn(&purkinje_feeds::session::SessionCounters) -> u64| {
        sessions.iter().map(|(_, counters)| of(counters)).sum::<u64>()
    };
    println!("{} events, {} sessions", events.len(), sessions.len());
    assert_eq!((sum(|c| c.checksums), sum(|c| c.checksum_mismatches)), (UPDATES, 0));
    assert_eq!((sum(|c| c.bad_input.total()), sum(|c| c.snapshots_applied)), (0, 10));
}

#[test]
fn the_documents_examples_decode() {
    let Some(path) = file("single_message_fixtures.jsonl") else { return };
    let protocol = protocol::of(Venue::Kraken).unwrap();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let fixture: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = fixture["path"].as_str().unwrap();
        if fixture["venue"] != "kraken" || path.contains("futures") {
            continue;
        }
        let visit = &mut |message: Message<'_>| {
            let name = match message {
                Message::Book(_) => "book",
                Message::Top(_) => "top",
                Message::Trade(_) => "trade",
                Message::Ack(_) => "ack",
                Message::Heartbeat => "heartbeat",
                Message::Ignored(_) => "ignored",
                other => panic!("{other:?}"),
            };
            *found.entry(name.to_owned()).or_default() += 1;
        };
        protocol.decode(fixture["raw"].as_str().unwrap().trim().as_bytes(), visit).unwrap();
    }
    let expected =
        [("ack", 1), ("book", 2), ("heartbeat", 1), ("ignored", 6), ("top", 1), ("trade", 2)];
    println!("{found:?}");
    assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)).into());
}
