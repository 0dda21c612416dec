//! The end-to-end latency harness: the real `purkinje run` against its embedded exchange, for 6 (the
//! default), 16 and 64 instruments, with the stage table of its own report, its peak memory, and where
//! the age of a signal comes from.
//!
//! Seconds a run: first argument that is a number, else `PURKINJE_BENCH_SECONDS`, else 20. Exchange,
//! feeds, engine, model and sink share the machine's cores, so that a machine with few of them shows
//! the scheduler as much as the program. Feature windows take 5 s to fill, and until then the model rests.

use std::io::Read;
use std::mem::MaybeUninit;
use std::process::{Command, ExitCode, Stdio};

/// The instruments of each run.
const INSTRUMENTS: [usize; 3] = [6, 16, 64];

/// What a finished run leaves.
struct Finished {
    report: String,
    peak_rss_bytes: u64,
    cpu_s: f64,
    success: bool,
}

/// Runs the daemon and waits for it; the kernel tells its peak memory and processor time.
fn run(instruments: usize, seconds: u64) -> std::io::Result<Finished> {
    let dir = tempfile::tempdir()?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_purkinje"))
        .args(["run", "--duration", &seconds.to_string()])
        .args(["--set", "terminal=off"])
        .args(["--set", &format!("simulator.instruments={instruments}")])
        .args(["--set", &format!("control.socket={}", dir.path().join("control").display())])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut report = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut report)?;
    }
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let pid = i32::try_from(child.id()).map_err(std::io::Error::other)?;
    // SAFETY: `pid` is our own child, not waited for yet; both pointers are to live local memory.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    if waited != pid {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: all zero is a valid `rusage`, and a successful `wait4` has filled it in.
    let usage = unsafe { usage.assume_init() };
    let seconds_of = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    Ok(Finished {
        report,
        peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
        cpu_s: seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
        success: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
    })
}

/// The lines of a section of the report, from its title to the next empty line.
fn section<'a>(report: &'a str, title: &str) -> Vec<&'a str> {
    let lines = report.lines().skip_while(|line| !line.starts_with(title));
    lines.take_while(|line| !line.is_empty()).collect()
}

/// Median and 99th percentile of a stage in the report's latency table, µs.
fn stage(table: &[&str], name: &str) -> Option<(f64, f64)> {
    let rest = table.iter().find_map(|line| line.trim_start().strip_prefix(name))?;
    let numbers: Vec<f64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // count, p50, p90, p99, …
    Some((*numbers.get(1)?, *numbers.get(3)?))
}

/// Where the age of the newest input comes from: the wait for the cut is what the stages after it do
/// not explain.
fn decomposition(table: &[&str]) -> Option<()> {
    let (age, age_p99) = stage(table, "socket→signal")?;
    let mut after_cut = 0.0;
    println!("\n  socket→signal, median {age:.0} µs, p99 {age_p99:.0} µs, of which at the median");
    let on_the_way = stage(table, "socket→decoded").zip(stage(table, "decoded→book"));
    if let Some(((decoded, _), (book, _))) = on_the_way {
        println!("    decode and book      {:>9.1} µs", decoded + book);
    }
    for name in ["cycle jitter", "features", "batch→model", "model", "decision", "hand-over"] {
        let (median, p99) = stage(table, name)?;
        println!("    {name:<20} {median:>9.1} µs  (p99 {p99:.1})");
        after_cut += median;
    }
    println!("    waiting for the cut  {:>9.1} µs  (the rest)", (age - after_cut).max(0.0));
    Some(())
}

fn main() -> ExitCode {
    let argument = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let variable = || std::env::var("PURKINJE_BENCH_SECONDS").ok()?.parse().ok();
    let seconds: u64 = argument.or_else(variable).unwrap_or(20);
    let mut failed = false;
    for instruments in INSTRUMENTS {
        println!("\n== purkinje run, {instruments} instruments, {seconds} s");
        let finished = match run(instruments, seconds) {
            Ok(finished) => finished,
            Err(error) => {
                println!("cannot run the daemon: {error}");
                failed = true;
                continue;
            }
        };
        failed |= !finished.success;
        for line in section(&finished.report, "run") {
            println!("{line}");
        }
        let table = section(&finished.report, "latency");
        for line in &table {
            println!("{line}");
        }
        if decomposition(&table).is_none() {
            println!("  the report has no whole latency table");
            failed = true;
        }
        println!(
            "  peak RSS {:.1} MB; {:.2} s of processor time, {:.0} % of a core",
            finished.peak_rss_bytes as f64 / 1e6,
            finished.cpu_s,
            finished.cpu_s / seconds.max(1) as f64 * 100.0
        );
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
