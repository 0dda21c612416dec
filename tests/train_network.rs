//! `purkinje train network` as a program: what it trains is served by a replay, a killed training goes on
//! to the byte, random labels end at chance, the report is of the rows left aside, and what cannot be trained
//! leaves nothing behind.

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{path::Path, process::Command};

use purkinje::learning::network::{Demands, Network};
use purkinje_strategies::features::NAMES;
use support::{
    Daemon, is_state, journal, loaded, purkinje, replayed,
    rows::{by_hand, ran},
    wait_until,
};

/// Features that the planted signal shows in, and two that it does not.
const FEATURES: &str = "order_flow_100ms,order_flow_1s,queue_imbalance,spread";

/// Writes `rows.parquet` and, beside it, the session that it is of.
fn dataset(dir: &Path, seconds: &str) {
    let market = ["--set", "simulator.instruments=2"];
    let mut session = purkinje(dir);
    session.args(["simulate", "--write", "session", "--duration", seconds]).args(market);
    assert!(ran(session).0.status.success());
    let mut dataset = purkinje(dir);
    dataset.args(["dataset", "session", "--output", "rows.parquet"]).args(market);
    assert!(ran(dataset).0.status.success());
}

fn train(dir: &Path, output: &str, more: &[&str]) -> Command {
    let mut command = purkinje(dir);
    command.args(["train", "network", "rows.parquet", "--output", output]);
    for share in ["--validation", "--test"].iter().filter(|share| !more.contains(share)) {
        command.args([share, "0.2"]);
    }
    command.args(more);
    command
}

/// A small network in `NAME.toml`.
fn network(dir: &Path, name: &str, top: &str, architecture: &str) -> String {
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, format!("{top}\n[architecture]\n{architecture}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn lstm(dir: &Path) -> String {
    let ends = "kind = \"lstm\"\ninputs = 4\noutputs = 1\noutput = \"sigmoid\"";
    let top =
        "epochs = 40\npatience = 1000\nlearning_rate = 0.01\ndropout = 0.2\nbatch = 32\nseed = 3";
    network(dir, "lstm", top, &format!("{ends}\nhidden = [6]\nsteps = 5"))
}

/// Numbers of the checkpoints in a folder.
fn checkpoints(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder.join("checkpoints")).map_or_else(
        |_| Vec::new(),
        |files| files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>(),
    );
    let mut names: Vec<_> = names.into_iter().filter(|name| name.starts_with("step-")).collect();
    names.sort();
    names
}

