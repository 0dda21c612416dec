//! The circuit seen from outside: its rates, its determinism, and what one instrument may know of
//! another.

use purkinje_kernels::cerebellum::{Cerebellum, CerebellumConfig, Eligibility, RulesConfig};
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
fn features_that_are_not_numbers_are_absent_and_counted_and_infinite_ones_held() {
    let mut net = Cerebellum::new(config(2)).unwrap();
    let mut value = [0.0; 2];
    for cycle in 0..200 {
        net.advance(cycle, &[f32::NAN; 2 * FEATURES], &[true, cycle < 10], &mut value);
        assert!(value.iter().all(|v| (0.0..=1.0).contains(v)), "{value:?}");
        let hz = net.rates().mossy_hz;
        // A background of 4 Hz is 0 or 1 spikes a fibre and cycle.
        assert!(hz < 8.5, "{hz} Hz of mossy fibres without features");
    }
    assert_eq!(net.absent(), (200 + 10) * FEATURES as u64, "those of active instruments");
    for (cycle, x) in [f32::INFINITY, f32::NEG_INFINITY, 1e30].into_iter().enumerate() {
        net.advance(200 + cycle as u64, &[x; 2 * FEATURES], &[true; 2], &mut value);
        assert!(value.iter().all(|v| (0.0..=1.0).contains(v)), "{x}: {value:?}");
    }
    assert_eq!(net.absent(), (200 + 10) * FEATURES as u64);
}

#[test]
fn one_absent_feature_leaves_the_fibres_of_the_others_as_they_were() {
    let mut whole = Cerebellum::new(config(1)).unwrap();
    let mut holed = Cerebellum::new(config(1)).unwrap();
    let (mut a, mut b) = ([0.0], [0.0]);
    let (mut of_whole, mut of_holed) = (0.0, 0.0);
    for cycle in 0..100 {
        let x = features(cycle, 1);
        let mut y = x.clone();
        y[3] = f32::NAN;
        whole.advance(cycle, &x, &[true], &mut a);
        holed.advance(cycle, &y, &[true], &mut b);
        of_whole += whole.rates().mossy_hz / 100.0;
        of_holed += holed.rates().mossy_hz / 100.0;
    }
    // Two of twenty fibres fall to the background, from a mean of some 100 Hz.
    let share = (of_holed - 0.1 * 4.0) / of_whole;
    assert!((share - 0.9).abs() < 0.03, "{of_holed} Hz against {of_whole} Hz");
}

#[test]
fn a_frozen_cerebellum_takes_outcomes_and_stays_as_it_was() {
    for shared_weights in [true, false] {
        let mut rules = every_rule();
        rules.stdp.enabled = !shared_weights;
        let frozen = CerebellumConfig { plastic: false, shared_weights, rules, ..config(2) };
        let mut net = Cerebellum::new(frozen).unwrap();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        net.write_state(&mut before);
        run(&mut net, 60);
        net.write_state(&mut after);
        assert_eq!(before, after);
        assert!(net.learning().rules.iter().all(|rule| !rule.enabled && rule.moves == 0));
        assert_eq!(net.expired(), 0);
    }
}

/// All rules that shared weights allow.
fn every_rule() -> RulesConfig {
    let mut rules = RulesConfig { brake: true, ..RulesConfig::default() };
    rules.metaplasticity.enabled = true;
    rules.bcm.enabled = true;
    rules.intrinsic.enabled = true;
    rules
}

type Switch = fn(&mut RulesConfig);

