//! Bitstamp's rules against a real recording (ten pairs, 2022, REST books included): undisturbed, with
//! updates deleted, exchanged and damaged.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod capture_support;

use capture_support::{Feed, Line, lines};
use proptest::prelude::*;
use purkinje_feeds::recording::capture::CaptureKind;
use purkinje_feeds::session::{Action, BadInput};
use purkinje_feeds::{DesyncReason, EventBody, Venue};

const SYMBOLS: [&str; 10] = [
    "sgbeur", "ethusd", "xrpeur", "bateur", "usdteur", "usdtusd", "xlmgbp", "adaeur", "batbtc",
    "galaeur",
];

/// Seconds of the recording are stretched so much, so that audits, which come every minute, happen.
const STRETCH: i64 = 100;

fn feed() -> Feed {
    Feed::new(Venue::Bitstamp, &SYMBOLS)
}

fn recording() -> Option<Vec<Line>> {
    lines("BITSTAMP.jsonl.zst")
}

fn symbol_of(line: &Line, prefix: &str) -> Option<&'static str> {
    let text = std::str::from_utf8(&line.bytes).unwrap();
    SYMBOLS.into_iter().find(|symbol| text.contains(&format!("\"{prefix}{symbol}\"")))
}

/// Symbol of a book update.
fn update_of(line: &Line) -> Option<&'static str> {
    let is_data = line.kind == CaptureKind::Frame && line.bytes.ends_with(br#""event":"data"}"#);
    if is_data { symbol_of(line, "diff_order_book_") } else { None }
}

/// Symbol of a REST book.
fn book_of(line: &Line) -> Option<&'static str> {
    let is_book = line.kind == CaptureKind::Http && line.address.contains("/order_book/");
    let name = line.address.rsplit('/').next()?;
    SYMBOLS.into_iter().find(|symbol| is_book && *symbol == name)
}

/// One line of the recording.
fn play(feed: &mut Feed, line: &Line, ts_recv_ns: i64) -> Vec<Action> {
    if let Some(symbol) = book_of(line) {
        return feed.snapshot(symbol, ts_recv_ns, &line.bytes);
    }
    match line.kind {
        CaptureKind::Frame => feed.frame(ts_recv_ns, &line.bytes),
        _ => Vec::new(),
    }
}

