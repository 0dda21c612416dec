//! A simulator on a loopback socket: its thread, its pace and the handle of whoever runs it.
//!
//! Stepped by its [`Handle`] it is deterministic: when [`Handle::step`] returns, every frame of these
//! steps has been queued, in order. At a rate it moves by itself, by the clock of the host.
//!
//! Invariants: nothing a client sends can stop the server; connections, sessions and queues have
//! bounds, and what is turned away is counted; after [`Handle::shutdown`] no task of it is left.

use super::book::ModelBook;
use super::counters::{FiredFault, SimCounters, add, count};
use super::dialect::{Dialect, Facts, Heartbeat, Topic};
use super::faults::{Fault, Script};
use super::http;
use super::hub::{Hub, Limits};
use super::model::{Ids, Listing, Model, ModelConfig, ModelError};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// TCP connections served at a time.
const MAX_CONNECTIONS: usize = 1_024;

/// A REST connection that asks nothing for so long is closed.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);

/// Pause after a failed accept, e.g. when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How often a paced model moves.
const TURN: Duration = Duration::from_millis(1);

/// Most updates of one turn; a host that stalled for longer loses the rest.
const MAX_TURN_UPDATES: u64 = 2_000;

/// Fastest rate of a paced model, updates per second.
pub const MAX_RATE_HZ: f64 = 1e6;

/// Overrides of the venue's own timers, for tests that cannot wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// Interval of protocol pings; `None`: the venue's.
    pub ping_every: Option<Duration>,
    /// Interval of heartbeats; `None`: the venue's.
    pub heartbeat_every: Option<Duration>,
    /// A client that sends nothing for so long is cut; `None`: the venue's limit.
    pub client_silence_limit: Option<Duration>,
}

/// A simulator as it is to be served.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// The market.
    pub model: ModelConfig,
    /// Faults with their times.
    pub script: Script,
    /// Updates per second over all instruments, 0 to [`MAX_RATE_HZ`]; 0 (the default): only steps
    /// move the market.
    pub rate_hz: f64,
    /// Whether a paced model's time follows the clock of the host (UTC) rather than its own. Default
    /// no.
    pub follows_wall_time: bool,
    /// Overrides of the venue's timers.
    pub timers: Timers,
    /// Frames a session may lag behind before it is cut, 1 to 2^20. Default 65 536.
    pub queue_frames: usize,
    /// WebSocket sessions at a time, 1 to 1024. Default 64.
    pub sessions: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            model: ModelConfig::default(),
            script: Script::default(),
            rate_hz: 0.0,
            follows_wall_time: false,
            timers: Timers::default(),
            queue_frames: 65_536,
            sessions: 64,
        }
    }
}

/// Why a simulator did not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The market was refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A number was refused.
    #[error("venue simulator: {key} is {found}, expected {expected}")]
    OutOfRange {
        /// Name of the field.
        key: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// The script is too long or names an instrument that is not listed.
    #[error(
        "venue simulator: a script of {faults} faults, expected 65536 at most, and only for the \
         {instruments} listed instruments"
    )]
    Script {
        /// Its length.
        faults: usize,
        /// How many instruments are listed.
        instruments: usize,
    },
    /// No loopback port could be listened on.
    #[error("venue simulator: cannot listen on a loopback port")]
    Listen(#[source] io::Error),
    /// The thread or its runtime could not be made.
    #[error("venue simulator: cannot start its thread")]
    Thread(#[source] io::Error),
}

impl ServerConfig {
    /// Checks every value but the script.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self) -> Result<(), ServerError> {
        self.model.validate()?;
        let (queue_frames, sessions) = (self.queue_frames as f64, self.sessions as f64);
        let checks = [
            ("rate_hz", self.rate_hz, 0.0, MAX_RATE_HZ, "0 to 1000000"),
            ("queue_frames", queue_frames, 1.0, 1_048_576.0, "1 to 1048576"),
            ("sessions", sessions, 1.0, 1_024.0, "1 to 1024"),
        ];
        for (key, found, low, high, expected) in checks {
            if !(found >= low && found <= high) {
                return Err(ServerError::OutOfRange { key, found, expected });
            }
        }
        Ok(())
    }
}

/// A running simulator. Dropping the handle shuts it down.
#[derive(Debug)]
pub struct Handle {
    hub: Arc<Hub>,
    local_addr: SocketAddr,
    pace: watch::Sender<Pace>,
    thread: Option<JoinHandle<()>>,
}

