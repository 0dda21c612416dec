//! Sustained load: frames from a venue simulator over a loopback WebSocket, through the real connection and
//! session into books.
//!
//! `cargo bench -p purkinje-feeds --bench load -- rate=200000 seconds=60 connections=1 venue=usdm`
//!
//! A short trial comes first: where the rate is not carried it is lowered until it is, and the long run
//! is at that rate. Latency is from just before the generator hands a frame to its socket to the moment
//! its levels are in the book, so it holds the wait within a batch of the generator, both ends' system
//! calls and the scheduler. Generator, connections and REST share the process and the cores. In the end
//! every book is compared with the generator's.

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use purkinje_feeds::book::Book;
use purkinje_feeds::net::{
    ConnectionSpec, DisconnectCause, Handler, Link, NetAction, NetCounters, RestClient, RestConfig,
    RestReply, RestService, run,
};
use purkinje_feeds::session::{Action, Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::venue_sim::load::{LoadConfig, LoadHandle, SendStamps, spawn_load};
use purkinje_feeds::venue_sim::{Dialect, Listing, ModelConfig, dialects};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, Side, Venue,
};
use tokio::sync::watch;

/// Levels a side of the simulated books.
const LEVELS: usize = 100;

/// Length of a trial.
const TRIAL: Duration = Duration::from_secs(3);

/// A rate is carried if so much of it arrives.
const CARRIED: f64 = 0.995;

/// Trials before giving up.
const MOST_TRIALS: usize = 12;

/// Longest latency told apart, ns.
const MOST_NS: u64 = 60_000_000_000;

/// How long the last frames may take to arrive.
const DRAIN: Duration = Duration::from_secs(20);

/// What to run.
struct Options {
    /// Frames a second, all connections together.
    rate_hz: f64,
    seconds: u64,
    connections: usize,
    venue: String,
    /// How often the generator writes.
    batch_us: u64,
}

impl Options {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            rate_hz: 200_000.0,
            seconds: 10,
            connections: 1,
            venue: "usdm".into(),
            batch_us: 1_000,
        };
        // cargo adds `--bench`.
        for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
            let known = "rate=, seconds=, connections=, venue= or batch_us=";
            let (key, value) =
                argument.split_once('=').ok_or(format!("{argument}: expected {known}"))?;
            let bad = |error: &dyn Error| format!("{argument}: {error}");
            match key {
                "rate" => options.rate_hz = value.parse().map_err(|e| bad(&e))?,
                "seconds" => options.seconds = value.parse().map_err(|e| bad(&e))?,
                "connections" => options.connections = value.parse().map_err(|e| bad(&e))?,
                "venue" => value.clone_into(&mut options.venue),
                "batch_us" => options.batch_us = value.parse().map_err(|e| bad(&e))?,
                _ => return Err(format!("{argument}: expected {known}").into()),
            }
        }
        if !(1..=16).contains(&options.connections) {
            return Err(format!("connections is {}, expected 1 to 16", options.connections).into());
        }
        Ok(options)
    }

    /// Venues whose updates carry the number that the generator's stamps go by.
    fn venue(&self) -> Result<(Venue, Arc<dyn Dialect>), String> {
        Ok(match self.venue.as_str() {
            "usdm" => (Venue::BinanceUsdm, Arc::new(dialects::Binance::USDM)),
            "spot" => (Venue::BinanceSpot, Arc::new(dialects::Binance::SPOT)),
            "bybit" => (Venue::BybitLinear, Arc::new(dialects::Bybit::LINEAR)),
            "okx" => (Venue::Okx, Arc::new(dialects::Okx::STREAM)),
            other => return Err(format!("venue={other}: expected usdm, spot, bybit or okx")),
        })
    }
}

/// What the consumers and the main thread share.
#[derive(Default)]
struct Progress {
    frames: AtomicU64,
    bytes: AtomicU64,
    published: AtomicU64,
    is_measuring: AtomicBool,
}

