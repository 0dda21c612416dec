//! CPU seconds a second of biological time of the benchmark network, beside other simulators.
//!
//!     cargo bench -p purkinje-kernels --bench snn -- [S] [M] [L] [--repeat N] [--back NAMES] [--floor]
//!
//! The network, its inputs and the peers are those of `../shared/bench/snn`: `NAMES` is a list such as
//! `numba,nest` (numba alone if left out, `none` for nobody), run in this very run by the interpreter
//! that `PYTHON` names (`python3` if unset); `--floor` measures what this machine allows as well.
//! Every figure is the best of N runs of one thread; building is not in it. Brian2's is wall time,
//! which is all that its programs report. Skips, saying so, where the network or numpy is absent.
//!
//! Invariant: a run whose rates are more than 1 % from the published ones is an error, not a figure.

#[path = "../tests/support/mod.rs"]
mod support;

use purkinje_kernels::cerebellum::{description::Cell, engine::Simulation};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use support::exported::{CELLS, Exported, Mode, RATES_HZ, check_rates, load, python, script};

/// What the command line asks for.
struct Options {
    sizes: Vec<&'static str>,
    repeat: usize,
    back: String,
    floor: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options =
            Self { sizes: Vec::new(), repeat: 5, back: "numba".to_owned(), floor: false };
        let mut args = args.filter(|a| a != "--bench"); // Cargo's own.
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg}: expected a value"));
            match arg.as_str() {
                "--repeat" => {
                    let given = value()?;
                    options.repeat = given
                        .parse()
                        .ok()
                        .filter(|&n| (1..=1_000).contains(&n))
                        .ok_or_else(|| format!("--repeat {given}: expected 1 to 1000"))?;
                }
                "--back" => options.back = value()?,
                "--floor" => options.floor = true,
                size => {
                    let known = RATES_HZ.iter().find(|r| r.0 == size).ok_or_else(|| {
                        format!("{size}: expected S, M, L, --repeat, --back or --floor")
                    })?;
                    options.sizes.push(known.0);
                }
            }
        }
        if options.sizes.is_empty() {
            options.sizes = RATES_HZ.iter().map(|r| r.0).collect();
        }
        Ok(options)
    }
}

/// What the script reports of the other simulators.
#[derive(Default, Deserialize)]
struct Peers {
    rows: Vec<PeerRow>,
    floor: BTreeMap<String, Floor>,
}

#[derive(Deserialize)]
struct PeerRow {
    back: String,
    size: String,
    mode: String,
    wall_s: f64,
    cpu_s: Option<f64>,
    /// Wall time over biological time.
    rtf: f64,
}

impl PeerRow {
    fn seconds(&self) -> f64 {
        self.rtf * self.cpu_s.map_or(1.0, |cpu| cpu / self.wall_s)
    }
}

#[derive(Deserialize)]
struct Floor {
    #[serde(rename = "static")]
    fixed: f64,
    plastic: f64,
}

impl Peers {
    fn measure(options: &Options, folder: &Path) -> Result<Self, String> {
        if options.back == "none" && !options.floor {
            return Ok(Self::default());
        }
        let file = folder.join("snn_peers.json");
        let mut command = Command::new(python());
        command.arg(script()).arg("peers").arg(&file).args(["--back", &options.back]);
        command.args(["--sizes", &options.sizes.join(",")]);
        if options.floor {
            command.arg("--floor");
        }
        let run = command.output().map_err(|e| format!("{}: {e}", python()))?;
        if !run.status.success() {
            let said = [run.stdout, run.stderr].concat();
            return Err(format!("the peers did not run: {}", String::from_utf8_lossy(&said)));
        }
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Names and seconds of those that ran this case; of a rule's two forms, the faster.
    fn of(&self, size: &str, mode: Mode) -> BTreeMap<&str, f64> {
        let mut best = BTreeMap::new();
        for row in &self.rows {
            if row.size == size && row.mode.trim_end_matches("_lazy") == mode.name() {
                let seconds = best.entry(row.back.as_str()).or_insert(f64::INFINITY);
                *seconds = row.seconds().min(*seconds);
            }
        }
        best
    }
}

/// CPU seconds of this process, all threads.
fn cpu_seconds() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec to write to; the clock exists on every Linux.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    assert_eq!(status, 0, "the clock of CPU time");
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// Runs the second of input on a fresh network; gives CPU seconds a second and the rates.
fn run(network: &Exported, mode: Mode) -> (f64, [f64; 4]) {
    let mut simulation =
        Simulation::with_connections(&network.description(mode), network.explicit(), 1)
            .expect("the exported network fits its description");
    for (cell, v0) in network.v0() {
        simulation.potentials_mut(cell).copy_from_slice(&v0);
    }
    let cells = CELLS.map(|cell| simulation.network().count(cell));
    let mut spikes = [0_usize; 4];
    let start = cpu_seconds();
    for step in 0..network.steps {
        simulation.inject(Cell::Mossy, &network.mossy[step]);
        simulation.inject(Cell::Olive, &network.climbing[step]);
        simulation.step();
        for (count, cell) in spikes.iter_mut().zip(CELLS) {
            *count += simulation.spikes(cell).len();
        }
    }
    let seconds = network.steps as f64 * 1e-3;
    let cpu = (cpu_seconds() - start) / seconds;
    (cpu, std::array::from_fn(|k| spikes[k] as f64 / seconds / cells[k] as f64))
}

/// The best of the runs, or which rate is wrong.
fn measure(network: &Exported, size: &str, mode: Mode, repeat: usize) -> Result<f64, String> {
    let mut best = f64::INFINITY;
    for _ in 0..repeat {
        let (cpu, rates) = run(network, mode);
        check_rates(size, rates).map_err(|fault| format!("{}: {fault}", mode.name()))?;
        best = best.min(cpu);
    }
    Ok(best)
}

fn table(options: &Options) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut lines = Vec::new();
    for &size in &options.sizes {
        let Some(network) = load(size, folder) else { return Ok(()) };
        for mode in Mode::ALL {
            lines.push((size, mode, measure(&network, size, mode, options.repeat)?));
        }
    }
    // After ours, so that neither disturbs the other.
    let peers = Peers::measure(options, folder)?;
    println!("cpu s per biological s, one thread; behind a peer, how many times ours it takes");
    println!("{:<5}{:<8}{:>9}  {:<22}peers", "size", "mode", "purkinje", "floor (ours over it)");
    for (size, mode, ours) in lines {
        let floor = peers.floor.get(size).map_or_else(String::new, |floor| {
            let floor = if mode == Mode::Static { floor.fixed } else { floor.plastic };
            format!("{floor:.4} ({:.2}x)", ours / floor)
        });
        let mut line = format!("{size:<5}{:<8}{ours:>9.4}  {floor:<22}", mode.name());
        for (name, seconds) in peers.of(size, mode) {
            write!(line, "{name} {seconds:.4} ({:.2}x)  ", seconds / ours)
                .map_err(|e| e.to_string())?;
        }
        println!("{}", line.trim_end());
    }
    Ok(())
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| table(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snn: {error}");
            ExitCode::FAILURE
        }
    }
}
