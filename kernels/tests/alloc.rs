//! After construction, advancing, learning and predicting ask the allocator for nothing.
//!
//! The count is kept by thread, so that the test harness's own threads do not disturb it.

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;
mod pytorch;
mod random_weights;
mod supervised;

use purkinje_cuda::emulator::Emulator;
use purkinje_kernels::cerebellum::tasks::regressor::{Regressor, RegressorConfig, Teaching};
use purkinje_kernels::cerebellum::{
    Cerebellum, CerebellumConfig, Eligibility, RulesConfig, WideCerebellum, WideConfig,
};
use purkinje_kernels::device_cycle::{CyclePlan, PlannedNetwork};
use purkinje_kernels::logistic::{LogisticConfig, OnlineLogistic};
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::cnn::Cnn;
use purkinje_kernels::predictors::cuda::Execution;
use purkinje_kernels::predictors::feed_forward::FeedForward;
use purkinje_kernels::predictors::lstm::Lstm;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use purkinje_kernels::predictors::transformer::Transformer;
use purkinje_kernels::rng::Key;
use purkinje_kernels::supervised::{MossyGain, Network, Spiking, Workspace};
use std::alloc::System;
use std::sync::Arc;

use alloc::{CountingAllocator, thread_allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

fn requests(work: impl FnOnce()) -> u64 {
    let before = thread_allocations();
    work();
    thread_allocations() - before
}

#[test]
fn the_counter_counts() {
    let counted = requests(|| drop(std::hint::black_box(vec![0_u8; 64])));
    assert_eq!(counted, 1, "one allocation");
}

#[test]
fn a_cerebellum_allocates_nothing_while_it_runs_and_learns() {
    let mut every = RulesConfig { brake: true, ..RulesConfig::default() };
    every.metaplasticity.enabled = true;
    every.bcm.enabled = true;
    every.intrinsic.enabled = true;
    let mut own = every;
    own.stdp.enabled = true;
    let plain = RulesConfig::default();
    let cases = [
        (true, Eligibility::Held, plain),
        (false, Eligibility::Held, plain),
        (true, Eligibility::Kernel, every),
        (false, Eligibility::Held, own),
    ];
    for (shared_weights, eligibility, rules) in cases {
        let config = CerebellumConfig {
            eligibility,
            rules,
            horizon_cycles: 3,
            features: 8,
            instruments: 3,
            granule_cells: 300,
            pending_cycles: 4,
            shared_weights,
            ..CerebellumConfig::default()
        };
        let mut net = Cerebellum::new(config).unwrap();
        let mut features = [0.0_f32; 24];
        let mut value = [0.0_f32; 3];
        let counted = requests(|| {
            for cycle in 0..300 {
                let key = Key::new(5).fork(cycle);
                features.iter_mut().enumerate().for_each(|(k, x)| *x = 2.0 * key.normal(k as u64));
                net.advance(cycle, &features, &[true, cycle % 3 != 0, true], &mut value);
                net.learn(0, cycle.saturating_sub(3), 0.7);
                net.learn(1, cycle.saturating_sub(9), -0.7);
            }
        });
        assert_eq!(counted, 0);
        assert!(net.expired() > 0, "expired outcomes were part of the run");
    }
}

#[test]
fn a_regressor_allocates_nothing_while_it_is_presented_and_taught() {
    for teaching in [Teaching::Held, Teaching::ONE_SAMPLE_LATE] {
        let config = RegressorConfig { granule_cells: 300, teaching, ..RegressorConfig::default() };
        let mut net = Regressor::new(config).unwrap();
        let counted = requests(|| {
            for sample in 0..50 {
                let output = net.present(&[0.3, 0.9, 0.02 * sample as f32, f32::NAN]);
                net.teach(if sample % 2 == 0 { 1.0 } else { -output });
            }
            net.set_learning(false);
            net.present(&[0.5; 4]);
        });
        assert_eq!(counted, 0, "{teaching:?}");
    }
}

#[test]
fn a_logistic_regression_allocates_nothing_while_it_predicts_and_learns() {
    let mut model = OnlineLogistic::new(LogisticConfig::new(50)).unwrap();
    let x = [0.3; 50];
    let counted = requests(|| {
        for n in 0..1_000 {
            let p = model.predict(&x);
            model.learn(&x, f64::from(p > 0.4 && n % 2 == 0), 0.1);
        }
    });
    assert_eq!(counted, 0);
}

#[test]
fn a_pass_through_a_trainable_network_and_its_reverse_allocate_nothing() {
    let size = supervised::Size { granule: 100, golgi: 5, ..supervised::TINY };
    let network = Network::new(supervised::circuit::<f32>(size, MossyGain::Synapse, 2.0)).unwrap();
    let mossy = supervised::poisson(&[90.0; 12], size.steps, Key::new(1));
    let (parameters, mut gradient) = (network.initial_parameters(), network.zero_gradient());
    let mut work = Workspace::new(&network, Spiking::Hard);
    let counted = requests(|| {
        for _ in 0..10 {
            network.forward(&parameters, &mossy, &mut work);
            network.backward(&parameters, &mossy, &mut work, 1.0, false, &mut gradient);
        }
    });
    assert_eq!(counted, 0);
    assert!(gradient.mossy_gain().iter().any(|g| *g != 0.0), "the reverse reached the fibres");
}

#[test]
fn a_predictor_allocates_nothing_while_it_answers() {
    const INSTRUMENTS: usize = 5;
    let described = |kind: &str, hidden: &str| {
        let text = format!("kind = \"{kind}\"\ninputs = 6\noutputs = 1\nhidden = {hidden}\n");
        Architecture::from_toml(&text).unwrap()
    };
    let serving = Serving::new(INSTRUMENTS);
    let Architecture::Lstm(lstm) = described("lstm", "[20, 9]") else { panic!("an LSTM") };
    let tensors = random_weights::tensors(&random_weights::lstm(6, &[20, 9]), 1);
    let mut lstm = Lstm::new(&lstm, tensors, &serving).unwrap();
    let Architecture::FeedForward(dense) = described("feed-forward", "[33, 8]") else {
        panic!("a feed-forward network");
    };
    let tensors = random_weights::tensors(&random_weights::feed_forward(&[6, 33, 8, 1]), 1);
    let mut dense = FeedForward::new(&dense, tensors, &serving).unwrap();

    let windows = random_weights::numbers(Key::new(2), INSTRUMENTS * 50 * 6, 1.0);
    let mut outputs = [0.0; INSTRUMENTS];
    let counted = requests(|| {
        for n in 0..10 {
            let rows = &windows[n..][..INSTRUMENTS * 6];
            let active = [true, n % 2 == 0, n % 3 == 0, true, n != 4];
            lstm.step(rows, &active, &mut outputs);
            if n % 3 == 0 {
                lstm.prepare();
                lstm.reset(n % INSTRUMENTS);
            }
            dense.step(rows, &active, &mut outputs);
            dense.infer(rows, &mut outputs);
            lstm.infer(&windows, &mut outputs);
        }
    });
    assert_eq!(counted, 0);
    assert!(outputs.iter().all(|y| y.is_finite() && *y != 0.0), "it answered: {outputs:?}");
}

#[test]
fn networks_over_sequences_allocate_nothing_while_they_answer_and_stream() {
    let cases = [
        ("cnn_mean", "kind = 'cnn'\nchannels = [20, 16]\ndilations = [1, 4]\npooling = 'mean'"),
        ("transformer_window", "kind = 'transformer'\nd_model = 32\nfeed_forward = 40"),
        (
            "transformer_causal",
            "kind = 'transformer'\nd_model = 32\nfeed_forward = 40\nattention = 'causal'",
        ),
    ];
    for (name, toml) in cases {
        let toml = format!("{toml}\ninputs = 7\noutputs = 2\nsteps = 20\n");
        let (weights, serving) = (pytorch::read(name).0, Serving::new(3));
        let mut model: Box<dyn Predictor> = match Architecture::from_toml(&toml).unwrap() {
            Architecture::Cnn(cnn) => Box::new(Cnn::new(&cnn, weights, &serving).unwrap()),
            Architecture::Transformer(transformer) => {
                Box::new(Transformer::new(&transformer, weights, &serving).unwrap())
            }
            other => panic!("{other:?}"),
        };
        let windows = [0.3; 3 * 20 * 7];
        let mut outputs = [0.0; 6];
        let counted = requests(|| {
            model.infer(&windows, &mut outputs);
            for cycle in 0..50 {
                model.step(&windows[..21], &[true, cycle % 3 != 0, true], &mut outputs);
            }
            model.reset(1);
            model.step(&windows[..21], &[false, true, false], &mut outputs);
        });
        assert_eq!(counted, 0, "{name}");
        assert!(outputs.iter().all(|y| *y != 0.0), "{name} answered: {outputs:?}");
    }
}

#[test]
fn a_wide_network_allocates_nothing_while_it_runs_and_learns() {
    let mut net = WideCerebellum::on_cpu(&WideConfig::tiny()).unwrap();
    let counted = requests(|| {
        for cycle in 0..20_u16 {
            net.teach(if cycle % 2 == 0 { 0.5 } else { -0.5 });
            net.set_plastic(cycle % 5 != 0);
            net.advance(&[f32::from(cycle) / 10.0 - 1.0, f32::NAN, 0.3]).unwrap();
        }
    });
    assert_eq!(counted, 0, "allocations");
}

#[test]
fn a_network_on_a_device_allocates_nothing_on_the_host_in_a_cycle_a_copy_or_a_loss() {
    let architecture =
        Architecture::from_toml("kind = 'lstm'\ninputs = 5\noutputs = 1\nhidden = [7]\n").unwrap();
    let tensors = random_weights::tensors(&random_weights::lstm(5, &[7]), 1);
    let mut cpu = architecture.build(tensors, &Serving::new(2)).unwrap();
    let program = cpu.device_program(Execution::Auto).map(Arc::new);
    let lstm = PlannedNetwork { name: "lstm".to_owned(), program, places: (0..5).collect() };
    let plan = CyclePlan { instruments: 2, row_stride: 5, cerebellum: None, networks: vec![lstm] };
    let mut on = plan.prepare(Box::new(Emulator::with_seed(0).unwrap()), 3).unwrap();
    let (rows, active, mut answers) = ([0.5; 10], [true; 2], [0.0; 2]);
    let mut counted = 0;
    for cycle in 0..10 {
        let begins = [false, cycle == 4];
        counted += requests(|| {
            on.cycle.begin(&active, Some(&begins));
            on.networks.stage(&rows, &active, &begins);
        });
        // What the emulator asks for within them is its own affair.
        on.cycle.launch();
        on.cycle.wait();
        counted += requests(|| {
            on.networks.answers(0, &mut answers).unwrap();
            if on.networks.is_due() {
                on.networks.synchronise(0, &mut *cpu).unwrap();
                on.networks.synchronised();
            }
        });
    }
    assert_eq!(on.networks.counters().synchronisations, 3);
    counted += requests(|| on.networks.take_over(0, &mut *cpu, &mut answers));
    assert_eq!(counted, 0);
}
