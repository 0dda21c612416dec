//! A client of a simulated venue as the daemon is one: a real socket, a session, and the books of its
//! consumer, which remember every state they were ever published in.
//!
//! Invariants: a state counts as published at its commit, unless it is crossed, which is repaired as the
//! daemon does; what the consumer sees is judged by the test, not here.

#![allow(dead_code, reason = "no test program uses all of it")]
#![allow(clippy::unwrap_used, reason = "part of a test, where clippy sees no test function")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use purkinje_feeds::book::{Book, Level, Shape};
use purkinje_feeds::net::{
    BackoffConfig, ConnectionEnd, ConnectionSpec, DisconnectCause, Handler, Keepalive, Link,
    NetAction, NetCounters, RestConfig, RestReply, RestService, run,
};
use purkinje_feeds::protocol;
use purkinje_feeds::session::{
    Action, Outbox, Session, SessionCounters, SessionSpec, SnapshotReply,
};
use purkinje_feeds::topic::Silence;
use purkinje_feeds::venue_sim::dialect::Dialect;
use purkinje_feeds::venue_sim::{
    Handle, Listing, ModelBook, ModelConfig, ServerConfig, Timers, dialects, spawn,
};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue,
};
use tokio::sync::watch;

/// Levels a side by which a state is known again.
const KNOWN_BY: usize = 5;

/// Levels a side that are compared at the end.
pub(crate) const COMPARED: usize = 20;

/// One venue under test.
pub(crate) struct Subject {
    pub(crate) venue: Venue,
    pub(crate) dialect: Arc<dyn Dialect>,
    /// In the venue's spelling.
    pub(crate) symbols: [&'static str; 3],
}

/// Every venue there is an adapter for.
pub(crate) fn subjects() -> Vec<Subject> {
    let subject = |venue, dialect: Arc<dyn Dialect>, symbols| Subject { venue, dialect, symbols };
    let usual = ["BTCUSDT", "ETHUSDT", "SOLUSDT"];
    let dashed = ["BTC-USD", "ETH-USD", "SOL-USD"];
    let kraken = ["BTC/USD", "ETH/USD", "SOL/USD"];
    let perpetual = ["BTC-PERPETUAL", "ETH-PERPETUAL", "SOL_USDC-PERPETUAL"];
    let coinm = ["BTCUSD_PERP", "ETHUSD_PERP", "SOLUSD_PERP"];
    vec![
        subject(Venue::BinanceSpot, Arc::new(dialects::Binance::SPOT), usual),
        subject(Venue::BinanceUsdm, Arc::new(dialects::Binance::USDM), usual),
        subject(Venue::BinanceCoinm, Arc::new(dialects::Binance::COINM), coinm),
        subject(Venue::CoinbaseAdvanced, Arc::new(dialects::CoinbaseAdvanced), dashed),
        subject(Venue::CoinbaseExchange, Arc::new(dialects::CoinbaseExchange), dashed),
        subject(Venue::Kraken, Arc::new(dialects::Kraken), kraken),
        subject(Venue::BybitSpot, Arc::new(dialects::Bybit::SPOT), usual),
        subject(Venue::BybitLinear, Arc::new(dialects::Bybit::LINEAR), usual),
        subject(
            Venue::Okx,
            Arc::new(dialects::Okx::STREAM),
            ["BTC-USDT", "ETH-USDT", "BTC-USDT-SWAP"],
        ),
        subject(Venue::Bitstamp, Arc::new(dialects::Bitstamp), ["btcusd", "ethusd", "solusd"]),
        subject(Venue::Deribit, Arc::new(dialects::Deribit), perpetual),
    ]
}

impl Subject {
    pub(crate) fn listings(&self) -> Vec<Listing> {
        self.symbols.iter().map(|symbol| Listing::like_btc(symbol)).collect()
    }

    pub(crate) fn table(&self) -> Arc<InstrumentTable> {
        let item = |listing: Listing| Instrument {
            venue: self.venue,
            symbol: listing.symbol,
            price_decimals: listing.price_decimals,
            qty_decimals: listing.qty_decimals,
        };
        Arc::new(InstrumentTable::new(self.listings().into_iter().map(item).collect()).unwrap())
    }

