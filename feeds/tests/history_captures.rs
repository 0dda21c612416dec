//! Captures of other collectors, read through the venues' own decoders and sequence rules.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

use std::path::PathBuf;

use purkinje_feeds::history::HistoryReader;
use purkinje_feeds::history::capture::CaptureHistory;
use purkinje_feeds::session::SessionCounters;
use purkinje_feeds::{EventBody, MarketEvent};

/// A capture of the data set, or nothing where that is absent.
fn capture(name: &str) -> Option<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ws_captures");
    let path = PathBuf::from(root).join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// Every event, and what the sessions with frames counted, added up.
fn read(name: &str) -> Option<(Vec<MarketEvent>, Vec<SessionCounters>)> {
    let mut reader = CaptureHistory::open(&capture(name)?).unwrap();
    let mut events = Vec::new();
    while reader.next_batch(&mut events).unwrap() {}
    let counters = reader.sessions().into_iter().map(|(_, counters)| counters).collect();
    Some((events, counters))
}

fn commits(events: &[MarketEvent]) -> usize {
    events.iter().filter(|event| matches!(event.body, EventBody::BookCommit { .. })).count()
}

#[test]
fn binance_captures_of_many_instruments_have_no_gap() {
    for (name, instruments) in
        [("cryptofeed_v2/BINANCE.jsonl.zst", 4), ("cryptofeed_v2/BINANCE_FUTURES.jsonl.zst", 10)]
    {
        let Some((events, counters)) = read(name) else { return };
        let [counters] = counters[..] else { panic!("{name}: {counters:?}") };
        println!("{name}: {} events, {} commits, {counters:?}", events.len(), commits(&events));
        assert_eq!((counters.gaps, counters.bad_input.total()), (0, 0), "{name}");
        assert!(counters.snapshots_applied > 0 && counters.snapshots_applied <= instruments);
        assert!(events.windows(2).all(|pair| pair[0].ts_recv_ns <= pair[1].ts_recv_ns));
    }
}

#[test]
fn captures_of_venues_without_an_adapter_are_refused_by_name() {
    for (name, what) in [
        ("cryptofeed_v1/BITMEX.ws.1.0.txt.gz", "wss://www.bitmex.com/realtime"),
        ("cryptofeed_v1/DYDX.ws.1.0.txt.gz", "wss://api.dydx.exchange/v3/ws"),
        ("cryptofeed_v1/BYBIT.ws.25.0.txt.gz", "wss://stream.bybit.com/realtime_public"),
        ("cryptofeed_v2/BITFINEX.jsonl.zst", "wss://api"),
        ("hftbacktest/hyperliquid/btcusd_20250126.gz", "not Binance's"),
    ] {
        let Some(path) = capture(name) else { return };
        let error = CaptureHistory::open(&path).unwrap_err().to_string();
        assert!(error.contains(what), "{name}: {error}");
    }
}
