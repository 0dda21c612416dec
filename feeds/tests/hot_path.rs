//! After warm-up a session and its consumer's book allocate nothing: counted on a real recording, with
//! a capture's busiest venue, gaps and repairs included.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;

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
