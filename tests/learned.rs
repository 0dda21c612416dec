//! What is learned outlives a run: written at an orderly end, taken up by the next, refused where it is damaged or of
//! other settings, and part of a recording that began with it.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use purkinje::{
    clock::Clock, lifecycle::learned::LearnedFolder, run::spine::forecaster,
    training::checkpoint::Checkpoint,
};
use purkinje_feeds::{Instrument, InstrumentTable, Venue};
use support::{Daemon, loaded, number, purkinje, replayed, wait_for_status};

/// Short cycles and a short horizon: much is learned in little time.
const SETTINGS: [(&str, &str); 6] = [
    ("terminal", "off"),
    ("cycle.period_ms", "20"),
    ("strategy.horizon_ms", "100"),
    ("strategy.cerebellum.granule_cells", "200"),
    ("simulator.instruments", "2"),
    ("state.dir", "learned"),
];

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn generation(&self, step: u64) -> PathBuf {
        self.path(&format!("learned/step-{step:012}.pkckpt"))
    }

    /// Runs until outcomes have been learned from, ends it in order and returns its report.
    fn run(&self, sets: &[(&str, &str)]) -> String {
        let mut command = purkinje(self.0.path());
        command.arg("run").arg("--set").arg("control.socket=control");
        for (key, value) in SETTINGS.iter().chain(sets) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let mut daemon =
            Daemon(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let socket = self.path("control");
        let ready = wait_for_status(&socket, "both ready", |s| number(s, "ready") == 2);
        let enough = number(&ready, "cycles") + 100;
        wait_for_status(&socket, "cycles that teach", |s| number(s, "cycles") >= enough);
        daemon.signal(libc::SIGTERM);
        assert!(daemon.end().success());
        let mut report = String::new();
        daemon.0.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        report
    }

    fn replay(&self) -> String {
        let mut command = purkinje(self.0.path());
        command.args(["replay", "recording"]);
        for (key, value) in SETTINGS {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }
}

/// The model's version in a report.
fn model(report: &str) -> &str {
    let signals = report.split("\nsignals\n").nth(1).unwrap_or_default();
    let line = signals.lines().find_map(|line| line.trim_start().strip_prefix("model "));
    line.unwrap_or_else(|| panic!("no model in {report}")).trim()
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_run_goes_on_from_the_newest_whole_state_and_untaught_where_there_is_none() {
    let host = Host::new();
    let first = host.run(&[]);
    assert!(first.contains("learned state        none yet in learned"), "{first}");
    assert!(host.generation(1).exists(), "{first}");
    let second = host.run(&[]);
    assert!(second.contains("taken up from learned/step-000000000001.pkckpt"), "{second}");
    assert_ne!(model(&second), model(&first), "a taught model is another version");

    damage(&host.generation(2));
    let third = host.run(&[]);
    assert!(third.contains("taken up from learned/step-000000000001.pkckpt"), "{third}");
    assert!(third.contains("step-000000000002.pkckpt: SHA-256"), "{third}");
    assert_eq!(model(&third), model(&second), "of the same state");

    damage(&host.generation(1));
    damage(&host.generation(2));
    let fourth = host.run(&[]);
    assert!(fourth.contains("not taken up: the run began untaught"), "{fourth}");
    assert_eq!(model(&fourth), model(&first));
    assert!(host.generation(3).exists(), "{fourth}");

    let other = host.run(&[("strategy.ttl_ms", "4000")]);
    assert!(other.contains("strategy.ttl_ms is 5000, expected 4000"), "{other}");
    let live = [("strategy.ttl_ms", "4000"), ("strategy.thresholds.confidence", "0.8")];
    let live = host.run(&live);
    assert!(live.contains("taken up from learned/step-000000000004.pkckpt"), "{live}");
    let mut kept: Vec<_> = std::fs::read_dir(host.path("learned"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pkckpt"))
        .collect();
    kept.sort();
    assert_eq!(kept, [host.generation(4), host.generation(5)], "two generations");
}

#[test]
fn a_recording_of_a_taught_run_is_replayed_to_the_byte() {
    let host = Host::new();
    host.run(&[]);
    host.run(&[("record.dir", "recording")]);
    let replay = host.replay();
    assert!(replay.contains("recorded run         the same signals"), "{replay}");
    let copies: Vec<_> = std::fs::read_dir(host.path("recording"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pkckpt"))
        .collect();
    let [copy] = &copies[..] else { panic!("{copies:?}") };
    std::fs::remove_file(copy).unwrap();
    let replay = host.replay();
    assert!(replay.contains("which is not at hand"), "{replay}");
    assert!(replay.contains("recorded run         other signals"), "{replay}");
}

/// Learners of every kind, two or more at a time.
const KINDS: [&[(&str, &str)]; 4] = [
    &[("strategy.combiner.rule", "ml-poly"), ("strategy.conformal.enabled", "true")],
    &[
        ("strategy.combiner.rule", "stacking"),
        ("strategy.calibration.map", "isotonic"),
        ("strategy.calibration.members_map", "isotonic"),
    ],
    &[("strategy.combiner.rule", "boa"), ("strategy.challenger.rule", "fixed-share")],
    &[
        ("strategy.combiner.rule", "median"),
        ("strategy.cerebellum.shared_weights", "false"),
        ("strategy.conformal.window_labels", "65536"),
        ("strategy.conformal.enabled", "true"),
    ],
];

#[test]
fn what_is_taken_up_is_what_was_kept_to_the_bit() {
    let material = Host::new();
    material.run(&[("record.dir", "recording")]);
    for kind in KINDS {
        let sets = [&SETTINGS[..], kind].concat();
        let loaded = loaded(&sets);
        let mut taught =
            replayed(&loaded, &[material.path("recording")], None).spine.model.forecaster;
        assert!(taught.counts().moved > 20, "{:?}", taught.counts());
        let instrument = |symbol: &str| Instrument {
            venue: Venue::BinanceUsdm,
            symbol: symbol.into(),
            price_decimals: 2,
            qty_decimals: 3,
        };
        let table = InstrumentTable::new(vec![instrument("SIMA"), instrument("SIMB")]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = {
            let (mut folder, beginning) = LearnedFolder::open(dir.path(), &loaded, &table).unwrap();
            assert!(beginning.learned.is_none());
            folder.save(&mut taught).unwrap()
        };
        let (mut folder, beginning) = LearnedFolder::open(dir.path(), &loaded, &table).unwrap();
        let mut fresh = forecaster(&loaded, 2, Clock::Event).unwrap();
        let untaught = folder.save(&mut fresh).unwrap();
        assert_ne!(sections(&untaught), sections(&path), "{kind:?}: nothing was learned");
        beginning.learned.unwrap().teach(&mut fresh).unwrap();
        assert_eq!(sections(&folder.save(&mut fresh).unwrap()), sections(&path), "{kind:?}");
        let weights = |of: &purkinje::learning::forecaster::Forecaster| {
            of.judge().weights().map(f64::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(weights(&fresh), weights(&taught), "{kind:?}");
    }
}

fn sections(path: &Path) -> [Vec<u8>; 2] {
    let mut checkpoint = Checkpoint::read(path).unwrap();
    ["cerebellum", "numbers"].map(|name| checkpoint.take_bytes(name).unwrap())
}
