//! What the market clock, the REST handlers, the WebSocket sessions and the operator share.
//!
//! Invariants: every client has a queue bounded in bytes, and a client that does not keep up is cut
//! and counted, as the venue does; the lock is held for bounded work only and never across an
//! `await`; a snapshot is taken between two events, so every frame up to it has been queued.

use super::market::Market;
use super::wire::{SimFrame, StreamKind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// REST weight per minute of the venue.
const WEIGHT_PER_MINUTE: u32 = 2_400;

/// What happened to a simulated exchange since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// TCP connections accepted.
    pub connections: u64,
    /// Failed accepts.
    pub accept_errors: u64,
    /// Connections and sessions turned away because there were too many.
    pub turned_away: u64,
    /// REST and WebSocket requests that could not be understood or named something unknown.
    pub bad_requests: u64,
    /// REST requests refused for their weight.
    pub over_weight: u64,
    /// WebSocket sessions open now.
    pub sessions: u64,
    /// Sessions cut because their queue was full.
    pub slow_clients: u64,
    /// Sessions cut because they answered no ping.
    pub silent_clients: u64,
    /// Frames queued, over all sessions.
    pub frames_queued: u64,
    /// Times the host stalled for so long that all sessions were cut.
    pub stalls: u64,
}

/// The counters behind [`SimStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) bad_requests: AtomicU64,
    pub(crate) over_weight: AtomicU64,
    slow_clients: AtomicU64,
    pub(crate) silent_clients: AtomicU64,
    frames_queued: AtomicU64,
    pub(crate) stalls: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Bounds of a [`Hub`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) queue_bytes: usize,
}

/// The shared state.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    limits: Limits,
    symbols: Vec<String>,
    muted: AtomicBool,
    /// Depth frames still to be swallowed, by symbol.
    skips: Vec<AtomicU32>,
    stopped: watch::Sender<bool>,
    pub(crate) counters: Counters,
}

#[derive(Debug)]
struct State {
    market: Market,
    clients: Vec<Client>,
    next_client: u64,
    weight: Weight,
}

/// REST weight used in one minute of market time.
#[derive(Debug, Default)]
struct Weight {
    minute: i64,
    used: u32,
}

/// The hub's side of a session.
#[derive(Debug)]
struct Client {
    id: u64,
    raw: bool,
    /// A bit per [`StreamKind`], by symbol.
    wanted: Vec<u8>,
    queue: mpsc::UnboundedSender<Utf8Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

/// The session's side of a session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) queue: mpsc::UnboundedReceiver<Utf8Bytes>,
    /// Bytes in `queue`; the session subtracts what it takes.
    pub(crate) queued_bytes: Arc<AtomicUsize>,
    /// Notified when the connection is to be closed at once.
    pub(crate) cut: Arc<Notify>,
}

impl Hub {
    pub(crate) fn new(market: Market, limits: Limits) -> Self {
        let symbols = market.stream_symbols();
        Self {
            skips: symbols.iter().map(|_| AtomicU32::new(0)).collect(),
            symbols,
            state: Mutex::new(State {
                market,
                clients: Vec::with_capacity(limits.sessions),
                next_client: 0,
                weight: Weight::default(),
            }),
            limits,
            muted: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
            counters: Counters::default(),
        }
    }

    /// A panic elsewhere leaves the state usable: every change to it is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the market run up to that time and queues its frames. Returns the next event's time.
    pub(crate) fn advance(&self, until_ns: i64) -> i64 {
        let state = &mut *self.lock();
        let clients = &mut state.clients;
        state.market.advance(until_ns, |frame| self.broadcast(clients, frame));
        state.market.next_event_ns()
    }

