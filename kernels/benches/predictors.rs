//! What an answer takes, one thread, warm and cold: of each network for one instrument, and of the default
//! ensemble for sixteen.
//!
//!     cargo bench -p purkinje-kernels --bench predictors -- [--calls N] [--cold-calls N] [NAMES]
//!
//! Every call is timed by itself with the monotonic clock, whose own cost is the first row and is not
//! taken off. Before each cold call a buffer of 8 MiB is written from end to end, so that the weights have
//! left the core's own caches, not the one it shares; in the meantime nothing is waited for. Rows whose
//! name holds one of NAMES are measured, all without. A fresh window is a hundredth of the calls. Weights
//! and inputs are random, from a seed. Prepared steps leave the preparation out of the time, which is
//! their point. Prints Markdown, microseconds.

#![allow(clippy::unwrap_used, reason = "what it builds is its own")]

#[path = "../tests/random_weights/mod.rs"]
mod random_weights;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use purkinje_kernels::isa::Isa;
use purkinje_kernels::predictors::architecture::Architecture;
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

/// Features of a step in the ensemble, as many as the feature table of `strategies` has.
const FEATURES: usize = 56;
/// Instruments that the ensemble answers for in one cycle.
const INSTRUMENTS: usize = 16;
/// Sizes of the transformer, those of the peers.
const TRANSFORMER: &str =
    "kind = 'transformer'\nd_model = 64\nlayers = 2\nheads = 4\nfeed_forward = 256\nsteps = 50";

/// A network, inputs for it and room for its answers.
struct Asked {
    model: Box<dyn Predictor>,
    /// `[ROWS][instruments][inputs]`.
    rows: Vec<f32>,
    /// `[instruments][steps][inputs]`.
    windows: Vec<f32>,
    active: Vec<bool>,
    answers: Vec<f32>,
}

impl Asked {
    /// `toml` is a description without inputs and outputs.
    fn new(toml: &str, inputs: usize, instruments: usize, precision: Precision) -> Self {
        let autoencodes = toml.contains("autoencoder");
        let outputs = if autoencodes { "" } else { "outputs = 1\n" };
        let architecture =
            Architecture::from_toml(&format!("{toml}\ninputs = {inputs}\n{outputs}")).unwrap();
        let names = match &architecture {
            Architecture::FeedForward(it) => {
                random_weights::feed_forward(&[&[inputs], &it.hidden[..], &[1]].concat())
            }
            Architecture::Lstm(it) => random_weights::lstm(inputs, &it.hidden),
            Architecture::Cnn(it) => random_weights::cnn(inputs, &it.channels, it.kernel),
            Architecture::Transformer(it) => {
                random_weights::transformer(inputs, it.d_model, it.layers, it.feed_forward)
            }
            Architecture::Autoencoder(it) => random_weights::autoencoder(inputs, &it.encoder),
        };
        let serving = Serving { precision, ..Serving::new(instruments) };
        let model = architecture.build(random_weights::tensors(&names, 1), &serving).unwrap();
        let numbers = |len| random_weights::numbers(Key::new(2), len * inputs * instruments, 1.0);
        Self {
            rows: numbers(ROWS),
            windows: numbers(model.steps()),
            active: vec![true; instruments],
            answers: vec![0.0; instruments * model.outputs()],
            model,
        }
    }

    fn step(&mut self, call: usize) {
        let rows = self.rows.chunks_exact(self.rows.len() / ROWS).nth(call % ROWS);
        self.model.step(rows.unwrap(), &self.active, &mut self.answers);
        black_box(&mut self.answers);
    }

    fn infer(&mut self, _: usize) {
        self.model.infer(black_box(&self.windows), &mut self.answers);
        black_box(&mut self.answers);
    }
}

impl Bench {
    /// A row of steps of every instrument.
    fn steps(&mut self, name: &str, asked: &mut Asked) {
        let bytes = asked.model.weight_bytes();
        self.row(name, bytes, 1, asked, |_| {}, Asked::step);
    }

    /// A row of fresh windows, one for each instrument.
    fn windows(&mut self, name: &str, asked: &mut Asked) {
        let bytes = asked.model.weight_bytes();
        self.row(name, bytes, 100, asked, |_| {}, Asked::infer);
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

/// The networks of the peers, one instrument.
fn measure_each(bench: &mut Bench, kind: &str, precision: Precision) {
    for (name, inputs, hidden, steps) in
        [("LSTM_A", 100, &[100; 2][..], 50), ("LSTM_B", 250, &[200; 3], 100)]
    {
        let mut model = lstm(inputs, hidden, steps, precision);
        let bytes = model.weight_bytes();
        let rows = random_weights::numbers(Key::new(2), ROWS * inputs, 1.0);
        let step = |model: &mut Lstm, call: usize| {
            let mut answer = [0.0];
            model.step(&rows[call % ROWS * inputs..][..inputs], &[true], &mut answer);
            black_box(answer);
        };
        bench.row(&format!("{name} step {kind}"), bytes, 1, &mut model, |_| {}, step);
        let title = format!("{name} prepared step {kind}");
        bench.row(&title, bytes, 1, &mut model, Lstm::prepare, step);
        if name == "LSTM_A" {
            let toml = format!("kind = 'lstm'\nhidden = {hidden:?}\nsteps = {steps}");
            for (times, instruments) in [("", 1), (" × 16", 16)] {
                let mut asked = Asked::new(&toml, inputs, instruments, precision);
                bench.windows(&format!("{name} window{times} {kind}"), &mut asked);
            }
        }
    }
    let mlp = "kind = 'feed-forward'\nhidden = [128, 64, 32]";
    let mut asked = Asked::new(mlp, 50, 1, precision);
    bench.steps(&format!("MLP 50-128-64-32-1 {kind}"), &mut asked);
    for (times, instruments) in [("", 1), (" × 16", 16)] {
        let mut asked = Asked::new(TRANSFORMER, 50, instruments, precision);
        bench.windows(&format!("transformer window{times} {kind}"), &mut asked);
    }
    let causal = format!("{TRANSFORMER}\nattention = 'causal'");
    let mut asked = Asked::new(&causal, 50, 1, precision);
    bench.steps(&format!("transformer causal step {kind}"), &mut asked);
}

/// The default ensemble, a step of every instrument: each member alone, then all in turn.
fn measure_ensemble(bench: &mut Bench, kind: &str, precision: Precision) {
    let causal = format!("{TRANSFORMER}\nattention = 'causal'\nbias = 'alibi'");
    let members = [
        ("feed-forward", "kind = 'feed-forward'"),
        ("LSTM", "kind = 'lstm'"),
        ("CNN", "kind = 'cnn'"),
        ("transformer", &causal),
        ("autoencoder", "kind = 'autoencoder'"),
    ];
    let build = |(_, toml)| Asked::new(toml, FEATURES, INSTRUMENTS, precision);
    let mut all = members.map(build);
    for ((name, _), asked) in members.iter().zip(&mut all) {
        bench.steps(&format!("ensemble: {name} step × {INSTRUMENTS} {kind}"), asked);
    }
    let bytes = all.iter().map(|asked| asked.model.weight_bytes()).sum();
    let title = format!("ensemble: all steps × {INSTRUMENTS} {kind}");
    bench.row(
        &title,
        bytes,
        1,
        &mut all,
        |_| {},
        |all, call| {
            for asked in all {
                asked.step(call);
            }
        },
    );
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
        measure_each(&mut bench, &kind, precision);
        measure_ensemble(&mut bench, &kind, precision);
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
