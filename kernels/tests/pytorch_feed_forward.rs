//! Feed-forward networks and autoencoders answer as PyTorch does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod pytorch;

use purkinje_kernels::isa::Isa;
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::autoencoder::{self, Autoencoder};
use purkinje_kernels::predictors::feed_forward::FeedForward;
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use pytorch::{assert_close, bits, read};

/// Name, inputs, outputs, rows and the rest of the description.
const NETWORKS: [(&str, usize, usize, usize, &str); 8] = [
    ("feed_forward", 50, 1, 9, ""),
    (
        "feed_forward_norms",
        13,
        3,
        9,
        "hidden = [37, 20]\nactivation = \"silu\"\noutput = \"sigmoid\"",
    ),
    ("linear", 7, 2, 5, "hidden = []\noutput = \"tanh\""),
    ("feed_forward_leaky_relu", 6, 2, 5, "hidden = [19]\nactivation = \"leaky-relu\""),
    ("feed_forward_elu", 6, 2, 5, "hidden = [19]\nactivation = \"elu\""),
    ("feed_forward_gelu", 6, 2, 5, "hidden = [19]\nactivation = \"gelu\""),
    ("feed_forward_sigmoid", 6, 2, 5, "hidden = [19]\nactivation = \"sigmoid\""),
    ("feed_forward_tanh", 6, 2, 5, "hidden = [19]\nactivation = \"tanh\""),
];

fn feed_forward(name: &str, ends: [usize; 2], rest: &str, serving: &Serving) -> FeedForward {
    let [inputs, outputs] = ends;
    let text = format!("kind = \"feed-forward\"\ninputs = {inputs}\noutputs = {outputs}\n{rest}\n");
    let Architecture::FeedForward(network) = Architecture::from_toml(&text).unwrap() else {
        panic!("{text}");
    };
    FeedForward::new(&network, read(name).0, serving).unwrap()
}

#[test]
fn every_feed_forward_network_equals_pytorchs() {
    for (name, inputs, outputs, count, rest) in NETWORKS {
        let (_, mut vectors) = read(name);
        let rows = vectors.take("inputs", &[count, inputs]).unwrap();
        let expected = vectors.take("outputs", &[count, outputs]).unwrap();
        let mut first: Option<Vec<u32>> = None;
        for isa in Isa::here() {
            let serving = Serving { isa, ..Serving::new(count) };
            let mut network = feed_forward(name, [inputs, outputs], rest, &serving);
            let mut got = vec![0.0; count * outputs];
            network.infer(&rows, &mut got);
            assert_close(&got, &expected, name);
            assert_eq!(&bits(&got), first.get_or_insert_with(|| bits(&got)), "{name} {isa:?}");

            let mut single = vec![0.0; outputs];
            for (row, got) in rows.chunks(inputs).zip(got.chunks(outputs)) {
                network.infer(row, &mut single);
                assert_eq!(bits(&single), bits(got), "{name}: one row is one of many");
            }

            let active: Vec<bool> = (0..count).map(|i| i % 3 != 1).collect();
            let mut stepped = vec![7.0; count * outputs];
            network.step(&rows, &active, &mut stepped);
            for (i, is_active) in active.iter().enumerate() {
                let range = i * outputs..(i + 1) * outputs;
                let wanted = if *is_active { &got[range.clone()] } else { &[7.0; 8][..outputs] };
                assert_eq!(&stepped[range], wanted, "{name}: instrument {i}");
            }
        }
    }
}

#[test]
fn a_batch_larger_than_what_is_computed_at_once_gives_the_same_bits() {
    let (name, inputs, outputs, count, rest) = NETWORKS[0];
    let rows = read(name).1.take("inputs", &[count, inputs]).unwrap();
    let many: Vec<f32> = rows.iter().copied().cycle().take(150 * inputs).collect();
    let mut network = feed_forward(name, [inputs, outputs], rest, &Serving::new(150));
    let (mut few_got, mut many_got) = (vec![0.0; count], vec![0.0; 150]);
    network.infer(&rows, &mut few_got);
    network.infer(&many, &mut many_got);
    for (i, got) in many_got.iter().enumerate() {
        assert_eq!(got.to_bits(), few_got[i % count].to_bits(), "row {i}");
    }
}

#[test]
fn an_autoencoder_rebuilds_as_pytorch_does_and_scores_what_it_missed() {
    let (tensors, mut vectors) = read("autoencoder");
    let rows = vectors.take("inputs", &[9, 24]).unwrap();
    let expected = vectors.take("outputs", &[9, 24]).unwrap();
    let text = "kind = \"autoencoder\"\ninputs = 24\n";
    let Architecture::Autoencoder(network) = Architecture::from_toml(text).unwrap() else {
        panic!("{text}");
    };
    let mut network = Autoencoder::new(&network, tensors, &Serving::new(9)).unwrap();
    let mut got = vec![0.0; 9 * 24];
    network.infer(&rows, &mut got);
    assert_close(&got, &expected, "autoencoder");
    assert!(network.errors().iter().all(|e| e.is_nan()), "no stream has had a step");

    let mut active = [true; 9];
    active[4] = false;
    network.step(&rows, &active, &mut got);
    for (i, error) in network.errors().iter().enumerate() {
        let range = i * 24..(i + 1) * 24;
        let mean = expected[range.clone()]
            .iter()
            .zip(&rows[range])
            .map(|(y, x)| f64::from(y - x).powi(2) / 24.0)
            .sum::<f64>();
        let is_right = (f64::from(*error) - mean).abs() <= 1e-5 * mean;
        assert_eq!(is_right, active[i], "instrument {i}: {error}, expected {mean}");
    }
    network.reset(0);
    assert!(network.errors()[0].is_nan());
    assert_eq!(autoencoder::error(&[1.0, 2.0], &[2.0, 4.0]), 2.5);
}

#[test]
fn bfloat16_weights_answer_nearly_the_same_from_half_the_memory() {
    let (name, inputs, outputs, count, rest) = NETWORKS[0];
    let rows = read(name).1.take("inputs", &[count, inputs]).unwrap();
    let [full, half] = [Precision::F32, Precision::Bf16].map(|precision| {
        let serving = Serving { precision, ..Serving::new(count) };
        let mut network = feed_forward(name, [inputs, outputs], rest, &serving);
        let mut got = vec![0.0; count];
        network.infer(&rows, &mut got);
        (got, network.weight_bytes())
    });
    assert!(half.1 < full.1 * 11 / 20, "{} of {} bytes", half.1, full.1);
    for (half, full) in half.0.iter().zip(&full.0) {
        assert!((half - full).abs() < 0.01 && half != full, "{half}, {full}");
    }
}
