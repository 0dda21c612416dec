//! Coinbase Advanced Trade: [`decode`] reads its frames, [`sequence`] says what its numbers mean, and
//! this file holds what is fixed about it and the texts of its requests.

pub mod decode;
pub mod sequence;

use super::{CHANNELS, MAX_TOPICS, portions, product_ids};
use crate::protocol::{
    DecodeError, Facts, Protocol, Request, StreamOptions, TopicName, Verb, Visit,
};
use crate::topic::Channel;

/// The protocol of Advanced Trade.
#[derive(Debug)]
pub struct Advanced {
    facts: Facts,
}

/// Eight unauthenticated messages a second for an address ("WebSocket rate limits"): half of them, so
/// that two connections may start at once. The client need not send anything to stay connected, but a
/// channel without news for 60 to 90 s is closed unless `heartbeats` is subscribed ("WebSocket
/// channels"). A connection's age is not limited [as far as documented].
pub static ADVANCED: Advanced = Advanced {
    facts: Facts {
        rules: sequence::RULES,
        checksum: None,
        shows_loss: true,
        cuts_to_depth: false,
        audit_every: None,
        max_topics: MAX_TOPICS,
        sends_per_s: 4,
        keepalive: None,
        max_lifetime: None,
    },
};

impl Protocol for Advanced {
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

    /// A request is about one channel. The first one, for `heartbeats`, concerns the connection: it also
    /// keeps the venue's rule that something is subscribed within 5 s.
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
        let heartbeats = (verb == Verb::Subscribe)
            .then(|| (r#"{"type":"subscribe","channel":"heartbeats"}"#.to_owned(), Vec::new()));
        let data = CHANNELS.into_iter().flat_map(|channel| {
            portions(topics, channel).into_iter().map(move |indices| {
                let products = product_ids(topics, &indices);
                let name = channel_name(channel);
                let text =
                    format!(r#"{{"type":"{kind}","product_ids":{products},"channel":"{name}"}}"#);
                (text, indices)
            })
        });
        let request = |(id, (text, topics))| Request { id, text, topics };
        (first_id..).zip(heartbeats.into_iter().chain(data)).map(request).collect()
    }
}

/// The name under which a channel is subscribed and acknowledged; depth arrives as `l2_data`.
fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Depth => "level2",
        Channel::BookTicker => "ticker",
        Channel::Trade => "market_trades",
        Channel::Oracle => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coinbase::MAX_PRODUCTS_PER_REQUEST;
    use crate::protocol::SnapshotSource;

    const OPTIONS: StreamOptions =
        StreamOptions { levels: 100, depth_interval_ms: 0, snapshot: SnapshotSource::Stream };

    #[test]
    fn each_request_is_about_one_channel_and_heartbeats_come_first() {
        let topic = |symbol, channel| TopicName { symbol, channel };
        let topics = [
            topic("BTC-USD", Channel::Depth),
            topic("BTC-USD", Channel::Trade),
            topic("ETH-USD", Channel::Depth),
            topic("ETH-USD", Channel::BookTicker),
        ];
        let expected = [
            (7, r#"{"type":"subscribe","channel":"heartbeats"}"#, vec![]),
            (
                8,
                r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"level2"}"#,
                vec![0, 2],
            ),
            (9, r#"{"type":"subscribe","product_ids":["ETH-USD"],"channel":"ticker"}"#, vec![3]),
            (
                10,
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}"#,
                vec![1],
            ),
        ];
        let requests = ADVANCED.requests(Verb::Subscribe, &topics, OPTIONS, 7);
        let found: Vec<_> =
            requests.iter().map(|r| (r.id, r.text.as_str(), r.topics.clone())).collect();
        assert_eq!(found, expected);
        let one = ADVANCED.requests(Verb::Unsubscribe, &topics[1..2], OPTIONS, 1);
        let text = r#"{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"market_trades"}"#;
        assert_eq!(one, [Request { id: 1, text: text.into(), topics: vec![0] }]);
    }

    #[test]
    fn long_lists_of_products_go_in_portions() {
        let topic = TopicName { symbol: "A", channel: Channel::Depth };
        let topics = vec![topic; 2 * MAX_PRODUCTS_PER_REQUEST + 1];
        let requests = ADVANCED.requests(Verb::Unsubscribe, &topics, OPTIONS, 1);
        let sizes: Vec<_> = requests.iter().map(|request| request.topics.len()).collect();
        assert_eq!(sizes, [100, 100, 1]);
    }
}
