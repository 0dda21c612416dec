//! The cerebellum on a device equals the one on the CPU to the bit: here on the emulator, which compiles the very
//! kernels.

#![allow(clippy::unwrap_used, reason = "tests")]

mod emulated;

use purkinje_cuda::driver::{Driver, DriverError};
use purkinje_cuda::emulator::{self, Order};
use purkinje_cuda::faults::{self, Call, Faults, Faulty};
use purkinje_kernels::cerebellum::{
    Cerebellum, CerebellumConfig, DeviceError, Eligibility, RulesConfig,
};
use purkinje_kernels::rng::Key;

/// A small network with odd sizes everywhere.
fn small() -> CerebellumConfig {
    CerebellumConfig {
        features: 3,
        instruments: 3,
        granule_cells: 150,
        granule_per_golgi: 37,
        fibres_per_feature: 11,
        steps_per_cycle: 41,
        settle_steps: 7,
        purkinje_per_zone: 5,
        nuclear_per_zone: 3,
        pending_cycles: 5,
        ..CerebellumConfig::default()
    }
}

/// Configurations that between them have every rule, by name.
fn every_rule() -> Vec<(String, CerebellumConfig)> {
    let mut slow = RulesConfig { brake: true, ..RulesConfig::default() };
    slow.metaplasticity.enabled = true;
    // So that it acts: it remembers what outcomes of cycles before the last change.
    slow.metaplasticity.threshold_per_s = 1e-4;
    slow.bcm.enabled = true;
    slow.intrinsic.enabled = true;
    let mut by_spike = slow;
    by_spike.stdp.enabled = true;
    let mut configs = Vec::new();
    for eligibility in [Eligibility::Held, Eligibility::Kernel] {
        for (name, rules, shared_weights) in [
            ("shared weights", slow, true),
            ("own weights", slow, false),
            ("pair STDP", by_spike, false),
        ] {
            let config = CerebellumConfig {
                eligibility,
                horizon_cycles: 3,
                rules,
                shared_weights,
                ..small()
            };
            configs.push((format!("{eligibility:?}, {name}"), config));
        }
    }
    configs
}

/// The emulator with a schedule, or the device that is asked for.
fn device(seed: u64) -> Box<dyn Driver> {
    emulated::driver(if seed == 0 { Order::Ascending } else { Order::Random { seed } })
}

/// The emulator with faults.
fn faulty(faults: Faults) -> Box<dyn Driver> {
    Box::new(Faulty::new(emulated::emulator(Order::Ascending), faults))
}

fn move_to(
    net: &mut Cerebellum,
    driver: Box<dyn Driver>,
    synchronise_every: u64,
) -> Result<(), DeviceError> {
    net.move_to(net.device_plan().prepare(driver, synchronise_every)?);
    Ok(())
}

/// What a run leaves: values and rates of all cycles as bits, then the state.
#[derive(PartialEq)]
struct Trail {
    values: Vec<u32>,
    state: Vec<u8>,
    /// What the rules have done.
    learning: String,
    absent: u64,
    expired: u64,
}

/// Shows where two trails part, not all of them.
impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum = |bytes: &mut dyn Iterator<Item = u64>| {
            bytes.fold(7_u64, |sum, x| (sum ^ x).wrapping_mul(0x0100_0000_01b3))
        };
        let values: Vec<u16> = (0..self.values.len())
            .map(|k| sum(&mut self.values[..=k].iter().map(|&x| x.into())) as u16)
            .collect();
        write!(f, "state {:x}, ", sum(&mut self.state.iter().map(|&x| x.into())))?;
        writeln!(f, "absent {}, expired {}, {}", self.absent, self.expired, self.learning)?;
        write!(f, "running sums {values:x?}")
    }
}

