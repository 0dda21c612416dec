//! `purkinje run` and `purkinje record`: live feeds through engine, model and sink.
//!
//! Start-up order: simulator (if embedded), recorder, REST, spine, control socket, feeds. Shutdown is
//! the reverse of the data's way: feeds end first, then each stage when what fed it is gone and drained.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use purkinje_feeds::{
    Instrument, InstrumentError, InstrumentId, InstrumentTable, Venue, binance,
    net::{
        ConnectLimit, ConnectionEnd, ConnectionSpec, NetCounters, RestConfig, RestService,
        RestStartError, run as run_connection,
    },
    recording::{Fsync, NO_CONNECTION, Record, RecordingWriter, WriteError, WriterConfig},
    session::{Channels, SessionError, SessionSpec},
    sim::{MarketConfig, SimConfig, SimError, SimHandle, spawn_thread},
};
use rtrb::RingBuffer;
use thiserror::Error;
use tokio::sync::watch;

use super::{
    report::{FeedSide, Report},
    spine::{OutletConfig, RunError, Spine, SpineInputs, hex},
};
use crate::{
    clock::{Clock, wall_ns},
    config::{Loaded, RecordFsync},
    control::{ControlError, ControlServer, ControlTarget},
    pipeline::{
        conflate::Conflator,
        engine_thread::{Pace, Ring},
        feed_core::FeedCore,
        latency::Stage,
        live_line::{LineResult, LiveLine},
        live_stats::LiveStats,
        recorder::Recorder,
        session_header::{FORMAT, HeaderChannels, HeaderInstrument, SessionHeader},
        sink::WhenFull,
        threads::{ThreadError, join, spawn},
        waker::Waker,
    },
};

/// Bytes that a connection's records may lag behind the recorder.
const FEED_TAP_BYTES: usize = 8 << 20;

/// Bytes that the engine's records may lag behind the recorder.
const ENGINE_TAP_BYTES: usize = 1 << 20;