/// What must not depend on where a training was broken.
fn result(folder: &Path) -> [Vec<u8>; 3] {
    ["model.toml", "weights.safetensors", "history.csv"]
        .map(|name| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
}

#[test]
fn a_trained_network_is_a_member_of_a_replay_and_an_autoencoder_has_its_scale() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), "220");
    let config = network(
        dir.path(),
        "dense",
        "epochs = 12\nlearning_rate = 0.01",
        &format!(
            "kind = \"feed-forward\"\ninputs = {}\noutputs = 1\noutput = \"sigmoid\"\nhidden = [8]",
            NAMES.len()
        ),
    );
    let (output, out, _) = ran(train(dir.path(), "dense-1", &["--network", &config]));
    assert!(output.status.success());
    for part in [
        "validation\n",
        "test\n",
        "base rate",
        "persistence",
        "logistic regression",
        "feed-forward",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    let folder = dir.path().join("dense-1");
    let history = std::fs::read_to_string(folder.join("history.csv")).unwrap();
    let epochs = history.lines().count() - 1;
    assert!((1..=12).contains(&epochs), "{history}");
    for plot in ["loss", "learning-rate"] {
        let svg = std::fs::read_to_string(folder.join(format!("plots/{plot}.svg"))).unwrap();
        assert!(svg.ends_with("</svg>\n"), "{plot}");
        assert!(folder.join(format!("plots/{plot}.png")).exists());
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for text in [read("card.md"), read("report.html")] {
        for part in ["dense-1", "feed-forward", "logistic regression", "earlier: baselines learn"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
    assert!(read("report.html").contains("Loss by epoch"), "the course of the training");
    assert!(out.ends_with("report        dense-1/report.html\n"), "{out}");
    assert!(checkpoints(&folder).len() <= 3 && folder.join("checkpoints/best.pkckpt").exists());

    let demands = Demands { instruments: 2, horizon_ms: 1_000, cycle_ms: 100 };
    let served = Network::load(&folder, &demands).unwrap();
    assert_eq!((served.name(), served.kind()), ("dense-1", "feed-forward"));
    let folders = format!("[\"{}\"]", folder.display());
    let loaded = loaded(&[
        ("strategy.networks", folders.as_str()),
        ("strategy.cerebellum.granule_cells", "100"),
        ("simulator.instruments", "2"),
    ]);
    let path = dir.path().join("journal");
    let report = replayed(&loaded, &[dir.path().join("session")], Some(&path));
    assert!(report.text().contains("dense-1"), "{}", report.text());
    let lines = journal(&path);
    let signals = lines.iter().filter(|line| !is_state(line));
    let said = signals.filter(|signal| {
        let members = signal["members"].as_array().unwrap();
        members.iter().any(|m| m["name"] == "dense-1" && m["value"].as_f64().is_some())
    });
    assert!(said.count() > 100);

    // A second training does not write over the first.
    let (output, _, errors) = ran(train(dir.path(), "dense-1", &["--network", &config]));
    assert!(!output.status.success() && errors.contains("resume it or name another"), "{errors}");

    // What learns magnitudes, too, is served as a probability.
    let config = network(
        dir.path(),
        "mixed",
        "epochs = 2\nloss = { magnitude_share = 0.3 }",
        "kind = \"cnn\"\ninputs = 4\noutputs = 2\nchannels = [4]\nsteps = 5",
    );
    let more = ["--network", &config, "--features", FEATURES];
    assert!(ran(train(dir.path(), "mixed", &more)).0.status.success());
    Network::load(&dir.path().join("mixed"), &demands).unwrap();

    let more = ["--kind", "autoencoder", "-n", "2", "--features", FEATURES];
    let (output, out, _) = ran(train(dir.path(), "auto", &more));
    assert!(output.status.success() && out.contains("anomaly scale"), "{out}");
    let text = std::fs::read_to_string(dir.path().join("auto/model.toml")).unwrap();
    let model: toml::Table = toml::from_str(&text).unwrap();
    let scale = model["anomaly_scale"].as_float().unwrap();
    assert!(scale.is_finite() && scale > 0.0, "{text}");
    assert_eq!(model["features"].as_array().unwrap().len(), 4);
    assert!(!dir.path().join("auto/report.html").exists(), "it forecasts nothing");
}

#[test]
fn a_killed_training_goes_on_to_the_bytes_of_an_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), "220");
    let config = lstm(dir.path());
    let more = ["--network", &config, "--features", FEATURES];
    let (output, whole_text, _) = ran(train(dir.path(), "whole", &more));
    assert!(output.status.success());
    let whole = result(&dir.path().join("whole"));
    assert_eq!(String::from_utf8_lossy(&whole[2]).lines().count(), 41);
    let resumed = [&more[..], &["--resume"]].concat();

    let killed = dir.path().join("killed");
    let mut child = Daemon(train(dir.path(), "killed", &more).spawn().unwrap());
    wait_until("three epochs", || checkpoints(&killed).len() >= 3);
    child.signal(libc::SIGKILL);
    child.end();
    assert!(!killed.join("model.toml").exists(), "killed in the middle");
    let (output, _, errors) = ran(train(dir.path(), "killed", &more));
    assert!(!output.status.success() && errors.contains("resume it or name another"), "{errors}");
    // The newest checkpoint is damaged: it is told, and the one before is used.
    let newest = checkpoints(&killed).pop().unwrap();
    let path = killed.join("checkpoints").join(&newest);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (output, text, errors) = ran(train(dir.path(), "killed", &resumed));
    assert!(output.status.success());
    assert!(errors.contains(&format!("{newest}: truncated")), "{errors}");
    assert_eq!(result(&killed), whole);
    assert_eq!(text.replace("killed", "whole"), whole_text);
    let page = |folder: &Path| std::fs::read_to_string(folder.join("report.html")).unwrap();
    let page_of_whole = page(&dir.path().join("whole"));
    assert_eq!(page(&killed).replace("killed", "whole"), page_of_whole);

    let stopped = dir.path().join("stopped");
    let mut command = train(dir.path(), "stopped", &more);
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("an epoch", || !checkpoints(&stopped).is_empty());
    let mut child = Daemon(child);
    child.signal(libc::SIGINT);
    assert!(child.end().success());
    let mut text = String::new();
    std::io::Read::read_to_string(child.0.stdout.as_mut().unwrap(), &mut text).unwrap();
    assert!(text.contains("--resume goes on"), "{text}");
    assert!(!stopped.join("model.toml").exists() && !stopped.join("report.html").exists());
    assert!(ran(train(dir.path(), "stopped", &resumed)).0.status.success());
    assert_eq!(result(&stopped), whole);

    // Other settings and other rows are other trainings.
    for (other, told) in [
        (&["--seed", "4"][..], "config.seed is 3, expected 4"),
        (
            &["--features", "order_flow_1s,order_flow_100ms,queue_imbalance,spread"],
            "rows.features is ",
        ),
        (&["--shuffle-labels", "1"], "rows.fingerprint is "),
    ] {
        let mut more = vec!["--network", config.as_str(), "--resume"];
        if other[0] != "--features" {
            more.extend(["--features", FEATURES]);
        }
        let (output, _, errors) = ran(train(dir.path(), "killed", &[&more, other].concat()));
        assert!(!output.status.success() && errors.contains("of another topology"), "{errors}");
        assert!(errors.contains(told), "{told:?} is not in {errors}");
    }
    assert_eq!(result(&killed), whole);
}

