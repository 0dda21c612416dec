//! The real program under a service manager that is only a socket: what it tells, in which order, what feeds the
//! watchdog and what starves it.
//!
//! Nothing here is awaited by the clock: a stretch without a message is measured in cycles that the daemon itself
//! says it could not make.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Command, Stdio},
    ptr::null_mut,
    time::Duration,
};

use support::{Daemon, number, purkinje, wait_for_status, wait_until};

/// A service manager's end of the notification socket, and the directory that the daemon runs in.
struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    messages: Vec<String>,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        std::fs::write(dir.path().join("purkinje.toml"), "").unwrap();
        Self { dir, socket, messages: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.path("purkinje.toml"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = purkinje(self.dir.path());
        command.args(["run", "--config", "purkinje.toml", "--set", "terminal=off"]);
        command.args(["--set", "cycle.period_ms=20", "--set", "simulator.instruments=2"]);
        command.args(["--set", "strategy.cerebellum.granule_cells=200"]);
        command.arg("--set").arg(format!("control.socket={}", self.path("control").display()));
        command.env("NOTIFY_SOCKET", self.path("notify"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the daemon with a watchdog that waits for so long.
    fn start(&self, watchdog: Duration) -> Daemon {
        let mut command = self.command();
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Daemon(command.spawn().unwrap())
    }

    /// Takes what has arrived.
    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    self.messages.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for a message after the first `from` that has a line which begins so; returns its place.
    fn wait(&mut self, from: usize, line: &str) -> usize {
        let mut found = None;
        wait_until(line, || {
            self.receive();
            found = (from..self.messages.len()).find(|at| has(&self.messages[*at], line));
            found.is_some()
        });
        found.unwrap()
    }

    fn count(&mut self, line: &str) -> usize {
        self.receive();
        self.messages.iter().filter(|message| has(message, line)).count()
    }

    fn status(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        wait_for_status(&self.path("control"), what, wanted)
    }
}

fn has(message: &str, line: &str) -> bool {
    message.lines().any(|l| l.starts_with(line))
}

fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole timespec that lives through the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) }, 0);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

#[test]
fn a_manager_is_told_of_the_start_of_cycles_of_reloads_and_of_the_end() {
    let mut manager = Manager::new();
    let mut daemon = manager.start(Duration::from_millis(400));
    let ready = manager.wait(0, "READY=1");
    let first = manager.wait(0, "WATCHDOG=1");
    assert!(ready < first, "{:?}", manager.messages);
    manager.wait(0, "STATUS=running: 2 instruments ready");
    let second = manager.wait(first + 1, "WATCHDOG=1");
    manager.wait(second + 1, "WATCHDOG=1");

    manager.configure("[strategy.thresholds]\nconfidence = 0.9\n");
    let before_us = monotonic_us();
    daemon.signal(libc::SIGHUP);
    let reloading = manager.wait(second, "RELOADING=1");
    let at_us = manager.messages[reloading].lines().find_map(|l| l.strip_prefix("MONOTONIC_USEC="));
    let at_us: u64 = at_us.expect("the time in the same message").parse().unwrap();
    assert!((before_us..=monotonic_us()).contains(&at_us), "{at_us}");
    let reloaded = manager.wait(reloading + 1, "READY=1");
    let told = &manager.messages[reloaded];
    assert!(
        told.contains("STATUS=reloaded: strategy.thresholds.confidence = 0.9 (was 0.7)"),
        "{told}"
    );

    manager.configure("[strategy.thresholds]\nconfidence = 7\n[cycle]\nperiod = 1\n");
    daemon.signal(libc::SIGHUP);
    let reloading = manager.wait(reloaded + 1, "RELOADING=1");
    let refused = manager.wait(reloading + 1, "READY=1");
    let told = &manager.messages[refused];
    assert!(told.contains("STATUS=reload refused: ") && told.contains("cycle.period"), "{told}");
    let status = manager.status("both reloads", |s| number(s, "reloads_refused") == 1);
    assert_eq!(number(&status, "reloads_applied"), 1);
    let after = number(&status, "cycles") + 20;
    manager.status("cycles after a refused file", |s| number(s, "cycles") >= after);
    manager.wait(refused + 1, "WATCHDOG=1");

    daemon.signal(libc::SIGTERM);
    let stopping = manager.wait(refused, "STOPPING=1");
    assert!(daemon.end().success());
    manager.receive();
    assert!(!manager.messages[stopping..].iter().any(|m| has(m, "WATCHDOG=1")), "after the end");
    assert_eq!(manager.count("READY=1"), 3, "one of the start and one of each reload");
}