/// How long feeds get to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a live run did not start or ended badly.
#[derive(Debug, Error)]
pub enum LiveError {
    /// The embedded exchange did not start.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The instruments are not valid.
    #[error(transparent)]
    Instruments(#[from] InstrumentError),
    /// A connection's session is not valid.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// REST could not be started.
    #[error(transparent)]
    Rest(#[from] RestStartError),
    /// The recording cannot be written.
    #[error(transparent)]
    Recording(#[from] WriteError),
    /// The control socket cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The threads behind could not be started.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A feed thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The venue is not known.
    #[error("feed.venue = {found:?} is not known")]
    Venue {
        /// As configured.
        found: String,
    },
    /// The ring cannot hold one whole book.
    #[error(
        "pipeline.ring_items = {ring_items} cannot hold a book of pipeline.book_levels = {levels} levels \
         a side, expected at least {needed}"
    )]
    RingTooSmall {
        /// As configured.
        ring_items: usize,
        /// As configured.
        levels: usize,
        /// What a whole book takes.
        needed: usize,
    },
    /// More streams than connections may carry.
    #[error(
        "{streams} streams do not fit on feed.connections = {connections} connections of at most \
         {max} streams"
    )]
    Streams {
        /// Streams there are.
        streams: usize,
        /// As configured.
        connections: usize,
        /// Most per connection.
        max: usize,
    },
    /// The control socket's directory or the recording's cannot be made.
    #[error("cannot create {path}: {source}")]
    Directory {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where the exchange is.
#[derive(Debug)]
struct Exchange {
    sim: Option<SimHandle>,
    ws_url: String,
    rest_url: String,
    venue: Venue,
    table: Arc<InstrumentTable>,
}

/// What a live run is given beside the configuration.
#[derive(Debug)]
pub struct LiveOptions {
    /// Where signals go.
    pub outlets: OutletConfig,
    /// Ends the run.
    pub stop: Arc<AtomicBool>,
    /// The control socket.
    pub control: PathBuf,
}

/// The simulated market that a configuration describes.
#[must_use]
pub fn market_config(loaded: &Loaded) -> MarketConfig {
    let sim = &loaded.config.simulator;
    MarketConfig {
        seed: sim.seed,
        symbols: sim.symbol_list(),
        strength: sim.strength,
        memory_ms: sim.memory_ms as u32,
        horizon_ms: loaded.strategy.horizon_ms as u32,
        move_rate_hz: sim.move_rate_hz,
        activity: sim.activity,
    }
}

fn exchange(loaded: &Loaded) -> Result<Exchange, LiveError> {
    let feed = &loaded.feed;
    let venue = Venue::from_name(&feed.venue)
        .ok_or_else(|| LiveError::Venue { found: feed.venue.clone() })?;
    let configured = || -> Result<_, InstrumentError> {
        let instrument = |i: &crate::config::InstrumentConfig| Instrument {
            venue,
            symbol: i.symbol.clone(),
            price_decimals: i.price_decimals,
            qty_decimals: i.qty_decimals,
        };
        InstrumentTable::new(feed.instruments.iter().map(instrument).collect())
    };
    if !feed.is_embedded() {
        return Ok(Exchange {
            sim: None,
            // Combined streams, whose envelope names the stream.
            ws_url: format!(
                "{}/stream",
                feed.ws_url.trim_end_matches('/').trim_end_matches("/stream")
            ),
            rest_url: feed.rest_url.clone(),
            venue,
            table: Arc::new(configured()?),
        });
    }
    let config = SimConfig { market: market_config(loaded), ..SimConfig::default() };
    let sim = spawn_thread(
        &config,
        SocketAddr::from((Ipv4Addr::LOCALHOST, loaded.config.simulator.port)),
    )?;
    let table = if feed.instruments.is_empty() {
        InstrumentTable::new(sim.instruments())?
    } else {
        configured()?
    };
    let addr = sim.local_addr();
    Ok(Exchange {
        sim: Some(sim),
        ws_url: format!("ws://{addr}/stream"),
        rest_url: format!("http://{addr}"),
        venue,
        table: Arc::new(table),
    })
}

/// Spreads the instruments over as many connections as configured, or as the streams need.
fn connections(
    loaded: &Loaded,
    venue: Venue,
    instruments: usize,
) -> Result<Vec<Vec<u16>>, LiveError> {
    let feed = &loaded.feed;
    let max = feed.max_streams_per_connection.min(binance::max_streams(venue));
    let per_instrument = feed.channels.per_instrument();
    let streams = instruments * per_instrument;
    let needed = instruments.div_ceil((max / per_instrument).max(1));
    let connections = feed.connections.max(needed).min(instruments.max(1));
    if connections > usize::from(NO_CONNECTION) {
        return Err(LiveError::Streams { streams, connections, max });
    }
    let mut spread = vec![Vec::new(); connections];
    for i in 0..instruments {
        spread[i % connections].push(i as u16);
    }
    Ok(spread)
}

fn session_header(loaded: &Loaded, exchange: &Exchange, connections: &[Vec<u16>]) -> SessionHeader {
    let channels = &loaded.feed.channels;
    SessionHeader {
        format: FORMAT,
        writer: concat!("purkinje ", env!("CARGO_PKG_VERSION")).into(),
        engine: true,
        cycle_ms: u64::from(loaded.config.cycle.period_ms),
        book_levels: loaded.config.pipeline.book_levels,
        config_sha256: hex(&loaded.hash()),
        venue: exchange.venue.name().into(),
        channels: HeaderChannels {
            depth_interval_ms: channels.depth_interval_ms(),
            book_ticker: channels.book_ticker,
            trade: channels.trade,
            oracle: channels.oracle,
        },
        snapshot_limit: loaded.feed.snapshot_limit as usize,
        instruments: exchange
            .table
            .iter()
            .map(|(_, i)| HeaderInstrument {
                symbol: i.symbol.clone(),
                price_decimals: i.price_decimals,
                qty_decimals: i.qty_decimals,
            })
            .collect(),
        connections: connections.to_vec(),
    }
}

/// Opens a recording whose name is the time of its start.
///
/// # Errors
/// The directory cannot be made or the file not be written.
pub fn recording_writer(
    loaded: &Loaded,
    dir: &Path,
    header: &SessionHeader,
    start_ns: i64,
) -> Result<RecordingWriter, LiveError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| LiveError::Directory { path: dir.to_owned(), source })?;
    let record = &loaded.config.record;
    let config = WriterConfig {
        rotate_bytes: record.rotate_mb << 20,
        rotate_ns: record.rotate_s * 1_000_000_000,
        level: record.level,
        fsync: match record.fsync {
            RecordFsync::Never => Fsync::Never,
            RecordFsync::Rotate => Fsync::OnRotate,
            RecordFsync::Flush => Fsync::EachFlush,
        },
        ..WriterConfig::default()
    };
    let mut writer =
        RecordingWriter::create(dir, &format!("session-{}", start_ns / 1_000_000), config)?;
    // Serialising plain strings and numbers cannot fail.
    let json = serde_json::to_string(header).unwrap_or_default();
    writer.append(&Record::SessionStart { json: &json })?;
    Ok(writer)
}

