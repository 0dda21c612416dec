//! OKX v5: `books` with `seqId`, `prevSeqId` and checksum, `bbo-tbt`, `trades`.
//!
//! `seqId` is [`Ids::link`](crate::venue_sim::Ids). Two ways to the first state of a book are served: from
//! the stream, as it was until 2026, with checksums; and from REST, as announced since, where the stream
//! begins with updates and every checksum is 0. A request is acknowledged channel by channel; the text
//! `ping` is answered with `pong`, which is not JSON.

use crate::Side;
use crate::Venue;
use crate::book::Level;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Checksum, Dialect, Effect, Facts, Heartbeat, LeavingLevel, Notice,
    RestAnswer, RestView, Restart, ServerPing, Session, SnapshotSource, TopFrame, Topic,
    TradeFrame,
};
use crate::venue_sim::model::{Ids, LevelChange, Listing};
use crate::venue_sim::request::{elements, member, parameter, text_at};
use crate::venue_sim::text::{put, put_decimal, put_field, put_list};
use std::time::Duration;

/// Levels a side of `books`, and most of a REST snapshot.
const LEVELS: u16 = 400;

/// Levels a side that the checksum covers.
const CHECKSUM_LEVELS: usize = 25;

/// Longest request.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Where REST snapshots are.
const BOOKS_PATH: &str = "/api/v5/market/books";

/// The dialect, with books from one of two sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Okx {
    snapshot: SnapshotSource,
}

impl Okx {
    /// Snapshots in the stream, checksums in every book message.
    pub const STREAM: Self = Self { snapshot: SnapshotSource::Stream };
    /// Snapshots from REST, no checksums.
    pub const REST: Self = Self { snapshot: SnapshotSource::Rest };

    fn topic(channel: &str, symbol: &str, listings: &[Listing]) -> Option<Topic> {
        let instrument = listings.iter().position(|listing| listing.symbol == symbol)? as u16;
        let (channel, depth) = match channel {
            "books" => (Channel::Book, LEVELS),
            "bbo-tbt" => (Channel::Top, 1),
            "trades" => (Channel::Trade, 0),
            _ => return None,
        };
        Some(Topic { instrument, channel, depth, variant: 0 })
    }

    /// A book message; `prev` is -1 in a snapshot.
    fn book(
        self,
        frame: &BookFrame<'_>,
        (action, prev): (&str, i128),
        out: &mut Vec<u8>,
        mut side: impl FnMut(&mut Vec<u8>, Side),
    ) {
        head(out, "books", &frame.listing.symbol);
        put(out, ",\"action\":\"");
        put(out, action);
        put(out, "\",\"data\":[{\"asks\":[");
        side(out, Side::Ask);
        put(out, "],\"bids\":[");
        side(out, Side::Bid);
        put_field(out, "],\"ts\":\"", frame.venue_ns / 1_000_000);
        let sum = match self.snapshot {
            SnapshotSource::Stream => frame.checksum.of(checksum(frame)),
            SnapshotSource::Rest => Checksum::Zero.of(0),
        };
        put_field(out, "\",\"checksum\":", sum.cast_signed());
        put_field(out, ",\"prevSeqId\":", prev);
        put_field(out, ",\"seqId\":", frame.ids.link);
        put(out, "}]}");
    }
}

/// `{"arg":{…}`: what every data message begins with.
fn head(out: &mut Vec<u8>, channel: &str, symbol: &str) {
    put(out, "{\"arg\":{\"channel\":\"");
    put(out, channel);
    put(out, "\",\"instId\":\"");
    put(out, symbol);
    put(out, "\"}");
}

/// `["price","quantity","0","orders"]`; the number of orders is made up and 0 for a delete.
fn put_level(out: &mut Vec<u8>, listing: &Listing, level: Level) {
    put(out, "[\"");
    put_decimal(out, level.price, listing.price_decimals);
    put(out, "\",\"");
    put_qty(out, listing, level.qty);
    put(out, if level.qty == 0 { "\",\"0\",\"0\"]" } else { "\",\"0\",\"1\"]" });
}

