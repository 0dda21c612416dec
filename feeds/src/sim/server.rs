//! The simulated exchange on a socket: one loopback port, REST and WebSocket, paced to wall time.
//!
//! The market runs as fast as it may and is asked for its events when their time has come, so what
//! is sent depends on the seed alone and only when it is sent depends on the host.
//!
//! Invariants: nothing a client sends can stop the server; connections, sessions and queues have
//! bounds, and what is turned away is counted; after [`SimHandle::stop`] no task of the server is
//! left.

use super::config::{MarketConfig, MarketError};
use super::hub::{Hub, Limits, SimStats, count};
use super::market::Market;
use super::oracle::Oracle;
use super::rest;
use crate::Instrument;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// TCP connections served as HTTP at a time.
const MAX_CONNECTIONS: usize = 256;

/// A REST connection that asks nothing for so long is closed.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);

/// Pause after a failed accept, e.g. when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Sleeps are not shorter: the timer of the runtime has this grain.
const CLOCK_GRAIN: Duration = Duration::from_millis(1);

/// A host that stalled for longer than this sends nothing late: the sessions are cut instead.
const MAX_STALL: Duration = Duration::from_secs(5);

/// Most market time that passes in one turn: the shared state is not locked for longer.
const MAX_TURN_NS: i64 = 1_000_000_000;

/// A simulated exchange as it is to be served.
#[derive(Clone, Debug, PartialEq)]
pub struct SimConfig {
    /// What is traded.
    pub market: MarketConfig,
    /// Market time per wall time, 0.01 to 1000. Default 1.
    pub speed: f64,
    /// Interval of protocol pings. Default three minutes, the venue's.
    pub ping_every: Duration,
    /// Bytes a client may lag behind before it is cut. Default 8 MiB.
    pub queue_bytes: usize,
    /// WebSocket sessions at a time. Default 64.
    pub sessions: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            market: MarketConfig::default(),
            speed: 1.0,
            ping_every: Duration::from_mins(3),
            queue_bytes: 8 << 20,
            sessions: 64,
        }
    }
}

