//! Deribit: JSON-RPC subscriptions, `book.X.100ms` as snapshot and chained changes, trades, quotes.
//!
//! Change ids are [`Ids::link`](crate::venue_sim::Ids). Numbers are JSON numbers as the venue prints
//! them, without trailing zeros but with one decimal at least. A subscription is answered with the channels
//! it is for, before any data; unknown ones are left out of the answer, and `raw` is refused, as the venue
//! does to clients that do not authenticate. Heartbeats come once asked for, and each wants an answer.

use crate::Side;
use crate::Venue;
use crate::book::Level;
use crate::fixed::Fixed;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Dialect, Effect, Facts, Heartbeat, HeartbeatFrame, LeavingLevel, Restart,
    ServerPing, Session, SnapshotSource, TopFrame, Topic, TradeFrame,
};
use crate::venue_sim::model::{LevelChange, Listing};
use crate::venue_sim::request::{member, text_at, texts_at};
use crate::venue_sim::text::{put, put_field, put_list};
use std::fmt::Write as _;
use std::time::Duration;

/// Intervals of book and trade channels, by [`Topic::variant`].
const INTERVALS: [&str; 2] = ["100ms", "agg2"];

/// Shortest interval of heartbeats that may be asked for, s.
const LEAST_HEARTBEAT_S: u64 = 10;

/// The dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deribit;

/// What a channel's name says; `None` for an unknown one.
fn topic(name: &str, listings: &[Listing]) -> Option<Topic> {
    let (kind, rest) = name.split_once('.')?;
    let (symbol, channel, variant) = match kind {
        "quote" => (rest, Channel::Top, 0),
        "book" | "trades" => {
            let (symbol, interval) = rest.split_once('.')?;
            let variant = INTERVALS.iter().position(|known| *known == interval)?;
            let channel = if kind == "book" { Channel::Book } else { Channel::Trade };
            (symbol, channel, variant as u8)
        }
        _ => return None,
    };
    let instrument = listings.iter().position(|listing| listing.symbol == symbol)? as u16;
    Some(Topic { instrument, channel, depth: 0, variant })
}

/// A notification up to its data.
fn head(out: &mut Vec<u8>, kind: &str, listing: &Listing, interval: Option<u8>) {
    put(out, r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":""#);
    put(out, kind);
    put(out, &listing.symbol);
    if let Some(variant) = interval {
        put(out, ".");
        put(out, INTERVALS[usize::from(variant).min(INTERVALS.len() - 1)]);
    }
    put(out, r#"","data":"#);
}

/// A JSON number: `105.0`, `0.0005`.
fn put_number(out: &mut Vec<u8>, mantissa: i64, decimals: u8) {
    let start = out.len();
    put(out, Fixed { mantissa, decimals }.to_string());
    if decimals == 0 {
        return put(out, ".0");
    }
    while out.ends_with(b"0") && out[out.len() - 2] != b'.' && out.len() > start {
        out.pop();
    }
}

/// `["new",price,amount]`.
fn put_level(out: &mut Vec<u8>, listing: &Listing, action: &str, level: Level) {
    put(out, "[\"");
    put(out, action);
    put(out, "\",");
    put_number(out, level.price, listing.price_decimals);
    put(out, ",");
    put_number(out, level.qty, listing.qty_decimals);
    put(out, "]");
}

fn put_change(out: &mut Vec<u8>, listing: &Listing, change: &LevelChange) {
    let action = match (change.qty_before, change.qty) {
        (_, 0) => "delete",
        (0, _) => "new",
        _ => "change",
    };
    let level = Level { price: change.price, qty: change.qty };
    put_level(out, listing, action, level);
}

/// A book notification; the lists are written by `side`.
fn book(out: &mut Vec<u8>, frame: &BookFrame<'_>, kind: &str, side: impl Fn(&mut Vec<u8>, Side)) {
    head(out, "book.", frame.listing, Some(frame.topic.variant));
    put(out, "{\"type\":\"");
    put(out, kind);
    put_field(out, "\",\"timestamp\":", frame.venue_ns / 1_000_000);
    if kind == "change" {
        put_field(out, ",\"prev_change_id\":", frame.ids.prev_link);
    }
    put(out, ",\"instrument_name\":\"");
    put(out, &frame.listing.symbol);
    put_field(out, "\",\"change_id\":", frame.ids.link);
    put(out, ",\"bids\":[");
    side(out, Side::Bid);
    put(out, "],\"asks\":[");
    side(out, Side::Ask);
    put(out, "]}}}");
}

/// An error as JSON-RPC words it.
fn refuse(effects: &mut Vec<Effect>, id: &str, code: i32, message: &str) {
    effects.push(Effect::BadRequest);
    effects.push(Effect::Reply(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#
    )));
}

fn reply(effects: &mut Vec<Effect>, id: &str, result: &str) {
    effects.push(Effect::Reply(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)));
}

