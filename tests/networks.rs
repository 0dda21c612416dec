//! Trained networks as members of the ensemble: a folder with a description and weights, replayed by the whole
//! pipeline.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use mimalloc::MiMalloc;
use purkinje::{
    alloc::CountingAllocator,
    config::Loaded,
    run::{
        report::Report,
        spine::{forecaster, hex},
    },
    training::cycles::Cycles,
};
use purkinje_strategies::features::N as FEATURES;
use serde_json::Value;
use support::{
    is_state, journal, loaded,
    networks::{Networks, description, random, safetensors},
    number, replayed,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

fn planted() -> Vec<PathBuf> {
    vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("replay-data/planted")]
}

fn with(networks: &[&Path], sets: &[(&str, &str)]) -> Loaded {
    let folders: Vec<String> =
        networks.iter().map(|folder| format!("\"{}\"", folder.display())).collect();
    let folders = format!("[{}]", folders.join(", "));
    let own =
        [("strategy.networks", folders.as_str()), ("strategy.cerebellum.granule_cells", "100")];
    loaded(&[&own, sets].concat())
}

fn sha256(report: &Report) -> String {
    hex(&report.spine.sink.0.sha256)
}

/// The member of this name in a signal.
fn member<'a>(signal: &'a Value, name: &str) -> &'a Value {
    let members = signal["members"].as_array().unwrap();
    members.iter().find(|member| member["name"] == name).unwrap()
}

#[test]
fn a_network_is_asked_about_the_features_of_every_cycle_and_weighed_like_any_member() {
    let networks = Networks::new();
    let weights = random(1, FEATURES, 0.2);
    let folder = networks.linear("linear-1", &weights, 0.1);
    let loaded = with(&[&folder], &[]);
    let path = networks.0.path().join("journal");
    let report = replayed(&loaded, &planted(), Some(&path));

    let cycles = Cycles::open(&loaded, &planted()).unwrap();
    let keys: Vec<String> = cycles.table().iter().map(|(_, i)| i.key()).collect();
    let mut expected = HashMap::new();
    cycles
        .run(&AtomicBool::new(false), |batch| {
            for (instrument, key) in keys.iter().enumerate() {
                let products = batch.features_of(instrument).iter().zip(&weights);
                let sum: f64 = products.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let p_up = 1.0 / (1.0 + (-(sum + 0.1)).exp());
                expected.insert((key.clone(), batch.cut.cycle), p_up);
            }
            ControlFlow::Continue(())
        })
        .unwrap();

    // Until its first outcome is known, what a network says is not recalibrated.
    let mut compared = HashMap::<&str, u32>::new();
    let lines = journal(&path);
    for signal in lines.iter().filter(|line| !is_state(line)) {
        let key = signal["instrument"].as_str().unwrap();
        let said = member(signal, "linear-1");
        let Some(value) = said["value"].as_f64() else { continue };
        assert!((0.0..=1.0).contains(&said["weight"].as_f64().unwrap()));
        let seen = compared.entry(key).or_default();
        *seen += 1;
        if *seen <= 5 {
            let p_up = expected[&(key.to_owned(), number(signal, "cycle"))];
            assert!((value - p_up).abs() < 2e-4, "{signal}: expected {p_up}");
        }
    }
    assert!(compared.len() == keys.len() && compared.values().all(|n| *n > 100), "{compared:?}");
    let text = report.text();
    assert!(text.contains("linear-1"), "weights and skill have a row of it: {text}");
}

#[test]
fn a_network_with_memory_replays_to_the_same_bytes_and_allocates_nothing_once_warm() {
    let networks = Networks::new();
    let (one, other) = (networks.lstm("lstm", 10), networks.lstm("lstm-b", 20));
    let loaded = with(&[&one, &other], &[]);
    let report = replayed(&loaded, &planted(), None);
    assert_eq!(sha256(&replayed(&loaded, &planted(), None)), sha256(&report));
    assert!(report.spine.model.allocations.watched_cycles() > 100);
    assert_eq!(report.spine.model.allocations.allocations(), 0);
    // Other weights, other signals, another model.
    networks.lstm("lstm-b", 30);
    let changed = replayed(&loaded, &planted(), None);
    assert_ne!(sha256(&changed), sha256(&report));
    assert_ne!(changed.model_version, report.model_version);
    let without = replayed(&with(&[], &[]), &planted(), None);
    assert_ne!(without.model_version, report.model_version);
}

