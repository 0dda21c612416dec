//! What the engine sees of a connection that is replaced: no loss, no trade twice and none missing.

use super::*;
use purkinje_feeds::{Instrument, Venue, session::Action};

const LEVELS: usize = 10;

/// Takes all that comes and notes it.
#[derive(Default)]
struct Engine {
    events: Vec<MarketEvent>,
}

impl Outlet for Engine {
    fn free(&mut self, _: u64) -> usize {
        usize::MAX
    }

    fn push(&mut self, event: &MarketEvent) {
        self.events.push(*event);
    }

    fn matters(&mut self, _: Reading) {}
}

impl Engine {
    fn take(&mut self) -> Vec<(u16, EventBody)> {
        self.events.drain(..).map(|event| (event.instrument.0, event.body)).collect()
    }

    fn trades(&mut self) -> Vec<u64> {
        let ids = self.events.iter().filter(|e| is_trade(e)).map(|e| e.update_id).collect();
        self.events.clear();
        ids
    }
}

struct Rig {
    core: FeedCore,
    engine: Engine,
    now_ns: i64,
}

impl Rig {
    fn new() -> Self {
        let venue = Venue::BinanceSpot;
        let item = |symbol: &str| Instrument {
            venue,
            symbol: symbol.into(),
            price_decimals: 2,
            qty_decimals: 3,
        };
        let table = InstrumentTable::new(vec![item("AAA"), item("BBB")]).unwrap();
        let spec = SessionSpec::new(0, venue, vec![InstrumentId(0), InstrumentId(1)]);
        let core = FeedCore::new(spec, Arc::new(table), LEVELS).unwrap();
        let mut rig = Self { core, engine: Engine::default(), now_ns: 1_000_000_000 };
        rig.receive(Link::Active, &Received::Connected);
        rig
    }

    fn receive(&mut self, link: Link, received: &Received<'_>) {
        self.now_ns += 1_000_000;
        self.core.take(link, self.now_ns, received);
        self.core.pass(link, &mut self.engine);
    }

    /// An update with one bid whose quantity is its id.
    fn depth(&mut self, link: Link, symbol: &str, first: u64, last: u64) {
        let frame = format!(
            r#"{{"e":"depthUpdate","E":{last},"s":"{symbol}","U":{first},"u":{last},"b":[["1.50","{last}"]],"a":[]}}"#
        );
        self.receive(link, &Received::Frame(frame.as_bytes()));
    }

    fn trade(&mut self, link: Link, symbol: &str, id: u64) {
        let frame = format!(
            r#"{{"e":"trade","E":{id},"s":"{symbol}","t":{id},"p":"1.60","q":"1","T":{id},"m":true,"M":true}}"#
        );
        self.receive(link, &Received::Frame(frame.as_bytes()));
    }

    /// Brings a book to update 10.
    fn sync(&mut self, link: Link, symbol: &str, instrument: u16) {
        self.depth(link, symbol, 6, 10);
        let actions = &mut self.core.outbox(link).unwrap().actions;
        let asked = Action::Snapshot { instrument: InstrumentId(instrument), generation: 1 };
        assert_eq!(std::mem::take(actions), [asked]);
        let body = br#"{"lastUpdateId":8,"bids":[["1.00","2"]],"asks":[["2.00","3"]]}"#;
        self.receive(link, &Received::Snapshot { instrument, generation: 1, body });
    }

    fn promote(&mut self) {
        self.now_ns += 1_000_000;
        self.core.promote(self.now_ns, &mut self.engine);
    }

    fn status(&mut self) -> Vec<Status> {
        self.core.status().drain(..).map(|event| event.what).collect()
    }
}

fn level(side: purkinje_feeds::Side, price: i64, qty: i64) -> EventBody {
    EventBody::Level { side, price, qty }
}

/// A book of snapshot 8 and the updates until `last`, as it is passed on whole.
fn whole_book(instrument: u16, last: i64) -> Vec<(u16, EventBody)> {
    use purkinje_feeds::Side::{Ask, Bid};
    [
        EventBody::BookBegin,
        level(Bid, 150, last * 1_000),
        level(Bid, 100, 2_000),
        level(Ask, 200, 3_000),
        EventBody::BookCommit { conflated: true },
    ]
    .map(|body| (instrument, body))
    .to_vec()
}

