//! What a decision cycle takes on a GPU, from features in the host's memory to values there, beside the CPU.
//!
//!     cargo bench -p purkinje-kernels --bench cuda -- [--cycles N] [--emulator]
//!
//! First the cerebellum of the default configuration for 1, 16, 64 and 256 instruments, every one of which has an
//! outcome to learn in every cycle: one call of `advance` and the outcomes' before it, timed together with the
//! monotonic clock, on one thread of the CPU and then on the device. Then a step of the STAC-ML sizes of LSTMs in
//! streaming mode, a graph of copy, kernels and copy. Then wide networks that have settled, with weights that learn and
//! weights that stand still, beside the time in which the device moves the bytes that a cycle has to: at the rate that
//! was measured of a sum of two long vectors, and without a launch. A twentieth of the cycles are run first and not
//! counted. Skips, saying so, where no device serves; with `--emulator` the kernels run on the CPU, which proves the
//! bench and measures nothing. Prints Markdown, microseconds and, for wide networks, milliseconds.

#![allow(clippy::unwrap_used, reason = "what it builds is its own")]

#[path = "../tests/random_weights/mod.rs"]
mod random_weights;

use std::process::ExitCode;
use std::time::Instant;

use purkinje_cuda::driver::{Driver, Launch, Operation};
use purkinje_cuda::emulator::Emulator;
use purkinje_cuda::images::Images;
use purkinje_cuda::probe::Probe;
use purkinje_cuda::real::CudaDriver;
use purkinje_cuda::sources::PROBE;
use purkinje_kernels::cerebellum::{
    Cerebellum, CerebellumConfig, WideCerebellum, WideConfig, WideError, WideReport,
};
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::cuda::{ACTIVE, DevicePredictor, DeviceServing, Execution};
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::rng::Key;

/// Cycles from a forecast to its outcome.
const HORIZON: u64 = 10;

/// Inputs, hidden units by layer and steps of the STAC-ML networks.
const LSTMS: [(&str, usize, &[usize]); 3] =
    [("LSTM_A", 100, &[100; 2]), ("LSTM_B", 250, &[200; 3]), ("LSTM_C", 500, &[1_000; 4])];

struct Options {
    cycles: u64,
    emulator: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { cycles: 10_000, emulator: false };
        let mut args = args.filter(|a| a != "--bench"); // Cargo's own.
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--emulator" => options.emulator = true,
                "--cycles" => {
                    let given = args.next().ok_or("--cycles: expected a value")?;
                    let cycles = given.parse().ok().filter(|n| (20..=1_000_000).contains(n));
                    options.cycles =
                        cycles.ok_or(format!("--cycles {given}: expected 20 to 1000000"))?;
                }
                other => return Err(format!("{other}: expected --cycles N or --emulator")),
            }
        }
        Ok(options)
    }

    fn driver(&self) -> Box<dyn Driver> {
        if self.emulator {
            return Box::new(Emulator::with_seed(0).unwrap());
        }
        Box::new(
            CudaDriver::open(0, Images::new(purkinje_cuda::images::Settings::default())).unwrap(),
        )
    }
}

/// Runs a twentieth of the calls and then all of them, and tells p50, p99 and p99.9 of these, microseconds.
fn measured(calls: u64, call: impl FnMut(u64)) -> String {
    let [p50, p99, p999] = quantiles_us(calls, call);
    format!("{p50:.1} | {p99:.1} | {p999:.1}")
}

/// The same as numbers.
fn quantiles_us(calls: u64, mut call: impl FnMut(u64)) -> [f64; 3] {
    (0..calls / 20).for_each(&mut call);
    let mut took_ns: Vec<u64> = (calls / 20..calls / 20 + calls)
        .map(|n| {
            let begin = Instant::now();
            call(n);
            begin.elapsed().as_nanos() as u64
        })
        .collect();
    took_ns.sort_unstable();
    [0.5, 0.99, 0.999]
        .map(|share| took_ns[((took_ns.len() - 1) as f64 * share) as usize] as f64 / 1e3)
}

