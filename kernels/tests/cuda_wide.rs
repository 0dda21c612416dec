//! A wide network on a device equals the one on the CPU to the bit: here on the emulator, which compiles the very
//! kernels.

#![allow(clippy::unwrap_used, reason = "tests")]

mod emulated;

use purkinje_cuda::driver::{Driver, DriverError};
use purkinje_cuda::emulator::{self, Emulator, Order, Settings};
use purkinje_cuda::faults::{self, Call, Faults, Faulty};
use purkinje_kernels::cerebellum::{
    WideCerebellum, WideConfig, WideError, WideReport, WideState, WideWiring,
};
use purkinje_kernels::rng::Key;

/// The emulator with faults.
fn faulty(faults: Faults) -> Box<dyn Driver> {
    Box::new(Faulty::new(emulated::emulator(Order::Ascending), faults))
}

/// What a run leaves.
#[derive(PartialEq)]
struct Trail {
    reports: Vec<WideReport>,
    wiring: WideWiring,
    state: WideState,
    weights: Vec<f32>,
}

/// Says what differs, not all of it.
fn assert_equal(found: &Trail, expected: &Trail, what: &str) {
    for (cycle, (found, expected)) in found.reports.iter().zip(&expected.reports).enumerate() {
        assert_eq!(found, expected, "{what}: spikes of cycle {cycle}");
    }
    assert!(found.wiring == expected.wiring, "{what}: wiring");
    let (a, b) = (&found.state, &expected.state);
    assert!(a.granule_v == b.granule_v && a.granule_exc == b.granule_exc, "{what}: granule cells");
    assert!(a.golgi_v == b.golgi_v && a.golgi_exc == b.golgi_exc, "{what}: Golgi cells");
    assert!(a.cluster_inh == b.cluster_inh, "{what}: inhibition");
    assert!(a.last == b.last && a.trace == b.trace, "{what}: eligibility");
    assert!(a.weights == b.weights, "{what}: weights");
    assert!(a.events == b.events, "{what}: climbing fibres");
    assert!(a == b && found.weights == expected.weights, "{what}: state");
}

/// A small network of odd sizes, whose eligibility is over soon enough for a test.
fn small(seed: u64) -> WideConfig {
    WideConfig {
        trace_ms: 40.0,
        window_ms: 200.0,
        climbing_refractory_ms: 50.0,
        climbing_peak_hz: 15.0,
        seed,
        ..WideConfig::tiny()
    }
}

/// Drives cycles of random features, among them absent, infinite and far ones: a few settle, the others are taught.
fn drive(net: &mut WideCerebellum, cycles: u64, seed: u64) -> Trail {
    let each = net.config().features as u64;
    let mut reports = Vec::new();
    net.settle(3).unwrap();
    for cycle in 0..cycles {
        let draw = Key::new(seed).fork(cycle);
        let features: Vec<f32> = (0..each)
            .map(|k| match draw.fork(1).below(k, 20) {
                0 => f32::NAN,
                1 => f32::INFINITY,
                2 => -1e9,
                _ => draw.normal(k),
            })
            .collect();
        net.teach(2.0 * draw.fork(2).uniform(0) - 1.0);
        net.set_plastic(cycle % 7 != 5);
        reports.push(net.advance(&features).unwrap());
    }
    let granules = net.config().granules();
    Trail {
        reports,
        wiring: net.wiring().unwrap(),
        state: net.state().unwrap(),
        weights: net.weights(0..granules).unwrap(),
    }
}

fn on_cpu(config: &WideConfig, cycles: u64, seed: u64) -> Trail {
    drive(&mut WideCerebellum::on_cpu(config).unwrap(), cycles, seed)
}

fn on_device(config: &WideConfig, cycles: u64, seed: u64, driver: Box<dyn Driver>) -> Trail {
    drive(&mut WideCerebellum::on_device(config, driver).unwrap(), cycles, seed)
}

