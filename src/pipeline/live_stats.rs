//! A few counters that slow threads may look at while the hot ones run.
//!
//! Written once per cycle by the engine with relaxed stores; a reader sees each number as of some
//! recent cycle and never delays anybody.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

use purkinje_feeds::net::NetCounters;

use super::{backend_state::BackendState, engine::EngineCounts, status_logs::StatusLogs};
use crate::signals::kafka::outcome::KafkaCounts;

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
    stale_topics: AtomicI64,
    net: OnceLock<Arc<NetCounters>>,
    kafka: OnceLock<Arc<KafkaCounts>>,
    /// What happened to connections, topics and books.
    pub status: StatusLogs,
    /// Where the models run.
    pub backend: Arc<BackendState>,
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

    /// So many more (or fewer) of a connection's topics are stale. Told by the feed threads.
    pub fn topics_stale(&self, change: i64) {
        self.stale_topics.fetch_add(change, Relaxed);
    }

    /// Whose connections [`LiveStats::trouble`] tells of; only the first call counts.
    pub fn watch(&self, net: Arc<NetCounters>) {
        let _ = self.net.set(net);
    }

    /// Whose outcomes decide whether signals are published; only the first call counts.
    pub fn watch_kafka(&self, kafka: Arc<KafkaCounts>) {
        let _ = self.kafka.set(kafka);
    }

    /// What is wrong with the connections while none is open.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.net.get()?.trouble()
    }

    /// Why nobody can trade on this daemon's signals now; `None` while one can.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if self.kafka.get().is_some_and(|kafka| kafka.is_fenced_off()) {
            return Some("another daemon publishes under kafka.transactional_id".into());
        }
        if self.ready.load(Relaxed) > 0 {
            return None;
        }
        Some(self.trouble().unwrap_or_else(|| "no instrument is ready yet".into()))
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
            stale_topics: u64::try_from(self.stale_topics.load(Relaxed)).unwrap_or(0),
        }
    }
}
