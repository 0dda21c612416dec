//! `purkinje train cerebellum` as a program: the modes learn, a killed training goes on to the bit, the
//! daemon starts from its result, and what does not fit is refused.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Output},
};

use purkinje::training::checkpoint::Checkpoint;
use support::{Daemon, purkinje, wait_until};

/// Few cells, one instrument: the features' window of 30 s is purged at every boundary, so the market
/// is long enough to leave rows on either side.
const SMALL: [&str; 6] = [
    "--set",
    "simulator.instruments=1",
    "--set",
    "strategy.cerebellum.granule_cells=64",
    "--set",
    "strategy.cerebellum.steps_per_cycle=50",
];

/// An example that lacks its price.
const WITHOUT_A_PRICE: &str =
    r#"[{"volume":1,"bid":9,"ask":9,"timestamp":1700000000000,"features":[1],"action":"BUY"}]"#;

fn train(dir: &Path, output: &str, more: &[&str]) -> Command {
    let mut command = purkinje(dir);
    command.args(["train", "cerebellum", "--output", output]).args(SMALL).args(more);
    command
}

fn simulated(dir: &Path, output: &str, more: &[&str]) -> Command {
    let market = ["--simulate", "220", "--validation", "0.2", "--test", "0.2"];
    train(dir, output, &[&market, more].concat())
}

fn ran(mut command: Command) -> (Output, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    println!("{errors}{out}");
    (output, out, errors)
}

fn weights_hash(out: &str) -> String {
    let line = out.lines().find(|line| line.starts_with("weights sha256")).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

/// The figures of a part's line: moves, then loss and hit rate by forecaster.
fn figures(out: &str, part: &str) -> Vec<f64> {
    let line = out.lines().find(|line| line.starts_with(part)).unwrap();
    line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect()
}

fn checkpoints(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir.join("checkpoints")).map_or_else(
        |_| Vec::new(),
        |files| files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>(),
    );
    names.into_iter().filter(|name| name.starts_with("step-")).collect()
}

#[test]
fn every_mode_learns_the_planted_signal_and_leaves_its_files() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, more) in [
        ("online", &["-n", "2"][..]),
        (
            "supervised",
            &["-n", "8", "--loss", "mse", "--learning-rate", "0.02", "--schedule", "cosine"],
        ),
        ("hybrid", &["-n", "1", "--every", "3", "--optimiser", "adam"]),
    ] {
        let (output, out, _) =
            ran(simulated(dir.path(), mode, &[&["--mode", mode], more].concat()));
        assert!(output.status.success());
        let [_, base, _, _, _, own, hits] = figures(&out, "train")[..] else { panic!("{out}") };
        assert!(own < base - 0.01 && hits > 55.0, "{mode}: {own} against {base}, {hits} %");
        assert_eq!(figures(&out, "validation").len(), 7);
        assert_eq!(figures(&out, "test ").len(), 7);
        let folder = dir.path().join(mode);
        for plot in ["loss", "accuracy", "weight-evolution", "weights", "connectivity", "raster"] {
            let svg = std::fs::read_to_string(folder.join(format!("plots/{plot}.svg"))).unwrap();
            assert!(svg.ends_with("</svg>\n"), "{plot}");
            let png = std::fs::read(folder.join(format!("plots/{plot}.png"))).unwrap();
            assert_eq!(png[..4], *b"\x89PNG", "{plot}");
        }
        assert_eq!(folder.join("plots/learning-rate.svg").exists(), mode == "supervised");
        let events = std::fs::read_dir(folder.join("events")).unwrap().next().unwrap().unwrap();
        assert!(events.metadata().unwrap().len() > 500);
        assert!(folder.join("checkpoints/best.pkckpt").exists());
    }

    // The daemon's own replay starts from the result; the model's identity follows the weights.
    let model = |more: &[&str]| {
        let mut command = purkinje(dir.path());
        command.args(["replay", "session"]).args(SMALL).args(more);
        ran(command)
    };
    let mut session = purkinje(dir.path());
    session.args(["simulate", "--write", "session", "--duration", "30"]).args(SMALL);
    assert!(session.output().unwrap().status.success());
    let plain = model(&[]);
    let weights = "strategy.cerebellum.weights=online/checkpoints/best.pkckpt";
    let taught = model(&["--set", weights]);
    assert!(plain.0.status.success() && taught.0.status.success());
    let sha = |out: &str| out.lines().find(|l| l.starts_with("signals sha256")).unwrap().to_owned();
    assert_ne!(sha(&plain.1), sha(&taught.1));
    assert_eq!(sha(&taught.1), sha(&model(&["--set", weights]).1));

    // Weights that do not fit are refused before anything starts.
    let other = ["--set", weights, "--set", "strategy.cerebellum.granule_cells=65"];
    let message = "of another topology: model.granule_cells is 64, expected 65";
    let horizon = ["--set", weights, "--set", "strategy.horizon_ms=500"];
    let file = dir.path().join("online/checkpoints/best.pkckpt");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(dir.path().join("cut"), &bytes[..bytes.len() / 2]).unwrap();
    for (more, message) in [
        (&other[..], message),
        (&horizon, "model.horizon_ms is 1000, expected 500"),
        (&["--set", "strategy.cerebellum.weights=none"], "none: cannot open"),
        (&["--set", "strategy.cerebellum.weights=cut"], "cut: truncated at byte "),
    ] {
        let (output, _, errors) = model(more);
        assert!(!output.status.success());
        assert!(errors.contains("strategy.cerebellum.weights: "), "{errors}");
        assert!(errors.contains(message), "{message:?} is not in {errors}");
    }
}

