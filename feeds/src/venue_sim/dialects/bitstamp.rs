//! Bitstamp: `diff_order_book_<pair>` without numbers, `order_book_<pair>` whole, trades, REST books.
//!
//! An update carries the time of the model in microseconds and nothing else to tell it by, so a client
//! cannot notice a lost one. The hundred best levels of `order_book_` are a stream of books of their own
//! ([`FULL`]): every update writes them all.

use crate::Side;
use crate::Venue;
use crate::fixed::Fixed;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Dialect, Effect, Facts, Heartbeat, LeavingLevel, Notice, RestAnswer,
    RestView, Restart, ServerPing, Session, SnapshotSource, TopFrame, Topic, TradeFrame,
};
use crate::venue_sim::model::Listing;
use crate::venue_sim::request::text_at;
use crate::venue_sim::text::{put, put_changes, put_decimal, put_field, put_list, put_pair};
use std::time::Duration;

/// [`Topic::variant`] of the stream of whole books.
const FULL: u8 = 1;

/// Levels a side in a whole book of the stream.
const FULL_LEVELS: u16 = 100;

/// The dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitstamp;

/// What a channel's name says; `None` for an unknown one.
fn topic(name: &str, listings: &[Listing]) -> Option<Topic> {
    let kinds = [
        ("diff_order_book_", Channel::Book, 0, 0),
        ("order_book_", Channel::Book, FULL_LEVELS, FULL),
        ("live_trades_", Channel::Trade, 0, 0),
    ];
    kinds.into_iter().find_map(|(prefix, channel, depth, variant)| {
        let pair = name.strip_prefix(prefix)?;
        let instrument = listings.iter().position(|listing| listing.symbol == pair)? as u16;
        Some(Topic { instrument, channel, depth, variant })
    })
}

/// `"timestamp":"…","microtimestamp":"…"`.
fn put_times(out: &mut Vec<u8>, venue_ns: i64) {
    put_field(out, "\"timestamp\":\"", venue_ns / 1_000_000_000);
    put_field(out, "\",\"microtimestamp\":\"", venue_ns / 1_000);
    put(out, "\"");
}

/// What follows the data: the channel, then the event.
fn tail(out: &mut Vec<u8>, prefix: &str, listing: &Listing, event: &str) {
    put(out, "},\"channel\":\"");
    put(out, prefix);
    put(out, &listing.symbol);
    put(out, "\",\"event\":\"");
    put(out, event);
    put(out, "\"}");
}

/// Both sides of a book.
fn put_sides(out: &mut Vec<u8>, mut side: impl FnMut(&mut Vec<u8>, Side)) {
    put(out, ",\"bids\":[");
    side(out, Side::Bid);
    put(out, "],\"asks\":[");
    side(out, Side::Ask);
    put(out, "]");
}

impl Dialect for Bitstamp {
    fn facts(&self) -> Facts {
        Facts {
            venue: Venue::Bitstamp,
            ws_path: "/",
            snapshot: SnapshotSource::Rest,
            depth_limit: 0,
            leaving_level: LeavingLevel::IsDeleted,
            has_checksum: false,
            detects_loss: false,
            ping: ServerPing::None,
            client_silence_limit: Some(Duration::from_mins(5)),
            heartbeat: Heartbeat::None,
            restart: Restart::Disconnect,
            client_messages_per_s: 50,
        }
    }

    fn open(
        &self,
        path: &str,
        _query: &str,
        _listings: &[Listing],
        _session: &mut Session,
        _effects: &mut Vec<Effect>,
    ) -> bool {
        path == self.facts().ws_path
    }