#[test]
fn the_command_reload_says_what_it_changed_and_fails_with_the_reason() {
    let mut manager = Manager::new();
    let daemon = manager.start(Duration::from_mins(1));
    manager.wait(0, "READY=1");
    let reload = || {
        let socket = manager.path("control");
        purkinje(manager.dir.path()).arg("reload").arg("--socket").arg(socket).output().unwrap()
    };
    manager.configure("[pipeline]\nstale_after_ms = 5000\n");
    let output = reload();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("\"pipeline.stale_after_ms\":\"5000\"")
    );
    manager.configure("[pipeline]\nbook_levels = 500\n");
    let output = reload();
    assert!(!output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("a restart is needed for pipeline.book_levels = 500 (was 1000)"),
        "{told}"
    );
    drop(daemon);
}

#[test]
fn config_diff_prints_what_a_reload_takes_and_fails_where_a_restart_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("purkinje.toml"), "[pipeline]\nstale_after_ms = 4000\n")
        .unwrap();
    let diff = |text: &str| {
        std::fs::write(dir.path().join("new.toml"), text).unwrap();
        let output = purkinje(dir.path()).args(["config", "diff", "new.toml"]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let words =
            |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        (output.status.code(), lines.lines().map(words).collect::<Vec<_>>())
    };
    assert_eq!(diff("[pipeline]\nstale_after_ms = 4_000\n"), (Some(0), vec![]));
    let live = "pipeline.stale_after_ms 4000 5000 live";
    let expected = vec!["key old new takes".to_owned(), live.to_owned()];
    assert_eq!(diff("[pipeline]\nstale_after_ms = 5000\n"), (Some(0), expected));
    let (code, lines) = diff("[pipeline]\nbook_levels = 500\nstale_after_ms = 4000\n");
    assert_eq!((code, &lines[1][..]), (Some(1), "pipeline.book_levels 1000 500 restart"));
}

#[test]
fn a_watchdog_that_is_meant_for_another_process_is_not_fed() {
    let mut manager = Manager::new();
    let mut command = manager.command();
    command.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut daemon = Daemon(command.spawn().unwrap());
    manager.wait(0, "READY=1");
    manager.status("cycles", |s| number(s, "cycles") >= 50);
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().success());
    assert_eq!(manager.count("WATCHDOG=1"), 0, "{:?}", manager.messages);
}

/// One thread of a daemon, stopped as a debugger stops it: the others run on. It needs no hook in the daemon, and the
/// thread stands wherever it happens to be. Must be dropped by the thread that made it.
struct StoppedThread(libc::pid_t);

impl StoppedThread {
    /// Stops the thread of that name; `None` where the system forbids it.
    fn stop(daemon: &Daemon, name: &str) -> Option<Self> {
        let tasks = format!("/proc/{}/task", daemon.0.id());
        let named =
            |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap().trim() == name;
        let mut tasks = std::fs::read_dir(tasks).unwrap().map(|entry| entry.unwrap().path());
        let task = tasks.find(named).expect("a thread of that name");
        let id: libc::pid_t = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // SAFETY: seizing and stopping a child's thread touches no memory of this process.
        let seized =
            unsafe { libc::ptrace(libc::PTRACE_SEIZE, id, null_mut::<u8>(), null_mut::<u8>()) };
        if seized == -1 {
            eprintln!(
                "skipped: no thread can be stopped here: {}",
                std::io::Error::last_os_error()
            );
            return None;
        }
        // SAFETY: as above; the thread has been seized.
        let stopped =
            unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, id, null_mut::<u8>(), null_mut::<u8>()) };
        assert_eq!(stopped, 0, "{}", std::io::Error::last_os_error());
        let mut status = 0;
        // SAFETY: the pointer is to an integer that lives through the call.
        assert_eq!(unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) }, id);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        Some(Self(id))
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        // SAFETY: as in `stop`. Fails when the daemon has ended, which is fine.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, null_mut::<u8>(), null_mut::<u8>()) };
    }
}

#[test]
fn a_model_thread_that_is_stuck_starves_the_watchdog_while_the_rest_runs() {
    let mut manager = Manager::new();
    let watchdog = Duration::from_millis(200);
    let mut daemon = manager.start(watchdog);
    let first = manager.wait(0, "WATCHDOG=1");
    manager.wait(first + 1, "WATCHDOG=1");
    let Some(stopped) = StoppedThread::stop(&daemon, "pk-model") else { return };

    // The engine runs on and misses cycles, of which there are ten in the watchdog's time.
    let missed = |manager: &Manager, at_least: u64| {
        let status = manager.status("missed cycles", |s| number(s, "missed_cycles") >= at_least);
        number(&status, "missed_cycles")
    };
    let stopped_at = missed(&manager, 0);
    let settled = missed(&manager, stopped_at + 20);
    let fed = manager.count("WATCHDOG=1");
    missed(&manager, settled + 200);
    assert_eq!(manager.count("WATCHDOG=1"), fed, "fed while no cycle was decided");

    let from = manager.messages.len();
    drop(stopped);
    manager.wait(from, "WATCHDOG=1");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().success());
}
