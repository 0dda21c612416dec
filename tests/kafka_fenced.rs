//! The mode `fenced` against a real Kafka: whole cycles or nothing, and one publisher at a time.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use purkinje::{
    control,
    signals::kafka::{drop_rule::DropRule, record::SignalRecord},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use support::{kafka, purkinje};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

const INSTRUMENTS: usize = 6;

const PARTITIONS: i32 = 3;

fn create_topics(prefix: &str) {
    let dir = tempfile::tempdir().unwrap();
    let status = purkinje(dir.path())
        .args(["kafka", "topics", "--create", "--partitions", &PARTITIONS.to_string()])
        .args(["--set", &format!("kafka.brokers={}", kafka::bootstrap())])
        .args(["--set", &format!("kafka.topic_prefix={prefix}")])
        .status()
        .unwrap();
    assert!(status.success());
}

/// A daemon that publishes in transactions.
fn daemon(dir: &Path, prefix: &str) -> Command {
    let mut command = purkinje(dir);
    command.arg("run").stdout(Stdio::piped()).stderr(Stdio::piped());
    let sets = [
        ("kafka.brokers", kafka::bootstrap()),
        ("kafka.topic_prefix", prefix.to_owned()),
        ("kafka.mode", "fenced".to_owned()),
        ("kafka.transactional_id", format!("{prefix}-desk")),
        ("kafka.state_dir", dir.join("state").display().to_string()),
        ("control.socket", dir.join("control.sock").display().to_string()),
        ("terminal", "off".to_owned()),
    ];
    for (key, value) in sets {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command
}

/// A consumer of committed records, and what it has read.
struct Reader {
    consumer: BaseConsumer,
    records: Vec<SignalRecord>,
}

impl Reader {
    fn new(prefix: &str) -> Self {
        let topic = format!("{prefix}.signals.v1");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka::bootstrap())
            .set("group.id", "test")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        Self { consumer, records: Vec::new() }
    }

    /// Reads until there are so many signals.
    fn read(&mut self, signals: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.records.len() < signals {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => self.records.push(SignalRecord::read(&message).unwrap()),
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
            let read = self.records.len();
            assert!(Instant::now() < deadline, "{read} of {signals} signals in a minute");
        }
    }

    fn epochs(&self) -> BTreeSet<u64> {
        self.records.iter().map(|record| record.identity.epoch).collect()
    }
}

/// Ends a daemon as an operator would, and returns its report.
fn stop(child: Child) -> String {
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The signals that a report says were delivered.
fn delivered(report: &str) -> usize {
    let count = report.split(" delivered").next().and_then(|before| before.rsplit(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{report}"))
}

/// Whole cycles only, none accepted twice or out of order.
fn assert_whole_cycles(records: &[SignalRecord]) {
    let mut cycles = BTreeMap::<(u64, u64), usize>::new();
    let mut rule = DropRule::default();
    for SignalRecord { identity, signal } in records {
        *cycles.entry((identity.epoch, signal.cycle)).or_default() += 1;
        assert!(
            rule.accept(&signal.instrument, *identity).is_ok(),
            "{identity} came late or twice"
        );
    }
    let torn: Vec<_> = cycles.iter().filter(|(_, count)| **count != INSTRUMENTS).collect();
    assert!(torn.is_empty(), "cycles with other than {INSTRUMENTS} signals: {torn:?}");
}

#[test]
fn a_daemon_killed_at_any_moment_leaves_whole_cycles_and_the_next_one_goes_on() {
    let prefix = "fenced.killed";
    create_topics(prefix);
    let dir = tempfile::tempdir().unwrap();
    let mut reader = Reader::new(prefix);
    for earlier in 0..3 {
        let mut child = daemon(dir.path(), prefix).spawn().unwrap();
        while reader.epochs().len() == earlier {
            reader.read(reader.records.len() + 1);
        }
        reader.read(reader.records.len() + 5 * INSTRUMENTS);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // The next one aborts what the last one left open, so that everything before can be read.
    let killed = reader.epochs();
    let child = daemon(dir.path(), prefix).spawn().unwrap();
    while reader.epochs() == killed {
        reader.read(reader.records.len() + 1);
    }
    let report = stop(child);
    let newest = *reader.epochs().last().unwrap();
    let of_newest = reader.records.iter().filter(|r| r.identity.epoch == newest).count();
    reader.read(reader.records.len() - of_newest + delivered(&report));
    assert_whole_cycles(&reader.records);
    assert_eq!(reader.epochs().len(), 4);
}

#[test]
fn the_daemon_started_last_publishes_and_the_other_refuses_and_says_why() {
    let prefix = "fenced.zombie";
    create_topics(prefix);
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut reader = Reader::new(prefix);
    let zombie = daemon(first.path(), prefix).spawn().unwrap();
    reader.read(5 * INSTRUMENTS);
    let successor = daemon(second.path(), prefix).spawn().unwrap();
    while reader.epochs().len() < 2 {
        reader.read(reader.records.len() + 1);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = control::send(&first.path().join("control.sock"), "status").unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        if told["not_ready"] == "another daemon publishes under kafka.transactional_id" {
            assert_eq!(told["is_ready"], false);
            break;
        }
        assert!(Instant::now() < deadline, "the first daemon never noticed: {told}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let reports = [stop(zombie), stop(successor)];
    let [zombie, successor] = &reports;
    assert!(!zombie.contains(" 0 refused, 0 kept"), "{zombie}");
    assert!(zombie.contains("another daemon publishes under kafka.transactional_id"), "{zombie}");
    assert!(successor.contains(" 0 refused, 0 kept"), "{successor}");
    reader.read(delivered(zombie) + delivered(successor));
    // Of neither one is missing: the zombie's signals end where it was fenced off.
    for epoch in reader.epochs() {
        let of_epoch = reader.records.iter().filter(|r| r.identity.epoch == epoch);
        let mut seqs: Vec<u64> = of_epoch.map(|r| r.identity.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    }
    assert_whole_cycles(&reader.records);
}