/// A cycle of all instruments and the outcomes that became known since the last.
fn cerebellum(options: &Options, instruments: usize, on_device: bool) -> String {
    let config = CerebellumConfig { instruments, ..CerebellumConfig::default() };
    let each = config.features;
    let mut net = Cerebellum::new(config).unwrap();
    if on_device {
        // Copies of the state are no part of a cycle.
        let prepared = net.device_plan().prepare(options.driver(), u64::MAX).unwrap();
        net.move_to(prepared);
    }
    let rows = 64;
    let features: Vec<f32> =
        (0..(rows * instruments * each) as u64).map(|k| Key::new(1).normal(k)).collect();
    let active = vec![true; instruments];
    let mut values = vec![0.0; instruments];
    measured(options.cycles, |cycle| {
        if let Some(forecast) = cycle.checked_sub(HORIZON) {
            for k in 0..instruments {
                net.learn(k, forecast, Key::new(2).fork(cycle).uniform(k as u64) - 0.5);
            }
        }
        let row = cycle as usize % rows * instruments * each;
        net.advance(cycle, &features[row..row + instruments * each], &active, &mut values);
    })
}

/// A step of an LSTM for one instrument.
fn lstm(options: &Options, inputs: usize, hidden: &[usize]) -> String {
    let mut driver = options.driver();
    let text = format!(
        "kind = \"lstm\"\ninputs = {inputs}\noutputs = 1\nsteps = 50\nhidden = {hidden:?}\n"
    );
    let architecture = Architecture::from_toml(&text).unwrap();
    let tensors = random_weights::tensors(&random_weights::lstm(inputs, hidden), 1);
    let serving = DeviceServing {
        instruments: 1,
        precision: Precision::F32,
        row_stride: inputs,
        places: None,
        execution: Execution::Auto,
    };
    let predictor = DevicePredictor::new(&mut *driver, &architecture, tensors, &serving).unwrap();
    let in_bytes = 4 * inputs + 1;
    let (rows, answers) = (driver.allocate(in_bytes).unwrap(), driver.allocate(4).unwrap());
    let (from, to) = (driver.pin(in_bytes).unwrap(), driver.pin(4).unwrap());
    let mut operations = vec![Operation::CopyIn { from, to: rows, bytes: in_bytes }];
    operations.extend(predictor.operations(rows, rows.add(4 * inputs), answers));
    operations.push(Operation::CopyOut { from: answers, to, bytes: 4 });
    let graph = driver.graph(&operations).unwrap();
    let row = random_weights::numbers(Key::new(2), inputs, 1.0);
    measured(options.cycles, |_| {
        let block = driver.pinned(from);
        for (place, x) in block.as_chunks_mut::<4>().0.iter_mut().zip(&row) {
            *place = x.to_le_bytes();
        }
        block[4 * inputs] = ACTIVE;
        driver.launch(graph).unwrap();
        driver.wait().unwrap();
    })
}

/// Bytes a second that the device moves where it adds one long vector to another.
fn bytes_per_s(options: &Options) -> f64 {
    let (numbers, rounds) = if options.emulator { (1 << 12, 2) } else { (1 << 28, 20) };
    let mut driver = options.driver();
    driver.load(&PROBE).unwrap();
    let (x, y) = (driver.allocate(4 * numbers).unwrap(), driver.allocate(4 * numbers).unwrap());
    // As `SaxpyArgument` of `probe.cu`: from where, to where, how many, times what.
    let count_and_factor = [numbers as u32, 0.5_f32.to_bits()];
    let mut argument: Vec<u8> =
        [x, y].into_iter().flat_map(|place| place.0.to_le_bytes()).collect();
    argument.extend(count_and_factor.into_iter().flat_map(u32::to_le_bytes));
    let grid = [8 * driver.device().multiprocessors, 1, 1];
    let add = Operation::Launch(Launch {
        kernel: "probe_saxpy",
        grid,
        threads: 256,
        shared_bytes: 0,
        argument,
    });
    let graph = driver.graph(&vec![add; rounds]).unwrap();
    let [p50_us, ..] = quantiles_us(20, |_| {
        driver.launch(graph).unwrap();
        driver.wait().unwrap();
    });
    // Two are read and one is written.
    (12 * numbers * rounds) as f64 / (p50_us * 1e-6)
}

