//! Coinbase's rules against recordings of both feeds: undisturbed, with frames deleted, with frames
//! swapped; and which side a trade names.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod coinbase_support;

use coinbase_support::{ADVANCED, EXCHANGE, Frame, Recording};
use std::fmt::Write as _;

use purkinje_feeds::book::Book;
use purkinje_feeds::fixed::Fixed;
use purkinje_feeds::protocol::{self, BookKind, Message};
use purkinje_feeds::session::{Action, ReconnectReason, SessionCounters, SnapshotReply};
use purkinje_feeds::{DesyncReason, EventBody, InstrumentId, Side};

/// Places tried for each kind of fault.
const PLACES: usize = 50;

/// What a frame is about, as far as these tests care.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Update { symbol: Vec<u8>, time_ns: i64 },
    Trade { symbol: Vec<u8> },
    Other,
}

fn what(recording: &Recording, frame: &Frame) -> What {
    let mut what = What::Other;
    let protocol = protocol::of(recording.venue).unwrap();
    let read = protocol.decode(&frame.1, &mut |message| match message {
        Message::Book(book) if book.kind == BookKind::Update => {
            what = What::Update { symbol: book.symbol.to_vec(), time_ns: book.ts_venue_ns };
        }
        Message::Trade(trade) if !trade.is_history => {
            what = What::Trade { symbol: trade.symbol.to_vec() };
        }
        _ => {}
    });
    read.unwrap();
    what
}

/// `PLACES` of the list, evenly.
fn sample<T: Clone>(list: &[T]) -> Vec<T> {
    list.iter().step_by((list.len() / PLACES).max(1)).cloned().collect()
}

fn id(recording: &Recording, symbol: &[u8]) -> InstrumentId {
    let at = recording.symbols.iter().position(|name| name.as_bytes() == symbol).unwrap();
    InstrumentId(u16::try_from(at).unwrap())
}

#[test]
fn the_advanced_recording_has_no_break_and_its_books_are_never_crossed() {
    let Some(frames) = ADVANCED.frames() else { return };
    let mut feed = ADVANCED.feed();
    for frame in &frames {
        assert_eq!(feed.frame(frame), []);
    }
    let c = feed.session.counters();
    println!("{} frames: {c:?}", frames.len());
    assert_eq!((c.frames, c.depth, feed.commits), (1030, 775, 775));
    assert_eq!((c.trades, c.trades_history, c.tops, c.heartbeats), (79, 200, 160, 25));
    // Each of the five answers names all that is subscribed by then.
    assert_eq!((c.acks, c.ignored), (2 + 2 + 4 + 6 + 6, 6));
    assert_eq!((c.connection_gaps, c.connection_duplicates, c.gaps), (0, 0, 0));
    assert_eq!((c.bad_input.total(), c.unknown_symbol, feed.not_normal), (0, 0, 0));
    assert_eq!((c.snapshots_applied, c.snapshot_levels_cut), (2, 27_236 - 20_000));
    assert!(feed.session.all_published() && feed.desyncs.is_empty());
}

#[test]
fn a_deleted_frame_of_advanced_is_noticed_by_the_next_one_whatever_its_channel() {
    let Some(frames) = ADVANCED.frames() else { return };
    let mut noticed = 0;
    for gap in (1..frames.len() - 1).step_by(frames.len() / PLACES) {
        let mut feed = ADVANCED.feed();
        for frame in &frames[..gap] {
            assert_eq!(feed.frame(frame), []);
        }
        let published: Vec<_> = (0..2).map(|i| feed.books[i].best(Side::Bid).is_some()).collect();
        let actions = feed.frame(&frames[gap + 1]);
        let reconnect = Action::Reconnect { reason: ReconnectReason::SequenceGap };
        assert_eq!(actions, [reconnect], "frame {gap} is missing");
        // The number does not say whose frame was lost: every book is given up.
        let lost = |(i, is_published): (u16, &bool)| {
            is_published.then_some((InstrumentId(i), DesyncReason::SequenceGap))
        };
        let expected: Vec<_> = (0..).zip(&published).filter_map(lost).collect();
        assert_eq!(feed.desyncs, expected, "frame {gap} is missing");
        assert_eq!(feed.session.counters().connection_gaps, 1);
        assert!(!feed.session.all_published());
        // The next connection repairs them.
        feed.session.on_connected(frames[gap].0, &mut feed.out);
        for frame in frames.iter().take(30) {
            assert_eq!(feed.frame(frame), []);
        }
        assert!(feed.session.all_published() && feed.not_normal == 0);
        noticed += 1;
    }
    println!("{noticed} deleted frames noticed");
    assert!(noticed >= PLACES);
}

