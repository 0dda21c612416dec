//! Graphs that are none of ours are answered by ONNX Runtime, in time or not at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;
mod onnx;

use std::alloc::System;
use std::path::Path;
use std::time::Duration;

use alloc::{CountingAllocator, thread_allocations};
use onnx::{FEATURES, STEPS, WINDOWS, assert_close, bytes, library, model, vectors};
use purkinje_kernels::predictors::onnx::known::KnownGraph;
use purkinje_kernels::predictors::onnx::model::Model;
use purkinje_kernels::predictors::onnx::runtime::{Limits, Runtime, RuntimeConfig, RuntimeError};
use purkinje_kernels::predictors::predictor::{Health, Predictor, Serving};
use purkinje_kernels::rng::Key;

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

/// Streams side by side, where there are several.
const INSTRUMENTS: usize = 3;

/// As a replay has them: they refuse nothing.
const COUNTED: Limits = Limits {
    warm_up_runs: 20,
    budget: Duration::from_secs(10),
    sleep_after_steps: 3,
    are_enforced: false,
};

fn config(library: &Path, instruments: usize, limits: Limits) -> RuntimeConfig<'_> {
    let library = Some(library);
    RuntimeConfig { library, instruments, features: FEATURES, steps: None, is_logit: false, limits }
}

fn open(name: &str, config: &RuntimeConfig<'_>) -> Result<Runtime, RuntimeError> {
    Runtime::new(&bytes(name), &model(name), config)
}

fn random(tag: u64, len: usize) -> Vec<f32> {
    let key = Key::new(tag);
    (0..len as u64).map(|k| 4.0 * key.uniform(k) - 2.0).collect()
}

#[test]
fn graphs_of_every_kind_answer_as_they_do_from_python() {
    let Some(library) = library() else { return };
    for (name, steps) in [
        ("erf_traced", None),
        ("conv_traced", Some(STEPS)),
        ("conv_one_row_traced", Some(STEPS)),
        ("dense_norms_exported", None),
        ("lstm_exported", Some(STEPS)),
        ("lstm_one_row_traced", Some(STEPS)),
    ] {
        // Two in a call of an open batch, so that the windows take several.
        let mut runtime = open(name, &config(&library, 2, COUNTED)).unwrap();
        let (inputs, outputs) = vectors(name, steps, 1);
        assert_eq!((runtime.inputs(), runtime.steps()), (FEATURES, steps.unwrap_or(1)), "{name}");
        let mut got = vec![0.0; WINDOWS];
        runtime.infer(&inputs, &mut got);
        assert_close(&got, &outputs, name);
        let health = runtime.health().unwrap();
        assert_eq!((health.failed, health.no_probability), (0, 0), "{name}");
    }
}

#[test]
fn a_network_of_ours_answers_the_same_from_both() {
    let Some(library) = library() else { return };
    for name in ["dense_silu_exported", "dense_tanh_traced", "lstm_traced", "lstm_single_exported"]
    {
        let mut runtime = open(name, &config(&library, WINDOWS, COUNTED)).unwrap();
        let graph = KnownGraph::of(&model(name), STEPS, FEATURES).unwrap();
        let serving = Serving::new(WINDOWS);
        let mut own = graph.architecture.build(graph.tensors, &serving).unwrap();
        let windows = random(1, WINDOWS * runtime.steps() * FEATURES);
        let (mut theirs, mut ours) = (vec![0.0; WINDOWS], vec![0.0; WINDOWS]);
        runtime.infer(&windows, &mut theirs);
        own.infer(&windows, &mut ours);
        assert_close(&ours, &theirs, name);
    }
}

#[test]
fn each_instrument_is_answered_for_its_own_last_steps_and_not_before_there_are_enough() {
    let Some(library) = library() else { return };
    for name in ["conv_traced", "conv_one_row_traced"] {
        let mut runtime = open(name, &config(&library, INSTRUMENTS, COUNTED)).unwrap();
        let mut fresh = open(name, &config(&library, 1, COUNTED)).unwrap();
        let mut streams = vec![Vec::<f32>::new(); INSTRUMENTS];
        for step in 0..3 * STEPS {
            // One rests now and then, and one begins anew.
            let active = [true, step % 3 != 1, true];
            if step == STEPS + 2 {
                runtime.reset(2);
                streams[2].clear();
            }
            let rows = random(step as u64, INSTRUMENTS * FEATURES);
            let mut answers = [7.0; INSTRUMENTS];
            runtime.step(&rows, &active, &mut answers);
            for (k, stream) in streams.iter_mut().enumerate() {
                if !active[k] {
                    assert_eq!(answers[k], 7.0, "{name}: untouched");
                    continue;
                }
                stream.extend_from_slice(&rows[k * FEATURES..][..FEATURES]);
                let Some(begin) = stream.len().checked_sub(STEPS * FEATURES) else {
                    assert!(answers[k].is_nan(), "{name}: {} at step {step}", answers[k]);
                    continue;
                };
                let mut expected = [0.0];
                fresh.infer(&stream[begin..], &mut expected);
                assert_close(&answers[k..=k], &expected, name);
            }
        }
    }
}