/// A delete is a bare `0`.
fn put_qty(out: &mut Vec<u8>, listing: &Listing, qty: i64) {
    if qty == 0 { put(out, "0") } else { put_decimal(out, qty, listing.qty_decimals) }
}

/// CRC-32 of the best levels of both sides in turn, as their texts stand on the wire.
fn checksum(frame: &BookFrame<'_>) -> u32 {
    let sides = [Side::Bid, Side::Ask].map(|side| frame.levels(side));
    let mut text = Vec::with_capacity(2 * CHECKSUM_LEVELS * 32);
    for i in 0..CHECKSUM_LEVELS {
        for level in sides.iter().filter_map(|levels| levels.get(i)) {
            if !text.is_empty() {
                text.push(b':');
            }
            put_decimal(&mut text, level.price, frame.listing.price_decimals);
            put(&mut text, ":");
            put_decimal(&mut text, level.qty, frame.listing.qty_decimals);
        }
    }
    crc32fast::hash(&text)
}

/// The answer to a request that names something unknown.
fn refused(session: &Session, code: u32, words: &str, id: &str) -> [Effect; 2] {
    let text = format!(
        r#"{{"id":"{id}","event":"error","code":"{code}","msg":"{words}","connId":"{}"}}"#,
        session.id
    );
    [Effect::BadRequest, Effect::Reply(text)]
}

