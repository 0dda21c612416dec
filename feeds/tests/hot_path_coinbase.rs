//! After construction neither feed of Coinbase allocates: counted over whole recordings, snapshots of
//! five megabytes included.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;
mod coinbase_support;

use std::alloc::System;

use alloc::{CountingAllocator, thread_allocations};
use coinbase_support::{ADVANCED, EXCHANGE};
use purkinje_feeds::EventBody;

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

#[test]
fn frames_allocate_nothing_after_construction() {
    for recording in [ADVANCED, EXCHANGE] {
        let Some(frames) = recording.frames() else { return };
        let mut feed = recording.feed();
        let before = thread_allocations();
        for (ts_recv_ns, frame) in &frames {
            feed.session.on_frame(*ts_recv_ns, frame, &mut feed.out);
            for event in &feed.out.events {
                let book = &mut feed.books[event.instrument.index()];
                match event.body {
                    EventBody::BookBegin => book.clear(),
                    EventBody::Level { side, price, qty } => {
                        book.set(side, price, qty);
                    }
                    _ => {}
                }
            }
            feed.out.clear();
        }
        let counted = thread_allocations() - before;
        println!("{}: {} frames, {counted} allocations", recording.file, frames.len());
        assert!(before > 0, "the reader's and the test's own allocations are counted");
        assert!(feed.session.all_published());
        assert_eq!(counted, 0, "{}", recording.file);
    }
}