    /// The venue on a loopback port; only steps move it.
    pub(crate) fn serve(&self, seed: u64) -> Handle {
        let model =
            ModelConfig { listings: self.listings(), levels: 60, seed, ..ModelConfig::default() };
        let timers =
            Timers { heartbeat_every: Some(Duration::from_millis(200)), ..Timers::default() };
        let config = ServerConfig { model, timers, ..ServerConfig::default() };
        spawn(&config, Arc::clone(&self.dialect)).unwrap()
    }
}

/// Patience of a client, short enough for tests.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) silence_ns: i64,
    pub(crate) idle: Duration,
    pub(crate) audit_every: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence_ns: 700_000_000,
            idle: Duration::from_millis(1_500),
            audit_every: Duration::from_millis(300),
        }
    }
}

/// What is known of the book of one instrument.
pub(crate) struct BookState {
    pub(crate) book: Book,
    /// Between a good commit and the next desync.
    pub(crate) is_published: bool,
    pub(crate) commits: u64,
    pub(crate) desyncs: Vec<DesyncReason>,
    pub(crate) recoveries: Vec<Duration>,
    lost_at: Option<Instant>,
    /// States it was published in.
    pub(crate) states: BTreeSet<u64>,
}

pub(crate) struct Shared {
    pub(crate) books: Vec<BookState>,
    pub(crate) counters: SessionCounters,
    pub(crate) connects: u64,
    pub(crate) resubscriptions: u64,
    pub(crate) reconnects: Vec<&'static str>,
    /// Events that must never come: levels or commits of a book that was given up, backward times.
    pub(crate) violations: Vec<String>,
    pub(crate) trades: u64,
    pub(crate) tops: u64,
}

struct Line {
    session: Session,
    out: Outbox,
    actions: VecDeque<NetAction>,
    failed: Vec<(u16, u32)>,
    shared: Arc<Mutex<Shared>>,
}

impl Line {
    fn settle(&mut self) {
        loop {
            let events = std::mem::take(&mut self.out.events);
            let crossed = self.consume(&events);
            self.out.events = events;
            self.out.events.clear();
            let Some((instrument, ts_recv_ns)) = crossed else { break };
            self.session.repair(instrument, DesyncReason::Crossed, ts_recv_ns, &mut self.out);
        }
        let mut shared = self.shared.lock().unwrap();
        shared.counters = *self.session.counters();
        for action in self.out.actions.drain(..) {
            match action {
                Action::Snapshot { instrument, generation } => {
                    let request = self.session.snapshot_request(instrument).unwrap();
                    self.actions.push_back(NetAction::Snapshot {
                        instrument: instrument.0,
                        generation,
                        path_and_query: request.path_and_query,
                        weight: request.weight,
                    });
                }
                Action::Resubscribe { topic } => {
                    shared.resubscriptions += 1;
                    let texts = self.session.resubscription(topic);
                    self.actions.extend(texts.into_iter().map(NetAction::Send));
                }
                Action::Send(text) => self.actions.push_back(NetAction::Send(text.into())),
                Action::Reconnect { reason } => {
                    shared.reconnects.push(reason.name());
                    self.actions.push_back(NetAction::Reconnect { reason: reason.name().into() });
                }
            }
        }
        self.out.topics.clear();
    }

