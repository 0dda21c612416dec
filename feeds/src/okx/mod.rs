//! OKX v5, all instrument types on the public endpoint.
//!
//! [`decode`] turns bytes into borrowed messages, [`sequence`] says how the venue chains its updates, and
//! this file holds the names it gives to channels and requests. Depth is the channel `books` (400 levels,
//! every 100 ms), the top of book `bbo-tbt` (10 ms), trades `trades`. Symbols are instrument ids:
//! `BTC-USDT` is spot, `BTC-USDT-SWAP` a perpetual. **Quantities of swaps, futures and options are
//! contracts**, as the venue sends them; multiply by the instrument's contract value (`ctVal`) for coins.
//!
//! Whole books come in the stream. The venue announced that they will come by REST instead;
//! [`StreamOptions::snapshot`] set to [`SnapshotSource::Rest`] follows that procedure. Nothing here does
//! I/O.

pub mod decode;
pub mod sequence;

use std::fmt::Write as _;
use std::time::Duration;

use crate::protocol::{
    BookMessage, Checksum, DecodeError, DecodeErrorKind, Facts, Keepalive, Protocol, Request,
    SnapshotRequest, SnapshotSource, StreamOptions, TopicName, Verb, Visit,
};
use crate::topic::Channel;

/// Longest request: the venue refuses channels of more than 64 KB together ("Subscribe").
const MAX_REQUEST_BYTES: usize = 60 * 1024;

/// Levels a side of the channel `books` and most of a REST snapshot.
const LEVELS: usize = 400;

/// OKX.
#[derive(Debug)]
pub struct Okx {
    facts: Facts,
}

/// The one protocol of all instrument types.
///
/// "Overview" and "Connection count limit" of the v5 documentation: the connection is cut after 30 s of
/// silence unless `ping` is sent; 480 requests to subscribe or unsubscribe an hour on one connection, so
/// 240 repairs of a book where each is a resubscription. The number of channels and of messages a second
/// on a connection are not documented: 1000 channels stay below 64 KB, and 3 messages a second are what
/// the venue allows of connections.
pub static OKX: Okx = Okx {
    facts: Facts {
        rules: sequence::RULES,
        checksum: Some(Checksum::Okx),
        shows_loss: true,
        cuts_to_depth: false,
        audit_every: None,
        max_topics: 1000,
        sends_per_s: 3,
        keepalive: Some(Keepalive { every: Duration::from_secs(20), text: "ping" }),
        max_lifetime: None,
    },
};

impl Protocol for Okx {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn decode<'a>(
        &self,
        frame: &'a [u8],
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeError<'a>> {
        decode::decode(frame, visit)
    }

    fn decode_snapshot<'a>(&self, body: &'a [u8]) -> Result<BookMessage<'a>, DecodeErrorKind> {
        decode::decode_snapshot(body)
    }

    /// 40 requests in 2 s are allowed ("Get order book"); each weighs one.
    fn snapshot_request(&self, symbol: &str, options: StreamOptions) -> Option<SnapshotRequest> {
        (options.snapshot == SnapshotSource::Rest).then(|| SnapshotRequest {
            path_and_query: format!("/api/v5/market/books?instId={symbol}&sz={LEVELS}&source=0"),
            weight: 1,
        })
    }

    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        _: StreamOptions,
        first_id: u64,
    ) -> Vec<Request> {
        let op = match verb {
            Verb::Subscribe => "subscribe",
            Verb::Unsubscribe => "unsubscribe",
        };
        let mut requests: Vec<Request> = Vec::new();
        for (i, topic) in topics.iter().enumerate() {
            let arg = format!(
                r#"{{"channel":"{}","instId":"{}"}}"#,
                channel(topic.channel),
                topic.symbol
            );
            let fits = |request: &&mut Request| {
                request.text.len() + arg.len() + ",]}".len() <= MAX_REQUEST_BYTES
            };
            if let Some(request) = requests.last_mut().filter(fits) {
                // Writing to a String cannot fail.
                let _ = write!(request.text, ",{arg}");
                request.topics.push(i);
                continue;
            }
            let id = first_id + requests.len() as u64;
            let text = format!(r#"{{"id":"{id}","op":"{op}","args":[{arg}"#);
            requests.push(Request { id, text, topics: vec![i] });
        }
        for request in &mut requests {
            request.text.push_str("]}");
        }
        requests
    }

    fn depth(&self, _: StreamOptions) -> usize {
        LEVELS
    }
}

/// The venue's channel that carries one of ours.
fn channel(channel: Channel) -> &'static str {
    match channel {
        Channel::Depth => "books",
        Channel::BookTicker => "bbo-tbt",
        Channel::Trade => "trades",
        // Never subscribed (`Protocol::has`); the venue would refuse the name.
        Channel::Oracle => "oracle",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(snapshot: SnapshotSource) -> StreamOptions {
        StreamOptions { levels: 1000, depth_interval_ms: 100, snapshot }
    }

    #[test]
    fn requests_are_the_json_the_venue_documents() {
        let channels = [Channel::Depth, Channel::BookTicker, Channel::Trade];
        let topics = channels.map(|channel| TopicName { symbol: "BTC-USDT-SWAP", channel });
        let stream = options(SnapshotSource::Stream);
        let requests = OKX.requests(Verb::Subscribe, &topics, stream, 7);
        let text = r#"{"id":"7","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT-SWAP"},{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},{"channel":"trades","instId":"BTC-USDT-SWAP"}]}"#;
        assert_eq!(requests, [Request { id: 7, text: text.into(), topics: vec![0, 1, 2] }]);
        let requests = OKX.requests(Verb::Unsubscribe, &topics[..1], stream, 8);
        let text = r#"{"id":"8","op":"unsubscribe","args":[{"channel":"books","instId":"BTC-USDT-SWAP"}]}"#;
        assert_eq!(requests, [Request { id: 8, text: text.into(), topics: vec![0] }]);
        assert!(OKX.requests(Verb::Subscribe, &[], stream, 1).is_empty());
    }

    #[test]
    fn requests_are_split_below_the_venues_bound_and_name_every_topic_once() {
        let symbol = "BTC-USD-261225-100000-C".repeat(4);
        let topics = vec![TopicName { symbol: &symbol, channel: Channel::Depth }; 1000];
        let requests = OKX.requests(Verb::Subscribe, &topics, options(SnapshotSource::Stream), 5);
        assert_eq!(requests.iter().map(|r| r.id).collect::<Vec<_>>(), [5, 6, 7]);
        assert!(requests.iter().all(|r| r.text.len() <= MAX_REQUEST_BYTES));
        assert!(requests[0].text.len() > MAX_REQUEST_BYTES - 150, "no more requests than needed");
        let named: Vec<usize> = requests.iter().flat_map(|r| r.topics.clone()).collect();
        assert_eq!(named, (0..1000).collect::<Vec<_>>());
        for request in &requests {
            let json: serde_json::Value = serde_json::from_str(&request.text).unwrap();
            assert_eq!(json["args"].as_array().unwrap().len(), request.topics.len());
        }
    }

    #[test]
    fn a_snapshot_is_requested_only_where_books_come_by_rest() {
        let request = OKX.snapshot_request("BTC-USDT", options(SnapshotSource::Rest)).unwrap();
        let path = "/api/v5/market/books?instId=BTC-USDT&sz=400&source=0";
        assert_eq!((request.path_and_query.as_str(), request.weight), (path, 1));
        assert_eq!(OKX.snapshot_request("BTC-USDT", options(SnapshotSource::Stream)), None);
    }
}
