//! Bybit v5, spot and linear contracts: one wire format, two endpoints.
//!
//! [`decode`] turns bytes into borrowed messages, [`sequence`] checks that no update is missing, and
//! this file holds the names the venue gives to topics and requests. Depth is `orderbook.{50|200|1000}`,
//! the top of book is `orderbook.1`, trades are `publicTrade`. There is no checksum and no REST snapshot
//! to wait for. Quantities are of the base coin in both products. Nothing here does I/O.

pub mod decode;
pub mod sequence;

use std::fmt::Write as _;
use std::time::Duration;

use crate::protocol::{
    DecodeError, Facts, Keepalive, Protocol, Request, StreamOptions, TopicName, Verb, Visit,
};
use crate::topic::Channel;

/// Most topics of one request: spot takes no more ("Connect", v5 documentation), the others do with it.
const MAX_TOPICS_PER_REQUEST: usize = 10;

/// Depths on offer, levels a side.
const DEPTHS: [usize; 3] = [50, 200, 1000];

/// Bybit, one product family of it; what differs is the address to connect to.
#[derive(Debug)]
pub struct Bybit {
    facts: Facts,
}

/// Spot.
pub static SPOT: Bybit = Bybit { facts: FACTS };

/// USDT and USDC contracts.
pub static LINEAR: Bybit = Bybit { facts: FACTS };

/// Most characters of topic names a connection takes, quotes and commas included.
const MAX_TOPIC_BYTES: usize = 21_000;

/// Longest topic name reckoned with; the longest at the time of writing has 42 characters.
const MAX_NAME_BYTES: usize = 43;

/// "Connect" of the v5 documentation bounds the characters of topic names a connection and asks for a ping
/// every 20 s. It names neither a number of client messages per second (a modest one is assumed) nor an
/// age at which connections are cut.
const FACTS: Facts = Facts {
    rules: sequence::RULES,
    checksum: None,
    shows_loss: true,
    cuts_to_depth: false,
    audit_every: None,
    max_topics: MAX_TOPIC_BYTES / (MAX_NAME_BYTES + 3),
    sends_per_s: 10,
    keepalive: Some(Keepalive {
        every: Duration::from_secs(20),
        text: r#"{"req_id":"ping","op":"ping"}"#,
    }),
    max_lifetime: None,
};

impl Protocol for Bybit {
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

    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        options: StreamOptions,
        first_id: u64,
    ) -> Vec<Request> {
        let depth = self.depth(options);
        let indices: Vec<usize> = (0..topics.len()).collect();
        let request = |(id, indices): (u64, &[usize])| {
            let names = indices.iter().map(|&i| topic_name(topics[i], depth));
            Request { id, text: request_text(verb, names, id), topics: indices.to_vec() }
        };
        (first_id..).zip(indices.chunks(MAX_TOPICS_PER_REQUEST)).map(request).collect()
    }

    fn depth(&self, options: StreamOptions) -> usize {
        let [.., most] = DEPTHS;
        DEPTHS.into_iter().find(|depth| *depth >= options.levels).unwrap_or(most)
    }
}

/// The venue's name of a topic: `orderbook.50.BTCUSDT`.
fn topic_name(topic: TopicName<'_>, depth: usize) -> String {
    let symbol = topic.symbol;
    match topic.channel {
        Channel::Depth => format!("orderbook.{depth}.{symbol}"),
        Channel::BookTicker => format!("orderbook.1.{symbol}"),
        Channel::Trade => format!("publicTrade.{symbol}"),
        // Never subscribed (`Protocol::has`); the venue would refuse the name.
        Channel::Oracle => format!("oracle.{symbol}"),
    }
}

/// The text of a request; names must hold no quote and no backslash.
fn request_text(verb: Verb, names: impl Iterator<Item = String>, id: u64) -> String {
    let (op, prefix) = match verb {
        Verb::Subscribe => ("subscribe", "sub"),
        Verb::Unsubscribe => ("unsubscribe", "unsub"),
    };
    let mut text = format!(r#"{{"req_id":"{prefix}-{id}","op":"{op}","args":["#);
    for (i, name) in names.enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{comma}"{name}""#);
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SnapshotSource;

    fn options(levels: usize) -> StreamOptions {
        StreamOptions { levels, depth_interval_ms: 100, snapshot: SnapshotSource::Stream }
    }

    #[test]
    fn requests_are_the_json_the_venue_documents_in_portions_of_ten() {
        let channels = [Channel::Depth, Channel::BookTicker, Channel::Trade];
        let topics = channels.map(|channel| TopicName { symbol: "BTCUSDT", channel });
        let requests = SPOT.requests(Verb::Subscribe, &topics, options(100), 7);
        let text = r#"{"req_id":"sub-7","op":"subscribe","args":["orderbook.200.BTCUSDT","orderbook.1.BTCUSDT","publicTrade.BTCUSDT"]}"#;
        assert_eq!(requests, [Request { id: 7, text: text.into(), topics: vec![0, 1, 2] }]);
        let many = vec![topics[2]; 2 * MAX_TOPICS_PER_REQUEST + 1];
        let requests = LINEAR.requests(Verb::Unsubscribe, &many, options(1), 1);
        let portions: Vec<_> = requests.iter().map(|r| (r.id, r.topics.len())).collect();
        assert_eq!(portions, [(1, 10), (2, 10), (3, 1)]);
        let text = r#"{"req_id":"unsub-3","op":"unsubscribe","args":["publicTrade.BTCUSDT"]}"#;
        assert_eq!(requests[2].text, text);
        assert!(SPOT.requests(Verb::Subscribe, &[], options(1), 1).is_empty());
    }

    #[test]
    fn the_least_depth_that_is_enough_is_asked_for() {
        let table = [(1, 50), (50, 50), (51, 200), (400, 1000), (5000, 1000)];
        for (levels, depth) in table {
            assert_eq!(SPOT.depth(options(levels)), depth, "{levels}");
        }
    }

    #[test]
    fn the_longest_topic_names_are_reckoned_with() {
        let symbol = "1000000BABYDOGEUSDT-26DEC26";
        let name = topic_name(TopicName { symbol, channel: Channel::Depth }, 1000);
        assert!(name.len() <= MAX_NAME_BYTES, "{name}: {}", name.len());
        assert_eq!(FACTS.max_topics, 456);
    }
}
