//! A cycle on a device: the cerebellum and networks of all kinds in one graph, equal to the CPU to the bit, also where
//! the device is lost and where it is gone back to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod emulated;
mod random_weights;

use emulated::bits;
use purkinje_cuda::driver::{Driver, DriverError};
use purkinje_cuda::emulator::{Emulator, Order, Settings, run_sanitized};
use purkinje_cuda::faults::{self, Call, Faults, Faulty};
use purkinje_kernels::cerebellum::{Cerebellum, CerebellumConfig};
use purkinje_kernels::device_cycle::{
    CYCLES_MAX, CycleError, CyclePlan, PlannedNetwork, PreparedCycle,
};
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::autoencoder::Autoencoder;
use purkinje_kernels::predictors::cuda::{DeviceBuildError, Execution};
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use purkinje_kernels::rng::Key;
use std::sync::Arc;

const INSTRUMENTS: usize = 3;
/// Numbers of a row.
const STRIDE: usize = 9;
/// Of these, what the cerebellum sees.
const LEANING: [usize; 2] = [4, 1];

/// A network with one answer.
struct Network {
    name: &'static str,
    predictor: Box<dyn Predictor>,
    places: Vec<usize>,
    answers: Vec<f32>,
}

impl Network {
    fn new(
        name: &'static str,
        rest: &str,
        shapes: &[(String, Vec<usize>)],
        places: Vec<usize>,
    ) -> Self {
        let inputs = places.len();
        let toml = format!("kind = '{name}'\ninputs = {inputs}\noutputs = 1\n{rest}");
        let architecture = Architecture::from_toml(&toml).unwrap();
        let tensors = random_weights::tensors(shapes, 5);
        let predictor = architecture.build(tensors, &Serving::new(INSTRUMENTS)).unwrap();
        Self { name, predictor, places, answers: vec![0.0; INSTRUMENTS] }
    }

    fn all() -> Vec<Self> {
        let all = || (0..STRIDE).collect();
        let block = "steps = 5\nd_model = 8\nlayers = 2\nfeed_forward = 10\nheads = 2\n";
        let causal = format!("{block}attention = 'causal'");
        let transformer = random_weights::transformer(9, 8, 2, 10);
        let pooled = "channels = [5]\nkernel = 3\nsteps = 6\npooling = 'mean'";
        let [dense, lstm, cnn] = [
            random_weights::feed_forward(&[9, 12, 1]),
            random_weights::lstm(4, &[7, 3]),
            random_weights::cnn(9, &[5], 3),
        ];
        vec![
            Self::new("feed-forward", "hidden = [12]", &dense, all()),
            Self::new("lstm", "hidden = [7, 3]", &lstm, vec![8, 0, 3, 3]),
            Self::new("cnn", pooled, &cnn, all()),
            Self::new("transformer", block, &transformer, all()),
            Self::new("transformer", &causal, &transformer, all()),
        ]
    }
}

fn autoencoder() -> Autoencoder {
    let toml = "kind = 'autoencoder'\ninputs = 9\nencoder = [4]";
    let Architecture::Autoencoder(architecture) = Architecture::from_toml(toml).unwrap() else {
        unreachable!()
    };
    let tensors = random_weights::tensors(&random_weights::autoencoder(9, &[4]), 5);
    Autoencoder::new(&architecture, tensors, &Serving::new(INSTRUMENTS)).unwrap()
}

/// It learns nothing, so that nothing is lost with a device.
fn config() -> CerebellumConfig {
    CerebellumConfig {
        features: LEANING.len(),
        instruments: INSTRUMENTS,
        granule_cells: 100,
        granule_per_golgi: 25,
        fibres_per_feature: 8,
        steps_per_cycle: 20,
        settle_steps: 5,
        purkinje_per_zone: 3,
        nuclear_per_zone: 2,
        pending_cycles: 4,
        plastic: false,
        ..CerebellumConfig::default()
    }
}

/// What was said in a cycle, as bits: by the networks of those who took part.
#[derive(Debug, PartialEq)]
struct Said {
    cerebellum: Vec<u32>,
    networks: Vec<u32>,
}

/// Models on the CPU, and on a device while there is one.
struct Models {
    cerebellum: Cerebellum,
    networks: Vec<Network>,
    autoencoder: Autoencoder,
    errors: Vec<f32>,
    device: Option<PreparedCycle>,
    fault: Option<DriverError>,
}

