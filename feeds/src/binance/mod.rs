//! Binance spot, USD-M and COIN-M futures: one wire format, two sets of sequence rules.
//!
//! [`decode`] turns bytes into borrowed [`message`]s, [`sequence`] checks that no update is missing, and
//! this file holds the names the venue gives to streams and requests. Nothing here does I/O.

pub mod decode;
pub mod sequence;

use std::fmt::Write as _;
use std::time::Duration;

use crate::Venue;
use crate::protocol::{
    BookMessage, DecodeError, DecodeErrorKind, Facts, Protocol, Request, SnapshotRequest,
    StreamOptions, TopicName, Verb, Visit,
};
use crate::topic::Channel;

/// Most streams named in one SUBSCRIBE request, so that the request stays a few kilobytes.
const MAX_STREAMS_PER_REQUEST: usize = 200;

/// Binance, one product family of it.
#[derive(Debug)]
pub struct Binance {
    venue: Venue,
    facts: Facts,
}

/// Spot: 1024 streams and 5 client messages a second (pongs count) for a connection ("WebSocket
/// Streams", general information).
pub static SPOT: Binance = Binance {
    venue: Venue::BinanceSpot,
    facts: Facts { rules: sequence::SPOT, max_topics: 1024, sends_per_s: 4, ..FACTS },
};

/// USD-M futures.
pub static USDM: Binance = Binance { venue: Venue::BinanceUsdm, facts: FUTURES };

/// COIN-M futures.
pub static COINM: Binance = Binance { venue: Venue::BinanceCoinm, facts: FUTURES };

/// Futures: the stricter of two documented numbers of streams, 10 client messages a second.
const FUTURES: Facts = Facts { rules: sequence::FUTURES, max_topics: 200, sends_per_s: 9, ..FACTS };

const FACTS: Facts = Facts {
    rules: sequence::SPOT,
    checksum: None,
    shows_loss: true,
    cuts_to_depth: false,
    audit_every: None,
    max_topics: 200,
    sends_per_s: 4,
    keepalive: None,
    max_lifetime: Some(Duration::from_hours(24)),
};

impl Protocol for Binance {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn decode<'a>(
        &self,
        frame: &'a [u8],
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeError<'a>> {
        decode::decode(self.venue, frame).map(visit)
    }

    fn decode_snapshot<'a>(&self, body: &'a [u8]) -> Result<BookMessage<'a>, DecodeErrorKind> {
        decode::decode_snapshot(body)
    }

    /// The venue offers certain limits only; the next larger one is asked for.
    fn snapshot_request(&self, symbol: &str, options: StreamOptions) -> Option<SnapshotRequest> {
        let (path, choices): (_, &[(usize, u32)]) = match self.venue {
            // Weights: "Order book" of the spot REST documentation.
            Venue::BinanceSpot => {
                ("/api/v3/depth", &[(100, 5), (500, 25), (1000, 50), (5000, 250)])
            }
            Venue::BinanceCoinm => ("/dapi/v1/depth", FUTURES_DEPTH),
            _ => ("/fapi/v1/depth", FUTURES_DEPTH),
        };
        let fits = choices.iter().find(|(levels, _)| *levels >= options.levels);
        let (levels, weight) = fits.or(choices.last()).copied()?;
        let path_and_query = format!("{path}?symbol={symbol}&limit={levels}");
        Some(SnapshotRequest { path_and_query, weight })
    }

    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        options: StreamOptions,
        first_id: u64,
    ) -> Vec<Request> {
        let indices: Vec<usize> = (0..topics.len()).collect();
        let request = |(id, indices): (u64, &[usize])| {
            let streams = indices.iter().map(|&i| stream_name(topics[i], options));
            Request { id, text: request_text(verb, streams, id), topics: indices.to_vec() }
        };
        (first_id..).zip(indices.chunks(MAX_STREAMS_PER_REQUEST)).map(request).collect()
    }

    /// Combined streams, whose envelope names the stream.
    fn url(&self, base: &str) -> String {
        format!("{}/stream", base.trim_end_matches('/').trim_end_matches("/stream"))
    }

    /// Our own simulator speaks this protocol and has an oracle.
    fn has(&self, _: Channel) -> bool {
        true
    }
}

