//! The producer and the publisher on it against librdkafka's mock cluster: whatever the broker answers,
//! each signal ends in one outcome, and what the log holds is, under the drop rule, in order and without
//! doubles.
//!
//! The clocks are the real ones, because the library has no others; nothing here asserts how long
//! something takes, except that it ends at all ([`PATIENCE`]).

use std::{path::Path, sync::Arc, thread::sleep};

use proptest::prelude::*;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::RDKafkaApiKey,
};

use super::*;
use crate::{
    clock::{monotonic_ns, wall_ns},
    config::{Sources, load},
    signals::kafka::{
        client::KafkaClient,
        contract::{Encoding, Identity},
        delivery::Delivery,
        drop_rule::DropRule,
        envelope::Envelope,
        outcome::{KafkaCounts, KafkaOutcome, Outcome},
        publisher::{Now, Publisher, PublisherConfig},
        run::KafkaOutlet,
        spill::{Spill, SpillConfig},
    },
};

/// After this a test that still waits has failed.
const PATIENCE: Duration = Duration::from_mins(1);

const SIGNALS: &str = "purkinje.signals.v1";
const LATEST: &str = "purkinje.signals-latest.v1";

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn now() -> Now {
    Now { wall_ns: wall_ns(), mono_ns: monotonic_ns() }
}

/// A broker with both topics.
fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for topic in [SIGNALS, LATEST] {
        cluster.create_topic(topic, partitions, 1).unwrap();
    }
    cluster
}

/// What the daemon itself would configure.
fn config(brokers: &str, ttl_ms: u64, latest: bool) -> NativeConfig {
    let sets = [
        ("kafka.brokers".to_owned(), brokers.to_owned()),
        ("kafka.latest".to_owned(), latest.to_string()),
        ("kafka.source".to_owned(), "purkinje://test".to_owned()),
    ];
    let sources =
        Sources { config_path: None, env: Vec::new(), sets: sets.to_vec(), search: Vec::new() };
    let config = load(&sources).unwrap().config.kafka;
    let client = KafkaClient::new(&config).unwrap();
    KafkaOutlet { client, config, ttl_ms }.native()
}

/// A publisher on a mock cluster, with its time to live.
struct Rig {
    publisher: Publisher<NativeProducer>,
    counts: Arc<KafkaCounts>,
    ttl_ms: u64,
    epoch: u64,
    seq: u64,
    dir: tempfile::TempDir,
}

impl Rig {
    fn new(cluster: &Cluster, slots: usize, ttl_ms: u64, latest: bool) -> Self {
        let config = config(&cluster.bootstrap_servers(), ttl_ms, latest);
        let producer = NativeProducer::new(config, Window::new(slots)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let counts = Arc::new(KafkaCounts::default());
        let publisher = Publisher::new(
            PublisherConfig { broker_loss_ns: 300_000_000, latest },
            producer,
            Some(spill(dir.path())),
            counts.clone(),
        );
        Self { publisher, counts, ttl_ms, epoch: 1, seq: 0, dir }
    }

    /// Offers a signal of one of two instruments.
    fn offer(&mut self) {
        self.seq += 1;
        let (envelope, value) = signal(Identity { epoch: self.epoch, seq: self.seq }, self.ttl_ms);
        self.publisher.offer(&envelope, monotonic_ns(), &mut |into| copy(&value, into), now());
    }

    /// One round of the thread `pk-kafka`.
    fn turn(&mut self) {
        self.publisher.pump(now());
        if self.publisher.is_broken() {
            self.epoch += u64::from(self.publisher.rebuild(now()));
        }
    }

    fn turn_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn();
            sleep(Duration::from_millis(1));
        }
    }

    fn turn_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "still waiting for {what}: {:?}", self.outcome());
            self.turn();
            sleep(Duration::from_millis(1));
        }
    }

    fn settle(&mut self) {
        self.turn_until("everything to be settled", |rig| rig.publisher.is_idle());
    }

    fn outcome(&self) -> KafkaOutcome {
        self.counts.outcome()
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.outcome().of(outcome)
    }
}

fn spill(dir: &Path) -> Spill {
    let config = SpillConfig { max_bytes: 4 << 20, segment_bytes: 256 << 10 };
    Spill::open(dir, config).unwrap().0
}

