//! The venue's rules against real recordings: every Binance capture of the data set runs through a
//! session and a book, undisturbed, with frames deleted, with frames doubled, with frames damaged.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use purkinje_feeds::book::{Book, Level, Shape};
use purkinje_feeds::fixed::Fixed;
use purkinje_feeds::recording::capture::{CaptureKind, CaptureReader, probe};
use purkinje_feeds::session::{
    Action, BadInput, Outbox, Session, SessionCounters, SessionSpec, SnapshotReply,
};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue,
};

const ONE: InstrumentId = InstrumentId(0);
const DECIMALS: u8 = 8;

/// One recorded session: its files in order of time.
struct Capture {
    files: &'static [&'static str],
    venue: Venue,
    symbol: &'static str,
}

const CAPTURES: [Capture; 5] = [
    Capture {
        files: &["spot/btcusdt_20240808.gz", "spot/btcusdt_20240809.gz"],
        venue: Venue::BinanceSpot,
        symbol: "BTCUSDT",
    },
    Capture {
        files: &["spot/ethusdt_20240808.gz", "spot/ethusdt_20240809.gz"],
        venue: Venue::BinanceSpot,
        symbol: "ETHUSDT",
    },
    Capture { files: &["usdm/btcusdt_20240808.gz"], venue: Venue::BinanceUsdm, symbol: "BTCUSDT" },
    Capture { files: &["usdm/ethusdt_20240808.gz"], venue: Venue::BinanceUsdm, symbol: "ETHUSDT" },
    Capture {
        files: &["cm/btcusd_perp_20240808.gz", "cm/btcusd_perp_20240809.gz"],
        venue: Venue::BinanceCoinm,
        symbol: "BTCUSD_PERP",
    },
];

impl Capture {
    /// Its files, or none where the data set is absent.
    fn paths(&self) -> Option<Vec<PathBuf>> {
        let root =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ws_captures/hftbacktest");
        let paths: Vec<_> = self.files.iter().map(|file| PathBuf::from(root).join(file)).collect();
        if let Some(absent) = paths.iter().find(|path| !path.exists()) {
            println!("skipped: {} is absent", absent.display());
            return None;
        }
        Some(paths)
    }

    /// Hands every line to `each`; `None` where the data set is absent.
    fn for_each(&self, mut each: impl FnMut(i64, CaptureKind, &[u8])) -> Option<()> {
        for path in self.paths()? {
            let mut reader = CaptureReader::open(&path).unwrap();
            while let Some(line) = reader.next_line().unwrap() {
                each(line.ts_recv_ns, line.kind, line.bytes);
            }
        }
        Some(())
    }

    fn feed(&self) -> Feed {
        let item = Instrument {
            venue: self.venue,
            symbol: self.symbol.into(),
            price_decimals: DECIMALS,
            qty_decimals: DECIMALS,
        };
        let table = Arc::new(InstrumentTable::new(vec![item]).unwrap());
        let mut spec = SessionSpec::new(0, self.venue, vec![ONE]);
        spec.snapshot_limit = 20_000;
        let mut session = Session::new(spec, table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let book = Book::with_depth(20_000);
        Feed { session, out, book, usable: false, tally: Tally::default() }
    }
}

#[derive(Default)]
struct Tally {
    commits: u64,
    /// Commits after which the book was anything but normal.
    not_normal: u64,
    desyncs: Vec<DesyncReason>,
    last_commit: u64,
}

/// A session and the book of its consumer.
struct Feed {
    session: Session,
    out: Outbox,
    book: Book,
    /// Between `BookBegin … BookCommit` and the next `Desync`.
    usable: bool,
    tally: Tally,
}

impl Feed {
    fn line(&mut self, ts_recv_ns: i64, kind: CaptureKind, bytes: &[u8]) {
        match kind {
            CaptureKind::Frame => self.session.on_frame(ts_recv_ns, bytes, &mut self.out),
            CaptureKind::Snapshot => {
                let generation = self.session.generation();
                let reply = SnapshotReply { instrument: ONE, generation, ts_recv_ns, body: bytes };
                self.session.on_snapshot(reply, &mut self.out);
            }
            other => panic!("{other:?} in an hftbacktest capture"),
        }
    }

