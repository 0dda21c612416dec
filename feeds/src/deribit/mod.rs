//! Deribit: JSON-RPC notifications of books, trades and quotes of all its instruments.
//!
//! [`decode`] turns bytes into borrowed messages, [`sequence`] says how notifications are chained, and
//! this file holds the names the venue gives to channels and requests. Nothing here does I/O.
//!
//! Amounts are in the venue's units: US dollars for inverse perpetuals and futures, coin for options.
//! Nothing here authenticates, so the `raw` interval, which needs that, is never asked for.

pub mod decode;
pub mod sequence;

use crate::protocol::{
    DecodeError, Facts, Protocol, Request, StreamOptions, TopicName, Verb, Visit,
};
use crate::topic::Channel;

/// Most channels named in one request, so that the request stays a few kilobytes.
const MAX_CHANNELS_PER_REQUEST: usize = 100;

/// Id of the requests that are about the connection; requests about topics count from 1.
const CONNECTION_REQUEST_ID: u64 = 0;

/// Asks for heartbeats, so that a dead connection is noticed on both ends. 30 s: at least 10 are allowed
/// ("public/set_heartbeat").
const SET_HEARTBEAT: &str =
    r#"{"jsonrpc":"2.0","id":0,"method":"public/set_heartbeat","params":{"interval":30}}"#;

/// What a heartbeat of type `test_request` wants to hear at once.
pub(crate) const TEST: &str = r#"{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}"#;

/// Path of the WebSocket API.
const PATH: &str = "/ws/api/v2";

/// Deribit.
#[derive(Debug)]
pub struct Deribit {
    facts: Facts,
}

/// All instrument types. Three requests a second: a subscription costs 3000 of 10 000 credits a second
/// ("Rate Limits"). The number of channels on a connection and its lifetime are not documented.
pub static DERIBIT: Deribit = Deribit {
    facts: Facts {
        rules: sequence::RULES,
        checksum: None,
        shows_loss: true,
        cuts_to_depth: false,
        audit_every: None,
        max_topics: 500,
        sends_per_s: 3,
        keepalive: None,
        max_lifetime: None,
    },
};

impl Protocol for Deribit {
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

    /// Heartbeats are asked for first; that request is about the connection and has no topics.
    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        options: StreamOptions,
        first_id: u64,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        if verb == Verb::Subscribe {
            let text = SET_HEARTBEAT.to_owned();
            requests.push(Request { id: CONNECTION_REQUEST_ID, text, topics: Vec::new() });
        }
        let indices: Vec<usize> = (0..topics.len()).collect();
        for (id, indices) in (first_id..).zip(indices.chunks(MAX_CHANNELS_PER_REQUEST)) {
            let names: Vec<String> =
                indices.iter().map(|&i| channel_name(topics[i], options)).collect();
            let text = request_text(verb, &names, id);
            requests.push(Request { id, text, topics: indices.to_vec() });
        }
        requests
    }

    fn url(&self, base: &str) -> String {
        format!("{}{PATH}", base.trim_end_matches('/').trim_end_matches(PATH))
    }
}

/// The channel that carries a topic. Books come every 100 ms or, aggregated, every second.
fn channel_name(topic: TopicName<'_>, options: StreamOptions) -> String {
    let symbol = topic.symbol;
    match topic.channel {
        Channel::Depth if options.depth_interval_ms > 500 => format!("book.{symbol}.agg2"),
        Channel::Depth => format!("book.{symbol}.100ms"),
        Channel::Trade => format!("trades.{symbol}.100ms"),
        Channel::BookTicker | Channel::Oracle => format!("quote.{symbol}"),
    }
}

/// Symbol and channel of a channel name; `None` for those that are of no use here, such as the grouped
/// books (`book.X.none.10.100ms`), which are not chained.
pub(crate) fn split_channel(name: &[u8]) -> Option<(&[u8], Channel)> {
    let dot = |text: &[u8]| text.iter().position(|&byte| byte == b'.');
    let at = dot(name)?;
    let (kind, rest) = (&name[..at], &name[at + 1..]);
    let channel = match kind {
        b"quote" => return dot(rest).is_none().then_some((rest, Channel::BookTicker)),
        b"book" => Channel::Depth,
        b"trades" => Channel::Trade,
        _ => return None,
    };
    let end = dot(rest)?;
    dot(&rest[end + 1..]).is_none().then_some((&rest[..end], channel))
}

/// The text of a request; names must hold no quote and no backslash.
fn request_text(verb: Verb, channels: &[String], id: u64) -> String {
    let method = match verb {
        Verb::Subscribe => "public/subscribe",
        Verb::Unsubscribe => "public/unsubscribe",
    };
    let list = channels.join(r#"",""#);
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"channels":["{list}"]}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SnapshotSource;

    fn options(depth_interval_ms: u32) -> StreamOptions {
        StreamOptions { levels: 100, depth_interval_ms, snapshot: SnapshotSource::Stream }
    }

    const CHANNELS: [Channel; 3] = [Channel::Depth, Channel::BookTicker, Channel::Trade];

    #[test]
    fn channel_names_and_their_parts_are_inverse() {
        for symbol in ["BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "XRP_USDC-30JUN23-0d5-C"] {
            for channel in CHANNELS {
                for interval in [0, 100, 1000] {
                    let name = channel_name(TopicName { symbol, channel }, options(interval));
                    let parts = split_channel(name.as_bytes());
                    assert_eq!(parts, Some((symbol.as_bytes(), channel)), "{name}");
                }
            }
        }
        assert_eq!(split_channel(b"book.X.raw"), Some((&b"X"[..], Channel::Depth)));
        for other in ["book.X.none.10.100ms", "trades.option.BTC.raw", "ticker.X.raw", "book.X"] {
            assert_eq!(split_channel(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn subscriptions_begin_with_heartbeats_and_come_in_bounded_portions() {
        let topics = CHANNELS.map(|channel| TopicName { symbol: "BTC-PERPETUAL", channel });
        let requests = DERIBIT.requests(Verb::Subscribe, &topics, options(100), 7);
        let subscribe = concat!(
            r#"{"jsonrpc":"2.0","id":7,"method":"public/subscribe","params":{"channels":["#,
            r#""book.BTC-PERPETUAL.100ms","quote.BTC-PERPETUAL","trades.BTC-PERPETUAL.100ms"]}}"#,
        );
        let expected = [
            Request { id: 0, text: SET_HEARTBEAT.into(), topics: vec![] },
            Request { id: 7, text: subscribe.into(), topics: vec![0, 1, 2] },
        ];
        assert_eq!(requests, expected);
        let again = DERIBIT.requests(Verb::Unsubscribe, &topics[..1], options(100), 8);
        let unsubscribe = r#"{"jsonrpc":"2.0","id":8,"method":"public/unsubscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}"#;
        assert_eq!(again, [Request { id: 8, text: unsubscribe.into(), topics: vec![0] }]);
        let many = vec![topics[0]; 201];
        let portions: Vec<_> = DERIBIT
            .requests(Verb::Subscribe, &many, options(100), 1)
            .iter()
            .map(|request| (request.id, request.topics.len()))
            .collect();
        assert_eq!(portions, [(0, 0), (1, 100), (2, 100), (3, 1)]);
    }

    #[test]
    fn the_path_is_added_to_a_bare_address_only() {
        for base in ["wss://host", "wss://host/", "wss://host/ws/api/v2"] {
            assert_eq!(DERIBIT.url(base), "wss://host/ws/api/v2");
        }
    }
}
