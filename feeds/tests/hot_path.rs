//! After warm-up a session and its consumer's book allocate nothing: counted on a real recording, with
//! a capture's busiest venue, gaps and repairs included.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;
mod kraken_support;

use std::alloc::System;
use std::path::Path;
use std::sync::Arc;

use purkinje_feeds::binance::decode::decode;
use purkinje_feeds::book::Book;
use purkinje_feeds::protocol::Message;
use purkinje_feeds::recording::capture::{CaptureKind, CaptureReader};
use purkinje_feeds::session::{Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Venue,
};

use alloc::{CountingAllocator, thread_allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

const ONE: InstrumentId = InstrumentId(0);
const VENUE: Venue = Venue::BinanceUsdm;

fn apply(book: &mut Book, event: &MarketEvent) {
    match event.body {
        EventBody::BookBegin => book.clear(),
        EventBody::Level { side, price, qty } => {
            book.set(side, price, qty);
        }
        _ => {}
    }
}

/// What must not allocate.
struct Rig {
    session: Session,
    out: Outbox,
    book: Book,
}

impl Rig {
    fn new() -> Self {
        let (venue, symbol) = (VENUE, "BTCUSDT".to_owned());
        let item = Instrument { venue, symbol, price_decimals: 2, qty_decimals: 3 };
        let table = Arc::new(InstrumentTable::new(vec![item]).unwrap());
        let mut spec = SessionSpec::new(0, venue, vec![ONE]);
        spec.buffer_diffs = 64;
        let mut session = Session::new(spec, table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        // Fewer levels than the recording holds, so that evictions happen all the time.
        Self { session, out, book: Book::with_depth(200) }
    }

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
        for event in &self.out.events {
            apply(&mut self.book, event);
        }
        self.out.clear();
    }
}

#[test]
fn frames_gaps_and_repairs_allocate_nothing_after_construction() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/ws_captures/hftbacktest/usdm/btcusdt_20240808.gz"
    );
    if !Path::new(path).exists() {
        println!("skipped: {path} is absent");
        return;
    }
    let mut reader = CaptureReader::open(Path::new(path)).unwrap();
    let mut rig = Rig::new();
    let (mut counted, mut lines) = (0, 0u64);
    let mut last_depth_id = 0;
    while let Some(line) = reader.next_line().unwrap() {
        lines += 1;
        if let Ok(Message::Book(book)) = decode(VENUE, line.bytes) {
            last_depth_id = book.ids.last;
        }
        // The book is given up every 10,000 lines and its snapshot comes 3,000 lines later: more
        // updates than the buffer holds wait for it.
        let body = (lines % 10_000 == 3_000)
            .then(|| format!(r#"{{"lastUpdateId":{last_depth_id},"bids":[],"asks":[]}}"#));
        let before = thread_allocations();
        rig.line(line.ts_recv_ns, line.kind, line.bytes);
        if let Some(body) = &body {
            rig.line(line.ts_recv_ns, CaptureKind::Snapshot, body.as_bytes());
        }
        if lines.is_multiple_of(10_000) {
            rig.session.repair(ONE, DesyncReason::Crossed, line.ts_recv_ns, &mut rig.out);
        }
        rig.session.on_tick(line.ts_recv_ns, &mut rig.out);
        counted += thread_allocations() - before;
    }
    let c = rig.session.counters();
    println!("{lines} lines, {counted} allocations, {} repairs", c.repairs_done);
    assert!(c.repairs_done >= 8 && c.buffered_dropped > 100 && c.depth > 6000);
    assert!(thread_allocations() > 0, "the reader's and the test's own allocations are counted");
    assert_eq!(counted, 0);
}

#[test]
fn frames_of_bybit_and_okx_allocate_nothing_after_construction() {
    let cases = [
        ("BYBIT", "/linear", Venue::BybitLinear, ["BTCUSDT", "SOLUSDT"], 797),
        ("BYBIT", "/spot", Venue::BybitSpot, ["BTCUSDT", "ETHUSDT"], 550),
        ("OKX", "/public", Venue::Okx, ["BTC-USDT", "UNI-USD-SWAP"], 191),
    ];
    for (name, address_end, venue, symbols, depth) in cases {
        let path = format!(
            "{}/../../shared/data/ws_captures/cryptofeed_v2/{name}.jsonl.zst",
            env!("CARGO_MANIFEST_DIR")
        );
        if !Path::new(&path).exists() {
            println!("skipped: {path} is absent");
            return;
        }
        let item = |symbol: &&str| Instrument {
            venue,
            symbol: (*symbol).to_owned(),
            price_decimals: 8,
            qty_decimals: 8,
        };
        let table = Arc::new(InstrumentTable::new(symbols.iter().map(item).collect()).unwrap());
        let mut spec = SessionSpec::new(0, venue, table.iter().map(|(id, _)| id).collect());
        spec.snapshot_limit = 200;
        let mut session = Session::new(spec, table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let mut reader = CaptureReader::open(Path::new(&path)).unwrap();
        let (mut connection, mut counted) = (None, 0);
        while let Some(line) = reader.next_line().unwrap() {
            if line.kind == CaptureKind::Connected && line.bytes.ends_with(address_end.as_bytes()) {
                connection = Some(line.connection);
            }
            if line.kind == CaptureKind::Frame && connection == Some(line.connection) {
                let before = thread_allocations();
                session.on_frame(line.ts_recv_ns, line.bytes, &mut out);
                out.clear();
                counted += thread_allocations() - before;
            }
        }
        let c = session.counters();
        println!("{}: {} frames, {counted} allocations", venue.name(), c.frames);
        assert_eq!((c.depth, c.gaps + c.checksum_mismatches), (depth, 0));
        assert_eq!(counted, 0, "{}", venue.name());
    }
}

#[test]
fn krakens_books_of_both_protocol_versions_allocate_nothing_after_construction() {
    let Some(frames) = kraken_support::frames() else { return };
    for is_v2 in [false, true] {
        let table = kraken_support::table();
        let ids = table.iter().map(|(id, _)| id).collect();
        let mut spec = SessionSpec::new(0, Venue::Kraken, ids);
        spec.snapshot_limit = kraken_support::DEPTH;
        // The checksums of snapshots said in v2 are made up; those of updates are the venue's.
        spec.verify_checksums = !is_v2;
        let mut session = Session::new(spec, table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let (mut counted, mut fed) = (0, 0u64);
        for (ts_recv_ns, text) in &frames {
            let said = if is_v2 { kraken_support::as_v2(text, 0) } else { Some(text.clone()) };
            let Some(text) = said else { continue };
            let before = thread_allocations();
            session.on_frame(*ts_recv_ns, text.as_bytes(), &mut out);
            fed += 1;
            if fed.is_multiple_of(500) {
                let id = InstrumentId((fed / 500 % 10) as u16);
                session.repair(id, DesyncReason::Crossed, *ts_recv_ns, &mut out);
            }
            out.clear();
            counted += thread_allocations() - before;
        }
        let c = session.counters();
        println!("v2 {is_v2}: {fed} frames, {counted} allocations, {} checksums", c.checksums);
        assert!(c.depth == 4279 && c.repairs_started >= 7 && c.awaiting_snapshot > 100);
        assert!((c.checksums > 2000) != is_v2);
        assert_eq!(counted, 0);
    }
}
