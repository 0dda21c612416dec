//! The networks' kernels answer as PyTorch does: the stored vectors, on the emulator.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod emulated;
mod pytorch;

use emulated::{Device, serving};
use purkinje_cuda::emulator::Order;
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::cuda::ACTIVE;
use pytorch::{assert_close, read};

/// Name of the vectors, and the description.
const NETWORKS: [(&str, &str); 19] = [
    ("feed_forward", "kind = 'feed-forward'\ninputs = 50\noutputs = 1"),
    (
        "feed_forward_norms",
        "kind = 'feed-forward'\ninputs = 13\noutputs = 3\nhidden = [37, 20]\nactivation = 'silu'
        output = 'sigmoid'",
    ),
    ("linear", "kind = 'feed-forward'\ninputs = 7\noutputs = 2\nhidden = []\noutput = 'tanh'"),
    (
        "feed_forward_leaky_relu",
        "kind = 'feed-forward'\ninputs = 6\noutputs = 2\nhidden = [19]
        activation = 'leaky-relu'",
    ),
    (
        "feed_forward_elu",
        "kind = 'feed-forward'\ninputs = 6\noutputs = 2\nhidden = [19]
        activation = 'elu'",
    ),
    (
        "feed_forward_gelu",
        "kind = 'feed-forward'\ninputs = 6\noutputs = 2\nhidden = [19]
        activation = 'gelu'",
    ),
    (
        "feed_forward_sigmoid",
        "kind = 'feed-forward'\ninputs = 6\noutputs = 2\nhidden = [19]
        activation = 'sigmoid'",
    ),
    (
        "feed_forward_tanh",
        "kind = 'feed-forward'\ninputs = 6\noutputs = 2\nhidden = [19]
        activation = 'tanh'",
    ),
    ("autoencoder", "kind = 'autoencoder'\ninputs = 24"),
    ("lstm", "kind = 'lstm'\ninputs = 12\noutputs = 2\nsteps = 50\nhidden = [64, 32]"),
    ("lstm_single", "kind = 'lstm'\ninputs = 10\noutputs = 1\nsteps = 11\nhidden = [20, 20, 20]"),
    ("cnn_last", "kind = 'cnn'\ninputs = 7\noutputs = 2\nsteps = 20\nchannels = [20, 16]"),
    (
        "cnn_mean",
        "kind = 'cnn'\ninputs = 7\noutputs = 2\nsteps = 20\nchannels = [20, 16]
        dilations = [1, 4]\nactivation = 'silu'\npooling = 'mean'",
    ),
    (
        "cnn_max",
        "kind = 'cnn'\ninputs = 7\noutputs = 2\nsteps = 20\nchannels = [20, 16]\nkernel = 2
        dilations = [3, 2]\nactivation = 'tanh'\npooling = 'max'\noutput = 'sigmoid'",
    ),
    (
        "transformer_window",
        "kind = 'transformer'\ninputs = 7\noutputs = 2\nsteps = 20\nfeed_forward = 40
        d_model = 32",
    ),
    (
        "transformer_post",
        "kind = 'transformer'\ninputs = 7\noutputs = 2\nsteps = 20\nfeed_forward = 40
        d_model = 32\nnorm_first = false\nactivation = 'gelu'\noutput = 'tanh'",
    ),
    (
        "transformer_wide_heads",
        "kind = 'transformer'\ninputs = 7\noutputs = 2\nsteps = 20\nfeed_forward = 40
        d_model = 40\nheads = 2\nbias = 'alibi'",
    ),
    (
        "transformer_causal",
        "kind = 'transformer'\ninputs = 7\noutputs = 2\nsteps = 20\nfeed_forward = 40
        d_model = 32\nattention = 'causal'",
    ),
    (
        "transformer_alibi",
        "kind = 'transformer'\ninputs = 7\noutputs = 2\nsteps = 20\nfeed_forward = 40
        d_model = 36\nheads = 3\nattention = 'causal'\nbias = 'alibi'\nnorm_first = false",
    ),
];

#[test]
fn windows_and_streams_are_answered_as_pytorch_does() {
    let (mut windows, mut streams) = (0, 0);
    for (name, toml) in NETWORKS {
        let architecture = Architecture::from_toml(toml).unwrap();
        let (tensors, vectors) = read(name);
        let find = |wanted: &str| vectors.iter().find(|(name, ..)| *name == wanted);
        let (_, shape, inputs) = find("inputs").unwrap();
        let (_, _, outputs) = find("outputs").unwrap();
        let features = *shape.last().unwrap();
        let order = Order::Random { seed: 1 };
        let mut device = Device::new(&architecture, tensors, &serving(features, 1), order);
        assert_close(&device.infer(inputs, shape[0]), outputs, name);
        windows += shape[0];
        let (Some((.., stream)), Some((.., streamed))) = (find("stream"), find("streamed")) else {
            continue;
        };
        let answers: Vec<f32> =
            stream.chunks_exact(features).flat_map(|row| device.step(row, &[ACTIVE])).collect();
        assert_close(&answers, streamed, name);
        streams += 1;
    }
    assert!(windows > 60 && streams >= 7, "{windows} windows, {streams} streams");
}
