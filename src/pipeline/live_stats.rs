//! A few counters that slow threads may look at while the hot ones run.
//!
//! Written once per cycle by the engine and the model with relaxed stores; a reader sees each number as of some
//! recent cycle and never delays anybody.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

use purkinje_feeds::net::NetCounters;

use super::{
    backend_state::BackendState, boards::Boards, engine::EngineCounts, live_histogram::LiveLatency,
    reload_counts::ReloadCounts, status_logs::StatusLogs,
};
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
    decided: AtomicU64,
    stale_topics: AtomicI64,
    net: OnceLock<Arc<NetCounters>>,
    kafka: OnceLock<Arc<KafkaCounts>>,
    boards: OnceLock<Boards>,
    /// How long the stages take.
    pub latency: LiveLatency,
    /// What happened to connections, topics and books.
    pub status: StatusLogs,
    /// Where the models run.
    pub backend: Arc<BackendState>,
    /// What became of attempts to take another configuration.
    pub reloads: ReloadCounts,
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

    /// The model has decided one more cycle and its signals are with the sink. Told by the model thread.
    pub fn decided_a_cycle(&self) {
        self.decided.fetch_add(1, Relaxed);
    }

    /// Cycles that were decided: stands still when engine, model or sink do.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.decided.load(Relaxed)
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

    /// What the hot threads of a watched run publish; only the first call counts.
    pub fn watch_boards(&self, boards: Boards) {
        let _ = self.boards.set(boards);
    }

    /// What the hot threads publish; `None` where nobody watches.
    #[must_use]
    pub fn boards(&self) -> Option<&Boards> {
        self.boards.get()
    }

    /// What became of the signals for Kafka; `None` where there is no broker.
    #[must_use]
    pub fn kafka(&self) -> Option<&KafkaCounts> {
        self.kafka.get().map(AsRef::as_ref)
    }

    /// The counters of all connections.
    #[must_use]
    pub fn net(&self) -> Option<&NetCounters> {
        self.net.get().map(AsRef::as_ref)
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

    /// How the run is, in one line that only changes when that does.
    #[must_use]
    pub fn told(&self) -> String {
        let Snapshot { ready, halted, .. } = self.snapshot();
        match (self.not_ready(), halted) {
            (Some(why), _) => format!("not ready: {why}"),
            (None, true) => format!("halted: {ready} instruments ready, HOLD for all"),
            (None, false) => format!("running: {ready} instruments ready"),
        }
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
