//! Transformers and their layers answer as PyTorch does, from vectors that
//! `vectors/from_pytorch_sequence.py` stored: every window and, of causal attention, a long stream at each
//! of its steps against one pass over all of it with a banded mask.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as expected")]

mod sequence;

use purkinje_kernels::isa::Isa;
use purkinje_kernels::predictors::attention::{Attention, AttentionWeights};
use purkinje_kernels::predictors::lanes::Lanes;
use purkinje_kernels::predictors::layer_norm::{EPSILON, LayerNorm};
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::predictor::{BuildError, Predictor, Serving};
use purkinje_kernels::predictors::transformer::Transformer;
use purkinje_kernels::predictors::weights::WeightsError;
use sequence::{
    Architecture, Vectors, assert_close, assert_one_way_of_computing, read, read_vectors, stepped,
};

/// What the descriptions have in common, and what each has besides.
const COMMON: &str =
    "kind = 'transformer'\ninputs = 7\noutputs = 2\nsteps = 20\nfeed_forward = 40\n";
const WINDOWS: [(&str, &str); 3] = [
    ("transformer_window", "d_model = 32"),
    ("transformer_post", "d_model = 32\nnorm_first = false\nactivation = 'gelu'\noutput = 'tanh'"),
    ("transformer_wide_heads", "d_model = 40\nheads = 2\nbias = 'alibi'"),
];
const CAUSAL: [(&str, &str); 2] = [
    ("transformer_causal", "d_model = 32\nattention = 'causal'"),
    (
        "transformer_alibi",
        "d_model = 36\nheads = 3\nattention = 'causal'\nbias = 'alibi'\nnorm_first = false",
    ),
];

fn built(name: &str, rest: &str, serving: Serving) -> Result<Transformer, BuildError> {
    let toml = format!("{COMMON}{rest}\n");
    let Architecture::Transformer(architecture) = Architecture::from_toml(&toml).unwrap() else {
        panic!("{toml}")
    };
    Transformer::new(&architecture, read(name).0, &serving)
}

fn transformer(name: &str, rest: &str, serving: Serving) -> Transformer {
    built(name, rest, serving).unwrap()
}

/// Vectors in whole groups of lanes, as layers keep them.
fn padded(vectors: &[f32], width: usize) -> Vec<Lanes> {
    let mut all = Vec::new();
    for vector in vectors.chunks_exact(width) {
        let mut lanes = Lanes::zeros(width);
        Lanes::flat_mut(&mut lanes)[..width].copy_from_slice(vector);
        all.extend(lanes);
    }
    all
}

fn assert_vectors(name: &str, got: &[Lanes], expected: &[f32], width: usize) {
    let stride = Lanes::zeros(width).len();
    let mut numbers = Vec::new();
    for got in got.chunks_exact(stride) {
        numbers.extend_from_slice(&Lanes::flat(got)[..width]);
    }
    assert_close(&numbers, expected, name);
}

#[test]
fn layer_norm_is_that_of_pytorch() {
    let mut layers = read_vectors("layers");
    let mut take =
        |name: &str, shape: &[usize]| layers.take(&format!("layer_norm.{name}"), shape).unwrap();
    let norm = LayerNorm::new(&take("weight", &[24]), &take("bias", &[24]), EPSILON);
    let mut vectors = padded(&take("inputs", &[7, 24]), 24);
    norm.apply_in_place(Isa::best(), &mut vectors);
    assert_vectors("layer_norm", &vectors, &take("outputs", &[7, 24]), 24);
}

#[test]
fn self_attention_is_that_of_pytorch() {
    let mut layers = read_vectors("layers");
    let mut take =
        |name: &str, shape: &[usize]| layers.take(&format!("attention.{name}"), shape).unwrap();
    let weights = AttentionWeights {
        in_proj_weight: &take("in_proj_weight", &[72, 24]),
        in_proj_bias: &take("in_proj_bias", &[72]),
        out_weight: &take("out_proj.weight", &[24, 24]),
        out_bias: &take("out_proj.bias", &[24]),
    };
    let attention = Attention::new(weights, 24, 3, false, Precision::F32);
    let inputs = padded(&take("inputs", &[19, 24]), 24);
    let (mut memory, mut scratch) = (attention.memory(19), attention.scratch(19, 19));
    let mut out = vec![Lanes::ZERO; inputs.len()];
    attention.window(Isa::best(), &inputs, false, &mut memory, &mut scratch, &mut out);
    assert_vectors("attention", &out, &take("outputs", &[19, 24]), 24);
}

#[test]
fn windows_are_answered_as_pytorch_does() {
    for (name, rest) in WINDOWS.into_iter().chain(CAUSAL) {
        let Vectors { inputs, outputs, .. } = Vectors::read(name, 7, 20, 2);
        let mut got = vec![0.0; outputs.len()];
        transformer(name, rest, Serving::new(3)).infer(&inputs, &mut got);
        assert_close(&got, &outputs, name);
    }
}

#[test]
fn a_causal_stream_is_answered_as_pytorch_does_with_a_banded_mask() {
    for (name, rest) in CAUSAL {
        let Vectors { stream, streamed, .. } = Vectors::read(name, 7, 20, 2);
        let mut model = transformer(name, rest, Serving::new(1));
        assert_close(&stepped(&mut model, &stream), &streamed, name);
    }
}

#[test]
fn a_step_over_windows_answers_as_its_newest_window_bit_for_bit() {
    for (name, rest) in WINDOWS {
        let rows = Vectors::read(name, 7, 20, 2).inputs;
        let mut model = transformer(name, rest, Serving::new(1));
        // Steps before the first are rows of zeros.
        let past = [vec![0.0; 20 * 7], rows.clone()].concat();
        for (n, row) in rows.chunks_exact(7).enumerate() {
            let (mut stepped, mut inferred) = ([0.0; 2], [0.0; 2]);
            model.step(row, &[true], &mut stepped);
            model.infer(&past[(n + 1) * 7..][..20 * 7], &mut inferred);
            assert_eq!(stepped, inferred, "{name}, step {n}");
        }
    }
}

#[test]
fn instruction_set_batch_stream_and_precision_change_no_bit_that_they_should_not() {
    for (name, rest) in WINDOWS.into_iter().chain(CAUSAL) {
        assert_one_way_of_computing(name, |serving| Box::new(transformer(name, rest, serving)));
    }
}

#[test]
fn scores_too_large_for_an_exponential_are_answered_and_what_is_no_number_stays_none() {
    for (name, rest) in WINDOWS.into_iter().chain(CAUSAL) {
        let mut inputs = Vectors::read(name, 7, 20, 2).inputs;
        let mut model = transformer(name, rest, Serving::new(3));
        let mut got = [0.0; 6];
        for x in &mut inputs {
            *x *= 1e6;
        }
        model.infer(&inputs, &mut got);
        assert!(got.iter().all(|x| x.is_finite()), "{name}: {got:?}");
        inputs[0] = f32::NAN;
        model.infer(&inputs, &mut got);
        assert!(got[..2].iter().all(|x| x.is_nan()), "{name}: {got:?}");
        assert!(got[2..].iter().all(|x| x.is_finite()), "{name}: {got:?}");
    }
}

#[test]
fn a_table_of_positions_is_refused_where_attention_is_causal() {
    let error = built("transformer_window", "d_model = 32\nattention = 'causal'", Serving::new(1))
        .unwrap_err();
    let names = vec!["position".to_owned()];
    assert_eq!(error, BuildError::Weights(WeightsError::Unknown { count: 1, names }));
}