/// Why a simulated exchange did not start.
#[derive(Debug, Error)]
pub enum SimError {
    /// The market was refused.
    #[error(transparent)]
    Market(#[from] MarketError),
    /// A number of the server was refused.
    #[error("simulated exchange: {key} is {found}, expected {expected}")]
    OutOfRange {
        /// Name of the field.
        key: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// The address could not be listened on.
    #[error("simulated exchange: cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or its runtime could not be made.
    #[error("simulated exchange: cannot start its thread")]
    Thread(#[source] io::Error),
}

impl SimConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub fn validate(&self) -> Result<(), SimError> {
        self.market.validate()?;
        let ping_s = self.ping_every.as_secs_f64();
        let (queue_bytes, sessions) = (self.queue_bytes as f64, self.sessions as f64);
        let checks = [
            ("speed", self.speed, 0.01, 1e3, "0.01 to 1000"),
            ("ping_every", ping_s, 0.01, 86_400.0, "10 ms to a day, here in seconds"),
            ("queue_bytes", queue_bytes, 65_536.0, 1_073_741_824.0, "64 KiB to 1 GiB"),
            ("sessions", sessions, 1.0, 4_096.0, "1 to 4096"),
        ];
        for (key, found, low, high, expected) in checks {
            if !(found >= low && found <= high) {
                return Err(SimError::OutOfRange { key, found, expected });
            }
        }
        Ok(())
    }
}

/// A running simulated exchange. Dropping the handle stops it.
#[derive(Debug)]
pub struct SimHandle {
    hub: Arc<Hub>,
    local_addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl SimHandle {
    /// Where it listens; tells the port when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What no forecast of this market can beat.
    #[must_use]
    pub fn oracle(&self) -> Oracle {
        self.hub.with_market(|market| market.oracle().clone())
    }

    /// What is listed, in order of configuration.
    #[must_use]
    pub fn instruments(&self) -> Vec<Instrument> {
        self.hub.with_market(Market::instruments)
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.hub.stats()
    }

    /// Fault: closes every WebSocket session now, without a closing handshake.
    pub fn drop_connections(&self) {
        self.hub.drop_connections();
    }

    /// Fault: swallows the next depth frame of a symbol, so that its readers see a gap. Returns
    /// whether there is such a symbol.
    pub fn skip_depth(&self, symbol: &str) -> bool {
        self.hub.skip_depth(symbol)
    }

    /// Fault: while muted no market data is sent, though connections stay and pings are sent.
    pub fn mute(&self, muted: bool) {
        self.hub.mute(muted);
    }

    /// Ends all connections and the server, and waits for its thread if it has its own.
    pub fn stop(mut self) {
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

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a simulated exchange on the runtime of the caller, at market time `start_ns` (ns since
/// the epoch, UTC). Port 0 takes a free port.
///
/// # Errors
/// A value out of range, or an address that cannot be listened on.
pub async fn start(
    config: &SimConfig,
    addr: SocketAddr,
    start_ns: i64,
) -> Result<SimHandle, SimError> {
    let hub = build_hub(config, start_ns)?;
    let listen = |source| SimError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(listen)?;
    let local_addr = listener.local_addr().map_err(listen)?;
    let (config, served) = (config.clone(), hub.clone());
    tokio::spawn(async move { serve(&config, served, listener, start_ns).await });
    Ok(SimHandle { hub, local_addr, thread: None })
}

/// Starts a simulated exchange on a thread of its own, named `pk-sim`; market time starts at the
/// present wall time. Port 0 takes a free port.
///
/// # Errors
/// A value out of range, an address that cannot be listened on, or no thread to be had.
pub fn spawn_thread(config: &SimConfig, addr: SocketAddr) -> Result<SimHandle, SimError> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start_ns = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX / 2);
    let hub = build_hub(config, start_ns)?;
    let listen = |source| SimError::Listen { addr, source };
    let listener = StdListener::bind(addr).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let local_addr = listener.local_addr().map_err(listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SimError::Thread)?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).map_err(listen)?
    };
    let (config, served) = (config.clone(), hub.clone());
    let thread = std::thread::Builder::new()
        .name("pk-sim".into())
        .spawn(move || runtime.block_on(serve(&config, served, listener, start_ns)))
        .map_err(SimError::Thread)?;
    Ok(SimHandle { hub, local_addr, thread: Some(thread) })
}

fn build_hub(config: &SimConfig, start_ns: i64) -> Result<Arc<Hub>, SimError> {
    config.validate()?;
    let market = Market::new(&config.market, start_ns)?;
    let limits = Limits { sessions: config.sessions, queue_bytes: config.queue_bytes };
    Ok(Arc::new(Hub::new(market, limits)))
}

/// Runs clock and listener until the hub is stopped.
async fn serve(config: &SimConfig, hub: Arc<Hub>, listener: TcpListener, start_ns: i64) {
    tokio::select! {
        () = hub.stopped() => {}
        () = run_clock(&hub, start_ns, config.speed) => {}
        () = accept_all(&hub, &listener, config.ping_every) => {}
    }
}

/// Lets events happen when their time has come.
async fn run_clock(hub: &Hub, start_ns: i64, speed: f64) {
    let origin = Instant::now();
    let mut last_turn = Duration::ZERO;
    let mut reached_ns = start_ns;
    loop {
        let elapsed = origin.elapsed();
        if elapsed.saturating_sub(last_turn) > MAX_STALL {
            count(&hub.counters.stalls);
            hub.drop_connections();
        }
        last_turn = elapsed;
        let now_ns = start_ns.saturating_add((elapsed.as_nanos() as f64 * speed) as i64);
        reached_ns = now_ns.min(reached_ns.saturating_add(MAX_TURN_NS));
        let next_ns = hub.advance(reached_ns);
        if reached_ns < now_ns {
            // Behind: the sessions get their turn, then the market goes on at once.
            tokio::task::yield_now().await;
        } else {
            let ahead_ns = (next_ns - now_ns).max(0) as f64 / speed;
            tokio::time::sleep(Duration::from_nanos(ahead_ns as u64).max(CLOCK_GRAIN)).await;
        }
    }
}

async fn accept_all(hub: &Arc<Hub>, listener: &TcpListener, ping_every: Duration) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            count(&hub.counters.accept_errors);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        count(&hub.counters.connections);
        match room.clone().try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(serve_connection(hub.clone(), socket, ping_every, place));
            }
            Err(_) => count(&hub.counters.turned_away),
        }
    }
}

/// Serves one connection until it is closed or becomes a WebSocket session.
async fn serve_connection(
    hub: Arc<Hub>,
    socket: TcpStream,
    ping_every: Duration,
    _place: OwnedSemaphorePermit,
) {
    // Without it a small frame could wait for the acknowledgement of the one before; a socket that
    // refuses the option still works.
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request| {
        let answer = rest::answer(&hub, request, ping_every);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_CONNECTION)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::select! {
        () = hub.stopped() => {}
        end = connection => {
            if end.is_err_and(|error| error.is_parse()) {
                count(&hub.counters.bad_requests);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_the_value_and_what_was_expected() {
        type Change = fn(&mut SimConfig);
        let cases: [(Change, &str); 4] = [
            (|c| c.speed = 0.0, "speed is 0, expected 0.01 to 1000"),
            (|c| c.ping_every = Duration::ZERO, "ping_every is 0, expected 10 ms to a day"),
            (|c| c.queue_bytes = 10, "queue_bytes is 10, expected 64 KiB to 1 GiB"),
            (|c| c.market.activity = -1.0, "activity is -1, expected 0.01 to 10"),
        ];
        for (change, expected) in cases {
            let mut config = SimConfig::default();
            change(&mut config);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let error = spawn_thread(&SimConfig::default(), addr).unwrap_err();
        assert_eq!(error.to_string(), format!("simulated exchange: cannot listen on {addr}"));
    }
}
