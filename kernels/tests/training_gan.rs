//! Generated paths are like the process that they were learned from, and a seed decides them.

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod training;

use purkinje_kernels::predictors::weights::Tensors;
use purkinje_kernels::rng::Key;
use purkinje_kernels::training::gan::config::GanConfig;
use purkinje_kernels::training::gan::generator::Generator;
use purkinje_kernels::training::gan::likeness::{Likeness, compare};
use purkinje_kernels::training::gan::trainer::GanTrainer;
use purkinje_kernels::training::trainer::TrainError;
use training::Table;

const FEATURES: usize = 3;
const STEPS: usize = 12;
/// What is planted: means, deviations and how much of a step stays in the next.
const MEANS: [f64; FEATURES] = [100.0, -2.0, 0.01];
const DEVIATIONS: [f64; FEATURES] = [5.0, 0.5, 0.002];
const MEMORIES: [f64; FEATURES] = [0.9, 0.5, 0.0];
/// Share of a shock that all features have in common.
const COMMON: f64 = 0.6;

/// A stationary process of first order, whose features share part of their shocks.
fn planted(rows: usize, seed: u64) -> Table {
    let mut table = Table::new(rows, FEATURES, seed, |_, _| 0.0);
    table.streams.fill(0);
    let key = Key::new(seed);
    let draw = |row: u64, n: u64| f64::from(key.normal(row * 8 + n));
    let mut state = [0, 1, 2].map(|n| draw(0, n));
    for (row, features) in (1..).zip(table.features.chunks_exact_mut(FEATURES)) {
        for (n, x) in features.iter_mut().enumerate() {
            let own = (1.0 - COMMON).sqrt() * draw(row, 1 + n as u64);
            let shock = COMMON.sqrt() * draw(row, 0) + own;
            let memory = MEMORIES[n];
            state[n] = memory * state[n] + (1.0 - memory * memory).sqrt() * shock;
            *x = (MEANS[n] + DEVIATIONS[n] * state[n]) as f32;
        }
    }
    table
}

fn config(text: &str) -> GanConfig {
    GanConfig::from_toml(&format!("features = {FEATURES}\nsteps = {STEPS}\n{text}")).unwrap()
}

/// Paths against windows of the process that were not learned from.
fn likeness(generator: &Generator) -> Likeness {
    let real = planted(800 * STEPS, 99).features;
    compare(&real, &generator.paths(800, 5).unwrap(), STEPS, FEATURES).unwrap()
}

#[test]
fn paths_have_the_moments_and_the_memory_of_the_process() {
    let table = planted(2_000, 1);
    let data = table.data();
    let sizes = "units = [24]\nnoise = 4\nchannels = [24, 24]\nkernel = 4";
    let config = config(&format!("epochs = 24\nbatch = 48\n{sizes}"));
    let mut trainer = GanTrainer::new(&config, &data, 0..2_000).unwrap();
    let untrained = likeness(trainer.generator());
    trainer.run().unwrap();
    let found = likeness(trainer.generator());
    println!("untrained {untrained:?}\ntrained {found:?}");
    for (n, feature) in found.features.iter().enumerate() {
        let mean = (feature.mean.generated - MEANS[n]) / DEVIATIONS[n];
        // That of the 2,000 rows that were learned from is itself uncertain by 0.1.
        assert!(mean.abs() < 0.2, "feature {n}: mean {:?}", feature.mean);
        let deviation = feature.deviation.generated / DEVIATIONS[n];
        assert!((0.8..1.25).contains(&deviation), "feature {n}: {:?}", feature.deviation);
        let memory = feature.autocorrelation.generated - MEMORIES[n];
        assert!(memory.abs() < 0.12, "feature {n}: {:?}", feature.autocorrelation);
    }
    assert!(found.correlation_gap < 0.15, "correlations: {}", found.correlation_gap);
    // A generator that has learned nothing has none of it.
    assert!(untrained.accuracy > 0.95, "untrained: {}", untrained.accuracy);
    assert!(found.accuracy < 0.75, "told apart: {}", found.accuracy);
    let memory = untrained.features[0].autocorrelation;
    assert!((memory.generated - memory.real).abs() > 0.2, "untrained: {memory:?}");
}

