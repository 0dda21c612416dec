//! A seed decides a run, and a run that was cut ends as one that was not.

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod training;

use purkinje_kernels::training::config::TrainConfig;
use purkinje_kernels::training::data::Dataset;
use purkinje_kernels::training::trainer::{TrainError, Trainer};
use training::{Table, config};

fn table() -> Table {
    Table::new(300, 4, 5, |x, row| 2.0 * x[row * 4] * x[row * 4 + 1])
}

/// Every kind of network, each with another schedule or optimiser and all that is random.
fn configs(seed: u64) -> Vec<TrainConfig> {
    let top = format!("seed = {seed}\nepochs = 5\nbatch = 37\nlearning_rate = 0.01\ndropout = 0.2");
    [
        (
            "batch_norm = true\nschedule = { kind = \"reduce-on-plateau\", patience = 1 }",
            "kind = \"feed-forward\"\nhidden = [12, 6]\noutputs = 1",
        ),
        (
            "optimiser = \"adam\"\nschedule = { kind = \"cosine\", warm_up_epochs = 2 }",
            "kind = \"lstm\"\nhidden = [6, 5]\nsteps = 5\noutputs = 1",
        ),
        ("batch_norm = true", "kind = \"cnn\"\nchannels = [6, 5]\nsteps = 6\noutputs = 1"),
        (
            "loss = { magnitude_share = 0.2 }",
            "kind = \"transformer\"\nd_model = 8\nheads = 2\nlayers = 1\nsteps = 5\noutputs = 2",
        ),
        ("", "kind = \"autoencoder\"\nencoder = [3]"),
    ]
    .iter()
    .map(|(more, architecture)| {
        config(&format!("{top}\n{more}"), &format!("inputs = 4\n{architecture}"))
    })
    .collect()
}

fn weights(trainer: &Trainer<'_>) -> Vec<u8> {
    trainer.best().to_safetensors().unwrap()
}

