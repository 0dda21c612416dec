//! Binance spot, USD-M and COIN-M: combined and raw streams, `depthUpdate`, REST depth.
//!
//! Spot numbers its frames with dense ids (`U` = last `u` + 1), the futures with sparse ones that
//! are chained by `pu`. `bookTicker` has no time on spot.

use crate::Side;
use crate::Venue;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Dialect, Effect, Facts, Heartbeat, LeavingLevel, Notice, RestAnswer,
    RestView, Restart, ServerPing, Session, SnapshotSource, TopFrame, Topic, TradeFrame,
};
use crate::venue_sim::model::{Ids, Listing};
use crate::venue_sim::request::{member, parameter, text_at, texts_at};
use crate::venue_sim::text::{put, put_changes, put_decimal, put_field, put_list, put_pair};
use std::time::Duration;

/// Depth limits of the futures' REST snapshot with their request weights.
const FUTURES_LIMITS: [(u16, u16); 7] =
    [(5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1000, 20)];

/// [`Session::mode`] of a connection without the combined-stream envelope.
const RAW: u32 = 1;

/// Names of the depth streams, by [`Topic::variant`].
const DEPTH_STREAMS: [&str; 4] = ["depth", "depth@100ms", "depth@0ms", "depth@500ms"];

/// The dialect of one product family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binance {
    venue: Venue,
}

impl Binance {
    /// Spot.
    pub const SPOT: Self = Self { venue: Venue::BinanceSpot };
    /// USD-margined futures.
    pub const USDM: Self = Self { venue: Venue::BinanceUsdm };
    /// Coin-margined futures.
    pub const COINM: Self = Self { venue: Venue::BinanceCoinm };

    fn is_spot(self) -> bool {
        self.venue == Venue::BinanceSpot
    }

    /// `btcusdt@depth@100ms`, `btcusdt@bookTicker`, `btcusdt@trade`.
    fn topic(name: &str, listings: &[Listing]) -> Option<Topic> {
        let (symbol, stream) = name.split_once('@')?;
        let instrument = listings.iter().position(|listing| {
            symbol.bytes().eq(listing.symbol.bytes().map(|b| b.to_ascii_lowercase()))
        })? as u16;
        let (channel, variant) = match stream {
            "bookTicker" => (Channel::Top, 0),
            "trade" => (Channel::Trade, 0),
            _ => (Channel::Book, DEPTH_STREAMS.iter().position(|name| *name == stream)? as u8),
        };
        Some(Topic { instrument, channel, depth: 0, variant })
    }

    /// The envelope of a combined stream around what `data` writes.
    fn frame(
        session: &Session,
        listing: &Listing,
        stream: &str,
        out: &mut Vec<u8>,
        data: impl FnOnce(&mut Vec<u8>),
    ) {
        if session.mode == RAW {
            return data(out);
        }
        put(out, "{\"stream\":\"");
        out.extend(listing.symbol.bytes().map(|b| b.to_ascii_lowercase()));
        put(out, "@");
        put(out, stream);
        put(out, "\",\"data\":");
        data(out);
        put(out, "}");
    }

    /// `{"e":…,"E":…,["T":…,]"s":…`: what most events begin with.
    fn event(self, out: &mut Vec<u8>, name: &str, listing: &Listing, venue_ns: i64) {
        put(out, "{\"e\":\"");
        put(out, name);
        let ms = venue_ns / 1_000_000;
        put_field(out, "\",\"E\":", ms + 1);
        if !self.is_spot() {
            put_field(out, ",\"T\":", ms);
        }
        put(out, ",\"s\":\"");
        put(out, &listing.symbol);
        put(out, "\"");
    }

    fn depth_path(self) -> &'static str {
        match self.venue {
            Venue::BinanceSpot => "/api/v3/depth",
            Venue::BinanceCoinm => "/dapi/v1/depth",
            _ => "/fapi/v1/depth",
        }
    }

    /// Levels and weight of a snapshot with that limit.
    fn snapshot_cost(self, limit: &str) -> Option<(u16, u16)> {
        let limit = limit.parse().ok()?;
        if self.is_spot() {
            let weight = match limit {
                1..=100 => 5,
                101..=500 => 25,
                501..=1000 => 50,
                1001..=5000 => 250,
                _ => return None,
            };
            return Some((limit, weight));
        }
        FUTURES_LIMITS.into_iter().find(|(levels, _)| *levels == limit)
    }
}

