//! `purkinje run` and `purkinje record`: live feeds through engine, model and sink.
//!
//! Start-up order: control socket, simulator (if embedded), learned state, recorder, REST, spine, feeds. Shutdown is
//! the reverse of the data's way: feeds end first, then each stage when what fed it is gone and drained; what was
//! learned is kept last.

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
    Instrument, InstrumentError, InstrumentTable, Venue,
    net::{NetCounters, RestConfig, RestService, RestStartError},
    protocol,
    recording::{Fsync, NO_CONNECTION, Record, RecordingWriter, STANDBY, WriteError, WriterConfig},
    session::SessionError,
    sim::{MarketConfig, SimConfig, SimError, SimHandle, spawn_thread},
};
use rtrb::RingBuffer;
use thiserror::Error;

use super::{
    feeds::{self, Feeds},
    report::{FeedSide, Report},
    spine::{OutletConfig, RunError, Spine, SpineInputs, SpineResult, hex},
    stop::{HangUp, HangUpMeans},
};
use crate::{
    clock::{Clock, wall_ns},
    config::{Loaded, RecordFsync},
    control::{ControlError, ControlServer, ControlTarget},
    lifecycle::{
        Operator,
        learned::{Beginning, Learned, LearnedError, LearnedFolder},
        manager::{Manager, Notifier},
        reload::Reloader,
    },
    pipeline::{
        commands::Commands,
        conflate::Conflator,
        engine_thread::Pace,
        live_stats::LiveStats,
        recorder::{Recorder, RecorderCounts, RecorderEnd},
        session_header::{EndSummary, FORMAT, HeaderChannels, HeaderInstrument, SessionHeader},
        sink::WhenFull,
        threads::{ThreadError, join, spawn},
        waker::Waker,
    },
    service::{
        bind::Endpoint,
        server::{Server, ServerError},
        watch::WatchInputs,
    },
};

/// Cycles whose signals wait for those who watch over HTTP; they look twenty times a second.
const WATCH_CYCLES: usize = 64;