/// Subscribes or unsubscribes, and answers with the channels that are known.
fn subscribe(
    names: &[&str],
    is_start: bool,
    id: &str,
    listings: &[Listing],
    effects: &mut Vec<Effect>,
) {
    if is_start && names.iter().any(|name| name.rsplit('.').next() == Some("raw")) {
        return refuse(effects, id, 13778, "raw_subscriptions_not_available_for_unauthorized");
    }
    let known: Vec<(&str, Topic)> =
        names.iter().filter_map(|name| Some((*name, topic(name, listings)?))).collect();
    let mut list = String::from("[");
    for (at, (name, _)) in known.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(list, r#"{comma}"{name}""#);
    }
    list.push(']');
    reply(effects, id, &list);
    effects.extend((known.len()..names.len()).map(|_| Effect::BadRequest));
    effects.extend(known.into_iter().map(|(_, topic)| {
        if is_start { Effect::Subscribe(topic) } else { Effect::Unsubscribe(topic) }
    }));
}

impl Dialect for Deribit {
    fn facts(&self) -> Facts {
        Facts {
            venue: Venue::Deribit,
            ws_path: "/ws/api/v2",
            snapshot: SnapshotSource::Stream,
            depth_limit: 0,
            leaving_level: LeavingLevel::IsDeleted,
            has_checksum: false,
            detects_loss: true,
            ping: ServerPing::None,
            client_silence_limit: Some(Duration::from_mins(1)),
            heartbeat: Heartbeat::OnRequest,
            restart: Restart::Disconnect,
            client_messages_per_s: 10,
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
        let id = member(text, &["id"]).filter(|id| id.bytes().all(|b| b.is_ascii_digit()));
        let (Some(id), Some(method)) = (id, text_at(text, &["method"])) else {
            return refuse(effects, "null", -32600, "Invalid Request");
        };
        match method {
            "public/test" => reply(effects, id, r#"{"version":"1.2.26"}"#),
            "public/set_heartbeat" => {
                let interval =
                    member(text, &["params", "interval"]).and_then(|raw| raw.parse().ok());
                match interval.filter(|interval| *interval >= LEAST_HEARTBEAT_S) {
                    Some(interval) => {
                        reply(effects, id, "\"ok\"");
                        effects.push(Effect::Heartbeat(Duration::from_secs(interval)));
                    }
                    None => refuse(effects, id, -32602, "Invalid params"),
                }
            }
            "public/subscribe" | "public/unsubscribe" => {
                match texts_at(text, &["params", "channels"]).filter(|names| !names.is_empty()) {
                    Some(names) => {
                        let is_start = method == "public/subscribe";
                        subscribe(&names, is_start, id, listings, effects);
                    }
                    None => refuse(effects, id, -32602, "Invalid params"),
                }
            }
            _ => refuse(effects, id, -32601, "Method not found"),
        }
    }

    fn write_snapshot(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(out, frame, "snapshot", |out, side| {
            put_list(out, frame.levels(side), |out, level| {
                put_level(out, frame.listing, "new", *level);
            });
        });
    }

    fn write_update(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(out, frame, "change", |out, side| {
            let mut is_next = false;
            for change in frame.changes.iter().filter(|change| change.side == side) {
                if std::mem::replace(&mut is_next, true) {
                    put(out, ",");
                }
                put_change(out, frame.listing, change);
            }
        });
    }

    fn write_top(&self, _session: &mut Session, frame: &TopFrame<'_>, out: &mut Vec<u8>) {
        let listing = frame.listing;
        head(out, "quote.", listing, None);
        put_field(out, "{\"timestamp\":", frame.venue_ns / 1_000_000);
        put(out, ",\"instrument_name\":\"");
        put(out, &listing.symbol);
        put(out, "\"");
        for (side, level) in [("bid", frame.top.bid), ("ask", frame.top.ask)] {
            let numbers = level.map(|level| {
                [(level.price, listing.price_decimals), (level.qty, listing.qty_decimals)]
            });
            for (i, what) in ["price", "amount"].into_iter().enumerate() {
                put(out, format!(",\"best_{side}_{what}\":"));
                match numbers {
                    Some(numbers) => put_number(out, numbers[i].0, numbers[i].1),
                    None => put(out, "null"),
                }
            }
        }
        put(out, "}}}");
    }

    fn write_trade(&self, _session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>) {
        let (listing, trade) = (frame.listing, frame.trade);
        head(out, "trades.", listing, Some(frame.topic.variant));
        put_field(out, "[{\"trade_seq\":", trade.id);
        put_field(out, ",\"trade_id\":\"", trade.id);
        put_field(out, "\",\"timestamp\":", frame.venue_ns / 1_000_000);
        put(out, ",\"tick_direction\":0,\"price\":");
        put_number(out, trade.price, listing.price_decimals);
        put(out, ",\"instrument_name\":\"");
        put(out, &listing.symbol);
        let buys = trade.aggressor == Side::Bid;
        put(out, if buys { "\",\"direction\":\"buy" } else { "\",\"direction\":\"sell" });
        put(out, "\",\"amount\":");
        put_number(out, trade.qty, listing.qty_decimals);
        put(out, "}]}}");
    }

    /// Every heartbeat wants an answer; the venue sends others in between that do not.
    fn write_heartbeat(
        &self,
        _session: &mut Session,
        _frame: &HeartbeatFrame<'_>,
        out: &mut Vec<u8>,
    ) {
        put(out, r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Protocol as _, SnapshotSource, StreamOptions, TopicName, Verb};
    use crate::venue_sim::dialects::test_client::follow;

    #[test]
    fn numbers_look_as_the_venue_prints_them() {
        let table = [
            (1050, 2, "10.5"),
            (1000, 2, "10.0"),
            (5, 4, "0.0005"),
            (70, 0, "70.0"),
            (0, 1, "0.0"),
        ];
        for (mantissa, decimals, text) in table {
            let mut out = Vec::new();
            put_number(&mut out, mantissa, decimals);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn a_client_of_the_protocol_rebuilds_the_model_book_from_these_frames() {
        let told = follow(&Deribit, &crate::deribit::DERIBIT, 400);
        assert!(told.updates > 100 && told.tops > 50 && told.trades > 20, "{told:?}");
    }

    #[test]
    fn the_requests_of_the_protocol_are_understood_and_nonsense_is_refused() {
        let listings = [Listing::like_btc("A"), Listing::like_btc("B")];
        let topics = [crate::topic::Channel::Depth, crate::topic::Channel::Trade]
            .map(|channel| TopicName { symbol: "B", channel });
        let options =
            StreamOptions { levels: 10, depth_interval_ms: 100, snapshot: SnapshotSource::Stream };
        let handle = |text: &str| {
            let mut effects = Vec::new();
            Deribit.handle(text, &listings, &mut Session::new(1), &mut effects);
            effects
        };
        let requests = crate::deribit::DERIBIT.requests(Verb::Subscribe, &topics, options, 1);
        let ok = Effect::Reply(r#"{"jsonrpc":"2.0","id":0,"result":"ok"}"#.into());
        assert_eq!(handle(&requests[0].text), [ok, Effect::Heartbeat(Duration::from_secs(30))]);
        let list = r#"{"jsonrpc":"2.0","id":1,"result":["book.B.100ms","trades.B.100ms"]}"#;
        let topic = |channel| Topic { instrument: 1, channel, depth: 0, variant: 0 };
        let expected = [
            Effect::Reply(list.into()),
            Effect::Subscribe(topic(Channel::Book)),
            Effect::Subscribe(topic(Channel::Trade)),
        ];
        assert_eq!(handle(&requests[1].text), expected);
        assert!(matches!(&handle(crate::deribit::TEST)[..], [Effect::Reply(_)]));

        let unknown = requests[1].text.replace("trades.B", "trades.C");
        assert_eq!(handle(&unknown).iter().filter(|e| **e == Effect::BadRequest).count(), 1);
        for nonsense in [
            "ping".to_owned(),
            requests[0].text.replace("30", "9"),
            requests[1].text.replace("100ms", "raw"),
            requests[1].text.replace("subscribe", "sing"),
            requests[1].text.replace("channels", "nothing"),
        ] {
            let effects = handle(&nonsense);
            assert!(
                matches!(&effects[..], [Effect::BadRequest, Effect::Reply(text)] if text.contains("error")),
                "{nonsense}"
            );
        }
    }
}
