//! What an answer of one network takes, one thread, one instrument, warm and cold.
//!
//!     cargo bench -p purkinje-kernels --bench predictors -- [--calls N] [--cold-calls N] [NAMES]
//!
//! Every call is timed by itself with the monotonic clock, whose own cost is the first row and is not
//! taken off. Before each cold call a buffer of 8 MiB is written from end to end, so that the weights have
//! left the core's own caches, not the one it shares; in the meantime nothing is waited for. Rows whose
//! name holds one of NAMES are measured, all without. A fresh window is a hundredth of the calls. Weights
//! and inputs are random, from a seed. Prepared steps leave the preparation out of the time, which is
//! their point. Prints Markdown, microseconds.

#[path = "../tests/random_weights/mod.rs"]
mod random_weights;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use purkinje_kernels::isa::Isa;
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::feed_forward::FeedForward;
use purkinje_kernels::predictors::lstm::Lstm;
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use purkinje_kernels::rng::Key;

/// Bytes written before a cold call.
const COLD_BYTES: usize = 8 << 20;
/// Rows of input that calls take in turn.
const ROWS: usize = 64;
const LINE_BYTES: usize = 64;

struct Options {
    calls: usize,
    cold_calls: usize,
    names: Vec<String>,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { calls: 100_000, cold_calls: 100_000, names: Vec::new() };
        let mut args = args.filter(|a| a != "--bench"); // Cargo's own.
        while let Some(arg) = args.next() {
            let number = match arg.as_str() {
                "--calls" => &mut options.calls,
                "--cold-calls" => &mut options.cold_calls,
                name => {
                    options.names.push(name.to_owned());
                    continue;
                }
            };
            let given = args.next().ok_or_else(|| format!("{arg}: expected a value"))?;
            *number = given
                .parse()
                .ok()
                .filter(|&n| (100..=10_000_000).contains(&n))
                .ok_or_else(|| format!("{arg} {given}: expected 100 to 10000000"))?;
        }
        Ok(options)
    }
}

/// Quantiles of calls, nanoseconds.
struct Quantiles([u64; 3]);

impl Quantiles {
    fn of(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let last = nanoseconds.len() - 1;
        Self([0.5, 0.99, 0.999].map(|q| nanoseconds[(q * last as f64) as usize]))
    }

    fn cells(&self) -> String {
        self.0.map(|ns| format!("{:.2}", ns as f64 * 1e-3)).join(" | ")
    }
}

struct Bench {
    options: Options,
    cold: Vec<u8>,
}

impl Bench {
    /// One row: `before` is not timed, `work` is; both are told how many calls there have been.
    fn row<M>(
        &mut self,
        name: &str,
        weight_bytes: usize,
        share: usize,
        model: &mut M,
        before: impl Fn(&mut M),
        work: impl Fn(&mut M, usize),
    ) {
        let names = &self.options.names;
        if !names.is_empty() && !names.iter().any(|part| name.contains(part.as_str())) {
            return;
        }
        let timed = |call: usize, model: &mut M| {
            before(model);
            let start = Instant::now();
            work(model, call);
            start.elapsed().as_nanos() as u64
        };
        let (calls, cold_calls) = (self.options.calls / share, self.options.cold_calls / share);
        for call in 0..calls / 10 {
            timed(call, model);
        }
        let warm = Quantiles::of((0..calls).map(|call| timed(call, model)).collect());
        let cold = (0..cold_calls).map(|call| {
            for byte in self.cold.iter_mut().step_by(LINE_BYTES) {
                *byte = byte.wrapping_add(1);
            }
            black_box(&mut self.cold);
            timed(call, model)
        });
        let cold = Quantiles::of(cold.collect());
        let kib = weight_bytes.div_ceil(1024);
        println!(
            "| {name} | {kib} | {} | {} | {calls} | {cold_calls} |",
            warm.cells(),
            cold.cells()
        );
    }
}

fn lstm(inputs: usize, hidden: &[usize], steps: usize, precision: Precision) -> Lstm {
    let text = format!(
        "kind = \"lstm\"\ninputs = {inputs}\noutputs = 1\nsteps = {steps}\nhidden = {hidden:?}\n"
    );
    let tensors = random_weights::tensors(&random_weights::lstm(inputs, hidden), 1);
    let serving = Serving { precision, ..Serving::new(1) };
    match Architecture::from_toml(&text) {
        Ok(Architecture::Lstm(network)) => Lstm::new(&network, tensors, &serving).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn feed_forward(widths: &[usize], precision: Precision) -> FeedForward {
    let [inputs, hidden @ .., outputs] = widths else { panic!("{widths:?}") };
    let text = format!(
        "kind = \"feed-forward\"\ninputs = {inputs}\noutputs = {outputs}\nhidden = {hidden:?}\n"
    );
    let tensors = random_weights::tensors(&random_weights::feed_forward(widths), 1);
    let serving = Serving { precision, ..Serving::new(1) };
    match Architecture::from_toml(&text) {
        Ok(Architecture::FeedForward(network)) => {
            FeedForward::new(&network, tensors, &serving).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn measure(options: Options) {
    let mut bench = Bench { options, cold: vec![0; COLD_BYTES] };
    println!("{:?}, microseconds.\n", Isa::best());
    println!(
        "| network | weights, KiB | warm p50 | p99 | p99.9 | cold p50 | p99 | p99.9 | calls | cold calls |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    bench.row("the clock alone", 0, 1, &mut (), |()| {}, |(), _| {});

    for precision in [Precision::F32, Precision::Bf16] {
        let kind = format!("{precision:?}").to_lowercase();
        for (name, inputs, hidden, steps) in
            [("LSTM_A", 100, &[100; 2][..], 50), ("LSTM_B", 250, &[200; 3], 100)]
        {
            let mut model = lstm(inputs, hidden, steps, precision);
            let bytes = model.weight_bytes();
            let rows = random_weights::numbers(Key::new(2), ROWS.max(steps) * inputs, 1.0);
            let step = |model: &mut Lstm, call: usize| {
                let mut answer = [0.0];
                model.step(&rows[call % ROWS * inputs..][..inputs], &[true], &mut answer);
                black_box(answer);
            };
            bench.row(&format!("{name} step {kind}"), bytes, 1, &mut model, |_| {}, step);
            let title = format!("{name} prepared step {kind}");
            bench.row(&title, bytes, 1, &mut model, Lstm::prepare, step);
            if name == "LSTM_A" {
                let title = format!("{name} window {kind}");
                bench.row(
                    &title,
                    bytes,
                    100,
                    &mut model,
                    |_| {},
                    |model, _| {
                        let mut answer = [0.0];
                        model.infer(&rows[..steps * inputs], &mut answer);
                        black_box(answer);
                    },
                );
            }
        }
        let mut model = feed_forward(&[50, 128, 64, 32, 1], precision);
        let bytes = model.weight_bytes();
        let rows = random_weights::numbers(Key::new(2), ROWS * 50, 1.0);
        let title = format!("MLP 50-128-64-32-1 {kind}");
        bench.row(
            &title,
            bytes,
            1,
            &mut model,
            |_| {},
            |model, call| {
                let mut answer = [0.0];
                model.step(&rows[call % ROWS * 50..][..50], &[true], &mut answer);
                black_box(answer);
            },
        );
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => {
            measure(options);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