#[test]
fn a_run_that_was_cut_after_any_epoch_ends_with_the_same_weights() {
    let table = table();
    let data = table.data();
    for config in configs(1) {
        let mut whole = Trainer::new(&config, &data, 0..220, 220..300).unwrap();
        let mut checkpoints = vec![whole.checkpoint().unwrap()];
        while !whole.is_done() {
            whole.epoch().unwrap();
            checkpoints.push(whole.checkpoint().unwrap());
        }
        for (cut, bytes) in checkpoints.iter().enumerate() {
            let mut rest = Trainer::resume(&config, &data, 0..220, 220..300, bytes).unwrap();
            assert_eq!(rest.history().len(), cut);
            assert_eq!(&rest.checkpoint().unwrap(), bytes, "as it was read");
            rest.run().unwrap();
            assert_eq!(rest.history(), whole.history(), "{:?} cut at {cut}", config.architecture);
            assert!(weights(&rest) == weights(&whole), "{:?} cut at {cut}", config.architecture);
            assert!(rest.checkpoint().unwrap() == *checkpoints.last().unwrap());
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let table = table();
    let data = table.data();
    let run = |config: &TrainConfig| {
        let mut trainer = Trainer::new(config, &data, 0..220, 220..300).unwrap();
        trainer.run().unwrap();
        weights(&trainer)
    };
    for (one, other) in configs(1).iter().zip(&configs(2)) {
        let first = run(one);
        assert!(run(one) == first, "{:?}", one.architecture);
        assert!(run(other) != first, "{:?}", one.architecture);
    }
}

#[test]
fn training_ends_after_patience_and_keeps_the_best_weights() {
    let table = table();
    let data = table.data();
    let architecture = "inputs = 4\noutputs = 1\nkind = \"feed-forward\"\nhidden = [32]";
    let top = "epochs = 400\npatience = 3\nlearning_rate = 0.03\nbatch = 32";
    let config = config(top, architecture);
    let mut trainer = Trainer::new(&config, &data, 0..120, 120..300).unwrap();
    trainer.run().unwrap();
    let (epoch, loss) = trainer.best_epoch().unwrap();
    let history = trainer.history();
    assert!(history.len() < 400, "{} epochs on 120 rows of noise", history.len());
    assert_eq!(history.len(), epoch as usize + 1 + 3);
    let lowest = history.iter().map(|e| e.validation_loss).fold(f32::INFINITY, f32::min);
    assert_eq!(history[epoch as usize].validation_loss, lowest);

    let rows: Vec<usize> = (120..300).collect();
    let logits = trainer.best().answers(&data, &rows).unwrap();
    let cross_entropy = |(logit, row): (&f32, &usize)| {
        let towards = if data.label(*row).unwrap().up > 0.5 { *logit } else { -*logit };
        f64::from(-towards).exp().ln_1p()
    };
    let found = logits.iter().zip(&rows).map(cross_entropy).sum::<f64>() / rows.len() as f64;
    assert!((found - loss).abs() < 1e-6, "{found}, told {loss}");
}

/// How going on from some bytes fails.
fn refusal(config: &TrainConfig, data: &Dataset<'_>, rows: usize, bytes: &[u8]) -> TrainError {
    Trainer::resume(config, data, 0..rows, 220..300, bytes).map(|_| ()).unwrap_err()
}

#[test]
fn a_checkpoint_that_is_damaged_or_of_another_run_is_refused() {
    let table = table();
    let data = table.data();
    let config = &configs(1)[0];
    let mut trainer = Trainer::new(config, &data, 0..220, 220..300).unwrap();
    trainer.epoch().unwrap();
    let bytes = trainer.checkpoint().unwrap();
    for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let refusal = refusal(config, &data, 220, &bytes[..len]);
        assert!(matches!(refusal, TrainError::CheckpointTensors(_)), "{len}: {refusal}");
    }
    let told = refusal(&configs(2)[0], &data, 220, &bytes).to_string();
    assert!(told.starts_with("checkpoint: configuration = {"), "{told}");
    let told = refusal(config, &data, 219, &bytes).to_string();
    assert_eq!(told, "checkpoint: rows = [0..220, 220..300], expected [0..219, 220..300]");
    let other = Table::new(300, 4, 6, |_, _| 0.0);
    let told = refusal(config, &other.data(), 220, &bytes).to_string();
    assert!(told.starts_with("checkpoint: fingerprint of the data = "), "{told}");
    let weights = trainer.best().to_safetensors().unwrap();
    let told = refusal(config, &data, 220, &weights).to_string();
    assert_eq!(told, "checkpoint: no text training, expected the run's state");
}

#[test]
fn no_byte_of_a_checkpoints_header_makes_a_run_panic() {
    let table = table();
    let data = table.data();
    let config = &configs(1)[0];
    let mut trainer = Trainer::new(config, &data, 0..220, 220..300).unwrap();
    trainer.epoch().unwrap();
    let bytes = trainer.checkpoint().unwrap();
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let mut refused = 0;
    for at in 0..header {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 7);
        match Trainer::resume(config, &data, 0..220, 220..300, &changed) {
            // A digit of a number that may be another, such as the best loss.
            Ok(mut trainer) => drop(trainer.epoch()),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > header * 9 / 10, "{refused} of {header} refused");
}

#[test]
fn data_that_do_not_fit_are_refused_before_training_begins() {
    let table = table();
    let data = table.data();
    let of = |architecture: &str| config("", &format!("outputs = 1\n{architecture}"));
    let refusal = |config: &TrainConfig, training, validation| {
        Trainer::new(config, &data, training, validation).map(|_| ()).unwrap_err().to_string()
    };
    let network = of("kind = \"feed-forward\"\ninputs = 5");
    assert_eq!(
        refusal(&network, 0..200, 200..300),
        "features of a row: 4 numbers, expected 5 a row, as the architecture has"
    );
    let network = of("kind = \"lstm\"\ninputs = 4\nsteps = 120");
    assert!(refusal(&network, 0..200, 200..300).contains("a window of 120 steps"));
    let network = of("kind = \"lstm\"\ninputs = 4\nsteps = 2");
    assert_eq!(
        refusal(&network, 0..200, 199..300),
        "rows 199..300: expected none of the training rows 0..200"
    );
    assert_eq!(refusal(&network, 0..200, 200..301), "rows 200..301: expected a part of 0..300");
    let mut up = Table::new(300, 4, 5, |_, _| 100.0);
    up.labels[250] = None;
    let up = up.data();
    let told = Trainer::new(&network, &up, 0..200, 200..300).map(|_| ()).unwrap_err().to_string();
    assert_eq!(told, "labels of rows 0..200: all 198 are up, expected both classes");
}
