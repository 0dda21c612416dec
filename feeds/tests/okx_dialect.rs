//! OKX's adapter against OKX's dialect of the simulator, without sockets: both ways to a whole book, with
//! a lost update and numbers that start anew.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

use std::sync::Arc;

use purkinje_feeds::book::Book;
use purkinje_feeds::protocol::SnapshotSource;
use purkinje_feeds::session::{Action, Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::venue_sim::dialects::Okx;
use purkinje_feeds::venue_sim::{
    BookFrame, Checksum, Dialect, Effect, Ids, LevelChange, Listing, Model, ModelBook, ModelConfig,
    RestView, Session as SimSession, Topic,
};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, Side, Venue,
};

const SYMBOL: &str = "BTC-USDT-SWAP";
const ONE: InstrumentId = InstrumentId(0);

/// The model as REST sees it.
struct Rest<'a>(&'a Model);

impl RestView for Rest<'_> {
    fn listings(&self) -> &[Listing] {
        self.0.listings()
    }

    fn book(&self, instrument: usize) -> (&ModelBook, Ids, i64) {
        (self.0.book(instrument), self.0.ids(instrument), self.0.updated_ns(instrument))
    }
}

struct Rig {
    dialect: Okx,
    model: Model,
    sim: SimSession,
    topic: Topic,
    session: Session,
    out: Outbox,
    book: Book,
    is_usable: bool,
    desyncs: Vec<DesyncReason>,
    now_ns: i64,
}

