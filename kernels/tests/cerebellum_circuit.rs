//! The circuit seen from outside: its rates, its determinism, and what one instrument may know of
//! another.

use purkinje_kernels::cerebellum::{Cerebellum, CerebellumConfig};
use purkinje_kernels::rng::Key;

const FEATURES: usize = 10;

fn config(instruments: usize) -> CerebellumConfig {
    CerebellumConfig {
        features: FEATURES,
        instruments,
        granule_cells: 500,
        ..CerebellumConfig::default()
    }
}

/// Instrument `k`'s features at `cycle`, the same whatever the batch.
fn features(cycle: u64, instruments: usize) -> Vec<f32> {
    (0..instruments)
        .flat_map(|k| {
            let key = Key::new(77).fork(k as u64).fork(cycle);
            (0..FEATURES as u64).map(move |j| key.normal(j))
        })
        .collect()
}

/// Runs and learns an arbitrary rule; returns the bits of every value, by cycle and instrument.
fn run(net: &mut Cerebellum, cycles: u64) -> Vec<Vec<u32>> {
    let n = net.config().instruments;
    let mut values = Vec::new();
    let mut value = vec![0.0; n];
    for cycle in 0..cycles {
        let x = features(cycle, n);
        net.advance(cycle, &x, &vec![true; n], &mut value);
        values.push(value.iter().map(|v| v.to_bits()).collect());
        for k in 0..n {
            net.learn(k, cycle.saturating_sub(5), x[k * FEATURES].clamp(-1.0, 1.0));
        }
    }
    values
}

#[test]
fn rates_on_random_features_are_those_of_a_living_cerebellum() {
    for seed in [1, 2] {
        let mut net = Cerebellum::new(CerebellumConfig {
            seed,
            instruments: 4,
            ..CerebellumConfig::default()
        })
        .unwrap();
        let mut value = [0.0; 4];
        let mut sum = [0.0; 4];
        let cycles = 200;
        for cycle in 0..cycles {
            let key = Key::new(seed).fork(cycle);
            let x: Vec<f32> = (0..200).map(|k| key.normal(k)).collect();
            net.advance(cycle, &x, &[true; 4], &mut value);
            assert!(value.iter().all(|v| (0.0..=1.0).contains(v)), "{value:?}");
            let r = net.rates();
            for (sum, hz) in
                sum.iter_mut().zip([r.granule_hz, r.golgi_hz, r.purkinje_hz, r.nuclear_hz])
            {
                *sum += hz / cycles as f32;
            }
        }
        println!("seed {seed}: granule, Golgi, Purkinje, nuclear {sum:?} Hz");
        let gates = [(0.3, 8.0), (2.0, 25.0), (30.0, 100.0), (10.0, 100.0)];
        for (hz, (low, high)) in sum.into_iter().zip(gates) {
            assert!((low..=high).contains(&hz), "{hz} Hz, expected {low} to {high}");
        }
    }
}

#[test]
fn equal_seeds_and_inputs_give_equal_bits_and_another_seed_does_not() {
    let mut first = Cerebellum::new(config(2)).unwrap();
    let mut second = Cerebellum::new(config(2)).unwrap();
    assert_eq!(run(&mut first, 60), run(&mut second, 60));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    first.write_state(&mut a);
    second.write_state(&mut b);
    assert_eq!(a, b);
    let mut other = Cerebellum::new(CerebellumConfig { seed: 2, ..config(2) }).unwrap();
    assert_ne!(run(&mut other, 60), run(&mut Cerebellum::new(config(2)).unwrap(), 60));
}

#[test]
fn with_weights_of_its_own_an_instrument_does_not_notice_the_others() {
    let own = |n| CerebellumConfig { shared_weights: false, ..config(n) };
    let alone = run(&mut Cerebellum::new(own(1)).unwrap(), 60);
    let among = run(&mut Cerebellum::new(own(3)).unwrap(), 60);
    for (cycle, (alone, among)) in alone.iter().zip(&among).enumerate() {
        assert_eq!(alone[0], among[0], "cycle {cycle}");
    }
}

#[test]
fn with_shared_weights_an_instrument_learns_from_the_others() {
    let mut net = Cerebellum::new(config(2)).unwrap();
    let mut untaught = Cerebellum::new(config(2)).unwrap();
    let (mut value, mut plain) = ([0.0; 2], [0.0; 2]);
    for cycle in 0..200 {
        let x = features(cycle, 2);
        net.advance(cycle, &x, &[true; 2], &mut value);
        untaught.advance(cycle, &x, &[true; 2], &mut plain);
        net.learn(0, cycle, 0.5);
    }
    assert!(value[1] > plain[1] + 0.2, "{value:?} against {plain:?}");
}

#[test]
fn an_inactive_instrument_stands_still_and_says_one_half() {
    let own = CerebellumConfig { shared_weights: false, ..config(2) };
    let mut net = Cerebellum::new(own.clone()).unwrap();
    let mut value = [0.0; 2];
    for cycle in 0..20 {
        net.advance(cycle, &features(cycle, 2), &[true, false], &mut value);
        assert_eq!(value[1], 0.5);
    }
    let mut fresh = Cerebellum::new(own).unwrap();
    let mut expected = [0.0; 2];
    net.advance(20, &features(20, 2), &[true, true], &mut value);
    fresh.advance(20, &features(20, 2), &[true, true], &mut expected);
    assert_eq!(value[1].to_bits(), expected[1].to_bits());
}

#[test]
fn an_outcome_is_learned_only_while_its_cycle_is_held() {
    let mut net = Cerebellum::new(CerebellumConfig { pending_cycles: 3, ..config(1) }).unwrap();
    let mut value = [0.0];
    for cycle in 10..14 {
        net.advance(cycle, &features(cycle, 1), &[true], &mut value);
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    net.write_state(&mut before);
    assert!(!net.learn(0, 10, 0.5), "its place was taken by cycle 13");
    assert!(!net.learn(0, 14, 0.5), "not run yet");
    assert!(!net.learn(1, 13, 0.5), "no such instrument");
    assert!(!net.learn(0, 13, f32::NAN), "not a number");
    net.write_state(&mut after);
    assert_eq!(before, after);
    assert_eq!((net.expired(), net.rejected()), (2, 2));
    assert!(net.learn(0, 11, 0.5) && net.learn(0, 13, 0.5));
    after.clear();
    net.write_state(&mut after);
    assert_ne!(before, after);
}

#[test]
fn features_that_are_not_numbers_do_no_harm() {
    let mut net = Cerebellum::new(config(1)).unwrap();
    let mut value = [0.0];
    for (cycle, x) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30].into_iter().enumerate() {
        net.advance(cycle as u64, &[x; FEATURES], &[true], &mut value);
        assert!((0.0..=1.0).contains(&value[0]), "{x}: {}", value[0]);
    }
}
