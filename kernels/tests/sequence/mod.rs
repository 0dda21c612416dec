//! What the tests of networks over sequences share: the stored vectors and what holds for all of them.

#[path = "../pytorch/mod.rs"]
mod pytorch;

use purkinje_kernels::isa::Isa;
pub(crate) use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
pub(crate) use pytorch::{assert_close, read, read_vectors};

/// What PyTorch was asked and answered. A network without state has no stream.
pub(crate) struct Vectors {
    pub(crate) inputs: Vec<f32>,
    pub(crate) outputs: Vec<f32>,
    pub(crate) stream: Vec<f32>,
    pub(crate) streamed: Vec<f32>,
}

impl Vectors {
    pub(crate) fn read(name: &str, features: usize, steps: usize, answers: usize) -> Self {
        let mut tensors = read_vectors(name);
        let mut optional = |name: &str, shape: &[usize]| {
            tensors.take_optional(name, shape).unwrap().unwrap_or_default()
        };
        let stream = optional("stream", &[3 * steps, features]);
        let streamed = optional("streamed", &[3 * steps, answers]);
        let inputs = tensors.take("inputs", &[3, steps, features]).unwrap();
        let outputs = tensors.take("outputs", &[3, answers]).unwrap();
        tensors.finish().unwrap();
        Self { inputs, outputs, stream, streamed }
    }
}

/// A stream's answers, one instrument's.
pub(crate) fn stepped(model: &mut impl Predictor, stream: &[f32]) -> Vec<f32> {
    let mut answers = vec![0.0; stream.len() / model.inputs() * model.outputs()];
    let (inputs, width) = (model.inputs(), model.outputs());
    for (row, answer) in stream.chunks_exact(inputs).zip(answers.chunks_exact_mut(width)) {
        model.step(row, &[true], answer);
    }
    answers
}

/// Instruction sets, windows at once, instruments and other instruments' gaps change no bit; a stream of one
/// window's length answers as the window; bfloat16 weights are near the others and not the same.
pub(crate) fn assert_one_way_of_computing(
    name: &str,
    build: impl Fn(Serving) -> Box<dyn Predictor>,
) {
    let mut model = build(Serving { isa: Isa::Portable, ..Serving::new(3) });
    let (inputs, steps, width) = (model.inputs(), model.steps(), model.outputs());
    let windows = Vectors::read(name, inputs, steps, width).inputs;
    let mut expected = vec![0.0; 3 * width];
    model.infer(&windows, &mut expected);
    let window = |n: usize| &windows[n * steps * inputs..][..steps * inputs];
    for isa in Isa::here() {
        let mut model = build(Serving { isa, ..Serving::new(3) });
        for (n, expected) in expected.chunks_exact(width).enumerate() {
            let mut got = vec![0.0; width];
            model.infer(window(n), &mut got);
            assert_eq!(got, expected, "{name}, {isa:?}: window {n} alone");
        }
        // Every instrument sees its own window. The first has seen another and was reset; the second
        // pauses in every third cycle, and so needs half as many again.
        let mut rows = vec![0.0; 3 * inputs];
        let mut answers = vec![f32::NAN; 3 * width];
        for row in window(2).chunks_exact(inputs).take(7) {
            rows[..inputs].copy_from_slice(row);
            model.step(&rows, &[true, false, false], &mut answers);
        }
        model.reset(0);
        assert!(answers[width..].iter().all(|answer| answer.is_nan()), "{name}: left alone");
        let mut fed = [0; 3];
        for cycle in 0.. {
            let active = [0, 1, 2].map(|n| fed[n] < steps && (n != 1 || cycle % 3 != 2));
            for n in (0..3).filter(|n| active[*n]) {
                let row = &window(n)[fed[n] * inputs..][..inputs];
                rows[n * inputs..][..inputs].copy_from_slice(row);
                fed[n] += 1;
            }
            model.step(&rows, &active, &mut answers);
            if fed == [steps; 3] {
                break;
            }
        }
        assert_eq!(answers, expected, "{name}, {isa:?}: streams");
    }
    let mut half = build(Serving { precision: Precision::Bf16, ..Serving::new(3) });
    let mut rounded = vec![0.0; 3 * width];
    half.infer(&windows, &mut rounded);
    assert_ne!(rounded, expected, "{name}: bfloat16 weights");
    assert!(half.weight_bytes() < model.weight_bytes());
    for (rounded, expected) in rounded.iter().zip(&expected) {
        assert!((rounded - expected).abs() < 0.1, "{name}: {rounded}, with all bits {expected}");
    }
}