impl Models {
    fn new() -> Self {
        Self {
            cerebellum: Cerebellum::new(config()).unwrap(),
            networks: Network::all(),
            autoencoder: autoencoder(),
            errors: vec![0.0; INSTRUMENTS],
            device: None,
            fault: None,
        }
    }

    fn plan(&self) -> CyclePlan {
        let planned = |name: &str, predictor: &dyn Predictor, places: &[usize]| PlannedNetwork {
            name: name.to_owned(),
            program: predictor.device_program(Execution::Auto).map(Arc::new),
            places: places.to_vec(),
        };
        let networks = self.networks.iter();
        let mut networks: Vec<_> =
            networks.map(|n| planned(n.name, &*n.predictor, &n.places)).collect();
        let all: Vec<usize> = (0..STRIDE).collect();
        networks.push(planned("autoencoder", &self.autoencoder, &all));
        CyclePlan {
            instruments: INSTRUMENTS,
            row_stride: STRIDE,
            cerebellum: Some(self.cerebellum.device_plan()),
            networks,
        }
    }

    fn move_to(&mut self, driver: Box<dyn Driver>, synchronise_every: u64) {
        let mut prepared = self.plan().prepare(driver, synchronise_every).unwrap();
        assert_eq!(prepared.refused, []);
        self.cerebellum.move_to(prepared.cerebellum.take().unwrap());
        for (k, network) in self.networks.iter().enumerate() {
            prepared.networks.upload(k, &*network.predictor).unwrap();
        }
        self.device = Some(prepared);
    }

    /// One cycle, drawn from its number.
    fn advance(&mut self, cycle: u64) -> Said {
        let key = Key::new(3).fork(cycle);
        let draw = |tag: u64, one_in: u32| -> Vec<bool> {
            (0..INSTRUMENTS as u64).map(|k| key.fork(tag).below(k, one_in) == 0).collect()
        };
        let rows = random_weights::numbers(key, INSTRUMENTS * STRIDE, 2.0);
        let active: Vec<bool> = draw(1, 4).iter().map(|pauses| !pauses).collect();
        let begins = draw(2, 7);
        let leaning: Vec<f32> =
            rows.chunks_exact(STRIDE).flat_map(|row| LEANING.map(|k| row[k])).collect();
        let mut values = vec![0.0; INSTRUMENTS];
        if let Some(on) = &mut self.device {
            on.cycle.begin(&active, Some(&begins));
            on.networks.stage(&rows, &active, &begins);
        }
        self.cerebellum.begin(cycle, &leaning, &active);
        if let Some(on) = &self.device {
            on.cycle.launch();
            on.cycle.wait();
        }
        self.cerebellum.finish(cycle, &mut values);
        if self.device.is_none() {
            self.step(&rows, &active, &begins);
        } else if let Err(fault) = self.collect() {
            self.take_over();
            self.fault = Some(fault);
        }
        let mut networks = Vec::new();
        let answers = self.networks.iter().map(|network| &network.answers).chain([&self.errors]);
        for answers in answers {
            let of_active = answers.iter().zip(&active).filter(|(_, active)| **active);
            networks.extend(of_active.flat_map(|(answer, _)| bits(&[*answer])));
        }
        Said { cerebellum: bits(&values), networks }
    }

    fn step(&mut self, rows: &[f32], active: &[bool], begins: &[bool]) {
        for Network { predictor, places, answers, .. } in &mut self.networks {
            (0..INSTRUMENTS).filter(|k| begins[*k]).for_each(|k| predictor.reset(k));
            let own = rows.chunks_exact(STRIDE);
            let own: Vec<f32> =
                own.flat_map(|row| places.iter().map(|place| row[*place])).collect();
            predictor.step(&own, active, answers);
        }
        self.autoencoder.step(rows, active, &mut [0.0; INSTRUMENTS * STRIDE]);
        self.errors.copy_from_slice(self.autoencoder.errors());
    }