    /// Applies events; an instrument whose book a commit left crossed is not published.
    fn consume(&mut self, events: &[MarketEvent]) -> Option<(InstrumentId, i64)> {
        let mut shared = self.shared.lock().unwrap();
        let mut crossed = None;
        for event in events {
            let Shared { books, violations, trades, tops, .. } = &mut *shared;
            let state = &mut books[event.instrument.index()];
            match event.body {
                EventBody::BookBegin => state.book.clear(),
                EventBody::Level { side, price, qty } => {
                    state.book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => match state.book.shape() {
                    Shape::Normal => state.publish(),
                    shape => {
                        // Given up before anybody may look at it.
                        if crossed.is_none() {
                            crossed = Some((event.instrument, event.ts_recv_ns));
                        }
                        state.desyncs.push(DesyncReason::Crossed);
                        let _ = shape;
                    }
                },
                EventBody::Desync { reason } => state.give_up(reason),
                EventBody::Trade { price, qty, .. } => {
                    *trades += 1;
                    if price <= 0 || qty <= 0 {
                        violations.push(format!("trade {event:?}"));
                    }
                }
                EventBody::Top { bid_price, ask_price, .. } => {
                    *tops += 1;
                    if bid_price >= ask_price && bid_price > 0 && ask_price > 0 {
                        violations.push(format!("crossed top {event:?}"));
                    }
                }
                EventBody::Oracle { .. } => violations.push("an oracle".into()),
            }
        }
        crossed
    }
}

impl BookState {
    fn publish(&mut self) {
        self.is_published = true;
        self.commits += 1;
        if let Some(lost_at) = self.lost_at.take() {
            self.recoveries.push(lost_at.elapsed());
        }
        self.states.insert(known_by(|side| self.book.levels(side)));
    }

    fn give_up(&mut self, reason: DesyncReason) {
        self.is_published = false;
        self.desyncs.push(reason);
        self.lost_at.get_or_insert_with(Instant::now);
    }
}

/// A number by which a state is known again.
fn known_by<I: Iterator<Item = Level>>(levels: impl Fn(Side) -> I) -> u64 {
    let mut hasher = DefaultHasher::new();
    for side in [Side::Bid, Side::Ask] {
        for Level { price, qty } in levels(side).take(KNOWN_BY) {
            (price, qty).hash(&mut hasher);
        }
    }
    hasher.finish()
}

impl Handler for Line {
    fn on_connected(&mut self, _: Link, ts_recv_ns: i64, send: &mut Vec<String>) {
        self.shared.lock().unwrap().connects += 1;
        self.actions.clear();
        self.session.on_connected(ts_recv_ns, &mut self.out);
        send.extend(self.session.subscription().map(str::to_owned));
        self.settle();
    }

    fn on_frame(&mut self, _: Link, ts_recv_ns: i64, bytes: &[u8]) {
        self.session.on_frame(ts_recv_ns, bytes, &mut self.out);
        self.settle();
    }

    fn on_snapshot(&mut self, _: Link, reply: RestReply<'_>) {
        let RestReply { instrument, generation, ts_recv_ns, .. } = reply;
        match reply.result {
            Ok(body) => {
                let instrument = InstrumentId(instrument);
                let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
                self.session.on_snapshot(reply, &mut self.out);
            }
            Err(_) => self.failed.push((instrument, generation)),
        }
        self.settle();
    }

    fn on_disconnected(&mut self, _: Link, ts_recv_ns: i64, _: DisconnectCause, _: &str) {
        self.session.on_disconnected(ts_recv_ns, &mut self.out);
        self.settle();
    }

    fn on_tick(&mut self, now_ns: i64) {
        while let Some((instrument, generation)) = self.failed.pop() {
            self.session.on_snapshot_failed(InstrumentId(instrument), generation);
        }
        self.session.on_tick(now_ns, &mut self.out);
        self.settle();
    }

    fn next_action(&mut self, _: Link) -> Option<NetAction> {
        self.actions.pop_front()
    }

