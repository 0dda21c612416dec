//! After construction a session allocates nothing on the frames of Deribit and Bitstamp, repairs included.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;
mod capture_support;

use std::alloc::System;

use alloc::{CountingAllocator, thread_allocations};
use capture_support::{Feed, Line, lines};
use purkinje_feeds::recording::capture::CaptureKind;
use purkinje_feeds::session::SnapshotReply;
use purkinje_feeds::{DesyncReason, InstrumentId, Venue};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

/// Runs the lines through a session, giving up a book every so many lines, and returns how often that
/// allocated.
fn allocations(feed: &mut Feed, lines: &[Line], symbols: &[&str], repair_every: usize) -> u64 {
    let before = thread_allocations();
    for (i, line) in lines.iter().enumerate() {
        let (ts_recv_ns, body) = (line.ts_recv_ns, &line.bytes[..]);
        match line.kind {
            CaptureKind::Frame => feed.session.on_frame(ts_recv_ns, body, &mut feed.out),
            CaptureKind::Http => {
                let name = line.address.rsplit('/').next().unwrap();
                if let Some(at) = symbols.iter().position(|symbol| *symbol == name) {
                    let (instrument, generation) = (InstrumentId(at as u16), 1);
                    let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
                    feed.session.on_snapshot(reply, &mut feed.out);
                }
            }
            _ => {}
        }
        if i % repair_every == repair_every - 1 {
            let instrument = InstrumentId((i / repair_every % symbols.len()) as u16);
            feed.session.repair(instrument, DesyncReason::Crossed, ts_recv_ns, &mut feed.out);
        }
        feed.session.on_tick(ts_recv_ns, &mut feed.out);
        feed.out.clear();
    }
    thread_allocations() - before
}

#[test]
fn frames_and_repairs_allocate_nothing_after_construction() {
    let deribit = ["BTC-24SEP21-8000-P", "BTC-31DEC21-34000-P", "ETH-30JUL21-2800-C"];
    let bitstamp = ["ethusd", "xrpeur", "bateur", "usdteur", "usdtusd", "batbtc"];
    for (venue, file, symbols, repair_every) in [
        (Venue::Deribit, "DERIBIT.jsonl.zst", &deribit[..], 50),
        (Venue::Bitstamp, "BITSTAMP.jsonl.zst", &bitstamp[..], 300),
    ] {
        let Some(lines) = lines(file) else { return };
        let mut feed = Feed::new(venue, symbols);
        let counted = allocations(&mut feed, &lines, symbols, repair_every);
        let c = feed.counters();
        println!("{}: {} lines, {counted} allocations, {c:?}", venue.name(), lines.len());
        assert!(c.depth > 30 && c.snapshots_applied > 0 && c.repairs_started > 0);
        assert_eq!(counted, 0, "{}", venue.name());
    }
    assert!(thread_allocations() > 0, "the tests' own allocations are counted");
}
