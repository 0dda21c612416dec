//! Where the models run: on the CPU, or on a device that here is the emulator running the very CUDA kernels, to
//! the same bytes; what is said where there is no device; and a device that is lost and comes back.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]
#![cfg(feature = "emulator")]

mod support;

use std::{path::Path, process::Output};

use purkinje::learning::backend::EMULATED;
use purkinje_strategies::features::N as FEATURES;
use support::{
    networks::{Networks, random},
    purkinje,
};

/// Replays a sample session on a backend; `emulated` says what stands in for a device.
fn replay(
    dir: &Path,
    journal: &str,
    backend: &str,
    emulated: Option<&str>,
    sets: &[String],
) -> Output {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/replay-data/planted");
    let mut command = purkinje(dir);
    command.args(["replay", sample, "--backend", backend, "--journal", journal]);
    let own = [
        "strategy.cerebellum.granule_cells=200",
        "backend.synchronise_cycles=1",
        "backend.retry_s=1",
    ];
    for set in own.into_iter().chain(sets.iter().map(String::as_str)) {
        command.args(["--set", set]);
    }
    // A host of these tests may have a GPU, which is not asked for.
    command.env("CUDA_VISIBLE_DEVICES", "").env_remove(EMULATED);
    if let Some(how) = emulated {
        command.env(EMULATED, how);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn lines(dir: &Path, journal: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(journal)).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_device_gives_the_signals_of_the_cpu_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    let cpu = replay(dir.path(), "cpu.jsonl", "cpu", None, &[]);
    assert!(cpu.status.success(), "{}", text(&cpu));
    assert!(text(&cpu).contains("ran on               cpu; 0 devices lost"), "{}", text(&cpu));
    let device = replay(dir.path(), "device.jsonl", "cuda", Some("1"), &[]);
    assert!(device.status.success(), "{}", text(&device));
    let told = text(&device);
    assert!(
        told.contains("ran on               cuda (emulator): cerebellum; 0 devices lost"),
        "{told}"
    );
    let (cpu, device) = (lines(dir.path(), "cpu.jsonl"), lines(dir.path(), "device.jsonl"));
    assert!(cpu.len() > 1_000);
    assert!(cpu == device, "the journals differ");
}

#[test]
fn a_device_that_is_lost_is_replaced_by_the_cpu_and_gone_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let run = replay(dir.path(), "lost.jsonl", "auto", Some("lost-at-40"), &[]);
    assert!(run.status.success(), "{}", text(&run));
    let told = text(&run);
    assert!(told.contains("1 devices lost"), "{told}");
    assert!(told.contains("the models go on with the CPU: the device is lost"), "{told}");
    // Every cycle has its signals, the one of the loss among them.
    let cpu = replay(dir.path(), "cpu.jsonl", "cpu", None, &[]);
    assert!(cpu.status.success());
    let signals = |journal| lines(dir.path(), journal).len();
    assert_eq!(signals("lost.jsonl"), signals("cpu.jsonl"));
}

/// A network of each kind as members, and an autoencoder.
fn with_networks(networks: &Networks) -> Vec<String> {
    let dense = networks.linear("dense", &random(1, FEATURES, 0.2), 0.1);
    let folders = [
        dense,
        networks.lstm("lstm", 10),
        networks.cnn("cnn", 20),
        networks.transformer("transformer", 30),
    ];
    let listed: Vec<String> = folders.iter().map(|f| format!("\"{}\"", f.display())).collect();
    let unusual = networks.autoencoder("unusual", 50);
    vec![
        format!("strategy.networks=[{}]", listed.join(", ")),
        format!("strategy.anomaly.network={}", unusual.display()),
    ]
}

