//! Bybit v5: `orderbook.{depth}.{symbol}` with snapshot and delta, `publicTrade.{symbol}`.
//!
//! `u` is [`Ids::count`](crate::venue_sim::Ids), one more per message; after a restart of the
//! service a snapshot with `u = 1` comes. Depth 1 is the top of book: snapshots only. A request is
//! acknowledged as a whole, before any data.

use crate::Side;
use crate::Venue;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Dialect, Effect, Facts, Heartbeat, LeavingLevel, Restart, ServerPing,
    Session, SnapshotSource, TopFrame, Topic, TradeFrame,
};
use crate::venue_sim::model::Listing;
use crate::venue_sim::request::{member, text_at, texts_at};
use crate::venue_sim::text::{put, put_changes, put_decimal, put_field, put_list, put_pair};
use std::time::Duration;

/// Depths that are served.
const DEPTHS: [u16; 4] = [1, 50, 200, 1000];

/// Most topics of one request.
const MAX_ARGS: usize = 10;

/// The dialect of one product family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bybit {
    venue: Venue,
}

impl Bybit {
    /// Spot.
    pub const SPOT: Self = Self { venue: Venue::BybitSpot };
    /// Linear contracts.
    pub const LINEAR: Self = Self { venue: Venue::BybitLinear };

    /// `orderbook.50.BTCUSDT` or `publicTrade.BTCUSDT`.
    fn topic(name: &str, listings: &[Listing]) -> Option<Topic> {
        let (kind, symbol) = name.rsplit_once('.')?;
        let instrument = listings.iter().position(|listing| listing.symbol == symbol)? as u16;
        let (channel, depth) = match kind.split_once('.') {
            None if kind == "publicTrade" => (Channel::Trade, 0),
            Some(("orderbook", depth)) => {
                let depth = depth.parse().ok().filter(|depth| DEPTHS.contains(depth))?;
                (if depth == 1 { Channel::Top } else { Channel::Book }, depth)
            }
            _ => return None,
        };
        Some(Topic { instrument, channel, depth, variant: 0 })
    }

    /// Ping and pong differ between the products.
    fn pong(self, request_id: &str, connection: u64) -> String {
        match self.venue {
            Venue::BybitSpot => format!(
                r#"{{"success":true,"ret_msg":"pong","conn_id":"{connection}","req_id":"{request_id}","op":"ping"}}"#
            ),
            _ => format!(
                r#"{{"req_id":"{request_id}","op":"pong","args":["0"],"conn_id":"{connection}"}}"#
            ),
        }
    }
}

/// The head of every data frame, up to the opening of `data`.
fn head(out: &mut Vec<u8>, kind: &str, symbol: &str, is_snapshot: bool, venue_ns: i64) {
    put(out, "{\"topic\":\"");
    put(out, kind);
    put(out, symbol);
    put_field(out, "\",\"ts\":", venue_ns / 1_000_000 + 1);
    put(out, if is_snapshot { ",\"type\":\"snapshot\"" } else { ",\"type\":\"delta\"" });
    put(out, ",\"data\":");
}

/// A book frame; the lists are written by `side`.
fn book(
    out: &mut Vec<u8>,
    frame: &BookFrame<'_>,
    is_snapshot: bool,
    mut side: impl FnMut(&mut Vec<u8>, Side),
) {
    let kind = format!("orderbook.{}.", frame.topic.depth);
    head(out, &kind, &frame.listing.symbol, is_snapshot, frame.venue_ns);
    put(out, "{\"s\":\"");
    put(out, &frame.listing.symbol);
    put(out, "\",\"b\":[");
    side(out, Side::Bid);
    put(out, "],\"a\":[");
    side(out, Side::Ask);
    put_field(out, "],\"u\":", if frame.is_restart { 1 } else { frame.ids.count });
    put_field(out, ",\"seq\":", frame.ids.sequence);
    put_field(out, "},\"cts\":", frame.venue_ns / 1_000_000);
    put(out, "}");
}