#[test]
fn a_successor_is_ready_with_all_books_and_takes_over_without_a_loss() {
    let mut rig = Rig::new();
    rig.sync(Link::Active, "AAA", 0);
    rig.sync(Link::Active, "BBB", 1);
    assert!(matches!(rig.status()[..], [Status::BookSynced { .. }, Status::BookSynced { .. }]));
    rig.engine.take();

    assert!(!rig.core.is_standby_ready());
    rig.receive(Link::Standby, &Received::Connected);
    rig.sync(Link::Standby, "AAA", 0);
    assert!(!rig.core.is_standby_ready(), "one book of two");
    rig.sync(Link::Standby, "BBB", 1);
    assert!(rig.core.is_standby_ready());
    // A gap on the standby link is repaired there, and nobody else hears of it.
    rig.depth(Link::Standby, "BBB", 12, 12);
    assert!(!rig.core.is_standby_ready());
    rig.now_ns += 2_000_000_000;
    rig.receive(Link::Standby, &Received::Disconnected);
    rig.receive(Link::Standby, &Received::Connected);
    rig.sync(Link::Standby, "AAA", 0);
    rig.sync(Link::Standby, "BBB", 1);
    assert_eq!(rig.engine.take(), []);

    // Each link is ahead in one book.
    rig.depth(Link::Active, "AAA", 11, 11);
    rig.depth(Link::Standby, "BBB", 11, 11);
    rig.engine.take();
    rig.promote();
    let mut expected = whole_book(1, 11);
    assert_eq!(rig.engine.take(), expected, "the other waits until it is no older");
    assert_eq!(rig.status(), [Status::Rotated { books_kept: 2, books_lost: 0 }]);
    rig.depth(Link::Active, "AAA", 11, 11);
    rig.core.flush(&mut rig.engine);
    expected = whole_book(0, 11);
    assert_eq!(rig.engine.take(), expected);
    rig.depth(Link::Active, "AAA", 12, 12);
    assert_eq!(rig.engine.take().len(), 2, "a level and a commit, as ever");
    assert_eq!(rig.core.counters().gaps, 0);
    assert_eq!(rig.core.counters().snapshots_applied, 4, "two of each link");
}

#[test]
fn every_trade_is_passed_on_once_whichever_link_told_it_first() {
    let mut rig = Rig::new();
    rig.receive(Link::Standby, &Received::Connected);
    for id in 1..=5 {
        rig.trade(Link::Active, "AAA", id);
    }
    for id in 3..=7 {
        rig.trade(Link::Standby, "AAA", id);
    }
    rig.trade(Link::Standby, "BBB", 40);
    assert_eq!(rig.engine.trades(), [1, 2, 3, 4, 5]);
    rig.promote();
    assert_eq!(rig.engine.trades(), [6, 7, 40], "what the old link had not told yet");

    // Now the successor is behind the old link.
    rig.receive(Link::Standby, &Received::Connected);
    for id in 8..=9 {
        rig.trade(Link::Active, "AAA", id);
    }
    rig.trade(Link::Standby, "AAA", 8);
    rig.engine.trades();
    rig.promote();
    rig.trade(Link::Active, "AAA", 9);
    rig.trade(Link::Active, "AAA", 10);
    assert_eq!(rig.engine.trades(), [10]);
    // A venue that numbers its trades anew is believed.
    rig.trade(Link::Active, "AAA", 1);
    assert_eq!(rig.engine.trades(), [1]);
}

#[test]
fn a_successor_of_a_dead_link_brings_back_the_books_it_has() {
    let mut rig = Rig::new();
    rig.sync(Link::Active, "AAA", 0);
    rig.sync(Link::Active, "BBB", 1);
    rig.receive(Link::Standby, &Received::Connected);
    rig.sync(Link::Standby, "AAA", 0);
    rig.engine.take();
    rig.receive(Link::Active, &Received::Disconnected);
    let reason = DesyncReason::Disconnected;
    let lost = EventBody::Desync { reason };
    assert_eq!(rig.engine.take(), [(0, lost), (1, lost)]);
    rig.status();
    rig.promote();
    assert_eq!(rig.engine.take(), whole_book(0, 10));
    let status = rig.status();
    assert_eq!(status[0], Status::Rotated { books_kept: 0, books_lost: 0 });
    assert!(matches!(status[1..], [Status::BookSynced { recovery_ns: 1.. }]), "{status:?}");
    rig.sync(Link::Active, "BBB", 1);
    assert_eq!(rig.engine.take().len(), 6, "the book that was missing");
}

#[test]
fn a_book_that_the_successor_lacks_is_given_up_and_told() {
    let mut rig = Rig::new();
    rig.sync(Link::Active, "AAA", 0);
    rig.status();
    rig.receive(Link::Standby, &Received::Connected);
    rig.engine.take();
    rig.promote();
    let reason = DesyncReason::Disconnected;
    assert_eq!(rig.engine.take(), [(0, EventBody::Desync { reason })]);
    let rotated = Status::Rotated { books_kept: 0, books_lost: 1 };
    assert_eq!(rig.status(), [rotated, Status::BookDesync { reason }]);
}
