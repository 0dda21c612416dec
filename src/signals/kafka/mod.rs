//! Signals to Kafka: a plain idempotent producer on a thread of its own.
//!
//! The sink thread never meets librdkafka: it puts key and value into a byte ring, and this thread
//! produces, polls and counts. Every record that reached the ring ends in exactly one of `delivered`
//! and `failed`; what the ring had no room for the sink has counted as refused.

pub mod client;
pub mod contract;
pub mod reach;
pub mod topics;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode as E},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig},
};
use thiserror::Error;

use crate::pipeline::byte_ring::ByteReceiver;

/// Why the producer could not be made.
#[derive(Debug, Error)]
#[error("kafka.brokers = {brokers:?}: {source}")]
pub struct KafkaSetupError {
    brokers: String,
    source: KafkaError,
}

/// What became of the records.
#[derive(Debug, Default)]
pub struct KafkaCounts {
    /// Acknowledged by the broker.
    pub delivered: AtomicU64,
    /// Given up: refused by the broker or older than the message timeout.
    pub failed: AtomicU64,
    /// Times the client's own queue was full and the thread waited.
    pub queue_full: AtomicU64,
    /// Why the newest record failed, or what the client last complained about.
    trouble: Mutex<Option<String>>,
}

/// The counters at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaOutcome {
    /// Acknowledged by the broker.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
    /// Times the client's own queue was full.
    pub queue_full: u64,
    /// The last thing that went wrong.
    pub trouble: Option<String>,
}

impl KafkaCounts {
    /// Reads them.
    #[must_use]
    pub fn outcome(&self) -> KafkaOutcome {
        KafkaOutcome {
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            queue_full: self.queue_full.load(Ordering::Relaxed),
            trouble: self.trouble.lock().map_or(None, |t| t.clone()),
        }
    }

    fn fail(&self, records: u64, why: &str) {
        if records > 0 {
            self.failed.fetch_add(records, Ordering::Relaxed);
            self.note(why);
        }
    }

    fn note(&self, why: &str) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = Some(why.to_owned());
        }
    }
}

#[derive(Clone, Debug)]
struct Reports(Arc<KafkaCounts>);

impl ClientContext for Reports {
    // Errors are counted per message; the client's own chatter does not belong on the screen.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&format!("{error}: {reason}"));
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.delivered.fetch_add(1, Ordering::Relaxed);
            }
            // What is purged at the end failed for a reason that was told before.
            Err((KafkaError::MessageProduction(E::PurgeQueue | E::PurgeInflight), _)) => {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => self.0.fail(1, &error.to_string()),
        }
    }
}

/// Where and how to produce.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `host:port,…`.
    pub brokers: String,
    /// Topic.
    pub topic: String,
    /// How long a record may wait for its acknowledgement, ms.
    pub message_timeout_ms: u64,
    /// Bound of the client's queue, messages.
    pub queue_messages: u64,
}

/// A producer that has not started to run.
pub struct KafkaSink {
    producer: BaseProducer<Reports>,
    topic: String,
    counts: Arc<KafkaCounts>,
}

