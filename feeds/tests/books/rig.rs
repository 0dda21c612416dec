//! A market of naive books, written in a venue's dialect, read by a session, and what the consumer holds.
//!
//! The truth is a sorted map a side. Frames go to the session in memory; a fault may drop, double, delay or
//! damage them on the way. Invariants: the market is never crossed and its levels are within the depth
//! that the venue's channel carries, except where the venue cuts (Kraken); a run is a function of its
//! script.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use purkinje_feeds::book::{Book, Level};
use purkinje_feeds::session::{Action, Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::venue_sim::dialects::{
    Binance, Bitstamp, Bybit, CoinbaseAdvanced, CoinbaseExchange, Deribit, Kraken, Okx,
};
use purkinje_feeds::venue_sim::{
    BookFrame, Channel, Checksum, Dialect, Effect, HeartbeatFrame, Ids, LeavingLevel, LevelChange,
    Listing, ModelBook, RestView, Session as Served, SnapshotSource, TopFrame, Topic, Trade,
    TradeFrame,
};
use purkinje_feeds::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side};

/// Instruments of a market.
pub(crate) const INSTRUMENTS: usize = 3;

/// Prices are this many ticks apart from the lowest one.
pub(crate) const TICKS: i64 = 40;

/// Levels a side asked for: more than there are prices, but on Kraken, which cuts.
const LEVELS: usize = 100;
const CUT_LEVELS: usize = 10;

/// Between two frames.
const FRAME_NS: i64 = 100_000_000;

const START_NS: i64 = 1_767_225_600_000_000_000;

/// Every dialect, with the source of books it speaks of.
pub(crate) const DIALECTS: [&dyn Dialect; 12] = [
    &Binance::SPOT,
    &Binance::USDM,
    &Binance::COINM,
    &Bitstamp,
    &Bybit::SPOT,
    &Bybit::LINEAR,
    &CoinbaseAdvanced,
    &CoinbaseExchange,
    &Deribit,
    &Kraken,
    &Okx::STREAM,
    &Okx::REST,
];

/// What the market does next.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    /// Which instrument.
    pub(crate) instrument: usize,
    /// Side, price in ticks and quantity of each change; those that would cross the market are left out,
    /// and a quantity of 0 may be at a price that holds nothing.
    pub(crate) changes: Vec<(bool, i64, i64)>,
    /// A trade happens too.
    pub(crate) has_trade: bool,
    /// The book is sent whole afterwards, where the venue does so.
    pub(crate) has_snapshot: bool,
}

/// What happens to a frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Drop,
    Double,
    /// It comes after the next frame.
    Delay,
    /// One byte is another.
    Damage {
        at: usize,
        byte: u8,
    },
    /// The rest is missing.
    Cut {
        at: usize,
    },
}

/// One side of a book, worst price first.
type NaiveSide = BTreeMap<i64, i64>;

/// A book as it was: levels of both sides, best first.
pub(crate) type Shot = [Vec<(i64, i64)>; 2];

/// The truth about one instrument.
#[derive(Clone, Debug, Default)]
struct Market {
    sides: [NaiveSide; 2],
    /// The same for the dialects.
    model: ModelBook,
    ids: Ids,
    trades: u64,
    venue_ns: i64,
}

impl Market {
    fn shot(&self, depth: usize) -> Shot {
        let [bids, asks] = &self.sides;
        let pair = |(price, qty): (&i64, &i64)| (*price, *qty);
        [
            bids.iter().rev().take(depth).map(pair).collect(),
            asks.iter().take(depth).map(pair).collect(),
        ]
    }

    fn crosses(&self, side: Side, price: i64) -> bool {
        match side {
            Side::Bid => self.sides[1].first_key_value().is_some_and(|(best, _)| price >= *best),
            Side::Ask => self.sides[0].last_key_value().is_some_and(|(best, _)| price <= *best),
        }
    }

    fn set(&mut self, side: Side, price: i64, qty: i64) {
        let levels = &mut self.sides[side as usize];
        if qty == 0 {
            levels.remove(&price)
        } else {
            levels.insert(price, qty)
        };
        self.model.set(side, price, qty);
    }

