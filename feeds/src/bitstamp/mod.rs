//! Bitstamp: book updates without numbers, trades, and the best hundred levels for the top of the book.
//!
//! [`decode`] turns bytes into borrowed messages, [`sequence`] says what little holds updates together,
//! and this file holds the names the venue gives to channels and requests. Nothing here does I/O.

pub mod decode;
pub mod sequence;

use std::time::Duration;

use crate::protocol::{
    BookMessage, DecodeError, DecodeErrorKind, Facts, Keepalive, Protocol, Request,
    SnapshotRequest, StreamOptions, TopicName, Verb, Visit,
};
use crate::topic::Channel;

/// Bitstamp.
#[derive(Debug)]
pub struct Bitstamp {
    facts: Facts,
}

/// All pairs. Connections live for 90 days and are kept by `bts:heartbeat` ("WebSocket API v2"). The
/// number of channels on a connection, the pace of requests and that of heartbeats are not documented.
pub static BITSTAMP: Bitstamp = Bitstamp {
    facts: Facts {
        rules: sequence::RULES,
        checksum: None,
        shows_loss: false,
        cuts_to_depth: false,
        audit_every: Some(Duration::from_mins(1)),
        max_topics: 300,
        sends_per_s: 10,
        keepalive: Some(Keepalive {
            every: Duration::from_secs(30),
            text: r#"{"event":"bts:heartbeat"}"#,
        }),
        max_lifetime: Some(Duration::from_hours(90 * 24)),
    },
};

impl Protocol for Bitstamp {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn decode<'a>(
        &self,
        frame: &'a [u8],
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), DecodeError<'a>> {
        decode::decode(frame).map(visit)
    }

    fn decode_snapshot<'a>(&self, body: &'a [u8]) -> Result<BookMessage<'a>, DecodeErrorKind> {
        decode::decode_snapshot(body)
    }

    /// The whole book, whatever is asked for: the venue has no limits to choose from. `group=1`: orders
    /// of one price are one level.
    fn snapshot_request(&self, symbol: &str, _: StreamOptions) -> Option<SnapshotRequest> {
        let path_and_query = format!("/api/v2/order_book/{symbol}/?group=1");
        Some(SnapshotRequest { path_and_query, weight: 1 })
    }

    /// One channel a request. Requests have no ids on the wire.
    fn requests(
        &self,
        verb: Verb,
        topics: &[TopicName<'_>],
        _: StreamOptions,
        first_id: u64,
    ) -> Vec<Request> {
        let event = match verb {
            Verb::Subscribe => "bts:subscribe",
            Verb::Unsubscribe => "bts:unsubscribe",
        };
        let request = |(id, (index, topic)): (u64, (usize, &TopicName<'_>))| {
            let channel = format!("{}{}", prefix(topic.channel), topic.symbol);
            let text = format!(r#"{{"event":"{event}","data":{{"channel":"{channel}"}}}}"#);
            Request { id, text, topics: vec![index] }
        };
        (first_id..).zip(topics.iter().enumerate()).map(request).collect()
    }
}

/// What precedes the pair in the name of a channel.
fn prefix(channel: Channel) -> &'static str {
    match channel {
        Channel::Depth => "diff_order_book_",
        Channel::Trade => "live_trades_",
        Channel::BookTicker | Channel::Oracle => "order_book_",
    }
}

/// Pair and channel of a channel's name; `None` for those that are of no use here.
pub(crate) fn split_channel(name: &[u8]) -> Option<(&[u8], Channel)> {
    [Channel::Depth, Channel::Trade, Channel::BookTicker].into_iter().find_map(|channel| {
        let pair = name.strip_prefix(prefix(channel).as_bytes())?;
        (!pair.is_empty()).then_some((pair, channel))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SnapshotSource;

    const OPTIONS: StreamOptions =
        StreamOptions { levels: 100, depth_interval_ms: 100, snapshot: SnapshotSource::Rest };

    #[test]
    fn each_topic_has_a_request_of_its_own() {
        let topic = |channel| TopicName { symbol: "btcusd", channel };
        let topics = [topic(Channel::Depth), topic(Channel::BookTicker), topic(Channel::Trade)];
        let texts = |verb| -> Vec<_> {
            let requests = BITSTAMP.requests(verb, &topics, OPTIONS, 5);
            requests.into_iter().map(|r| (r.id, r.topics, r.text)).collect()
        };
        let text = |event: &str, channel: &str| {
            format!(r#"{{"event":"bts:{event}","data":{{"channel":"{channel}_btcusd"}}}}"#)
        };
        let expected = |event| {
            vec![
                (5, vec![0], text(event, "diff_order_book")),
                (6, vec![1], text(event, "order_book")),
                (7, vec![2], text(event, "live_trades")),
            ]
        };
        assert_eq!(texts(Verb::Subscribe), expected("subscribe"));
        assert_eq!(texts(Verb::Unsubscribe), expected("unsubscribe"));
    }

    #[test]
    fn channel_names_and_their_parts_are_inverse() {
        for channel in [Channel::Depth, Channel::BookTicker, Channel::Trade] {
            let name = format!("{}ethusd-perp", prefix(channel));
            assert_eq!(split_channel(name.as_bytes()), Some((&b"ethusd-perp"[..], channel)));
        }
        for other in ["detail_order_book_btcusd", "live_orders_btcusd", "order_book_", ""] {
            assert_eq!(split_channel(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_snapshot_is_the_whole_book_with_orders_summed_by_price() {
        let request = BITSTAMP.snapshot_request("btcusd", OPTIONS).unwrap();
        assert_eq!(request.path_and_query, "/api/v2/order_book/btcusd/?group=1");
        assert_eq!(request.weight, 1);
    }
}
