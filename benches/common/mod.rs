//! Material and measuring shared by the benches: a real capture where the data set is present, the
//! simulated exchange's frames elsewhere, both in memory before anything is timed.
//!
//! Invariant: what is read, generated or built here is never inside a measurement.

#![allow(dead_code, reason = "every bench uses its own part of this")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkGroup, measurement::WallTime};
use mimalloc::MiMalloc;
use purkinje::alloc::CountingAllocator;
use purkinje::config::{Loaded, Sources, load};
use purkinje::pipeline::{event_clock::EventClock, input::Input};
use purkinje::run::live::market_config;
use purkinje_feeds::recording::capture::{CaptureKind, CaptureReader};
use purkinje_feeds::session::{Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::sim::{Market, StreamKind};
use purkinje_feeds::{Instrument, InstrumentId, InstrumentTable, Venue};
use purkinje_feeds::{binance::decode::decode, protocol::Message};

// The daemon's allocator, so that what allocates costs here what it costs there.
#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

/// Market time at which simulated material begins, and when its snapshots are taken.
const SIM_START_NS: i64 = 1_767_225_600_000_000_000;
const SIM_SNAPSHOT_NS: i64 = SIM_START_NS + 500_000_000;

/// Instruments a connection: four streams each stay under every venue's limit.
const PER_CONNECTION: usize = 50;

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Depth,
    Top,
    Trade,
    Other,
    Snapshot(u16),
}

/// One thing received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) connection: usize,
    pub(crate) ts_recv_ns: i64,
    pub(crate) kind: Kind,
    pub(crate) bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Span {
    connection: usize,
    ts_recv_ns: i64,
    kind: Kind,
    start: usize,
    end: usize,
}

/// A stretch of market data in memory, one after the other as it was received.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) name: String,
    pub(crate) venue: Venue,
    pub(crate) table: Arc<InstrumentTable>,
    pub(crate) specs: Vec<SessionSpec>,
    text: Vec<u8>,
    spans: Vec<Span>,
}

/// The capture that the published figures are about.
pub(crate) fn capture_path() -> PathBuf {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/ws_captures/hftbacktest");
    Path::new(data).join("usdm/btcusdt_20240808.gz")
}

/// The built-in configuration with some keys set.
pub(crate) fn loaded(sets: &[(&str, &str)]) -> Loaded {
    let sets = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load(&Sources { config_path: None, env: vec![], sets, search: vec![] })
        .expect("the benches' settings are valid")
}

impl Material {
    /// The capture, or a minute of three simulated instruments where it is absent.
    pub(crate) fn best_available() -> Self {
        Self::capture().unwrap_or_else(|| {
            println!("{} is absent: simulated frames instead", capture_path().display());
            Self::simulated(3, 60)
        })
    }

    /// The capture, if the data set is there.
    pub(crate) fn capture() -> Option<Self> {
        let path = capture_path();
        if !path.exists() {
            return None;
        }
        let venue = Venue::BinanceUsdm;
        // As `purkinje replay` reads captures: they do not say what the venue's tick is.
        let (symbol, price_decimals, qty_decimals) = ("BTCUSDT".to_owned(), 8, 8);
        let item = Instrument { venue, symbol, price_decimals, qty_decimals };
        let mut material = Self::empty("capture usdm/btcusdt_20240808", vec![item], false);
        let mut reader = CaptureReader::open(&path).expect("a readable capture");
        while let Some(line) = reader.next_line().expect("a whole capture") {
            let kind = match line.kind {
                CaptureKind::Snapshot => Kind::Snapshot(0),
                CaptureKind::Connected | CaptureKind::Sent | CaptureKind::Http => continue,
                CaptureKind::Frame => match decode(venue, line.bytes) {
                    Ok(Message::Book(_)) => Kind::Depth,
                    Ok(Message::Top(_)) => Kind::Top,
                    Ok(Message::Trade(_)) => Kind::Trade,
                    _ => Kind::Other,
                },
            };
            material.push(0, line.ts_recv_ns, kind, line.bytes);
        }
        Some(material)
    }

