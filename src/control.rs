//! The control socket: how `purkinje halt` reaches a running daemon.
//!
//! A Unix stream socket, readable and writable by the owner alone; one text line in, one JSON line
//! out. Commands: `halt`, `resume`, `reload`, `status`. What they change travels to the engine through a
//! bounded ring, so it takes effect at the next cycle and is part of every recording. The answer says whether the
//! daemon is ready, and why not, and what happened lately to connections, topics and books.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use purkinje_feeds::status::{Status, StatusEvent};
use thiserror::Error;

use crate::{
    lifecycle::Operator,
    pipeline::{live_stats::LiveStats, reload_counts::LastReload},
};

const LINE_LIMIT_BYTES: u64 = 256;
const PATIENCE: Duration = Duration::from_secs(2);

/// Status events told with an answer.
const NEWEST_EVENTS: usize = 32;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the socket could not be used.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Somebody answers on the socket already.
    #[error("control.socket = {path}: another purkinje answers there; give this one its own path")]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The system said no.
    #[error("control.socket = {path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The daemon refused the command.
    #[error("{reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The daemon answered with something else than expected.
    #[error("control.socket = {path}: the daemon answered {answer:?}")]
    Answer {
        /// The path.
        path: PathBuf,
        /// The answer.
        answer: String,
    },
}

/// Where the socket is when nothing is configured: the runtime directory of the service or user.
#[must_use]
pub fn default_path() -> PathBuf {
    let own = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = own("RUNTIME_DIRECTORY").or_else(|| own("XDG_RUNTIME_DIR")).filter(|d| d.is_dir());
    if let Some(dir) = dir {
        return dir.join("purkinje.sock");
    }
    let service = Path::new("/run/purkinje");
    if service.is_dir() {
        return service.join("purkinje.sock");
    }
    // SAFETY: geteuid has no preconditions and cannot fail.
    let uid = unsafe { libc::geteuid() };
    std::env::temp_dir().join(format!("purkinje-{uid}.sock"))
}

/// The listening side, on its own thread.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the server needs of the pipeline.
#[derive(Debug)]
pub struct ControlTarget {
    /// Whom commands are given to.
    pub operator: Operator,
    /// For `status`.
    pub stats: Arc<LiveStats>,
}

impl ControlServer {
    /// Binds the socket and starts to listen. A socket file nobody answers on is replaced.
    ///
    /// # Errors
    /// Another daemon answers there, or the path cannot be bound.
    pub fn start(path: &Path, target: ControlTarget) -> Result<Self, ControlError> {
        let io = |source| ControlError::Io { path: path.to_owned(), source };
        if UnixStream::connect(path).is_ok() {
            return Err(ControlError::Busy { path: path.to_owned() });
        }
        match fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(io)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("pk-control".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    match stream {
                        // A client that misbehaves only hurts itself.
                        Ok(stream) => drop(answer(&stream, &target)),
                        // Out of descriptors, say: trying again at once would only burn a core.
                        Err(_) => std::thread::sleep(ACCEPT_PAUSE),
                    }
                }
            })
            .map_err(io)?;
        Ok(Self { path: path.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Our own connection ends the accept call.
        let woken = UnixStream::connect(&self.path).is_ok();
        let _ = fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: &UnixStream, target: &ControlTarget) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(Read::take(stream, LINE_LIMIT_BYTES)).read_line(&mut line)?;
    let mut changes = None;
    let halt = match line.trim() {
        "halt" => Some(true),
        "resume" => Some(false),
        "status" => None,
        "reload" => match target.operator.reloader.reload() {
            Ok(applied) => {
                let told = applied.0.iter().map(|change| (change.key.as_str(), &change.new));
                changes = Some(serde_json::json!(told.collect::<BTreeMap<_, _>>()));
                None
            }
            Err(refusal) => {
                let text = serde_json::json!({ "error": format!("reload refused: {refusal}") });
                return writeln!(stream, "{text}");
            }
        },
        other => {
            let text = serde_json::json!({
                "error": format!("unknown command {other:?}, expected halt, resume, reload or status")
            });
            return writeln!(stream, "{text}");
        }
    };
    if let Some(halt) = halt
        && !target.operator.commands.halt(halt)
    {
        return writeln!(stream, "{{\"error\":\"the engine has not taken earlier commands\"}}");
    }
    let s = target.stats.snapshot();
    let not_ready = target.stats.not_ready();
    let status = &target.stats.status;
    let happened: BTreeMap<_, _> = Status::NAMES.into_iter().zip(status.counts()).collect();
    let newest: Vec<_> = status.newest(NEWEST_EVENTS).iter().map(told).collect();
    let [losses, returns] = target.stats.backend.counts();
    let [applied, refused] = target.stats.reloads.counts();
    let mut text = serde_json::json!({
        "ok": true, "halted": halt.unwrap_or(s.halted), "cycles": s.cycles, "missed_cycles": s.missed,
        "events": s.events, "conflated": s.conflated, "desyncs": s.desyncs, "ready": s.ready,
        "stale_topics": s.stale_topics, "trouble": target.stats.trouble(),
        "is_ready": not_ready.is_none(), "not_ready": not_ready,
        "happened": happened, "newest": newest,
        "backend": target.stats.backend.place(), "backend_losses": losses, "backend_returns": returns,
        "reloads_applied": applied, "reloads_refused": refused,
        "last_reload": target.stats.reloads.last().map(|last| last_reload(&last)),
    });
    if let Some(changes) = changes {
        text["changed"] = changes;
    }
    writeln!(stream, "{text}")
}

