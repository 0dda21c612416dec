//! Coinbase Advanced Trade: `l2_data`, `market_trades`, `ticker` and `heartbeats`.
//!
//! Every message of a connection takes the next `sequence_num`, acknowledgements and heartbeats too. A
//! request is about one channel. An acknowledgement names what the request named, not (as the venue
//! does) all that is subscribed, and precedes the data.

use crate::Side;
use crate::Venue;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Dialect, Effect, Facts, Heartbeat, HeartbeatFrame, LeavingLevel, Restart,
    ServerPing, Session, SnapshotSource, TopFrame, Topic, TradeFrame,
};
use crate::venue_sim::model::{LevelChange, Listing};
use crate::venue_sim::request::{member, text_at, texts_at};
use crate::venue_sim::text::{put, put_decimal, put_field, put_int, put_list, put_rfc3339};
use std::time::Duration;

/// How long after an event the venue sends it, ns.
const SENT_AFTER_NS: i64 = 20_000_000;

/// The dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoinbaseAdvanced;

fn channel(name: &str) -> Option<Channel> {
    match name {
        "level2" => Some(Channel::Book),
        "ticker" => Some(Channel::Top),
        "market_trades" => Some(Channel::Trade),
        "heartbeats" => Some(Channel::Heartbeat),
        _ => None,
    }
}

/// A frame around what `events` writes.
fn frame(
    session: &mut Session,
    channel: &str,
    sent_ns: i64,
    out: &mut Vec<u8>,
    events: impl FnOnce(&mut Vec<u8>),
) {
    put(out, "{\"channel\":\"");
    put(out, channel);
    put(out, "\",\"timestamp\":\"");
    put_rfc3339(out, sent_ns, 9);
    put_field(out, "\",\"sequence_num\":", session.next_sequence());
    put(out, ",\"events\":[");
    events(out);
    put(out, "]}");
}

fn kind(is_snapshot: bool) -> &'static str {
    if is_snapshot { "{\"type\":\"snapshot\"" } else { "{\"type\":\"update\"" }
}

fn put_level(out: &mut Vec<u8>, frame: &BookFrame<'_>, change: &LevelChange) {
    let side = if change.side == Side::Bid { "bid" } else { "offer" };
    put(out, "{\"side\":\"");
    put(out, side);
    put(out, "\",\"event_time\":\"");
    put_rfc3339(out, frame.venue_ns, 6);
    put(out, "\",\"price_level\":\"");
    put_decimal(out, change.price, frame.listing.price_decimals);
    put(out, "\",\"new_quantity\":\"");
    put_decimal(out, change.qty, frame.listing.qty_decimals);
    put(out, "\"}");
}

fn book(
    session: &mut Session,
    frame_of: &BookFrame<'_>,
    is_snapshot: bool,
    out: &mut Vec<u8>,
    levels: impl FnOnce(&mut Vec<u8>),
) {
    frame(session, "l2_data", frame_of.venue_ns + SENT_AFTER_NS, out, |out| {
        put(out, kind(is_snapshot));
        put(out, ",\"product_id\":\"");
        put(out, &frame_of.listing.symbol);
        put(out, "\",\"updates\":[");
        levels(out);
        put(out, "]}");
    });
}

/// The topics that a request names.
fn topics(text: &str, listings: &[Listing]) -> Option<Vec<Topic>> {
    let channel = channel(text_at(text, &["channel"])?)?;
    let topic = |instrument| Topic { instrument, channel, depth: 0, variant: 0 };
    if channel == Channel::Heartbeat {
        return Some(vec![topic(0)]);
    }
    let place = |name: &str| listings.iter().position(|listing| listing.symbol == name);
    let names = texts_at(text, &["product_ids"])?;
    names.into_iter().map(|name| place(name).map(|at| topic(at as u16))).collect()
}