/// How the market moves by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    rate_hz: f64,
    is_paused: bool,
}

/// Starts a simulator of `dialect` on a loopback port of its own choice and a thread of its own,
/// named `pk-venue-sim`.
///
/// # Errors
/// A value out of range, no port or no thread to be had.
pub fn spawn(config: &ServerConfig, dialect: Arc<dyn Dialect>) -> Result<Handle, ServerError> {
    config.validate()?;
    let model = Model::new(config.model.clone())?;
    let limits = Limits { sessions: config.sessions, queue_frames: config.queue_frames };
    let hub = Arc::new(Hub::new(dialect, model, limits));
    if !hub.add_script(&config.script) {
        let (faults, instruments) = (config.script.0.len(), config.model.listings.len());
        return Err(ServerError::Script { faults, instruments });
    }
    let (pace, paces) = watch::channel(Pace { rate_hz: config.rate_hz, is_paused: false });
    let (timers, follows_wall_time) = (config.timers, config.follows_wall_time);
    let served = hub.clone();
    let (local_addr, thread) = spawn_listener(move |listener| async move {
        let clock = Clock { paces, follows_wall_time };
        tokio::select! {
            () = served.stopped() => {}
            () = clock.run(&served) => {}
            () = beat(&served, timers) => {}
            () = accept_all(&served, &listener, timers) => {}
        }
    })?;
    Ok(Handle { hub, local_addr, pace, thread: Some(thread) })
}

