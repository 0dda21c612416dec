//! What a client makes of a dialect's frames, without sockets: every book it publishes is the model's.

use std::sync::Arc;

use crate::book::Level;
use crate::protocol::Protocol;
use crate::session::{Action, Outbox, Session, SessionSpec, SnapshotReply};
use crate::topic::TopicState;
use crate::venue_sim::dialect::{
    BookFrame, Channel, Checksum, Dialect, Effect, HeartbeatFrame, RestView, Session as Served,
    SnapshotSource, TopFrame, Topic, TradeFrame,
};
use crate::venue_sim::{Ids, Listing, Model, ModelBook, ModelConfig, Update};
use crate::{Book, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side};

/// What the client was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) updates: u64,
    pub(super) tops: u64,
    pub(super) trades: u64,
}

struct Rest<'a>(&'a Model);

impl RestView for Rest<'_> {
    fn listings(&self) -> &[Listing] {
        self.0.listings()
    }

    fn book(&self, instrument: usize) -> (&ModelBook, Ids, i64) {
        (self.0.book(instrument), self.0.ids(instrument), self.0.updated_ns(instrument))
    }
}

struct Link<'a> {
    dialect: &'a dyn Dialect,
    model: Model,
    served: Served,
    topics: Vec<Topic>,
    session: Session,
    out: Outbox,
    books: [Book; 2],
    published: [bool; 2],
    told: Told,
}

/// Runs a session of the protocol against the dialect for so many steps of a market of two instruments.
/// Every book that is published is compared with the model's, and every topic must flow at the end.
pub(super) fn follow(dialect: &dyn Dialect, protocol: &dyn Protocol, steps: usize) -> Told {
    let venue = dialect.facts().venue;
    let listings = vec![Listing::like_btc("aaa"), Listing::like_btc("bbb")];
    let item = |listing: &Listing| Instrument {
        venue,
        symbol: listing.symbol.clone(),
        price_decimals: listing.price_decimals,
        qty_decimals: listing.qty_decimals,
    };
    let table = Arc::new(InstrumentTable::new(listings.iter().map(item).collect()).unwrap());
    let config = ModelConfig { listings, levels: 40, ..ModelConfig::default() };
    let spec = SessionSpec::new(0, venue, table.iter().map(|(id, _)| id).collect());
    let session = Session::new(spec, table).unwrap();
    let mut link = Link {
        dialect,
        model: Model::new(config).unwrap(),
        served: Served::new(1),
        topics: Vec::new(),
        out: session.outbox(),
        session,
        books: [Book::with_depth(1000), Book::with_depth(1000)],
        published: [false; 2],
        told: Told::default(),
    };
    link.session.on_connected(link.model.now_ns(), &mut link.out);
    let requests: Vec<String> = link.session.subscription().map(str::to_owned).collect();
    for text in &requests {
        link.send(text);
    }
    for _ in 0..steps {
        let update = link.model.step().clone();
        link.step(&update);
    }
    link.heartbeat();
    let c = link.session.counters();
    assert_eq!((c.gaps, c.bad_input.total(), c.acks_refused, c.unknown_symbol), (0, 0, 0, 0));
    assert!(c.snapshots_applied == 2 && link.published == [true; 2], "{c:?}");
    for channel in [crate::topic::Channel::Depth, crate::topic::Channel::Trade] {
        for id in [InstrumentId(0), InstrumentId(1)] {
            assert_eq!(link.session.topic_state(id, channel), Some(TopicState::Flowing));
        }
    }
    assert!(c.acks > 0, "no request was confirmed by {protocol:?}");
    link.told
}

