//! Coinbase Exchange: `level2_batch`, `matches`, `ticker`, `heartbeat`, and the book over REST.
//!
//! Book updates carry no number, only a time with microseconds, as the REST book does.

use crate::Side;
use crate::Venue;
use crate::book::Level;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Dialect, Effect, Facts, Heartbeat, HeartbeatFrame, LeavingLevel,
    RestAnswer, RestView, Restart, ServerPing, Session, SnapshotSource, TopFrame, Topic,
    TradeFrame,
};
use crate::venue_sim::model::Listing;
use crate::venue_sim::request::{elements, member, parameter, text_at, texts_at};
use crate::venue_sim::text::{put, put_decimal, put_field, put_list, put_pair, put_rfc3339};
use std::time::Duration;

/// The dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoinbaseExchange;

fn channel(name: &str) -> Option<Channel> {
    match name {
        "level2_batch" => Some(Channel::Book),
        "ticker" => Some(Channel::Top),
        "matches" => Some(Channel::Trade),
        "heartbeat" => Some(Channel::Heartbeat),
        _ => None,
    }
}

/// The topics that `{"channels":[{"name":…,"product_ids":[…]}]}` names.
fn topics(text: &str, listings: &[Listing]) -> Option<Vec<Topic>> {
    let mut list = Vec::new();
    for part in elements(member(text, &["channels"])?)? {
        let channel = channel(text_at(part, &["name"])?)?;
        for name in texts_at(part, &["product_ids"])? {
            let instrument = listings.iter().position(|listing| listing.symbol == name)? as u16;
            list.push(Topic { instrument, channel, depth: 0, variant: 0 });
        }
    }
    (!list.is_empty()).then_some(list)
}

/// `{"type":…,"product_id":…`.
fn head(out: &mut Vec<u8>, kind: &str, listing: &Listing) {
    put(out, "{\"type\":\"");
    put(out, kind);
    put(out, "\",\"product_id\":\"");
    put(out, &listing.symbol);
    put(out, "\"");
}

/// `,"time":"…"}`.
fn tail(out: &mut Vec<u8>, venue_ns: i64) {
    put(out, ",\"time\":\"");
    put_rfc3339(out, venue_ns, 6);
    put(out, "\"}");
}

/// `,"key":"1.50"`.
fn number(out: &mut Vec<u8>, key: &str, mantissa: i64, decimals: u8) {
    put(out, ",\"");
    put(out, key);
    put(out, "\":\"");
    put_decimal(out, mantissa, decimals);
    put(out, "\"");
}