/// Limits of a futures depth request and their weights ("Order Book" of the USD-M documentation).
const FUTURES_DEPTH: &[(usize, u32)] = &[(50, 2), (100, 5), (500, 10), (1000, 20)];

/// The stream that carries a topic: `BTCUSDT` → `btcusdt@depth@100ms`.
fn stream_name(topic: TopicName<'_>, options: StreamOptions) -> String {
    let symbol = topic.symbol.to_lowercase();
    match topic.channel {
        Channel::Depth => format!("{symbol}@depth@{}ms", options.depth_interval_ms),
        Channel::BookTicker => format!("{symbol}@bookTicker"),
        Channel::Trade => format!("{symbol}@trade"),
        Channel::Oracle => format!("{symbol}@oracle"),
    }
}

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

/// The text of a request; names must hold no quote and no backslash.
fn request_text(verb: Verb, streams: impl Iterator<Item = String>, id: u64) -> String {
    let method = match verb {
        Verb::Subscribe => "SUBSCRIBE",
        Verb::Unsubscribe => "UNSUBSCRIBE",
    };
    let mut text = format!(r#"{{"method":"{method}","params":["#);
    for (i, stream) in streams.enumerate() {
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
    use crate::protocol::SnapshotSource;

    fn options(levels: usize) -> StreamOptions {
        StreamOptions { levels, depth_interval_ms: 100, snapshot: SnapshotSource::Rest }
    }

    #[test]
    fn stream_names_and_their_parts_are_inverse() {
        for channel in Channel::ALL {
            let topic = TopicName { symbol: "BTCUSD_PERP", channel };
            let name = stream_name(topic, options(1));
            assert_eq!(split_stream(name.as_bytes()), Some((&b"btcusd_perp"[..], channel)));
        }
        assert_eq!(split_stream(b"btcusdt@depth"), Some((&b"btcusdt"[..], Channel::Depth)));
        assert_eq!(split_stream(b"btcusdt@depth20"), None);
        assert_eq!(split_stream(b"!bookTicker"), None);
    }

    #[test]
    fn requests_are_the_json_the_venue_documents_in_bounded_portions() {
        let topics = [
            TopicName { symbol: "A", channel: Channel::Trade },
            TopicName { symbol: "B", channel: Channel::Depth },
        ];
        let requests = SPOT.requests(Verb::Subscribe, &topics, options(1), 7);
        let text = r#"{"method":"SUBSCRIBE","params":["a@trade","b@depth@100ms"],"id":7}"#;
        assert_eq!(requests, [Request { id: 7, text: text.into(), topics: vec![0, 1] }]);
        let many = vec![topics[0]; 2 * MAX_STREAMS_PER_REQUEST + 1];
        let requests = SPOT.requests(Verb::Unsubscribe, &many, options(1), 1);
        assert_eq!(
            requests.iter().map(|r| (r.id, r.topics.len())).collect::<Vec<_>>(),
            [(1, 200), (2, 200), (3, 1)]
        );
    }

    #[test]
    fn a_snapshot_request_asks_for_a_limit_the_venue_offers() {
        let ask = |venue: &Binance, levels| {
            let request = venue.snapshot_request("BTCUSDT", options(levels)).unwrap();
            (request.path_and_query, request.weight)
        };
        let spot = ("/api/v3/depth?symbol=BTCUSDT&limit=1000".to_owned(), 50);
        assert_eq!(ask(&SPOT, 700), spot);
        let most = ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000".to_owned(), 20);
        assert_eq!(ask(&USDM, 20_000), most);
        assert_eq!(ask(&COINM, 1).1, 2);
    }
}