/// Runs until stopped, until the configured duration has passed, or until a feed has given up.
///
/// # Errors
/// See [`LiveError`].
pub fn live(loaded: &Loaded, options: LiveOptions) -> Result<Report, LiveError> {
    let LiveOptions { outlets, stop, control } = options;
    let pipeline = &loaded.config.pipeline;
    let needed = Conflator::min_ring_items(pipeline.book_levels);
    if pipeline.ring_items < needed {
        let (ring_items, levels) = (pipeline.ring_items, pipeline.book_levels);
        return Err(LiveError::RingTooSmall { ring_items, levels, needed });
    }
    let exchange = exchange(loaded)?;
    let table = exchange.table.clone();
    let spread = connections(loaded, exchange.venue, table.len())?;
    let mut recorder = match &loaded.config.record.dir {
        dir if dir.as_os_str().is_empty() => None,
        dir => {
            let header = session_header(loaded, &exchange, &spread);
            Some(Recorder::new(recording_writer(loaded, dir, &header, wall_ns())?))
        }
    };
    let counters = Arc::new(NetCounters::default());
    let rest = RestService::start(
        RestConfig {
            base_url: exchange.rest_url.clone(),
            weight_per_minute: loaded.feed.rest_weight_per_min,
            used_weight_header: Some("x-mbx-used-weight-1m".into()),
            ..RestConfig::default()
        },
        counters.clone(),
    )?;

    let engine = Waker::default();
    let stats = Arc::new(LiveStats::default());
    let engine_stop = Arc::new(AtomicBool::new(false));
    let mut rings = Vec::new();
    let mut lines = Vec::new();
    let channels = &loaded.feed.channels;
    for (connection, ids) in (0u8..).zip(&spread) {
        let (tx, rx) = RingBuffer::new(pipeline.ring_items);
        rings.push(Ring { connection, inputs: rx });
        let spec = SessionSpec {
            channels: Channels {
                depth: true,
                book_ticker: channels.book_ticker,
                trade: channels.trade,
                oracle: channels.oracle,
            },
            depth_interval_ms: channels.depth_interval_ms(),
            snapshot_limit: loaded.feed.snapshot_limit as usize,
            ..SessionSpec::new(
                connection,
                exchange.venue,
                ids.iter().map(|&i| InstrumentId(i)).collect(),
            )
        };
        let core = FeedCore::new(spec, table.clone(), pipeline.book_levels)?;
        let tap = recorder.as_mut().map(|r| r.tap(connection, FEED_TAP_BYTES));
        lines.push(LiveLine::new(
            core,
            connection,
            (tx, engine.clone()),
            tap,
            table.clone(),
            (exchange.venue, loaded.feed.snapshot_limit as usize),
        ));
    }
    // The engine's tap comes last, so that the frames it speaks of are written first.
    let tap = recorder.as_mut().map(|r| r.tap(NO_CONNECTION, ENGINE_TAP_BYTES));
    let recorder_counts = recorder.as_ref().map(Recorder::counts);
    let recorder = recorder.map(|r| spawn("pk-recorder", None, move || r.run())).transpose()?;
    let (commands_tx, commands_rx) = RingBuffer::new(64);
    let started = Instant::now();
    let spine = Spine::start(
        loaded,
        SpineInputs {
            table: table.clone(),
            pace: Pace::Live {
                period_ns: i64::from(loaded.config.cycle.period_ms) * 1_000_000,
                spin: loaded.config.pipeline.engine_wait == crate::config::EngineWait::Spin,
                stop: engine_stop.clone(),
            },
            rings,
            commands: Some(commands_rx),
            tap,
            engine: engine.clone(),
            clock: Clock::Wall,
            when_full: WhenFull::Count,
            stats: stats.clone(),
        },
        &outlets,
    )?;
    let model_version = spine.model_version.clone();
    let control = ControlServer::start(
        &control,
        ControlTarget { commands: commands_tx, engine: engine.clone(), stats },
    )?;

    let (shutdown_tx, shutdown_rx) = watch::channel(false);
    let limit = ConnectLimit::default();
    let mut feeds = Vec::new();
    for (i, line) in lines.into_iter().enumerate() {
        let mut spec =
            ConnectionSpec::new(format!("{}#{i}", exchange.venue.name()), &exchange.ws_url);
        spec.idle_timeout = Duration::from_millis(loaded.feed.idle_timeout_ms);
        spec.connect_limit = limit.clone();
        spec.backoff.seed = i as u64;
        let (rest, counters, shutdown) = (rest.client(), counters.clone(), shutdown_rx.clone());
        let run = move || feed_thread(&spec, line, &rest, &counters, shutdown);
        let core = pipeline.feed_core.map(|core| core + i);
        feeds.push(spawn(&format!("pk-feed-{i}"), core, run)?);
    }

    let duration = loaded.config.run.duration_s;
    let deadline = (duration > 0).then(|| started + Duration::from_secs(duration));
    let mut warnings = Vec::new();
    while !stop.load(Ordering::Relaxed) && deadline.is_none_or(|d| Instant::now() < d) {
        if feeds.iter().any(JoinHandle::is_finished) {
            warnings.push("a feed has given up: the run ends".to_owned());
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(control);
    let _ = shutdown_tx.send(true);
    let goodbye = Instant::now() + GOODBYE;
    while feeds.iter().any(|f| !f.is_finished()) && Instant::now() < goodbye {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Also ends an engine whose feed thread hangs in the system.
    engine_stop.store(true, Ordering::Release);
    engine.wake();
    let mut results = Vec::new();
    for feed in &feeds {
        if !feed.is_finished() {
            warnings.push("a feed thread did not end in time and was left behind".into());
        }
    }
    for feed in feeds {
        if feed.is_finished() {
            let (line, end) = join(feed)?;
            if end != ConnectionEnd::Shutdown {
                warnings.push(format!("feed ended: {end:?}"));
            }
            results.push(line.finish());
        }
    }
    drop(rest);
    let spine = spine.join()?;
    let mut side = feed_side(results, &counters, warnings);
    if let Some(thread) = recorder {
        let trouble = join(thread)?;
        let counts = recorder_counts.unwrap_or_default();
        side.notes.push(format!(
            "recording            {} records, {} lost",
            counts.records.load(Ordering::Relaxed),
            counts.lost.load(Ordering::Relaxed)
        ));
        side.warnings.extend(trouble.map(|t| format!("recording: {t}")));
    }
    if let Some(sim) = exchange.sim {
        let oracle = sim.oracle();
        side.notes.push(format!(
            "simulated exchange   best possible hit rate {:.4}, log loss {:.4} at {} ms",
            oracle.best_hit_rate(),
            oracle.best_log_loss(),
            oracle.horizon_ms()
        ));
        sim.stop();
    }
    Ok(Report {
        title: format!("live on {}, {}", exchange.venue.name(), exchange.ws_url),
        elapsed_s: started.elapsed().as_secs_f64(),
        model_version,
        instruments: table.len(),
        feeds: side,
        spine,
        warmup_s: loaded.config.report.warmup_s,
    })
}

fn feed_thread(
    spec: &ConnectionSpec,
    mut line: LiveLine,
    rest: &purkinje_feeds::net::RestClient,
    counters: &NetCounters,
    shutdown: watch::Receiver<bool>,
) -> (LiveLine, ConnectionEnd) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = match runtime {
        Ok(runtime) => {
            let end = runtime.block_on(run_connection(spec, &mut line, rest, counters, shutdown));
            // A name look-up under way must not hold up the end.
            runtime.shutdown_background();
            end
        }
        Err(e) => ConnectionEnd::Exhausted { attempts: 0, last_error: e.to_string() },
    };
    (line, end)
}

fn feed_side(results: Vec<LineResult>, net: &NetCounters, mut warnings: Vec<String>) -> FeedSide {
    let mut decode = Stage::new("socket→decoded");
    let mut side = FeedSide::default();
    let mut dropped = 0;
    for line in results {
        decode.merge(&line.decode);
        side.sessions.push(line.session);
        side.conflated.0 += line.conflated.0;
        side.conflated.1 += line.conflated.1;
        side.crossed_books += line.crossed_books;
        dropped += line.actions_dropped;
    }
    if dropped > 0 {
        warnings.push(format!("{dropped} requests of sessions were dropped at their bound"));
    }
    side.decode = Some(decode);
    side.notes.push(format!(
        "connections          {} made, {} lost, {} ms waited; {} REST requests, {} failed",
        net.connects.get(),
        net.disconnects_total(),
        net.backoff_ms_total.get(),
        net.rest_requests.get(),
        net.rest_failures.get()
    ));
    side.warnings = warnings;
    side
}