    fn is_flowing(&self, _: Link) -> bool {
        self.session.is_flowing()
    }
}

/// A client on its thread.
pub(crate) struct Client {
    shared: Arc<Mutex<Shared>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<ConnectionEnd>>,
    _rest: RestService,
}

impl Client {
    pub(crate) fn start(subject: &Subject, sim: &Handle, patience: Patience) -> Self {
        let table = subject.table();
        let ids: Vec<InstrumentId> = table.iter().map(|(id, _)| id).collect();
        let mut spec = SessionSpec::new(0, subject.venue, ids.clone());
        let ns = patience.silence_ns;
        spec.silence = Silence {
            depth_ns: ns,
            book_ticker_ns: 20 * ns,
            trade_ns: 100 * ns,
            ..Silence::default()
        };
        spec.audit_every = Some(patience.audit_every);
        // The simulated books are full at 60 levels a side.
        spec.snapshot_limit = 100;
        spec.depth_interval_ms = if subject.venue == Venue::BinanceUsdm { 0 } else { 100 };
        let session = Session::new(spec, table).unwrap();
        let facts = session.protocol().facts().clone();
        let empty = || BookState {
            book: Book::with_depth(200),
            is_published: false,
            commits: 0,
            desyncs: Vec::new(),
            recoveries: Vec::new(),
            lost_at: None,
            states: BTreeSet::new(),
        };
        let shared = Arc::new(Mutex::new(Shared {
            books: ids.iter().map(|_| empty()).collect(),
            counters: SessionCounters::default(),
            connects: 0,
            resubscriptions: 0,
            reconnects: Vec::new(),
            violations: Vec::new(),
            trades: 0,
            tops: 0,
        }));
        let out = session.outbox();
        let url = sim.ws_url();
        let mut net = ConnectionSpec::new(subject.venue.name(), url);
        net.idle_timeout = patience.idle;
        net.tick_ms = 20;
        net.flow_hold = Duration::from_millis(200);
        net.backoff = BackoffConfig {
            base: Duration::from_millis(20),
            cap: Duration::from_millis(300),
            seed: 1,
        };
        net.default_retry_after = Duration::from_millis(300);
        net.max_sends_per_s = facts.sends_per_s;
        net.keepalive = facts.keepalive.map(|keepalive| Keepalive {
            every: keepalive.every,
            text: keepalive.text.into(),
            answer_timeout: Duration::from_secs(5),
        });
        let counters = Arc::new(NetCounters::default());
        let config = RestConfig {
            base_url: sim.rest_url(),
            weight_per_minute: 1_000_000,
            default_retry_after: Duration::from_millis(300),
            ..RestConfig::default()
        };
        let rest = RestService::start(config, Arc::clone(&counters)).unwrap();
        let client = rest.client();
        let (stop, told) = watch::channel(false);
        let mut line = Line {
            session,
            out,
            actions: VecDeque::new(),
            failed: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&net, &mut line, &client, &counters, told))
        });
        Self { shared, stop, thread: Some(thread), _rest: rest }
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    pub(crate) fn all_published(&self) -> bool {
        self.look().books.iter().all(|state| state.is_published)
    }

    /// Instruments whose best levels are not the truth's, or that are not published.
    pub(crate) fn different(&self, sim: &Handle) -> Vec<usize> {
        let truth = sim.books();
        let shared = self.look();
        let differs = |(i, state): (usize, &BookState)| {
            let is_same = [Side::Bid, Side::Ask].into_iter().all(|side| {
                let ours = state.book.levels(side).take(COMPARED);
                ours.eq(truth[i].levels(side).iter().take(COMPARED).copied())
            });
            (!state.is_published || !is_same).then_some(i)
        };
        shared.books.iter().enumerate().filter_map(differs).collect()
    }

    pub(crate) fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            assert_eq!(thread.join().unwrap(), ConnectionEnd::Shutdown);
        }
    }
}

/// Every state the truth was ever in, by instrument.
#[derive(Default)]
pub(crate) struct Truth(BTreeMap<usize, BTreeSet<u64>>);

impl Truth {
    /// Notes the present state of an instrument, or of all.
    pub(crate) fn note(&mut self, sim: &Handle) {
        for (i, book) in sim.books().iter().enumerate() {
            self.0.entry(i).or_default().insert(state_of(book));
        }
    }

    /// Published states that never were.
    pub(crate) fn never_were(&self, client: &Client) -> usize {
        let shared = client.look();
        let count = |(i, state): (usize, &BookState)| state.states.difference(&self.0[&i]).count();
        shared.books.iter().enumerate().map(count).sum()
    }
}

fn state_of(book: &ModelBook) -> u64 {
    known_by(|side| book.levels(side).iter().copied())
}

/// What a venue's protocol says of itself.
pub(crate) fn facts(venue: Venue) -> protocol::Facts {
    protocol::of(venue).unwrap().facts().clone()
}
