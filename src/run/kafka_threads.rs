//! The threads that speak to Kafka, started and ended together.
//!
//! At the end: signals get [`FLUSH`] to be acknowledged, what is left goes to the spill; then the last status
//! records go out. A broker that is gone does not keep the daemon from ending.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use purkinje_feeds::InstrumentTable;

use super::spine::RunError;
use crate::{
    lifecycle::Operator,
    pipeline::{
        live_stats::LiveStats,
        sink::KafkaRing,
        threads::{ThreadError, join, spawn},
    },
    signals::{
        encode::Encoder,
        kafka::{
            bulk::{BulkOutcome, BulkThread, notes},
            control::ControlThread,
            outcome::{KafkaCounts, KafkaOutcome},
            run::{KafkaOutlet, RING_OUTPUTS, SignalsResult, SignalsThread},
        },
    },
};

/// How long the broker gets to acknowledge what is under way when a run ends.
const FLUSH: Duration = Duration::from_secs(3);

/// What the threads are made of.
#[derive(Debug)]
pub(super) struct KafkaParts<'a> {
    /// The instruments.
    pub table: &'a InstrumentTable,
    /// Makes JSON values.
    pub encoder: &'a Encoder,
    /// For health records.
    pub stats: &'a Arc<LiveStats>,
    /// Who is asked for what the control topic commands; a run without one obeys nothing.
    pub operator: Option<Operator>,
}

/// The running threads.
#[derive(Debug)]
pub(super) struct KafkaThreads {
    signals: JoinHandle<SignalsResult>,
    bulk: JoinHandle<BulkOutcome>,
    control: Option<JoinHandle<()>>,
    counts: Arc<KafkaCounts>,
    abandon: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

/// What they left.
#[derive(Clone, Debug)]
pub struct KafkaResult {
    /// What became of the signals.
    pub outcome: KafkaOutcome,
    /// What was measured on the way.
    pub signals: SignalsResult,
    /// What became of status and health.
    pub bulk: BulkOutcome,
}

impl KafkaThreads {
    /// Starts them and returns where signals are put.
    pub(super) fn start(
        outlet: &KafkaOutlet,
        parts: KafkaParts<'_>,
    ) -> Result<(Self, KafkaRing), RunError> {
        let counts = Arc::new(KafkaCounts::default());
        parts.stats.watch_kafka(counts.clone());
        let (abandon, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (bulk_sender, received, dropped) = notes();
        let keys = parts.table.iter().map(|(_, instrument)| instrument.key()).collect();
        let run = parts.encoder.run_constants().clone();
        let bulk = BulkThread::new(
            outlet,
            (received, dropped),
            counts.clone(),
            parts.stats.clone(),
            keys,
        )?;
        let signals = SignalsThread::new(
            outlet,
            run,
            parts.encoder.clone(),
            counts.clone(),
            bulk_sender.clone(),
        )?;
        let operator = parts.operator.filter(|_| outlet.config.control);
        let control = operator
            .map(|operator| ControlThread::new(outlet, operator, bulk_sender))
            .transpose()?;

        let (ring, taken) = KafkaRing::new(RING_OUTPUTS);
        let (woken, abandoned) = (ring.waker.clone(), abandon.clone());
        let signals = spawn("pk-kafka", None, move || signals.run(taken, &woken, &abandoned))?;
        let stopped = stop.clone();
        let bulk = spawn("pk-kafka-bulk", None, move || bulk.run(&stopped))?;
        let stopped = stop.clone();
        let control = control
            .map(|control| spawn("pk-kafka-control", None, move || control.run(&stopped)))
            .transpose()?;
        let threads = Self { signals, bulk, control, counts, abandon, stop };
        Ok((threads, ring))
    }

    /// Whether one has ended, which none does before the sink.
    pub(super) fn is_finished(&self) -> bool {
        self.signals.is_finished() || self.bulk.is_finished()
    }

    /// Waits for them.
    pub(super) fn join(self) -> Result<KafkaResult, ThreadError> {
        wait_finished(&self.signals, FLUSH);
        self.abandon.store(true, Ordering::Relaxed);
        let signals = join(self.signals);
        self.stop.store(true, Ordering::Relaxed);
        let bulk = join(self.bulk);
        if let Some(control) = self.control {
            join(control)?;
        }
        Ok(KafkaResult { outcome: self.counts.outcome(), signals: signals?, bulk: bulk? })
    }
}

/// Waits until a thread has ended, but not longer than `at_most`; false if it has not.
pub(super) fn wait_finished<T>(thread: &JoinHandle<T>, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    thread.is_finished()
}