fn signal(identity: Identity, ttl_ms: u64) -> (Envelope, Vec<u8>) {
    let mut envelope = Envelope::EMPTY;
    envelope.identity = identity;
    envelope.cycle = identity.seq;
    envelope.ts_signal_ns = wall_ns();
    envelope.expires_ns = envelope.ts_signal_ns + ttl_ms as i64 * 1_000_000;
    envelope.encoding = Encoding::Json;
    envelope.model = *b"0123456789abcdef";
    let symbol = if identity.seq.is_multiple_of(2) { "venue:EVEN" } else { "venue:ODD" };
    assert!(envelope.set_key(symbol.as_bytes()));
    (envelope, format!("value {identity}").into_bytes())
}

fn copy(value: &[u8], into: &mut [u8]) -> Option<usize> {
    into.get_mut(..value.len())?.copy_from_slice(value);
    Some(value.len())
}

/// A record of the log.
#[derive(Debug)]
struct Logged {
    partition: i32,
    key: String,
    identity: Identity,
    value: String,
    timestamp_ms: i64,
    headers: Vec<(String, String)>,
}

impl Logged {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        let headers: Vec<_> = (message.headers().unwrap().iter())
            .map(|header| (header.key.to_owned(), text(header.value)))
            .collect();
        let number = |name: &str| {
            let (_, value) = headers.iter().find(|(key, _)| key == name).unwrap();
            value.parse().unwrap()
        };
        Self {
            partition: message.partition(),
            key: text(message.key()),
            identity: Identity { epoch: number("pk_epoch"), seq: number("pk_seq") },
            value: text(message.payload()),
            timestamp_ms: message.timestamp().to_millis().unwrap(),
            headers,
        }
    }
}

