//! Historical files under the names that tell their formats, read to the end.
//!
//! An input is the text of one file, or of several, separated by [`SEPARATOR`]: the first is opened.

use purkinje_feeds::history::open;
use purkinje_feeds::{EventBody, MarketEvent};

use crate::scratch::Scratch;

/// What separates the files of an input.
const SEPARATOR: &[u8] = b"\n-- next file --\n";

/// Most events of one batch: readers promise a few thousand.
const MAX_BATCH_EVENTS: usize = 16_384;

/// Names of the files of an input, by target.
fn names(target: &str) -> &'static [&'static str] {
    match target {
        "history_binance_trades" => &["BTCUSDT-trades-2024-01-01.csv"],
        "history_bitstamp_log" => &["btcusd-2015-05-01.log"],
        "history_databento" => &["glbx.mbo.dbn"],
        "history_gdax" => &[
            "btcusd_l2update_2.csv",
            "btcusd_l2update_1.csv",
            "snapshot_bids.csv",
            "snapshot_asks.csv",
        ],
        "history_lean" => &["20131007_aig_Quote_Tick.csv"],
        "history_lobster" => &[
            "AAPL_2012-06-21_34200000_57600000_message_1.csv",
            "AAPL_2012-06-21_34200000_57600000_orderbook_1.csv",
        ],
        _ => &["file"],
    }
}

/// What a reading gave.
#[derive(Debug, Default)]
pub struct Reading {
    /// Events.
    pub events: usize,
    /// Why it ended before the end of the file.
    pub error: Option<String>,
}

/// Reads an input as the files of a target.
///
/// # Panics
/// A reader breaks a promise of [`purkinje_feeds::history`].
pub fn run(target: &str, input: &[u8]) -> Reading {
    let scratch = Scratch::new();
    let mut paths = Vec::new();
    let mut rest = Some(input);
    for name in names(target) {
        let Some(left) = rest else { break };
        let end = left.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        paths.push(scratch.write(name, &left[..end.unwrap_or(left.len())]));
        rest = end.map(|end| &left[end + SEPARATOR.len()..]);
    }
    let mut reading = Reading::default();
    let mut reader = match open(&paths[0]) {
        Ok(reader) => reader,
        Err(error) => {
            reading.error = Some(error.to_string());
            return reading;
        }
    };
    let instruments = reader.table().len();
    let mut batch = Vec::new();
    loop {
        batch.clear();
        let more = reader.next_batch(&mut batch);
        assert!(batch.len() <= MAX_BATCH_EVENTS, "a batch of {} events", batch.len());
        batch.iter().for_each(|event| check(event, instruments));
        reading.events += batch.len();
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                reading.error = Some(error.to_string());
                batch.clear();
                assert!(matches!(reader.next_batch(&mut batch), Ok(false)));
                assert!(batch.is_empty(), "an error ends the reading");
                break;
            }
        }
    }
    let _ = (reader.progress(), reader.notes(), reader.counters(), reader.sessions());
    reading
}

/// Prices of files may be negative (spreads), quantities may not.
fn check(event: &MarketEvent, instruments: usize) {
    assert!(event.instrument.index() < instruments, "{event:?}");
    match event.body {
        EventBody::Level { qty, .. } => assert!(qty >= 0, "{event:?}"),
        EventBody::Top { bid_qty, ask_qty, .. } => assert!(bid_qty >= 0 && ask_qty >= 0),
        EventBody::Trade { qty, count, .. } => assert!(qty >= 0 && count > 0, "{event:?}"),
        _ => {}
    }
}