/// The figures of a forecaster over all folds.
fn figures(dir: &Path, forecaster: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(dir.join("walk_forward.csv")).unwrap();
    let start = format!("all,{forecaster},");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("no {start} in {text}"));
    line.split(',').map(|number| number.parse().unwrap()).collect()
}

#[test]
fn walk_forward_finds_the_planted_signal_and_nothing_in_random_labels() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), "900");
    let ends = "inputs = 4\noutputs = 1\noutput = \"sigmoid\"";
    let top = "epochs = 8\nlearning_rate = 0.01";
    let dense = format!("kind = \"feed-forward\"\nhidden = [8]\n{ends}");
    let cnn = format!("kind = \"cnn\"\nchannels = [6]\nsteps = 5\n{ends}");
    let files =
        [("dense", dense), ("cnn", cnn)].map(|(n, text)| network(dir.path(), n, top, &text));
    let files = files.join(",");
    let more = ["--walk-forward", "2", "--network", &files, "--features", FEATURES];
    let (output, out, _) = ran(train(dir.path(), "planted", &more));
    assert!(output.status.success());
    let folder = dir.path().join("planted");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "the table and nothing else");
    for forecaster in
        ["base rate", "persistence", "logistic regression", "feed-forward", "cnn", "ensemble"]
    {
        assert!(out.contains(forecaster), "{forecaster}: {out}");
        let [rows, effective, hits, low, high, loss, loss_low, loss_high, ..] =
            figures(&folder, forecaster)[..]
        else {
            panic!("{out}")
        };
        assert!(rows > 1_000.0 && (effective - rows / 10.0).abs() < 1e-6);
        assert!(low <= hits && hits <= high && loss_low <= loss && loss <= loss_high);
    }
    let gain_low = |folder: &Path, forecaster| figures(folder, forecaster)[9];
    assert!(gain_low(&folder, "logistic regression") > 0.0, "the signal is planted");
    assert!(gain_low(&folder, "feed-forward") > 0.0 && gain_low(&folder, "ensemble") > 0.0);

    let shuffled = [&more[..], &["--shuffle-labels", "5"]].concat();
    assert!(ran(train(dir.path(), "shuffled", &shuffled)).0.status.success());
    let folder = dir.path().join("shuffled");
    for forecaster in ["logistic regression", "feed-forward", "cnn", "ensemble"] {
        let gain_low = gain_low(&folder, forecaster);
        assert!(gain_low <= 0.0, "{forecaster} knows random labels: {gain_low}");
    }
    // The same command, the same bytes.
    let csv = std::fs::read(folder.join("walk_forward.csv")).unwrap();
    assert!(ran(train(dir.path(), "again", &shuffled)).0.status.success());
    assert_eq!(std::fs::read(dir.path().join("again/walk_forward.csv")).unwrap(), csv);
}