impl Dialect for CoinbaseAdvanced {
    fn facts(&self) -> Facts {
        Facts {
            venue: Venue::CoinbaseAdvanced,
            ws_path: "/",
            snapshot: SnapshotSource::Stream,
            depth_limit: 0,
            leaving_level: LeavingLevel::IsDeleted,
            has_checksum: false,
            detects_loss: true,
            ping: ServerPing::None,
            client_silence_limit: None,
            heartbeat: Heartbeat::Topics(Duration::from_secs(1)),
            restart: Restart::Disconnect,
            client_messages_per_s: 8,
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
        path == "/"
    }

    fn handle(
        &self,
        text: &str,
        listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) {
        let verb = text_at(text, &["type"]);
        let (Some(topics), Some(verb @ ("subscribe" | "unsubscribe"))) =
            (topics(text, listings), verb)
        else {
            effects.push(Effect::BadRequest);
            let why = r#"{"type":"error","message":"failed to subscribe"}"#;
            effects.push(Effect::Reply(why.to_owned()));
            return;
        };
        let is_subscription = verb == "subscribe";
        let name = text_at(text, &["channel"]).unwrap_or_default();
        let named = if name == "heartbeats" {
            "[\"heartbeats\"]"
        } else {
            member(text, &["product_ids"]).unwrap_or("[]")
        };
        let mut reply = Vec::new();
        // The time of an acknowledgement is of no use to anybody; the dialect has no clock.
        frame(session, "subscriptions", 0, &mut reply, |out| {
            put(out, "{\"subscriptions\":{");
            if is_subscription {
                put(out, format!("\"{name}\":{named}"));
            }
            put(out, "}}");
        });
        effects.push(Effect::Reply(String::from_utf8_lossy(&reply).into_owned()));
        effects.extend(topics.into_iter().map(|topic| {
            if is_subscription { Effect::Subscribe(topic) } else { Effect::Unsubscribe(topic) }
        }));
    }

    fn write_snapshot(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(session, frame, true, out, |out| {
            let start = out.len();
            for side in [Side::Bid, Side::Ask] {
                for level in frame.levels(side) {
                    if out.len() > start {
                        out.push(b',');
                    }
                    let (price, qty) = (level.price, level.qty);
                    put_level(out, frame, &LevelChange { side, price, qty, qty_before: 0 });
                }
            }
        });
    }

    fn write_update(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(session, frame, false, out, |out| {
            put_list(out, frame.changes, |out, change| put_level(out, frame, change));
        });
    }

    fn write_top(&self, session: &mut Session, top: &TopFrame<'_>, out: &mut Vec<u8>) {
        let (Some(bid), Some(ask)) = (top.top.bid, top.top.ask) else { return };
        let listing = top.listing;
        frame(session, "ticker", top.venue_ns + SENT_AFTER_NS, out, |out| {
            put(out, kind(top.is_first));
            put(out, ",\"tickers\":[{\"type\":\"ticker\",\"product_id\":\"");
            put(out, &listing.symbol);
            for (key, mantissa, decimals) in [
                ("best_bid", bid.price, listing.price_decimals),
                ("best_ask", ask.price, listing.price_decimals),
                ("best_bid_quantity", bid.qty, listing.qty_decimals),
                ("best_ask_quantity", ask.qty, listing.qty_decimals),
            ] {
                put(out, "\",\"");
                put(out, key);
                put(out, "\":\"");
                put_decimal(out, mantissa, decimals);
            }
            put(out, "\"}]}");
        });
    }

    fn write_trade(&self, session: &mut Session, of: &TradeFrame<'_>, out: &mut Vec<u8>) {
        let (listing, trade) = (of.listing, of.trade);
        frame(session, "market_trades", of.venue_ns + SENT_AFTER_NS, out, |out| {
            put(out, kind(false));
            put(out, ",\"trades\":[{\"product_id\":\"");
            put(out, &listing.symbol);
            put(out, "\",\"trade_id\":\"");
            put_int(out, trade.id);
            put(out, "\",\"price\":\"");
            put_decimal(out, trade.price, listing.price_decimals);
            put(out, "\",\"size\":\"");
            put_decimal(out, trade.qty, listing.qty_decimals);
            put(out, "\",\"time\":\"");
            put_rfc3339(out, of.venue_ns, 6);
            // The side is the maker's.
            put(
                out,
                if trade.aggressor == Side::Bid {
                    "\",\"side\":\"SELL"
                } else {
                    "\",\"side\":\"BUY"
                },
            );
            put(out, "\"}]}");
        });
    }

    fn write_heartbeat(&self, session: &mut Session, of: &HeartbeatFrame<'_>, out: &mut Vec<u8>) {
        frame(session, "heartbeats", of.venue_ns, out, |out| {
            put(out, "{\"current_time\":\"");
            put_rfc3339(out, of.venue_ns, 9);
            put_field(out, "\",\"heartbeat_counter\":", of.venue_ns / 1_000_000_000);
            put(out, "}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue_sim::{Model, ModelConfig};

    fn listings() -> Vec<Listing> {
        vec![Listing::like_btc("BTC-USD"), Listing::like_btc("ETH-USD")]
    }

    #[test]
    fn a_request_is_acknowledged_and_takes_a_number() {
        let (mut session, mut effects) = (Session::new(1), Vec::new());
        let text = r#"{"type":"subscribe","product_ids":["ETH-USD"],"channel":"level2"}"#;
        CoinbaseAdvanced.handle(text, &listings(), &mut session, &mut effects);
        let ack = r#"{"channel":"subscriptions","timestamp":"1970-01-01T00:00:00.000000000Z","sequence_num":0,"events":[{"subscriptions":{"level2":["ETH-USD"]}}]}"#;
        let topic = Topic { instrument: 1, channel: Channel::Book, depth: 0, variant: 0 };
        assert_eq!(effects, [Effect::Reply(ack.into()), Effect::Subscribe(topic)]);
        assert_eq!(session.next_sequence(), 1);
        effects.clear();
        for bad in [
            "{}",
            r#"{"type":"subscribe","channel":"level3","product_ids":["ETH-USD"]}"#,
            r#"{"type":"subscribe","channel":"level2","product_ids":["NONE"]}"#,
        ] {
            CoinbaseAdvanced.handle(bad, &listings(), &mut session, &mut effects);
            assert_eq!(effects[0], Effect::BadRequest, "{bad}");
            effects.clear();
        }
        assert_eq!(session.next_sequence(), 2, "a refusal takes no number");
    }

    #[test]
    fn what_is_written_is_what_the_decoder_reads() {
        use crate::protocol::Message;
        let mut model =
            Model::new(ModelConfig { listings: listings(), ..ModelConfig::default() }).unwrap();
        let update = model.step_instrument(0).clone();
        let listing = &model.listings()[0];
        let topic = Topic { instrument: 0, channel: Channel::Book, depth: 0, variant: 0 };
        let frame = BookFrame {
            listing,
            topic,
            book: model.book(0),
            changes: &update.changes,
            ids: update.ids,
            venue_ns: update.venue_ns,
            checksum: crate::venue_sim::Checksum::True,
            is_restart: false,
        };
        let mut session = Session::new(1);
        let (mut snapshot, mut change) = (Vec::new(), Vec::new());
        CoinbaseAdvanced.write_snapshot(&mut session, &frame, &mut snapshot);
        CoinbaseAdvanced.write_update(&mut session, &frame, &mut change);
        let held: usize = [Side::Bid, Side::Ask].map(|side| frame.levels(side).len()).iter().sum();
        for (number, text, levels) in [(0, snapshot, held), (1, change, update.changes.len())] {
            let mut seen = Vec::new();
            let read = crate::coinbase::advanced::decode::decode(&text, &mut |message| {
                seen.push(match message {
                    Message::ConnectionSequence(number) => (number, 0),
                    Message::Book(book) => {
                        assert_eq!(book.ts_venue_ns, update.venue_ns);
                        (book.ids.last, book.levels[0].clone().map(Result::unwrap).count())
                    }
                    other => panic!("{other:?}"),
                });
            });
            assert_eq!(read, Ok(()));
            assert_eq!(seen, [(number, 0), (number, levels)]);
        }
    }
}