    /// Applies what the last call emitted; `on_event` sees each event after it took effect.
    fn drain(&mut self, mut on_event: impl FnMut(&MarketEvent, &Book)) -> Vec<Action> {
        for event in self.out.events.drain(..) {
            match event.body {
                EventBody::BookBegin => {
                    assert!(!self.usable, "a usable book is replaced without a desync");
                    self.book.clear();
                }
                EventBody::Level { side, price, qty } => {
                    self.book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => {
                    self.usable = true;
                    self.tally.commits += 1;
                    self.tally.not_normal += u64::from(self.book.shape() != Shape::Normal);
                    self.tally.last_commit = event.update_id;
                }
                EventBody::Desync { reason } => {
                    self.usable = false;
                    self.tally.desyncs.push(reason);
                }
                _ => {}
            }
            on_event(&event, &self.book);
        }
        self.out.topics.clear();
        self.out.actions.drain(..).collect()
    }

    fn counters(&self) -> &SessionCounters {
        self.session.counters()
    }

    /// The whole book, best levels first.
    fn levels(&self) -> [Vec<Level>; 2] {
        [Side::Bid, Side::Ask].map(|side| self.book.levels(side).collect())
    }

    /// What the venue would answer to a depth request at this moment.
    fn snapshot_body(&self) -> String {
        let side = |side| {
            let mut text = String::new();
            for (i, Level { price, qty }) in self.book.levels(side).enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let fixed = |mantissa| Fixed { mantissa, decimals: DECIMALS };
                write!(text, r#"{comma}["{}","{}"]"#, fixed(price), fixed(qty)).unwrap();
            }
            text
        };
        let (id, bids, asks) = (self.tally.last_commit, side(Side::Bid), side(Side::Ask));
        format!(r#"{{"lastUpdateId":{id},"bids":[{bids}],"asks":[{asks}]}}"#)
    }
}

fn is_depth(bytes: &[u8]) -> bool {
    bytes.windows(13).take(80).any(|window| window == b"\"depthUpdate\"")
}

#[test]
fn every_capture_runs_without_a_gap_or_a_crossed_book_and_agrees_with_its_tops() {
    for capture in CAPTURES {
        let mut feed = capture.feed();
        // Best prices and quantities by update id, as the two streams tell them.
        let mut tops: HashMap<u64, [i64; 4]> = HashMap::new();
        let mut books: Vec<(u64, [i64; 4])> = Vec::new();
        let mut frames = 0;
        let run = capture.for_each(|ts_recv_ns, kind, bytes| {
            frames += u64::from(kind == CaptureKind::Frame);
            feed.line(ts_recv_ns, kind, bytes);
            feed.drain(|event, book| match event.body {
                EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => {
                    tops.insert(event.update_id, [bid_price, bid_qty, ask_price, ask_qty]);
                }
                EventBody::BookCommit { .. } => {
                    let (bid, ask) = (book.best(Side::Bid).unwrap(), book.best(Side::Ask).unwrap());
                    books.push((event.update_id, [bid.price, bid.qty, ask.price, ask.qty]));
                }
                _ => {}
            });
        });
        if run.is_none() {
            return;
        }
        let compared = books.iter().filter(|(id, _)| tops.contains_key(id)).count();
        let agreeing = books.iter().filter(|(id, top)| tops.get(id) == Some(top)).count();
        let c = feed.counters();
        println!(
            "{} {}: {} frames, {} depth, {} tops, {} trades, {} commits, tops {agreeing}/{compared}",
            capture.venue.name(),
            capture.symbol,
            c.frames,
            c.depth,
            c.tops,
            c.trades,
            feed.tally.commits,
        );
        assert_eq!((c.frames, c.depth + c.tops + c.trades), (frames, frames), "all is data");
        assert_eq!((c.gaps, c.duplicates, c.bad_input.total(), c.snapshots_stale), (0, 0, 0, 0));
        assert_eq!((c.snapshots_applied, c.buffered_dropped), (1, 0));
        assert_eq!(feed.tally.commits, 1 + c.depth - c.stale_dropped, "all updates are published");
        assert_eq!((feed.tally.not_normal, feed.tally.desyncs.len()), (0, 0));
        assert!(compared > 50, "only {compared} commits are comparable");
        assert_eq!(agreeing, compared);
    }
}

#[test]
fn any_deleted_depth_frame_is_detected_at_the_next_one_and_repaired() {
    const EVERY: u64 = 97;
    for capture in CAPTURES {
        let mut last = 0;
        if capture.for_each(|_, _, bytes| last += u64::from(is_depth(bytes))).is_none() {
            return;
        }
        let (mut reference, mut disturbed) = (capture.feed(), capture.feed());
        let (mut depth, mut deleted, mut first_synced) = (0, 0, None);
        let mut pending_body = None;
        let mut deleted_ns = 0;
        capture.for_each(|ts_recv_ns, kind, bytes| {
            let was_synced = reference.usable;
            reference.line(ts_recv_ns, kind, bytes);
            reference.drain(|_, _| {});
            if !is_depth(bytes) {
                disturbed.line(ts_recv_ns, kind, bytes);
                disturbed.drain(|_, _| {});
                return;
            }
            depth += 1;
            if was_synced && first_synced.is_none() {
                first_synced = Some(depth);
            }
            let is_first = first_synced == Some(depth);
            // A book that did not last a second is repaired too, but not at once.
            let has_lasted = ts_recv_ns - deleted_ns > 2_000_000_000;
            let is_sampled = was_synced && has_lasted && (depth % EVERY == 0 || depth == last - 1);
            if pending_body.is_none() && (is_first || is_sampled) {
                // Deleted. The body is what the venue would have answered at this moment.
                pending_body = Some(reference.snapshot_body());
                (deleted, deleted_ns) = (deleted + 1, ts_recv_ns);
                return;
            }
            disturbed.line(ts_recv_ns, kind, bytes);
            let actions = disturbed.drain(|_, _| {});
            let Some(body) = pending_body.take() else {
                assert!(actions.is_empty() || !was_synced);
                return;
            };
            assert_eq!(disturbed.tally.desyncs.len(), deleted, "detected at the very next frame");
            assert!(!disturbed.usable);
            assert_eq!(actions, [Action::Snapshot { instrument: ONE, generation: 1 }]);
            disturbed.line(ts_recv_ns, CaptureKind::Snapshot, body.as_bytes());
            disturbed.drain(|_, _| {});
            assert!(disturbed.usable, "repaired from the next snapshot");
            assert_eq!(disturbed.levels(), reference.levels());
        });
        let name = capture.venue.name();
        println!("{name} {}: {deleted} of {depth} depth frames deleted", capture.symbol);
        assert!(deleted > 50 && pending_body.is_none());
        assert!(disturbed.tally.desyncs.iter().all(|r| *r == DesyncReason::SequenceGap));
        assert_eq!(disturbed.levels(), reference.levels());
        assert_eq!(disturbed.tally.not_normal, 0);
        let c = disturbed.counters();
        let deleted = deleted as u64;
        assert_eq!((c.gaps, c.repairs_started, c.repairs_done), (deleted, deleted, deleted));
    }
}

#[test]
fn doubled_frames_are_harmless() {
    for capture in CAPTURES {
        let (mut reference, mut disturbed) = (capture.feed(), capture.feed());
        let (mut depth, mut doubled) = (0, 0);
        let run = capture.for_each(|ts_recv_ns, kind, bytes| {
            for feed in [&mut reference, &mut disturbed] {
                feed.line(ts_recv_ns, kind, bytes);
                feed.drain(|_, _| {});
            }
            depth += u64::from(is_depth(bytes));
            if is_depth(bytes) && depth % 7 == 0 && reference.usable {
                doubled += 1;
                disturbed.line(ts_recv_ns, kind, bytes);
                let actions = disturbed.drain(|event, _| panic!("a duplicate emitted {event:?}"));
                assert!(actions.is_empty());
            }
        });
        if run.is_none() {
            return;
        }
        assert!(doubled > 100);
        assert_eq!(disturbed.counters().duplicates, doubled);
        assert_eq!(disturbed.tally.commits, reference.tally.commits);
        assert_eq!(disturbed.levels(), reference.levels());
    }
}

#[test]
fn a_real_frame_truncated_anywhere_or_made_hostile_desyncs_and_is_repaired() {
    let capture = &CAPTURES[2];
    let mut lines = Vec::new();
    let wanted = |kind, bytes: &[u8]| kind == CaptureKind::Snapshot || is_depth(bytes);
    let run = capture.for_each(|ts, kind, bytes| {
        if lines.len() < 40 && wanted(kind, bytes) {
            lines.push((ts, kind, bytes.to_vec()));
        }
    });
    if run.is_none() {
        return;
    }
    // In sequence after 30 lines; the next frame is the one that suffers, the one after tells.
    let prepared = || {
        let mut feed = capture.feed();
        for (ts, kind, bytes) in &lines[..30] {
            feed.line(*ts, *kind, bytes);
            feed.drain(|_, _| {});
        }
        assert!(feed.usable);
        feed
    };
    let (ts, kind, frame) = &lines[30];
    let (next_ts, _, next) = &lines[31];
    let mut reference = prepared();
    reference.line(*ts, *kind, frame);
    reference.drain(|_, _| {});
    let body = reference.snapshot_body();
    reference.line(*next_ts, CaptureKind::Frame, next);
    reference.drain(|_, _| {});

    let text = String::from_utf8(frame.clone()).unwrap();
    let at = text.find(r#""b":[["#).unwrap() + r#""b":[["#.len();
    let level_end = at + text[at..].find(']').unwrap();
    let with_level = |level: &str| [&text[..at], level, &text[level_end..]].concat().into_bytes();
    let mut cases: Vec<(Vec<u8>, BadInput)> =
        (0..frame.len()).map(|end| (frame[..end].to_vec(), BadInput::Truncated)).collect();
    cases.push((with_level(r#""12345678901234567890","1""#), BadInput::Overflow));
    cases.push((with_level(r#""61800.20","-1""#), BadInput::OutOfRange));
    cases.push((with_level(r#""61800.123456789","1""#), BadInput::TooPrecise));
    println!("{} bad versions of a frame of {} bytes", cases.len(), frame.len());

    let mut feed = prepared();
    for (count, (bad, kind)) in cases.into_iter().enumerate() {
        // A new connection and the same lines bring the feed back to where it suffers.
        if count > 0 {
            feed.session.on_connected(0, &mut feed.out);
            for (ts, kind, bytes) in &lines[..30] {
                feed.line(*ts, *kind, bytes);
                feed.drain(|_, _| {});
            }
            assert!(feed.usable);
        }
        let desyncs = feed.tally.desyncs.len();
        let refused = feed.counters().bad_input.of(kind);
        feed.line(*ts, CaptureKind::Frame, &bad);
        feed.drain(|_, _| {});
        assert_eq!(feed.counters().bad_input.of(kind), refused + 1);
        feed.line(*next_ts, CaptureKind::Frame, next);
        let actions = feed.drain(|_, _| {});
        assert_eq!(feed.tally.desyncs.len(), desyncs + 1);
        let generation = feed.session.generation();
        assert_eq!(actions, [Action::Snapshot { instrument: ONE, generation }]);
        feed.line(*next_ts, CaptureKind::Snapshot, body.as_bytes());
        feed.drain(|_, _| {});
        assert!(feed.usable);
        assert_eq!(feed.levels(), reference.levels());
    }
}

#[test]
fn a_26_kb_depth_frame_with_unknown_fields_is_an_ordinary_frame() {
    let mut feed = CAPTURES[0].feed();
    let (mut bids, mut asks) = (String::new(), String::new());
    for i in 0..450 {
        let comma = if i == 0 { "" } else { "," };
        write!(bids, r#"{comma}["{}.00000000","1.00000000"]"#, 50_000 - i).unwrap();
        write!(asks, r#"{comma}["{}.00000000","2.00000000"]"#, 50_001 + i).unwrap();
    }
    let known = r#""e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2"#;
    let frame = format!(
        r#"{{"st":1,"data":{{"new":{{"deep":[[{{}}]]}},{known},"b":[{bids}],"a":[{asks}],"z":null}}}}"#
    );
    assert!(frame.len() > 26_000, "{}", frame.len());
    feed.line(1, CaptureKind::Frame, frame.as_bytes());
    feed.line(2, CaptureKind::Snapshot, br#"{"lastUpdateId":1,"bids":[],"asks":[]}"#);
    feed.drain(|_, _| {});
    assert!(feed.usable);
    assert_eq!(feed.levels().map(|levels| levels.len()), [450, 450]);
    let one = 10i64.pow(u32::from(DECIMALS));
    assert_eq!(feed.book.best(Side::Bid), Some(Level { price: 50_000 * one, qty: one }));
    assert_eq!(feed.book.best(Side::Ask), Some(Level { price: 50_001 * one, qty: 2 * one }));
}

#[test]
fn captures_are_recognised_by_their_fields() {
    for capture in CAPTURES {
        let Some(paths) = capture.paths() else { return };
        for path in paths {
            let found = probe(&path).unwrap();
            assert_eq!(found.venue, capture.venue, "{}", path.display());
            assert_eq!(found.symbols, [capture.symbol], "{}", path.display());
        }
    }
}
