//! What training exports answers in the served networks as it does where it was trained.

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod pytorch;
mod training;

use purkinje_kernels::training::trainer::Trainer;
use pytorch::assert_close;
use training::{Table, answers, config, served};

/// Trains two epochs, so that no number is what it began as, and compares.
fn check(top: &str, architecture: &str) {
    let table = Table::new(400, 6, 3, |x, row| x[row * 6] - x[row * 6 + 1]);
    let data = table.data();
    let top = format!("epochs = 2\nbatch = 32\nlearning_rate = 0.01\ndropout = 0.1\n{top}");
    let config = config(&top, &format!("inputs = 6\n{architecture}"));
    let mut trainer = Trainer::new(&config, &data, 0..300, 300..400).unwrap();
    trainer.run().unwrap();
    let model = trainer.best();
    let rows: Vec<usize> = (300..400).collect();
    let trained = model.answers(&data, &rows).unwrap();
    let mut network = served(&config.architecture, &model.to_safetensors().unwrap());
    assert_close(&answers(&mut *network, &data, &rows), &trained, architecture);
}

#[test]
fn feed_forward_networks_answer_as_they_were_trained() {
    for activation in ["relu", "leaky-relu", "elu", "silu", "gelu", "sigmoid", "tanh"] {
        let rest = format!("activation = \"{activation}\"\nhidden = [20, 9]\noutput = \"sigmoid\"");
        check("batch_norm = true", &format!("kind = \"feed-forward\"\noutputs = 1\n{rest}"));
    }
    check("", "kind = \"feed-forward\"\noutputs = 1\nhidden = []");
    check("loss.magnitude_share = 0.3", "kind = \"feed-forward\"\noutputs = 2");
}

#[test]
fn lstms_answer_as_they_were_trained() {
    check("", "kind = \"lstm\"\noutputs = 1\nsteps = 9\nhidden = [17, 5]\noutput = \"sigmoid\"");
    check("loss.magnitude_share = 0.5", "kind = \"lstm\"\noutputs = 2\nsteps = 4\nhidden = [8]");
}

#[test]
fn convolutional_networks_answer_as_they_were_trained() {
    for pooling in ["last", "mean", "max"] {
        let rest = format!("steps = 12\npooling = \"{pooling}\"\nchannels = [7, 18]");
        for (top, dilations) in [("batch_norm = true", "[1, 3]"), ("", "[]")] {
            let rest = format!("kind = \"cnn\"\noutputs = 1\n{rest}\ndilations = {dilations}");
            check(top, &rest);
        }
    }
}

#[test]
fn transformers_answer_as_they_were_trained() {
    let sizes = "kind = \"transformer\"\noutputs = 1\nsteps = 7\nd_model = 12\nfeed_forward = 20";
    for rest in [
        "heads = 2\nlayers = 2",
        "heads = 3\nlayers = 2\nnorm_first = false\nactivation = \"gelu\"",
        "heads = 2\nlayers = 2\nattention = \"causal\"\nbias = \"alibi\"",
        "heads = 3\nlayers = 1\nattention = \"causal\"\nnorm_first = false",
        "heads = 4\nlayers = 1\nbias = \"alibi\"",
    ] {
        check("", &format!("{sizes}\n{rest}"));
    }
}

#[test]
fn autoencoders_answer_as_they_were_trained() {
    check("", "kind = \"autoencoder\"\nencoder = [5, 3]");
    check("", "kind = \"autoencoder\"\nencoder = [4]\noutput = \"tanh\"\nactivation = \"silu\"");
}