/// Bytes that the engine's records may lag behind the recorder.
const ENGINE_TAP_BYTES: usize = 1 << 20;

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
    /// What an earlier run has learned cannot be looked at, or not be copied to a recording.
    #[error("state.dir: {0}")]
    Learned(#[from] LearnedError),
    /// The control socket cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// HTTP cannot be served.
    #[error(transparent)]
    Http(#[from] ServerError),
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
pub(super) struct Exchange {
    sim: Option<SimHandle>,
    pub(super) ws_url: String,
    rest_url: String,
    pub(super) venue: Venue,
    pub(super) table: Arc<InstrumentTable>,
}

/// What a live run is given beside the configuration.
#[derive(Debug)]
pub struct LiveOptions {
    /// Where signals go.
    pub outlets: OutletConfig,
    /// Ends the run.
    pub stop: Arc<AtomicBool>,
    /// Has the configuration read again.
    pub hang_up: HangUp,
    /// The control socket.
    pub control: PathBuf,
    /// Where HTTP is served; `None` serves none.
    pub http: Option<Endpoint>,
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
        regime_ms: sim.regime_ms as u32,
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
            ws_url: protocol::of(venue)
                .map_or_else(|| feed.ws_url.clone(), |protocol| protocol.url(&feed.ws_url)),
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
    let most = protocol::of(venue).map_or(usize::MAX, |protocol| protocol.facts().max_topics);
    let max = feed.max_streams_per_connection.min(most);
    let per_instrument = feed.channels.per_instrument();
    let streams = instruments * per_instrument;
    let needed = instruments.div_ceil((max / per_instrument).max(1));
    let connections = feed.connections.max(needed).min(instruments.max(1));
    // In recordings a connection's successor goes by its number plus `STANDBY`.
    if connections >= usize::from(STANDBY) {
        return Err(LiveError::Streams { streams, connections, max });
    }
    let mut spread = vec![Vec::new(); connections];
    for i in 0..instruments {
        spread[i % connections].push(i as u16);
    }
    Ok(spread)
}

fn session_header(
    loaded: &Loaded,
    exchange: &Exchange,
    connections: &[Vec<u16>],
    learned_sha256: Option<String>,
) -> SessionHeader {
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
                venue: None,
                quotes_only: false,
            })
            .collect(),
        connections: connections.to_vec(),
        event_connections: Vec::new(),
        learned_sha256,
        notes: Vec::new(),
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

/// The recorder, if the configuration wants one.
fn recorder(
    loaded: &Loaded,
    exchange: &Exchange,
    spread: &[Vec<u16>],
    learned: Option<&Learned>,
) -> Result<Option<Recorder>, LiveError> {
    let dir = &loaded.config.record.dir;
    if dir.as_os_str().is_empty() {
        return Ok(None);
    }
    let sha256 = learned.map(Learned::sha256).transpose()?;
    let header = session_header(loaded, exchange, spread, sha256);
    let writer = recording_writer(loaded, dir, &header, wall_ns())?;
    if let Some(learned) = learned {
        learned.copy_to(dir)?;
    }
    Ok(Some(Recorder::new(writer)))
}

/// A recorder on its thread.
struct Recording {
    thread: JoinHandle<Option<String>>,
    counts: Arc<RecorderCounts>,
    end: RecorderEnd,
}

impl Recording {
    fn start(recorder: Recorder) -> Result<Self, ThreadError> {
        let (counts, end) = (recorder.counts(), recorder.end_handle());
        Ok(Self { thread: spawn("pk-recorder", None, move || recorder.run())?, counts, end })
    }

    /// Ends it; all who fed it have ended or were left behind.
    fn end(self, spine: Option<&SpineResult>, side: &mut FeedSide) {
        let summary = spine.map(|s| EndSummary {
            signals_sha256: hex(&s.sink.0.sha256),
            signals: s.sink.0.counts.signals(),
            cycles: s.engine.counts.cycles,
        });
        // Serialising plain strings and numbers cannot fail.
        self.end.end(wall_ns(), serde_json::to_string(&summary).unwrap_or_default());
        match join(self.thread) {
            Ok(trouble) => side.warnings.extend(trouble.map(|t| format!("recording: {t}"))),
            Err(panicked) => {
                side.failed = true;
                side.warnings.push(panicked.to_string());
            }
        }
        side.notes.push(format!(
            "recording            {} records, {} lost",
            self.counts.records.load(Ordering::Relaxed),
            self.counts.lost.load(Ordering::Relaxed)
        ));
    }
}

fn check_ring(loaded: &Loaded) -> Result<(), LiveError> {
    let (ring_items, levels) =
        (loaded.config.pipeline.ring_items, loaded.config.pipeline.book_levels);
    let needed = Conflator::min_ring_items(levels);
    if ring_items < needed {
        return Err(LiveError::RingTooSmall { ring_items, levels, needed });
    }
    Ok(())
}

/// Waits for the end: asked for, due, or because a thread has ended that should not have. A run that
/// went on without one of its threads would be silent and look alive. Meanwhile the service manager is told how the
/// run is, and a SIGHUP has the configuration read again.
fn wait_for_end(
    (stop, hang_up): (&AtomicBool, &HangUp),
    deadline: Option<Instant>,
    (feeds, spine): (&Feeds, &Spine),
    (manager, reloader): (&mut Manager<'_>, &Reloader),
    stats: &LiveStats,
) -> Option<&'static str> {
    while !stop.load(Ordering::Relaxed) && deadline.is_none_or(|d| Instant::now() < d) {
        if feeds.any_finished() {
            return Some("a feed has given up: the run ends");
        }
        if spine.any_finished() {
            return Some("a thread behind the feeds has ended: the run ends");
        }
        match hang_up.take() {
            Some(HangUpMeans::Stop) => return None,
            // The reloader has told how it ended.
            Some(HangUpMeans::Reload) => drop(reloader.reload()),
            None => {}
        }
        manager.tick(Instant::now(), stats.decided(), || stats.told());
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// The folder of learned states and what is in it, if the configuration names one.
fn learned_folder(
    loaded: &Loaded,
    table: &InstrumentTable,
) -> Result<Option<(LearnedFolder, Beginning)>, LiveError> {
    let dir = &loaded.config.state.dir;
    if dir.as_os_str().is_empty() {
        return Ok(None);
    }
    let (folder, beginning) = LearnedFolder::open(dir, loaded, table)?;
    eprintln!("purkinje: learned state {}", beginning.told);
    for warning in &beginning.warnings {
        eprintln!("purkinje: learned state: {warning}");
    }
    Ok(Some((folder, beginning)))
}

/// Keeps what the run has learned, the last thing that it does.
fn keep(
    folder: &mut LearnedFolder,
    spine: &mut SpineResult,
    beginning: Beginning,
    side: &mut FeedSide,
) {
    side.notes.push(format!("learned state        {}", beginning.told));
    side.warnings.extend(beginning.warnings);
    match folder.save(&mut spine.model.forecaster) {
        Ok(path) => side.notes.push(format!("                     kept in {}", path.display())),
        Err(error) => side.warnings.push(format!("what was learned is lost: {error}")),
    }
}

/// What the report says of attempts to take another configuration; nothing where there were none.
fn reload_line(stats: &LiveStats) -> Option<String> {
    let [applied, refused] = stats.reloads.counts();
    let last = stats.reloads.last()?;
    let verdict = if last.is_applied { "applied" } else { "refused" };
    // A refusal has a line for each mistake of a file.
    let what = last.what.lines().collect::<Vec<_>>().join("; ");
    Some(format!(
        "reloads              {applied} applied, {refused} refused; the last {verdict}: {what}"
    ))
}

/// Runs until stopped, until the configured duration has passed, or until a thread has given up.
///
/// # Errors
/// See [`LiveError`].
pub fn live(loaded: &Loaded, options: LiveOptions) -> Result<Report, LiveError> {
    let LiveOptions { outlets, stop, hang_up, control, http } = options;
    check_ring(loaded)?;
    let engine = Waker::default();
    let stats = Arc::new(LiveStats::default());
    let (commands_tx, commands_rx) = RingBuffer::new(64);
    let commands = Arc::new(Commands::new(commands_tx, engine.clone()));
    let notifier = Arc::new(Notifier::default());
    let reloader = Reloader::new(loaded.clone(), commands.clone(), stats.clone(), notifier.clone());
    let operator = Operator { commands, reloader: Arc::new(reloader) };
    let reloader = operator.reloader.clone();
    // First of all: a second daemon is refused before it has touched a file.
    let control = ControlServer::start(
        &control,
        ControlTarget { operator: operator.clone(), stats: stats.clone() },
    )?;
    let exchange = exchange(loaded)?;
    let table = exchange.table.clone();
    let spread = connections(loaded, exchange.venue, table.len())?;
    let kept = learned_folder(loaded, &table)?;
    let (mut folder, beginning) = kept.unzip();
    let learned = beginning.as_ref().and_then(|beginning| beginning.learned.clone());
    let mut recorder = recorder(loaded, &exchange, &spread, learned.as_ref())?;
    let counters = Arc::new(NetCounters::default());
    stats.watch(counters.clone());
    let rest = RestService::start(
        RestConfig {
            base_url: exchange.rest_url.clone(),
            weight_per_minute: loaded.feed.rest_weight_per_min,
            used_weight_header: Some("x-mbx-used-weight-1m".into()),
            ..RestConfig::default()
        },
        counters.clone(),
    )?;
    let engine_stop = Arc::new(AtomicBool::new(false));
    let (rings, lines) =
        feeds::lines(loaded, &exchange, &spread, (&engine, &stats), recorder.as_mut())?;
    // The engine's tap comes last, so that the frames it speaks of are written first.
    let tap = recorder.as_mut().map(|r| r.tap(NO_CONNECTION, ENGINE_TAP_BYTES));
    let recording = recorder.map(Recording::start).transpose()?;
    let (watch, watched) =
        http.is_some().then(|| RingBuffer::new(WATCH_CYCLES * table.len())).unzip();
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
            operator: Some(operator.clone()),
            tap,
            engine: engine.clone(),
            clock: Clock::Wall,
            when_full: WhenFull::Count,
            stats: stats.clone(),
            probe: None,
            learned,
            watch,
        },
        &outlets,
    )?;
    let model_version = spine.model_version.clone();
    let server = http
        .zip(watched)
        .map(|(endpoint, signals)| {
            let inputs = WatchInputs {
                stats: stats.clone(),
                signals,
                table: table.clone(),
                run: spine.run_constants.clone(),
                title: format!(
                    "feed {}, strategy {}",
                    loaded.config.feed.preset, loaded.config.strategy.preset
                ),
                period_ms: loaded.config.cycle.period_ms,
            };
            Server::start(endpoint, inputs, operator.commands)
        })
        .transpose()?;
    let feeds = Feeds::start(loaded, &exchange, lines, &rest, &counters)?;

    let duration = loaded.config.run.duration_s;
    let deadline = (duration > 0).then(|| started + Duration::from_secs(duration));
    let cycle = Duration::from_millis(u64::from(loaded.config.cycle.period_ms));
    let mut manager = Manager::new(&notifier, cycle);
    let gave_up = wait_for_end(
        (&stop, &hang_up),
        deadline,
        (&feeds, &spine),
        (&mut manager, &reloader),
        &stats,
    );
    manager.stopping();
    drop((control, server));
    let mut end = feeds.end();
    end.failed |= gave_up.is_some();
    // Also ends an engine whose feed thread hangs in the system.
    engine_stop.store(true, Ordering::Release);
    engine.wake();
    drop(rest);
    let spine = spine.join();
    let mut side = feeds::feed_side(end, &counters);
    side.warnings.extend(gave_up.map(str::to_owned));
    side.notes.extend(reload_line(&stats));
    if notifier.failed() > 0 {
        let failed = notifier.failed();
        side.warnings
            .push(format!("{failed} messages did not reach the service manager ($NOTIFY_SOCKET)"));
    }
    // Closed in order before a failure of the threads behind is told.
    if let Some(recording) = recording {
        recording.end(spine.as_ref().ok(), &mut side);
    }
    let mut spine = spine?;
    if let (Some(folder), Some(beginning)) = (&mut folder, beginning) {
        keep(folder, &mut spine, beginning, &mut side);
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
        instruments: table.iter().map(|(_, i)| i.key()).collect(),
        feeds: side,
        spine,
        warmup_s: loaded.config.report.warmup_s,
        is_replay: false,
    })
}