impl Dialect for CoinbaseExchange {
    /// A lost update shows neither by number nor by checksum; see the audit by REST.
    fn facts(&self) -> Facts {
        Facts {
            venue: Venue::CoinbaseExchange,
            ws_path: "/",
            snapshot: SnapshotSource::Stream,
            depth_limit: 0,
            leaving_level: LeavingLevel::IsDeleted,
            has_checksum: false,
            detects_loss: false,
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

    /// The acknowledgement repeats the request's channels; the venue lists all that is subscribed.
    fn handle(
        &self,
        text: &str,
        listings: &[Listing],
        _session: &mut Session,
        effects: &mut Vec<Effect>,
    ) {
        let verb = text_at(text, &["type"]);
        let (Some(topics), Some(verb @ ("subscribe" | "unsubscribe"))) =
            (topics(text, listings), verb)
        else {
            effects.push(Effect::BadRequest);
            let why = r#"{"type":"error","message":"Failed to subscribe","reason":"unknown channel or product"}"#;
            effects.push(Effect::Reply(why.to_owned()));
            return;
        };
        let is_subscription = verb == "subscribe";
        let named = member(text, &["channels"]).filter(|_| is_subscription).unwrap_or("[]");
        effects.push(Effect::Reply(format!(r#"{{"type":"subscriptions","channels":{named}}}"#)));
        effects.extend(topics.into_iter().map(|topic| {
            if is_subscription { Effect::Subscribe(topic) } else { Effect::Unsubscribe(topic) }
        }));
    }

    fn write_snapshot(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        head(out, "snapshot", frame.listing);
        for (key, side) in [(",\"asks\":[", Side::Ask), ("],\"bids\":[", Side::Bid)] {
            put(out, key);
            put_list(out, frame.levels(side), |out, level| put_pair(out, frame.listing, *level));
        }
        put(out, "]");
        tail(out, frame.venue_ns);
    }

    fn write_update(&self, _session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        head(out, "l2update", frame.listing);
        put(out, ",\"changes\":[");
        put_list(out, frame.changes, |out, change| {
            put(out, if change.side == Side::Bid { "[\"buy\",\"" } else { "[\"sell\",\"" });
            put_decimal(out, change.price, frame.listing.price_decimals);
            put(out, "\",\"");
            put_decimal(out, change.qty, frame.listing.qty_decimals);
            put(out, "\"]");
        });
        put(out, "]");
        tail(out, frame.venue_ns);
    }

    fn write_top(&self, _session: &mut Session, frame: &TopFrame<'_>, out: &mut Vec<u8>) {
        let (Some(bid), Some(ask)) = (frame.top.bid, frame.top.ask) else { return };
        let listing = frame.listing;
        head(out, "ticker", listing);
        put_field(out, ",\"sequence\":", frame.ids.link);
        number(out, "best_bid", bid.price, listing.price_decimals);
        number(out, "best_bid_size", bid.qty, listing.qty_decimals);
        number(out, "best_ask", ask.price, listing.price_decimals);
        number(out, "best_ask_size", ask.qty, listing.qty_decimals);
        tail(out, frame.venue_ns);
    }

    fn write_trade(&self, _session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>) {
        let (listing, trade) = (frame.listing, frame.trade);
        head(out, "match", listing);
        put_field(out, ",\"trade_id\":", trade.id);
        put_field(out, ",\"sequence\":", frame.ids.link);
        // The side is the maker's.
        put(
            out,
            if trade.aggressor == Side::Bid { ",\"side\":\"sell\"" } else { ",\"side\":\"buy\"" },
        );
        number(out, "size", trade.qty, listing.qty_decimals);
        number(out, "price", trade.price, listing.price_decimals);
        tail(out, frame.venue_ns);
    }

    fn write_heartbeat(
        &self,
        _session: &mut Session,
        frame: &HeartbeatFrame<'_>,
        out: &mut Vec<u8>,
    ) {
        let Some(listing) = frame.listing else { return };
        head(out, "heartbeat", listing);
        put_field(out, ",\"sequence\":", frame.ids.link);
        put_field(out, ",\"last_trade_id\":", frame.last_trade_id);
        tail(out, frame.venue_ns);
    }

    fn rest(&self, path: &str, query: &str, market: &dyn RestView) -> Option<RestAnswer> {
        let symbol = path.strip_prefix("/products/")?.strip_suffix("/book")?;
        let answer = |status, body: Vec<u8>| Some(RestAnswer { status, headers: Vec::new(), body });
        let Some(instrument) = market.listings().iter().position(|l| l.symbol == symbol) else {
            return answer(404, br#"{"message":"NotFound"}"#.to_vec());
        };
        if parameter(query, "level") != Some("2") {
            return answer(400, br#"{"message":"only level 2 is served"}"#.to_vec());
        }
        let listing = &market.listings()[instrument];
        let (book, ids, venue_ns) = market.book(instrument);
        let mut body = Vec::new();
        for (key, side) in [("{\"bids\":[", Side::Bid), ("],\"asks\":[", Side::Ask)] {
            put(&mut body, key);
            put_list(&mut body, book.levels(side), |out, level| put_orders(out, listing, *level));
        }
        put_field(&mut body, "],\"sequence\":", ids.link);
        put(&mut body, ",\"auction_mode\":false,\"auction\":null");
        tail(&mut body, venue_ns);
        answer(200, body)
    }
}

/// `["price","size",orders]`; the model knows of no orders and says one.
fn put_orders(out: &mut Vec<u8>, listing: &Listing, level: Level) {
    put_pair(out, listing, level);
    out.pop();
    put(out, ",1]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coinbase::exchange::decode::{decode, decode_snapshot};
    use crate::protocol::{BookMessage, Message};
    use crate::venue_sim::{Ids, Model, ModelBook, ModelConfig};

    struct View(Model);

    impl RestView for View {
        fn listings(&self) -> &[Listing] {
            self.0.listings()
        }

        fn book(&self, instrument: usize) -> (&ModelBook, Ids, i64) {
            (self.0.book(instrument), self.0.ids(instrument), self.0.updated_ns(instrument))
        }
    }

    fn model() -> Model {
        let listings = vec![Listing::like_btc("BTC-USD"), Listing::like_btc("ETH-USD")];
        Model::new(ModelConfig { listings, ..ModelConfig::default() }).unwrap()
    }

    #[test]
    fn requests_name_channels_and_products() {
        let (mut session, mut effects) = (Session::new(1), Vec::new());
        let model = model();
        let text = r#"{"type":"subscribe","channels":[{"name":"level2_batch","product_ids":["BTC-USD","ETH-USD"]}]}"#;
        CoinbaseExchange.handle(text, model.listings(), &mut session, &mut effects);
        let topic = |instrument| Topic { instrument, channel: Channel::Book, depth: 0, variant: 0 };
        let ack = r#"{"type":"subscriptions","channels":[{"name":"level2_batch","product_ids":["BTC-USD","ETH-USD"]}]}"#;
        let expected =
            [Effect::Reply(ack.into()), Effect::Subscribe(topic(0)), Effect::Subscribe(topic(1))];
        assert_eq!(effects, expected);
        for bad in ["{}", r#"{"type":"subscribe","channels":[]}"#, &text.replace("ETH", "NO")] {
            effects.clear();
            CoinbaseExchange.handle(bad, model.listings(), &mut session, &mut effects);
            assert_eq!(effects[0], Effect::BadRequest, "{bad}");
        }
    }

    #[test]
    fn stream_and_rest_books_are_what_the_decoder_reads_at_the_same_time() {
        let mut model = model();
        let update = model.step_instrument(1).clone();
        let view = View(model);
        let (book, ids, venue_ns) = view.book(1);
        let topic = Topic { instrument: 1, channel: Channel::Book, depth: 0, variant: 0 };
        let frame = BookFrame {
            listing: &view.listings()[1],
            topic,
            book,
            changes: &update.changes,
            ids,
            venue_ns,
            checksum: crate::venue_sim::Checksum::True,
            is_restart: false,
        };
        let mut text = Vec::new();
        CoinbaseExchange.write_snapshot(&mut Session::new(1), &frame, &mut text);
        let rest = CoinbaseExchange.rest("/products/ETH-USD/book", "level=2", &view).unwrap();
        let rest = decode_snapshot(&rest.body).unwrap();
        let levels = |book: &BookMessage<'_>| {
            book.levels.clone().map(|side| side.map(Result::unwrap).collect::<Vec<_>>().len())
        };
        let held = [book.levels(Side::Bid).len(), book.levels(Side::Ask).len()];
        let read = decode(&text, &mut |message| match message {
            Message::Book(stream) => {
                assert_eq!((levels(&stream), stream.ids), (held, rest.ids));
                assert_eq!(stream.ts_venue_ns, venue_ns);
            }
            other => panic!("{other:?}"),
        });
        assert_eq!((read, levels(&rest)), (Ok(()), held));
        assert!(CoinbaseExchange.rest("/products", "", &view).is_none());
        assert_eq!(CoinbaseExchange.rest("/products/X/book", "", &view).unwrap().status, 404);
    }
}
