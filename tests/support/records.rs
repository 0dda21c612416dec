//! What lies on a topic: read to its end, or as it comes.
//!
//! Invariants: a reader sees every record of every partition, in each one's order, and is never a member of a
//! group; reading gives up with a message when a broker says nothing for long.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use purkinje::{
    clock::wall_ns,
    signals::kafka::{contract::Identity, drop_rule::DropRule},
};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
    metadata::MetadataPartition,
};
use serde_json::Value;

use super::DEADLINE;

const POLL: Duration = Duration::from_millis(100);

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    /// In their order.
    pub(crate) headers: Vec<(String, String)>,
    /// When this process had it, ns since the epoch.
    pub(crate) received_ns: i64,
}

impl Record {
    fn new(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect()
        });
        Self {
            partition: message.partition(),
            key: text(message.key().unwrap_or_default()),
            value: message.payload().unwrap_or_default().to_vec(),
            headers,
            received_ns: wall_ns(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find_map(|(n, value)| (n == name).then_some(value.as_str()))
            .unwrap_or_else(|| panic!("no header {name}: {self:?}"))
    }

    /// Of a signal.
    pub(crate) fn identity(&self) -> Identity {
        let number = |name| self.header(name).parse().unwrap();
        Identity { epoch: number("pk_epoch"), seq: number("pk_seq") }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.value).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn open(brokers: &str, topic: &str) -> (BaseConsumer, BTreeSet<i32>) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // Never joined: without it the library assigns nothing.
        .set("group.id", "purkinje-tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("reconnect.backoff.max.ms", "500")
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).unwrap();
    let partitions: BTreeSet<i32> =
        metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    assert!(!partitions.is_empty(), "topic {topic}: no partitions");
    let mut assigned = TopicPartitionList::new();
    for partition in &partitions {
        assigned.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assigned).unwrap();
    (consumer, partitions)
}

/// All records of a topic, up to its end now.
pub(crate) fn read_all(brokers: &str, topic: &str) -> Vec<Record> {
    let (consumer, mut waits) = open(brokers, topic);
    let mut records = Vec::new();
    let begin = Instant::now();
    while !waits.is_empty() {
        assert!(begin.elapsed() < DEADLINE, "{topic}: no end of partitions {waits:?}");
        match consumer.poll(POLL) {
            Some(Ok(message)) => records.push(Record::new(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                waits.remove(&partition);
            }
            // A broker that comes back is met with retries.
            Some(Err(_)) | None => {}
        }
    }
    records
}

/// How many records a topic has had.
pub(crate) fn records_on(brokers: &str, topic: &str) -> u64 {
    let (consumer, partitions) = open(brokers, topic);
    let ends = partitions.into_iter().map(|p| consumer.fetch_watermarks(topic, p, DEADLINE));
    ends.map(|end| end.unwrap().1 as u64).sum()
}

/// All records of a topic of JSON objects, up to its end now.
pub(crate) fn read_json(brokers: &str, topic: &str) -> Vec<Value> {
    read_all(brokers, topic).iter().map(Record::json).collect()
}

/// Reads a topic from its beginning as records come, whatever becomes of the broker meanwhile.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Record>>,
}

impl Watcher {
    pub(crate) fn start(brokers: &str, topic: &str) -> Self {
        let (consumer, _) = open(brokers, topic);
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut records = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                if let Some(Ok(message)) = consumer.poll(POLL) {
                    records.push(Record::new(&message));
                }
            }
            records
        });
        Self { stop, thread }
    }

    /// What came so far; the rest is for [`read_all`].
    pub(crate) fn finish(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What a consumer that keeps the drop rule makes of signals.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// By instrument, in their order.
    pub(crate) identities: BTreeMap<String, Vec<Identity>>,
    /// Dropped, although never accepted: what is newer came before.
    pub(crate) overtaken: Vec<(String, Identity)>,
    /// Dropped as known.
    pub(crate) repeated: u64,
}

impl Accepted {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut rule = DropRule::default();
        let mut accepted = Self::default();
        for record in records {
            let identity = record.identity();
            let of_key = accepted.identities.entry(record.key.clone()).or_default();
            if rule.accept(&record.key, identity).is_ok() {
                of_key.push(identity);
            } else if of_key.binary_search(&identity).is_ok() {
                accepted.repeated += 1;
            } else {
                accepted.overtaken.push((record.key.clone(), identity));
            }
        }
        accepted
    }

    /// Sequences of an epoch, of all instruments.
    pub(crate) fn seqs(&self, epoch: u64) -> BTreeSet<u64> {
        let of_epoch = self.identities.values().flatten().filter(|id| id.epoch == epoch);
        of_epoch.map(|id| id.seq).collect()
    }

    pub(crate) fn contains(&self, key: &str, identity: Identity) -> bool {
        self.identities.get(key).is_some_and(|ids| ids.binary_search(&identity).is_ok())
    }
}
