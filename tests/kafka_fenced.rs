//! The mode `fenced` against a real Kafka: whole cycles or nothing, and one publisher at a time.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use purkinje::signals::kafka::{
    contract::Topic, drop_rule::DropRule, outcome::Outcome, record::SignalRecord,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use support::{
    DEADLINE, kafka,
    publishing::{Outcomes, Site, start, stop},
    wait_for_status,
};

/// Those of the site's exchange.
const INSTRUMENTS: usize = 4;

const PARTITIONS: u32 = 3;

fn site(name: &str) -> Site {
    let id = format!("{name}.p{}", std::process::id());
    let sets = [("kafka.mode", "fenced"), ("kafka.transactional_id", id.as_str())];
    Site::new(&kafka::bootstrap(), name, &sets).with_topics(PARTITIONS)
}

/// A consumer of committed records, and what it has read.
struct Reader {
    consumer: BaseConsumer,
    records: Vec<SignalRecord>,
}

impl Reader {
    fn new(site: &Site) -> Self {
        let topic = site.topic(Topic::Signals);
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", site.brokers())
            .set("group.id", "test")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS as i32 {
            partitions.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        Self { consumer, records: Vec::new() }
    }

    /// Reads until there is enough.
    fn read(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !enough(self) {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => self.records.push(SignalRecord::read(&message).unwrap()),
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
            let read = self.records.len();
            assert!(begun.elapsed() < DEADLINE, "{read} signals, waited in vain for {what}");
        }
    }

    fn epochs(&self) -> BTreeSet<u64> {
        self.records.iter().map(|record| record.identity.epoch).collect()
    }

    fn of(&self, epoch: u64) -> usize {
        self.records.iter().filter(|record| record.identity.epoch == epoch).count()
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
    let site = site("fenced.killed");
    let mut reader = Reader::new(&site);
    for earlier in 0..3 {
        let daemon = site.start("");
        reader.read("a new epoch", |r| r.epochs().len() > earlier);
        let newest = *reader.epochs().last().unwrap();
        reader.read("some cycles", |r| r.of(newest) >= 5 * INSTRUMENTS);
        // Dropping kills it, at whatever moment this is.
        drop(daemon);
    }
    // The next one aborts what the last one left open, so that everything before can be read.
    let daemon = site.start("");
    reader.read("the last epoch", |r| r.epochs().len() > 3);
    let outcomes = Outcomes::of(&stop(daemon));
    let delivered = outcomes.count(Outcome::Delivered) as usize;
    reader.read("all that was delivered", |r| r.of(outcomes.epoch) >= delivered);
    assert_eq!(reader.of(outcomes.epoch), delivered);
    assert_whole_cycles(&reader.records);
}

#[test]
fn the_daemon_started_last_publishes_and_the_other_refuses_and_says_why() {
    let site = site("fenced.zombie");
    let mut reader = Reader::new(&site);
    let zombie = site.start("");
    reader.read("some cycles", |r| r.records.len() >= 5 * INSTRUMENTS);
    let (state, socket) = (site.path("state-2"), site.path("control-2"));
    let sets = [
        ("kafka.state_dir", state.to_str().unwrap()),
        ("control.socket", socket.to_str().unwrap()),
    ];
    let successor = start(site.command("", &sets));
    reader.read("signals of the successor", |r| r.epochs().len() == 2);
    let told = wait_for_status(&site.socket(), "the first daemon to notice", |status| {
        status["not_ready"] == "another daemon publishes under kafka.transactional_id"
    });
    assert_eq!(told["is_ready"], false);
    let report = stop(zombie);
    assert!(report.contains("another daemon publishes under kafka.transactional_id"), "{report}");
    let [zombie, successor] = [report, stop(successor)].map(|report| Outcomes::of(&report));
    assert!(zombie.count(Outcome::Refused) > 0);
    assert_eq!(successor.count(Outcome::Refused), 0);
    for outcomes in [zombie, successor] {
        // Of neither one is missing: the zombie's signals end where it was fenced off.
        let delivered = outcomes.count(Outcome::Delivered) as usize;
        reader.read("all that was delivered", |r| r.of(outcomes.epoch) >= delivered);
        let of_epoch = reader.records.iter().filter(|r| r.identity.epoch == outcomes.epoch);
        let mut seqs: Vec<u64> = of_epoch.map(|r| r.identity.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=delivered as u64).collect::<Vec<_>>());
    }
    assert_whole_cycles(&reader.records);
}
