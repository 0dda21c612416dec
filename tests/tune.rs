//! `purkinje tune` as a program: a small study on a simulated market, stopped, resumed and refused.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use support::{Daemon, purkinje, wait_until};

/// Few cells, two instruments and a minute of market: seconds of work.
const SPACE: &str = "[range.strategy.cerebellum.granule_cells]\nlow = 32\nhigh = 96\n\
                     [range.strategy.cerebellum.learning_rate]\nlow = 1e-4\nhigh = 1e-1\nscale = \"log\"\n\
                     [range.sparsity]\nlow = 0.05\nhigh = 0.3\n";

fn tune(dir: &Path, study: &str, more: &[&str]) -> Command {
    std::fs::write(dir.join("space.toml"), SPACE).unwrap();
    let mut command = purkinje(dir);
    command.args(["tune", "--simulate", "60", "--space", "space.toml", "--study", study]);
    command.args(["--set", "simulator.instruments=2", "--set", "report.warmup_s=20"]);
    command.args(more);
    command
}

fn ran(mut command: Command) -> (Output, String) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

/// The lines of a study without the wall times.
fn timeless(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("duration_s");
        line
    });
    lines.collect()
}

#[test]
fn a_study_of_three_trials_is_scored_resumed_to_the_same_result_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (output, errors) = ran(tune(dir.path(), "a.jsonl", &["-n", "3", "--plot", "a.svg"]));
    assert!(output.status.success(), "{errors}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{errors}{table}");
    assert!(table.contains("sparsity") && table.contains("--set strategy.cerebellum.granule_hz="));
    assert!(std::fs::read_to_string(at("a.svg")).unwrap().contains("<polyline"));

    let whole = timeless(&at("a.jsonl"));
    assert_eq!(whole.len(), 4, "a header and three trials");
    for trial in &whole[1..] {
        assert_eq!(trial["state"], "complete", "{trial}");
        // A forecast of 1/2 costs ln 2; a tiny network after 20 s is not far from it.
        let loss = trial["value"].as_f64().unwrap();
        assert!((0.4..0.9).contains(&loss), "{trial}");
        let steps = trial["steps"].as_array().unwrap();
        assert!(!steps.is_empty() && steps.len() <= 3, "{trial}");
    }
    assert_ne!(whole[1]["value"], whole[2]["value"], "the parameters matter");

    // Two trials, a torn write, and the third: the same study.
    let (output, errors) = ran(tune(dir.path(), "b.jsonl", &["-n", "2"]));
    assert!(output.status.success(), "{errors}");
    let mut torn = std::fs::read(at("b.jsonl")).unwrap();
    torn.extend_from_slice(b"{\"trial\":2,\"sta");
    std::fs::write(at("b.jsonl"), torn).unwrap();
    let (output, errors) = ran(tune(dir.path(), "b.jsonl", &["-n", "3"]));
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("15 bytes of a torn last line were cut off"), "{errors}");
    assert_eq!(timeless(&at("b.jsonl")), whole);

    // Another seed, and another market, are other studies.
    for (more, message) in [
        (&["-n", "4", "--seed", "2"], "seed is 1 in the study and 2 now"),
        (&["-n", "4", "--set", "simulator.seed=2"], "the data's sha256 is "),
    ] {
        let (output, errors) = ran(tune(dir.path(), "b.jsonl", more));
        assert!(!output.status.success() && errors.contains(message), "{errors}");
        assert_eq!(timeless(&at("b.jsonl")), whole);
    }
}

#[test]
fn an_interrupt_stops_a_study_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.jsonl");
    let child = tune(dir.path(), "s.jsonl", &["-n", "5000"]).spawn().unwrap();
    let mut child = Daemon(child);
    let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    wait_until("the first trial", || lines() > 1);
    child.signal(libc::SIGINT);
    assert!(child.end().success());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.ends_with('\n'), "every line is whole");
    for (number, line) in timeless(&path)[1..].iter().enumerate() {
        assert_eq!(line["trial"], number, "{line}");
    }
}

#[test]
fn an_unknown_key_of_a_space_is_refused_by_name_with_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tune(dir.path(), "s.jsonl", &[]);
    std::fs::write(
        dir.path().join("space.toml"),
        "[range.strategy.cerebellum.granul_cells]\nlow = 1\nhigh = 2\n",
    )
    .unwrap();
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("did you mean strategy.cerebellum.granule_cells?"), "{errors}");
    assert!(!dir.path().join("s.jsonl").exists());
}