    fn broadcast(&self, clients: &mut Vec<Client>, frame: SimFrame<'_>) {
        let skipped = frame.kind == StreamKind::Depth
            && self.skips[frame.symbol]
                .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1))
                .is_ok();
        if skipped || self.muted.load(Relaxed) {
            return;
        }
        let bit = 1 << frame.kind as u8;
        // Rendered once, shared by all clients that want it.
        let (mut whole, mut bare) = (None, None);
        clients.retain(|client| {
            if client.wanted[frame.symbol] & bit == 0 {
                return true;
            }
            let (text, bytes) =
                if client.raw { (&mut bare, frame.data) } else { (&mut whole, frame.json) };
            let text = text.get_or_insert_with(|| text_of(bytes)).clone();
            self.enqueue(client, text)
        });
    }

    /// False when the client is too slow and was cut.
    fn enqueue(&self, client: &Client, text: Utf8Bytes) -> bool {
        let length = text.len();
        let queued = client.queued_bytes.fetch_add(length, Relaxed) + length;
        if queued > self.limits.queue_bytes {
            count(&self.counters.slow_clients);
            client.cut.notify_one();
            return false;
        }
        count(&self.counters.frames_queued);
        client.queue.send(text).is_ok()
    }

    /// A new session, unless there are too many or the hub was stopped.
    pub(crate) fn attach(&self, raw: bool) -> Option<Session> {
        let state = &mut *self.lock();
        // Under the lock, so that no session slips in behind the last one that `stop` cuts.
        if state.clients.len() >= self.limits.sessions || *self.stopped.borrow() {
            count(&self.counters.turned_away);
            return None;
        }
        let (sender, queue) = mpsc::unbounded_channel();
        let id = state.next_client;
        state.next_client += 1;
        let client = Client {
            id,
            raw,
            wanted: vec![0; self.symbols.len()],
            queue: sender,
            queued_bytes: Arc::default(),
            cut: Arc::default(),
        };
        let (queued_bytes, cut) = (client.queued_bytes.clone(), client.cut.clone());
        state.clients.push(client);
        Some(Session { id, queue, queued_bytes, cut })
    }

    pub(crate) fn detach(&self, id: u64) {
        self.lock().clients.retain(|client| client.id != id);
    }

    /// Starts or ends a stream of a session. An unknown stream is counted and never flows.
    pub(crate) fn subscribe(&self, id: u64, stream: &str, on: bool) {
        let Some((symbol, kind)) = self.parse_stream(stream) else {
            count(&self.counters.bad_requests);
            return;
        };
        let mut state = self.lock();
        let Some(client) = state.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let bit = 1 << kind as u8;
        if on {
            client.wanted[symbol] |= bit;
        } else {
            client.wanted[symbol] &= !bit;
        }
    }

    fn parse_stream(&self, stream: &str) -> Option<(usize, StreamKind)> {
        let (symbol, suffix) = stream.split_once('@')?;
        let symbol = self.symbols.iter().position(|s| s == symbol)?;
        let kind = StreamKind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        Some((symbol, kind))
    }

    /// Names of the streams of a session.
    pub(crate) fn subscriptions(&self, id: u64) -> Vec<String> {
        let state = self.lock();
        let Some(client) = state.clients.iter().find(|client| client.id == id) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        for (symbol, wanted) in self.symbols.iter().zip(&client.wanted) {
            for kind in StreamKind::ALL {
                if wanted & (1 << kind as u8) != 0 {
                    names.push(format!("{symbol}@{}", kind.suffix()));
                }
            }
        }
        names
    }

    /// Reads the market between two events.
    pub(crate) fn with_market<T>(&self, read: impl FnOnce(&Market) -> T) -> T {
        read(&self.lock().market)
    }

    /// Charges REST weight to the present minute. Returns the weight used in it, or `Err` with it
    /// when the venue's budget is exceeded.
    pub(crate) fn charge(&self, weight: u32) -> Result<u32, u32> {
        let state = &mut *self.lock();
        let minute = state.market.next_event_ns().div_euclid(60_000_000_000);
        if state.weight.minute != minute {
            state.weight = Weight { minute, used: 0 };
        }
        state.weight.used = state.weight.used.saturating_add(weight);
        let used = state.weight.used;
        if used > WEIGHT_PER_MINUTE { Err(used) } else { Ok(used) }
    }

    /// Closes all WebSocket sessions now.
    pub(crate) fn drop_connections(&self) {
        for client in self.lock().clients.drain(..) {
            client.cut.notify_one();
        }
    }

    pub(crate) fn mute(&self, muted: bool) {
        self.muted.store(muted, Relaxed);
    }

    /// Swallows the next depth frame of an upper- or lower-case symbol. False: no such symbol.
    pub(crate) fn skip_depth(&self, symbol: &str) -> bool {
        let at = self.symbols.iter().position(|s| s.eq_ignore_ascii_case(symbol));
        at.is_some_and(|at| self.skips[at].fetch_add(1, Relaxed) < u32::MAX)
    }

    /// Ends everything.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
        self.drop_connections();
    }

    /// Returns once [`Hub::stop`] was called.
    pub(crate) async fn stopped(&self) {
        // An error would mean that the sender, a field of `self`, is gone.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    pub(crate) fn stats(&self) -> SimStats {
        let sessions = self.lock().clients.len() as u64;
        let c = &self.counters;
        SimStats {
            connections: c.connections.load(Relaxed),
            accept_errors: c.accept_errors.load(Relaxed),
            turned_away: c.turned_away.load(Relaxed),
            bad_requests: c.bad_requests.load(Relaxed),
            over_weight: c.over_weight.load(Relaxed),
            sessions,
            slow_clients: c.slow_clients.load(Relaxed),
            silent_clients: c.silent_clients.load(Relaxed),
            frames_queued: c.frames_queued.load(Relaxed),
            stalls: c.stalls.load(Relaxed),
        }
    }
}