impl Dialect for Bybit {
    fn facts(&self) -> Facts {
        Facts {
            venue: self.venue,
            ws_path: match self.venue {
                Venue::BybitSpot => "/v5/public/spot",
                _ => "/v5/public/linear",
            },
            snapshot: SnapshotSource::Stream,
            depth_limit: 1000,
            leaving_level: LeavingLevel::IsDeleted,
            has_checksum: false,
            detects_loss: true,
            ping: ServerPing::None,
            client_silence_limit: Some(Duration::from_mins(10)),
            heartbeat: Heartbeat::None,
            restart: Restart::Snapshot,
            client_messages_per_s: 500,
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
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) {
        let request_id = text_at(text, &["req_id"]).unwrap_or_default();
        let connection = session.id;
        let refuse = |effects: &mut Vec<Effect>, op: &str, why: &str| {
            effects.push(Effect::BadRequest);
            effects.push(Effect::Reply(format!(
                r#"{{"success":false,"ret_msg":"{why}","conn_id":"{connection}","req_id":"{request_id}","op":"{op}"}}"#
            )));
        };
        match text_at(text, &["op"]) {
            Some("ping") => effects.push(Effect::Reply(self.pong(request_id, connection))),
            Some(op @ ("subscribe" | "unsubscribe")) => {
                let names = texts_at(text, &["args"]).unwrap_or_default();
                if names.is_empty() || names.len() > MAX_ARGS {
                    return refuse(effects, op, "args size expected 1 to 10");
                }
                let topics: Option<Vec<_>> =
                    names.iter().map(|name| Self::topic(name, listings)).collect();
                let Some(topics) = topics else {
                    return refuse(effects, op, "error:handler not found");
                };
                effects.push(Effect::Reply(format!(
                    r#"{{"success":true,"ret_msg":"","conn_id":"{connection}","req_id":"{request_id}","op":"{op}"}}"#
                )));
                for topic in topics {
                    effects.push(if op == "subscribe" {
                        Effect::Subscribe(topic)
                    } else {
                        Effect::Unsubscribe(topic)
                    });
                }
            }
            _ => refuse(effects, "", if member(text, &[]).is_some() { "unknown op" } else { "" }),
        }
    }

    fn write_snapshot(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(out, frame, true, |out, side| {
            put_list(out, frame.levels(side), |out, level| put_pair(out, frame.listing, *level));
        });
    }

    fn write_update(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        book(out, frame, false, |out, side| put_changes(out, frame.listing, frame.changes, side));
    }

    fn write_top(&self, _session: &mut Session, frame: &TopFrame<'_>, out: &mut Vec<u8>) {
        head(out, "orderbook.1.", &frame.listing.symbol, true, frame.venue_ns);
        put(out, "{\"s\":\"");
        put(out, &frame.listing.symbol);
        put(out, "\",\"b\":[");
        frame.top.bid.into_iter().for_each(|level| put_pair(out, frame.listing, level));
        put(out, "],\"a\":[");
        frame.top.ask.into_iter().for_each(|level| put_pair(out, frame.listing, level));
        put_field(out, "],\"u\":", frame.ids.count);
        put_field(out, ",\"seq\":", frame.ids.sequence);
        put_field(out, "},\"cts\":", frame.venue_ns / 1_000_000);
        put(out, "}");
    }

    fn write_trade(&self, _session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>) {
        head(out, "publicTrade.", &frame.listing.symbol, true, frame.venue_ns);
        put_field(out, "[{\"T\":", frame.venue_ns / 1_000_000);
        put(out, ",\"s\":\"");
        put(out, &frame.listing.symbol);
        put(
            out,
            if frame.trade.aggressor == Side::Bid { "\",\"S\":\"Buy" } else { "\",\"S\":\"Sell" },
        );
        put(out, "\",\"v\":\"");
        put_decimal(out, frame.trade.qty, frame.listing.qty_decimals);
        put(out, "\",\"p\":\"");
        put_decimal(out, frame.trade.price, frame.listing.price_decimals);
        put_field(out, "\",\"i\":\"", frame.trade.id);
        put(out, "\",\"BT\":false,\"RPI\":false");
        put_field(out, ",\"seq\":", frame.ids.sequence);
        put(out, "}]}");
    }

    /// Depth 1 is sent again after three quiet seconds, with the same `u`.
    fn write_keep_alive(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        if frame.topic.channel == Channel::Top {
            self.write_snapshot(session, frame, out);
        }
    }
}