/// What the venue would answer to a request for the book at this moment.
fn rest_body(feed: &Feed, symbol: &str) -> String {
    let [bids, asks] = feed.sides(symbol, |price, qty| format!(r#"["{price}","{qty}"]"#));
    let time = feed.view(symbol).last_commit;
    format!(r#"{{"timestamp":"1","microtimestamp":"{time}","bids":{bids},"asks":{asks}}}"#)
}

#[test]
fn the_recording_runs_in_order_and_no_book_is_crossed() {
    let Some(lines) = recording() else { return };
    let mut feed = feed();
    let mut asked = Vec::new();
    for line in &lines {
        asked.extend(play(&mut feed, line, line.ts_recv_ns));
    }
    let c = feed.counters();
    let commits: u64 = feed.views.iter().map(|view| view.commits).sum();
    println!("{} frames, {commits} commits, {c:?}", c.frames);
    assert_eq!((c.frames, c.depth, c.trades, c.acks), (747, 717, 10, 20));
    assert_eq!((c.gaps, c.bad_input.total(), c.buffered_dropped, c.snapshots_stale), (0, 0, 0, 0));
    // The collector fetched the books before it read a frame, so they wait for updates and none is asked
    // for. Nothing happened to sgbeur.
    assert_eq!((c.snapshots_applied, asked.len()), (9, 0));
    assert_eq!(c.stale_dropped, 102);
    assert_eq!(commits, 9 + 717 - 102);
    assert!(feed.views.iter().all(|view| view.crossed == 0 && view.desyncs.is_empty()));
}

/// The updates that are applied to a published book, by place in the recording.
fn applied(lines: &[Line]) -> Vec<usize> {
    let mut feed = feed();
    let is_applied = |&i: &usize| {
        let symbol = update_of(&lines[i]);
        let was_usable = symbol.is_some_and(|symbol| feed.view(symbol).usable);
        play(&mut feed, &lines[i], lines[i].ts_recv_ns);
        was_usable
    };
    (0..lines.len()).filter(is_applied).collect()
}

#[test]
fn updates_that_change_places_are_noticed_and_repaired() {
    let Some(lines) = recording() else { return };
    let updates = applied(&lines);
    let mut exchanged = 0;
    for (at, &early) in updates.iter().enumerate().step_by(11) {
        let symbol = update_of(&lines[early]).unwrap();
        let is_next = |i: &&usize| update_of(&lines[**i]) == Some(symbol);
        let mut later = updates[at + 1..].iter().filter(is_next);
        // The third bridges the snapshot that repairs the book.
        let (Some(&late), Some(_)) = (later.next(), later.next()) else { continue };
        exchanged += 1;
        let (mut reference, mut disturbed) = (feed(), feed());
        for (i, line) in lines.iter().enumerate() {
            play(&mut reference, line, line.ts_recv_ns);
            if i == early {
                continue;
            }
            assert!(play(&mut disturbed, line, line.ts_recv_ns).is_empty());
            if i != late {
                continue;
            }
            let actions = play(&mut disturbed, &lines[early], line.ts_recv_ns);
            assert_eq!(disturbed.view(symbol).desyncs, [DesyncReason::SequenceGap]);
            let instrument = disturbed.id(symbol);
            assert_eq!(actions, [Action::Snapshot { instrument, generation: 1 }]);
            let body = rest_body(&reference, symbol);
            disturbed.snapshot(symbol, line.ts_recv_ns, body.as_bytes());
            assert!(!disturbed.view(symbol).usable, "held until the stream has caught up");
        }
        assert!(disturbed.view(symbol).usable);
        disturbed.assert_others_untouched(symbol);
        for symbol in SYMBOLS {
            assert_eq!(disturbed.levels(symbol), reference.levels(symbol), "{symbol}");
        }
    }
    println!("{exchanged} pairs of updates exchanged");
    assert!(exchanged > 40);
}

/// Runs the recording, stretched, without the update at `deleted`; every question is answered with the
/// true book. Returns the reference and the disturbed feed.
fn run_audited(lines: &[Line], deleted: Option<usize>) -> (Feed, Feed) {
    let (mut reference, mut disturbed) = (feed(), feed());
    let start_ns = lines[0].ts_recv_ns;
    for (i, line) in lines.iter().enumerate() {
        let ts_recv_ns = start_ns + (line.ts_recv_ns - start_ns) * STRETCH;
        // The reference is never audited: its time stands still.
        play(&mut reference, line, start_ns);
        if Some(i) == deleted {
            continue;
        }
        let actions = play(&mut disturbed, line, ts_recv_ns);
        for action in actions {
            let Action::Snapshot { instrument, .. } = action else { panic!("{action:?}") };
            let symbol = SYMBOLS[instrument.index()];
            let body = rest_body(&reference, symbol);
            disturbed.snapshot(symbol, ts_recv_ns, body.as_bytes());
        }
    }
    (reference, disturbed)
}

#[test]
fn audits_find_nothing_in_an_undisturbed_recording() {
    let Some(lines) = recording() else { return };
    let (reference, disturbed) = run_audited(&lines, None);
    let c = disturbed.counters();
    println!("{} audits, {} mismatches", c.audits, c.audit_mismatches);
    assert_eq!(c.audits, 147);
    assert_eq!((c.audit_mismatches, c.gaps, c.repairs_started), (0, 0, 0));
    for symbol in SYMBOLS {
        assert_eq!(disturbed.levels(symbol), reference.levels(symbol));
    }
}

#[test]
fn a_deleted_update_does_not_show_in_the_sequence_and_is_found_by_an_audit() {
    let Some(lines) = recording() else { return };
    let last = lines.len() / 2;
    let updates = applied(&lines).into_iter().filter(|i| *i < last).step_by(4);
    let (mut deleted, mut found, mut overwritten) = (0, 0, 0);
    for i in updates {
        let symbol = update_of(&lines[i]).unwrap();
        let (reference, disturbed) = run_audited(&lines, Some(i));
        deleted += 1;
        assert_eq!(disturbed.counters().gaps, 0, "nothing in the sequence shows it");
        disturbed.assert_others_untouched(symbol);
        let best =
            |feed: &Feed| feed.levels(symbol).map(|side| side[..20.min(side.len())].to_vec());
        if disturbed.view(symbol).desyncs.is_empty() {
            // What it changed was changed again before an audit looked, or lies deep in the book.
            overwritten += 1;
        } else {
            found += 1;
            assert_eq!(disturbed.view(symbol).desyncs, [DesyncReason::AuditMismatch]);
            assert_eq!(disturbed.levels(symbol), reference.levels(symbol), "repaired");
        }
        assert_eq!(best(&disturbed), best(&reference), "{symbol} at line {i}");
    }
    println!("{deleted} updates deleted: {found} found, {overwritten} without effect on the top");
    assert_eq!((deleted, found), (57, 39));
}

#[test]
fn an_update_that_cannot_be_read_costs_its_own_instrument_the_book() {
    let Some(lines) = recording() else { return };
    let at = lines.iter().rposition(|line| update_of(line).is_some()).unwrap();
    let symbol = update_of(&lines[at]).unwrap();
    let text = String::from_utf8(lines[at].bytes.clone()).unwrap();
    let level = text.find("[[").unwrap() + 1;
    let end = level + text[level..].find(']').unwrap() + 1;
    let with_level = |new: &str| [&text[..level], new, &text[end..]].concat();
    let cases = [
        (text[..text.len() - 1].to_owned(), BadInput::Truncated),
        (with_level("garbage"), BadInput::Malformed),
        (with_level(r#"["1.0e-4","1"]"#), BadInput::NotANumber),
        (with_level(r#"["1","-1"]"#), BadInput::OutOfRange),
        (with_level(r#"["1"]"#), BadInput::BadField),
    ];
    for (bad, kind) in cases {
        let mut feed = feed();
        for line in &lines[..at] {
            play(&mut feed, line, line.ts_recv_ns);
        }
        feed.frame(lines[at].ts_recv_ns, bad.as_bytes());
        assert_eq!(feed.counters().bad_input.of(kind), 1, "{bad}");
        assert_eq!(feed.view(symbol).desyncs, [DesyncReason::BadMessage]);
        feed.assert_others_untouched(symbol);
    }
}

const SAMPLES: [&str; 6] = [
    r#"{"event":"bts:subscription_succeeded","channel":"diff_order_book_ethusd","data":{}}"#,
    r#"{"data":{"timestamp":"1","microtimestamp":"5","bids":[["1.5","2"]],"asks":[["2.5","3"]]},"channel":"diff_order_book_ethusd","event":"data"}"#,
    r#"{"data":{"id":2,"amount":0.1,"amount_str":"0.1","price":2.5,"price_str":"2.5","type":0,"microtimestamp":"6"},"channel":"live_trades_ethusd","event":"trade"}"#,
    r#"{"event":"bts:request_reconnect","channel":"","data":""}"#,
    r#"{"data":{"timestamp":"1","microtimestamp":"9","bids":[],"asks":[["2.5","0"],["2.6","1"]]},"channel":"diff_order_book_ethusd","event":"data"}"#,
    r#"{"data":{"timestamp":"1","microtimestamp":"12","bids":[["1.4","1"]],"asks":[]},"channel":"diff_order_book_ethusd","event":"data"}"#,
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_make_a_session_panic_or_publish_out_of_sequence(
        edits in prop::collection::vec((0..=SAMPLES.len(), 0usize..200, any::<u8>()), 0..12),
    ) {
        let mut feed = feed();
        let mut body = br#"{"microtimestamp":"7","bids":[["1.0","2"]],"asks":[["3.0","1"]]}"#.to_vec();
        let mut frames = SAMPLES.map(|text| text.as_bytes().to_vec());
        for (frame, at, byte) in edits {
            let text = frames.get_mut(frame).unwrap_or(&mut body);
            let at = at % text.len();
            text[at] = byte;
        }
        for (i, frame) in frames.iter().enumerate() {
            feed.session.on_frame(1, frame, &mut feed.out);
            if i == 3 {
                let reply = purkinje_feeds::session::SnapshotReply {
                    instrument: feed.id("ethusd"),
                    generation: 1,
                    ts_recv_ns: 1,
                    body: &body,
                };
                feed.session.on_snapshot(reply, &mut feed.out);
            }
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