#[test]
fn a_damaged_book_of_advanced_costs_one_product_its_book_and_not_the_connection() {
    let Some(frames) = ADVANCED.frames() else { return };
    let updates: Vec<_> =
        (30..frames.len()).filter(|&i| what(&ADVANCED, &frames[i]) != What::Other).collect();
    let mut feed = ADVANCED.feed();
    for frame in &frames[..30] {
        feed.frame(frame);
    }
    let at = *updates
        .iter()
        .find(|&&i| matches!(what(&ADVANCED, &frames[i]), What::Update { .. }))
        .unwrap();
    let What::Update { symbol, .. } = what(&ADVANCED, &frames[at]) else { unreachable!() };
    for frame in &frames[30..at] {
        feed.frame(frame);
    }
    let text = String::from_utf8(frames[at].1.clone()).unwrap();
    let damaged = text.replacen(r#""price_level":""#, r#""price_level":"x"#, 1);
    assert_ne!(text, damaged);
    let actions = feed.frame(&(frames[at].0, damaged.into_bytes()));
    assert_eq!(feed.desyncs, [(id(&ADVANCED, &symbol), DesyncReason::BadMessage)]);
    assert!(matches!(actions.as_slice(), [Action::Resubscribe { .. }]));
    for frame in &frames[at + 1..] {
        assert!(
            feed.frame(frame).iter().all(|action| matches!(action, Action::Resubscribe { .. }))
        );
    }
    let c = feed.session.counters();
    assert_eq!((feed.desyncs.len(), c.connection_gaps, c.repairs_started), (1, 0, 1));
}

/// How trades lie to the book just before them, by the matching engine's clock.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    /// At the price (or beyond) of the side that the aggressor is said to have taken.
    agree: u64,
    /// At the price of the other side.
    contradict: u64,
    /// Inside the spread, or before any book.
    open: u64,
}

fn taken(recording: &Recording, frames: &[Frame]) -> Taken {
    let mut feed = recording.feed();
    let mut tops: Vec<Vec<(i64, i64, i64)>> = vec![Vec::new(); recording.symbols.len()];
    let mut trades = Vec::new();
    for frame in frames {
        feed.frame_with(frame, |event, book| match event.body {
            EventBody::BookCommit { .. } if event.ts_venue_ns > 0 => {
                let best = |side| book.best(side).unwrap().price;
                let top = (event.ts_venue_ns, best(Side::Bid), best(Side::Ask));
                tops[event.instrument.index()].push(top);
            }
            EventBody::Trade { side, price, .. } => {
                trades.push((event.instrument.index(), event.ts_venue_ns, side, price));
            }
            _ => {}
        });
    }
    let mut taken = Taken::default();
    for (instrument, time_ns, aggressor, price) in trades {
        let tops = &tops[instrument];
        let before = tops.partition_point(|top| top.0 < time_ns);
        let hit = before.checked_sub(1).map(|at| tops[at]).and_then(|(_, bid, ask)| {
            let by_buyer = (price >= ask).then_some(Side::Bid);
            by_buyer.or((price <= bid).then_some(Side::Ask))
        });
        match hit {
            Some(side) if side == aggressor => taken.agree += 1,
            Some(_) => taken.contradict += 1,
            None => taken.open += 1,
        }
    }
    taken
}