/// An error as the REST API words it.
fn refused(code: i32, message: &str) -> RestAnswer {
    let body = format!(r#"{{"code":{code},"msg":"{message}"}}"#).into_bytes();
    RestAnswer { status: 400, headers: Vec::new(), body }
}

impl Dialect for Binance {
    fn facts(&self) -> Facts {
        let ping = Duration::from_secs(if self.is_spot() { 20 } else { 180 });
        Facts {
            venue: self.venue,
            ws_path: if self.venue == Venue::BinanceUsdm { "/public/stream" } else { "/stream" },
            snapshot: SnapshotSource::Rest,
            depth_limit: if self.is_spot() { 5000 } else { 1000 },
            leaving_level: LeavingLevel::IsDeleted,
            has_checksum: false,
            detects_loss: true,
            ping: ServerPing::Protocol(ping),
            client_silence_limit: Some(Duration::from_secs(if self.is_spot() { 60 } else { 600 })),
            heartbeat: Heartbeat::None,
            restart: Restart::Disconnect,
            client_messages_per_s: if self.is_spot() { 5 } else { 10 },
        }
    }

    fn open(
        &self,
        path: &str,
        query: &str,
        listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let routes: &[&str] =
            if self.venue == Venue::BinanceUsdm { &["/public", "/market"] } else { &[] };
        let door = routes.iter().find_map(|route| path.strip_prefix(route)).unwrap_or(path);
        let names = if door == "/stream" {
            parameter(query, "streams").unwrap_or_default()
        } else if let Some(names) = door.strip_prefix("/ws") {
            session.mode = RAW;
            names
        } else {
            return false;
        };
        for name in names.split('/').filter(|name| !name.is_empty()) {
            effects.push(match Self::topic(name, listings) {
                Some(topic) => Effect::Subscribe(topic),
                None => Effect::BadRequest,
            });
        }
        true
    }

    fn update_number(&self, ids: &Ids) -> u64 {
        if self.is_spot() { ids.last } else { ids.link }
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
            effects.push(Effect::BadRequest);
            effects.push(Effect::Reply(r#"{"error":{"code":3,"msg":"Invalid JSON"}}"#.into()));
            return;
        };
        let names = texts_at(text, &["params"]);
        let (Some(names), "SUBSCRIBE" | "UNSUBSCRIBE") = (names, method) else {
            effects.push(Effect::BadRequest);
            effects.push(Effect::Reply(format!(
                r#"{{"error":{{"code":2,"msg":"Invalid request"}},"id":{id}}}"#
            )));
            return;
        };
        // Unknown streams are acknowledged and never flow, as the venue does it.
        effects.push(Effect::Reply(format!(r#"{{"result":null,"id":{id}}}"#)));
        for name in names {
            effects.push(match Self::topic(name, listings) {
                Some(topic) if method == "SUBSCRIBE" => Effect::Subscribe(topic),
                Some(topic) => Effect::Unsubscribe(topic),
                None => Effect::BadRequest,
            });
        }
    }

    /// Book snapshots come from REST only.
    fn write_snapshot(&self, _session: &mut Session, _frame: &BookFrame<'_>, _out: &mut Vec<u8>) {}

    fn write_update(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        let stream = DEPTH_STREAMS[usize::from(frame.topic.variant).min(DEPTH_STREAMS.len() - 1)];
        Self::frame(session, frame.listing, stream, out, |out| {
            self.event(out, "depthUpdate", frame.listing, frame.venue_ns);
            if self.is_spot() {
                put_field(out, ",\"U\":", frame.ids.first);
                put_field(out, ",\"u\":", frame.ids.last);
            } else {
                let after_last = if frame.ids.link > frame.ids.prev_link {
                    frame.ids.prev_link + 1
                } else {
                    frame.ids.link
                };
                put_field(out, ",\"U\":", after_last);
                put_field(out, ",\"u\":", frame.ids.link);
                put_field(out, ",\"pu\":", frame.ids.prev_link);
            }
            put(out, ",\"b\":[");
            put_changes(out, frame.listing, frame.changes, Side::Bid);
            put(out, "],\"a\":[");
            put_changes(out, frame.listing, frame.changes, Side::Ask);
            put(out, "]}");
        });
    }

    fn write_top(&self, session: &mut Session, frame: &TopFrame<'_>, out: &mut Vec<u8>) {
        // The venue sends a ticker when it changes, not upon subscription.
        if frame.is_first {
            return;
        }
        let (Some(bid), Some(ask)) = (frame.top.bid, frame.top.ask) else { return };
        let listing = frame.listing;
        Self::frame(session, listing, "bookTicker", out, |out| {
            put(out, if self.is_spot() { "{" } else { "{\"e\":\"bookTicker\"," });
            put_field(out, "\"u\":", self.update_number(&frame.ids));
            put(out, ",\"s\":\"");
            put(out, &listing.symbol);
            for (keys, level) in [(["b", "B"], bid), (["a", "A"], ask)] {
                put(out, "\",\"");
                put(out, keys[0]);
                put(out, "\":\"");
                put_decimal(out, level.price, listing.price_decimals);
                put(out, "\",\"");
                put(out, keys[1]);
                put(out, "\":\"");
                put_decimal(out, level.qty, listing.qty_decimals);
            }
            put(out, "\"");
            if !self.is_spot() {
                put_field(out, ",\"T\":", frame.venue_ns / 1_000_000);
                put_field(out, ",\"E\":", frame.venue_ns / 1_000_000 + 1);
            }
            put(out, "}");
        });
    }

    fn write_trade(&self, session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>) {
        let (listing, trade) = (frame.listing, frame.trade);
        Self::frame(session, listing, "trade", out, |out| {
            self.event(out, "trade", listing, frame.venue_ns);
            put_field(out, ",\"t\":", trade.id);
            put(out, ",\"p\":\"");
            put_decimal(out, trade.price, listing.price_decimals);
            put(out, "\",\"q\":\"");
            put_decimal(out, trade.qty, listing.qty_decimals);
            put(out, "\"");
            if self.is_spot() {
                put_field(out, ",\"T\":", frame.venue_ns / 1_000_000);
            } else {
                put(out, ",\"X\":\"MARKET\"");
            }
            // `m`: the buyer was the maker, so the seller crossed the spread.
            put(out, if trade.aggressor == Side::Ask { ",\"m\":true" } else { ",\"m\":false" });
            put(out, if self.is_spot() { ",\"M\":true}" } else { "}" });
        });
    }

    fn write_notice(&self, _session: &mut Session, notice: Notice, out: &mut Vec<u8>) {
        if notice == Notice::PlannedClose && self.is_spot() {
            put(out, "{\"e\":\"serverShutdown\",\"E\":0}");
        }
    }

    fn rest(&self, path: &str, query: &str, market: &dyn RestView) -> Option<RestAnswer> {
        if path != self.depth_path() {
            return None;
        }
        let symbol = parameter(query, "symbol").unwrap_or_default();
        let Some(instrument) = market.listings().iter().position(|l| l.symbol == symbol) else {
            return Some(refused(-1121, "Invalid symbol."));
        };
        let limit = parameter(query, "limit").unwrap_or(if self.is_spot() { "100" } else { "500" });
        let Some((levels, weight)) = self.snapshot_cost(limit) else {
            return Some(refused(-4021, "Limit is not a valid depth limit."));
        };
        let listing = &market.listings()[instrument];
        let (book, ids, venue_ns) = market.book(instrument);
        let mut body = Vec::with_capacity(64 * usize::from(levels));
        put_field(&mut body, "{\"lastUpdateId\":", self.update_number(&ids));
        if !self.is_spot() {
            put_field(&mut body, ",\"E\":", venue_ns / 1_000_000 + 1);
            put_field(&mut body, ",\"T\":", venue_ns / 1_000_000);
        }
        for (key, side) in [(",\"bids\":[", Side::Bid), ("],\"asks\":[", Side::Ask)] {
            put(&mut body, key);
            put_list(&mut body, book.top_levels(side, levels), |out, level| {
                put_pair(out, listing, *level);
            });
        }
        put(&mut body, "]}");
        let headers = vec![("x-mbx-used-weight-1m", weight.to_string())];
        Some(RestAnswer { status: 200, headers, body })
    }
}
