//! A few counters that slow threads may look at while the hot ones run.
//!
//! Written once per cycle by the engine with relaxed stores; a reader sees each number as of some
//! recent cycle and never delays anybody.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use purkinje_feeds::net::NetCounters;

use super::engine::EngineCounts;

/// The counters.
#[derive(Debug, Default)]
pub struct LiveStats {
    events: AtomicU64,
    cycles: AtomicU64,
    missed: AtomicU64,
    conflated: AtomicU64,
    desyncs: AtomicU64,
    ready: AtomicU64,
    halted: AtomicBool,
    stale_topics: AtomicU64,
    net: OnceLock<Arc<NetCounters>>,
}

/// What they were a moment ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Market events applied.
    pub events: u64,
    /// Cycles cut.
    pub cycles: u64,
    /// Cycles missed.
    pub missed: u64,
    /// Books and trades that came conflated.
    pub conflated: u64,
    /// Books lost.
    pub desyncs: u64,
    /// Instruments that were ready at the last cut.
    pub ready: u64,
    /// Whether trading is halted.
    pub halted: bool,
    /// Topics that are silent for too long now.
    pub stale_topics: u64,
}

impl LiveStats {
    /// Publishes the engine's counters.
    pub fn publish(&self, counts: &EngineCounts, ready: usize, halted: bool) {
        self.events.store(counts.events, Relaxed);
        self.cycles.store(counts.cycles, Relaxed);
        self.missed.store(counts.missed_cycles, Relaxed);
        self.conflated.store(counts.conflated_books + counts.conflated_trades, Relaxed);
        self.desyncs.store(counts.desyncs, Relaxed);
        self.ready.store(ready as u64, Relaxed);
        self.halted.store(halted, Relaxed);
    }

    /// A connection's topic became stale, or is so no more. Told by the feed threads.
    pub fn topic_stale(&self, is_stale: bool) {
        if is_stale {
            self.stale_topics.fetch_add(1, Relaxed);
        } else {
            self.stale_topics.fetch_sub(1, Relaxed);
        }
    }

    /// Whose connections [`LiveStats::trouble`] tells of; only the first call counts.
    pub fn watch(&self, net: Arc<NetCounters>) {
        let _ = self.net.set(net);
    }

    /// What is wrong with the connections while none is open.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.net.get()?.trouble()
    }

    /// Reads them.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            events: self.events.load(Relaxed),
            cycles: self.cycles.load(Relaxed),
            missed: self.missed.load(Relaxed),
            conflated: self.conflated.load(Relaxed),
            desyncs: self.desyncs.load(Relaxed),
            ready: self.ready.load(Relaxed),
            halted: self.halted.load(Relaxed),
            stale_topics: self.stale_topics.load(Relaxed),
        }
    }
}
