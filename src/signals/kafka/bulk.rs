//! The thread `pk-kafka-bulk`: status and health, through a producer of their own, so that they never
//! stand in the way of signals.
//!
//! Status records tell what happened to connections, topics and books, when trading was halted, which epoch
//! is in force, what expired and what went wrong. Bounds: [`NOTES`] notes wait, beyond that the newest is
//! dropped and counted; what the broker has not taken after [`TIMEOUT_MS`] is given up and counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use purkinje_feeds::status::StatusEvent;
use rdkafka::{
    ClientContext,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};

use super::{
    contract::{TYPE_HEALTH, TYPE_STATUS, Topic},
    outcome::KafkaCounts,
    run::{KafkaOutlet, KafkaSetupError},
    status::{Note, event_record, health_record, note_record},
};
use crate::{clock::wall_ns, pipeline::live_stats::LiveStats};

/// Notes that may wait.
pub const NOTES: usize = 1_024;

/// A record that was not taken within this time is given up, ms.
pub const TIMEOUT_MS: u64 = 60_000;

/// How often the thread looks for what is new.
const ROUND: Duration = Duration::from_millis(100);

/// How long the last records get at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Where notes are put; never waits.
#[derive(Clone, Debug)]
pub struct BulkSender {
    notes: SyncSender<Note>,
    dropped: Arc<AtomicU64>,
}

impl BulkSender {
    /// Tells; where too many wait already, the note is dropped and counted.
    pub fn send(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// A channel of notes.
#[must_use]
pub fn notes() -> (BulkSender, Receiver<Note>, Arc<AtomicU64>) {
    let (notes, receiver) = sync_channel(NOTES);
    let dropped = Arc::<AtomicU64>::default();
    (BulkSender { notes, dropped: dropped.clone() }, receiver, dropped)
}

/// What became of status and health records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// Acknowledged.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
    /// Notes that found no room.
    pub dropped: u64,
    /// Status events that fell out of their log before they were read.
    pub missed: u64,
}

#[derive(Clone, Debug, Default)]
struct Reports {
    delivered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Reports {
    // The publisher of signals tells what is wrong with the broker.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Relaxed);
    }
}

/// A thread that has not started to run.
pub struct BulkThread {
    producer: BaseProducer<Reports>,
    reports: Reports,
    status: String,
    health: String,
    source: String,
    health_every: Duration,
    notes: Receiver<Note>,
    dropped: Arc<AtomicU64>,
    counts: Arc<KafkaCounts>,
    stats: Arc<LiveStats>,
    /// `venue:symbol` by instrument.
    keys: Vec<String>,
    /// Events read of each connection's log.
    read: BTreeMap<u8, u64>,
    /// News of the backend read.
    backend_read: u64,
    sent: u64,
    missed: u64,
}

impl BulkThread {
    /// Makes the producer; does not wait for a broker.
    ///
    /// # Errors
    /// The client library refuses the configuration.
    pub fn new(
        outlet: &KafkaOutlet,
        (notes, dropped): (Receiver<Note>, Arc<AtomicU64>),
        counts: Arc<KafkaCounts>,
        stats: Arc<LiveStats>,
        keys: Vec<String>,
    ) -> Result<Self, KafkaSetupError> {
        let reports = Reports::default();
        let producer = outlet
            .client
            .config()
            .set("enable.idempotence", "true")
            .set("linger.ms", "50")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", TIMEOUT_MS.to_string())
            .set("queue.buffering.max.messages", (4 * NOTES).to_string())
            .create_with_context(reports.clone())
            .map_err(|source| KafkaSetupError::Binding {
                brokers: outlet.client.brokers().to_owned(),
                source,
            })?;
        Ok(Self {
            producer,
            reports,
            status: outlet.topic(Topic::Status),
            health: outlet.topic(Topic::Health),
            source: outlet.source(),
            health_every: Duration::from_millis(outlet.config.health_every_ms),
            notes,
            dropped,
            counts,
            stats,
            keys,
            read: BTreeMap::new(),
            backend_read: 0,
            sent: 0,
            missed: 0,
        })
    }

    /// Runs until `stop`, then sends what is left.
    #[must_use]
    pub fn run(mut self, stop: &AtomicBool) -> BulkOutcome {
        let mut health_at = Instant::now();
        loop {
            let stopping = stop.load(Relaxed);
            self.forward();
            let is_due = !self.health_every.is_zero() && Instant::now() >= health_at;
            if is_due {
                health_at = Instant::now() + self.health_every;
            }
            if is_due || stopping {
                let record = health_record(&self.stats, &self.counts, wall_ns());
                let topic = self.health.clone();
                self.send(&topic, TYPE_HEALTH, "daemon", &record);
            }
            self.producer.poll(Duration::ZERO);
            if stopping {
                break;
            }
            // Notes wake the thread, so that a halt is told at once.
            if let Ok(note) = self.notes.recv_timeout(ROUND) {
                self.tell(&note);
            }
        }
        let _ = self.producer.flush(FLUSH);
        BulkOutcome {
            delivered: self.reports.delivered.load(Relaxed),
            failed: self.reports.failed.load(Relaxed)
                + u64::try_from(self.producer.in_flight_count()).unwrap_or(0),
            dropped: self.dropped.load(Relaxed),
            missed: self.missed,
        }
    }

    fn forward(&mut self) {
        let mut events = Vec::new();
        self.missed += self.stats.status.read_new(&mut self.read, &mut events);
        for event in &events {
            self.tell_event(event);
        }
        let mut news = Vec::new();
        self.stats.backend.read_new(&mut self.backend_read, |what| news.push(what.to_owned()));
        for what in news {
            self.tell(&Note::Trouble { what });
        }
        while let Ok(note) = self.notes.try_recv() {
            self.tell(&note);
        }
    }

    fn tell_event(&mut self, event: &StatusEvent) {
        let (key, record) = event_record(event, &self.keys);
        self.status(&key, &record);
    }

    fn tell(&mut self, note: &Note) {
        self.status("daemon", &note_record(note, wall_ns()));
    }

    fn status(&mut self, key: &str, record: &serde_json::Value) {
        let topic = self.status.clone();
        self.send(&topic, TYPE_STATUS, key, record);
    }

    fn send(&mut self, topic: &str, ce_type: &str, key: &str, record: &serde_json::Value) {
        self.sent += 1;
        let epoch = self.counts.epoch.load(Relaxed);
        let id = format!("{epoch}-bulk-{}", self.sent);
        let time = jiff::Timestamp::from_nanosecond(i128::from(wall_ns()))
            .map_or_else(|_| String::new(), |time| format!("{time:.9}"));
        let fields = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", &id),
            ("ce_source", &self.source),
            ("ce_type", ce_type),
            ("ce_time", &time),
        ];
        let mut headers = OwnedHeaders::new_with_capacity(fields.len());
        for (key, value) in fields {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let value = record.to_string();
        let record = BaseRecord::to(topic).key(key).payload(&value).headers(headers);
        if self.producer.send(record).is_err() {
            self.reports.failed.fetch_add(1, Relaxed);
        }
    }
}
