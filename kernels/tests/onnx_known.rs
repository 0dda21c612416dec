//! ONNX files of our own kinds of networks answer as ONNX Runtime does, and files that are none are refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod onnx;

use onnx::{FEATURES, STEPS, WINDOWS, assert_close, bytes, model, vectors};
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::onnx::known::{KnownGraph, UnknownGraph};
use purkinje_kernels::predictors::onnx::model::{Model, ModelError};
use purkinje_kernels::predictors::predictor::Serving;
use purkinje_kernels::rng::Key;

fn known(name: &str) -> Result<KnownGraph, UnknownGraph> {
    KnownGraph::of(&model(name), STEPS, FEATURES)
}

#[test]
fn what_both_of_pytorchs_exporters_write_becomes_a_network_of_ours_that_answers_as_onnx_runtime() {
    for (name, ways, expected) in [
        ("dense_norms", &["traced", "exported"][..], "hidden = [8, 5]\nactivation = \"relu\""),
        ("dense_tanh", &["traced", "exported"], "hidden = [8, 8]\nactivation = \"tanh\""),
        ("dense_silu", &["traced", "exported"], "hidden = [8]\nactivation = \"silu\""),
        ("dense_gelu", &["traced", "exported"], "output = \"identity\"\nhidden = [8]"),
        ("dense_elu", &["traced"], "hidden = [5, 4]\nactivation = \"elu\""),
        ("linear", &["traced", "exported"], "output = \"sigmoid\"\nhidden = []"),
        ("lstm", &["traced", "exported"], "output = \"sigmoid\"\nsteps = 7\nhidden = [8, 5]"),
        ("lstm_one_row", &["traced", "exported"], "steps = 7\nhidden = [8, 5]"),
        ("lstm_single", &["traced", "exported"], "hidden = [6, 6]"),
        ("lstm_hidden", &["traced", "exported"], "hidden = [5]"),
        ("lstm_all_steps", &["traced", "exported"], "hidden = [1, 3]"),
        ("lstm_two", &["traced"], "outputs = 2\noutput = \"tanh\""),
    ] {
        for way in ways {
            let name = format!("{name}_{way}");
            let graph = known(&name).unwrap_or_else(|e| panic!("{name}: {e}"));
            let told = toml::to_string(&graph.architecture).unwrap();
            assert!(told.contains(expected), "{name}: {told}");
            let is_lstm = matches!(graph.architecture, Architecture::Lstm(_));
            let serving = Serving::new(WINDOWS);
            let mut network = graph.architecture.build(graph.tensors, &serving).unwrap();
            let (inputs, outputs) = vectors(&name, is_lstm.then_some(STEPS), network.outputs());
            let mut got = vec![0.0; outputs.len()];
            network.infer(&inputs, &mut got);
            assert_close(&got, &outputs, &name);
        }
    }
}

#[test]
fn a_graph_of_other_layers_is_told_by_the_first_of_them() {
    for (name, expected) in [
        ("erf_traced", "Div (/1/Div) is none of the known layers"),
        ("conv_traced", "Conv (/conv/Conv) is none of the known layers"),
        ("dense_two_traced", "Softmax (/1/Softmax) is none of the known layers"),
        ("loop", "ReduceMax () is none of the known layers"),
        ("custom", "org.example.Frobnicate (frob) is no standard operator"),
    ] {
        let told = known(name).unwrap_err().to_string();
        assert!(told.contains(expected), "{name}: {told}");
    }
    let of_version = |version: u8| {
        // The version of the standard operators stands at the file's end.
        let mut bytes = bytes("linear_traced");
        let place = bytes.windows(2).rposition(|pair| pair == [0x10, 20]).unwrap();
        bytes[place + 1] = version;
        KnownGraph::of(&Model::read(&bytes).unwrap(), STEPS, FEATURES).map(|_| ())
    };
    assert_eq!(of_version(20), Ok(()));
    assert_eq!(of_version(99), Err(UnknownGraph::Opset { found: 99 }));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_lacks_something() {
    let whole = bytes("lstm_traced");
    for len in 0..whole.len() {
        // Without its last fields, a model is one with fewer.
        let read = Model::read(&whole[..len]);
        let kept = read.is_ok_and(|model| KnownGraph::of(&model, STEPS, FEATURES).is_ok());
        assert!(!kept, "cut at {len}");
    }
}

#[test]
fn a_weight_that_is_none_and_a_shape_that_does_not_fit_are_named() {
    let whole = bytes("linear_traced");
    let bias = whole.windows(6).position(|part| part == b"0.bias").unwrap();
    // The tensor's raw bytes, four of them, follow its name.
    let raw = bias + whole[bias..].windows(2).position(|part| part == [0x4a, 4]).unwrap() + 2;
    let with = |value: f32| {
        let mut bytes = whole.clone();
        bytes[raw..raw + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let told = Model::read(&with(f32::NAN)).unwrap_err();
    assert_eq!(told, ModelError::NotANumber { name: "0.bias".to_owned(), index: 0 });
    // Masks hold infinities; a layer of ours does not.
    let model = Model::read(&with(f32::INFINITY)).unwrap();
    let told = KnownGraph::of(&model, STEPS, FEATURES).unwrap_err().to_string();
    assert_eq!(told, "head.bias[0] = inf: expected a finite number of 32 bits");

    // Dims [1, 6] become [1, 127]: what comes is less than what they say.
    let mut bytes = whole.clone();
    let dims = whole.windows(4).position(|part| part == [0x08, 1, 0x08, 6]).unwrap();
    bytes[dims + 3] = 127;
    let told = Model::read(&bytes).unwrap_err().to_string();
    assert_eq!(told, "0.weight: shape [1, 127] of numbers of type 1 in 24 bytes");
}

#[test]
fn weights_in_another_file_are_refused() {
    // data_location = EXTERNAL, a field of a tensor, over its type.
    let mut bytes = bytes("linear_traced");
    let kind = bytes.windows(4).position(|part| part == [0x08, 6, 0x10, 1]).unwrap() + 2;
    bytes[kind] = 0x70;
    let told = Model::read(&bytes).unwrap_err();
    assert_eq!(told, ModelError::External { name: "0.weight".to_owned() });
}

#[test]
fn whatever_bytes_are_changed_reading_ends_with_a_network_or_an_error() {
    let mut read = [0_u32; 3];
    for name in ["dense_norms_traced", "dense_tanh_exported", "lstm_traced", "lstm_single_exported"]
    {
        let whole = bytes(name);
        for seed in 0..1_500 {
            let key = Key::new(seed);
            let mut bytes = whole.clone();
            // One to four of them, small numbers as often as any: those are fields, shapes and axes.
            for change in 0..=seed % 4 {
                let place = key.below(3 * change, whole.len() as u32) as usize;
                let bound = if seed % 2 == 0 { 256 } else { 12 };
                bytes[place] = key.below(3 * change + 1, bound) as u8;
            }
            let outcome = match Model::read(&bytes) {
                Err(_) => 0,
                Ok(model) => match KnownGraph::of(&model, STEPS, FEATURES) {
                    Err(_) => 1,
                    Ok(graph) => {
                        // Its tensors are those of what it says it is, if that is within limits.
                        let built = graph.architecture.build(graph.tensors, &Serving::new(1));
                        drop(built);
                        2
                    }
                },
            };
            read[outcome] += 1;
        }
    }
    assert!(read.iter().all(|count| *count > 100), "{read:?}");
}
