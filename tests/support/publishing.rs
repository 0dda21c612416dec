//! The daemon publishing to a broker: a directory and a topic prefix of its own, runs that follow each other.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use purkinje::signals::kafka::{contract::Topic, outcome::Outcome};
use serde_json::Value;

use super::{Daemon, number, purkinje, reported, wait_for_status};

/// Signals flow soon: short cycles, few cells.
const FAST: [(&str, &str); 5] = [
    ("cycle.period_ms", "20"),
    ("strategy.cerebellum.granule_cells", "64"),
    ("simulator.instruments", "4"),
    ("terminal", "off"),
    ("kafka.health_every_ms", "100"),
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Site {
    dir: tempfile::TempDir,
    brokers: String,
    prefix: String,
    sets: Vec<(String, String)>,
}

impl Site {
    /// One whose daemons get these settings, too; nothing is made on the broker.
    pub(crate) fn new(brokers: &str, name: &str, sets: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let prefix = format!("{name}.p{}", std::process::id());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (state, socket) = (path("state"), path("control"));
        let own = [
            ("kafka.brokers", brokers),
            ("kafka.topic_prefix", &prefix),
            ("kafka.state_dir", &state),
            ("control.socket", &socket),
        ];
        let sets = [&FAST[..], &own, sets].concat();
        let sets = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { dir, brokers: brokers.to_owned(), prefix, sets }
    }

    /// With topics of so many partitions.
    pub(crate) fn with_topics(self, partitions: u32) -> Self {
        let mut command = purkinje(self.dir.path());
        command.args(["kafka", "topics", "--create", "--timeout-ms", "60000", "--partitions"]);
        command.arg(partitions.to_string());
        let brokers = format!("kafka.brokers={}", self.brokers);
        let prefix = format!("kafka.topic_prefix={}", self.prefix);
        let output = command.args(["--set", &brokers, "--set", &prefix]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("control")
    }

    /// Where segments of the spill are.
    pub(crate) fn spill(&self) -> PathBuf {
        self.path("state").join("spill")
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(crate) fn topic(&self, topic: Topic) -> String {
        topic.name(&self.prefix)
    }

    /// `purkinje run` with these settings beside those of the site; no journal if its name is empty.
    pub(crate) fn command(&self, journal: &str, sets: &[(&str, &str)]) -> Command {
        let mut command = purkinje(self.dir.path());
        command.arg("run");
        if !journal.is_empty() {
            command.arg("--journal").arg(self.path(journal));
        }
        for (key, value) in &self.sets {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        for (key, value) in sets {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
    }

    /// Starts one.
    pub(crate) fn start(&self, journal: &str) -> Daemon {
        start(self.command(journal, &[]))
    }

    /// Waits until a running daemon's status is as wanted.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for_status(&self.socket(), what, wanted)
    }

    /// Waits until the running daemon has cut so many cycles.
    pub(crate) fn wait_cycles(&self, cycles: u64) {
        self.wait(&format!("{cycles} cycles"), |s| number(s, "cycles") >= cycles);
    }

    /// Waits until the running daemon has cut so many more cycles.
    pub(crate) fn wait_more_cycles(&self, more: u64) {
        let now = number(&self.wait("a status", |_| true), "cycles");
        self.wait_cycles(now + more);
    }
}

/// Starts a daemon, its output kept.
pub(crate) fn start(mut command: Command) -> Daemon {
    Daemon(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Ends a daemon well and returns its report.
pub(crate) fn stop(mut daemon: Daemon) -> String {
    daemon.signal(libc::SIGTERM);
    let status = daemon.end();
    let (mut report, mut said) = (String::new(), String::new());
    daemon.0.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    daemon.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(0), "{report}{said}");
    report
}

/// What became of the signals of a run, as its report tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcomes {
    pub(crate) epoch: u64,
    pub(crate) offered: u64,
    pub(crate) inherited: u64,
    pub(crate) spilled: u64,
    pub(crate) losses: u64,
    pub(crate) spill_errors: u64,
    by: [u64; Outcome::ALL.len()],
}

impl Outcomes {
    /// Reads a report, and asserts that every signal made or found ended in exactly one outcome.
    pub(crate) fn of(report: &str) -> Self {
        let kafka = |unit: &str| reported(report, "kafka ", unit);
        let on_the_way = |unit: &str| reported(report, "kafka on the way ", unit);
        let outcomes = Self {
            epoch: kafka(", "),
            offered: kafka(" signals:"),
            inherited: on_the_way(" found in the spill"),
            spilled: on_the_way(" spilled,"),
            losses: on_the_way(" broker losses"),
            spill_errors: on_the_way(" errors of the spill"),
            by: Outcome::ALL.map(|outcome| kafka(&format!(" {}", outcome.name()))),
        };
        let made = reported(report, "count ", " (");
        assert_eq!(kafka(" found no room"), 0, "{report}");
        assert_eq!(outcomes.offered, made, "every signal went to the publisher: {report}");
        let ended = outcomes.by.iter().sum::<u64>();
        assert_eq!(ended, made + outcomes.inherited, "one outcome a signal: {report}");
        outcomes
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.by[outcome as usize]
    }

    /// Signals that the broker acknowledged.
    pub(crate) fn arrived(&self) -> u64 {
        self.count(Outcome::Delivered) + self.count(Outcome::SpilledDelivered)
    }
}

/// What a report says after `name`, to the end of the line; nothing if it does not.
pub(crate) fn told<'a>(report: &'a str, name: &str) -> &'a str {
    report.lines().find_map(|line| line.trim_start().strip_prefix(name)).unwrap_or_default()
}

/// Files of a directory, none if there is none.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}