#[test]
fn test_rows_that_tell_no_forecaster_from_another_leave_a_network_without_a_report() {
    let dir = tempfile::tempdir().unwrap();
    // Of 3,000 rows the test has the last 600, of which none falls.
    let labels: Vec<i32> =
        (0..3_000).map(|row| if row < 2_300 { row % 2 * 2 - 1 } else { 1 }).collect();
    by_hand(dir.path(), &labels, 0.5);
    for (output, more, told) in [
        ("one-class", &[][..], "report        none: the tested span has "),
        ("no-test", &["--test", "0"], "report        none: no rows were left aside"),
        (
            "random",
            &["--shuffle-labels", "1"],
            "report        none: the labels were dealt out anew",
        ),
    ] {
        let command = [&["--kind", "feed-forward", "-n", "1"][..], more].concat();
        let (run, out, _) = ran(train(dir.path(), output, &command));
        assert!(run.status.success() && out.contains(told), "{told:?} is not in {out}");
        let folder = dir.path().join(output);
        assert!(folder.join("model.toml").exists() && !folder.join("report.html").exists());
    }
}

#[test]
fn what_cannot_be_trained_is_refused_by_name_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let both: Vec<i32> = (0..3_000).map(|row| row % 2 * 2 - 1).collect();
    let refused = |output: &str, more: &[&str], told: &str| {
        let (run, _, errors) = ran(train(dir.path(), output, more));
        assert!(!run.status.success() && errors.contains(told), "{told:?} is not in {errors}");
        assert!(!dir.path().join(output).exists(), "{told}: something is left");
    };
    let dense = ["--kind", "feed-forward", "-n", "1"];
    refused("none", &dense, "rows.parquet: No such file");
    by_hand(dir.path(), &[], 0.5);
    refused("empty", &dense, "rows.parquet: the data set is empty, expected at least one row");
    by_hand(dir.path(), &[1; 3_000], 0.5);
    let told = "column label: 3000 rows up and 0 down, expected both classes";
    refused("one-class", &dense, told);
    refused("one-class", &[&dense[..], &["--walk-forward", "2"]].concat(), told);
    by_hand(dir.path(), &both, f32::NAN);
    refused("nan", &dense, &format!("{} of row 2999 = NaN: expected a finite number", NAMES[0]));
    by_hand(dir.path(), &both, 0.5);
    let bytes = std::fs::read(dir.path().join("rows.parquet")).unwrap();
    let cut = &bytes[..bytes.len() - 9];
    std::fs::write(dir.path().join("rows.parquet"), cut).unwrap();
    refused("cut", &dense, "rows.parquet: not a whole Parquet file");
    by_hand(dir.path(), &both[..300], 0.5);
    refused("short", &dense, "split: no rows are left for ");
    by_hand(dir.path(), &both, 0.5);
    for (more, told) in [
        (&["--kind", "feed-forward", "-n", "0"][..], "epochs = 0: expected 1 to 100000"),
        (&["--kind", "feed-forward", "--keep", "0"], "keep_last = 0, expected 1 to 1000"),
        (&["--kind", "feed-forward", "--every", "0"], "every = 0: expected 1 to 100000"),
        (&["--kind", "feed-forward,lstm"], "--network, --kind: several without --walk-forward"),
        (&["--kind", "feed-forward", "--features", "spraed"], "features = \"spraed\""),
        (&["--kind", "autoencoder", "--walk-forward", "2"], "a network that forecasts"),
        (&["--kind", "feed-forward", "--walk-forward", "0"], "folds = 0: expected 1 to 1000"),
        (&["--network", "none.toml"], "none.toml: No such file"),
    ] {
        refused("flags", more, told);
    }
    refused("Capital", &dense, "a network is named after its folder");
    let none = [&dense[..], &["--validation", "0"]].concat();
    refused("share", &none, "validation = 0: expected above 0");
}