    fn collect(&mut self) -> Result<(), DriverError> {
        let on = &mut self.device.as_mut().unwrap().networks;
        for (k, network) in self.networks.iter_mut().enumerate() {
            on.answers(k, &mut network.answers)?;
        }
        on.answers(self.networks.len(), &mut self.errors)?;
        if on.is_due() {
            for (k, network) in self.networks.iter_mut().enumerate() {
                on.synchronise(k, &mut *network.predictor)?;
            }
            on.synchronised();
        }
        Ok(())
    }

    fn take_over(&mut self) {
        let mut on = self.device.take().unwrap().networks;
        for (k, network) in self.networks.iter_mut().enumerate() {
            on.take_over(k, &mut *network.predictor, &mut network.answers);
        }
        let rebuilt = &mut [0.0; INSTRUMENTS * STRIDE];
        on.take_over(self.networks.len(), &mut self.autoencoder, rebuilt);
        self.errors.copy_from_slice(self.autoencoder.errors());
    }
}

/// What so many cycles on the CPU say.
fn on_cpu(cycles: u64) -> Vec<Said> {
    let mut models = Models::new();
    (0..cycles).map(|cycle| models.advance(cycle)).collect()
}

fn emulator(order: Order) -> Box<dyn Driver> {
    Box::new(emulated::emulator(order))
}

fn faulty(faults: &Faults) -> Box<dyn Driver> {
    Box::new(Faulty::new(emulated::emulator(Order::Ascending), faults.clone()))
}

#[test]
fn all_models_in_one_graph_say_what_they_say_on_the_cpu() {
    let expected = on_cpu(30);
    for order in emulated::ORDERS {
        let mut models = Models::new();
        models.move_to(emulated::driver(order), 7);
        for (cycle, expected) in (0..).zip(&expected) {
            assert_eq!(models.advance(cycle), *expected, "{order:?}, cycle {cycle}");
        }
        let counters = models.device.unwrap().networks.counters();
        assert_eq!((counters.cycles, counters.synchronisations), (30, 30 / 7));
    }
}

#[test]
fn a_cycle_is_one_launch_and_one_wait_whatever_takes_part() {
    let faults = Faults::new();
    let mut models = Models::new();
    models.move_to(faulty(&faults), 1_000);
    models.advance(0);
    let before = faults.counts();
    (1..21).for_each(|cycle| drop(models.advance(cycle)));
    for (call, count) in faults.counts() {
        let since = count - before.get(&call).copied().unwrap_or(0);
        match call {
            Call::Launch | Call::Wait => assert_eq!(since, 20, "{call:?}"),
            Call::Pinned => {}
            _ => assert_eq!(since, 0, "{call:?}"),
        }
    }
}

#[test]
fn a_device_that_is_lost_in_any_call_of_any_cycle_changes_no_answer_of_a_network() {
    let expected = on_cpu(24);
    let calls = [(Call::Launch, 24), (Call::Wait, 24), (Call::Read, 30)];
    for synchronise_every in [1, 4, 1_000] {
        for (n, call) in calls.iter().flat_map(|(call, n)| (1..=*n).map(move |n| (n, *call))) {
            if n % 5 != 1 && n != 24 {
                continue;
            }
            let faults = Faults::new();
            faults.fail_at(call, n, faults::lost());
            let mut models = Models::new();
            models.move_to(faulty(&faults), synchronise_every);
            for (cycle, expected) in (0..).zip(&expected) {
                let what = format!("{call:?} {n}, a copy every {synchronise_every}, cycle {cycle}");
                let said = models.advance(cycle);
                assert_eq!(said.networks, expected.networks, "{what}");
                // It goes on from its last copy.
                if models.fault.is_none() {
                    assert_eq!(said.cerebellum, expected.cerebellum, "{what}");
                }
            }
            let was_reached = faults.count(call) >= n;
            assert_eq!(models.fault.is_some(), was_reached, "{call:?} {n}");
        }
    }
}

#[test]
fn networks_that_go_back_to_a_device_go_on_as_if_they_had_stayed() {
    let expected = on_cpu(40);
    let faults = Faults::new();
    faults.fail_at(Call::Launch, 9, faults::lost());
    let mut models = Models::new();
    models.move_to(faulty(&faults), 5);
    for (cycle, expected) in (0..).zip(&expected) {
        if cycle == 17 {
            assert_eq!(models.fault.take(), Some(faults::lost()));
            models.move_to(emulator(Order::Random { seed: 3 }), 5);
        }
        assert_eq!(models.advance(cycle).networks, expected.networks, "cycle {cycle}");
    }
    assert!(models.device.is_some() && models.fault.is_none());
}

