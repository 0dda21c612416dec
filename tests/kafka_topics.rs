//! `purkinje kafka topics` against a real Kafka: what it makes, what it finds, how it connects and what it
//! says when it cannot.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{path::Path, process::Output};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
};
use serde_json::Value;
use support::{kafka, purkinje};

/// Few, because each costs the broker files.
const PARTITIONS: &str = "2";

/// Runs `purkinje kafka topics` with these settings and flags.
fn topics(sets: &[(&str, &str)], flags: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = purkinje(dir.path());
    command.args(["kafka", "topics"]).args(flags);
    for (key, value) in sets {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The report as JSON, with the exit status it came with.
fn report(sets: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, Value) {
    let output = topics(sets, &[flags, &["--json"]].concat());
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", stdout(&output), stderr(&output)));
    (output.status.code(), report)
}

fn states(report: &Value) -> Vec<&str> {
    report["topics"].as_array().unwrap().iter().map(|t| t["state"].as_str().unwrap()).collect()
}

fn alter(brokers: &str, topic: &str, key: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for result in runtime.block_on(admin.alter_configs(&[change], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
}

/// A prefix that no other test uses, on whatever broker.
fn prefix(test: &str) -> String {
    format!("{test}.p{}", std::process::id())
}

#[test]
fn topics_are_made_once_then_accepted_and_an_altered_one_is_named_with_its_settings() {
    let (brokers, prefix) = (kafka::bootstrap(), prefix("made"));
    let sets = [("kafka.brokers", brokers.as_str()), ("kafka.topic_prefix", &prefix)];
    let made = ["--create", "--partitions", PARTITIONS];

    let (code, missing) = report(&sets, &["--check"]);
    assert_eq!((code, &missing["ok"]), (Some(1), &Value::Bool(false)));
    assert_eq!(states(&missing), ["missing"; 5]);

    let (code, created) = report(&sets, &made);
    assert_eq!((code, states(&created)), (Some(0), vec!["created"; 5]), "{created}");
    let (code, again) = report(&sets, &made);
    assert_eq!((code, states(&again)), (Some(0), vec!["ok"; 5]), "{again}");
    let (code, checked) = report(&sets, &["--check", "--replication-factor", "1"]);
    assert_eq!((code, states(&checked)), (Some(0), vec!["ok"; 5]), "{checked}");
    assert_eq!(checked["brokers"], brokers);

    // Control has one partition, whatever is asked for; the others have not 3.
    let (code, counted) = report(&sets, &["--check", "--partitions", "3"]);
    assert_eq!(code, Some(1));
    assert_eq!(states(&counted), ["differs", "differs", "differs", "differs", "ok"], "{counted}");

    // An alteration by this call resets what it does not name, so the policy falls back to `delete`.
    let latest = format!("{prefix}.signals-latest.v1");
    alter(&brokers, &latest, "max.compaction.lag.ms", "86400000");
    let output = topics(&sets, &["--check"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines = [
        format!("differs  {latest}"),
        "max.compaction.lag.ms = 86400000, expected 60000".to_owned(),
        "cleanup.policy = delete, expected compact".to_owned(),
        format!("ok       {prefix}.signals.v1"),
    ];
    for line in lines {
        assert!(said.contains(&line), "no {line:?} in\n{said}");
    }
    let output = topics(&sets, &made);
    assert_eq!(output.status.code(), Some(1), "what exists is not altered");
    assert_eq!(stdout(&output), said);
}

#[test]
fn a_broker_that_is_not_there_is_named_with_the_reason() {
    // A port that nobody listens on: it was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = topics(&[("kafka.brokers", &address.to_string())], &["--check"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("kafka.brokers = \"{address}\": ")), "{said}");
    assert!(said.contains("Connection refused"), "{said}");

    let output = topics(&[], &["--check"]);
    assert!(stderr(&output).contains("kafka.brokers = \"\": expected host:port"), "{output:?}");
}

#[test]
fn a_broker_that_never_answers_is_given_up_after_the_timeout() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = topics(&[("kafka.brokers", &address)], &["--check", "--timeout-ms", "500"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn every_login_and_both_kinds_of_tls_connect() {
    let broker = kafka::shared();
    let prefix = prefix("secure");
    let (certificate, key) = broker.client_certificate();
    let tls = [("kafka.security", "tls"), ("kafka.tls.ca_file", broker.ca_file())];
    let mutual = [("kafka.tls.certificate_file", certificate), ("kafka.tls.key_file", key)];
    let login = [
        ("kafka.sasl.username", broker.username()),
        ("kafka.sasl.password_file", broker.password_file()),
    ];
    let mut cases =
        vec![(broker.tls(), tls.to_vec()), (broker.mutual_tls(), [tls, mutual].concat())];
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        let with = [("kafka.sasl.mechanism", mechanism)];
        let plaintext = [("kafka.security", "sasl-plaintext")];
        let over_tls = [("kafka.security", "sasl-tls"), ("kafka.tls.ca_file", broker.ca_file())];
        cases.push((broker.sasl_plaintext(), [&plaintext[..], &with, &login].concat()));
        cases.push((broker.sasl_tls(), [&over_tls[..], &with, &login].concat()));
    }
    for (brokers, mut sets) in cases {
        sets.extend([("kafka.brokers", brokers), ("kafka.topic_prefix", &prefix)]);
        let (code, report) = report(&sets, &["--check"]);
        assert_eq!((code, states(&report)), (Some(1), vec!["missing"; 5]), "{sets:?}");
    }
}

#[test]
fn wrong_passwords_and_certificates_are_refused_and_no_secret_is_told() {
    const WRONG: &str = "correct-horse-battery-staple";
    let broker = kafka::shared();
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("password");
    std::fs::write(&wrong, WRONG).unwrap();
    let wrong = wrong.to_str().unwrap();
    let right = std::fs::read_to_string(broker.password_file()).unwrap();

    let refused = |brokers: &str, sets: &[(&str, &str)], reason: &str| {
        let sets = [sets, &[("kafka.brokers", brokers)]].concat();
        // Long, because a refusal must not wait for it.
        let output = topics(&sets, &["--create", "--timeout-ms", "100000"]);
        let said = format!("{}{}", stderr(&output), stdout(&output));
        assert_eq!(output.status.code(), Some(2), "{sets:?}: {said}");
        for part in [&format!("kafka.brokers = \"{brokers}\""), reason] {
            assert!(said.contains(part), "{sets:?}: no {part:?} in {said}");
        }
        for secret in [WRONG, right.trim_end()] {
            assert!(!said.contains(secret), "{said}");
        }
    };
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        for (user, password_file) in
            [(broker.username(), wrong), ("nobody", broker.password_file())]
        {
            let sets = [
                ("kafka.security", "sasl-plaintext"),
                ("kafka.sasl.mechanism", mechanism),
                ("kafka.sasl.username", user),
                ("kafka.sasl.password_file", password_file),
            ];
            refused(broker.sasl_plaintext(), &sets, "SASL authentication error");
        }
    }
    let stranger = [("kafka.security", "tls"), ("kafka.tls.ca_file", broker.stranger_ca_file())];
    refused(broker.tls(), &stranger, "certificate verify failed");
    let anonymous = [("kafka.security", "tls"), ("kafka.tls.ca_file", broker.ca_file())];
    refused(broker.mutual_tls(), &anonymous, "bad certificate");
}

#[test]
fn a_killed_broker_comes_back_with_its_ports_and_topics() {
    let broker = kafka::Broker::start();
    let sets = [("kafka.brokers", broker.bootstrap())];
    let (code, _) = report(&sets, &["--create", "--partitions", PARTITIONS]);
    assert_eq!(code, Some(0));
    broker.kill_9();
    assert_eq!(topics(&sets, &["--check"]).status.code(), Some(2));
    broker.restart();
    let (code, report) = report(&sets, &["--check", "--partitions", PARTITIONS]);
    assert_eq!((code, states(&report)), (Some(0), vec!["ok"; 5]), "{report}");
    let dir = broker.dir().to_owned();
    drop(broker);
    assert!(!Path::new(&dir).exists(), "nothing is left of it");
}
