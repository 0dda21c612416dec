//! A wide network learns to answer two patterns differently, and nothing where its weights stand still.

#![allow(clippy::unwrap_used, reason = "tests")]

use purkinje_kernels::cerebellum::{WideCerebellum, WideConfig, WideReport};
use purkinje_kernels::rng::Key;

/// 2,000 granule cells and 64 Purkinje cells in two beams.
fn config(seed: u64) -> WideConfig {
    WideConfig {
        features: 4,
        fibres_per_feature: 20,
        beams: 2,
        clusters_per_beam: 20,
        granules_per_cluster: 50,
        purkinje_per_beam: 32,
        nuclear_per_zone: 16,
        steps_per_cycle: 100,
        settle_steps: 20,
        seed,
        ..WideConfig::tiny()
    }
}

const PATTERNS: [[f32; 4]; 2] = [[1.2, -0.4, 0.3, -1.0], [-0.9, 0.8, -0.2, 0.7]];

/// The mean value of each pattern, which come in random order; with what is to be taught of them.
fn run(net: &mut WideCerebellum, cycles: u64, targets: Option<[f32; 2]>) -> [f32; 2] {
    let (mut sums, mut counts) = ([0.0_f32; 2], [0_u32; 2]);
    for cycle in 0..cycles {
        let which = usize::from(Key::new(7).fork(cycle).uniform(0) < 0.5);
        let report = net.advance(&PATTERNS[which]).unwrap();
        let value = net.value(&report);
        sums[which] += value;
        counts[which] += 1;
        if let Some(targets) = targets {
            net.teach(targets[which] - 0.5 * value);
        }
    }
    [0, 1].map(|which| sums[which] / counts[which] as f32)
}

#[test]
fn climbing_fibres_teach_two_patterns_apart() {
    for seed in 1..4 {
        let mut net = WideCerebellum::on_cpu(&config(seed)).unwrap();
        net.settle(100).unwrap();
        let before = run(&mut net, 100, None);
        run(&mut net, 600, Some([0.6, -0.6]));
        net.set_plastic(false);
        let after = run(&mut net, 100, None);
        let moved = (after[0] - after[1]) - (before[0] - before[1]);
        eprintln!("seed {seed}: {before:?} to {after:?}");
        assert!(moved > 0.5, "seed {seed}: {before:?} to {after:?}");
    }
}

#[test]
fn weights_that_stand_still_learn_nothing() {
    let mut net = WideCerebellum::on_cpu(&config(1)).unwrap();
    net.settle(20).unwrap();
    net.set_plastic(false);
    let before = net.weights(0..2_000).unwrap();
    run(&mut net, 50, Some([0.6, -0.6]));
    assert_eq!(net.weights(0..2_000).unwrap(), before);
}

#[test]
fn cells_fire_at_rates_that_are_seen_in_vivo() {
    let config = config(1);
    let mut net = WideCerebellum::on_cpu(&config).unwrap();
    net.settle(100).unwrap();
    let mut total = WideReport::default();
    let cycles = 100;
    for cycle in 0..cycles {
        let key = Key::new(5).fork(cycle);
        let features: Vec<f32> = (0..4).map(|k| key.normal(k)).collect();
        let report = net.advance(&features).unwrap();
        total.granule += report.granule;
        total.golgi += report.golgi;
        total.purkinje += report.purkinje;
        total.nuclear += report.nuclear;
        total.climbing += report.climbing;
    }
    let seconds = 0.1 * cycles as f32;
    let hz = |spikes: u64, cells: usize| spikes as f32 / (cells as f32 * seconds);
    let rates = [
        // Spikes, cells, and the rates that are accepted, Hz.
        ("granule", total.granule, config.granules(), 3.0, 7.0),
        ("Golgi", total.golgi, config.clusters(), 5.0, 25.0),
        ("Purkinje", total.purkinje, config.purkinje(), 40.0, 95.0),
        ("nuclear", total.nuclear, 2 * config.nuclear_per_zone, 20.0, 90.0),
        ("climbing", total.climbing, config.purkinje(), 0.5, 2.0),
    ];
    for (name, spikes, cells, low, high) in rates {
        let found = hz(spikes, cells);
        assert!(
            (low..=high).contains(&found),
            "{name} cells: {found} Hz, expected {low} to {high}"
        );
    }
}
