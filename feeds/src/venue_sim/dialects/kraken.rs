//! Kraken spot, WebSocket v2: `book`, `ticker`, `trade`, an acknowledgement for each instrument.
//!
//! Numbers are JSON numbers with all their decimals. Books have no numbers but a checksum, which is made
//! here from the texts of the true book as the documentation says it ("Book checksum (WebSocket v2)").

use crate::Side;
use crate::Venue;
use crate::book::Level;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Dialect, Effect, Facts, Heartbeat, HeartbeatFrame, LeavingLevel, Notice,
    Restart, ServerPing, Session, SnapshotSource, TopFrame, Topic, TradeFrame,
};
use crate::venue_sim::model::Listing;
use crate::venue_sim::request::{member, text_at, texts_at};
use crate::venue_sim::text::{put, put_decimal, put_field, put_list, put_rfc3339};
use std::time::Duration;

/// Depths that are served; the first is the default.
const DEPTHS: [u16; 5] = [10, 25, 100, 500, 1000];

/// Levels a side that a checksum covers.
const SUMMED_LEVELS: usize = 10;

/// What answers say about when a request came and left: nothing here reads a clock.
const NO_TIME: &str = "2026-01-01T00:00:00.000000Z";

/// Kraken spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kraken;

/// `{"channel":"status",…}`.
fn status(system: &str, connection: u64) -> String {
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":{connection}}}]}}"#
    )
}

/// A refused request.
fn refused(method: &str, id: &str, message: &str) -> String {
    format!(
        r#"{{"error":"{message}","method":"{method}"{id},"success":false,"time_in":"{NO_TIME}","time_out":"{NO_TIME}"}}"#
    )
}

/// The head of a data frame, up to the first field of its only element after the symbol.
fn head(out: &mut Vec<u8>, channel: &str, is_snapshot: bool, symbol: &str) {
    put(out, "{\"channel\":\"");
    put(out, channel);
    put(out, if is_snapshot { "\",\"type\":\"snapshot\"" } else { "\",\"type\":\"update\"" });
    put(out, ",\"data\":[{\"symbol\":\"");
    put(out, symbol);
    put(out, "\"");
}

/// `key` as it stands, then a number with its decimals.
fn put_number(out: &mut Vec<u8>, key: &str, mantissa: i64, decimals: u8) {
    put(out, key);
    put_decimal(out, mantissa, decimals);
}

fn put_level(out: &mut Vec<u8>, listing: &Listing, level: Level) {
    put_number(out, "{\"price\":", level.price, listing.price_decimals);
    put_number(out, ",\"qty\":", level.qty, listing.qty_decimals);
    put(out, "}");
}

/// The time, and the end of the frame.
fn tail(out: &mut Vec<u8>, venue_ns: i64) {
    put(out, ",\"timestamp\":\"");
    put_rfc3339(out, venue_ns, 6);
    put(out, "\"}]}");
}

/// The checksum of the true book: offers, then bids, best first, price then quantity, without points
/// and leading zeros. The texts stand at the end of `out` for a moment.
fn checksum(out: &mut Vec<u8>, frame: &BookFrame<'_>) -> u32 {
    let start = out.len();
    for side in [Side::Ask, Side::Bid] {
        for level in frame.levels(side).iter().take(SUMMED_LEVELS) {
            let (price_decimals, qty_decimals) =
                (frame.listing.price_decimals, frame.listing.qty_decimals);
            for (mantissa, decimals) in [(level.price, price_decimals), (level.qty, qty_decimals)] {
                let number = out.len();
                put_decimal(out, mantissa, decimals);
                let mut is_leading = true;
                let mut end = number;
                for at in number..out.len() {
                    is_leading &= matches!(out[at], b'0' | b'.');
                    if !is_leading && out[at] != b'.' {
                        out[end] = out[at];
                        end += 1;
                    }
                }
                out.truncate(end);
            }
        }
    }
    let sum = crc32fast::hash(&out[start..]);
    out.truncate(start);
    sum
}