/// Runs `serve` with a listener on a loopback port, on a thread and a runtime of its own.
pub(crate) fn spawn_listener<S, F>(serve: S) -> Result<(SocketAddr, JoinHandle<()>), ServerError>
where
    S: FnOnce(TcpListener) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let listener = StdListener::bind(any_port).map_err(ServerError::Listen)?;
    listener.set_nonblocking(true).map_err(ServerError::Listen)?;
    let local_addr = listener.local_addr().map_err(ServerError::Listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServerError::Thread)?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).map_err(ServerError::Listen)?
    };
    let thread = std::thread::Builder::new()
        .name("pk-venue-sim".into())
        .spawn(move || runtime.block_on(serve(listener)))
        .map_err(ServerError::Thread)?;
    Ok((local_addr, thread))
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// `ws://127.0.0.1:port` and the venue's default path.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}{}", self.local_addr, self.hub.facts.ws_path)
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.local_addr)
    }

    /// Facts of the venue.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.hub.facts
    }

    /// What is listed; a place in it is the instrument's number.
    #[must_use]
    pub fn listings(&self) -> Vec<Listing> {
        self.hub.with_model(|model| model.listings().to_vec())
    }

    /// Moves the market by `steps` updates of random instruments.
    pub fn step(&self, steps: u64) {
        self.hub.step(steps, None, None);
    }

    /// Moves one instrument by `steps` updates. False, and nothing happens, when it is not listed.
    pub fn step_instrument(&self, instrument: usize, steps: u64) -> bool {
        let is_listed = self.hub.with_model(|model| instrument < model.listings().len());
        if is_listed {
            self.hub.step(steps, Some(instrument), None);
        }
        is_listed
    }

    /// Lets model time pass without updates.
    pub fn advance(&self, time: Duration) {
        self.hub.advance_ns(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    }

    /// Lets the market move by itself: updates per second, clamped to 0 to [`MAX_RATE_HZ`]; 0 stops
    /// it.
    pub fn set_rate(&self, rate_hz: f64) {
        let rate_hz = if rate_hz.is_nan() { 0.0 } else { rate_hz.clamp(0.0, MAX_RATE_HZ) };
        self.pace.send_modify(|pace| pace.rate_hz = rate_hz);
    }

    /// Stops the market, or lets it go on at its rate. Heartbeats, pings and REST go on.
    pub fn pause(&self, is_paused: bool) {
        self.pace.send_modify(|pace| pace.is_paused = is_paused);
    }

    /// Injects a fault. False: too many wait, or the instrument is not listed; counted.
    pub fn inject(&self, fault: Fault) -> bool {
        self.hub.inject(fault)
    }

    /// Adds a script; its counts and times are since the start. False: refused as a whole; counted.
    pub fn add_script(&self, script: &Script) -> bool {
        self.hub.add_script(script)
    }

    /// How often injected and scripted faults are still to strike.
    #[must_use]
    pub fn waiting_faults(&self) -> usize {
        self.hub.waiting_faults()
    }

    /// The latest 65 536 faults that struck, oldest first.
    #[must_use]
    pub fn fired(&self) -> Vec<FiredFault> {
        self.hub.fired()
    }

    /// Sends the heartbeats that are due, now.
    pub fn heartbeat(&self) {
        self.hub.heartbeat();
    }

    /// The true book of an instrument, if it is listed.
    #[must_use]
    pub fn book(&self, instrument: usize) -> Option<ModelBook> {
        self.hub.with_model(|model| {
            (instrument < model.listings().len()).then(|| model.book(instrument).clone())
        })
    }

    /// All true books, at one moment.
    #[must_use]
    pub fn books(&self) -> Vec<ModelBook> {
        self.hub.with_model(|model| {
            (0..model.listings().len()).map(|i| model.book(i).clone()).collect()
        })
    }

    /// Numbers of the last update of every instrument.
    #[must_use]
    pub fn ids(&self) -> Vec<Ids> {
        self.hub.with_model(|model| (0..model.listings().len()).map(|i| model.ids(i)).collect())
    }

    /// The topics subscribed to, by session; muted ones included.
    #[must_use]
    pub fn topics(&self) -> Vec<Vec<Topic>> {
        self.hub.topics()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> SimCounters {
        self.hub.counters.read()
    }

    /// Ends all connections and the server, and waits for its thread.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.hub.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by its hook and must not spread.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Moves the market at its rate.
struct Clock {
    paces: watch::Receiver<Pace>,
    follows_wall_time: bool,
}

impl Clock {
    async fn run(mut self, hub: &Hub) {
        loop {
            let pace = *self.paces.borrow_and_update();
            if pace.is_paused || pace.rate_hz == 0.0 {
                // An error means that the handle is gone and the end near.
                if self.paces.changed().await.is_err() {
                    return std::future::pending().await;
                }
                continue;
            }
            self.run_at(hub, pace.rate_hz).await;
        }
    }

    /// Until the pace changes.
    async fn run_at(&mut self, hub: &Hub, rate_hz: f64) {
        let mut origin = Instant::now();
        let mut done = 0;
        let mut ticks = tokio::time::interval(TURN);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !self.paces.has_changed().unwrap_or(true) {
            ticks.tick().await;
            let due = (origin.elapsed().as_secs_f64() * rate_hz) as u64 - done;
            if due > MAX_TURN_UPDATES {
                // Not made up for: the clients would see a burst no venue sends.
                (origin, done) = (Instant::now(), 0);
            } else {
                done += due;
            }
            if due > 0 {
                let wall_ns = self.follows_wall_time.then(wall_ns);
                hub.step(due.min(MAX_TURN_UPDATES), None, wall_ns);
            }
        }
    }
}

/// Wall time, ns since the epoch.
fn wall_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX / 2)
}

/// Heartbeats at the venue's interval, or at that of the timers.
async fn beat(hub: &Hub, timers: Timers) {
    let every = match hub.facts.heartbeat {
        Heartbeat::None => return std::future::pending().await,
        Heartbeat::WhenQuiet(every) | Heartbeat::Topics(every) => every,
        Heartbeat::OnRequest => Duration::from_secs(10),
    };
    let every = timers.heartbeat_every.unwrap_or(every).max(TURN);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    loop {
        ticks.tick().await;
        hub.heartbeat();
    }
}

async fn accept_all(hub: &Arc<Hub>, listener: &TcpListener, timers: Timers) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        count(&hub.counters.connections);
        match room.clone().try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(serve_connection(hub.clone(), socket, timers, place));
            }
            Err(_) => add(&hub.counters.turned_away, 1),
        }
    }
}

/// Serves one connection until it is closed or becomes a WebSocket session.
async fn serve_connection(
    hub: Arc<Hub>,
    socket: TcpStream,
    timers: Timers,
    _place: OwnedSemaphorePermit,
) {
    // Without it a small frame could wait for the acknowledgement of the one before; a socket that
    // refuses the option still works.
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request| {
        let hub = hub.clone();
        async move { Ok::<_, Infallible>(http::answer(hub, request, timers).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_CONNECTION)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::select! {
        () = hub.stopped() => {}
        // What a client breaks is its own affair.
        _ = connection => {}
    }
}
