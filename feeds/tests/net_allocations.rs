//! Reading a WebSocket allocates nothing per message: only its read buffer may still double.
//!
//! The buffer is reused in place while what is unread fits in front of what was read. How much is
//! unread depends on how the bytes happen to arrive, so the last doubling can come late; but unread
//! bytes never exceed one frame and one read, which two doublings of the 128 KiB buffer always hold.
//! A file of its own, because a counting global allocator concerns the whole test program.

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;

use std::alloc::System;
use std::sync::Arc;

use futures_util::SinkExt;
use purkinje_feeds::net::{
    ConnectionSpec, DisconnectCause, Handler, Link, NetAction, NetCounters, RestConfig, RestReply,
    RestService, run,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use alloc::{CountingAllocator, thread_allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

const FRAMES: u64 = 20_000;
/// By then the largest frame has been seen several times.
const WARM_UP: u64 = 2_000;
const DOUBLINGS: u64 = 2;

/// Notes this thread's allocation count after warm-up and at the end, then stops the connection.
struct Meter {
    frames: u64,
    at_warm: u64,
    at_end: u64,
    stop: watch::Sender<bool>,
}

impl Handler for Meter {
    fn on_connected(&mut self, _: Link, _: i64, _: &mut Vec<String>) {}

    fn on_frame(&mut self, _: Link, _: i64, _: &[u8]) {
        self.frames += 1;
        if self.frames == WARM_UP {
            self.at_warm = thread_allocations();
        } else if self.frames == FRAMES {
            self.at_end = thread_allocations();
            self.stop.send_replace(true);
        }
    }

    fn on_snapshot(&mut self, _: Link, _: RestReply<'_>) {}

    fn on_disconnected(&mut self, _: Link, _: i64, _: DisconnectCause, _: &str) {}

    fn on_tick(&mut self, _: i64) {}

    fn next_action(&mut self, _: Link) -> Option<NetAction> {
        None
    }

    fn is_flowing(&self, _: Link) -> bool {
        self.frames > 0
    }
}

#[test]
fn reading_allocates_nothing_but_the_last_doublings_of_its_buffer() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (address_in, address) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address_in.send(listener.local_addr().unwrap()).unwrap();
            let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
            for index in 0..FRAMES {
                // Sizes as a depth stream has them, up to the 26 kB of its largest frames.
                let length = if index % 100 == 99 { 26_000 } else { 200 + (index * 37 % 1_500) };
                let frame = Message::text("x".repeat(length as usize));
                // Now and then alone, now and then in bursts.
                let sent = if index % 7 == 0 {
                    socket.send(frame).await
                } else {
                    socket.feed(frame).await
                };
                sent.unwrap();
            }
            socket.flush().await.unwrap();
            while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
        });
    });

    let counters = Arc::new(NetCounters::default());
    let rest = RestConfig { base_url: "http://127.0.0.1:9".into(), ..RestConfig::default() };
    let rest = RestService::start(rest, Arc::clone(&counters)).unwrap();
    let (stop, stopped) = watch::channel(false);
    let mut meter = Meter { frames: 0, at_warm: 0, at_end: 0, stop };
    let spec = ConnectionSpec::new("alloc", format!("ws://{}/", address.recv().unwrap()));
    runtime().block_on(run(&spec, &mut meter, &rest.client(), &counters, stopped));
    server.join().unwrap();

    assert_eq!(meter.frames, FRAMES);
    assert!(meter.at_warm > 0, "the counter counts");
    let allocations = meter.at_end - meter.at_warm;
    println!("{allocations} allocations over {} frames", FRAMES - WARM_UP);
    assert!(allocations <= DOUBLINGS, "{allocations} allocations");
}