/// Drives cycles of random features, among them some that are no numbers, infinite or far out; some instruments
/// stand still now and then; outcomes come late, some too late.
fn drive(net: &mut Cerebellum, cycles: std::ops::Range<u64>, seed: u64) -> Vec<u32> {
    let (n, each) = (net.config().instruments, net.config().features);
    let key = Key::new(seed);
    let mut values = Vec::new();
    for cycle in cycles {
        let draw = key.fork(cycle);
        let features: Vec<f32> = (0..(n * each) as u64)
            .map(|k| match draw.fork(1).below(k, 20) {
                0 => f32::NAN,
                1 => f32::INFINITY,
                2 => -1e9,
                _ => draw.normal(k),
            })
            .collect();
        let active: Vec<bool> = (0..n as u64).map(|k| draw.fork(2).below(k, 8) != 0).collect();
        let mut value = vec![0.0; n];
        net.advance(cycle, &features, &active, &mut value);
        let rates = net.rates();
        values.extend(value.iter().map(|v| v.to_bits()));
        values.extend(
            [rates.mossy_hz, rates.granule_hz, rates.golgi_hz, rates.purkinje_hz, rates.nuclear_hz]
                .map(f32::to_bits),
        );
        for k in 0..n {
            let late = u64::from(draw.fork(3).below(k as u64, 7));
            let error = 2.0 * draw.fork(4).uniform(k as u64) - 1.0;
            net.learn(k, cycle.saturating_sub(late), error);
        }
    }
    values
}

fn trail(net: &mut Cerebellum, values: Vec<u32>) -> Trail {
    net.synchronise();
    let mut state = Vec::new();
    net.write_state(&mut state);
    let learning = format!("{:?}", net.learning());
    Trail { values, state, learning, absent: net.absent(), expired: net.expired() }
}

fn on_cpu(config: &CerebellumConfig, cycles: u64) -> Trail {
    let mut net = Cerebellum::new(config.clone()).unwrap();
    let values = drive(&mut net, 0..cycles, 1);
    trail(&mut net, values)
}

fn on_device(config: &CerebellumConfig, cycles: u64, seed: u64) -> Trail {
    let mut net = Cerebellum::new(config.clone()).unwrap();
    move_to(&mut net, device(seed), 10).unwrap();
    let values = drive(&mut net, 0..cycles, 1);
    assert_eq!(net.take_fault(), None);
    assert_eq!(net.device_counters().unwrap().cycles, cycles);
    trail(&mut net, values)
}

#[test]
fn every_value_rate_and_weight_is_that_of_the_cpu() {
    let config = small();
    let expected = on_cpu(&config, 40);
    for seed in 0..4 {
        assert_eq!(on_device(&config, 40, seed), expected, "scheduler seed {seed}");
    }
}

#[test]
fn sizes_below_and_above_a_warp_and_a_block_change_nothing() {
    let sizes = [
        // Features, fibres, granule cells, to a Golgi cell, Purkinje and nuclear cells of a zone, steps.
        (1, 2, 16, 16, 1, 1, 10),
        (2, 2, 33, 16, 2, 1, 12),
        (1, 64, 256, 16, 16, 16, 20),
        (7, 9, 1_000, 100, 40, 33, 30),
        (56, 2, 2_000, 100, 16, 16, 100),
        (4, 5, 2_500, 64, 16, 16, 25),
    ];
    for (features, fibres_per_feature, granule_cells, granule_per_golgi, p, n, steps) in sizes {
        let config = CerebellumConfig {
            features,
            fibres_per_feature,
            granule_cells,
            granule_per_golgi,
            purkinje_per_zone: p,
            nuclear_per_zone: n,
            steps_per_cycle: steps,
            settle_steps: steps / 4,
            instruments: 2,
            ..small()
        };
        assert_eq!(on_device(&config, 6, 1), on_cpu(&config, 6), "{granule_cells} granule cells");
    }
}

#[test]
fn every_rule_gives_the_same_weights() {
    for (name, config) in every_rule() {
        for plastic in [true, false] {
            let config = CerebellumConfig { plastic, ..config.clone() };
            let expected = on_cpu(&config, 30);
            assert_eq!(on_device(&config, 30, 2), expected, "{name}, plastic {plastic}");
        }
    }
}

#[test]
fn pair_stdp_of_any_sizes_and_constants_gives_the_same_weights() {
    // Granule cells, Purkinje cells of a zone, time constants and rates.
    for (granules, purkinje, tau_pre_ms, tau_post_ms, a_plus, a_minus) in [
        (64, 1, 20.0, 20.0, 0.1, 0.105),
        (200, 20, 1.0, 50.0, 0.3, 0.0),
        (130, 70, 7.0, 3.0, 0.0, 0.2),
        (1_100, 33, 60.0, 10.0, 0.5, 0.4),
    ] {
        let mut rules = RulesConfig::default();
        rules.stdp.enabled = true;
        (rules.stdp.tau_pre_ms, rules.stdp.tau_post_ms) = (tau_pre_ms, tau_post_ms);
        (rules.stdp.a_plus, rules.stdp.a_minus) = (a_plus, a_minus);
        let config = CerebellumConfig {
            rules,
            shared_weights: false,
            granule_cells: granules,
            purkinje_per_zone: purkinje,
            instruments: 2,
            ..small()
        };
        let expected = on_cpu(&config, 20);
        assert_eq!(on_device(&config, 20, 3), expected, "{granules} x {purkinje}");
        assert!(!expected.learning.contains("\"pair STDP\", enabled: true, moves: 0,"));
    }
}

