//! The recordings of several instruments on one connection, and what a consumer makes of them.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::PathBuf;
use std::sync::Arc;

use purkinje_feeds::book::{Book, Level, Shape};
use purkinje_feeds::fixed::Fixed;
use purkinje_feeds::recording::capture::{CaptureKind, CaptureReader};
use purkinje_feeds::session::{
    Action, Outbox, Session, SessionCounters, SessionSpec, SnapshotReply,
};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, Side, Venue,
};

/// Decimals of every price and quantity: as many as any recording has.
pub(crate) const DECIMALS: u8 = 8;

/// One line of a recording.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) ts_recv_ns: i64,
    pub(crate) kind: CaptureKind,
    pub(crate) address: String,
    pub(crate) bytes: Vec<u8>,
}

/// The lines of a recording in order of time; `None` where the data set is absent.
pub(crate) fn lines(file: &str) -> Option<Vec<Line>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ws_captures/cryptofeed_v2");
    let path = PathBuf::from(root).join(file);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    let mut reader = CaptureReader::open(&path).unwrap();
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        lines.push(Line {
            ts_recv_ns: line.ts_recv_ns,
            kind: line.kind,
            address: String::from_utf8(line.address.to_vec()).unwrap(),
            bytes: line.bytes.to_vec(),
        });
    }
    // Answers to REST requests stand before all frames.
    lines.sort_by_key(|line| line.ts_recv_ns);
    Some(lines)
}

/// The consumer's view of one instrument.
pub(crate) struct View {
    pub(crate) book: Book,
    /// Between `BookBegin … BookCommit` and the next `Desync`.
    pub(crate) usable: bool,
    pub(crate) commits: u64,
    pub(crate) crossed: u64,
    pub(crate) last_commit: u64,
    pub(crate) desyncs: Vec<DesyncReason>,
}

/// A session and the books of its consumer.
pub(crate) struct Feed {
    pub(crate) session: Session,
    pub(crate) out: Outbox,
    pub(crate) views: Vec<View>,
    symbols: Vec<String>,
}

impl Feed {
    /// Connected, with depth and trades of the symbols.
    pub(crate) fn new(venue: Venue, symbols: &[&str]) -> Self {
        let item = |symbol: &&str| Instrument {
            venue,
            symbol: (*symbol).to_owned(),
            price_decimals: DECIMALS,
            qty_decimals: DECIMALS,
        };
        let table = Arc::new(InstrumentTable::new(symbols.iter().map(item).collect()).unwrap());
        let mut spec = SessionSpec::new(0, venue, table.iter().map(|(id, _)| id).collect());
        spec.snapshot_limit = 5000;
        spec.channels.book_ticker = false;
        let mut session = Session::new(spec, table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let view = |_: &&str| View {
            book: Book::with_depth(5000),
            usable: false,
            commits: 0,
            crossed: 0,
            last_commit: 0,
            desyncs: Vec::new(),
        };
        let views = symbols.iter().map(view).collect();
        Self { session, out, views, symbols: symbols.iter().map(|s| (*s).to_owned()).collect() }
    }

    pub(crate) fn counters(&self) -> &SessionCounters {
        self.session.counters()
    }

    pub(crate) fn id(&self, symbol: &str) -> InstrumentId {
        InstrumentId(self.symbols.iter().position(|known| known == symbol).unwrap() as u16)
    }

    pub(crate) fn view(&self, symbol: &str) -> &View {
        &self.views[self.id(symbol).index()]
    }

    pub(crate) fn frame(&mut self, ts_recv_ns: i64, bytes: &[u8]) -> Vec<Action> {
        self.session.on_frame(ts_recv_ns, bytes, &mut self.out);
        self.drain()
    }

    pub(crate) fn snapshot(&mut self, symbol: &str, ts_recv_ns: i64, body: &[u8]) -> Vec<Action> {
        let (instrument, generation) = (self.id(symbol), self.session.generation());
        let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
        self.session.on_snapshot(reply, &mut self.out);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Action> {
        for event in self.out.events.drain(..) {
            let view = &mut self.views[event.instrument.index()];
            match event.body {
                EventBody::BookBegin => {
                    assert!(!view.usable, "a usable book is replaced without a desync");
                    view.book.clear();
                }
                EventBody::Level { side, price, qty } => {
                    view.book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => {
                    view.usable = true;
                    view.commits += 1;
                    view.crossed += u64::from(view.book.shape() == Shape::Crossed);
                    view.last_commit = event.update_id;
                }
                EventBody::Desync { reason } => {
                    view.usable = false;
                    view.desyncs.push(reason);
                }
                _ => {}
            }
        }
        self.out.topics.clear();
        self.out.actions.drain(..).collect()
    }

    /// The whole book of an instrument, best levels first.
    pub(crate) fn levels(&self, symbol: &str) -> [Vec<Level>; 2] {
        [Side::Bid, Side::Ask].map(|side| self.view(symbol).book.levels(side).collect())
    }

    /// Both sides as JSON lists; a level is written by `write` from its price and quantity.
    pub(crate) fn sides(
        &self,
        symbol: &str,
        write: impl Fn(Fixed, Fixed) -> String,
    ) -> [String; 2] {
        let fixed = |mantissa| Fixed { mantissa, decimals: DECIMALS };
        self.levels(symbol).map(|levels| {
            let texts: Vec<String> =
                levels.iter().map(|level| write(fixed(level.price), fixed(level.qty))).collect();
            format!("[{}]", texts.join(","))
        })
    }

    /// All other books were never given up.
    pub(crate) fn assert_others_untouched(&self, symbol: &str) {
        for (other, view) in self.symbols.iter().zip(&self.views) {
            assert!(other == symbol || view.desyncs.is_empty(), "{other} was given up too");
        }
    }
}