    fn handle(
        &self,
        text: &str,
        listings: &[Listing],
        _session: &mut Session,
        effects: &mut Vec<Effect>,
    ) {
        let name = text_at(text, &["data", "channel"]).unwrap_or_default();
        let confirm = |word: &str| {
            Effect::Reply(format!(r#"{{"event":"bts:{word}","channel":"{name}","data":{{}}}}"#))
        };
        match (text_at(text, &["event"]), topic(name, listings)) {
            (Some("bts:heartbeat"), _) => effects.push(Effect::Reply(
                r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#.into(),
            )),
            (Some("bts:subscribe"), Some(topic)) => {
                effects.push(confirm("subscription_succeeded"));
                effects.push(Effect::Subscribe(topic));
            }
            (Some("bts:unsubscribe"), Some(topic)) => {
                effects.push(confirm("unsubscription_succeeded"));
                effects.push(Effect::Unsubscribe(topic));
            }
            _ => {
                effects.push(Effect::BadRequest);
                effects.push(Effect::Reply(
                    r#"{"event":"bts:error","channel":"","data":{"code":null,"message":"Bad subscription string."}}"#
                        .into(),
                ));
            }
        }
    }

    /// Whole books come from REST, and those of [`FULL`] with the next update.
    fn write_snapshot(&self, _session: &mut Session, _frame: &BookFrame<'_>, _out: &mut Vec<u8>) {}

    fn write_update(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        put(out, "{\"data\":{");
        put_times(out, frame.venue_ns);
        let is_full = frame.topic.variant == FULL;
        put_sides(out, |out, side| {
            if is_full {
                put_list(out, frame.levels(side), |out, level| {
                    put_pair(out, frame.listing, *level);
                });
            } else {
                put_changes(out, frame.listing, frame.changes, side);
            }
        });
        tail(out, if is_full { "order_book_" } else { "diff_order_book_" }, frame.listing, "data");
    }

    /// There is no stream of the best levels alone.
    fn write_top(&self, _session: &mut Session, _frame: &TopFrame<'_>, _out: &mut Vec<u8>) {}

    fn write_trade(&self, _session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>) {
        let (listing, trade) = (frame.listing, frame.trade);
        put_field(out, "{\"data\":{\"id\":", trade.id);
        put(out, ",");
        put_times(out, frame.venue_ns);
        let numbers = [
            ("amount", trade.qty, listing.qty_decimals),
            ("price", trade.price, listing.price_decimals),
        ];
        for (key, mantissa, decimals) in numbers {
            put(out, format!(",\"{key}\":{}", Fixed { mantissa, decimals }));
            put(out, format!(",\"{key}_str\":\""));
            put_decimal(out, mantissa, decimals);
            put(out, "\"");
        }
        put(out, if trade.aggressor == Side::Bid { ",\"type\":0" } else { ",\"type\":1" });
        tail(out, "live_trades_", listing, "trade");
    }

    fn write_notice(&self, _session: &mut Session, notice: Notice, out: &mut Vec<u8>) {
        if matches!(notice, Notice::Reconnect | Notice::ServiceUpgrade) {
            put(out, r#"{"event":"bts:request_reconnect","channel":"","data":""}"#);
        }
    }

    fn rest(&self, path: &str, _query: &str, market: &dyn RestView) -> Option<RestAnswer> {
        let pair = path.strip_prefix("/api/v2/order_book/")?;
        let pair = pair.strip_suffix('/').unwrap_or(pair);
        let Some(instrument) = market.listings().iter().position(|l| l.symbol == pair) else {
            let body = br#"{"status":"error","reason":"Not found","code":"404.001"}"#.to_vec();
            return Some(RestAnswer { status: 404, headers: Vec::new(), body });
        };
        let listing = &market.listings()[instrument];
        let (book, _, venue_ns) = market.book(instrument);
        let mut body = b"{".to_vec();
        put_times(&mut body, venue_ns);
        put_sides(&mut body, |out, side| {
            put_list(out, book.levels(side), |out, level| put_pair(out, listing, *level));
        });
        put(&mut body, "}");
        Some(RestAnswer { status: 200, headers: Vec::new(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Protocol as _, StreamOptions, TopicName, Verb};
    use crate::venue_sim::dialects::test_client::follow;

    #[test]
    fn a_client_of_the_protocol_rebuilds_the_model_book_from_these_frames() {
        let told = follow(&Bitstamp, &crate::bitstamp::BITSTAMP, 400);
        assert!(told.updates > 100 && told.tops > 50 && told.trades > 20, "{told:?}");
    }

    #[test]
    fn the_requests_of_the_protocol_are_understood_and_nonsense_is_refused() {
        use crate::topic::Channel as Wanted;
        let listings = [Listing::like_btc("a"), Listing::like_btc("b")];
        let topics = [Wanted::Depth, Wanted::BookTicker, Wanted::Trade]
            .map(|channel| TopicName { symbol: "b", channel });
        let options = StreamOptions {
            levels: 10,
            depth_interval_ms: 100,
            snapshot: crate::protocol::SnapshotSource::Rest,
        };
        let handle = |text: &str| {
            let mut effects = Vec::new();
            Bitstamp.handle(text, &listings, &mut Session::new(1), &mut effects);
            effects
        };
        let started: Vec<Effect> = crate::bitstamp::BITSTAMP
            .requests(Verb::Subscribe, &topics, options, 1)
            .iter()
            .flat_map(|request| handle(&request.text))
            .filter(|effect| !matches!(effect, Effect::Reply(_)))
            .collect();
        let topic = |channel, depth, variant| {
            Effect::Subscribe(Topic { instrument: 1, channel, depth, variant })
        };
        let expected = [
            topic(Channel::Book, 0, 0),
            topic(Channel::Book, 100, FULL),
            topic(Channel::Trade, 0, 0),
        ];
        assert_eq!(started, expected);
        let heartbeat = crate::bitstamp::BITSTAMP.facts().keepalive.unwrap().text;
        assert!(matches!(&handle(heartbeat)[..], [Effect::Reply(_)]));
        for nonsense in ["ping", r#"{"event":"bts:subscribe","data":{"channel":"order_book_c"}}"#] {
            assert!(handle(nonsense).contains(&Effect::BadRequest), "{nonsense}");
        }
    }
}