/// One connection's session and the book of its instrument.
struct Consumer {
    session: Session,
    out: Outbox,
    actions: VecDeque<NetAction>,
    book: Book,
    /// Number of the instrument in the generator.
    instrument: usize,
    stamps: Arc<SendStamps>,
    progress: Arc<Progress>,
    latency_ns: Histogram<u64>,
    /// Updates whose stamp had been overwritten.
    unstamped: u64,
    desyncs: u64,
    disconnects: u64,
    /// Snapshot requests that failed: instrument and generation.
    failed: Vec<(u16, u32)>,
}

impl Consumer {
    fn settle(&mut self) {
        for event in &self.out.events {
            match event.body {
                EventBody::BookBegin => self.book.clear(),
                EventBody::Level { side, price, qty } => {
                    self.book.set(side, price, qty);
                }
                EventBody::BookCommit { .. }
                    if self.progress.is_measuring.load(Ordering::Relaxed) =>
                {
                    match self.stamps.sent_ns(self.instrument, event.update_id) {
                        Some(ns) => self
                            .latency_ns
                            .saturating_record(self.stamps.now_ns().saturating_sub(ns)),
                        None => self.unstamped += 1,
                    }
                }
                // Ending the run ends the connection.
                EventBody::Desync { reason } if reason != DesyncReason::Disconnected => {
                    self.desyncs += 1;
                }
                _ => {}
            }
        }
        self.out.events.clear();
        self.out.topics.clear();
        for action in self.out.actions.drain(..) {
            match action {
                Action::Snapshot { instrument, generation } => {
                    if let Some(request) = self.session.snapshot_request(instrument) {
                        self.actions.push_back(NetAction::Snapshot {
                            instrument: instrument.0,
                            generation,
                            path_and_query: request.path_and_query,
                            weight: request.weight,
                        });
                    }
                }
                Action::Resubscribe { topic } => {
                    let texts = self.session.resubscription(topic);
                    self.actions.extend(texts.into_iter().map(NetAction::Send));
                }
                Action::Send(text) => self.actions.push_back(NetAction::Send(text.into())),
                Action::Reconnect { reason } => {
                    self.actions.push_back(NetAction::Reconnect { reason: reason.name().into() });
                }
            }
        }
    }
}

impl Handler for Consumer {
    fn on_connected(&mut self, _: Link, ts_recv_ns: i64, send: &mut Vec<String>) {
        self.actions.clear();
        self.session.on_connected(ts_recv_ns, &mut self.out);
        send.extend(self.session.subscription().map(str::to_owned));
        self.settle();
    }

    fn on_frame(&mut self, _: Link, ts_recv_ns: i64, bytes: &[u8]) {
        self.session.on_frame(ts_recv_ns, bytes, &mut self.out);
        self.settle();
        self.progress.frames.fetch_add(1, Ordering::Relaxed);
        self.progress.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
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

    fn on_disconnected(&mut self, _: Link, ts_recv_ns: i64, cause: DisconnectCause, why: &str) {
        if cause != DisconnectCause::Shutdown {
            self.disconnects += 1;
            eprintln!("disconnected: {why}");
        }
        self.session.on_disconnected(ts_recv_ns, &mut self.out);
        self.settle();
    }

    fn on_tick(&mut self, now_ns: i64) {
        while let Some((instrument, generation)) = self.failed.pop() {
            self.session.on_snapshot_failed(InstrumentId(instrument), generation);
        }
        self.session.on_tick(now_ns, &mut self.out);
        self.settle();
        let is_published = self.session.all_published();
        self.progress
            .published
            .fetch_or(u64::from(is_published) << self.instrument, Ordering::Relaxed);
    }

    fn next_action(&mut self, _: Link) -> Option<NetAction> {
        self.actions.pop_front()
    }

    fn is_flowing(&self, _: Link) -> bool {
        self.session.is_flowing()
    }
}

/// Everything that runs.
struct Rig {
    generator: LoadHandle,
    progress: Arc<Progress>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<Consumer>>,
    connections: usize,
    _rest: RestService,
}

impl Rig {
    fn start(options: &Options) -> Result<Self, Box<dyn Error>> {
        let (venue, dialect) = options.venue()?;
        let name = |i| match venue {
            Venue::Okx => format!("BTC{i}-USDT"),
            _ => format!("BTC{i}USDT"),
        };
        let listings: Vec<_> =
            (0..options.connections).map(|i| Listing::like_btc(&name(i))).collect();
        let model =
            ModelConfig { listings: listings.clone(), levels: LEVELS, ..ModelConfig::default() };
        let batch_every = Duration::from_micros(options.batch_us);
        let config = LoadConfig { model, batch_every, ..LoadConfig::default() };
        let generator = spawn_load(&config, dialect)?;
        let (stop, told) = watch::channel(false);
        let counters = Arc::new(NetCounters::default());
        let config = RestConfig {
            base_url: generator.rest_url(),
            weight_per_minute: 1_000_000,
            ..RestConfig::default()
        };
        let rest = RestService::start(config, Arc::clone(&counters))?;
        let progress = Arc::new(Progress::default());
        let mut threads = Vec::new();
        for (instrument, listing) in listings.into_iter().enumerate() {
            let consumer = consumer(venue, instrument, listing, &generator, &progress)?;
            let mut spec = ConnectionSpec::new(venue.name(), generator.ws_url());
            spec.tick_ms = 20;
            let shared = (rest.client(), Arc::clone(&counters), told.clone());
            threads.push(std::thread::spawn(move || connect(&spec, consumer, shared)));
        }
        let connections = options.connections;
        Ok(Self { generator, progress, stop, threads, connections, _rest: rest })
    }

