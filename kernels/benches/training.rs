//! What a training step takes, one thread: forward, backward, clipping, AdamW and batches of windows.
//!
//!     cargo bench -p purkinje-kernels --features train --bench training -- [--epochs N]
//!
//! Shapes are those that PyTorch is compared at, by `benches/peers/training.py`, which `make bench-training`
//! runs behind this: 40 features, batch 32, windows of 50 steps. Each epoch is 20 steps and is timed by
//! itself with the monotonic clock, its validation of one row included; the first is not counted. Data are
//! random, from a seed. Prints Markdown, milliseconds a step and rows a second by the median.

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

const NETWORKS: [(&str, &str, &str); 4] = [
    (
        "feed-forward 40-128-64-32-2",
        "batch_norm = true\ndropout = 0.2",
        "kind = \"feed-forward\"\nhidden = [128, 64, 32]",
    ),
    ("LSTM 40-64-32-2, 50 steps", "", "kind = \"lstm\"\nhidden = [64, 32]\nsteps = 50"),
    (
        "CNN 40-32-32-32-2, kernel 3, 50 steps",
        "batch_norm = true",
        "kind = \"cnn\"\nchannels = [32, 32, 32]\nkernel = 3\nsteps = 50",
    ),
    (
        "transformer d 64, 2 layers, 4 heads, 50 steps",
        "",
        "kind = \"transformer\"\nd_model = 64\nlayers = 2\nheads = 4\nfeed_forward = 256\nsteps = 50",
    ),
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
    println!("purkinje, one thread, milliseconds a step\n");
    println!("| network | least | median | rows/s |\n|---|--:|--:|--:|");
    for (name, top, architecture) in NETWORKS {
        let (least, median) = measure(epochs, top, architecture);
        let rows = BATCH as f64 / median * 1e3;
        println!("| {name} | {least:.2} | {median:.2} | {rows:.0} |");
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