#[test]
fn each_rule_moves_what_is_its_own_and_those_that_are_off_move_nothing() {
    let none = || {
        let mut rules = RulesConfig { climbing_fibre: false, ..RulesConfig::default() };
        rules.scaling.enabled = false;
        rules
    };
    let cases: [(&str, Switch); 6] = [
        ("climbing fibres", |rules| rules.climbing_fibre = true),
        ("scaling", |rules| rules.scaling.enabled = true),
        ("pair STDP", |rules| rules.stdp.enabled = true),
        ("sliding threshold", |rules| rules.bcm.enabled = true),
        ("intrinsic", |rules| rules.intrinsic.enabled = true),
        ("metaplasticity", |rules| rules.metaplasticity.enabled = true),
    ];
    for (name, switch) in cases {
        let mut rules = none();
        switch(&mut rules);
        let own = CerebellumConfig { shared_weights: false, rules, ..config(2) };
        let mut net = Cerebellum::new(own).unwrap();
        run(&mut net, 60);
        let report = net.learning();
        for rule in &report.rules {
            assert_eq!(rule.enabled, rule.name == name, "{report}");
            assert_eq!(rule.moves > 0, rule.name == name, "{name}: {report}");
        }
        let moves_weights = matches!(name, "climbing fibres" | "pair STDP" | "sliding threshold");
        assert_eq!(report.weights.sd > 0.0, moves_weights, "{name}: {report}");
        assert_eq!(report.weights.gain != 1.0, name == "scaling", "{name}: {report}");
    }
}

#[test]
fn weights_that_learning_drives_out_of_bounds_are_held_there_and_the_report_says_how_many() {
    let fast = CerebellumConfig { learning_rate: 1.0, learning_floor: 1.0, ..config(2) };
    let mut net = Cerebellum::new(fast).unwrap();
    run(&mut net, 60);
    let weights = net.learning().weights;
    assert!(weights.at_zero > 0.05 && weights.at_cap > 0.0, "{weights:?}");
    assert!((0.0..=8.0).contains(&weights.mean), "{weights:?}");
    assert_eq!(weights.count, 500 * 32);
}

#[test]
fn pair_stdp_on_shared_weights_is_refused() {
    let mut rules = RulesConfig::default();
    rules.stdp.enabled = true;
    let error = Cerebellum::new(CerebellumConfig { rules, ..config(2) }).unwrap_err();
    assert!(
        error.to_string().starts_with("rules.stdp is true, expected false where shared_weights"),
        "{error}"
    );
    rules.stdp.tau_pre_ms = f32::NAN;
    let own = CerebellumConfig { shared_weights: false, rules, ..config(2) };
    let error = Cerebellum::new(own).unwrap_err().to_string();
    assert_eq!(error, "rules: pair-stdp: tau_pre_ms is NaN, expected a finite number above 0");
}

#[test]
fn the_number_of_threads_changes_no_result_whatever_the_rules() {
    for shared_weights in [true, false] {
        for eligibility in [Eligibility::Held, Eligibility::Kernel] {
            let mut rules = every_rule();
            rules.stdp.enabled = !shared_weights;
            let with = |threads| {
                let config =
                    CerebellumConfig { threads, shared_weights, eligibility, rules, ..config(5) };
                let mut net = Cerebellum::new(config).unwrap();
                let values = run(&mut net, 40);
                let mut state = Vec::new();
                net.write_state(&mut state);
                (values, state)
            };
            assert!(with(1) == with(3), "shared {shared_weights}, {eligibility:?}");
        }
    }
}

#[test]
fn a_kernel_of_eligibility_learns_what_features_that_last_foretell() {
    let kernel =
        CerebellumConfig { eligibility: Eligibility::Kernel, horizon_cycles: 5, ..config(2) };
    let mut net = Cerebellum::new(kernel).unwrap();
    let mut value = [0.0; 2];
    let sign = |cycle: u64| if Key::new(3).fork(cycle / 20).uniform(0) < 0.5 { -1.0 } else { 1.0 };
    let (mut hits, mut scored) = (0, 0);
    let mut past = vec![[0.0; 2]; 600];
    for cycle in 0..600_u64 {
        let mut x = features(cycle, 2);
        (0..2).for_each(|k| x[k * FEATURES] = 1.5 * sign(cycle));
        if let Some(made) = cycle.checked_sub(5) {
            let target = 0.5 + 0.5 * sign(made);
            for (k, value) in past[made as usize].into_iter().enumerate() {
                assert!(net.learn(k, made, target - value));
            }
        }
        net.advance(cycle, &x, &[true; 2], &mut value);
        past[cycle as usize] = value;
        if cycle >= 400 {
            scored += 2;
            hits += value.iter().filter(|&&v| (v > 0.5) == (sign(cycle) > 0.0)).count();
        }
    }
    assert!(hits * 10 >= scored * 8, "{hits} of {scored}");
}