const SMALL: &str = "epochs = 3\nunits = [5, 4]\nnoise = 2\nchannels = [6]\nkernel = 3\nbatch = 37";

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let table = planted(200, 2);
    let data = table.data();
    let run = |seed: u64| {
        let config = config(&format!("{SMALL}\nseed = {seed}"));
        let mut trainer = GanTrainer::new(&config, &data, 20..200).unwrap();
        trainer.run().unwrap();
        let generator = trainer.generator();
        (generator.to_safetensors().unwrap(), generator.paths(300, 1).unwrap())
    };
    let (weights, paths) = run(1);
    assert!(run(1) == (weights.clone(), paths.clone()));
    let (other, _) = run(2);
    assert!(other != weights);

    let generator = Generator::from_safetensors(&config(SMALL), &weights).unwrap();
    assert!(generator.paths(300, 1).unwrap() == paths, "as it was exported");
    assert!(generator.paths(300, 2).unwrap() != paths, "of another seed");
    let path = STEPS * FEATURES;
    assert!(generator.paths(260, 1).unwrap() == paths[..260 * path], "fewer of them");
    assert!(paths[..path] != paths[path..2 * path], "each is its own");
    let mut tensors = Tensors::read(&weights).unwrap();
    for (name, shape) in [
        ("lstm.0.weight_ih_l0", &[20, 2][..]),
        ("lstm.0.bias_hh_l0", &[20]),
        ("lstm.1.weight_hh_l0", &[16, 4]),
        ("head.weight", &[3, 4]),
        ("mean", &[3]),
        ("deviation", &[3]),
    ] {
        tensors.take(name, shape).unwrap();
    }
}

#[test]
fn a_run_that_was_cut_after_any_epoch_ends_with_the_same_weights() {
    let table = planted(200, 3);
    let data = table.data();
    let config = config(SMALL);
    let mut whole = GanTrainer::new(&config, &data, 20..200).unwrap();
    let mut checkpoints = vec![whole.checkpoint().unwrap()];
    while whole.epoch().unwrap().is_some() {
        checkpoints.push(whole.checkpoint().unwrap());
    }
    assert_eq!(checkpoints.len(), 4);
    for (cut, bytes) in checkpoints.iter().enumerate() {
        let mut rest = GanTrainer::resume(&config, &data, 20..200, bytes).unwrap();
        assert_eq!(rest.history().len(), cut);
        assert!(rest.checkpoint().unwrap() == *bytes, "as it was read");
        rest.run().unwrap();
        assert_eq!(rest.history(), whole.history(), "cut at {cut}");
        assert!(rest.checkpoint().unwrap() == checkpoints[3], "cut at {cut}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let table = planted(200, 4);
    let data = table.data();
    let small = config(SMALL);
    let mut trainer = GanTrainer::new(&small, &data, 20..200).unwrap();
    trainer.epoch().unwrap();
    let bytes = trainer.checkpoint().unwrap();
    let refusal = |config: &GanConfig, rows, bytes: &[u8]| -> TrainError {
        GanTrainer::resume(config, &data, rows, bytes).map(|_| ()).unwrap_err()
    };
    for len in (0..bytes.len()).step_by(397).chain([bytes.len() - 1]) {
        let refusal = refusal(&small, 20..200, &bytes[..len]);
        assert!(matches!(refusal, TrainError::CheckpointTensors(_)), "{len}: {refusal}");
    }
    let told = refusal(&config(&format!("{SMALL}\nseed = 9")), 20..200, &bytes).to_string();
    assert!(told.starts_with("checkpoint: configuration = {"), "{told}");
    let told = refusal(&small, 20..199, &bytes).to_string();
    assert_eq!(told, "checkpoint: rows = 20..200, expected 20..199");
    let weights = trainer.generator().to_safetensors().unwrap();
    let told = refusal(&small, 20..200, &weights).to_string();
    assert_eq!(told, "checkpoint: no text training, expected the run's state");

    let new = |config: &GanConfig, rows| {
        GanTrainer::new(config, &data, rows).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        new(&GanConfig::new(4), 0..200),
        "features of a row: 3 numbers, expected 4 a row, as the configuration has"
    );
    assert!(new(&small, 0..5).contains("a window of 12 steps"));
    let told = trainer.generator().paths(usize::MAX, 0).unwrap_err().to_string();
    assert_eq!(told, format!("paths = {}: expected 0 to {}", usize::MAX, (1 << 28) / 36));
    let other = Generator::from_safetensors(&config("units = [7]"), &weights).unwrap_err();
    assert!(other.to_string().starts_with("weights: lstm.0.weight_ih_l0"), "{other}");
}