    /// Carries out a move; the changes as a channel of this depth shows them, unknown deletes included.
    fn apply(
        &mut self,
        wanted: &[(bool, i64, i64)],
        depth: usize,
        is_silent: bool,
    ) -> Vec<LevelChange> {
        let shown = self.shot(depth);
        let mut seen = BTreeSet::new();
        let mut unknown = Vec::new();
        for &(is_bid, ticks, qty) in wanted {
            let side = if is_bid { Side::Bid } else { Side::Ask };
            let price = price_of(ticks);
            let is_cross = qty > 0 && self.crosses(side, price);
            if is_cross || !seen.insert((is_bid, price)) {
                continue;
            }
            if qty == 0 && !self.sides[side as usize].contains_key(&price) {
                unknown.push(LevelChange { side, price, qty: 0, qty_before: 0 });
            }
            self.set(side, price, qty);
        }
        let now = self.shot(depth);
        let mut changes = Vec::new();
        for side in [Side::Bid, Side::Ask] {
            let [before, after] = [&shown, &now]
                .map(|shot| shot[side as usize].iter().copied().collect::<BTreeMap<i64, i64>>());
            for (&price, &qty_before) in &before {
                let is_held = self.sides[side as usize].contains_key(&price);
                if !(after.contains_key(&price) || is_held && is_silent) {
                    changes.push(LevelChange { side, price, qty: 0, qty_before });
                }
            }
            for (&price, &qty) in &after {
                let qty_before = before.get(&price).copied().unwrap_or(0);
                if qty_before != qty {
                    changes.push(LevelChange { side, price, qty, qty_before });
                }
            }
        }
        changes.extend(unknown);
        changes
    }

    fn count_on(&mut self, changes: usize, sequence: u64) {
        let ids = &mut self.ids;
        (ids.prev, ids.first) = (ids.last, ids.last + 1);
        ids.last += changes as u64;
        ids.prev_link = ids.link;
        ids.link += 1 + ids.last % 7;
        ids.count += 1;
        ids.sequence = sequence;
        self.venue_ns = START_NS + sequence as i64 * 1_000_000;
    }
}

fn price_of(ticks: i64) -> i64 {
    10_000 + 10 * ticks
}

struct Markets {
    listings: Vec<Listing>,
    all: Vec<Market>,
}

impl RestView for Markets {
    fn listings(&self) -> &[Listing] {
        &self.listings
    }

    fn book(&self, instrument: usize) -> (&ModelBook, Ids, i64) {
        let market = &self.all[instrument];
        (&market.model, market.ids, market.venue_ns)
    }
}

/// A REST answer on its way.
struct Answer {
    instrument: InstrumentId,
    generation: u32,
    body: Vec<u8>,
}

/// Market, dialect, session and consumer.
pub(crate) struct Rig {
    dialect: &'static dyn Dialect,
    depth: usize,
    markets: Markets,
    sequence: u64,
    served: Served,
    topics: Vec<Topic>,
    pub(crate) session: Session,
    out: Outbox,
    now_ns: i64,
    /// The frame that waits for the next one.
    delayed: Option<Vec<u8>>,
    answers: Vec<Answer>,
    reconnect: bool,
    /// What the consumer holds.
    books: Vec<Book>,
    pub(crate) published: [bool; INSTRUMENTS],
    open: [bool; INSTRUMENTS],
    /// Every book there ever was.
    history: [BTreeSet<Shot>; INSTRUMENTS],
    /// Published books that the venue never had.
    pub(crate) invented: u64,
    pub(crate) commits: u64,
    pub(crate) desyncs: u64,
}

