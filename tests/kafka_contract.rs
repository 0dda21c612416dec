//! What consumers are promised, held against what `purkinje run` really leaves on a real Kafka: records in both
//! encodings read by two independent Python clients, partitions, compaction, status, health, control, TLS and logins.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::Duration,
};

use purkinje::signals::kafka::{
    contract::{Identity, Topic},
    outcome::Outcome,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use serde_json::Value;
use support::{
    is_state, journal, kafka, number,
    publishing::{Outcomes, Site, start, stop, told},
    purkinje,
    records::{Accepted, Record, read_all, read_json},
    wait_until,
};

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/murmur2_keys.txt");

/// What adds fields to signals.
const OPTIONAL: [(&str, &str); 2] =
    [("strategy.conformal.enabled", "true"), ("strategy.challenger.rule", "median")];

/// The one venue that the embedded exchange speaks as.
const VENUE: &str = "binance-usdm:";

/// Partition by partition count, of each published key.
fn published_partitions() -> Vec<(String, BTreeMap<i32, i32>)> {
    let text = std::fs::read_to_string(KEYS).unwrap();
    let mut lines = text.lines();
    let numbers = |words: std::str::SplitWhitespace<'_>| {
        words.map(|word| word.parse().unwrap()).collect::<Vec<i32>>()
    };
    let mut head = lines.next().unwrap().split_whitespace();
    assert_eq!(head.next(), Some("key"));
    let counts = numbers(head);
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let key = words.next().unwrap().to_owned();
            let partitions = numbers(words);
            assert_eq!(partitions.len(), counts.len(), "{line}");
            (key, counts.iter().copied().zip(partitions).collect())
        })
        .collect()
}

