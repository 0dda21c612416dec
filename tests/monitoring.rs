//! What is shipped for Prometheus and Grafana: the rules pass their own tests, every metric that rules and dashboard
//! name is one that a daemon exports, and a real Prometheus scrapes one.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::{
    Daemon,
    http::{Served, answer},
    wait_until,
};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(path)
}

/// Names of metrics in a text, without what a histogram adds to its own.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("purkinje_"));
    let base = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        base.unwrap_or(name).to_owned()
    };
    names.map(base).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    // A broker that is not there makes Kafka's metrics appear as well.
    let state = tempfile::tempdir().unwrap();
    let state = format!("kafka.state_dir={}", state.path().display());
    let served = Served::start(&["kafka.brokers=127.0.0.1:1", &state]);
    served.wait_ready();
    served.wait_cycles(120);
    let text = served.get("/metrics").body;
    let exported: BTreeSet<String> = text
        .lines()
        .filter_map(|l| Some(l.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned()))
        .collect();
    for file in ["prometheus/alerts.yml", "grafana/purkinje.json"] {
        let named = metrics_in(&fs::read_to_string(shipped(file)).unwrap());
        assert!(named.len() > 10, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?} of\n{text}");
    }
    // Labels that rules and dashboard tell apart are there, too.
    for sample in [
        "purkinje_feed_topics{state=\"stale\"}",
        "purkinje_kafka_signals_total{outcome=\"refused\"}",
        "purkinje_sink_refused_total{sink=\"journal\"}",
        "purkinje_skill_labels_total{forecaster=\"recalibrated\"}",
    ] {
        served.metric(sample);
    }
}

#[test]
fn the_dashboard_is_one_and_its_panels_do_not_overlap() {
    let text = fs::read_to_string(shipped("grafana/purkinje.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
            assert!(taken.insert((at("x") + x, at("y") + y)), "{} overlaps", panel["title"]);
        }
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["expr"].as_str().unwrap().contains("$instance"), "{}", panel["title"]);
        }
    }
}

#[test]
fn alert_rules_pass_their_own_tests() {
    let folder = shipped("prometheus");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let Ok(output) = Command::new("promtool").args(arguments).current_dir(&folder).output()
        else {
            eprintln!("skipped: promtool is not installed (Debian: prometheus)");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
    }
    let rules = fs::read_to_string(folder.join("alerts.yml")).unwrap();
    let tested = fs::read_to_string(folder.join("alerts_test.yml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tested.contains(&format!("alertname=\"{alert}\"")), "no test raises {alert}");
    }
}

#[test]
fn a_real_prometheus_scrapes_a_running_daemon() {
    let served = Served::start(&[]);
    served.wait_ready();
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{}]\nscrape_configs:\n  - job_name: purkinje\n    \
         static_configs: [{{ targets: [\"{}\"] }}]\n",
        shipped("prometheus/alerts.yml").display(),
        served.addr
    );
    fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(prometheus) = prometheus else {
        eprintln!("skipped: prometheus is not installed");
        return;
    };
    let _prometheus = Daemon(prometheus);
    let query = |expression: &str| -> Option<Value> {
        let mut stream = TcpStream::connect(port).ok()?;
        let mut encoded = String::new();
        for byte in expression.bytes() {
            write!(encoded, "%{byte:02X}").unwrap();
        }
        let request = format!(
            "GET /api/v1/query?query={encoded} HTTP/1.1\r\nhost: {port}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let answer = answer(&bytes[..]);
        (answer.status == 200).then(|| answer.json()["data"]["result"].clone())
    };
    let value = |expression: &str| query(expression)?[0]["value"][1].as_str()?.parse::<f64>().ok();
    wait_until("the first scrape", || value("up") == Some(1.0));
    wait_until("readiness as a metric", || value("purkinje_ready") == Some(1.0));
    wait_until("a rate of cycles", || {
        value("rate(purkinje_cycles_total[10s])").is_some_and(|rate| rate > 1.0)
    });
    assert_eq!(query("ALERTS{alertstate=\"firing\"}"), Some(Value::Array(Vec::new())));
}