#[test]
fn every_spike_potential_and_weight_is_that_of_the_cpu() {
    for (seed, orders) in [(1, &emulated::ORDERS[..]), (2, &emulated::ORDERS[1..2])] {
        let config = small(seed);
        let expected = on_cpu(&config, 14, seed);
        let total = expected
            .reports
            .iter()
            .fold([0; 3], |[g, c, e], r| [g + r.granule, c + r.climbing, e + r.expired]);
        assert!(
            total.iter().all(|&n| n > 20),
            "spikes, climbing spikes and expired rows: {total:?}"
        );
        for &order in orders {
            let found = on_device(&config, 14, seed, emulated::driver(order));
            assert_equal(&found, &expected, &format!("seed {seed}, {order:?}"));
        }
    }
}

#[test]
fn sizes_below_and_above_a_word_a_vector_and_a_block_change_nothing() {
    let sizes = [
        // Beams, clusters of one, granule cells of these, Purkinje cells, nuclear cells, features, fibres, steps.
        (1, 1, 1, 2, 1, 1, 2, 10),
        (3, 1, 64, 8, 1, 1, 3, 32),
        (1, 7, 65, 9, 3, 2, 5, 33),
        (5, 3, 100, 16, 2, 4, 9, 64),
        (1, 2, 512, 17, 4, 2, 40, 20),
        (2, 513, 1, 255, 7, 3, 11, 12),
        (1, 3, 20, 1_300, 9, 2, 6, 15),
    ];
    for (beams, clusters, granules, purkinje, nuclear, features, fibres, steps) in sizes {
        let config = WideConfig {
            beams,
            clusters_per_beam: clusters,
            granules_per_cluster: granules,
            purkinje_per_beam: purkinje,
            nuclear_per_zone: nuclear,
            features,
            fibres_per_feature: fibres,
            steps_per_cycle: steps,
            settle_steps: steps / 4,
            window_ms: 50.0,
            climbing_refractory_ms: 20.0,
            ..small(1)
        };
        let found = on_device(&config, 4, 1, emulated::driver(Order::Random { seed: 1 }));
        assert_equal(
            &found,
            &on_cpu(&config, 4, 1),
            &format!("{beams} beams of {clusters} clusters"),
        );
    }
}

#[test]
fn a_device_of_any_number_of_multiprocessors_gives_the_same() {
    let config = WideConfig { clusters_per_beam: 70, beams: 1, ..WideConfig::tiny() };
    let expected = on_cpu(&config, 6, 1);
    for multiprocessors in [1, 7, 132] {
        let settings = Settings { multiprocessors, ..Settings::default() };
        let driver = Box::new(Emulator::new(&settings).unwrap());
        let found = on_device(&config, 6, 1, driver);
        assert_equal(&found, &expected, &format!("{multiprocessors} multiprocessors"));
    }
}

#[test]
fn silent_and_saturated_networks_are_those_of_the_cpu() {
    // A feature that is absent leaves its fibres in the background. Two fibres that fire in nearly every step make
    // cells with the same dendrites fire together: more rows in a step than a block lists at once.
    let silent = WideConfig { fibre_peak_hz: 1.0, granule_hz: 0.1, ..WideConfig::tiny() };
    let loud = WideConfig {
        features: 1,
        fibres_per_feature: 2,
        fibre_peak_hz: 600.0,
        field_sd: 10.0,
        step_ms: 1.65,
        clusters_per_beam: 120,
        granules_per_cluster: 100,
        granule_hz: 20.0,
        depression: 0.1,
        climbing_rest_hz: 12.0,
        climbing_peak_hz: 12.5,
        weight_cap: 2.0,
        ..WideConfig::tiny()
    };
    for (config, value) in [(silent, f32::NAN), (loud, 0.0)] {
        let run = |mut net: WideCerebellum| {
            let features = vec![value; config.features];
            let reports: Vec<WideReport> =
                (0..4).map(|_| net.advance(&features).unwrap()).collect();
            (reports, net.state().unwrap())
        };
        let (reports, state) = run(WideCerebellum::on_cpu(&config).unwrap());
        let driver = emulated::driver(Order::Adversarial { seed: 5 });
        let found = run(WideCerebellum::on_device(&config, driver).unwrap());
        assert_eq!(found.0, reports);
        assert!(found.1 == state, "state");
    }
}