impl KafkaSink {
    /// Makes the producer; does not wait for a broker.
    ///
    /// # Errors
    /// The client library refuses the configuration.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        let counts = Arc::new(KafkaCounts::default());
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &config.brokers)
            .set("client.id", "purkinje")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", config.message_timeout_ms.to_string())
            .set("queue.buffering.max.messages", config.queue_messages.to_string())
            .create_with_context(Reports(counts.clone()))
            .map_err(|source| KafkaSetupError { brokers: config.brokers.clone(), source })?;
        Ok(Self { producer, topic: config.topic.clone(), counts })
    }

    /// The live counters.
    #[must_use]
    pub fn counts(&self) -> Arc<KafkaCounts> {
        self.counts.clone()
    }

    /// Produces until the ring's sender is gone and the ring is empty, or until `abandon` is set;
    /// then flushes for at most `flush_for`.
    pub fn run(&self, mut ring: ByteReceiver, abandon: &AtomicBool, flush_for: Duration) {
        let mut record = Vec::new();
        let mut pending = false;
        loop {
            let had_work = pending || ring.try_recv(&mut record);
            if had_work {
                pending = self.send(&record) == Sent::QueueFull;
            }
            self.producer.poll(Duration::ZERO);
            if abandon.load(Ordering::Relaxed) || (!had_work && ring.is_finished()) {
                break;
            }
            if pending || !had_work {
                let waker = ring.waker().clone();
                waker.sleep(Duration::from_millis(5), || !pending && !ring.is_empty());
            }
        }
        let mut given_up = u64::from(pending);
        while ring.try_recv(&mut record) {
            given_up += 1;
        }
        self.counts.fail(given_up, "the run ended before the broker took them");
        let _ = self.producer.flush(flush_for);
        // What is left is given up; purging makes the client report each record as failed.
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let _ = self.producer.flush(Duration::from_secs(1));
    }

    fn send(&self, record: &[u8]) -> Sent {
        let Some((key, value)) =
            record.split_first().and_then(|(len, rest)| rest.split_at_checked(usize::from(*len)))
        else {
            return Sent::Done;
        };
        match self.producer.send(BaseRecord::to(&self.topic).key(key).payload(value)) {
            Ok(()) => Sent::Done,
            Err((KafkaError::MessageProduction(E::QueueFull), _)) => {
                self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
                Sent::QueueFull
            }
            Err((error, _)) => {
                self.counts.fail(1, &error.to_string());
                Sent::Done
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Done,
    QueueFull,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{byte_ring::byte_ring, waker::Waker};
    use rdkafka::{
        Message,
        consumer::{BaseConsumer, Consumer},
        mocking::MockCluster,
    };

    fn config(brokers: String) -> KafkaConfig {
        KafkaConfig {
            brokers,
            topic: "purkinje.signals.v1".into(),
            message_timeout_ms: 2_000,
            queue_messages: 1_000,
        }
    }

    #[test]
    fn what_goes_into_the_ring_arrives_keyed_and_in_order() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("purkinje.signals.v1", 1, 1).unwrap();
        let sink = KafkaSink::new(&config(cluster.bootstrap_servers())).unwrap();
        let (mut tx, rx) = byte_ring(1 << 20, Waker::default());
        for n in 0..500 {
            let value = format!("value {n}");
            assert!(tx.try_send(&[&[3], b"key", value.as_bytes()]));
        }
        drop(tx);
        sink.run(rx, &AtomicBool::new(false), Duration::from_secs(20));
        assert_eq!(sink.counts.delivered.load(Ordering::Relaxed), 500);
        assert_eq!(sink.counts.failed.load(Ordering::Relaxed), 0);

        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "test")
            .create()
            .unwrap();
        let mut all = rdkafka::TopicPartitionList::new();
        all.add_partition_offset("purkinje.signals.v1", 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&all).unwrap();
        for n in 0..500 {
            let message = loop {
                if let Some(Ok(m)) = consumer.poll(Duration::from_secs(20)) {
                    break m.detach();
                }
            };
            assert_eq!(message.key(), Some(&b"key"[..]));
            assert_eq!(message.payload(), Some(format!("value {n}").as_bytes()));
        }
    }

    #[test]
    fn a_dead_broker_fails_records_by_their_deadline_and_never_hangs() {
        let sink = KafkaSink::new(&config("127.0.0.1:1".into())).unwrap();
        let (mut tx, rx) = byte_ring(1 << 16, Waker::default());
        for _ in 0..10 {
            assert!(tx.try_send(&[&[1], b"k", b"v"]));
        }
        drop(tx);
        sink.run(rx, &AtomicBool::new(false), Duration::from_millis(500));
        let counts = sink.counts();
        let ended =
            counts.failed.load(Ordering::Relaxed) + counts.delivered.load(Ordering::Relaxed);
        assert_eq!(ended, 10);
        assert!(counts.outcome().trouble.is_some(), "says why");
    }

    #[test]
    fn records_left_in_the_ring_when_the_run_is_abandoned_are_counted_as_failed() {
        let sink = KafkaSink::new(&config("127.0.0.1:1".into())).unwrap();
        let (mut tx, rx) = byte_ring(1 << 16, Waker::default());
        for _ in 0..100 {
            assert!(tx.try_send(&[&[1], b"k", b"v"]));
        }
        sink.run(rx, &AtomicBool::new(true), Duration::from_millis(100));
        let outcome = sink.counts().outcome();
        assert_eq!(outcome.delivered + outcome.failed, 100);
    }
}