impl Dialect for Okx {
    fn facts(&self) -> Facts {
        let is_stream = self.snapshot == SnapshotSource::Stream;
        Facts {
            venue: Venue::Okx,
            ws_path: "/ws/v5/public",
            snapshot: self.snapshot,
            depth_limit: LEVELS,
            leaving_level: LeavingLevel::IsDeleted,
            has_checksum: is_stream,
            detects_loss: true,
            ping: ServerPing::None,
            client_silence_limit: Some(Duration::from_secs(30)),
            heartbeat: Heartbeat::None,
            restart: Restart::SmallerLink,
            client_messages_per_s: 3,
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

    fn update_number(&self, ids: &Ids) -> u64 {
        ids.link
    }

    fn handle(
        &self,
        text: &str,
        listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) {
        if text == "ping" {
            return effects.push(Effect::Reply("pong".to_owned()));
        }
        let id = text_at(text, &["id"]).unwrap_or_default();
        let op = text_at(text, &["op"]).unwrap_or_default();
        let args = member(text, &["args"]).and_then(elements).unwrap_or_default();
        let is_known = matches!(op, "subscribe" | "unsubscribe");
        if !is_known || args.is_empty() || text.len() > MAX_REQUEST_BYTES {
            return effects.extend(refused(session, 60012, "Invalid request", id));
        }
        for arg in args {
            let channel = text_at(arg, &["channel"]).unwrap_or_default();
            let symbol = text_at(arg, &["instId"]).unwrap_or_default();
            let Some(topic) = Self::topic(channel, symbol, listings) else {
                let words =
                    format!("Wrong URL or channel:{channel},instId:{symbol} doesn't exist.");
                effects.extend(refused(session, 60018, &words, id));
                continue;
            };
            effects.push(Effect::Reply(format!(
                r#"{{"id":"{id}","event":"{op}","arg":{{"channel":"{channel}","instId":"{symbol}"}},"connId":"{}"}}"#,
                session.id
            )));
            effects.push(if op == "subscribe" {
                Effect::Subscribe(topic)
            } else {
                Effect::Unsubscribe(topic)
            });
        }
    }

    /// Nothing where books come from REST.
    fn write_snapshot(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        if self.snapshot == SnapshotSource::Stream {
            self.book(frame, ("snapshot", -1), out, |out, side| {
                put_list(out, frame.levels(side), |out, level| {
                    put_level(out, frame.listing, *level);
                });
            });
        }
    }

    fn write_update(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        self.book(frame, ("update", frame.ids.prev_link.into()), out, |out, side| {
            let start = out.len();
            let of_side = |change: &&LevelChange| change.side == side;
            for change in frame.changes.iter().filter(of_side) {
                if out.len() > start {
                    out.push(b',');
                }
                let LevelChange { price, qty, .. } = *change;
                put_level(out, frame.listing, Level { price, qty });
            }
        });
    }

    fn write_top(&self, _session: &mut Session, frame: &TopFrame<'_>, out: &mut Vec<u8>) {
        head(out, "bbo-tbt", &frame.listing.symbol);
        put(out, ",\"data\":[{\"asks\":[");
        frame.top.ask.into_iter().for_each(|level| put_level(out, frame.listing, level));
        put(out, "],\"bids\":[");
        frame.top.bid.into_iter().for_each(|level| put_level(out, frame.listing, level));
        put_field(out, "],\"ts\":\"", frame.venue_ns / 1_000_000);
        put_field(out, "\",\"seqId\":", frame.ids.link);
        put(out, "}]}");
    }

    fn write_trade(&self, _session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>) {
        let (listing, trade) = (frame.listing, frame.trade);
        head(out, "trades", &listing.symbol);
        put(out, ",\"data\":[{\"instId\":\"");
        put(out, &listing.symbol);
        put_field(out, "\",\"tradeId\":\"", trade.id);
        put(out, "\",\"px\":\"");
        put_decimal(out, trade.price, listing.price_decimals);
        put(out, "\",\"sz\":\"");
        put_decimal(out, trade.qty, listing.qty_decimals);
        put(
            out,
            if trade.aggressor == Side::Bid { "\",\"side\":\"buy" } else { "\",\"side\":\"sell" },
        );
        put_field(out, "\",\"ts\":\"", frame.venue_ns / 1_000_000);
        put_field(out, "\",\"count\":\"1\",\"seqId\":", frame.ids.link);
        put(out, "}]}");
    }

    /// An update of no level, with `seqId` = `prevSeqId`.
    fn write_keep_alive(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        if frame.topic.channel == Channel::Book {
            self.book(frame, ("update", frame.ids.link.into()), out, |_, _| {});
        }
    }

    fn write_notice(&self, session: &mut Session, notice: Notice, out: &mut Vec<u8>) {
        if notice == Notice::ServiceUpgrade {
            put(
                out,
                "{\"event\":\"notice\",\"code\":\"64008\",\"msg\":\"The connection will soon be \
                 closed for a service upgrade. Please reconnect.\"",
            );
            put_field(out, ",\"connId\":\"", session.id);
            put(out, "\"}");
        }
    }

    fn rest(&self, path: &str, query: &str, market: &dyn RestView) -> Option<RestAnswer> {
        if path != BOOKS_PATH {
            return None;
        }
        let answer = |body: Vec<u8>| Some(RestAnswer { status: 200, headers: Vec::new(), body });
        let refused = |code: u32, words: &str| {
            answer(format!(r#"{{"code":"{code}","msg":"{words}","data":[]}}"#).into_bytes())
        };
        let symbol = parameter(query, "instId").unwrap_or_default();
        let Some(instrument) = market.listings().iter().position(|l| l.symbol == symbol) else {
            return refused(51001, "Instrument ID doesn't exist.");
        };
        let levels = parameter(query, "sz").unwrap_or("1").parse().ok();
        let Some(levels) = levels.filter(|levels| (1..=LEVELS).contains(levels)) else {
            return refused(51000, "Parameter sz error");
        };
        let listing = &market.listings()[instrument];
        let (book, ids, venue_ns) = market.book(instrument);
        let mut body = Vec::with_capacity(80 * usize::from(levels));
        put(&mut body, "{\"code\":\"0\",\"msg\":\"\",\"data\":[{");
        for (key, side) in [("\"asks\":[", Side::Ask), ("],\"bids\":[", Side::Bid)] {
            put(&mut body, key);
            put_list(&mut body, book.top_levels(side, levels), |out, level| {
                put_level(out, listing, *level);
            });
        }
        put_field(&mut body, "],\"ts\":\"", venue_ns / 1_000_000);
        put_field(&mut body, "\",\"seqId\":", ids.link);
        put(&mut body, "}]}");
        answer(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{BookKind, Message, UpdateIds};
    use crate::venue_sim::model::{Model, ModelConfig};

    fn model() -> Model {
        let listings = vec![Listing::like_btc("BTC-USDT")];
        Model::new(ModelConfig { listings, ..ModelConfig::default() }).unwrap()
    }

    fn frame<'a>(model: &'a Model, changes: &'a [LevelChange]) -> BookFrame<'a> {
        BookFrame {
            listing: &model.listings()[0],
            topic: Okx::topic("books", "BTC-USDT", model.listings()).unwrap(),
            book: model.book(0),
            changes,
            ids: model.ids(0),
            venue_ns: model.now_ns(),
            checksum: Checksum::True,
            is_restart: false,
        }
    }

    /// What the adapter makes of a message: kind, ids, checksum and levels a side.
    fn read(text: &[u8]) -> (BookKind, UpdateIds, Option<u32>, [usize; 2]) {
        let mut read = None;
        crate::okx::decode::decode(text, &mut |message| match message {
            Message::Book(book) => {
                let counts = book.levels.map(|levels| levels.map(Result::unwrap).count());
                read = Some((book.kind, book.ids, book.checksum, counts));
            }
            other => panic!("{other:?}"),
        })
        .unwrap();
        read.unwrap()
    }

    #[test]
    fn the_adapter_reads_every_book_message() {
        let mut session = Session::new(3);
        let mut model = model();
        let mut out = Vec::new();
        Okx::STREAM.write_snapshot(&mut session, &frame(&model, &[]), &mut out);
        let (kind, ids, sum, counts) = read(&out);
        assert_eq!((kind, ids), (BookKind::Snapshot, UpdateIds::unlinked(1_000_000)));
        assert_eq!((sum, counts), (Some(checksum(&frame(&model, &[]))), [100, 100]));
        let changes = model.step().changes.clone();
        let Ids { link, prev_link, .. } = model.ids(0);
        for dialect in [Okx::STREAM, Okx::REST] {
            out.clear();
            dialect.write_update(&mut session, &frame(&model, &changes), &mut out);
            let (kind, ids, sum, counts) = read(&out);
            assert_eq!((kind, ids), (BookKind::Update, UpdateIds::linked(prev_link, link)));
            assert_eq!(counts.iter().sum::<usize>(), changes.len());
            assert_eq!(sum.is_some(), dialect == Okx::STREAM);
        }
        out.clear();
        Okx::STREAM.write_keep_alive(&mut session, &frame(&model, &[]), &mut out);
        let (_, ids, _, counts) = read(&out);
        assert_eq!((ids, counts), (UpdateIds::linked(link, link), [0, 0]));
        out.clear();
        Okx::REST.write_snapshot(&mut session, &frame(&model, &[]), &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn requests_are_acknowledged_channel_by_channel_and_refused_in_the_venues_words() {
        let (model, mut session) = (model(), Session::new(3));
        let mut handle = |text: &str| {
            let mut effects = Vec::new();
            Okx::STREAM.handle(text, model.listings(), &mut session, &mut effects);
            effects
        };
        assert_eq!(handle("ping"), [Effect::Reply("pong".to_owned())]);
        let args = r#"[{"channel":"books","instId":"BTC-USDT"},{"channel":"books","instId":"X"}]"#;
        let effects = handle(&format!(r#"{{"id":"7","op":"subscribe","args":{args}}}"#));
        let topic = Topic { instrument: 0, channel: Channel::Book, depth: LEVELS, variant: 0 };
        let ack = r#"{"id":"7","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"3"}"#;
        let [first, second, third, Effect::Reply(refusal)] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(*first, Effect::Reply(ack.to_owned()));
        assert_eq!((second, third), (&Effect::Subscribe(topic), &Effect::BadRequest));
        assert!(refusal.contains(r#""event":"error","code":"60018""#), "{refusal}");
        for wrong in ["{}", "pong", r#"{"op":"subscribe","args":[]}"#, r#"{"op":"login"}"#] {
            assert_eq!(handle(wrong)[0], Effect::BadRequest, "{wrong}");
        }
    }
}