#[test]
fn networks_that_move_to_the_device_and_back_go_on_as_if_they_had_stayed() {
    for (name, config) in every_rule() {
        let expected = on_cpu(&config, 40);
        let mut net = Cerebellum::new(config).unwrap();
        let mut values = drive(&mut net, 0..13, 1);
        move_to(&mut net, device(0), 1_000).unwrap();
        values.extend(drive(&mut net, 13..21, 1));
        net.leave_device();
        assert!(net.device().is_none());
        values.extend(drive(&mut net, 21..29, 1));
        move_to(&mut net, device(3), 1).unwrap();
        values.extend(drive(&mut net, 29..40, 1));
        assert_eq!(trail(&mut net, values), expected, "{name}");
    }
}

#[test]
fn the_cpu_goes_on_from_the_last_copy_as_if_it_had_never_been_left() {
    for (name, config) in every_rule() {
        let expected = on_cpu(&config, 25);
        // Ten cycles, then the outcomes that wait, then the cycle in which it is lost.
        let (mut net, _) = losing(&config, 12, 3);
        let mut values = drive(&mut net, 0..10, 1);
        net.synchronise();
        values.extend(drive(&mut net, 10..25, 1));
        assert_eq!(net.take_fault(), Some(faults::lost()), "{name}");
        assert_eq!(trail(&mut net, values), expected, "{name}");
    }
}

#[test]
fn rules_that_are_switched_off_and_on_and_networks_that_are_put_to_rest_do_as_on_the_cpu() {
    for (name, config) in every_rule() {
        let run = |net: &mut Cerebellum| {
            let mut values = drive(net, 0..8, 1);
            net.set_plastic(false);
            values.extend(drive(net, 8..14, 1));
            net.set_plastic(true);
            values.extend(drive(net, 14..20, 1));
            net.rest();
            values.extend(drive(net, 20..30, 1));
            trail(net, values)
        };
        let expected = run(&mut Cerebellum::new(config.clone()).unwrap());
        let mut net = Cerebellum::new(config).unwrap();
        move_to(&mut net, device(4), 7).unwrap();
        assert_eq!(run(&mut net), expected, "{name}");
        assert!(net.device().is_some() && net.take_fault().is_none());
    }
}

#[test]
fn outcomes_beyond_those_that_can_wait_are_learned_at_once_in_their_order() {
    let teach = |net: &mut Cerebellum| {
        let mut values = drive(net, 0..20, 5);
        for round in 0..20_u64 {
            for cycle in 0..20 {
                let error = Key::new(9).fork(round).uniform(cycle) - 0.5;
                net.learn((cycle % 3) as usize, cycle, error);
            }
        }
        values.extend(drive(net, 20..25, 5));
        values
    };
    for (name, config) in every_rule() {
        let config = CerebellumConfig { pending_cycles: 64, ..config };
        let mut cpu = Cerebellum::new(config.clone()).unwrap();
        let values = teach(&mut cpu);
        let expected = trail(&mut cpu, values);
        let mut net = Cerebellum::new(config).unwrap();
        move_to(&mut net, device(0), 1_000).unwrap();
        let values = teach(&mut net);
        assert!(net.device_counters().unwrap().flushes > 3);
        assert_eq!(trail(&mut net, values), expected, "{name}");
    }
}

#[test]
fn a_network_that_does_not_fit_a_block_is_refused_with_what_it_needs_and_what_there_is() {
    let mut net = Cerebellum::new(CerebellumConfig {
        granule_cells: 30_000,
        granule_per_golgi: 1_000,
        instruments: 1,
        pending_cycles: 1,
        purkinje_per_zone: 1,
        steps_per_cycle: 10,
        settle_steps: 2,
        ..small()
    })
    .unwrap();
    let message = move_to(&mut net, device(0), 10).unwrap_err().to_string();
    assert!(net.device().is_none());
    assert!(message.contains("bytes of a block's shared memory, "), "{message}");
}

