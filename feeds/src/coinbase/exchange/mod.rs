//! Coinbase Exchange: [`decode`] reads its frames, [`sequence`] says how its updates are ordered, and
//! this file holds what is fixed about it and the texts of its requests.

pub mod decode;
pub mod sequence;

use std::time::Duration;

use super::{CHANNELS, MAX_PRODUCTS_PER_REQUEST, MAX_TOPICS, portions, product_ids};
use crate::protocol::{
    BookMessage, DecodeError, DecodeErrorKind, Facts, Protocol, Request, SnapshotRequest,
    StreamOptions, TopicName, Verb, Visit,
};
use crate::topic::Channel;

/// The protocol of Exchange.
#[derive(Debug)]
pub struct Exchange {
    facts: Facts,
}

/// Eight requests a second for an address ("WebSocket rate limits"): half of them, so that two
/// connections may start at once. The client need not send anything to stay connected, and a
/// connection's age is not limited [as far as documented].
pub static EXCHANGE: Exchange = Exchange {
    facts: Facts {
        rules: sequence::RULES,
        checksum: None,
        shows_loss: false,
        cuts_to_depth: false,
        audit_every: Some(Duration::from_mins(1)),
        max_topics: MAX_TOPICS,
        sends_per_s: 4,
        keepalive: None,
        max_lifetime: None,
    },
};

impl Protocol for Exchange {
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

    /// The whole aggregated book, for audits ("Get product book", level 2). Ten requests a second for
    /// an address ("REST rate limits"), all of the same weight.
    fn snapshot_request(&self, symbol: &str, _options: StreamOptions) -> Option<SnapshotRequest> {
        let path_and_query = format!("/products/{symbol}/book?level=2");
        Some(SnapshotRequest { path_and_query, weight: 1 })
    }

    /// One channel a request, so that each can be taken back alone; the first ones, for the products'
    /// heartbeats, concern the connection.
    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        _options: StreamOptions,
        first_id: u64,
    ) -> Vec<Request> {
        let kind = match verb {
            Verb::Subscribe => "subscribe",
            Verb::Unsubscribe => "unsubscribe",
        };
        let text = |name: &str, indices: &[usize]| {
            let products = product_ids(topics, indices);
            format!(
                r#"{{"type":"{kind}","channels":[{{"name":"{name}","product_ids":{products}}}]}}"#
            )
        };
        let mut requests = Vec::new();
        if verb == Verb::Subscribe {
            for indices in first_of_each_product(topics).chunks(MAX_PRODUCTS_PER_REQUEST) {
                requests.push((text("heartbeat", indices), Vec::new()));
            }
        }
        for channel in CHANNELS {
            for indices in portions(topics, channel) {
                requests.push((text(channel_name(channel), &indices), indices));
            }
        }
        let request = |(id, (text, topics))| Request { id, text, topics };
        (first_id..).zip(requests).map(request).collect()
    }
}

/// The name under which a channel is subscribed; `level2` itself needs authentication, its batches
/// every 50 ms do not.
fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Depth => "level2_batch",
        Channel::BookTicker => "ticker",
        Channel::Trade => "matches",
        Channel::Oracle => "",
    }
}

/// Index of the first topic of each product.
fn first_of_each_product(topics: &[TopicName<'_>]) -> Vec<usize> {
    let mut seen = std::collections::BTreeSet::new();
    (0..topics.len()).filter(|&index| seen.insert(topics[index].symbol)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SnapshotSource;

    const OPTIONS: StreamOptions =
        StreamOptions { levels: 100, depth_interval_ms: 0, snapshot: SnapshotSource::Stream };

    #[test]
    fn each_request_is_about_one_channel_and_heartbeats_name_every_product_once() {
        let topic = |symbol, channel| TopicName { symbol, channel };
        let topics = [
            topic("BTC-USD", Channel::Depth),
            topic("BTC-USD", Channel::Trade),
            topic("ETH-USD", Channel::Depth),
        ];
        let text = |name: &str, products: &str| {
            format!(
                r#"{{"type":"subscribe","channels":[{{"name":"{name}","product_ids":[{products}]}}]}}"#
            )
        };
        let both = r#""BTC-USD","ETH-USD""#;
        let expected = [
            Request { id: 1, text: text("heartbeat", both), topics: vec![] },
            Request { id: 2, text: text("level2_batch", both), topics: vec![0, 2] },
            Request { id: 3, text: text("matches", r#""BTC-USD""#), topics: vec![1] },
        ];
        assert_eq!(EXCHANGE.requests(Verb::Subscribe, &topics, OPTIONS, 1), expected);
        let one = EXCHANGE.requests(Verb::Unsubscribe, &topics[2..], OPTIONS, 9);
        let text = text("level2_batch", r#""ETH-USD""#).replace("subscribe", "unsubscribe");
        assert_eq!(one, [Request { id: 9, text, topics: vec![0] }]);
    }

    #[test]
    fn an_audit_asks_for_the_whole_aggregated_book() {
        let request = EXCHANGE.snapshot_request("BTC-USD", OPTIONS).unwrap();
        assert_eq!(request.path_and_query, "/products/BTC-USD/book?level=2");
        assert!(EXCHANGE.facts().audit_every.is_some());
    }
}
