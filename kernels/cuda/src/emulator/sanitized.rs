//! Runs tests once more, under the address and undefined-behaviour sanitizers.
//!
//! The object's sanitizers want their libraries loaded before anything else, so a test binary starts itself again
//! with them in `LD_PRELOAD` and [`SANITIZE`] set, on which [`super::Object::shared`] is a sanitized one. Then the
//! allocations of the test, in Rust, have red zones too.

use std::{env, fs::File, io::Read, path::PathBuf, process::Command};

use super::compile::{SANITIZE, command, compiler};

/// The compiler's libraries that are loaded first.
const LIBRARIES: [&str; 2] = ["libasan.so", "libubsan.so"];

/// How a run of tests under the sanitizers went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SanitizedRun {
    /// Tests that passed: 0 where the process ended before it said so, and where no test has the name that was
    /// asked for, which is a success too; so look at this.
    pub passed: u64,
    /// Whether the process says that all went well.
    pub success: bool,
    /// What it wrote, the sanitizers' report included.
    pub output: String,
}

/// A command that runs tests of the calling test binary under the sanitizers: those that `arguments` of Rust's test
/// harness choose. None, and a line on stderr that says why, where the compiler has no sanitizers, and in a process
/// that runs under them already.
pub fn sanitized_command(arguments: &[&str]) -> Option<Command> {
    if env::var_os(SANITIZE).is_some() {
        return None;
    }
    let mut preload = Vec::new();
    for name in LIBRARIES {
        let Some(path) = library(name) else {
            eprintln!("skipped: the C++ compiler has no {name}");
            return None;
        };
        preload.push(path.display().to_string());
    }
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("skipped: the path of the test binary is not known: {error}");
            return None;
        }
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(SANITIZE, "1")
        .env("LD_PRELOAD", preload.join(" "))
        // What Rust's test harness keeps to its end is no leak worth telling.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .env("UBSAN_OPTIONS", "print_stacktrace=1");
    Some(command)
}

/// Runs what [`sanitized_command`] makes, to its end; none where that makes none or it does not start.
pub fn run_sanitized(arguments: &[&str]) -> Option<SanitizedRun> {
    let output = match sanitized_command(arguments)?.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: the test binary does not start again: {error}");
            return None;
        }
    };
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    let passed = text
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed"))
        .filter_map(|(count, _)| count.parse::<u64>().ok())
        .sum();
    text += &String::from_utf8_lossy(&output.stderr);
    Some(SanitizedRun { passed, success: output.status.success(), output: text })
}

/// Where a library of the compiler lies. It answers the bare name of one that it does not have, and some systems
/// have a linker script of that name, which cannot be loaded.
fn library(name: &str) -> Option<PathBuf> {
    let output = command(&compiler()).arg(format!("-print-file-name={name}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let mut magic = [0; 4];
    File::open(&path).ok()?.read_exact(&mut magic).ok()?;
    (path.is_absolute() && magic == *b"\x7fELF").then_some(path)
}