#[test]
fn a_step_allocates_nothing_once_warm() {
    let Some(library) = library() else { return };
    for name in ["conv_traced", "conv_one_row_traced", "erf_traced"] {
        let limits = Limits { are_enforced: true, ..COUNTED };
        let mut runtime = open(name, &config(&library, 2, limits)).unwrap();
        let (rows, mut answers) = (random(2, 2 * FEATURES), [0.0; 2]);
        let mut steps = |count: usize| {
            for _ in 0..count {
                runtime.step(&rows, &[true, true], &mut answers);
            }
        };
        steps(STEPS);
        let before = thread_allocations();
        steps(50);
        assert_eq!(thread_allocations() - before, 0, "{name}");
        assert!(answers.iter().all(|p| (0.0..=1.0).contains(p)), "{name}: {answers:?}");
    }
}

#[test]
fn what_cannot_be_run_or_is_no_probability_is_refused_with_the_reason() {
    let Some(library) = library() else { return };
    let of = |name: &str, config: &RuntimeConfig<'_>| match open(name, config) {
        Ok(_) => panic!("{name} was taken"),
        Err(error) => error.to_string(),
    };
    let usual = config(&library, 2, COUNTED);
    let wide = RuntimeConfig { features: FEATURES + 1, ..usual.clone() };
    let long = RuntimeConfig { steps: Some(STEPS + 1), ..usual.clone() };
    for (told, expected) in [
        (of("custom", &usual), ["Frobnicate", "org.example"]),
        (of("dense_two_traced", &usual), ["the answer's shape = [2, 2]", "one number"]),
        (of("log", &usual), ["it answers", "expected a probability"]),
        (of("conv_logit_traced", &usual), ["it answers", "onnx.sigmoid = true"]),
        (of("erf_traced", &wide), ["the file's features = 6", "7, one for each"]),
        (of("conv_traced", &long), ["onnx.steps = 8", "7, as the file has"]),
    ] {
        assert!(expected.iter().all(|part| told.contains(part)), "{told:?}: {expected:?}");
    }
    let logit = RuntimeConfig { is_logit: true, ..usual };
    open("conv_logit_traced", &logit).unwrap();
    // Operators of a version that nobody has.
    let mut bytes = bytes("erf_traced");
    let place = bytes.windows(2).rposition(|pair| pair == [0x10, 18]).unwrap();
    bytes[place + 1] = 120;
    let refused = Runtime::new(&bytes, &Model::read(&bytes).unwrap(), &logit).unwrap_err();
    assert!(refused.to_string().contains("120"), "{refused}");
}

#[test]
fn a_missing_library_is_named() {
    let path = Path::new("/nonexistent/libonnxruntime.so");
    let told = open("erf_traced", &config(path, 1, COUNTED)).unwrap_err().to_string();
    assert!(told.contains("/nonexistent/libonnxruntime.so: No such file"), "{told}");
    assert!(told.contains("strategy.onnx.library"), "{told}");
}

#[test]
fn a_model_too_slow_for_its_budget_is_refused_with_its_time_where_limits_are_enforced() {
    let Some(library) = library() else { return };
    let tiny = Limits { budget: Duration::from_nanos(1), ..COUNTED };
    let enforced = Limits { are_enforced: true, ..tiny };
    let refused = open("conv_one_row_traced", &config(&library, 3, enforced)).unwrap_err();
    let told = refused.to_string();
    assert!(told.starts_with("too slow for the cycle: 3 calls of "), "{told}");
    assert!(told.ends_with(" µs) in 0 µs") && told.contains("99th percentile of 20"), "{told}");

    // Where they are not, it is counted and changes nothing.
    let mut counted = open("erf_traced", &config(&library, 1, tiny)).unwrap();
    let mut free = open("erf_traced", &config(&library, 1, COUNTED)).unwrap();
    for step in 0..10 {
        let rows = random(step, FEATURES);
        let (mut one, mut other) = ([0.0], [0.0]);
        counted.step(&rows, &[true], &mut one);
        free.step(&rows, &[true], &mut other);
        assert_eq!(one, other);
    }
    let Health { calls, over_budget, is_asleep, .. } = counted.health().unwrap();
    assert_eq!((calls, over_budget, is_asleep), (10, 10, false));
}

#[test]
fn a_call_that_does_not_end_is_cut_and_after_some_of_them_nobody_is_asked_again() {
    let Some(library) = library() else { return };
    let limits = Limits { budget: Duration::from_millis(500), are_enforced: true, ..COUNTED };
    let mut runtime = open("loop", &config(&library, 1, limits)).unwrap();
    // As many rounds as the largest feature: hours.
    let (quick, endless) = ([0.5; FEATURES], [1e12; FEATURES]);
    let mut asked = |row: &[f32]| {
        let mut answer = [0.0];
        runtime.step(row, &[true], &mut answer);
        (answer[0], runtime.health().unwrap())
    };
    assert!(asked(&quick).0 > 0.5);
    let (answer, health) = asked(&endless);
    assert!(answer.is_nan());
    assert_eq!((health.cut, health.over_budget, health.is_asleep), (1, 1, false));
    // Whoever is in time afterwards is not cut for it.
    let (answer, health) = asked(&quick);
    assert!(answer > 0.5);
    assert_eq!((health.cut, health.failed), (1, 0));
    for _ in 0..3 {
        assert!(asked(&endless).0.is_nan());
    }
    let (answer, health) = asked(&quick);
    assert!(answer.is_nan() && health.is_asleep);
    assert_eq!((health.calls, health.cut, health.over_budget), (6, 4, 4));
}