#[test]
fn the_side_of_a_trade_is_the_makers_on_both_feeds() {
    for (recording, expected) in [
        (ADVANCED, Taken { agree: 77, contradict: 0, open: 2 }),
        (EXCHANGE, Taken { agree: 96, contradict: 0, open: 1 }),
    ] {
        let Some(frames) = recording.frames() else { return };
        let taken = taken(&recording, &frames);
        println!("{}: {taken:?}", recording.file);
        assert_eq!(taken, expected);
    }
}

#[test]
fn the_exchange_recording_has_no_break_and_its_books_are_never_crossed() {
    let Some(frames) = EXCHANGE.frames() else { return };
    let mut feed = EXCHANGE.feed();
    for frame in &frames {
        assert_eq!(feed.frame(frame), []);
    }
    let c = feed.session.counters();
    println!("{} frames: {c:?}", frames.len());
    assert_eq!((c.frames, c.depth, feed.commits), (9946, 9729, 9729));
    assert_eq!((c.trades, c.trades_history, c.tops), (97, 10, 107));
    assert_eq!((c.acks, c.ignored, c.heartbeats), (10 + 20 + 30, 0, 0));
    assert_eq!((c.gaps, c.trades_lost, c.snapshot_levels_cut), (0, 0, 0));
    assert_eq!((c.bad_input.total(), c.unknown_symbol, feed.not_normal), (0, 0, 0));
    assert!(feed.session.all_published() && feed.desyncs.is_empty());
}

