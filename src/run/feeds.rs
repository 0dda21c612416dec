//! The feed threads of a live run: one a connection, from start to goodbye.
//!
//! Invariants: ending never waits longer than `GOODBYE` for a thread that hangs in the system (it is
//! left behind and told of); a thread that panicked costs its own counters and is told of, nothing else.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use purkinje_feeds::{
    InstrumentId,
    net::{
        ConnectionEnd, ConnectionSpec, DisconnectCause, Keepalive, NetCounters, RestClient,
        RestService, SharedLimit, run as run_connection,
    },
    protocol::{self, Protocol},
    session::{Channels, SessionSpec},
};
use rtrb::RingBuffer;
use tokio::sync::watch;

use super::{
    live::{Exchange, LiveError},
    report::FeedSide,
};
use crate::{
    config::Loaded,
    pipeline::{
        engine_thread::Ring,
        feed_core::FeedCore,
        latency::Stage,
        live_line::{LineResult, LiveLine, TopicCounts},
        live_stats::LiveStats,
        recorder::Recorder,
        threads::{ThreadError, join, spawn},
        waker::Waker,
    },
};

/// Bytes that a connection's records may lag behind the recorder.
const FEED_TAP_BYTES: usize = 8 << 20;

/// How long a venue may take to answer the second of two keep-alive texts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long feeds get to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The lines of all connections and the engine's ends of their rings.
pub(super) fn lines(
    loaded: &Loaded,
    exchange: &Exchange,
    spread: &[Vec<u16>],
    (engine, stats): (&Waker, &Arc<LiveStats>),
    mut recorder: Option<&mut Recorder>,
) -> Result<(Vec<Ring>, Vec<LiveLine>), LiveError> {
    let pipeline = &loaded.config.pipeline;
    let channels = &loaded.feed.channels;
    let snapshot_limit = loaded.feed.snapshot_limit as usize;
    let (mut rings, mut lines) = (Vec::new(), Vec::new());
    for (connection, ids) in (0u8..).zip(spread) {
        let (tx, rx) = RingBuffer::new(pipeline.ring_items);
        rings.push(Ring { connection, inputs: rx });
        let instruments = ids.iter().map(|&i| InstrumentId(i)).collect();
        let spec = SessionSpec {
            channels: Channels {
                depth: true,
                book_ticker: channels.book_ticker,
                trade: channels.trade,
                oracle: channels.oracle,
            },
            depth_interval_ms: channels.depth_interval_ms(),
            snapshot_limit,
            ..SessionSpec::new(connection, exchange.venue, instruments)
        };
        lines.push(LiveLine::new(
            FeedCore::new(spec, exchange.table.clone(), pipeline.book_levels)?,
            connection,
            (tx, engine.clone()),
            recorder.as_mut().map(|r| r.tap(connection, FEED_TAP_BYTES)),
            stats.clone(),
        ));
    }
    Ok((rings, lines))
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Feeds {
    threads: Vec<JoinHandle<(LiveLine, ConnectionEnd)>>,
    shutdown: watch::Sender<bool>,
}

/// What they left.
#[derive(Debug, Default)]
pub(super) struct FeedsEnd {
    results: Vec<LineResult>,
    warnings: Vec<String>,
    /// One of them ended otherwise than by being told to.
    pub(super) failed: bool,
}

impl Feeds {
    /// Starts one thread a line.
    pub(super) fn start(
        loaded: &Loaded,
        exchange: &Exchange,
        lines: Vec<LiveLine>,
        rest: &RestService,
        counters: &Arc<NetCounters>,
    ) -> Result<Self, ThreadError> {
        let (shutdown, told) = watch::channel(false);
        // One address, one count: 300 attempts in five minutes are what the venue takes.
        let limit = SharedLimit::new(300, Duration::from_mins(5));
        let mut threads = Vec::new();
        for (i, line) in lines.into_iter().enumerate() {
            let mut spec =
                ConnectionSpec::new(format!("{}#{i}", exchange.venue.name()), &exchange.ws_url);
            spec.idle_timeout = Duration::from_millis(loaded.feed.idle_timeout_ms);
            spec.connect_limit = limit.clone();
            if let Some(facts) = protocol::of(exchange.venue).map(Protocol::facts) {
                spec.max_sends_per_s = facts.sends_per_s;
                spec.keepalive = facts.keepalive.map(|keepalive| Keepalive {
                    every: keepalive.every,
                    text: keepalive.text.into(),
                    answer_timeout: ANSWER_TIMEOUT,
                });
            }
            spec.max_lifetime = Duration::from_secs(loaded.feed.max_lifetime_s);
            let failures = loaded.feed.max_connect_failures;
            spec.max_consecutive_failures = (failures > 0).then_some(failures);
            spec.backoff.seed = i as u64;
            let (rest, counters, told) = (rest.client(), counters.clone(), told.clone());
            let run = move || feed_thread(&spec, line, &rest, &counters, told);
            let core = loaded.config.pipeline.feed_core.map(|core| core + i);
            threads.push(spawn(&format!("pk-feed-{i}"), core, run)?);
        }
        Ok(Self { threads, shutdown })
    }

    /// Whether one of them has ended by itself.
    pub(super) fn any_finished(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Tells all to end and waits for them, but not for ever.
    pub(super) fn end(self) -> FeedsEnd {
        let _ = self.shutdown.send(true);
        let goodbye = Instant::now() + GOODBYE;
        while self.threads.iter().any(|t| !t.is_finished()) && Instant::now() < goodbye {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut end = FeedsEnd::default();
        for thread in self.threads {
            if !thread.is_finished() {
                let name = thread.thread().name().unwrap_or("?").to_owned();
                end.warnings.push(format!("thread {name} did not end in time and was left behind"));
                continue;
            }
            match join(thread) {
                Ok((line, ConnectionEnd::Shutdown)) => end.results.push(line.finish()),
                Ok((line, why)) => {
                    end.failed = true;
                    end.warnings.push(format!("feed ended: {why:?}"));
                    end.results.push(line.finish());
                }
                Err(panicked) => {
                    end.failed = true;
                    end.warnings.push(panicked.to_string());
                }
            }
        }
        end
    }
}

fn feed_thread(
    spec: &ConnectionSpec,
    mut line: LiveLine,
    rest: &RestClient,
    counters: &NetCounters,
    shutdown: watch::Receiver<bool>,
) -> (LiveLine, ConnectionEnd) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = match runtime {
        Ok(runtime) => {
            let end = runtime.block_on(run_connection(spec, &mut line, rest, counters, shutdown));
            if let ConnectionEnd::Exhausted { attempts, .. } = end {
                line.gave_up(attempts);
            }
            // A name look-up under way must not hold up the end.
            runtime.shutdown_background();
            end
        }
        Err(e) => ConnectionEnd::Exhausted { attempts: 0, last_error: e.to_string() },
    };
    (line, end)
}

/// The feeds' part of the report.
pub(super) fn feed_side(end: FeedsEnd, net: &NetCounters) -> FeedSide {
    let mut decode = Stage::new("socket→decoded");
    let mut side = FeedSide { warnings: end.warnings, failed: end.failed, ..FeedSide::default() };
    let mut topics = TopicCounts::default();
    let mut dropped = 0;
    for line in end.results {
        decode.merge(&line.decode);
        side.sessions.push(line.session);
        side.conflated.0 += line.conflated.0;
        side.conflated.1 += line.conflated.1;
        side.crossed_books += line.crossed_books;
        topics.add(&line.topics);
        dropped += line.actions_dropped;
    }
    if dropped > 0 {
        side.warnings.push(format!("{dropped} requests of sessions were dropped at their bound"));
    }
    side.decode = Some(decode);
    side.notes.push(format!(
        "connections          {} made, {} ended, {} ms waited; {} REST requests, {} failed",
        net.connects.get(),
        net.disconnects_total(),
        net.backoff_ms_total.get(),
        net.rest_requests.get(),
        net.rest_failures.get()
    ));
    let causes: Vec<String> = DisconnectCause::ALL
        .into_iter()
        .map(|cause| (cause, net.disconnects(cause)))
        .filter(|(_, n)| *n > 0)
        .map(|(cause, n)| format!("{n} {}", cause.name()))
        .collect();
    side.notes.push(format!(
        "replacements         {} without a loss, {} not ready in time, {} at once because the old one ended",
        net.rotations.get(),
        net.rotations_failed.get(),
        net.failovers.get()
    ));
    side.notes.push(format!("ended because        {}", causes.join(", ")));
    side.notes.push(format!(
        "topics               {} times confirmed, {} flowing, {} stale; {} resubscribed, {} reconnects asked for",
        topics.confirmed, topics.flowing, topics.stale, topics.resubscribed, topics.reconnects
    ));
    side
}