/// How an attempt to take another configuration ended.
fn last_reload(last: &LastReload) -> serde_json::Value {
    let LastReload { ts_ns, is_applied, what } = last;
    serde_json::json!({ "ts_ns": ts_ns, "is_applied": is_applied, "what": what })
}

/// A status event for people and programs: when, where and what.
fn told(event: &StatusEvent) -> serde_json::Value {
    let StatusEvent { ts_ns, connection, instrument, what } = event;
    let instrument = instrument.map(|id| id.0);
    serde_json::json!({
        "ts_ns": ts_ns, "connection": connection, "instrument": instrument,
        "what": what.to_string(),
    })
}

/// Sends one command to a running daemon and returns its answer, a JSON line.
///
/// # Errors
/// Nobody listens on the socket, or the daemon refused the command.
pub fn send(path: &Path, command: &str) -> Result<String, ControlError> {
    let io = |source| ControlError::Io { path: path.to_owned(), source };
    let stream = UnixStream::connect(path).map_err(io)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    writeln!(&stream, "{command}").map_err(io)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(io)?;
    let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    match parsed["error"].as_str() {
        Some(reason) => Err(ControlError::Refused { reason: reason.to_owned() }),
        None if parsed["ok"] == true => Ok(answer.trim_end().to_owned()),
        None => Err(ControlError::Answer { path: path.to_owned(), answer }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Sources, load},
        lifecycle::{manager::Notifier, reload::Reloader},
        pipeline::{commands::Commands, input::Input, live_settings::LiveSettings, waker::Waker},
    };
    use rtrb::{Consumer, RingBuffer};

    /// Whom to ask, with room for one command, and where it arrives.
    fn operator(config: &Path) -> (ControlTarget, Consumer<Input>) {
        let sources = Sources {
            config_path: Some(config.to_owned()),
            env: Vec::new(),
            sets: Vec::new(),
            search: Vec::new(),
        };
        let loaded = load(&sources).unwrap();
        let (commands, inputs) = RingBuffer::new(1);
        let commands = Arc::new(Commands::new(commands, Waker::default()));
        let (stats, notifier) = (Arc::<LiveStats>::default(), Arc::<Notifier>::default());
        let reloader = Reloader::new(loaded, commands.clone(), stats.clone(), notifier);
        let operator = Operator { commands, reloader: Arc::new(reloader) };
        (ControlTarget { operator, stats }, inputs)
    }

    #[test]
    fn commands_reach_the_engine_and_a_second_daemon_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "a stale file").unwrap();
        let config = dir.path().join("purkinje.toml");
        fs::write(&config, "").unwrap();
        let (target, mut inputs) = operator(&config);
        let server = ControlServer::start(&path, target).unwrap();
        assert!(send(&path, "halt").unwrap().contains("\"halted\":true"));
        assert_eq!(inputs.peek(), Ok(&Input::Halt(true)));
        assert!(matches!(send(&path, "resume"), Err(ControlError::Refused { .. })), "ring is full");
        assert_eq!(inputs.pop(), Ok(Input::Halt(true)));
        assert!(send(&path, "status").unwrap().contains("\"halted\":false"));
        assert!(matches!(send(&path, "explode"), Err(ControlError::Refused { .. })));
        let (target, _) = operator(&config);
        assert!(matches!(ControlServer::start(&path, target), Err(ControlError::Busy { .. })));
        drop(server);
        assert!(!path.exists());
        assert!(matches!(send(&path, "halt"), Err(ControlError::Io { .. })));
    }

    #[test]
    fn a_reload_takes_live_keys_and_refuses_a_file_with_any_other_or_with_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let config = dir.path().join("purkinje.toml");
        fs::write(&config, "[strategy.thresholds]\nconfidence = 0.75\n").unwrap();
        let (target, mut inputs) = operator(&config);
        let before = target.stats.clone();
        let _server = ControlServer::start(&path, target).unwrap();
        let reload = |text: &str| {
            fs::write(&config, text).unwrap();
            send(&path, "reload").map_err(|error| error.to_string())
        };

        let refused = reload("[strategy.thresholds]\nbuy_value = 2\n").unwrap_err();
        assert!(refused.contains("buy_value = 2"), "{refused}");
        let both =
            "[strategy]\nmax_signals_per_s = 3\nhorizon_ms = 2000\n[cycle]\nperiod_ms = 200\n";
        let refused = reload(both).unwrap_err();
        let expected = "reload refused: a restart is needed for cycle.period_ms = 200 (was 100), \
                        strategy.horizon_ms = 2000 (was 1000)";
        assert_eq!(refused, expected);
        assert!(inputs.pop().is_err(), "nothing of either was taken");

        let live = "[strategy]\nmax_signals_per_s = 3\n[strategy.thresholds]\nconfidence = 0.8\n";
        let answer = reload(live).unwrap();
        assert!(answer.contains("\"strategy.thresholds.confidence\":\"0.8\""), "{answer}");
        let Ok(Input::Settings(settings)) = inputs.pop() else { panic!("no settings") };
        let expected = LiveSettings {
            buy_value: 0.6,
            sell_value: 0.4,
            confidence: 0.8,
            max_signals_per_s: 3,
            stale_after_ms: 3_000,
        };
        assert_eq!(settings, expected);
        assert!(reload(live).unwrap().contains("\"changed\":{}"));
        assert!(inputs.pop().is_err(), "nothing has changed since");

        fs::remove_file(&config).unwrap();
        let refused = send(&path, "reload").unwrap_err().to_string();
        assert!(refused.contains("purkinje.toml"), "{refused}");
        assert_eq!(before.reloads.counts(), [2, 3]);
        assert!(!before.reloads.last().unwrap().is_applied);
    }
}