#[test]
fn every_rule_of_combination_gives_signals_that_replay() {
    let networks = Networks::new();
    let folder = networks.lstm("lstm", 10);
    let mut seen = Vec::new();
    for rule in ["ml-poly", "mean", "vote", "median", "stacking", "fixed-share", "boa"] {
        let loaded = with(&[&folder], &[("strategy.combiner.rule", rule)]);
        let report = replayed(&loaded, &planted(), None);
        assert_eq!(sha256(&replayed(&loaded, &planted(), None)), sha256(&report), "{rule}");
        assert_eq!(report.spine.model.allocations.allocations(), 0, "{rule}");
        assert!(!seen.contains(&sha256(&report)), "{rule} does as another one");
        seen.push(sha256(&report));
    }
}

#[test]
fn a_network_for_something_else_is_refused_by_file_key_and_value() {
    let networks = Networks::new();
    let good = networks.linear("good", &[0.1; FEATURES], 0.0);
    let weights = std::fs::read(good.join("weights.safetensors")).unwrap();
    let text = description("kind = \"feed-forward\"\nhidden = []");
    let refusal = |folders: &[&Path]| {
        let loaded = with(folders, &[]);
        match forecaster(&loaded, 2, purkinje::clock::Clock::Event) {
            Ok(_) => panic!("{folders:?} was taken"),
            Err(error) => error.to_string(),
        }
    };
    let of = |name: &str, description: &str, weights: &[u8]| {
        refusal(&[&networks.write(name, description, weights)])
    };
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge[7] = 0;
    let nan = safetensors(&[
        ("head.weight", &[1, FEATURES], vec![f32::NAN; FEATURES]),
        ("head.bias", &[1], vec![0.0]),
    ]);
    let small = safetensors(&[
        ("head.weight", &[1, FEATURES - 1], vec![0.0; FEATURES - 1]),
        ("head.bias", &[1], vec![0.0]),
    ]);
    for (told, parts) in [
        (
            of("horizon", &text.replace("1000", "500"), &weights),
            ["model.toml: horizon_ms = 500", "1000"],
        ),
        (
            of("cycle", &text.replace("= 100\n", "= 50\n"), &weights),
            ["cycle_ms = 50", "cycle.period_ms"],
        ),
        (
            of("feature", &text.replace("\"all\"", "\"spraed\""), &weights),
            ["features = \"spraed\"", "names of features"],
        ),
        (
            of("output", &text.replace("sigmoid", "tanh"), &weights),
            ["network.output = tanh", "probability"],
        ),
        (of("key", &format!("{text}layers = 3\n"), &weights), ["key/model.toml", "layers"]),
        (
            of("width", &text.replace(&format!("inputs = {FEATURES}"), "inputs = 0"), &weights),
            ["network.inputs = 0", "expected"],
        ),
        (of("torn", &text, &weights[..weights.len() - 3]), ["torn/weights.safetensors", ""]),
        (of("header", &text, &huge), ["header/weights.safetensors", "header"]),
        (of("nan", &text, &nan), ["nan/weights.safetensors", "head.weight"]),
        (of("shape", &text, &small), ["shape/weights.safetensors", "head.weight"]),
        (of("Capital", &text, &weights), ["Capital", "named after its folder"]),
        (refusal(&[&networks.0.path().join("none")]), ["none/model.toml", "No such file"]),
        (
            refusal(&[&good, &networks.write("elsewhere/good", &text, &weights)]),
            ["strategy.networks", "\"good\""],
        ),
        (of("logistic", &text, &weights), ["strategy.networks", "\"logistic\""]),
    ] {
        assert!(parts.iter().all(|part| told.contains(part)), "{told:?} lacks one of {parts:?}");
    }
}
