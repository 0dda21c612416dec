//! What the whole-program tests share: configurations without files, replays with a journal, journals
//! read back strictly, a daemon process that does not outlive its test.
//!
//! Invariants: nothing here waits for a stretch of time where an event can be awaited, and every wait
//! has a deadline generous enough for a busy machine.

#![allow(dead_code, reason = "every test binary uses its own part of this module")]

pub(crate) mod browser;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod networks;
pub(crate) mod publishing;
pub(crate) mod records;
pub(crate) mod rows;

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use purkinje::{
    config::{Loaded, Sources, load},
    control,
    pipeline::replay_source::Speed,
    run::{
        replay::replay,
        report::Report,
        spine::{JournalOutlet, OutletConfig},
    },
    signals::{journal::JournalConfig, terminal::Mode},
};
use serde_json::Value;

/// After this an awaited event is taken to never happen.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// The built-in configuration with these keys set, independent of the host's files and environment.
pub(crate) fn loaded(sets: &[(&str, &str)]) -> Loaded {
    loaded_from(None, sets)
}

/// The same on top of a file.
pub(crate) fn loaded_from(config_path: Option<PathBuf>, sets: &[(&str, &str)]) -> Loaded {
    let sets = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let sources = Sources { config_path, env: Vec::new(), sets, search: Vec::new() };
    load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Captures of the data set, given relative to its `hftbacktest` folder; says so when absent.
pub(crate) fn captures(files: &[&str]) -> Option<Vec<PathBuf>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/ws_captures/hftbacktest");
    let paths: Vec<PathBuf> = files.iter().map(|file| Path::new(root).join(file)).collect();
    if let Some(absent) = paths.iter().find(|path| !path.exists()) {
        println!("skipped: {} is absent", absent.display());
        return None;
    }
    Some(paths)
}

/// Signals into a journal only.
pub(crate) fn outlets(journal: Option<&Path>) -> OutletConfig {
    OutletConfig {
        journal: journal.map(|path| JournalOutlet {
            path: path.to_owned(),
            config: JournalConfig::default(),
            sync: false,
        }),
        kafka: None,
        terminal: Mode::Off,
        title: String::new(),
    }
}

/// Replays at full speed, with a journal if one is named.
pub(crate) fn replayed(loaded: &Loaded, paths: &[PathBuf], journal: Option<&Path>) -> Report {
    let stop = Arc::new(AtomicBool::new(false));
    replay(loaded, paths, Speed::Max, &outlets(journal), &stop).unwrap()
}

/// The lines of a journal: all of them whole, each one JSON object.
pub(crate) fn journal(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{}: a torn last line", path.display());
    text.lines()
        .enumerate()
        .map(|(i, line)| {
            let value: Value = serde_json::from_str(line)
                .unwrap_or_else(|e| panic!("{} line {}: {e}: {line}", path.display(), i + 1));
            assert!(value.is_object(), "{line}");
            value
        })
        .collect()
}

/// The lines of a journal without the emit time, the only part that a replay makes anew.
pub(crate) fn comparable(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let cut = |line: &str| line.split(",\"ts_signal_ns\":").next().unwrap_or(line).to_owned();
    text.lines().map(cut).collect()
}

/// Whether a line is a state record.
pub(crate) fn is_state(line: &Value) -> bool {
    line["record"] == "state"
}

/// Whether a line is a signal.
pub(crate) fn is_signal(line: &Value) -> bool {
    line["record"].is_null()
}

/// Asserts that signals count from 1 without a hole, other records aside; returns how many there are.
pub(crate) fn assert_contiguous(lines: &[Value]) -> u64 {
    let mut next = 1;
    for line in lines.iter().filter(|line| is_signal(line)) {
        assert_eq!(line["seq"].as_u64(), Some(next), "{line}");
        next += 1;
    }
    next - 1
}

/// How often each reason occurs.
pub(crate) fn reasons(lines: &[Value]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines.iter().filter(|line| is_signal(line)) {
        *counts.entry(line["reason"].as_str().unwrap()).or_default() += 1;
    }
    counts
}

/// Asks `done` again and again until it says yes.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a daemon answers to `status`, or nothing while it does not answer.
pub(crate) fn status(socket: &Path) -> Option<Value> {
    serde_json::from_str(&control::send(socket, "status").ok()?).ok()
}

/// Waits until the daemon's status is as wanted, and returns it.
pub(crate) fn wait_for_status(socket: &Path, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = None;
    wait_until(what, || {
        last = status(socket);
        last.as_ref().is_some_and(&wanted)
    });
    last.unwrap()
}

/// One number of a status.
pub(crate) fn number(status: &Value, key: &str) -> u64 {
    status[key].as_u64().unwrap_or_else(|| panic!("{status} has no {key}"))
}

/// The number before `unit` in the report's line that begins with `name`.
pub(crate) fn reported(report: &str, name: &str, unit: &str) -> u64 {
    let line = report
        .lines()
        .find_map(|l| l.trim_start().strip_prefix(name))
        .unwrap_or_else(|| panic!("no line {name:?} in\n{report}"));
    let before = &line[..line.find(unit).unwrap_or_else(|| panic!("no {unit:?} in {line:?}"))];
    before.split_whitespace().next_back().unwrap().parse().unwrap()
}

/// Splitmix64, so that the moments of the kills are spread but known.
pub(crate) fn seeded(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The program, in an empty directory and without this host's settings.
pub(crate) fn purkinje(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purkinje"));
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PURKINJE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Lets no file of the command grow beyond so many bytes, as a full disk would not.
pub(crate) fn limit_file_size(command: &mut Command, bytes: u64) {
    // SAFETY: between fork and exec only two calls that are async-signal-safe are made.
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// A process that is killed when the test ends early.
#[derive(Debug)]
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    /// Sends one signal.
    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.0.id()).unwrap();
        // SAFETY: kill touches no memory; the child has not been waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon's end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it has ended, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