    /// Sets the rate of all connections together.
    fn rate(&self, rate_hz: f64) {
        self.generator.set_rate(rate_hz / self.connections as f64);
    }

    fn received(&self) -> (u64, u64) {
        let Progress { frames, bytes, .. } = &*self.progress;
        (frames.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }

    /// Waits until every book is published.
    fn settle(&self) -> Result<(), String> {
        self.rate(1_000.0);
        let all = (1u64 << self.connections) - 1;
        let started = Instant::now();
        while self.progress.published.load(Ordering::Relaxed) != all {
            if started.elapsed() > DRAIN {
                return Err("the books were not published".into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The highest rate up to `rate_hz` that short trials carry.
    fn carried(&self, mut rate_hz: f64) -> f64 {
        for _ in 0..MOST_TRIALS {
            self.rate(rate_hz);
            sleep(Duration::from_millis(300));
            let (before, started) = (self.received().0, Instant::now());
            sleep(TRIAL);
            let seconds = started.elapsed().as_secs_f64();
            let found_hz = (self.received().0 - before) as f64 / seconds;
            println!("trial: {rate_hz:.0} frames/s asked, {found_hz:.0} received");
            if found_hz >= CARRIED * rate_hz {
                break;
            }
            rate_hz = (0.95 * found_hz).min(0.9 * rate_hz);
            // What is in the sockets must not burden the next trial.
            self.rate(0.0);
            sleep(Duration::from_secs(1));
        }
        rate_hz
    }

    /// Stops the flow, lets it arrive, and hands the consumers back.
    fn finish(self) -> Result<Vec<Consumer>, String> {
        self.rate(0.0);
        let started = Instant::now();
        let mut before = (0, 0);
        while before != self.received() && started.elapsed() < DRAIN {
            before = self.received();
            sleep(Duration::from_millis(500));
        }
        let _ = self.stop.send(true);
        let mut consumers = Vec::new();
        for thread in self.threads {
            consumers.push(thread.join().map_err(|_| "a consumer panicked")?);
        }
        for consumer in &consumers {
            let Some((truth, _)) = self.generator.book(consumer.instrument) else { continue };
            for side in [Side::Bid, Side::Ask] {
                let is_same = consumer.book.levels(side).eq(truth.levels(side).iter().copied());
                if !is_same {
                    return Err(format!("book {} is not the generator's", consumer.instrument));
                }
            }
        }
        Ok(consumers)
    }
}

fn consumer(
    venue: Venue,
    instrument: usize,
    listing: Listing,
    generator: &LoadHandle,
    progress: &Arc<Progress>,
) -> Result<Consumer, Box<dyn Error>> {
    let item = Instrument {
        venue,
        symbol: listing.symbol,
        price_decimals: listing.price_decimals,
        qty_decimals: listing.qty_decimals,
    };
    let mut spec = SessionSpec::new(0, venue, vec![InstrumentId(0)]);
    (spec.channels.book_ticker, spec.channels.trade) = (false, false);
    spec.snapshot_limit = LEVELS;
    spec.depth_interval_ms = if venue == Venue::BinanceUsdm { 0 } else { 100 };
    let session = Session::new(spec, Arc::new(InstrumentTable::new(vec![item])?))?;
    let out = session.outbox();
    Ok(Consumer {
        session,
        out,
        actions: VecDeque::new(),
        book: Book::with_depth(2 * LEVELS),
        instrument,
        stamps: generator.stamps(),
        progress: Arc::clone(progress),
        latency_ns: Histogram::new_with_bounds(1, MOST_NS, 3)?,
        unstamped: 0,
        desyncs: 0,
        disconnects: 0,
        failed: Vec::new(),
    })
}

type Shared = (RestClient, Arc<NetCounters>, watch::Receiver<bool>);

/// Runs a connection to its end.
fn connect(
    spec: &ConnectionSpec,
    mut consumer: Consumer,
    (rest, counters, told): Shared,
) -> Consumer {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => drop(runtime.block_on(run(spec, &mut consumer, &rest, &counters, told))),
        Err(error) => eprintln!("no runtime: {error}"),
    }
    consumer
}

/// Resident memory of the process, MiB.
fn rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let rig = Rig::start(&options)?;
    rig.settle()?;
    let rate_hz = rig.carried(options.rate_hz);
    rig.rate(rate_hz);
    sleep(Duration::from_secs(1));

    let half = Duration::from_secs(options.seconds) / 2;
    let behind = rig.generator.counters().frames_behind;
    rig.progress.is_measuring.store(true, Ordering::Relaxed);
    let (before, started) = (rig.received(), Instant::now());
    let rss_start = rss_mib();
    sleep(half);
    let rss_middle = rss_mib();
    sleep(half);
    let (after, seconds) = (rig.received(), started.elapsed().as_secs_f64());
    rig.progress.is_measuring.store(false, Ordering::Relaxed);
    let rss_end = rss_mib();
    let behind = rig.generator.counters().frames_behind - behind;

    let consumers = rig.finish()?;
    let mut latency_ns = Histogram::<u64>::new_with_bounds(1, MOST_NS, 3)?;
    for consumer in &consumers {
        latency_ns.add(&consumer.latency_ns)?;
    }
    let (frames, bytes) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    let us = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{}, {} connection(s), {seconds:.1} s at {rate_hz:.0} frames/s asked, a batch every {} us",
        options.venue, options.connections, options.batch_us
    );
    println!(
        "received {:.0} frames/s, {:.1} MB/s, {:.0} bytes a frame; {behind} frames behind the rate",
        frames / seconds,
        bytes / seconds / 1e6,
        bytes / frames
    );
    println!(
        "send to book, us: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ({} updates, {} without a stamp)",
        us(0.5),
        us(0.99),
        us(0.999),
        latency_ns.max() as f64 / 1e3,
        latency_ns.len(),
        consumers.iter().map(|consumer| consumer.unstamped).sum::<u64>()
    );
    println!(
        "resident memory, MiB: start {rss_start:.1}, middle {rss_middle:.1}, end {rss_end:.1}"
    );
    let gaps: u64 = consumers.iter().map(|consumer| consumer.session.counters().gaps).sum();
    let desyncs: u64 = consumers.iter().map(|consumer| consumer.desyncs).sum();
    let disconnects: u64 = consumers.iter().map(|consumer| consumer.disconnects).sum();
    println!(
        "{gaps} gaps, {desyncs} desyncs, {disconnects} disconnects; every book equals the generator's"
    );
    Ok(())
}
