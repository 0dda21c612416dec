//! Convolutional networks answer as PyTorch does, from vectors that `vectors/from_pytorch_sequence.py`
//! stored: every window, and a long stream at each of its steps.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as expected")]

mod sequence;

use purkinje_kernels::isa::Isa;
use purkinje_kernels::predictors::activation::Activation;
use purkinje_kernels::predictors::cnn::Cnn;
use purkinje_kernels::predictors::conv::{Conv, ConvShape};
use purkinje_kernels::predictors::lanes::Lanes;
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use sequence::{Vectors, assert_close, assert_one_way_of_computing, read, read_vectors, stepped};

const LAST: &str = "kind = 'cnn'\ninputs = 7\noutputs = 2\nsteps = 20\nchannels = [20, 16]\n";
const MEAN: &str = "kind = 'cnn'\ninputs = 7\noutputs = 2\nsteps = 20\nchannels = [20, 16]
    dilations = [1, 4]\nactivation = 'silu'\npooling = 'mean'\n";
const MAX: &str = "kind = 'cnn'\ninputs = 7\noutputs = 2\nsteps = 20\nchannels = [20, 16]
    kernel = 2\ndilations = [3, 2]\nactivation = 'tanh'\npooling = 'max'\noutput = 'sigmoid'\n";

const ALL: [(&str, &str); 3] = [("cnn_last", LAST), ("cnn_mean", MEAN), ("cnn_max", MAX)];

fn cnn(name: &str, toml: &str, serving: Serving) -> Cnn {
    let sequence::Architecture::Cnn(architecture) =
        sequence::Architecture::from_toml(toml).unwrap()
    else {
        panic!("{toml}")
    };
    Cnn::new(&architecture, read(name).0, &serving).unwrap()
}

#[test]
fn a_convolution_with_gaps_is_that_of_pytorch() {
    let mut layers = read_vectors("layers");
    let weight = layers.take("conv.weight", &[18, 5, 3]).unwrap();
    let bias = layers.take("conv.bias", &[18]).unwrap();
    let inputs = layers.take("conv.inputs", &[11, 5]).unwrap();
    let expected = layers.take("conv.outputs", &[11, 18]).unwrap();
    let shape = ConvShape { inputs: 5, stride: 5, outputs: 18, kernel: 3, dilation: 2 };
    let conv = Conv::new(&weight, Some(&bias), shape, Activation::Identity, Precision::F32);
    let padded = [vec![0.0; 4 * 5], inputs].concat();
    let mut gathered = vec![0.0; conv.gathered(11)];
    let mut columns = vec![Lanes::ZERO; 11 * conv.groups()];
    conv.window(Isa::best(), &padded, &mut gathered, &mut columns);
    let got: Vec<f32> = columns
        .chunks_exact(conv.groups())
        .flat_map(|column| Lanes::flat(column)[..18].to_vec())
        .collect();
    assert_close(&got, &expected, "conv");
}

#[test]
fn windows_are_answered_as_pytorch_does() {
    for (name, toml) in ALL {
        let Vectors { inputs, outputs, .. } = Vectors::read(name, 7, 20, 2);
        let mut model = cnn(name, toml, Serving::new(3));
        let mut got = vec![0.0; outputs.len()];
        model.infer(&inputs, &mut got);
        assert_close(&got, &outputs, name);
    }
}

#[test]
fn a_stream_is_answered_as_pytorch_does_with_the_whole_past() {
    for (name, toml) in ALL {
        let Vectors { stream, streamed, .. } = Vectors::read(name, 7, 20, 2);
        let mut model = cnn(name, toml, Serving::new(1));
        assert_close(&stepped(&mut model, &stream), &streamed, name);
    }
}

#[test]
fn the_last_column_of_a_stream_is_that_of_its_newest_window_bit_for_bit() {
    let Vectors { stream, .. } = Vectors::read("cnn_last", 7, 20, 2);
    let mut model = cnn("cnn_last", LAST, Serving::new(1));
    for end in 1..=stream.len() / 7 {
        let (mut stepped, mut inferred) = ([0.0; 2], [0.0; 2]);
        model.step(&stream[(end - 1) * 7..end * 7], &[true], &mut stepped);
        if end >= 20 {
            model.infer(&stream[(end - 20) * 7..end * 7], &mut inferred);
            assert_eq!(stepped, inferred, "step {end}");
        }
    }
}

#[test]
fn instruction_set_batch_stream_and_precision_change_no_bit_that_they_should_not() {
    for (name, toml) in ALL {
        assert_one_way_of_computing(name, |serving| Box::new(cnn(name, toml, serving)));
    }
}