#[test]
fn a_killed_training_goes_on_to_the_weights_of_an_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, epochs) in [("online", "8"), ("hybrid", "4")] {
        let more = ["--mode", mode, "-n", epochs, "--every", "4", "--patience", "100"];
        let whole = format!("{mode}-whole");
        let (output, out, _) = ran(simulated(dir.path(), &whole, &more));
        assert!(output.status.success());

        let broken = format!("{mode}-broken");
        let child = simulated(dir.path(), &broken, &more).spawn().unwrap();
        let mut child = Daemon(child);
        wait_until("two epochs", || checkpoints(&dir.path().join(&broken)).len() >= 2);
        child.signal(libc::SIGKILL);
        child.end();
        let (_, _, errors) = ran(simulated(dir.path(), &broken, &more));
        assert!(errors.contains("resume it or name another folder"), "{errors}");
        let resumed = [&more[..], &["--resume"]].concat();
        let (output, second, _) = ran(simulated(dir.path(), &broken, &resumed));
        assert!(output.status.success());
        assert_eq!(weights_hash(&second), weights_hash(&out), "{mode}");
        let best = |name: &str| {
            let path = dir.path().join(name).join("checkpoints/best.pkckpt");
            Checkpoint::read(&path).unwrap().header
        };
        assert_eq!(best(&broken), best(&whole));
        assert_eq!(figures(&second, "test "), figures(&out, "test "));

        // Another network, another rule and other rows are other trainings.
        for (other, message) in [
            (
                ["--set", "strategy.cerebellum.granule_cells=70"],
                "model.granule_cells is 64, expected 70",
            ),
            (["--mode", "supervised"], "training.mode is "),
            (["--set", "simulator.seed=2"], "rows.sha256 is "),
        ] {
            let mut command = train(dir.path(), &broken, &["--resume", "--every", "4"]);
            command.args(["--simulate", "220", "--validation", "0.2", "--test", "0.2"]);
            if other[0] != "--mode" {
                command.args(["--mode", mode]);
            }
            command.args(other);
            let (output, _, errors) = ran(command);
            assert!(!output.status.success() && errors.contains("of another topology"), "{errors}");
            assert!(errors.contains(message), "{message:?} is not in {errors}");
        }
    }
}

#[test]
fn examples_train_a_network_of_their_own_and_spike_trains_play_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for k in 0..600_u64 {
        // The first feature says what to do, on a scale of thousands; the second says nothing.
        let up = (k * 7919) % 13 < 6;
        let x = if up { 5_000.0 } else { 3_000.0 } + (k % 10) as f64;
        let noise = if k % 50 == 0 { "null".to_owned() } else { format!("{}", k % 7) };
        let action = if k % 40 == 39 {
            "HOLD"
        } else if up {
            "BUY"
        } else {
            "SELL"
        };
        let time_ms = 1_700_000_000_000 + 1_000 * k;
        writeln!(
            lines,
            r#"{{"price":100,"volume":1,"bid":99.9,"ask":100.1,"timestamp":{time_ms},"features":[{x},{noise}],"action":"{action}","weight":0.5}}"#
        )
        .unwrap();
    }
    std::fs::write(dir.path().join("e.jsonl"), lines).unwrap();
    let trains =
        r#"{"spike_trains":[{"neuron":3,"layer":"mf","times_ms":[1,5,9,20]}],"duration_ms":100}"#;
    std::fs::write(dir.path().join("s.json"), trains).unwrap();
    // Two inputs need fibres enough for granule cells to differ.
    let fibres = "strategy.cerebellum.fibres_per_feature=8";
    let files = ["--examples", "e.jsonl", "--spike-trains", "s.json"];
    let more = [&files[..], &["-n", "3", "--set", fibres]].concat();
    let (output, out, _) = ran(train(dir.path(), "o", &more));
    assert!(output.status.success());
    assert!(out.contains("2 inputs, 12 values absent"), "{out}");
    let [moves, base, _, _, _, own, hits] = figures(&out, "test ")[..] else { panic!("{out}") };
    assert!(moves > 50.0 && own < base - 0.2 && hits > 90.0, "{out}");
    assert!(out.contains("100 ms played: mossy fibres 2.5 Hz"), "{out}");
    assert!(dir.path().join("o/plots/spike-trains.png").exists());

    std::fs::write(dir.path().join("b.json"), WITHOUT_A_PRICE).unwrap();
    let (output, _, errors) = ran(train(dir.path(), "p", &["--examples", "b.json"]));
    assert!(!output.status.success() && errors.contains("b.json: [0].price"), "{errors}");
}
