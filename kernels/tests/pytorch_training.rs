//! A few steps of training make of a network what PyTorch makes of it.

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod pytorch;
mod training;

use purkinje_kernels::training::trainer::Trainer;
use pytorch::{assert_close, read_vectors};
use training::{Table, config};

const ROWS: usize = 40;
const HELD_OUT: usize = 8;
const STEPS: u32 = 5;
const INPUTS: usize = 6;

/// As `from_pytorch_training.py` has it, whose vectors are `trained_NAME`.
fn check(name: &str, outputs: usize, top: &str, architecture: &str) {
    let name = format!("trained_{name}");
    let mut vectors = read_vectors(&name);
    let mut take = |name: &str, shape: &[usize]| vectors.take(name, shape).unwrap();
    let mut table = Table::new(ROWS, INPUTS, 0, |_, _| 0.0);
    table.features = take("features", &[ROWS, INPUTS]);
    table.streams = vec![0; ROWS];
    let labels = take("up", &[ROWS]).into_iter().zip(take("magnitude", &[ROWS]));
    for (label, (up, magnitude)) in table.labels.iter_mut().flatten().zip(labels) {
        (label.up, label.magnitude) = (up, magnitude);
    }
    let data = table.data();
    let top = format!(
        "epochs = {STEPS}\nlearning_rate = 0.01\nweight_decay = 0.1\nclip_norm = 0.8\nbatch = {ROWS}\n\
         class_weights = [0.5, 1.5]\npatience = {STEPS}\n{top}"
    );
    let config = config(&top, &format!("inputs = {INPUTS}\n{architecture}"));
    let learned = ROWS - HELD_OUT;
    let path = format!("{}/tests/vectors/pytorch/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let weights = std::fs::read(path).unwrap();
    let trainer = Trainer::new(&config, &data, 0..learned, learned..ROWS).unwrap();
    let mut trainer = trainer.with_weights(&weights).unwrap();
    trainer.run().unwrap();
    let losses: Vec<f32> = trainer.history().iter().map(|e| e.training_loss).collect();
    assert_close(&losses, &take("losses", &[STEPS as usize]), &name);
    let rows: Vec<usize> = (learned..ROWS).collect();
    let answers = trainer.last().answers(&data, &rows).unwrap();
    assert_close(&answers, &take("outputs", &[HELD_OUT, outputs]), &name);
    vectors.finish().unwrap();
}

const LOSS: &str = "loss = { magnitude_share = 0.3, huber_delta = 0.5 }";

#[test]
fn a_feed_forward_network_with_batch_norms_is_trained_as_by_pytorch() {
    let rest = "kind = \"feed-forward\"\noutputs = 2\nhidden = [16, 8]";
    check("feed_forward", 2, &format!("batch_norm = true\n{LOSS}"), rest);
}

#[test]
fn an_lstm_is_trained_as_by_pytorch() {
    check("lstm", 2, LOSS, "kind = \"lstm\"\noutputs = 2\nhidden = [9, 5]\nsteps = 7");
}

#[test]
fn a_cnn_is_trained_by_adam_as_by_pytorch() {
    let rest = "kind = \"cnn\"\noutputs = 2\nchannels = [8, 7]\nsteps = 9\ndilations = [1, 2]\n\
                pooling = \"mean\"\nactivation = \"silu\"";
    check("cnn", 2, &format!("optimiser = \"adam\"\nbatch_norm = true\n{LOSS}"), rest);
}

#[test]
fn transformers_are_trained_as_by_pytorch() {
    let sizes = "kind = \"transformer\"\noutputs = 2\nsteps = 6\nd_model = 12\nfeed_forward = 20";
    let rest = format!("{sizes}\nheads = 3\nlayers = 2\nactivation = \"gelu\"");
    check("transformer", 2, LOSS, &rest);
    let rest =
        "heads = 2\nlayers = 1\nnorm_first = false\nattention = \"causal\"\nbias = \"alibi\"";
    check("transformer_causal", 2, LOSS, &format!("{sizes}\n{rest}"));
}

#[test]
fn an_autoencoder_is_trained_as_by_pytorch() {
    let rest = "kind = \"autoencoder\"\nencoder = [5, 3]\nactivation = \"tanh\"";
    check("autoencoder", INPUTS, "", rest);
}
