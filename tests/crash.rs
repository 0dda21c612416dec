//! The real program when things go wrong: killed at any moment, asked to end, on a full disk, started
//! twice, misconfigured.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use purkinje::{
    pipeline::replay_source::Speed,
    run::replay::{ReplayRunError, replay as replay_run},
    signals::journal::{JournalConfig, JournalFile},
};
use purkinje_feeds::{
    recording::{Record, RecordingReader},
    status::{Status, StatusEvent},
};
use support::{
    Daemon, assert_contiguous, comparable, journal, limit_file_size, loaded, number, outlets,
    purkinje, reasons, replayed, reported, seeded, status, wait_for_status, wait_until,
};

/// Short cycles and few cells: much happens in little time.
const SETTINGS: [(&str, &str); 3] = [
    ("cycle.period_ms", "20"),
    ("strategy.cerebellum.granule_cells", "200"),
    ("simulator.instruments", "4"),
];

/// A run in a directory of its own, its journal, recording and control socket inside.
struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, journal: &str, recorded: bool) -> Command {
        let mut command = purkinje(self.dir.path());
        command.arg("run").arg("--journal").arg(self.path(journal));
        command.arg("--set").arg(format!("control.socket={}", self.path("control").display()));
        command.args(["--set", "terminal=off"]);
        for (key, value) in SETTINGS {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        if recorded {
            command.arg("--record").arg(self.path("recording"));
        }
        command
    }

    fn start(mut command: Command) -> Daemon {
        Daemon(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn journal_bytes(&self) -> u64 {
        self.path("journal").metadata().map_or(0, |m| m.len())
    }
}

/// The text of a finished daemon's standard output.
fn output(mut daemon: Daemon) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut daemon.0.stdout.take().unwrap(), &mut text).unwrap();
    text
}

#[test]
fn killed_at_any_moment_the_journal_is_whole_and_the_recording_replays_to_it() {
    let mut compared = 0;
    // From the very start (nothing may exist yet) to well into the forecasts.
    for (i, after_bytes) in [0, 1, 60_000, 400_000, 1_400_000].into_iter().enumerate() {
        let run = Run::new();
        let mut daemon = Run::start(run.command("journal", true));
        wait_until("the journal's growth", || {
            assert_eq!(daemon.0.try_wait().unwrap(), None, "the daemon ended by itself");
            run.journal_bytes() >= after_bytes
        });
        std::thread::sleep(Duration::from_micros(seeded(i as u64) % 100_000));
        daemon.signal(libc::SIGKILL);
        assert!(!daemon.end().success());

        let path = run.path("journal");
        let (file, recovery) = JournalFile::open(&path, JournalConfig::default()).unwrap();
        drop(file);
        let lines = journal(&path);
        let signals = assert_contiguous(&lines);
        let recording = run.path("recording");
        let files = std::fs::read_dir(&recording).map_or(0, Iterator::count);
        let written = |p: &Path| std::fs::metadata(p).map_or(0, |m| m.len());
        println!(
            "killed after {} journal bytes: {signals} signals, {} torn bytes, {files} files",
            written(&path),
            recovery.torn_bytes
        );
        if files == 0 {
            assert_eq!(signals, 0, "the recording is begun before the journal");
            continue;
        }
        let replay = run.path("replay");
        let (loaded, stop) = (loaded(&SETTINGS), Arc::default());
        let replayed =
            replay_run(&loaded, &[recording], Speed::Max, &outlets(Some(&replay)), &stop);
        let report = match replayed {
            Ok(report) => report,
            // Killed before the first flush: nothing is there to be replayed.
            Err(ReplayRunError::Empty { .. } | ReplayRunError::Recording(_)) if signals < 300 => {
                continue;
            }
            Err(e) => panic!("{e}"),
        };
        let warnings = &report.feeds.warnings;
        assert!(!warnings.iter().any(|w| w.contains("the replay broke off")), "{warnings:?}");
        let [live, again] = [&path, &replay].map(|p| comparable(p));
        let common = live.len().min(again.len());
        assert!(live[..common] == again[..common], "live and replay differ before the kill");
        // Both are written at least twice a second, so neither can be far behind the other.
        assert!(
            signals < 300 || common as u64 > signals / 2,
            "{common} of {signals} signals can be replayed"
        );
        compared += common;
    }
    assert!(compared > 2_000, "{compared} signals compared");
}