/// Runs the daemon with every published symbol that the embedded exchange can trade, and has both Python clients
/// check what it left. `sets` are settings besides those that it needs.
fn assert_clients_read_what_was_journalled(
    encoding: &str,
    language: &str,
    partitions: u32,
    sets: &[(&str, &str)],
) {
    let keys = published_partitions();
    let symbols: Vec<&str> = keys.iter().filter_map(|(key, _)| key.strip_prefix(VENUE)).collect();
    assert!(symbols.len() >= 30);
    let (count, symbols_set) = (symbols.len().to_string(), format!("{symbols:?}"));
    let source = "purkinje://contract-test";
    let own = [
        ("kafka.encoding", encoding),
        ("kafka.source", source),
        ("simulator.instruments", &count),
        ("simulator.symbols", &symbols_set),
        ("cycle.period_ms", "50"),
    ];
    let sets = [&own[..], sets].concat();
    let site = Site::new(&kafka::bootstrap(), &format!("contract.{encoding}"), &sets)
        .with_topics(partitions);
    let daemon = site.start("journal");
    site.wait("books and forecasts", |s| {
        number(s, "ready") == symbols.len() as u64 && number(s, "cycles") >= 60
    });
    let report = stop(daemon);
    let outcomes = Outcomes::of(&report);
    assert_eq!(outcomes.arrived(), outcomes.offered, "{report}");

    let schema = site.path(&format!("signal.{language}"));
    let printed = purkinje(&site.path("")).args(["kafka", "schema", language]).output().unwrap();
    std::fs::write(&schema, printed.stdout).unwrap();
    for topic in [Topic::Signals, Topic::SignalsLatest] {
        let output = Command::new(kafka::python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/check_records.py"))
            .args(["--bootstrap", site.brokers(), "--topic", &site.topic(topic)])
            .args(["--encoding", encoding, "--source", source, "--keys", KEYS])
            .args(["--epoch", &outcomes.epoch.to_string()])
            .arg("--schema")
            .arg(&schema)
            .arg("--journal")
            .arg(site.path("journal"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{topic:?}: {said}");
        let read: Vec<Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let clients: Vec<&str> = read.iter().map(|r| r["client"].as_str().unwrap()).collect();
        assert_eq!(clients, ["confluent-kafka", "kafka-python"]);
        for r in &read {
            assert_eq!(r["records"], outcomes.offered, "{topic:?}: {r}");
            assert_eq!(r["instruments"], symbols.len(), "{topic:?}: {r}");
            assert_eq!(r["partitions"], partitions, "{topic:?}: {r}");
        }
    }
}

#[test]
fn two_independent_clients_read_in_json_exactly_what_was_journalled() {
    assert_clients_read_what_was_journalled("json", "json", 12, &[]);
}

#[test]
fn two_independent_clients_read_in_protobuf_exactly_what_was_journalled() {
    assert_clients_read_what_was_journalled("protobuf", "proto", 7, &OPTIONAL);
}

/// Tells where records landed.
#[derive(Clone, Debug, Default)]
struct Landed(std::sync::Arc<std::sync::Mutex<BTreeMap<String, i32>>>);

impl rdkafka::ClientContext for Landed {}

impl ProducerContext for Landed {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        use rdkafka::Message as _;
        let message =
            result.as_ref().map_err(|(error, _): &(KafkaError, _)| error.clone()).unwrap();
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        self.0.lock().unwrap().insert(key, message.partition());
    }
}

#[test]
fn every_published_key_lands_in_the_partition_that_java_computes() {
    let keys = published_partitions();
    assert!(keys.len() >= 30);
    for count in keys[0].1.keys() {
        let site = Site::new(&kafka::bootstrap(), &format!("contract.murmur2.{count}"), &[]);
        let site = site.with_topics(u32::try_from(*count).unwrap());
        let landed = Landed::default();
        // As the daemon sets it, for keys that the embedded exchange cannot have.
        let producer: BaseProducer<Landed> = ClientConfig::new()
            .set("bootstrap.servers", site.brokers())
            .set("partitioner", "murmur2_random")
            .create_with_context(landed.clone())
            .unwrap();
        for (key, _) in &keys {
            let topic = site.topic(Topic::Signals);
            producer.send(BaseRecord::to(&topic).key(key).payload("")).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(Duration::from_mins(1)).unwrap();
        let landed = landed.0.lock().unwrap();
        for (key, expected) in &keys {
            assert_eq!(landed.get(key), expected.get(count), "{key} of {count} partitions");
        }
    }
}

/// Sends a command to the control topic.
fn send_command(site: &Site, command: &str) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", site.brokers()).create().unwrap();
    let topic = site.topic(Topic::Control);
    let record = BaseRecord::<(), str>::to(&topic).payload(command);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_mins(1)).unwrap();
}

/// Waits until the status topic has a record that is as wanted, and returns it.
fn wait_for_record(site: &Site, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut found = None;
    wait_until(what, || {
        found = read_json(site.brokers(), &site.topic(Topic::Status)).into_iter().find(&wanted);
        found.is_some()
    });
    found.unwrap()
}

fn records<'a>(of: &'a [Value], kind: &str) -> Vec<&'a Value> {
    of.iter().filter(|record| record["record"] == kind).collect()
}

