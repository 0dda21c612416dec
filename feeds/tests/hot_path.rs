//! After warm-up a session and its consumer's book allocate nothing: counted on a real recording, with
//! a capture's busiest venue, gaps and repairs included.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails at an unwrap says where"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use purkinje_feeds::book::Book;
use purkinje_feeds::recording::capture::{CaptureKind, CaptureReader};
use purkinje_feeds::session::{Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Venue,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts allocations per thread, so that the test harness does not disturb the count.
struct Counting;

// SAFETY: every call is handed to the system allocator unchanged; the counter is a plain `Cell` in
// thread-local storage that needs neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ONE: InstrumentId = InstrumentId(0);

fn apply(book: &mut Book, event: &MarketEvent) {
    match event.body {
        EventBody::BookBegin => book.clear(),
        EventBody::Level { side, price, qty } => {
            book.set(side, price, qty);
        }
        _ => {}
    }
}

/// The state under test and the REST answer it was synchronised with.
struct Rig {
    session: Session,
    out: Outbox,
    book: Book,
}

impl Rig {
    fn new() -> Self {
        let (venue, symbol) = (Venue::BinanceUsdm, "BTCUSDT".to_owned());
        let item = Instrument {
            venue,
            symbol,
            price_decimals: 2,
            qty_decimals: 3,
        };
        let table = Arc::new(InstrumentTable::new(vec![item]).unwrap());
        let mut session = Session::new(SessionSpec::new(0, venue, vec![ONE]), table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        // Fewer levels than the recording holds, so that evictions happen all the time.
        Self {
            session,
            out,
            book: Book::with_depth(200),
        }
    }

    fn line(&mut self, ts_recv_ns: i64, kind: CaptureKind, bytes: &[u8]) {
        match kind {
            CaptureKind::Frame => self.session.on_frame(ts_recv_ns, bytes, &mut self.out),
            CaptureKind::Snapshot => {
                let generation = self.session.generation();
                let reply = SnapshotReply {
                    instrument: ONE,
                    generation,
                    ts_recv_ns,
                    body: bytes,
                };
                self.session.on_snapshot(reply, &mut self.out);
            }
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
    while let Some(line) = reader.next_line().unwrap() {
        lines += 1;
        let before = ALLOCATIONS.get();
        rig.line(line.ts_recv_ns, line.kind, line.bytes);
        if lines.is_multiple_of(5000) {
            // Desynchronised now and then: from here on updates are buffered until it reconnects.
            rig.session
                .repair(ONE, DesyncReason::Crossed, line.ts_recv_ns, &mut rig.out);
        }
        rig.session.on_tick(line.ts_recv_ns, &mut rig.out);
        counted += ALLOCATIONS.get() - before;
    }
    let counters = rig.session.counters();
    println!(
        "{lines} lines, {counted} allocations, {} bytes",
        counters.bytes
    );
    assert!(counters.repairs_started >= 1 && counters.buffered_dropped > 0);
    assert_eq!(counted, 0);
}