impl Rig {
    pub(crate) fn new(dialect: &'static dyn Dialect) -> Self {
        let facts = dialect.facts();
        let venue = facts.venue;
        let cuts = facts.leaving_level == LeavingLevel::IsSilent;
        let depth = if cuts { CUT_LEVELS } else { LEVELS };
        let listings: Vec<Listing> =
            ["AAA", "BBB", "CCC"].into_iter().map(Listing::like_btc).collect();
        let item = |listing: &Listing| Instrument {
            venue,
            symbol: listing.symbol.clone(),
            price_decimals: listing.price_decimals,
            qty_decimals: listing.qty_decimals,
        };
        let table = Arc::new(InstrumentTable::new(listings.iter().map(item).collect()).unwrap());
        let mut spec = SessionSpec::new(0, venue, table.iter().map(|(id, _)| id).collect());
        spec.snapshot_limit = depth;
        spec.buffer_diffs = 64;
        spec.buffer_levels = 1024;
        if venue == purkinje_feeds::Venue::Okx {
            use purkinje_feeds::protocol::SnapshotSource::{Rest, Stream};
            let is_stream = facts.snapshot == SnapshotSource::Stream;
            spec.snapshot_source = Some(if is_stream { Stream } else { Rest });
        }
        let session = Session::new(spec, table).unwrap();
        let mut all = vec![Market::default(); INSTRUMENTS];
        for market in &mut all {
            let seeds = [(true, 15, 1), (true, 17, 2), (false, 21, 3), (false, 24, 4)];
            market.apply(&seeds, depth, cuts);
            market.count_on(seeds.len(), 1);
        }
        let mut rig = Self {
            dialect,
            depth,
            markets: Markets { listings, all },
            sequence: 1,
            served: Served::new(1),
            topics: Vec::new(),
            out: session.outbox(),
            session,
            now_ns: START_NS,
            delayed: None,
            answers: Vec::new(),
            reconnect: false,
            books: vec![Book::with_depth(1_000); INSTRUMENTS],
            published: [false; INSTRUMENTS],
            open: [false; INSTRUMENTS],
            history: Default::default(),
            invented: 0,
            commits: 0,
            desyncs: 0,
        };
        for instrument in 0..INSTRUMENTS {
            rig.note(instrument);
        }
        rig.connect();
        rig
    }

    /// The market moves; its frames meet the fault.
    pub(crate) fn step(&mut self, next: &Move, fault: Fault) {
        let (at, is_silent) = (next.instrument, self.is_silent());
        let market = &mut self.markets.all[at];
        let changes = market.apply(&next.changes, self.depth, is_silent);
        self.sequence += 1;
        market.count_on(changes.len().max(1), self.sequence);
        self.note(at);
        // An update that changes nothing within the depth is not sent; its numbers are not used up.
        if changes.is_empty() {
            let Market { ids, .. } = &mut self.markets.all[at];
            (ids.last, ids.link, ids.count) = (ids.prev, ids.prev_link, ids.count - 1);
            return;
        }
        let topics: Vec<Topic> = self
            .topics
            .iter()
            .filter(|topic| usize::from(topic.instrument) == at)
            .copied()
            .collect();
        for topic in topics {
            let mut text = Vec::new();
            match topic.channel {
                Channel::Book => {
                    self.write_book(topic, &changes, false, &mut text);
                    self.deliver(text, fault);
                    let is_stream = self.dialect.facts().snapshot == SnapshotSource::Stream;
                    if next.has_snapshot && is_stream {
                        let mut whole = Vec::new();
                        self.write_book(topic, &[], true, &mut whole);
                        self.deliver(whole, Fault::None);
                    }
                }
                Channel::Top => {
                    self.write_top(topic, &mut text);
                    self.deliver(text, damage_only(fault));
                }
                Channel::Trade if next.has_trade => {
                    self.write_trade(topic, &mut text);
                    self.deliver(text, damage_only(fault));
                }
                Channel::Heartbeat if matches!(fault, Fault::Damage { .. } | Fault::Cut { .. }) => {
                    self.write_heartbeat(topic, &mut text);
                    self.deliver(text, fault);
                }
                _ => {}
            }
        }
        self.carry_out();
    }

    /// The answers to the REST requests that are outstanding arrive.
    pub(crate) fn answer(&mut self) {
        for answer in std::mem::take(&mut self.answers) {
            self.now_ns += FRAME_NS;
            let Answer { instrument, generation, body } = answer;
            let reply =
                SnapshotReply { instrument, generation, ts_recv_ns: self.now_ns, body: &body };
            self.session.on_snapshot(reply, &mut self.out);
            self.drain();
        }
        self.carry_out();
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, ns: i64) {
        self.now_ns += ns;
    }