#[test]
fn asked_to_end_it_drains_reports_and_exits_with_success() {
    let run = Run::new();
    let mut daemon = Run::start(run.command("journal", true));
    wait_for_status(&run.path("control"), "ready instruments", |s| number(s, "ready") == 4);

    // Another one on the same socket is refused, and the first does not mind.
    let second = run.command("other", false).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains("another purkinje answers there"), "{said}");
    assert!(said.contains(&run.path("control").display().to_string()), "{said}");
    assert!(status(&run.path("control")).is_some(), "the first one still answers");
    assert!(!run.path("other").exists(), "a refused daemon has touched no file");

    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.end().code(), Some(0));
    let report = output(daemon);
    let lines = journal(&run.path("journal"));
    let signals = assert_contiguous(&lines);
    assert_eq!(reported(&report, "count ", " ("), signals, "{report}");
    assert_eq!(reported(&report, "journal ", " lines written"), signals);
    assert_eq!(reported(&report, "journal ", " dropped"), 0);
    assert_eq!(reported(&report, "recording ", " lost"), 0);
    assert!(!run.path("control").exists(), "the socket is gone");
    let replay = replayed(&loaded(&SETTINGS), &[run.path("recording")], None);
    assert!(report.trim_end().ends_with(&replay.signals_sha256()), "{report}");
}

#[test]
fn on_a_full_disk_it_goes_on_says_so_and_keeps_whole_lines() {
    const LIMIT_BYTES: u64 = 100_000;
    let run = Run::new();
    let mut command = run.command("journal", false);
    limit_file_size(&mut command, LIMIT_BYTES);
    let mut daemon = Run::start(command);
    wait_until("a full journal", || run.journal_bytes() > LIMIT_BYTES - 2_048);
    let control = run.path("control");
    let full = number(&wait_for_status(&control, "an answer", |_| true), "cycles");
    let on =
        wait_for_status(&control, "cycles on a full disk", |s| number(s, "cycles") > full + 100);
    assert!(number(&on, "events") > 0);
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.end().code(), Some(0), "a full disk is no reason to fail");
    let report = output(daemon);
    let lines = journal(&run.path("journal"));
    let written = assert_contiguous(&lines);
    assert!(run.journal_bytes() <= LIMIT_BYTES && written > 50);
    assert_eq!(reported(&report, "journal ", " lines written"), written);
    assert!(reported(&report, "journal ", " write errors") > 1, "{report}");
    assert!(report.contains("journal trouble"), "{report}");
    assert!(reported(&report, "count ", " (") > written + 400, "{report}");
    assert!(!reasons(&lines).is_empty());
}

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("purkinje.toml");
    std::fs::write(&file, "[cycle]\n\nperiod_ms = 5\n[journal]\npaht = \"x\"\n").unwrap();
    for command in [&["run"][..], &["config", "check"], &["replay", "x.pkrec"]] {
        let output = purkinje(dir.path()).args(command).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{command:?}");
        for part in ["purkinje.toml:3: cycle.period_ms = 5", "purkinje.toml:5: journal.paht"] {
            assert!(said.contains(part), "{command:?}: no {part:?} in\n{said}");
        }
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_feed_that_cannot_be_reached_is_told_and_ends_the_run_with_a_failure() {
    let run = Run::new();
    // A port that nobody listens on: it was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let preset = format!(
        "venue = \"binance-usdm\"\nws_url = \"ws://{address}\"\nrest_url = \"http://{address}\"\n\
         max_connect_failures = 5\n[[instruments]]\nsymbol = \"SIMA\"\nprice_decimals = 2\n\
         qty_decimals = 2\n"
    );
    std::fs::write(run.path("feed.toml"), preset).unwrap();
    let mut command = run.command("journal", true);
    command.arg("--set").arg(format!("feed.preset={}", run.path("feed.toml").display()));
    let mut daemon = Run::start(command);
    let told = wait_for_status(&run.path("control"), "the trouble", |s| {
        s["not_ready"].as_str().is_some_and(|why| why.contains("dial_failed"))
    });
    assert_eq!(told["is_ready"], false);
    assert_eq!(daemon.end().code(), Some(1), "it gives up, and says so");
    let report = output(daemon);
    assert!(report.contains("a feed has given up") && report.contains("attempts: 5"), "{report}");
    let mut reader = RecordingReader::open(run.path("recording")).unwrap();
    let mut exhausted = 0;
    while let Some(record) = reader.next().unwrap() {
        let is_it = matches!(
            record,
            Record::Status(StatusEvent { what: Status::Exhausted { attempts: 5 }, .. })
        );
        exhausted += u32::from(is_it);
    }
    assert!(reader.saw_end());
    assert_eq!(exhausted, 1, "the recording says why it ends");
}

#[test]
fn a_default_run_stays_under_96_mb() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    let mut command = purkinje(dir.path());
    command.arg("run").arg("--set").arg(format!("control.socket={}", control.display()));
    let mut daemon = Daemon(command.stdout(Stdio::null()).spawn().unwrap());
    wait_for_status(&control, "eight seconds of cycles", |s| {
        number(s, "cycles") >= 80 && number(s, "ready") == 6
    });
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak_kb: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    println!("peak resident memory {} MB", peak_kb / 1_000);
    assert!(peak_kb * 1_024 < 96_000_000, "{peak_kb} kB");
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.end().code(), Some(0));
}
