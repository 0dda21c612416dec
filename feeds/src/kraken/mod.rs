//! Kraken spot: WebSocket v2 live, and the frozen v1 array protocol for recordings of it.
//!
//! [`decode`] turns v2 frames into borrowed messages, [`v1`] those of the older protocol, [`sequence`] says
//! how the venue keeps a book in step, and this file holds its facts and requests. The two versions spell
//! instruments differently (`BTC/USD`, `XBT/USD`); symbols are taken as the frames have them. Nothing
//! here does I/O.

pub mod decode;
pub mod sequence;
pub mod v1;

use std::fmt::Write as _;
use std::time::Duration;

use crate::protocol::{
    Checksum, DecodeError, Facts, Keepalive, Protocol, Request, StreamOptions, TopicName, Verb,
    Visit,
};
use crate::topic::Channel;

/// Depths a book can be subscribed at, levels a side ("Book", subscribe request).
const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];

/// Most instruments named in one request, so that it stays a few kilobytes; a limit is not documented.
const MAX_SYMBOLS_PER_REQUEST: usize = 100;

/// Kraken spot.
#[derive(Debug)]
pub struct Kraken {
    facts: Facts,
}

/// Kraken spot. The venue limits the rate of client messages without naming a number ("Spot WebSocket
/// overview"), and says nothing of topics on a connection: both limits are cautious assumptions, not
/// documented. The ping is optional for it ("Ping"); it keeps connections on which nothing flows from
/// idling and shows that they live.
pub static SPOT: Kraken = Kraken {
    facts: Facts {
        rules: sequence::RULES,
        checksum: Some(Checksum::Kraken),
        shows_loss: false,
        cuts_to_depth: true,
        audit_every: None,
        max_topics: 600,
        sends_per_s: 4,
        keepalive: Some(Keepalive { every: Duration::from_secs(30), text: r#"{"method":"ping"}"# }),
        max_lifetime: None,
    },
};

impl Protocol for Kraken {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn decode<'a>(
        &self,
        frame: &'a [u8],
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeError<'a>> {
        if v1::is_v1(frame) { v1::decode(frame, visit) } else { decode::decode(frame, visit) }
    }

    /// One request a channel and [`MAX_SYMBOLS_PER_REQUEST`] instruments; each instrument is
    /// acknowledged on its own.
    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        options: StreamOptions,
        first_id: u64,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        for channel in Channel::ALL.into_iter().filter(|channel| self.has(*channel)) {
            let is_of_it = |&i: &usize| topics[i].channel == channel;
            let indices: Vec<usize> = (0..topics.len()).filter(is_of_it).collect();
            for indices in indices.chunks(MAX_SYMBOLS_PER_REQUEST) {
                let id = first_id + requests.len() as u64;
                let symbols = indices.iter().map(|&i| topics[i].symbol);
                let text = request_text(verb, channel, symbols, self.depth(options), id);
                requests.push(Request { id, text, topics: indices.to_vec() });
            }
        }
        requests
    }

    fn depth(&self, options: StreamOptions) -> usize {
        let enough = DEPTHS.into_iter().find(|depth| *depth >= options.levels);
        enough.unwrap_or(DEPTHS[DEPTHS.len() - 1])
    }
}

/// The text of a request; symbols must hold no quote and no backslash.
fn request_text<'a>(
    verb: Verb,
    channel: Channel,
    symbols: impl Iterator<Item = &'a str>,
    depth: usize,
    id: u64,
) -> String {
    let method = match verb {
        Verb::Subscribe => "subscribe",
        Verb::Unsubscribe => "unsubscribe",
    };
    let name = match channel {
        Channel::Depth => "book",
        Channel::Trade => "trade",
        Channel::BookTicker | Channel::Oracle => "ticker",
    };
    let mut text = format!(r#"{{"method":"{method}","params":{{"channel":"{name}","symbol":["#);
    for (i, symbol) in symbols.enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{comma}"{symbol}""#);
    }
    text.push(']');
    match channel {
        Channel::Depth => {
            let _ = write!(text, r#","depth":{depth}"#);
        }
        // The default trigger is trades: the best levels would move unseen between two.
        Channel::BookTicker => text.push_str(r#","event_trigger":"bbo""#),
        Channel::Trade | Channel::Oracle => {}
    }
    if verb == Verb::Subscribe {
        // Past trades too, which trades alone lack by default: in a quiet instrument they are the proof
        // that the subscription carries data.
        text.push_str(r#","snapshot":true"#);
    }
    let _ = write!(text, r#"}},"req_id":{id}}}"#);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SnapshotSource;

    fn options(levels: usize) -> StreamOptions {
        StreamOptions { levels, depth_interval_ms: 0, snapshot: SnapshotSource::Stream }
    }

    #[test]
    fn requests_are_the_json_the_venue_documents_channel_by_channel() {
        let topic = |symbol, channel| TopicName { symbol, channel };
        let topics = [
            topic("BTC/USD", Channel::Depth),
            topic("BTC/USD", Channel::BookTicker),
            topic("ETH/USD", Channel::Depth),
            topic("ETH/USD", Channel::Trade),
        ];
        let found = SPOT.requests(Verb::Subscribe, &topics, options(1000), 7);
        let texts: Vec<&str> = found.iter().map(|request| request.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/USD"],"depth":1000,"snapshot":true},"req_id":7}"#,
                r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo","snapshot":true},"req_id":8}"#,
                r#"{"method":"subscribe","params":{"channel":"trade","symbol":["ETH/USD"],"snapshot":true},"req_id":9}"#,
            ]
        );
        let about: Vec<_> = found.iter().map(|request| (request.id, &request.topics[..])).collect();
        assert_eq!(about, [(7, &[0, 2][..]), (8, &[1]), (9, &[3])]);
        let gone = SPOT.requests(Verb::Unsubscribe, &topics[..1], options(5), 1);
        let text = r#"{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":10},"req_id":1}"#;
        assert_eq!(gone, [Request { id: 1, text: text.into(), topics: vec![0] }]);
    }

    #[test]
    fn requests_come_in_bounded_portions() {
        let topic = TopicName { symbol: "A/B", channel: Channel::Trade };
        let topics = vec![topic; 2 * MAX_SYMBOLS_PER_REQUEST + 1];
        let found = SPOT.requests(Verb::Subscribe, &topics, options(10), 1);
        let sizes: Vec<_> =
            found.iter().map(|request| (request.id, request.topics.len())).collect();
        assert_eq!(sizes, [(1, 100), (2, 100), (3, 1)]);
        let bytes =
            |request: &Request| serde_json::from_str::<serde::de::IgnoredAny>(&request.text);
        assert!(found.iter().all(|request| bytes(request).is_ok()));
    }

    #[test]
    fn the_least_depth_that_is_enough_is_chosen() {
        let table =
            [(1, 10), (10, 10), (11, 25), (26, 100), (500, 500), (501, 1000), (20_000, 1000)];
        for (wanted, depth) in table {
            assert_eq!(SPOT.depth(options(wanted)), depth, "{wanted}");
        }
    }
}
