//! The mode `fenced` against a real Kafka: whole cycles or nothing, and one publisher at a time.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use purkinje::signals::kafka::{drop_rule::DropRule, record::SignalRecord};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use support::{kafka, purkinje};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

const INSTRUMENTS: usize = 6;

fn create_topics(prefix: &str) {
    let dir = tempfile::tempdir().unwrap();
    let status = purkinje(dir.path())
        .args(["kafka", "topics", "--create", "--partitions", "3"])
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

/// Everything that is committed, read to the end of each partition.
fn committed(prefix: &str) -> Vec<SignalRecord> {
    let topic = format!("{prefix}.signals.v1");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka::bootstrap())
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..3 {
        partitions.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let (mut records, mut ended, deadline) = (Vec::new(), 0, Instant::now() + PATIENCE);
    while ended < 3 {
        assert!(Instant::now() < deadline, "{topic}: no end of the partitions within a minute");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => records.push(SignalRecord::read(&message).unwrap()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    records
}

fn wait_for_signals(prefix: &str, least: usize, child: &mut Child) -> Vec<SignalRecord> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let records = committed(prefix);
        if records.len() >= least {
            return records;
        }
        assert!(child.try_wait().unwrap().is_none(), "the daemon has ended");
        assert!(Instant::now() < deadline, "{} of {least} signals within a minute", records.len());
        std::thread::sleep(Duration::from_millis(200));
    }
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
    let mut seen = 0;
    for _ in 0..3 {
        let mut child = daemon(dir.path(), prefix).spawn().unwrap();
        seen = wait_for_signals(prefix, seen + 5 * INSTRUMENTS, &mut child).len();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let records = committed(prefix);
    assert_whole_cycles(&records);
    let epochs: BTreeSet<_> = records.iter().map(|r| r.identity.epoch).collect();
    assert_eq!(epochs.len(), 3);
}

#[test]
fn the_daemon_started_last_publishes_and_the_other_refuses_and_says_why() {
    let prefix = "fenced.zombie";
    create_topics(prefix);
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut zombie =
        daemon(first.path(), prefix).args(["--set", "run.duration_s=20"]).spawn().unwrap();
    wait_for_signals(prefix, 5 * INSTRUMENTS, &mut zombie);
    let successor =
        daemon(second.path(), prefix).args(["--set", "run.duration_s=6"]).output().unwrap();
    let told = purkinje(first.path())
        .args(["status", "--set"])
        .arg(format!("control.socket={}", first.path().join("control.sock").display()))
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["is_ready"], false);
    assert_eq!(told["not_ready"], "another daemon publishes under kafka.transactional_id");
    let report = String::from_utf8(successor.stdout).unwrap();
    assert!(report.contains(" 0 refused, 0 kept"), "{report}");
    let report = String::from_utf8(zombie.wait_with_output().unwrap().stdout).unwrap();
    let line = report.lines().find(|line| line.contains("signals, ")).unwrap();
    assert!(!line.contains(" 0 refused"), "{line}");
    assert!(report.contains("another daemon publishes under kafka.transactional_id"), "{report}");

    let records = committed(prefix);
    let epochs: BTreeSet<_> = records.iter().map(|r| r.identity.epoch).collect();
    assert_eq!(epochs.len(), 2);
    let of = |epoch| {
        records
            .iter()
            .filter(move |r: &&SignalRecord| r.identity.epoch == epoch)
            .map(|r| r.identity.seq)
    };
    // Of neither one is missing: the zombie's signals end where it was fenced off.
    for epoch in epochs {
        let mut seqs: Vec<u64> = of(epoch).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    }
    assert_whole_cycles(&records);
}