#[test]
fn a_deleted_match_is_noticed_by_the_next_of_its_product_and_repairs_that_book_alone() {
    let Some(frames) = EXCHANGE.frames() else { return };
    let kinds: Vec<What> = frames.iter().map(|frame| what(&EXCHANGE, frame)).collect();
    let mut noticed = 0;
    for gap in 0..frames.len() {
        let What::Trade { symbol } = &kinds[gap] else { continue };
        let Some(next) = (gap + 1..frames.len()).find(|&i| kinds[i] == kinds[gap]) else {
            continue;
        };
        let mut feed = EXCHANGE.feed();
        for (i, frame) in frames[..next].iter().enumerate().filter(|(i, _)| *i != gap) {
            assert_eq!(feed.frame(frame), [], "{i}");
        }
        let actions = feed.frame(&frames[next]);
        let product = id(&EXCHANGE, symbol);
        assert_eq!(feed.desyncs, [(product, DesyncReason::SequenceGap)], "frame {gap}");
        match actions.as_slice() {
            [Action::Resubscribe { topic }] => {
                let subject = feed.session.topic_subject(*topic);
                assert_eq!(subject.map(|(instrument, _)| instrument), Some(product));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(feed.session.counters().trades_lost, 1);
        noticed += 1;
    }
    println!("{noticed} deleted matches noticed");
    // All but the last of each product that traded at all after the subscription.
    assert_eq!(noticed, 89);
}

#[test]
fn updates_of_exchange_that_change_places_are_noticed() {
    let Some(frames) = EXCHANGE.frames() else { return };
    let kinds: Vec<What> = frames.iter().map(|frame| what(&EXCHANGE, frame)).collect();
    let mut pairs = Vec::new();
    for first in 0..frames.len() {
        let What::Update { symbol, time_ns } = &kinds[first] else { continue };
        let is_next = |kind: &What| matches!(kind, What::Update { symbol: s, .. } if s == symbol);
        let next = (first + 1..frames.len()).find(|&i| is_next(&kinds[i]));
        if let Some(next) = next
            && !matches!(&kinds[next], What::Update { time_ns: t, .. } if t == time_ns)
        {
            pairs.push((first, next, id(&EXCHANGE, symbol)));
        }
    }
    for &(first, second, product) in &sample(&pairs) {
        let mut swapped = frames[..=second].to_vec();
        swapped.swap(first, second);
        let mut feed = EXCHANGE.feed();
        for frame in &swapped[..second] {
            assert_eq!(feed.frame(frame), []);
        }
        let actions = feed.frame(&swapped[second]);
        assert_eq!(feed.desyncs, [(product, DesyncReason::SequenceGap)]);
        assert!(matches!(actions.as_slice(), [Action::Resubscribe { .. }]));
    }
}

/// How much slower than recorded Exchange is replayed for its audits, which are a minute apart.
const STRETCH: i64 = 10;

/// The venue's REST answer for a book.
fn rest_body(book: &Book, time: &str) -> String {
    let mut body = String::from("{");
    for (key, side) in [("bids", Side::Bid), ("asks", Side::Ask)] {
        let text = |mantissa| Fixed { mantissa, decimals: 8 };
        let levels: Vec<_> = book
            .levels(side)
            .map(|level| format!(r#"["{}","{}",1]"#, text(level.price), text(level.qty)))
            .collect();
        write!(body, r#""{key}":[{}],"#, levels.join(",")).unwrap();
    }
    write!(body, r#""sequence":1,"time":"{time}"}}"#).unwrap();
    body
}

/// Replays Exchange without one frame, each audit answered by the books of the whole recording.
fn audited(
    frames: &[Frame],
    gap: Option<usize>,
) -> (SessionCounters, Vec<(InstrumentId, DesyncReason)>) {
    let (mut truth, mut feed) = (EXCHANGE.feed(), EXCHANGE.feed());
    let mut times = vec![String::new(); EXCHANGE.symbols.len()];
    let start_ns = frames[0].0;
    for (at, frame) in frames.iter().enumerate() {
        truth.frame(frame);
        if let What::Update { symbol, .. } = what(&EXCHANGE, frame) {
            let text = std::str::from_utf8(&frame.1).unwrap();
            let (_, time) = text.split_once(r#""time":""#).unwrap();
            time.trim_end_matches("\"}").clone_into(&mut times[id(&EXCHANGE, &symbol).index()]);
        }
        if gap == Some(at) {
            continue;
        }
        let ts_recv_ns = start_ns + (frame.0 - start_ns) * STRETCH;
        for action in feed.frame(&(ts_recv_ns, frame.1.clone())) {
            match action {
                Action::Snapshot { instrument, generation } => {
                    let body =
                        rest_body(&truth.books[instrument.index()], &times[instrument.index()]);
                    let body = body.as_bytes();
                    let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
                    feed.session.on_snapshot(reply, &mut feed.out);
                }
                Action::Resubscribe { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    (*feed.session.counters(), feed.desyncs)
}

#[test]
fn a_deleted_update_of_exchange_is_found_by_the_audit_of_its_book() {
    let Some(frames) = EXCHANGE.frames() else { return };
    let (c, desyncs) = audited(&frames, None);
    println!("{} audits of the whole recording", c.audits);
    assert!(c.audits >= 20 && c.audit_mismatches == 0 && desyncs.is_empty());

    // Updates of the first half whose level stays as they left it and is among the best fifteen of its
    // side at the end.
    let mut whole = EXCHANGE.feed();
    let mut last_change = std::collections::BTreeMap::new();
    for (at, frame) in frames.iter().enumerate() {
        whole.frame_with(frame, |event, _| {
            if let EventBody::Level { side, price, .. } = event.body {
                last_change.insert((event.instrument.index(), side as u8, price), at);
            }
        });
    }
    let mut lasting = Vec::new();
    for (product, book) in whole.books.iter().enumerate() {
        for side in [Side::Bid, Side::Ask] {
            let changed =
                book.levels(side).take(15).map(|l| last_change[&(product, side as u8, l.price)]);
            let is_update =
                |at: &usize| matches!(what(&EXCHANGE, &frames[*at]), What::Update { .. });
            let early = changed.filter(|&at| at < frames.len() / 2 && is_update(&at));
            lasting.extend(early.map(|at| (at, product)));
        }
    }
    println!("{} updates deleted, one at a time", lasting.len());
    assert!(lasting.len() >= 10);
    for (gap, product) in lasting {
        let (c, desyncs) = audited(&frames, Some(gap));
        assert_eq!(c.audit_mismatches, 1, "update {gap} is missing");
        assert_eq!(desyncs.len(), 1, "the others keep their books");
        assert_eq!((desyncs[0].0.index(), desyncs[0].1), (product, DesyncReason::AuditMismatch));
    }
}