/// A book frame; the lists are written by `side`.
fn book(
    out: &mut Vec<u8>,
    frame: &BookFrame<'_>,
    is_snapshot: bool,
    mut side: impl FnMut(&mut Vec<u8>, Side),
) {
    let sum = frame.checksum.of(checksum(out, frame));
    head(out, "book", is_snapshot, &frame.listing.symbol);
    put(out, ",\"bids\":[");
    side(out, Side::Bid);
    put(out, "],\"asks\":[");
    side(out, Side::Ask);
    put_field(out, "],\"checksum\":", sum);
    tail(out, frame.venue_ns);
}

/// A subscription or the end of one, as it was asked for.
struct Wanted<'a> {
    method: &'a str,
    name: &'a str,
    channel: Channel,
    depth: u16,
    /// `,"req_id":7`, or nothing.
    id: &'a str,
}

impl Wanted<'_> {
    fn carry_out(&self, symbol: &str, listings: &[Listing], effects: &mut Vec<Effect>) {
        let Self { method, name, channel, depth, id } = *self;
        let Some(instrument) = listings.iter().position(|listing| listing.symbol == symbol) else {
            effects.push(Effect::BadRequest);
            let message = format!("Currency pair not supported {symbol}");
            effects.push(Effect::Reply(refused(method, id, &message)));
            return;
        };
        let depth_text = if depth > 0 { format!(r#""depth":{depth},"#) } else { String::new() };
        effects.push(Effect::Reply(format!(
            r#"{{"method":"{method}"{id},"result":{{"channel":"{name}",{depth_text}"snapshot":true,"symbol":"{symbol}"}},"success":true,"time_in":"{NO_TIME}","time_out":"{NO_TIME}"}}"#
        )));
        let topic = Topic { instrument: instrument as u16, channel, depth, variant: 0 };
        effects.push(if method == "subscribe" {
            Effect::Subscribe(topic)
        } else {
            Effect::Unsubscribe(topic)
        });
    }
}

impl Dialect for Kraken {
    fn facts(&self) -> Facts {
        Facts {
            venue: Venue::Kraken,
            ws_path: "/v2",
            snapshot: SnapshotSource::Stream,
            depth_limit: DEPTHS[DEPTHS.len() - 1],
            leaving_level: LeavingLevel::IsSilent,
            has_checksum: true,
            detects_loss: true,
            ping: ServerPing::None,
            client_silence_limit: None,
            heartbeat: Heartbeat::WhenQuiet(Duration::from_secs(1)),
            restart: Restart::Disconnect,
            // A limit exists, its number is not documented.
            client_messages_per_s: 10,
        }
    }

    fn open(
        &self,
        path: &str,
        _query: &str,
        _listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) -> bool {
        effects.push(Effect::Reply(status("online", session.id)));
        path == "/v2"
    }

    fn handle(
        &self,
        text: &str,
        listings: &[Listing],
        _session: &mut Session,
        effects: &mut Vec<Effect>,
    ) {
        let id = member(text, &["req_id"]).filter(|id| id.bytes().all(|b| b.is_ascii_digit()));
        let id = id.map_or(String::new(), |id| format!(r#","req_id":{id}"#));
        let method = text_at(text, &["method"]).unwrap_or_default();
        if method == "ping" {
            effects.push(Effect::Reply(format!(
                r#"{{"method":"pong"{id},"time_in":"{NO_TIME}","time_out":"{NO_TIME}"}}"#
            )));
            return;
        }
        let name = text_at(text, &["params", "channel"]).unwrap_or_default();
        let channel = match name {
            "book" => Some(Channel::Book),
            "ticker" => Some(Channel::Top),
            "trade" => Some(Channel::Trade),
            _ => None,
        };
        let depth = match (channel, member(text, &["params", "depth"])) {
            (Some(Channel::Book), None) => Some(DEPTHS[0]),
            (Some(Channel::Book), Some(raw)) => {
                raw.parse().ok().filter(|depth| DEPTHS.contains(depth))
            }
            _ => Some(0),
        };
        let symbols = texts_at(text, &["params", "symbol"]);
        let message = match (method, channel, depth, &symbols) {
            ("subscribe" | "unsubscribe", Some(channel), Some(depth), Some(symbols)) => {
                let wanted = Wanted { method, name, channel, depth, id: &id };
                for symbol in symbols {
                    wanted.carry_out(symbol, listings, effects);
                }
                return;
            }
            ("subscribe" | "unsubscribe", None, ..) => "Invalid channel",
            ("subscribe" | "unsubscribe", _, None, _) => "Subscription depth not supported",
            _ => "Malformed request",
        };
        effects.push(Effect::BadRequest);
        effects.push(Effect::Reply(refused(method, &id, message)));
    }

    fn write_snapshot(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(out, frame, true, |out, side| {
            put_list(out, frame.levels(side), |out, level| put_level(out, frame.listing, *level));
        });
    }

    fn write_update(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(out, frame, false, |out, side| {
            let start = out.len();
            for change in frame.changes.iter().filter(|change| change.side == side) {
                if out.len() > start {
                    out.push(b',');
                }
                let level = Level { price: change.price, qty: change.qty };
                put_level(out, frame.listing, level);
            }
        });
    }

    fn write_top(&self, _session: &mut Session, frame: &TopFrame<'_>, out: &mut Vec<u8>) {
        let (Some(bid), Some(ask)) = (frame.top.bid, frame.top.ask) else { return };
        let Listing { price_decimals, qty_decimals, .. } = *frame.listing;
        head(out, "ticker", frame.is_first, &frame.listing.symbol);
        put_number(out, ",\"bid\":", bid.price, price_decimals);
        put_number(out, ",\"bid_qty\":", bid.qty, qty_decimals);
        put_number(out, ",\"ask\":", ask.price, price_decimals);
        put_number(out, ",\"ask_qty\":", ask.qty, qty_decimals);
        put(out, ",\"last\":0.0,\"volume\":0.0,\"vwap\":0.0,\"change_pct\":0.0");
        tail(out, frame.venue_ns);
    }

    fn write_trade(&self, _session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>) {
        head(out, "trade", false, &frame.listing.symbol);
        let is_buy = frame.trade.aggressor == Side::Bid;
        put(out, if is_buy { ",\"side\":\"buy\"" } else { ",\"side\":\"sell\"" });
        put_number(out, ",\"price\":", frame.trade.price, frame.listing.price_decimals);
        put_number(out, ",\"qty\":", frame.trade.qty, frame.listing.qty_decimals);
        put_field(out, ",\"ord_type\":\"market\",\"trade_id\":", frame.trade.id);
        tail(out, frame.venue_ns);
    }

    fn write_heartbeat(
        &self,
        _session: &mut Session,
        frame: &HeartbeatFrame<'_>,
        out: &mut Vec<u8>,
    ) {
        if frame.topic.is_none() {
            put(out, "{\"channel\":\"heartbeat\"}");
        }
    }

    fn write_notice(&self, session: &mut Session, notice: Notice, out: &mut Vec<u8>) {
        if notice == Notice::ServiceUpgrade {
            put(out, status("maintenance", session.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::{Protocol, SnapshotSource as Source, StreamOptions, TopicName, Verb};
    use crate::session::{Session as Client, SessionSpec};
    use crate::venue_sim::dialect::Checksum;
    use crate::venue_sim::model::{Model, ModelConfig};
    use crate::venue_sim::view::DepthView;
    use crate::{Book, DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable};

    fn model() -> Model {
        let listing = Listing { qty_decimals: 8, ..Listing::like_btc("BTC/USD") };
        Model::new(ModelConfig { listings: vec![listing], ..ModelConfig::default() }).unwrap()
    }

    #[test]
    fn the_adapters_requests_lead_to_its_topics() {
        let model = model();
        let names = [crate::topic::Channel::Depth, crate::topic::Channel::BookTicker]
            .map(|channel| TopicName { symbol: "BTC/USD", channel });
        let options = StreamOptions { levels: 20, depth_interval_ms: 0, snapshot: Source::Stream };
        let topic = |channel, depth| Topic { instrument: 0, channel, depth, variant: 0 };
        for (verb, wrap) in [
            (Verb::Subscribe, Effect::Subscribe as fn(Topic) -> Effect),
            (Verb::Unsubscribe, Effect::Unsubscribe),
        ] {
            let mut effects = Vec::new();
            for request in crate::kraken::SPOT.requests(verb, &names, options, 1) {
                let mut session = Session::new(0);
                Kraken.handle(&request.text, model.listings(), &mut session, &mut effects);
            }
            effects.retain(|effect| !matches!(effect, Effect::Reply(_)));
            let expected = [topic(Channel::Book, 25), topic(Channel::Top, 0)].map(wrap);
            assert_eq!(effects, expected);
        }
    }

    #[test]
    fn what_is_not_served_is_refused_with_the_venues_words() {
        let model = model();
        let table = [
            (
                r#"{"method":"subscribe","params":{"channel":"book","symbol":["A/B"]}}"#,
                "Currency pair not supported A/B",
            ),
            (
                r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":11}}"#,
                "Subscription depth not supported",
            ),
            (
                r#"{"method":"subscribe","params":{"channel":"level4","symbol":["BTC/USD"]}}"#,
                "Invalid channel",
            ),
            (r#"{"method":"subscribe","params":{"channel":"book"}}"#, "Malformed request"),
            ("garbage", "Malformed request"),
        ];
        for (text, message) in table {
            let mut effects = Vec::new();
            Kraken.handle(text, model.listings(), &mut Session::new(0), &mut effects);
            let [Effect::BadRequest, Effect::Reply(reply)] = &effects[..] else {
                panic!("{effects:?}");
            };
            assert!(reply.contains(message) && reply.contains("\"success\":false"), "{reply}");
        }
    }

    #[test]
    fn every_checksum_is_that_of_the_client_and_a_wrong_one_is_noticed() {
        for depth in [10, 25] {
            let mut model = model();
            let item = Instrument {
                venue: Venue::Kraken,
                symbol: "BTC/USD".into(),
                price_decimals: 2,
                qty_decimals: 8,
            };
            let table = Arc::new(InstrumentTable::new(vec![item]).unwrap());
            let mut spec = SessionSpec::new(0, Venue::Kraken, vec![InstrumentId(0)]);
            spec.snapshot_limit = usize::from(depth);
            let mut client = Client::new(spec, table).unwrap();
            let mut events = client.outbox();
            client.on_connected(0, &mut events);
            let topic = Topic { instrument: 0, channel: Channel::Book, depth, variant: 0 };
            let mut view = DepthView::new(depth, model.book(0));
            let mut book = Book::with_depth(100);
            let mut session = Session::new(0);
            let mut out = Vec::new();
            for step in 0..2_000 {
                if step > 0 {
                    model.step();
                }
                let changes = view.advance(model.book(0), LeavingLevel::IsSilent).to_vec();
                let frame = BookFrame {
                    listing: &model.listings()[0],
                    topic,
                    book: model.book(0),
                    changes: &changes,
                    ids: model.ids(0),
                    venue_ns: model.updated_ns(0),
                    checksum: Checksum::True,
                    is_restart: false,
                };
                out.clear();
                if step == 0 {
                    Kraken.write_snapshot(&mut session, &frame, &mut out);
                } else {
                    Kraken.write_update(&mut session, &frame, &mut out);
                }
                client.on_frame(step, &out, &mut events);
                for event in events.events.drain(..) {
                    match event.body {
                        EventBody::BookBegin => book.clear(),
                        EventBody::Level { side, price, qty } => {
                            book.set(side, price, qty);
                        }
                        EventBody::BookCommit { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
                for side in [Side::Bid, Side::Ask] {
                    let held: Vec<Level> = book.levels(side).collect();
                    assert_eq!(held, model.book(0).top_levels(side, depth), "step {step}");
                }
            }
            assert_eq!(
                (client.counters().checksums, client.counters().levels_cut > 0),
                (2_000, true)
            );
            let frame = BookFrame {
                listing: &model.listings()[0],
                topic,
                book: model.book(0),
                changes: &[],
                ids: model.ids(0),
                venue_ns: model.updated_ns(0),
                checksum: Checksum::Wrong,
                is_restart: false,
            };
            out.clear();
            Kraken.write_update(&mut session, &frame, &mut out);
            client.on_frame(2_000, &out, &mut events);
            let reason = DesyncReason::ChecksumMismatch;
            assert_eq!(events.events[0].body, EventBody::Desync { reason });
        }
    }
}