impl Link<'_> {
    fn send(&mut self, text: &str) {
        let mut effects = Vec::new();
        self.dialect.handle(text, self.model.listings(), &mut self.served, &mut effects);
        for effect in effects {
            match effect {
                Effect::Reply(text) => self.receive(text.as_bytes()),
                Effect::Subscribe(topic) => self.start(topic),
                Effect::Heartbeat(_) => {}
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    fn start(&mut self, topic: Topic) {
        self.topics.push(topic);
        let is_stream = self.dialect.facts().snapshot == SnapshotSource::Stream;
        if topic.channel == Channel::Book && is_stream {
            let instrument = usize::from(topic.instrument);
            let frame = book_frame(&self.model, topic, &[], self.model.ids(instrument));
            let mut out = Vec::new();
            self.dialect.write_snapshot(&mut self.served, &frame, &mut out);
            self.receive(&out);
        }
    }

    fn step(&mut self, update: &Update) {
        let topics = self.topics.clone();
        for topic in
            topics.iter().filter(|topic| usize::from(topic.instrument) == update.instrument)
        {
            let (mut out, topic, ids) = (Vec::new(), *topic, update.ids);
            let listing = &self.model.listings()[update.instrument];
            let (served, venue_ns) = (&mut self.served, update.venue_ns);
            match (topic.channel, update.trade) {
                (Channel::Book, _) => {
                    let frame = book_frame(&self.model, topic, &update.changes, ids);
                    self.dialect.write_update(served, &frame, &mut out);
                }
                (Channel::Top, _) => {
                    let top = self.model.book(update.instrument).top();
                    let frame = TopFrame { listing, topic, top, ids, venue_ns, is_first: false };
                    self.dialect.write_top(served, &frame, &mut out);
                }
                (Channel::Trade, Some(trade)) => {
                    let frame = TradeFrame { listing, topic, trade, ids, venue_ns };
                    self.dialect.write_trade(served, &frame, &mut out);
                }
                _ => {}
            }
            self.receive(&out);
        }
    }

    /// A heartbeat that wants an answer gets it.
    fn heartbeat(&mut self) {
        let mut out = Vec::new();
        let frame = HeartbeatFrame {
            topic: None,
            listing: None,
            ids: Ids::default(),
            last_trade_id: 0,
            venue_ns: self.model.now_ns(),
        };
        self.dialect.write_heartbeat(&mut self.served, &frame, &mut out);
        let before = self.session.counters().heartbeats;
        self.receive(&out);
        assert_eq!(self.session.counters().heartbeats > before, !out.is_empty());
    }

    fn receive(&mut self, frame: &[u8]) {
        if frame.is_empty() {
            return;
        }
        self.session.on_frame(self.model.now_ns(), frame, &mut self.out);
        self.drain();
    }

    fn drain(&mut self) {
        let events = std::mem::take(&mut self.out.events);
        for event in &events {
            self.apply(event);
        }
        // A held snapshot is published with the update that bridges it: only the last state is now's.
        for event in events.iter().filter(|e| matches!(e.body, EventBody::BookCommit { .. })) {
            let index = event.instrument.index();
            for side in [Side::Bid, Side::Ask] {
                let levels: Vec<Level> = self.books[index].levels(side).collect();
                assert_eq!(levels, self.model.book(index).levels(side), "{side:?} of {index}");
            }
        }
        self.out.topics.clear();
        for action in std::mem::take(&mut self.out.actions) {
            match action {
                Action::Snapshot { instrument, generation } => self.fetch(instrument, generation),
                Action::Send(text) => self.send(text),
                other => panic!("{other:?}"),
            }
        }
    }

    fn fetch(&mut self, instrument: InstrumentId, generation: u32) {
        let request = self.session.snapshot_request(instrument).unwrap().path_and_query;
        let (path, query) = request.split_once('?').unwrap_or((&request, ""));
        let answer = self.dialect.rest(path, query, &Rest(&self.model)).unwrap();
        assert_eq!(answer.status, 200, "{request}");
        let (ts_recv_ns, body) = (self.model.now_ns(), &answer.body[..]);
        let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
        self.session.on_snapshot(reply, &mut self.out);
        self.drain();
    }

    fn apply(&mut self, event: &MarketEvent) {
        let index = event.instrument.index();
        let (book, model) = (&mut self.books[index], self.model.book(index));
        match event.body {
            EventBody::BookBegin => book.clear(),
            EventBody::Level { side, price, qty } => drop(book.set(side, price, qty)),
            EventBody::BookCommit { .. } => {
                self.published[index] = true;
                self.told.updates += 1;
            }
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => {
                self.told.tops += 1;
                let top = model.top();
                let level = |price, qty| Some(Level { price, qty });
                assert_eq!(
                    (level(bid_price, bid_qty), level(ask_price, ask_qty)),
                    (top.bid, top.ask)
                );
            }
            EventBody::Trade { price, qty, .. } => {
                self.told.trades += 1;
                assert!(price > 0 && qty > 0);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn book_frame<'a>(
    model: &'a Model,
    topic: Topic,
    changes: &'a [crate::venue_sim::LevelChange],
    ids: Ids,
) -> BookFrame<'a> {
    let instrument = usize::from(topic.instrument);
    BookFrame {
        listing: &model.listings()[instrument],
        topic,
        book: model.book(instrument),
        changes,
        ids,
        venue_ns: model.updated_ns(instrument),
        checksum: Checksum::True,
        is_restart: false,
    }
}