impl Rig {
    fn new(dialect: Okx, source: SnapshotSource) -> Self {
        let config =
            ModelConfig { listings: vec![Listing::like_btc(SYMBOL)], ..ModelConfig::default() };
        let model = Model::new(config).unwrap();
        let item = Instrument {
            venue: Venue::Okx,
            symbol: SYMBOL.into(),
            price_decimals: 2,
            qty_decimals: 3,
        };
        let table = Arc::new(InstrumentTable::new(vec![item]).unwrap());
        let mut spec = SessionSpec::new(0, Venue::Okx, vec![ONE]);
        spec.snapshot_source = Some(source);
        let mut session = Session::new(spec, table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let request = session.subscription().next().unwrap().to_owned();
        let (mut sim, mut effects) = (SimSession::new(1), Vec::new());
        dialect.handle(&request, model.listings(), &mut sim, &mut effects);
        let mut topics = effects.iter().filter_map(|effect| match effect {
            Effect::Subscribe(topic) => Some(*topic),
            _ => None,
        });
        let topic = topics.next().unwrap();
        let mut rig = Self {
            dialect,
            model,
            sim,
            topic,
            session,
            out,
            book: Book::with_depth(400),
            is_usable: false,
            desyncs: Vec::new(),
            now_ns: 0,
        };
        for effect in effects {
            if let Effect::Reply(text) = effect {
                rig.feed(text.as_bytes());
            }
        }
        assert_eq!((rig.session.counters().acks, rig.session.counters().acks_refused), (3, 0));
        rig
    }

    /// A message of the book stream.
    fn write(
        &mut self,
        changes: &[LevelChange],
        write: fn(&Okx, &mut SimSession, &BookFrame<'_>, &mut Vec<u8>),
    ) -> Vec<u8> {
        let frame = BookFrame {
            listing: &self.model.listings()[0],
            topic: self.topic,
            book: self.model.book(0),
            changes,
            ids: self.model.ids(0),
            venue_ns: self.model.now_ns(),
            checksum: Checksum::True,
            is_restart: false,
        };
        let mut text = Vec::new();
        write(&self.dialect, &mut self.sim, &frame, &mut text);
        text
    }

    /// The model moves; its message is returned, not fed.
    fn step(&mut self) -> Vec<u8> {
        let changes = self.model.step().changes.clone();
        self.write(&changes, Okx::write_update)
    }

    fn feed(&mut self, frame: &[u8]) -> Vec<Action> {
        self.now_ns += 100_000_000;
        self.session.on_frame(self.now_ns, frame, &mut self.out);
        self.drain()
    }

    /// Answers a snapshot request with the book as it is now.
    fn answer(&mut self) -> Vec<Action> {
        let request = self.session.snapshot_request(ONE).unwrap();
        let (path, query) = request.path_and_query.split_once('?').unwrap();
        let answer = self.dialect.rest(path, query, &Rest(&self.model)).unwrap();
        let generation = self.session.generation();
        let ts_recv_ns = self.now_ns;
        let reply = SnapshotReply { instrument: ONE, generation, ts_recv_ns, body: &answer.body };
        self.session.on_snapshot(reply, &mut self.out);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Action> {
        for event in self.out.events.drain(..) {
            match event.body {
                EventBody::BookBegin => self.book.clear(),
                EventBody::Level { side, price, qty } => {
                    self.book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => self.is_usable = true,
                EventBody::Desync { reason } => {
                    self.is_usable = false;
                    self.desyncs.push(reason);
                }
                _ => {}
            }
        }
        self.out.topics.clear();
        self.out.actions.drain(..).collect()
    }

    fn is_true(&self) -> bool {
        let is_equal =
            |side| self.book.levels(side).eq(self.model.book(0).levels(side).iter().copied());
        self.is_usable && is_equal(Side::Bid) && is_equal(Side::Ask)
    }

    /// Updates, keep-alives and numbers that start anew leave the book true.
    fn run_undisturbed(&mut self) {
        for i in 0..200 {
            if i == 100 {
                self.model.restart_link(0);
            }
            let update = self.step();
            assert_eq!(self.feed(&update), []);
            assert!(self.is_true(), "update {i}");
            let alive = self.write(&[], Okx::write_keep_alive);
            assert_eq!(self.feed(&alive), []);
            assert!(self.is_true(), "keep-alive {i}");
        }
    }
}

#[test]
fn a_book_from_the_stream_is_verified_and_repaired_by_subscribing_anew() {
    let mut rig = Rig::new(Okx::STREAM, SnapshotSource::Stream);
    let snapshot = rig.write(&[], Okx::write_snapshot);
    assert_eq!(rig.feed(&snapshot), []);
    rig.run_undisturbed();
    let lost = rig.step();
    assert!(!lost.is_empty());
    let next = rig.step();
    let actions = rig.feed(&next);
    assert!(matches!(actions[..], [Action::Resubscribe { .. }]), "{actions:?}");
    assert_eq!(rig.desyncs, [DesyncReason::SequenceGap]);
    let snapshot = rig.write(&[], Okx::write_snapshot);
    assert_eq!(rig.feed(&snapshot), []);
    rig.run_undisturbed();
    let c = rig.session.counters();
    assert_eq!((c.gaps, c.checksum_mismatches, c.bad_input.total()), (1, 0, 0));
    assert_eq!(c.checksums, c.depth - 1, "all but the update that showed the gap");
}

#[test]
fn a_wrong_checksum_costs_the_book() {
    let mut rig = Rig::new(Okx::STREAM, SnapshotSource::Stream);
    let snapshot = rig.write(&[], Okx::write_snapshot);
    rig.feed(&snapshot);
    let update = String::from_utf8(rig.step()).unwrap();
    let (head, tail) = update.split_once(r#""checksum":"#).unwrap();
    let (_, tail) = tail.split_once(',').unwrap();
    let zero = format!(r#"{head}"checksum":0,{tail}"#);
    assert_eq!(rig.feed(zero.as_bytes()), []);
    assert!(rig.is_true(), "0 is no checksum");
    let update = String::from_utf8(rig.step()).unwrap();
    let (head, tail) = update.split_once(r#""checksum":"#).unwrap();
    let (sum, tail) = tail.split_once(',').unwrap();
    let wrong: i32 = sum.parse::<i32>().unwrap() ^ 1;
    let wrong = format!(r#"{head}"checksum":{wrong},{tail}"#);
    let actions = rig.feed(wrong.as_bytes());
    assert!(matches!(actions[..], [Action::Resubscribe { .. }]), "{actions:?}");
    assert_eq!(rig.desyncs, [DesyncReason::ChecksumMismatch]);
}

#[test]
fn a_book_from_rest_is_bridged_by_the_second_update_and_repaired_from_rest() {
    let mut rig = Rig::new(Okx::REST, SnapshotSource::Rest);
    let ask = [Action::Snapshot { instrument: ONE, generation: 1 }];
    let first = rig.step();
    assert_eq!(rig.feed(&first), ask);
    let second = rig.step();
    assert_eq!(rig.feed(&second), []);
    assert_eq!(rig.answer(), []);
    assert!(!rig.is_usable, "nothing bridges a snapshot that contains all updates");
    let third = rig.step();
    assert_eq!(rig.feed(&third), []);
    assert!(rig.is_true());
    rig.run_undisturbed();
    rig.step();
    let next = rig.step();
    assert_eq!(rig.feed(&next), ask);
    assert_eq!(rig.desyncs, [DesyncReason::SequenceGap]);
    assert_eq!(rig.answer(), []);
    let bridge = rig.step();
    assert_eq!(rig.feed(&bridge), []);
    assert!(rig.is_true());
    rig.run_undisturbed();
    let c = rig.session.counters();
    assert_eq!((c.snapshots_applied, c.repairs_done, c.checksums), (2, 1, 0));
    assert_eq!((c.awaiting_snapshot, c.bad_input.total()), (1, 0));
}
