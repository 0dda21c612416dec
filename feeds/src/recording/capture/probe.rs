//! What an hftbacktest capture is of, told by its frames: the files do not say it themselves.
//!
//! Invariant: at most [`MAX_PROBE_LINES`] lines are looked at.

use std::path::Path;

use super::{CaptureError, CaptureReader, MAX_PROBE_LINES};
use crate::Venue;
use crate::binance::decode::decode;
use crate::protocol::Message;

/// Longest symbol that [`probe`] believes; the venue's have under 40 bytes.
const MAX_SYMBOL_BYTES: usize = 64;

/// What a capture is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The venue, told by its frames: the times that depth updates and tops carry on futures only, and
    /// the form of COIN-M symbols. (The `ps` field tells nothing: since 2026 USD-M carries it too.)
    pub venue: Venue,
    /// The symbols seen, sorted.
    pub symbols: Vec<String>,
}

/// Tells venue and symbols of a capture from its first [`MAX_PROBE_LINES`] lines.
///
/// # Errors
/// The file cannot be read, or no line says what it is of. A torn tail is no error here.
pub fn probe(path: &Path) -> Result<Probe, CaptureError> {
    let mut reader = CaptureReader::open(path)?;
    let mut venue = Venue::BinanceSpot;
    let mut symbols: Vec<String> = Vec::new();
    for _ in 0..MAX_PROBE_LINES {
        let line = match reader.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) if error.is_warning() => break,
            Err(error) => return Err(error),
        };
        let Some((line_venue, symbol)) = identify(line.bytes) else {
            continue;
        };
        if symbol.len() > MAX_SYMBOL_BYTES {
            continue;
        }
        // Every venue shows fewer of the telling fields on some frames, never more.
        venue = venue.max(line_venue);
        if let Err(at) = symbols.binary_search_by(|known| known.as_bytes().cmp(symbol)) {
            symbols.insert(at, String::from_utf8_lossy(symbol).into_owned());
        }
    }
    if symbols.is_empty() {
        return Err(CaptureError::Unrecognised { path: path.to_owned() });
    }
    Ok(Probe { venue, symbols })
}

/// Venue, as far as one frame tells it, and symbol.
fn identify(frame: &[u8]) -> Option<(Venue, &[u8])> {
    let (symbol, is_futures) = match decode(Venue::BinanceSpot, frame).ok()? {
        Message::Book(book) => (book.symbol, has_key(frame, b"\"pu\"")),
        Message::Top(top) => (top.symbol, top.ts_venue_ns != 0),
        Message::Trade(trade) => (trade.symbol, false),
        _ => return None,
    };
    let venue = match (is_futures, is_coinm(symbol)) {
        (true, true) => Venue::BinanceCoinm,
        (true, false) => Venue::BinanceUsdm,
        (false, _) => Venue::BinanceSpot,
    };
    Some((venue, symbol))
}

/// Whether the key stands anywhere in the frame.
fn has_key(frame: &[u8], key: &[u8]) -> bool {
    frame.windows(key.len()).any(|window| window == key)
}

/// COIN-M quotes in plain USD and names the contract: `BTCUSD_PERP`, `ETHUSD_260925`. USD-M delivery
/// contracts have a date too, but quote in a coin: `BTCUSDT_260925`.
fn is_coinm(symbol: &[u8]) -> bool {
    let underscore = symbol.iter().position(|&byte| byte == b'_');
    underscore.is_some_and(|at| symbol[..at].ends_with(b"USD"))
}