    /// So many seconds of so many instruments of the default simulated exchange.
    pub(crate) fn simulated(instruments: usize, seconds: i64) -> Self {
        let count = instruments.to_string();
        let config = market_config(&loaded(&[("simulator.instruments", &count)]));
        let mut market = Market::new(&config, SIM_START_NS).expect("default market settings");
        let name = format!("simulated, {instruments} instruments");
        let mut material = Self::empty(&name, market.instruments(), true);
        let end_ns = SIM_START_NS + seconds * 1_000_000_000;
        let mut body = Vec::new();
        let mut snapshots_due = true;
        while market.next_event_ns() < end_ns {
            if snapshots_due && market.next_event_ns() >= SIM_SNAPSHOT_NS {
                snapshots_due = false;
                for symbol in 0..instruments {
                    body.clear();
                    market.snapshot(symbol, 1000, &mut body);
                    let kind = Kind::Snapshot(symbol as u16);
                    material.push(symbol / PER_CONNECTION, SIM_SNAPSHOT_NS, kind, &body);
                }
            }
            let frame = market.next_frame();
            let kind = match frame.kind {
                StreamKind::Depth => Kind::Depth,
                StreamKind::BookTicker => Kind::Top,
                StreamKind::Trade => Kind::Trade,
                StreamKind::Oracle => Kind::Other,
            };
            material.push(frame.symbol / PER_CONNECTION, frame.ts_ns, kind, frame.json);
        }
        material
    }

    fn empty(name: &str, instruments: Vec<Instrument>, oracle: bool) -> Self {
        let venue = instruments[0].venue;
        let ids: Vec<_> = (0..instruments.len() as u16).map(InstrumentId).collect();
        let spec = |(connection, ids): (usize, &[InstrumentId])| {
            let mut spec = SessionSpec::new(connection as u8, venue, ids.to_vec());
            spec.channels.oracle = oracle;
            spec
        };
        Self {
            name: name.to_owned(),
            venue,
            table: Arc::new(InstrumentTable::new(instruments).expect("distinct instruments")),
            specs: ids.chunks(PER_CONNECTION).enumerate().map(spec).collect(),
            text: Vec::new(),
            spans: Vec::new(),
        }
    }

    fn push(&mut self, connection: usize, ts_recv_ns: i64, kind: Kind, bytes: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        self.spans.push(Span { connection, ts_recv_ns, kind, start, end: self.text.len() });
    }

    /// Everything received, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.spans.iter().map(|s| Line {
            connection: s.connection,
            ts_recv_ns: s.ts_recv_ns,
            kind: s.kind,
            bytes: &self.text[s.start..s.end],
        })
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of all lines.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// A session for each connection, connected, with an outbox for all.
    pub(crate) fn sessions(&self) -> (Vec<Session>, Outbox) {
        let session = |spec: &SessionSpec| Session::new(spec.clone(), self.table.clone());
        let mut sessions: Vec<Session> =
            self.specs.iter().map(|s| session(s).expect("a valid session")).collect();
        let mut out = sessions[0].outbox();
        for session in &mut sessions {
            session.on_connected(self.spans[0].ts_recv_ns, &mut out);
        }
        out.clear();
        (sessions, out)
    }

    /// What an engine takes in: every event, with the cycles cut by receive time.
    pub(crate) fn inputs(&self, period_ns: i64) -> Vec<Input> {
        let (mut sessions, mut out) = self.sessions();
        let mut clock = EventClock::new(period_ns);
        let mut inputs = Vec::new();
        for line in self.lines() {
            receive(&mut sessions[line.connection], &line, &mut out);
            inputs.extend(std::iter::from_fn(|| clock.due(line.ts_recv_ns)).map(Input::Cut));
            inputs.extend(out.events.iter().copied().map(Input::Event));
            out.clear();
        }
        inputs
    }
}

/// Hands one line to its session.
pub(crate) fn receive(session: &mut Session, line: &Line<'_>, out: &mut Outbox) {
    let Line { ts_recv_ns, bytes, .. } = *line;
    match line.kind {
        Kind::Snapshot(instrument) => {
            let (instrument, generation) = (InstrumentId(instrument), session.generation());
            session.on_snapshot(
                SnapshotReply { instrument, generation, ts_recv_ns, body: bytes },
                out,
            );
        }
        _ => session.on_frame(ts_recv_ns, bytes, out),
    }
}

/// Reports time **per item** of a pass over many: `pass` returns what it timed and how many items
/// that were, and is repeated until criterion's number of items is reached.
pub(crate) fn per_item(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: impl Into<String>,
    mut pass: impl FnMut() -> (Duration, u64),
) {
    group.bench_function(name.into(), |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut timed, mut items) = (Duration::ZERO, 0);
            while items < iterations {
                let (t, n) = pass();
                timed += t;
                items += n.max(1);
            }
            timed.mul_f64(iterations as f64 / items as f64)
        });
    });
}

/// Few samples and a second each: enough for medians, and all benches end in minutes.
pub(crate) fn quick() -> criterion::Criterion {
    criterion::Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
}