/// Lost at the n-th launch, with a copy taken every so many cycles.
fn losing(config: &CerebellumConfig, n: u64, synchronise_every: u64) -> (Cerebellum, Faults) {
    let faults = Faults::new();
    faults.fail_at(Call::Launch, n, faults::lost());
    let mut net = Cerebellum::new(config.clone()).unwrap();
    move_to(&mut net, faulty(faults.clone()), synchronise_every).unwrap();
    (net, faults)
}

#[test]
fn the_cpu_takes_over_from_a_lost_device_in_the_very_cycle_with_nothing_lost_since_the_last_copy() {
    for shared_weights in [true, false] {
        let config = CerebellumConfig { shared_weights, ..small() };
        // Outcomes of the cycle after the last copy are lost with the device, so there are none before it.
        let quiet = CerebellumConfig { plastic: false, ..config };
        let expected = on_cpu(&quiet, 30);
        let (mut net, _) = losing(&quiet, 11, 1);
        let values = drive(&mut net, 0..30, 1);
        assert_eq!(net.take_fault(), Some(faults::lost()));
        assert_eq!(net.take_fault(), None, "told once");
        assert!(net.device().is_none());
        assert_eq!(trail(&mut net, values), expected);
    }
}

#[test]
fn a_lost_device_takes_along_what_came_after_the_last_copy_and_no_more() {
    let config = CerebellumConfig { pending_cycles: 32, ..small() };
    let (mut net, faults) = losing(&config, 17, 5);
    let mut values = drive(&mut net, 0..16, 1);
    net.synchronise();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    net.write_state(&mut before);
    values.extend(drive(&mut net, 16..17, 2));
    assert_eq!(net.take_fault(), Some(faults::lost()));
    assert!(faults.count(Call::Launch) >= 17);
    // The cycle in which it was lost ran on the CPU, and its outcomes were learned there.
    net.write_state(&mut after);
    assert_ne!(before, after);
    assert_eq!(before.len(), after.len());
    assert!(values.iter().all(|&bits| f32::from_bits(bits).is_finite()));
    // A device that is back is gone on with.
    move_to(&mut net, device(0), 5).unwrap();
    drive(&mut net, 17..25, 3);
    assert_eq!(net.device_counters().unwrap().cycles, 8);
}

#[test]
fn a_device_without_room_or_kernels_leaves_the_networks_where_they_are() {
    for call in [Call::Allocate, Call::Load, Call::Graph, Call::Pin, Call::FreeBytes] {
        let faults = Faults::new();
        let error = DriverError::OutOfMemory { asked: 10, free: 5 };
        faults.fail_at(call, 1, error.clone());
        let mut net = Cerebellum::new(small()).unwrap();
        let refused = move_to(&mut net, faulty(faults), 5).unwrap_err();
        assert_eq!(refused, DeviceError::Driver(error), "{call:?}");
        let values = drive(&mut net, 0..10, 1);
        assert_eq!(trail(&mut net, values), on_cpu(&small(), 10));
    }
}

#[test]
fn a_cycle_is_one_launch_and_one_wait_and_allocates_nothing_on_the_device() {
    let faults = Faults::new();
    let mut net = Cerebellum::new(small()).unwrap();
    move_to(&mut net, faulty(faults.clone()), 1_000).unwrap();
    drive(&mut net, 0..1, 1);
    let before = faults.counts();
    drive(&mut net, 1..21, 1);
    let after = faults.counts();
    for (call, &count) in &after {
        let since = count - before.get(call).copied().unwrap_or(0);
        match call {
            Call::Launch | Call::Wait => assert_eq!(since, 20, "{call:?}"),
            Call::Pinned => {}
            _ => assert_eq!(since, 0, "{call:?}"),
        }
    }
}

#[test]
fn no_kernel_reads_or_writes_what_is_not_its_own() {
    let tests = [
        "every_value_rate_and_weight_is_that_of_the_cpu",
        "sizes_below_and_above_a_warp_and_a_block_change_nothing",
        "every_rule_gives_the_same_weights",
    ];
    let Some(run) = emulator::run_sanitized(&["--exact", tests[0], tests[1], tests[2]]) else {
        return;
    };
    assert!(run.success && run.passed == 3, "{}", run.output);
}