#[test]
fn the_cerebellum_and_networks_of_all_kinds_in_one_graph_give_the_signals_of_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let networks = Networks::new();
    let sets = with_networks(&networks);
    let cpu = replay(dir.path(), "cpu.jsonl", "cpu", None, &sets);
    assert!(cpu.status.success(), "{}", text(&cpu));
    let device = replay(dir.path(), "device.jsonl", "cuda", Some("1"), &sets);
    assert!(device.status.success(), "{}", text(&device));
    let told = text(&device);
    let place =
        "cuda (emulator): cerebellum, dense, lstm, cnn, transformer, unusual; 0 devices lost";
    assert!(told.contains(place), "{told}");
    let (cpu, device) = (lines(dir.path(), "cpu.jsonl"), lines(dir.path(), "device.jsonl"));
    assert!(cpu.len() > 1_000);
    assert!(cpu == device, "the journals differ");
}

#[test]
fn networks_on_a_device_that_is_lost_go_on_with_the_same_signals_wherever_they_are_then() {
    let dir = tempfile::tempdir().unwrap();
    let networks = Networks::new();
    // What the cerebellum learned since its last copy would be lost: it learns nothing, or is none of them.
    let frozen = ["strategy.cerebellum.plastic=false", "backend.synchronise_cycles=1"];
    let alone = ["strategy.members=[\"logistic\"]", "backend.synchronise_cycles=30"];
    for more in [frozen, alone] {
        let sets = [with_networks(&networks), more.map(str::to_owned).to_vec()].concat();
        let cpu = replay(dir.path(), "cpu.jsonl", "cpu", None, &sets);
        assert!(cpu.status.success(), "{}", text(&cpu));
        let lost = replay(dir.path(), "lost.jsonl", "cuda", Some("lost-at-55"), &sets);
        assert!(lost.status.success(), "{}", text(&lost));
        let told = text(&lost);
        assert!(told.contains("1 devices lost"), "{told}");
        assert!(told.contains("the models go on with the CPU: the device is lost"), "{told}");
        let (cpu, lost) = (lines(dir.path(), "cpu.jsonl"), lines(dir.path(), "lost.jsonl"));
        assert!(cpu.len() > 1_000);
        assert!(cpu == lost, "the journals differ with {more:?}");
        for journal in ["cpu.jsonl", "lost.jsonl"] {
            std::fs::remove_file(dir.path().join(journal)).unwrap();
        }
    }
}

#[test]
fn without_a_device_auto_says_why_it_is_the_cpu_and_cuda_is_refused_with_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let auto = replay(dir.path(), "auto.jsonl", "auto", None, &[]);
    assert!(auto.status.success(), "{}", text(&auto));
    let told = text(&auto);
    let place = told.lines().find(|line| line.contains("ran on")).unwrap();
    assert!(place.contains("cpu (no "), "{place}");
    let cuda = replay(dir.path(), "cuda.jsonl", "cuda", None, &[]);
    assert!(!cuda.status.success());
    let told = text(&cuda);
    assert!(told.contains("backend.kind = cuda: no "), "{told}");
    assert!(told.contains("purkinje doctor"), "{told}");
    assert!(!dir.path().join("cuda.jsonl").exists(), "nothing was begun");
    let wrong = replay(dir.path(), "wrong.jsonl", "gpu", None, &[]);
    assert!(text(&wrong).contains("backend.kind = \"gpu\": expected one of"), "{}", text(&wrong));
}

#[test]
fn the_doctor_says_what_there_is_and_fails_where_a_device_is_asked_for_in_vain() {
    let dir = tempfile::tempdir().unwrap();
    let doctor = |backend: &str| {
        let mut command = purkinje(dir.path());
        command.args(["doctor", "--set", &format!("backend.kind={backend}")]);
        command.env("CUDA_VISIBLE_DEVICES", "").output().unwrap()
    };
    let auto = doctor("auto");
    assert!(auto.status.success());
    let told = text(&auto);
    for line in
        ["driver ", "devices ", "backend   cpu: no ", "models    with kernels: cerebellum\n"]
    {
        assert!(told.contains(line), "{line:?} is not in {told}");
    }
    assert!(!doctor("cuda").status.success());
}