/// A row: cycles of a wide network with weights that learn or stand still, on the CPU or a device that moves so many
/// bytes a second.
fn wide(
    options: &Options,
    name: &str,
    config: &WideConfig,
    plastic: bool,
    bytes_per_s: Option<f64>,
) -> Result<String, WideError> {
    let mut net = match bytes_per_s {
        Some(_) => WideCerebellum::on_device(config, options.driver())?,
        None => WideCerebellum::on_cpu(config)?,
    };
    net.settle(if options.emulator { 2 } else { 40 })?;
    net.set_plastic(plastic);
    let mut report = WideReport::default();
    let mut features = vec![0.0; config.features];
    let [p50, p99, p999] = quantiles_us((options.cycles / 10).max(20), |cycle| {
        let key = Key::new(3).fork(cycle);
        features.iter_mut().zip(0..).for_each(|(x, k)| *x = key.normal(k));
        net.teach(key.uniform(1 << 32) - 0.5);
        report = net.advance(&features).unwrap();
    })
    .map(|us| us / 1e3);
    let cycle_s = config.steps_per_cycle as f64 * f64::from(config.step_ms) * 1e-3;
    let granule_hz = report.granule as f64 / (config.granules() as f64 * cycle_s);
    let bytes = config.cycle_bytes(&report, plastic) as f64;
    let megabytes = bytes / 1e6 / config.steps_per_cycle as f64;
    let floor = bytes_per_s.map_or_else(String::new, |rate| format!("{:.3}", 1e3 * bytes / rate));
    let learns = if plastic { "learn" } else { "stand still" };
    let on = if bytes_per_s.is_some() { "device" } else { "CPU" };
    Ok(format!(
        "| {name}, weights {learns} | {on} | {granule_hz:.1} | {megabytes:.1} | {p50:.3} | {p99:.3} | {p999:.3} | {floor} |"
    ))
}

/// Prints the rows of all sizes.
fn wide_table(options: &Options) -> Result<(), WideError> {
    let rate = bytes_per_s(options);
    println!("\nThe device moves {:.0} GB/s.\n", rate / 1e9);
    println!(
        "| cycle of a wide network | on | granule Hz | MB a step | p50 ms | p99 | p99.9 | floor ms |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    let smallest = ("100,000 x 100", WideConfig::hundred_thousand());
    let sizes = if options.emulator {
        vec![("370 x 26", WideConfig::tiny())]
    } else {
        vec![
            smallest.clone(),
            ("1,000,000 x 1,000", WideConfig::million()),
            ("4,000,000 x 15,000", WideConfig::four_million()),
        ]
    };
    for plastic in [false, true] {
        if !options.emulator {
            println!("{}", wide(options, smallest.0, &smallest.1, plastic, None)?);
        }
        for (name, config) in &sizes {
            match wide(options, name, config, plastic, Some(rate)) {
                Ok(row) => println!("{row}"),
                Err(error @ WideError::Memory { .. }) => println!("| {name} | skipped: {error} |"),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let probe = Probe::new(&purkinje_cuda::images::Settings::default());
    if let (Some(missing), false) = (probe.missing(0), options.emulator) {
        println!("skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    println!("{probe}\n");
    println!("| cycle of the cerebellum | CPU p50 | p99 | p99.9 | device p50 | p99 | p99.9 |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for instruments in [1, 16, 64, 256] {
        let cpu = cerebellum(&options, instruments, false);
        let device = cerebellum(&options, instruments, true);
        println!("| {instruments} instruments | {cpu} | {device} |");
    }
    println!("\n| step of an LSTM, one instrument | device p50 | p99 | p99.9 |\n|---|--:|--:|--:|");
    for (name, inputs, hidden) in LSTMS {
        println!("| {name} | {} |", lstm(&options, inputs, hidden));
    }
    if let Err(error) = wide_table(&options) {
        eprintln!("wide networks: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