/// Frames are ASCII by construction.
fn text_of(bytes: &[u8]) -> Utf8Bytes {
    Utf8Bytes::from(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::MarketConfig;
    use super::*;

    fn hub(queue_bytes: usize) -> Hub {
        let market = Market::new(&MarketConfig::default(), 0).unwrap();
        Hub::new(market, Limits { sessions: 2, queue_bytes })
    }

    #[test]
    fn a_client_gets_the_streams_it_asked_for_and_no_other() {
        let hub = hub(1 << 20);
        let mut session = hub.attach(false).unwrap();
        hub.subscribe(session.id, "simb@depth@0ms", true);
        hub.subscribe(session.id, "simc@oracle", true);
        hub.subscribe(session.id, "simc@oracle", false);
        hub.subscribe(session.id, "nope@depth@0ms", true);
        assert_eq!(hub.subscriptions(session.id), ["simb@depth@0ms"]);
        assert_eq!(hub.stats().bad_requests, 1);
        hub.advance(1_000_000_000);
        let mut frames = 0;
        while let Ok(text) = session.queue.try_recv() {
            assert!(text.starts_with(r#"{"stream":"simb@depth@0ms","data":{"#), "{text}");
            frames += 1;
        }
        assert!(frames >= 20, "{frames} frames in a second");
        assert_eq!(hub.stats().frames_queued, frames);
    }

    #[test]
    fn a_client_whose_queue_is_full_is_cut_and_counted() {
        let hub = hub(20_000);
        let mut session = hub.attach(true).unwrap();
        hub.subscribe(session.id, "sima@depth@0ms", true);
        hub.advance(60_000_000_000);
        let stats = hub.stats();
        assert_eq!((stats.slow_clients, stats.sessions), (1, 0));
        let mut bytes = 0;
        while let Ok(text) = session.queue.try_recv() {
            bytes += text.len();
        }
        assert!(bytes <= 20_000, "{bytes} bytes were queued");
    }

    #[test]
    fn sessions_over_the_limit_are_turned_away() {
        let hub = hub(1);
        let first = hub.attach(false).unwrap();
        assert!(hub.attach(false).is_some());
        assert!(hub.attach(false).is_none());
        assert_eq!(hub.stats().turned_away, 1);
        hub.detach(first.id);
        assert!(hub.attach(false).is_some());
    }

    #[test]
    fn muting_and_skipping_silence_exactly_what_they_say() {
        let hub = hub(1 << 20);
        let mut session = hub.attach(true).unwrap();
        for stream in ["sima@depth@0ms", "simb@depth@0ms"] {
            hub.subscribe(session.id, stream, true);
        }
        hub.mute(true);
        hub.advance(500_000_000);
        assert!(session.queue.try_recv().is_err());
        hub.mute(false);
        assert!(hub.skip_depth("SIMA") && !hub.skip_depth("NOPE"));
        hub.advance(1_500_000_000);
        let (mut gaps, mut previous) = ([0, 0], [None, None]);
        while let Ok(text) = session.queue.try_recv() {
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            let symbol = usize::from(frame["s"] == "SIMB");
            let pu = frame["pu"].as_u64();
            gaps[symbol] += u32::from(previous[symbol].is_some() && previous[symbol] != pu);
            previous[symbol] = frame["u"].as_u64();
        }
        // The first frame of SIMA is the one that was swallowed, so no gap shows yet.
        assert_eq!(gaps, [0, 0]);
        assert!(hub.skip_depth("sima"));
        hub.advance(2_500_000_000);
        while let Ok(text) = session.queue.try_recv() {
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            let symbol = usize::from(frame["s"] == "SIMB");
            gaps[symbol] += u32::from(previous[symbol] != frame["pu"].as_u64());
            previous[symbol] = frame["u"].as_u64();
        }
        assert_eq!(gaps, [1, 0]);
    }

    #[test]
    fn weight_is_charged_by_the_minute_of_market_time() {
        let hub = hub(1);
        assert_eq!(hub.charge(2_390), Ok(2_390));
        assert_eq!(hub.charge(20), Err(2_410));
        hub.advance(61_000_000_000);
        assert_eq!(hub.charge(20), Ok(20));
    }
}
