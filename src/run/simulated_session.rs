//! `purkinje simulate --write`: a session of the simulated exchange as a recording of market data.
//!
//! No engine ran, so the recording holds frames and one snapshot per instrument; a replay cuts its
//! cycles by receive time. Same configuration, same bytes.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use purkinje_feeds::{
    recording::Record,
    sim::{Market, StreamKind},
};

use super::live::{market_config, recording_writer};
use crate::{
    config::Loaded,
    pipeline::session_header::{FORMAT, HeaderChannels, HeaderInstrument, SessionHeader},
    run::spine::hex,
};

/// Market time at which written sessions begin: 2026-01-01T00:00:00Z.
const START_NS: i64 = 1_767_225_600_000_000_000;

/// Time after the start at which snapshots are taken: the diff stream runs by then.
const SNAPSHOT_NS: i64 = 500_000_000;

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The first file.
    pub path: PathBuf,
    /// Frames in it.
    pub frames: u64,
    /// Bytes of the frames.
    pub bytes: u64,
}

/// The header of a recording that holds a simulated market and nothing of an engine.
#[must_use]
pub fn header(loaded: &Loaded, market: &Market) -> SessionHeader {
    let instruments = market.instruments();
    SessionHeader {
        format: FORMAT,
        writer: concat!("purkinje ", env!("CARGO_PKG_VERSION")).into(),
        engine: false,
        cycle_ms: u64::from(loaded.config.cycle.period_ms),
        book_levels: loaded.config.pipeline.book_levels,
        config_sha256: hex(&loaded.hash()),
        venue: instruments.first().map_or("binance-usdm", |i| i.venue.name()).into(),
        channels: HeaderChannels {
            depth_interval_ms: 0,
            book_ticker: true,
            trade: true,
            oracle: true,
        },
        snapshot_limit: 1000,
        connections: (0..instruments.len() as u16)
            .collect::<Vec<_>>()
            .chunks(50)
            .map(<[u16]>::to_vec)
            .collect(),
        event_connections: Vec::new(),
        learned_sha256: None,
        notes: Vec::new(),
        instruments: instruments
            .into_iter()
            .map(|i| HeaderInstrument {
                symbol: i.symbol,
                price_decimals: i.price_decimals,
                qty_decimals: i.qty_decimals,
                venue: None,
                quotes_only: false,
            })
            .collect(),
    }
}

/// Writes `seconds` of market time into a directory that goes away with what is returned.
///
/// # Errors
/// As for [`write`].
pub fn write_temporary(loaded: &Loaded, seconds: u64) -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir().context("cannot make a directory for the session")?;
    write(loaded, dir.path(), seconds)?;
    Ok(dir)
}

/// Writes `seconds` of market time into `dir`.
///
/// # Errors
/// The market's settings are refused, or the disk refuses.
pub fn write(loaded: &Loaded, dir: &Path, seconds: u64) -> anyhow::Result<Written> {
    let config = market_config(loaded);
    let mut market = Market::new(&config, START_NS)?;
    let header = header(loaded, &market);
    let mut writer = recording_writer(loaded, dir, &header, START_NS)
        .with_context(|| format!("cannot write a session into {}", dir.display()))?;
    let path = writer.path().to_owned();
    let (mut frames, mut bytes) = (0, 0);
    for connection in 0..header.connections.len() as u8 {
        writer.append(&Record::Connected { connection, generation: 1, ts_recv_ns: START_NS })?;
    }
    let end_ns = START_NS.saturating_add(seconds.saturating_mul(1_000_000_000) as i64);
    let mut snapshots_due = true;
    let mut body = Vec::new();
    while market.next_event_ns() < end_ns {
        if snapshots_due && market.next_event_ns() >= START_NS + SNAPSHOT_NS {
            snapshots_due = false;
            for symbol in 0..config.symbols.len() {
                body.clear();
                market.snapshot(symbol, 1000, &mut body);
                writer.append(&Record::Snapshot {
                    connection: (symbol / 50) as u8,
                    generation: 1,
                    instrument: symbol as u16,
                    status: 200,
                    ts_recv_ns: START_NS + SNAPSHOT_NS,
                    bytes: &body,
                })?;
            }
        }
        let frame = market.next_frame();
        debug_assert!(StreamKind::ALL.contains(&frame.kind));
        frames += 1;
        bytes += frame.json.len() as u64;
        writer.append(&Record::Frame {
            connection: (frame.symbol / 50) as u8,
            ts_recv_ns: frame.ts_ns,
            bytes: frame.json,
        })?;
    }
    writer.finish()?;
    Ok(Written { path, frames, bytes })
}
