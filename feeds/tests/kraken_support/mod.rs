//! The Kraken recording of the data set: ten pairs over the v1 protocol, and its books said in v2.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje_feeds::recording::capture::{CaptureKind, CaptureReader};
use purkinje_feeds::{Instrument, InstrumentTable, Venue};
use serde_json::Value;

/// The pairs of the recording and the decimals of their prices; quantities have eight.
pub(crate) const PAIRS: [(&str, u8); 10] = [
    ("ADA/XBT", 9),
    ("XBT/CHF", 5),
    ("OMG/USD", 6),
    ("OCEAN/XBT", 9),
    ("ETH/CHF", 5),
    ("SC/EUR", 6),
    ("GRT/ETH", 9),
    ("KSM/XBT", 8),
    ("XMR/USD", 8),
    ("WAVES/EUR", 6),
];

/// Levels a side that the recorded book channels carry.
pub(crate) const DEPTH: usize = 1000;

/// A frame and when it was received, ns since the epoch.
pub(crate) type Frame = (i64, String);

/// A file of the data set; `None` where that is absent.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/ws_captures").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

pub(crate) fn recording() -> Option<PathBuf> {
    file("cryptofeed_v2/KRAKEN.jsonl.zst")
}

/// The frames of all connections, in order of time.
pub(crate) fn frames() -> Option<Vec<Frame>> {
    let mut reader = CaptureReader::open(&recording()?).unwrap();
    let mut frames = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        if line.kind == CaptureKind::Frame {
            frames.push((line.ts_recv_ns, String::from_utf8(line.bytes.to_vec()).unwrap()));
        }
    }
    frames.sort_by_key(|(ts_recv_ns, _)| *ts_recv_ns);
    Some(frames)
}

pub(crate) fn table() -> Arc<InstrumentTable> {
    let item = |(symbol, price_decimals): (&str, u8)| Instrument {
        venue: Venue::Kraken,
        symbol: symbol.to_owned(),
        price_decimals,
        qty_decimals: 8,
    };
    Arc::new(InstrumentTable::new(PAIRS.map(item).to_vec()).unwrap())
}

/// The objects of a v1 book frame and its pair; `None` for any other frame.
pub(crate) fn book(frame: &str) -> Option<(Vec<Value>, String)> {
    let Ok(Value::Array(mut parts)) = serde_json::from_str(frame) else { return None };
    let pair = parts.pop()?.as_str()?.to_owned();
    let is_book = parts.pop()?.as_str()?.starts_with("book-");
    is_book.then(|| (parts.split_off(1), pair))
}

/// A v1 book frame as v2 would say it; its texts become numbers as they stand. v1 snapshots have no
/// checksum, so it is given. `None` for other frames.
pub(crate) fn as_v2(frame: &str, snapshot_checksum: u32) -> Option<String> {
    let (objects, pair) = book(frame)?;
    let member = |keys: [&str; 2]| {
        objects.iter().find_map(|object| object.get(keys[0]).or(object.get(keys[1])))
    };
    let level = |level: &Value| {
        let text = |at: usize| level[at].as_str().unwrap().to_owned();
        format!(r#"{{"price":{},"qty":{}}}"#, text(0), text(1))
    };
    let side = |keys| {
        let levels = member(keys).and_then(Value::as_array);
        levels
            .map_or(String::new(), |levels| levels.iter().map(level).collect::<Vec<_>>().join(","))
    };
    let (bids, asks) = (side(["b", "bs"]), side(["a", "as"]));
    let (kind, sum) = match member(["c", "c"]) {
        Some(sum) => ("update", sum.as_str().unwrap().to_owned()),
        None => ("snapshot", snapshot_checksum.to_string()),
    };
    Some(format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{pair}","bids":[{bids}],"asks":[{asks}],"checksum":{sum},"timestamp":"2021-04-17T16:48:52.123456Z"}}]}}"#
    ))
}