#[test]
fn what_a_loss_costs_is_bounded_however_seldom_copies_are_to_be_taken() {
    let faults = Faults::new();
    let mut models = Models::new();
    models.move_to(faulty(&faults), 1_000_000);
    for cycle in 0..2 * CYCLES_MAX + 3 {
        models.advance(cycle);
    }
    let on = &models.device.as_ref().unwrap().networks;
    assert_eq!(on.counters().synchronisations, 2);
    faults.fail_from(Call::Launch, 1, faults::lost());
    let last = 2 * CYCLES_MAX + 3;
    let expected = on_cpu(last + 1).pop().unwrap();
    assert_eq!(models.advance(last).networks, expected.networks);
    assert!(models.device.is_none());
}

#[test]
fn what_the_kernels_do_not_serve_is_left_to_the_cpu_and_named_with_what_it_needs() {
    let settings = Settings { shared_bytes_max: 1_000, ..Settings::default() };
    let mut models = Models::new();
    let mut plan = CyclePlan { cerebellum: None, ..models.plan() };
    plan.networks[0].program = Err(DeviceBuildError::NotServed { by: "ONNX Runtime" });
    let small = Box::new(Emulator::new(&settings).unwrap());
    let mut on = plan.prepare(small, 10).unwrap();
    let told: Vec<String> = on.refused.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "feed-forward: there are no kernels for it: ONNX Runtime answers");
    assert!(told[1].starts_with("transformer: transformer_window: "), "{told:?}");
    assert!(told[1].ends_with(" bytes of shared memory needed, the device has 1000"), "{told:?}");
    let is_without: Vec<bool> = on.refused.iter().map(CycleError::is_without_kernels).collect();
    assert_eq!(is_without, [true, false]);
    let has: Vec<bool> = (0..6).map(|k| on.networks.has(k)).collect();
    assert_eq!(has, [false, true, true, false, true, true]);
    // What is left runs there without the others.
    on.cycle.begin(&[true; INSTRUMENTS], None);
    on.networks.stage(&[0.5; INSTRUMENTS * STRIDE], &[true; INSTRUMENTS], &[false; INSTRUMENTS]);
    on.cycle.launch();
    on.cycle.wait();
    let (mut got, mut expected) = ([0.0; INSTRUMENTS], [0.0; INSTRUMENTS]);
    on.networks.answers(1, &mut got).unwrap();
    let lstm = &mut models.networks[1].predictor;
    lstm.step(&[0.5; INSTRUMENTS * 4], &[true; INSTRUMENTS], &mut expected);
    assert_eq!(bits(&got), bits(&expected));
}

#[test]
fn a_cycle_that_the_device_does_not_hold_is_refused_with_the_size_needed_and_the_size_there_is() {
    let plan = Models::new().plan();
    let (mut refusals, mut memory_bytes) = (Vec::new(), 1_000);
    loop {
        let settings = Settings { memory_bytes, ..Settings::default() };
        let device = Box::new(Emulator::new(&settings).unwrap());
        match plan.prepare(device, 10) {
            Ok(_) => break,
            Err(error) => refusals.push(error.to_string()),
        }
        memory_bytes += 1_000;
    }
    let first = &refusals[0];
    assert!(first.starts_with("cerebellum: 3 instruments need "), "{first}");
    assert!(first.ends_with(" bytes of device memory, emulator has 1000 free"), "{first}");
    let of_networks = |name: &str| {
        let named = |told: &&String| told.starts_with(&format!("{name}: device memory: "));
        refusals.iter().filter(named).count()
    };
    assert!(of_networks("transformer") > 0, "{refusals:?}");
}

#[test]
fn no_kernel_reads_or_writes_what_is_not_its_own() {
    let tests = [
        "all_models_in_one_graph_say_what_they_say_on_the_cpu",
        "networks_that_go_back_to_a_device_go_on_as_if_they_had_stayed",
    ];
    let Some(run) = run_sanitized(&["--exact", tests[0], tests[1]]) else { return };
    assert!(run.success && run.passed == 2, "{}", run.output);
}
