//! Threads that run shards beside the caller.
//!
//! A shard is handed over and back through channels of one place, so nothing is shared but the
//! circuit and the shared weights, which are only read while shards are out. Workers sleep while they
//! wait: on a shared machine a spinning thread takes the core that the work needs. Invariants: every
//! shard is back before `run` returns; a worker ends when its channel closes.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use super::circuit::Circuit;
use super::shard::{Shard, WeightSet};
use crate::rng::Key;

/// The weights that all instruments share, or none.
pub(super) type Shared = Option<Arc<RwLock<WeightSet>>>;

struct Order {
    shard: Box<Shard>,
    cycle: u64,
}

/// One thread and its channels.
#[derive(Debug)]
pub(super) struct Worker {
    orders: Option<SyncSender<Order>>,
    done: Receiver<Box<Shard>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that runs shards on `circuit`.
    ///
    /// # Errors
    /// When the system starts no further thread.
    pub(super) fn start(
        circuit: Arc<Circuit>,
        shared: Shared,
        key: Key,
    ) -> Result<Self, std::io::Error> {
        let (orders, received) = sync_channel::<Order>(1);
        let (finished, done) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("cerebellum".to_owned()).spawn(move || {
                while let Ok(Order { mut shard, cycle }) = received.recv() {
                    run(&circuit, &shared, &mut shard, cycle, key);
                    if finished.send(shard).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self { orders: Some(orders), done, thread: Some(thread) })
    }

    /// Hands a shard over; returns it where the worker has gone.
    pub(super) fn send(&self, shard: Box<Shard>, cycle: u64) -> Result<(), Box<Shard>> {
        match &self.orders {
            Some(orders) => orders.send(Order { shard, cycle }).map_err(|order| order.0.shard),
            None => Err(shard),
        }
    }

    /// Waits for the shard handed over last.
    pub(super) fn receive(&self) -> Option<Box<Shard>> {
        self.done.recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs one shard on this thread.
pub(super) fn run(circuit: &Circuit, shared: &Shared, shard: &mut Shard, cycle: u64, key: Key) {
    match shared {
        None => shard.advance(circuit, None, cycle, key),
        Some(shared) => {
            // A thread that panicked while it held the weights has left them whole: they are written
            // between cycles only.
            let set = shared.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            shard.advance(circuit, Some(&set), cycle, key);
        }
    }
}