/// Everything in a topic, a partition in its order.
fn log(cluster: &Cluster, topic: &str, partitions: i32) -> Vec<Logged> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut records, mut ended) = (Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    while ended < partitions {
        assert!(Instant::now() < deadline, "the log of {topic} cannot be read");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(Logged::of(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // A broker that was down is found again by itself.
            Some(Err(_)) | None => {}
        }
    }
    records
}

/// What a consumer makes of the log.
fn accepted(log: &[Logged]) -> Vec<Identity> {
    let mut rule = DropRule::default();
    let is_new = |record: &&Logged| rule.accept(&record.key, record.identity).is_ok();
    log.iter().filter(is_new).map(|record| record.identity).collect()
}

fn distinct(log: &[Logged]) -> u64 {
    let mut identities: Vec<_> = log.iter().map(|record| record.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    identities.len() as u64
}

#[test]
fn key_headers_timestamp_and_value_arrive_as_they_were_given_and_in_order() {
    let cluster = cluster(4);
    let mut rig = Rig::new(&cluster, 64, 10_000, true);
    for _ in 0..1_000 {
        rig.offer();
        rig.turn();
    }
    rig.settle();
    assert!(rig.outcome().adds_up(), "{:?}", rig.outcome());
    assert_eq!(rig.of(Outcome::Delivered) + rig.of(Outcome::SpilledDelivered), 1_000);
    assert_eq!(rig.outcome().latest_failed, 0);
    for topic in [SIGNALS, LATEST] {
        let log = log(&cluster, topic, 4);
        assert_eq!(log.len(), 1_000, "{topic}");
        for instrument in ["venue:EVEN", "venue:ODD"] {
            let of_it: Vec<_> = log.iter().filter(|record| record.key == instrument).collect();
            assert_eq!(of_it.len(), 500);
            assert!(of_it.iter().all(|record| record.partition == of_it[0].partition));
            assert!(of_it.windows(2).all(|pair| pair[0].identity < pair[1].identity));
        }
        for record in &log {
            let Identity { epoch, seq } = record.identity;
            assert_eq!(record.key, if seq % 2 == 0 { "venue:EVEN" } else { "venue:ODD" });
            assert_eq!(record.value, format!("value {epoch}-{seq}"));
            let told: Vec<_> =
                record.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let time: jiff::Timestamp = told[5].1.parse().unwrap();
            assert_eq!(time.as_millisecond(), record.timestamp_ms);
            let (id, number) = (format!("{epoch}-{seq}"), seq.to_string());
            let trace = format!("00-{epoch:016x}{seq:016x}-{seq:016x}-01");
            let expected = [
                ("content-type", "application/json"),
                ("ce_specversion", "1.0"),
                ("ce_id", &id),
                ("ce_source", "purkinje://test"),
                ("ce_type", "purkinje.signal.v1"),
                ("ce_time", told[5].1),
                ("ce_subject", &record.key),
                ("traceparent", &trace),
                ("pk_epoch", "1"),
                ("pk_seq", &number),
                ("pk_model", "0123456789abcdef"),
            ];
            assert_eq!(told, expected);
        }
    }
}

#[test]
fn a_broker_that_goes_and_returns_gets_what_was_spilled_meanwhile_in_order() {
    let cluster = cluster(1);
    let mut rig = Rig::new(&cluster, 32, 60_000, true);
    (0..20).for_each(|_| rig.offer());
    rig.settle();
    cluster.broker_down(1).unwrap();
    (0..100).for_each(|_| rig.offer());
    rig.turn_until("the broker to be lost", |rig| rig.publisher.is_lost());
    (0..100).for_each(|_| rig.offer());
    assert!(rig.outcome().spilled >= 100, "{:?}", rig.outcome());
    cluster.broker_up(1).unwrap();
    rig.turn_until("the broker to be found", |rig| !rig.publisher.is_lost());
    (0..20).for_each(|_| rig.offer());
    rig.settle();
    let outcome = rig.outcome();
    assert!(outcome.adds_up() && outcome.losses >= 1, "{outcome:?}");
    assert_eq!(outcome.of(Outcome::Delivered) + outcome.of(Outcome::SpilledDelivered), 240);
    let log = log(&cluster, SIGNALS, 1);
    let seqs: Vec<_> = accepted(&log).iter().map(|identity| identity.seq).collect();
    assert_eq!(seqs, (1..=240).collect::<Vec<_>>());
}

/// Codes with which a broker may answer a request to produce, and what becomes of a signal that meets
/// each once.
const ANSWERS: [(E, Outcome); 37] = {
    use E as C;
    use Outcome::{Delivered, Refused};
    [
        (C::RD_KAFKA_RESP_ERR__TRANSPORT, Delivered),
        (C::RD_KAFKA_RESP_ERR_UNKNOWN, Delivered),
        (C::RD_KAFKA_RESP_ERR_INVALID_MSG, Delivered),
        (C::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, Delivered),
        (C::RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, Delivered),
        (C::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, Delivered),
        (C::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, Delivered),
        (C::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, Delivered),
        (C::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, Delivered),
        (C::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, Delivered),
        (C::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Refused),
        (C::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, Delivered),
        (C::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Delivered),
        (C::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, Delivered),
        (C::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Delivered),
        (C::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, Refused),
        (C::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, Refused),
        (C::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Delivered),
        (C::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, Delivered),
        (C::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, Refused),
        (C::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Refused),
        (C::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, Refused),
        (C::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, Refused),
        (C::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION, Delivered),
        (C::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, Refused),
        (C::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, Refused),
        (C::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, Delivered),
        // The broker says that it has the record.
        (C::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER, Delivered),
        (C::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Delivered),
        (C::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Delivered),
        (C::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, Delivered),
        (C::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, Delivered),
        (C::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, Delivered),
        (C::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, Delivered),
        (C::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, Delivered),
        (C::RD_KAFKA_RESP_ERR_INVALID_RECORD, Refused),
        (C::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Delivered),
    ]
};

/// What became of a signal whose request was answered so, and in words what else happened.
fn answered(answer: E) -> (Option<Outcome>, String) {
    let cluster = cluster(1);
    let mut rig = Rig::new(&cluster, 8, 10_000, false);
    cluster.request_errors(RDKafkaApiKey::Produce, &[answer]);
    rig.offer();
    rig.settle();
    // Whatever it was, it must not stand in the way of what follows.
    rig.offer();
    rig.settle();
    let outcome = rig.outcome();
    assert!(outcome.adds_up(), "{answer:?}: {outcome:?}");
    let log = log(&cluster, SIGNALS, 1);
    let seqs: Vec<_> = accepted(&log).iter().map(|identity| identity.seq).collect();
    // Either signal may have gone through the spill.
    let delivered = outcome.of(Outcome::Delivered) + outcome.of(Outcome::SpilledDelivered);
    let first = match delivered {
        2 => Some(Outcome::Delivered),
        // A refused topic may refuse what follows, too, until the library has asked for it again.
        left => Outcome::ALL.into_iter().skip(2).find(|other| outcome.of(*other) == 2 - left),
    };
    let name = first.map_or("?", Outcome::name);
    let KafkaOutcome { retries, rebuilds, .. } = outcome;
    (first, format!("{answer:?}: {name}; log {seqs:?}; {retries} retries, {rebuilds} rebuilds"))
}

#[test]
fn every_answer_of_a_broker_to_a_signal_leads_to_one_outcome() {
    // Most of the time each waits for its first producer id.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ANSWERS
            .chunks(5)
            .map(|part| {
                scope
                    .spawn(move || part.iter().map(|(code, _)| answered(*code)).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut wrong = Vec::new();
    for ((_, expected), (first, told)) in ANSWERS.iter().zip(&answers) {
        println!("{told}");
        if *first != Some(*expected) {
            wrong.push(told);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_code_that_the_library_has_no_name_for_is_an_unknown_error() {
    // A mock cluster of the client's own, whose error stack takes any number.
    let mut config = config("127.0.0.1:1", 10_000, false);
    config.settings.push(("test.mock.num.brokers", "1".to_owned()));
    let mut producer = NativeProducer::new(config, Window::new(1)).unwrap();
    // TRANSACTION_ABORTABLE of Kafka 4.
    let answer: [c_int; 1] = [120];
    assert!(E::try_from(answer[0]).is_err(), "the library has learned it");
    // SAFETY: the client is valid and owns the cluster; an error is read as an `int` by the library.
    unsafe {
        let cluster = ffi::rd_kafka_handle_mock_cluster(producer.client);
        let produce = RDKafkaApiKey::Produce as i16;
        ffi::rd_kafka_mock_push_request_errors_array(cluster, produce, 1, answer.as_ptr().cast());
    }
    let (envelope, value) = signal(Identity { epoch: 1, seq: 1 }, 10_000);
    let slot = producer.window().acquire(&envelope, |into| copy(&value, into)).unwrap();
    producer.send(slot, Destination::Signals).unwrap();
    let report = report_of(&mut producer);
    let Fate::Failed { code, .. } = report.fate else { panic!("{report:?}") };
    assert_eq!((report.slot, code), (slot, RDKafkaErrorCode::Unknown));
}

fn report_of(producer: &mut NativeProducer) -> Report {
    let deadline = Instant::now() + PATIENCE;
    loop {
        producer.poll(Duration::from_millis(10));
        if let Some(report) = producer.next_report() {
            return report;
        }
        assert!(Instant::now() < deadline, "no report");
    }
}

#[test]
fn a_fatal_error_gives_what_was_under_way_to_a_new_client() {
    for code in [
        E::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        E::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        E::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
        E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        E::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
    ] {
        let cluster = cluster(1);
        let mut rig = Rig::new(&cluster, 32, 60_000, true);
        (0..5).for_each(|_| rig.offer());
        rig.settle();
        // An answer that takes long keeps signals under way.
        cluster.broker_round_trip_time(1, Duration::from_millis(200)).unwrap();
        (0..10).for_each(|_| rig.offer());
        rig.publisher.producer().raise_fatal(code);
        rig.turn_until("the rebuild", |rig| rig.outcome().rebuilds == 1);
        cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
        (0..5).for_each(|_| rig.offer());
        rig.settle();
        let outcome = rig.outcome();
        assert!(outcome.adds_up(), "{code:?}: {outcome:?}");
        assert_eq!(outcome.of(Outcome::Delivered) + outcome.of(Outcome::SpilledDelivered), 20);
        let log = log(&cluster, SIGNALS, 1);
        let seqs: Vec<_> = accepted(&log).iter().map(|identity| identity.seq).collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>(), "{code:?}: {outcome:?}");
        assert_eq!(accepted(&log).last().unwrap().epoch, 2);
    }
}

#[test]
fn the_broker_itself_can_break_a_client_for_good() {
    let cluster = cluster(1);
    let refused = [E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED];
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &refused);
    let mut rig = Rig::new(&cluster, 8, 60_000, false);
    (0..5).for_each(|_| rig.offer());
    rig.settle();
    let outcome = rig.outcome();
    assert!(outcome.adds_up() && outcome.rebuilds == 1, "{outcome:?}");
    assert_eq!(outcome.of(Outcome::Delivered) + outcome.of(Outcome::SpilledDelivered), 5);
}

#[test]
fn what_a_client_did_not_report_before_it_was_destroyed_is_reported_once_afterwards() {
    let cluster = cluster(1);
    let config = config(&cluster.bootstrap_servers(), 60_000, true);
    let mut producer = NativeProducer::new(config, Window::new(4)).unwrap();
    cluster.broker_down(1).unwrap();
    let slots: Vec<_> = (1..=3)
        .map(|seq| {
            let (envelope, value) = signal(Identity { epoch: 1, seq }, 60_000);
            let slot = producer.window().acquire(&envelope, |into| copy(&value, into)).unwrap();
            producer.send(slot, Destination::Signals).unwrap();
            slot
        })
        .collect();
    producer.send(slots[1], Destination::Latest).unwrap();
    // No time to give anything back.
    producer.close(Duration::ZERO);
    assert_eq!(producer.next_report(), None);
    producer.reopen().unwrap();
    let mut told = Vec::new();
    while let Some(Report { slot, to, fate }) = producer.next_report() {
        assert!(matches!(fate, Fate::Failed { may_be_there: true, .. }), "{fate:?}");
        told.push((slot, to));
    }
    let to_signals = slots.iter().map(|slot| (*slot, Destination::Signals));
    let mut expected: Vec<_> = to_signals.collect();
    expected.insert(2, (slots[1], Destination::Latest));
    assert_eq!(told, expected);
    assert!(slots.iter().all(|slot| producer.window().pending(*slot) == 0));
    // The new client works, and owes nothing of the old one's.
    cluster.broker_up(1).unwrap();
    producer.send(slots[0], Destination::Signals).unwrap();
    assert!(matches!(report_of(&mut producer).fate, Fate::Delivered { .. }));
    producer.reopen().unwrap();
    assert_eq!(producer.next_report(), None);
}

#[test]
fn a_client_that_is_dropped_with_signals_under_way_ends() {
    for is_down in [false, true] {
        let cluster = cluster(1);
        let mut rig = Rig::new(&cluster, 256, 60_000, true);
        rig.offer();
        rig.settle();
        if is_down {
            cluster.broker_down(1).unwrap();
        } else {
            cluster.broker_round_trip_time(1, Duration::from_secs(5)).unwrap();
        }
        (0..100).for_each(|_| rig.offer());
        assert!(rig.publisher.has_in_flight());
        let Rig { publisher, .. } = rig;
        drop(publisher);
    }
}

#[test]
fn what_is_under_way_at_the_end_is_kept_for_the_next_run() {
    let cluster = cluster(1);
    let mut rig = Rig::new(&cluster, 64, 60_000, true);
    rig.offer();
    rig.settle();
    cluster.broker_down(1).unwrap();
    (0..100).for_each(|_| rig.offer());
    let Rig { publisher, counts, dir, .. } = rig;
    Box::new(publisher).end(now());
    let outcome = counts.outcome();
    assert!(outcome.adds_up() && outcome.of(Outcome::Kept) == 100, "{outcome:?}");
    assert_eq!(spill(dir.path()).len(), 100);
}

#[test]
fn a_setting_that_is_refused_is_named_and_its_value_is_not_told() {
    let long = "hunter2".repeat(200);
    for (key, value) in [
        ("security.protocol", "hunter2"),
        ("security.protocol", &long),
        ("acks", "hunter2"),
        ("sasl.password", "hunter2\0"),
        ("no.such.key", "hunter2"),
    ] {
        let mut config = config("127.0.0.1:1", 1_000, false);
        config.settings.push((key, value.to_owned()));
        let error = NativeProducer::new(config.clone(), Window::new(1)).unwrap_err();
        let told = format!("{error} {error:?} {config:?}");
        assert!(error.to_string().contains(key), "{told}");
        assert!(!told.contains("hunter"), "{told}");
    }
}

#[test]
fn a_topic_that_cannot_be_is_refused_at_once() {
    for topic in ["t".repeat(513), "zero\0byte".to_owned()] {
        let mut config = config("127.0.0.1:1", 1_000, false);
        config.signals = topic.clone();
        let error = NativeProducer::new(config, Window::new(1)).unwrap_err();
        assert!(
            matches!(&error, NativeError::Topic { topic: told, .. } if *told == topic),
            "{error}"
        );
    }
}

#[test]
fn a_client_that_could_not_be_made_anew_takes_nothing_and_can_be_made_later() {
    let cluster = cluster(1);
    let config = config(&cluster.bootstrap_servers(), 10_000, false);
    let mut producer = NativeProducer::new(config, Window::new(1)).unwrap();
    let settings = producer.config.settings.clone();
    producer.config.settings.push(("acks", "none of these".to_owned()));
    producer.reopen().unwrap_err();
    let (envelope, value) = signal(Identity { epoch: 1, seq: 1 }, 10_000);
    let slot = producer.window().acquire(&envelope, |into| copy(&value, into)).unwrap();
    assert_eq!(producer.send(slot, Destination::Signals), Err(SendError::Fatal));
    producer.poll(Duration::ZERO);
    producer.close(Duration::ZERO);
    assert!(!producer.is_broker_there(Duration::ZERO));
    assert!(producer.begin_transaction().unwrap_err().is_fatal);
    producer.config.settings = settings;
    producer.reopen().unwrap();
    producer.send(slot, Destination::Signals).unwrap();
    assert!(matches!(report_of(&mut producer).fate, Fate::Delivered { .. }));
}

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Offer(u8),
    Answers(Vec<E>),
    Down(bool),
    Slow(u8),
    Fatal(E),
    Turn(u8),
}

fn step() -> impl Strategy<Value = Step> {
    // A broker that claims to have what it does not have is beyond what can be checked in its log.
    let answers = ANSWERS.map(|(code, _)| code);
    let honest: Vec<E> = (answers.into_iter())
        .filter(|code| *code != E::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER)
        .collect();
    let fatal = prop::sample::select(vec![
        E::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
    ]);
    prop_oneof![
        8 => (1u8..30).prop_map(Step::Offer),
        4 => prop::collection::vec(prop::sample::select(honest), 1..4).prop_map(Step::Answers),
        3 => any::<bool>().prop_map(Step::Down),
        1 => (0u8..30).prop_map(Step::Slow),
        1 => fatal.prop_map(Step::Fatal),
        6 => (0u8..120).prop_map(Step::Turn),
    ]
}

proptest! {
    // A case takes about a second of waiting.
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_broker_does_signals_end_once_and_their_log_is_in_order(
        steps in prop::collection::vec(step(), 1..25),
        slots in 1usize..40,
        latest: bool,
    ) {
        let cluster = cluster(1);
        let mut rig = Rig::new(&cluster, slots, 1_500, latest);
        for step in &steps {
            match step {
                Step::Offer(count) => (0..*count).for_each(|_| rig.offer()),
                Step::Answers(codes) => cluster.request_errors(RDKafkaApiKey::Produce, codes),
                Step::Down(true) => cluster.broker_down(1).unwrap(),
                Step::Down(false) => cluster.broker_up(1).unwrap(),
                Step::Slow(ms) => {
                    cluster.broker_round_trip_time(1, Duration::from_millis((*ms).into())).unwrap();
                }
                Step::Fatal(code) => rig.publisher.producer().raise_fatal(*code),
                Step::Turn(ms) => rig.turn_for(Duration::from_millis((*ms).into())),
            }
            rig.turn();
        }
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        cluster.broker_up(1).unwrap();
        rig.settle();
        let Rig { publisher, counts, seq, .. } = rig;
        Box::new(publisher).end(now());
        let outcome = counts.outcome();
        prop_assert!(outcome.adds_up() && outcome.offered == seq, "{outcome:?}");
        let log = log(&cluster, SIGNALS, 1);
        let accepted = accepted(&log);
        for parity in 0..2 {
            let of_it: Vec<_> = accepted.iter().filter(|i| i.seq % 2 == parity).collect();
            prop_assert!(of_it.windows(2).all(|pair| pair[0] < pair[1]), "{of_it:?}");
        }
        // What was acknowledged is there; what nobody knows of may be.
        let acknowledged = outcome.of(Outcome::Delivered) + outcome.of(Outcome::SpilledDelivered);
        let unknown = outcome.of(Outcome::PossiblyPersisted) + outcome.of(Outcome::Refused);
        let there = distinct(&log);
        prop_assert!((acknowledged..=acknowledged + unknown).contains(&there), "{there} of {outcome:?}");
    }
}