    /// What the consumer holds of an instrument.
    pub(crate) fn held(&self, instrument: usize) -> Shot {
        [Side::Bid, Side::Ask].map(|side| {
            self.books[instrument].levels(side).map(|Level { price, qty }| (price, qty)).collect()
        })
    }

    /// What the venue's channel shows of it.
    pub(crate) fn truth(&self, instrument: usize) -> Shot {
        self.markets.all[instrument].shot(self.depth)
    }

    fn is_silent(&self) -> bool {
        self.dialect.facts().leaving_level == LeavingLevel::IsSilent
    }

    fn note(&mut self, instrument: usize) {
        let shot = self.truth(instrument);
        self.history[instrument].insert(shot);
    }

    fn connect(&mut self) {
        (self.topics, self.delayed) = (Vec::new(), None);
        self.answers.clear();
        self.served = Served::new(self.served.id + 1);
        let listings = &self.markets.listings;
        let (path, mut effects) = (self.dialect.facts().ws_path, Vec::new());
        assert!(self.dialect.open(path, "", listings, &mut self.served, &mut effects));
        self.session.on_connected(self.now_ns, &mut self.out);
        self.drain();
        let texts: Vec<String> = self.session.subscription().map(str::to_owned).collect();
        for text in &texts {
            self.send(text);
        }
    }