#[test]
fn a_network_that_does_not_fit_is_refused_with_what_it_needs_and_what_there_is() {
    let config = WideConfig::tiny();
    let needed = WideCerebellum::device_bytes(&config, 4).unwrap();
    let with = |memory_bytes| {
        let settings = Settings { memory_bytes, ..Settings::default() };
        WideCerebellum::on_device(&config, Box::new(Emulator::new(&settings).unwrap()))
    };
    assert!(with(needed).is_ok());
    let error = with(needed - 1).unwrap_err();
    let device = "emulator".to_owned();
    assert_eq!(error, WideError::Memory { needed, free: needed - 1, device });
    let expected = format!(
        "the network needs {needed} bytes of device memory, emulator has {} free",
        needed - 1
    );
    assert_eq!(error.to_string(), expected);
    // Four million granule cells and 15,000 Purkinje cells: weights of 6 GB and little else.
    let needed = WideCerebellum::device_bytes(&WideConfig::four_million(), 132).unwrap();
    assert!((6_000_000_000..6_400_000_000).contains(&needed), "{needed}");
    let driver = Box::new(Emulator::new(&Settings::default()).unwrap());
    let refused = WideCerebellum::on_device(&WideConfig::four_million(), driver);
    assert!(matches!(refused, Err(WideError::Memory { free: 4_294_967_296, .. })));
}

#[test]
fn what_is_wrong_with_an_input_is_said() {
    let mut net = WideCerebellum::on_cpu(&WideConfig::tiny()).unwrap();
    let error = net.advance(&[0.0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "2 features, expected 3");
    let error = net.weights(360..371).unwrap_err();
    assert_eq!(error.to_string(), "granule cells 360 to 371, expected at most 370");
    let refused = WideCerebellum::on_cpu(&WideConfig { beams: 0, ..WideConfig::tiny() });
    assert_eq!(refused.unwrap_err().to_string(), "beams is 0, expected 1 to 1024");
}

#[test]
fn a_driver_that_refuses_is_an_error() {
    for call in [Call::Allocate, Call::Load, Call::Graph, Call::Pin, Call::FreeBytes, Call::Launch]
    {
        let faults = Faults::new();
        let error = DriverError::OutOfMemory { asked: 10, free: 5 };
        faults.fail_at(call, 1, error.clone());
        let refused = WideCerebellum::on_device(&WideConfig::tiny(), faulty(faults)).unwrap_err();
        assert_eq!(refused, WideError::Driver(error), "{call:?}");
    }
    let faults = Faults::new();
    faults.fail_at(Call::Launch, 3, faults::lost());
    let mut net = WideCerebellum::on_device(&WideConfig::tiny(), faulty(faults)).unwrap();
    net.advance(&[0.0; 3]).unwrap();
    let error = net.advance(&[0.0; 3]).unwrap_err();
    assert!(matches!(error, WideError::Driver(error) if error.is_lost()));
}

#[test]
fn a_cycle_is_one_launch_and_one_wait_and_allocates_nothing_on_the_device() {
    let faults = Faults::new();
    let mut net = WideCerebellum::on_device(&WideConfig::tiny(), faulty(faults.clone())).unwrap();
    let before = faults.counts();
    for cycle in 0..6 {
        net.set_plastic(cycle % 2 == 0);
        net.advance(&[0.1, f32::NAN, -2.0]).unwrap();
    }
    for (call, &count) in &faults.counts() {
        let since = count - before.get(call).copied().unwrap_or(0);
        match call {
            Call::Launch | Call::Wait => assert_eq!(since, 6, "{call:?}"),
            Call::Pinned => {}
            _ => assert_eq!(since, 0, "{call:?}"),
        }
    }
}

#[test]
fn no_kernel_reads_or_writes_what_is_not_its_own() {
    let tests = [
        "sizes_below_and_above_a_word_a_vector_and_a_block_change_nothing",
        "silent_and_saturated_networks_are_those_of_the_cpu",
    ];
    let arguments = ["--exact", tests[0], tests[1]];
    let Some(run) = emulator::run_sanitized(&arguments) else { return };
    assert!(run.success && run.passed == 2, "{}", run.output);
}