#[test]
fn halts_of_operators_and_commands_of_the_control_topic_are_obeyed_and_told() {
    let site = Site::new(&kafka::bootstrap(), "contract.status", &[("kafka.control", "true")]);
    let site = site.with_topics(2);
    let daemon = site.start("journal");
    site.wait("books", |s| number(s, "ready") == 4);

    let operate = |command: &str| {
        let mut purkinje = purkinje(&site.path(""));
        let output = purkinje.args([command, "--socket"]).arg(site.socket()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    operate("halt");
    site.wait("the operator's halt", |s| s["halted"] == true);
    site.wait_more_cycles(5);
    operate("resume");
    site.wait("the operator's resumption", |s| s["halted"] == false);

    // What was written before the daemon listens is not obeyed, so the first is sent until it is answered.
    wait_until("an answer to an unknown command", || {
        send_command(&site, r#"{"command":"dance","id":"d"}"#);
        let status = read_json(site.brokers(), &site.topic(Topic::Status));
        records(&status, "command").iter().any(|record| record["id"] == "d")
    });
    send_command(&site, r#"{"command":"halt","id":"h"}"#);
    site.wait("the halt", |s| s["halted"] == true);
    site.wait_more_cycles(5);
    for command in [r#"{"command":"reload","id":"r"}"#, "not a command"] {
        send_command(&site, command);
    }
    let reloaded = wait_for_record(&site, "a reload", |r| r["id"] == "r");
    assert_eq!(reloaded["result"], "obeyed: nothing has changed");
    let refused = wait_for_record(&site, "refused words", |r| r["command"] == "not a command");
    assert!(refused["result"].as_str().unwrap().contains("expected {\"command\""), "{refused}");
    assert_eq!(site.wait("a status", |_| true)["halted"], true, "nothing else was obeyed");
    send_command(&site, r#"{"command":"resume","id":"e"}"#);
    site.wait("the resumption", |s| s["halted"] == false);
    site.wait_more_cycles(5);
    let report = stop(daemon);
    let outcomes = Outcomes::of(&report);

    let status = read_json(site.brokers(), &site.topic(Topic::Status));
    let states: Vec<&Value> =
        records(&status, "state").into_iter().map(|record| &record["state"]).collect();
    assert_eq!(states, ["halted", "running", "halted", "running"]);
    let lines = journal(&site.path("journal"));
    let journalled: Vec<&Value> =
        lines.iter().filter(|l| is_state(l)).map(|l| &l["cycle"]).collect();
    let told: Vec<&Value> = records(&status, "state").iter().map(|r| &r["cycle"]).collect();
    assert_eq!(told, journalled, "halts hold from the same cycles as in the journal");
    for (id, command, result) in [
        ("d", "dance", "refused: unknown command"),
        ("h", "halt", "obeyed"),
        ("e", "resume", "obeyed"),
    ] {
        let answers = records(&status, "command");
        let answer = answers.iter().find(|record| record["id"] == id).unwrap();
        assert_eq!(answer["command"], command);
        assert!(answer["result"].as_str().unwrap().starts_with(result), "{answer}");
    }
    for kind in ["epoch_began", "epoch_ended"] {
        let told = records(&status, kind);
        assert_eq!(told.len(), 1, "{kind}: {told:?}");
        assert_eq!(told[0]["epoch"], outcomes.epoch);
    }
    let feed = records(&status, "feed");
    let kinds: BTreeSet<&str> = feed.iter().map(|r| r["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains("connected"), "{kinds:?}");

    let signals = read_all(site.brokers(), &site.topic(Topic::Signals));
    let held = signals.iter().map(Record::json).filter(|s| s["reason"] == "halted");
    assert!(held.inspect(|s| assert_eq!(s["action"], "HOLD")).count() >= 2 * 4 * 4);

    let health = read_all(site.brokers(), &site.topic(Topic::Health));
    assert!(health.len() > 3);
    assert!(
        health.iter().all(|r| r.key == "daemon" && r.header("ce_type") == "purkinje.health.v1")
    );
    let cycles: Vec<u64> = health.iter().map(|r| number(&r.json(), "cycles")).collect();
    assert!(cycles.is_sorted() && cycles.first() < cycles.last(), "{cycles:?}");
    let last = health.last().unwrap().json();
    assert_eq!(last["signals"], outcomes.offered, "{last}");
    assert_eq!(last["outcomes"]["delivered"], outcomes.count(Outcome::Delivered), "{last}");
    assert_eq!(last["epoch"], outcomes.epoch);
}

/// Sets these of a topic, and all others to the broker's own.
fn alter(brokers: &str, topic: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let change = settings.iter().fold(change, |change, (key, value)| change.set(key, value));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for result in runtime.block_on(admin.alter_configs(&[change], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
}

/// The last signal of each instrument in a journal.
fn last_signals(path: &Path) -> BTreeMap<String, Value> {
    let signals = journal(path).into_iter().filter(|line| !is_state(line));
    signals.map(|line| (line["instrument"].as_str().unwrap().to_owned(), line)).collect()
}

#[test]
fn compaction_leaves_the_latest_signal_of_each_instrument() {
    let site = Site::new(&kafka::bootstrap(), "contract.latest", &[]).with_topics(2);
    let latest = site.topic(Topic::SignalsLatest);
    // As `kafka topics` makes it, but in seconds.
    let quick = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "200"),
    ];
    alter(site.brokers(), &latest, &quick);
    let mut epochs = Vec::new();
    for run in ["first", "second"] {
        let daemon = site.start(run);
        site.wait_cycles(100);
        epochs.push(Outcomes::of(&stop(daemon)).epoch);
    }
    assert!(epochs[0] < epochs[1]);
    let expected = last_signals(&site.path("second"));
    assert_eq!(expected.len(), 4);
    let view = || {
        let records = read_all(site.brokers(), &latest);
        let view: BTreeMap<String, Value> =
            records.iter().map(|r| (r.key.clone(), r.json())).collect();
        let is_old = |id: Identity| id.epoch == epochs[0];
        let old = records.iter().filter(|r| is_old(r.identity())).count();
        (view, records.len(), old)
    };
    // The newest segment is never compacted; everything of the first run lies before it.
    wait_until("the cleaner", || view().2 == 0);
    let (view, left, _) = view();
    assert_eq!(view, expected);
    let all = read_all(site.brokers(), &site.topic(Topic::Signals)).len();
    println!("{left} of {all} records are left");
    assert!(all >= 2 * 100 * 4 && left < all / 2, "{left} of {all}");
}

#[test]
fn a_daemon_delivers_over_tls_with_a_login() {
    let broker = kafka::shared();
    for mechanism in ["scram-sha-512", "scram-sha-256", "plain"] {
        let site = Site::new(broker.bootstrap(), &format!("contract.{mechanism}"), &[]);
        let site = site.with_topics(2);
        let login = [
            ("kafka.brokers", broker.sasl_tls()),
            ("kafka.security", "sasl-tls"),
            ("kafka.tls.ca_file", broker.ca_file()),
            ("kafka.sasl.mechanism", mechanism),
            ("kafka.sasl.username", broker.username()),
            ("kafka.sasl.password_file", broker.password_file()),
        ];
        let daemon = start(site.command("", &login));
        site.wait_cycles(25);
        let report = stop(daemon);
        let outcomes = Outcomes::of(&report);
        assert_eq!(outcomes.arrived(), outcomes.offered, "{report}");
        let records = read_all(broker.bootstrap(), &site.topic(Topic::Signals));
        assert_eq!(records.len() as u64, outcomes.offered);
        let health = read_all(broker.bootstrap(), &site.topic(Topic::Health));
        assert!(!health.is_empty(), "the other producer logs in, too");
    }
}

#[test]
fn with_a_wrong_password_the_run_goes_on_and_its_signals_wait_for_the_right_one() {
    const WRONG: &str = "correct-horse-battery-staple";
    let broker = kafka::shared();
    let site = Site::new(broker.bootstrap(), "contract.refused", &[("strategy.ttl_ms", "600000")]);
    let site = site.with_topics(2);
    let wrong = site.path("password");
    std::fs::write(&wrong, WRONG).unwrap();
    let run = |password_file: &str, cycles| {
        let login = [
            ("kafka.brokers", broker.sasl_tls()),
            ("kafka.security", "sasl-tls"),
            ("kafka.tls.ca_file", broker.ca_file()),
            ("kafka.sasl.username", broker.username()),
            ("kafka.sasl.password_file", password_file),
        ];
        let daemon = start(site.command("", &login));
        site.wait_cycles(cycles);
        stop(daemon)
    };
    let report = run(wrong.to_str().unwrap(), 100);
    let refused = Outcomes::of(&report);
    assert!(told(&report, "kafka trouble").contains("SASL authentication error"), "{report}");
    assert!(!report.contains(WRONG), "{report}");
    assert_eq!(refused.count(Outcome::Delivered), 0, "{report}");
    assert_eq!(refused.count(Outcome::Kept), refused.offered, "{report}");
    assert!(refused.losses > 0, "{report}");
    assert!(read_all(broker.bootstrap(), &site.topic(Topic::Signals)).is_empty());

    let report = run(broker.password_file(), 25);
    let outcomes = Outcomes::of(&report);
    assert_eq!(outcomes.inherited, refused.offered, "{report}");
    assert_eq!(outcomes.arrived(), refused.offered + outcomes.offered, "{report}");
    let accepted = Accepted::of(&read_all(broker.bootstrap(), &site.topic(Topic::Signals)));
    assert!(accepted.overtaken.is_empty(), "{:?}", accepted.overtaken);
    let all: BTreeSet<u64> = (1..=refused.offered).collect();
    assert_eq!(accepted.seqs(refused.epoch), all);
}
