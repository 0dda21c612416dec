//! What a training step takes, one thread: forward, backward, clipping, AdamW and batches of windows.
//!
//!     cargo bench -p purkinje-kernels --features train --bench training -- [--epochs N]
//!
//! Shapes are those that other libraries are compared at: 40 features, batch 32; a feed-forward network of
//! 128, 64 and 32 units with batch norm and dropout, and LSTM layers of 64 and 32 units over 50 steps.
//! Each epoch is 20 steps and is timed by itself with the monotonic clock, its validation of one row
//! included; the first is not counted. Data are random, from a seed. Prints Markdown, milliseconds a step.

#![allow(clippy::unwrap_used, reason = "what it builds is its own")]

#[path = "../tests/training/mod.rs"]
mod training;

use std::process::ExitCode;
use std::time::Instant;

use purkinje_kernels::training::trainer::Trainer;
use training::{Table, config};

const INPUTS: usize = 40;
const BATCH: usize = 32;
const STEPS_AN_EPOCH: usize = 20;
/// Two streams must have had a window each.
const BEFORE: usize = 100;

const NETWORKS: [(&str, &str, &str); 2] = [
    (
        "feed-forward 40-128-64-32-2",
        "batch_norm = true\ndropout = 0.2",
        "kind = \"feed-forward\"\nhidden = [128, 64, 32]",
    ),
    ("LSTM 40-64-32-2, 50 steps", "", "kind = \"lstm\"\nhidden = [64, 32]\nsteps = 50"),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench"); // Cargo's own.
    let epochs = match (args.next().as_deref(), args.next(), args.next()) {
        (None, _, _) => 20,
        (Some("--epochs"), Some(given), None) => {
            match given.parse().ok().filter(|n| (2..=10_000).contains(n)) {
                Some(epochs) => epochs,
                None => return usage(&format!("--epochs {given}: expected 2 to 10000")),
            }
        }
        _ => return usage("expected --epochs N or nothing"),
    };
    println!("| network | least | median |\n|---|---|---|");
    for (name, top, architecture) in NETWORKS {
        let (least, median) = measure(epochs, top, architecture);
        println!("| {name} | {least:.2} | {median:.2} |");
    }
    ExitCode::SUCCESS
}

fn usage(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

/// Least and median milliseconds of a step.
fn measure(epochs: u32, top: &str, architecture: &str) -> (f64, f64) {
    let rows = BEFORE + STEPS_AN_EPOCH * BATCH;
    let table = Table::new(rows + 1, INPUTS, 1, |x, row| x[row * INPUTS]);
    let data = table.data();
    let top = format!(
        "batch = {BATCH}\nepochs = {epochs}\npatience = {epochs}\nloss.magnitude_share = 0.3\n{top}"
    );
    let config = config(&top, &format!("inputs = {INPUTS}\noutputs = 2\n{architecture}"));
    let mut trainer = Trainer::new(&config, &data, BEFORE..rows, rows..rows + 1).unwrap();
    trainer.epoch().unwrap();
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        if trainer.epoch().unwrap().is_none() {
            break;
        }
        times.push(start.elapsed().as_secs_f64() * 1e3 / STEPS_AN_EPOCH as f64);
    }
    times.sort_unstable_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}
