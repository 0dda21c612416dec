//! Binance spot, USD-M and COIN-M futures: one wire format, two sets of sequence rules.
//!
//! [`decode`] turns bytes into borrowed [`message`]s, [`sequence`] checks that no update is missing, and
//! this file holds the names the venue gives to streams and requests. Nothing here does I/O.

pub mod decode;
pub(crate) mod json;
pub mod message;
pub mod sequence;

use std::fmt::Write as _;

use crate::Venue;
use crate::topic::Channel;

/// Most streams named in one SUBSCRIBE request, so that the request stays a few kilobytes.
pub const MAX_STREAMS_PER_REQUEST: usize = 200;

/// Most streams of one connection (spot: documented; futures: the stricter of two documented values).
#[must_use]
pub fn max_streams(venue: Venue) -> usize {
    match venue {
        Venue::BinanceSpot => 1024,
        _ => 200,
    }
}

/// The stream that carries a channel of a symbol: `BTCUSDT` → `btcusdt@depth@100ms`.
#[must_use]
pub fn stream_name(symbol: &str, channel: Channel, depth_interval_ms: u32) -> String {
    let symbol = symbol.to_lowercase();
    match channel {
        Channel::Depth => format!("{symbol}@depth@{depth_interval_ms}ms"),
        Channel::BookTicker => format!("{symbol}@bookTicker"),
        Channel::Trade => format!("{symbol}@trade"),
        Channel::Oracle => format!("{symbol}@oracle"),
    }
}

/// Path, query and request weight of a depth snapshot of up to `limit` levels a side. The venue
/// offers certain limits only; the next larger one is asked for.
#[must_use]
pub fn snapshot_request(venue: Venue, symbol: &str, limit: usize) -> (String, u32) {
    let (path, choices): (_, &[(usize, u32)]) = match venue {
        // Weights: "Order book" of the spot REST documentation.
        Venue::BinanceSpot => ("/api/v3/depth", &[(100, 5), (500, 25), (1000, 50), (5000, 250)]),
        Venue::BinanceCoinm => ("/dapi/v1/depth", FUTURES_DEPTH),
        _ => ("/fapi/v1/depth", FUTURES_DEPTH),
    };
    let fits = choices.iter().find(|(levels, _)| *levels >= limit);
    let (levels, weight) = fits.or(choices.last()).copied().unwrap_or((1000, 50));
    (format!("{path}?symbol={symbol}&limit={levels}"), weight)
}

/// Limits of a futures depth request and their weights ("Order Book" of the USD-M documentation).
const FUTURES_DEPTH: &[(usize, u32)] = &[(50, 2), (100, 5), (500, 10), (1000, 20)];

/// Symbol (lower-case, as streams are named) and channel of a stream name.
pub(crate) fn split_stream(stream: &[u8]) -> Option<(&[u8], Channel)> {
    let at = stream.iter().position(|&b| b == b'@')?;
    let (symbol, channel) = (&stream[..at], &stream[at + 1..]);
    let channel = match channel {
        b"bookTicker" => Channel::BookTicker,
        b"trade" => Channel::Trade,
        b"oracle" => Channel::Oracle,
        b"depth" => Channel::Depth,
        other if other.starts_with(b"depth@") => Channel::Depth,
        _ => return None,
    };
    Some((symbol, channel))
}

/// The text of a `SUBSCRIBE` or `UNSUBSCRIBE` request; names must hold no quote and no backslash.
pub(crate) fn request_text(method: &str, streams: &[String], id: u64) -> String {
    let mut text = format!(r#"{{"method":"{method}","params":["#);
    for (i, stream) in streams.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{comma}"{stream}""#);
    }
    let _ = write!(text, r#"],"id":{id}}}"#);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_and_their_parts_are_inverse() {
        for channel in Channel::ALL {
            let name = stream_name("BTCUSD_PERP", channel, 0);
            assert_eq!(split_stream(name.as_bytes()), Some((&b"btcusd_perp"[..], channel)));
        }
        assert_eq!(split_stream(b"btcusdt@depth"), Some((&b"btcusdt"[..], Channel::Depth)));
        assert_eq!(split_stream(b"btcusdt@depth20"), None);
        assert_eq!(split_stream(b"!bookTicker"), None);
    }

    #[test]
    fn a_request_is_the_json_the_venue_documents() {
        let streams = ["a@trade".to_owned(), "b@depth@100ms".to_owned()];
        assert_eq!(
            request_text("SUBSCRIBE", &streams, 7),
            r#"{"method":"SUBSCRIBE","params":["a@trade","b@depth@100ms"],"id":7}"#
        );
    }

    #[test]
    fn a_snapshot_request_asks_for_a_limit_the_venue_offers() {
        let ask = |venue, limit| snapshot_request(venue, "BTCUSDT", limit);
        let spot = ("/api/v3/depth?symbol=BTCUSDT&limit=1000".to_owned(), 50);
        assert_eq!(ask(Venue::BinanceSpot, 700), spot);
        let most = ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000".to_owned(), 20);
        assert_eq!(ask(Venue::BinanceUsdm, 20_000), most);
        assert_eq!(ask(Venue::BinanceCoinm, 1).1, 2);
    }
}