    fn send(&mut self, text: &str) {
        let mut effects = Vec::new();
        let listings = &self.markets.listings;
        self.dialect.handle(text, listings, &mut self.served, &mut effects);
        for effect in effects {
            match effect {
                Effect::Reply(text) => self.receive(text.as_bytes()),
                Effect::Subscribe(topic) => {
                    self.topics.retain(|other| *other != topic);
                    self.topics.push(topic);
                    let is_stream = self.dialect.facts().snapshot == SnapshotSource::Stream;
                    if topic.channel == Channel::Book && is_stream {
                        let mut text = Vec::new();
                        self.write_book(topic, &[], true, &mut text);
                        self.deliver(text, Fault::None);
                    }
                }
                Effect::Unsubscribe(topic) => self.topics.retain(|other| *other != topic),
                Effect::Heartbeat(_) => {}
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    fn write_book(
        &mut self,
        topic: Topic,
        changes: &[LevelChange],
        is_snapshot: bool,
        out: &mut Vec<u8>,
    ) {
        let at = usize::from(topic.instrument);
        let market = &self.markets.all[at];
        let frame = BookFrame {
            listing: &self.markets.listings[at],
            topic,
            book: &market.model,
            changes,
            ids: market.ids,
            venue_ns: market.venue_ns,
            checksum: Checksum::True,
            is_restart: false,
        };
        if is_snapshot {
            self.dialect.write_snapshot(&mut self.served, &frame, out);
        } else {
            self.dialect.write_update(&mut self.served, &frame, out);
        }
    }

    fn write_top(&mut self, topic: Topic, out: &mut Vec<u8>) {
        let at = usize::from(topic.instrument);
        let Market { ids, venue_ns, ref model, .. } = self.markets.all[at];
        let listing = &self.markets.listings[at];
        let frame = TopFrame { listing, topic, top: model.top(), ids, venue_ns, is_first: false };
        self.dialect.write_top(&mut self.served, &frame, out);
    }

    fn write_trade(&mut self, topic: Topic, out: &mut Vec<u8>) {
        let at = usize::from(topic.instrument);
        let market = &mut self.markets.all[at];
        market.trades += 1;
        let trade = Trade { id: market.trades, price: price_of(20), qty: 7, aggressor: Side::Bid };
        let listing = &self.markets.listings[at];
        let (ids, venue_ns) = (market.ids, market.venue_ns);
        let frame = TradeFrame { listing, topic, trade, ids, venue_ns };
        self.dialect.write_trade(&mut self.served, &frame, out);
    }

    fn write_heartbeat(&mut self, topic: Topic, out: &mut Vec<u8>) {
        let at = usize::from(topic.instrument);
        let market = &self.markets.all[at];
        let frame = HeartbeatFrame {
            topic: Some(topic),
            listing: Some(&self.markets.listings[at]),
            ids: market.ids,
            last_trade_id: market.trades,
            venue_ns: market.venue_ns,
        };
        self.dialect.write_heartbeat(&mut self.served, &frame, out);
    }

    fn deliver(&mut self, mut frame: Vec<u8>, fault: Fault) {
        if frame.is_empty() {
            return;
        }
        match fault {
            Fault::Drop => return,
            Fault::Double => {
                self.receive(&frame);
                self.receive(&frame);
            }
            Fault::Delay if self.delayed.is_none() => {
                self.delayed = Some(frame);
                return;
            }
            Fault::None | Fault::Delay => self.receive(&frame),
            Fault::Damage { at, byte } => {
                let at = at % frame.len();
                frame[at] = byte;
                self.receive(&frame);
            }
            Fault::Cut { at } => {
                frame.truncate(at % frame.len());
                self.receive(&frame);
            }
        }
        if let Some(late) = self.delayed.take() {
            self.receive(&late);
        }
    }

    fn receive(&mut self, frame: &[u8]) {
        self.now_ns += FRAME_NS;
        self.session.on_frame(self.now_ns, frame, &mut self.out);
        self.drain();
    }

    fn drain(&mut self) {
        for event in std::mem::take(&mut self.out.events) {
            self.take(&event);
        }
        self.out.topics.clear();
    }

    /// Does what the session asked for, once the frames of the step are through.
    fn carry_out(&mut self) {
        for action in std::mem::take(&mut self.out.actions) {
            match action {
                Action::Snapshot { instrument, generation } => {
                    let request = self.session.snapshot_request(instrument).unwrap();
                    let request = request.path_and_query;
                    let (path, query) = request.split_once('?').unwrap_or((&request, ""));
                    let answer = self.dialect.rest(path, query, &self.markets).unwrap();
                    assert_eq!(answer.status, 200, "{request}");
                    self.answers.push(Answer { instrument, generation, body: answer.body });
                }
                Action::Resubscribe { topic } => {
                    let texts = self.session.resubscription(topic);
                    for text in &texts {
                        self.send(text);
                    }
                }
                Action::Send(text) => self.send(text),
                Action::Reconnect { .. } => self.reconnect = true,
            }
        }
        if std::mem::take(&mut self.reconnect) {
            self.out.actions.clear();
            self.session.on_disconnected(self.now_ns, &mut self.out);
            self.drain();
            self.connect();
        }
    }

    fn take(&mut self, event: &MarketEvent) {
        let at = event.instrument.index();
        let book = &mut self.books[at];
        match event.body {
            EventBody::BookBegin => {
                book.clear();
                self.open[at] = true;
            }
            EventBody::Level { side, price, qty } => {
                assert!(self.open[at] && price > 0 && qty >= 0, "{event:?}");
                book.set(side, price, qty);
            }
            EventBody::BookCommit { .. } => {
                assert!(self.open[at], "{event:?}");
                self.published[at] = true;
                self.commits += 1;
                let held = self.held(at);
                self.invented += u64::from(!self.history[at].contains(&held));
            }
            EventBody::Desync { .. } => {
                self.published[at] = false;
                self.open[at] = false;
                self.desyncs += 1;
            }
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => {
                assert!([bid_price, bid_qty, ask_price, ask_qty].iter().all(|n| *n >= 0));
            }
            EventBody::Trade { price, qty, .. } => assert!(price > 0 && qty >= 0, "{event:?}"),
            EventBody::Oracle { .. } => panic!("no venue has an oracle"),
        }
    }
}

/// Tops and trades are lost and delayed nowhere but where a frame of theirs is damaged.
fn damage_only(fault: Fault) -> Fault {
    match fault {
        Fault::Damage { .. } | Fault::Cut { .. } => fault,
        _ => Fault::None,
    }
}
