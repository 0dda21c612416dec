//! What the tests on recordings of venues with stream snapshots share: the frames of one connection, a
//! session with the books of its consumer, and a naive reader to compare them with.
//!
//! Invariants: the naive reader shares no code with the crate but number parsing; a recording that is
//! absent is said and skipped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use purkinje_feeds::book::{Book, Level, Shape};
use purkinje_feeds::recording::capture::{CaptureKind, CaptureReader};
use purkinje_feeds::session::{Action, Outbox, Session, SessionCounters, SessionSpec};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, Side, Venue, fixed,
};
use serde_json::Value;

/// Decimals of every instrument here: more than any of the recordings has.
pub(crate) const DECIMALS: u8 = 8;

/// Deepest book on record, levels a side.
const DEPTH: usize = 2000;

/// The receive time (ns since the epoch) and text of a frame.
pub(crate) type Frame = (i64, String);

/// The frames of the connections whose address ends so; `None` where the recording is absent.
pub(crate) fn frames(file: &str, address_end: &str) -> Option<Vec<Frame>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ws_captures");
    let path = PathBuf::from(root).join(file);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    let mut reader = CaptureReader::open(&path).unwrap();
    let (mut wanted, mut frames) = (Vec::new(), Vec::new());
    while let Some(line) = reader.next_line().unwrap() {
        match line.kind {
            CaptureKind::Connected if line.bytes.ends_with(address_end.as_bytes()) => {
                wanted.push(line.connection);
            }
            CaptureKind::Frame if wanted.contains(&line.connection) => {
                let text = String::from_utf8(line.bytes.to_vec()).unwrap();
                frames.push((line.ts_recv_ns, text));
            }
            _ => {}
        }
    }
    Some(frames)
}

/// A book as texts: price mantissa to the price and quantity of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naive {
    sides: [BTreeMap<i64, (String, String)>; 2],
}

impl Naive {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Applies a JSON list of levels.
    pub(crate) fn apply(&mut self, side: Side, levels: &Value) {
        for level in levels.as_array().unwrap() {
            let (price, qty) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
            let key = fixed::parse(price.as_bytes(), DECIMALS).unwrap();
            let levels = &mut self.sides[side as usize];
            if qty.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
                levels.remove(&key);
            } else {
                levels.insert(key, (price.to_owned(), qty.to_owned()));
            }
        }
    }

    /// Texts of price and quantity, best first.
    pub(crate) fn texts(&self, side: Side) -> Vec<&(String, String)> {
        let levels = self.sides[side as usize].values();
        if side == Side::Bid { levels.rev().collect() } else { levels.collect() }
    }

    /// The levels as the crate's book holds them, best first.
    pub(crate) fn levels(&self, side: Side) -> Vec<Level> {
        let qty = |text: &str| fixed::parse(text.as_bytes(), DECIMALS).unwrap();
        let all = self.sides[side as usize].iter();
        let mut levels: Vec<_> =
            all.map(|(price, (_, text))| Level { price: *price, qty: qty(text) }).collect();
        if side == Side::Bid {
            levels.reverse();
        }
        levels
    }
}

/// A book of the consumer.
pub(crate) struct Consumer {
    pub(crate) book: Book,
    /// Between `BookBegin … BookCommit` and the next `Desync`.
    pub(crate) is_usable: bool,
    pub(crate) commits: u64,
    pub(crate) desyncs: Vec<DesyncReason>,
}

/// A session and the books of its consumer, one an instrument.
pub(crate) struct Feed {
    pub(crate) session: Session,
    pub(crate) out: Outbox,
    pub(crate) books: Vec<Consumer>,
    /// Commits after which a book was anything but normal.
    pub(crate) not_normal: u64,
}

impl Feed {
    pub(crate) fn new(venue: Venue, symbols: &[&str], levels: usize) -> Self {
        let item = |symbol: &&str| Instrument {
            venue,
            symbol: (*symbol).to_owned(),
            price_decimals: DECIMALS,
            qty_decimals: DECIMALS,
        };
        let table = Arc::new(InstrumentTable::new(symbols.iter().map(item).collect()).unwrap());
        let instruments = table.iter().map(|(id, _)| id).collect();
        let mut spec = SessionSpec::new(0, venue, instruments);
        spec.snapshot_limit = levels;
        let mut session = Session::new(spec, table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let consumer = |_: &&str| Consumer {
            book: Book::with_depth(DEPTH),
            is_usable: false,
            commits: 0,
            desyncs: Vec::new(),
        };
        Self { session, out, books: symbols.iter().map(consumer).collect(), not_normal: 0 }
    }

    /// Feeds a frame, applies what it caused and returns what was asked for.
    pub(crate) fn frame(&mut self, (ts_recv_ns, text): &Frame) -> Vec<Action> {
        self.session.on_frame(*ts_recv_ns, text.as_bytes(), &mut self.out);
        for event in self.out.events.drain(..) {
            let consumer = &mut self.books[event.instrument.index()];
            match event.body {
                EventBody::BookBegin => consumer.book.clear(),
                EventBody::Level { side, price, qty } => {
                    consumer.book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => {
                    consumer.is_usable = true;
                    consumer.commits += 1;
                    self.not_normal += u64::from(consumer.book.shape() != Shape::Normal);
                }
                EventBody::Desync { reason } => {
                    consumer.is_usable = false;
                    consumer.desyncs.push(reason);
                }
                _ => {}
            }
        }
        self.out.topics.clear();
        self.out.actions.drain(..).collect()
    }

    pub(crate) fn counters(&self) -> &SessionCounters {
        self.session.counters()
    }

    /// Whether the consumer's book is that of the naive reader, level by level.
    pub(crate) fn is_equal(&self, at: usize, naive: &Naive) -> bool {
        [Side::Bid, Side::Ask]
            .into_iter()
            .all(|side| self.books[at].book.levels(side).eq(naive.levels(side)))
    }

    /// Whether an action asks to subscribe the depth of that instrument anew.
    pub(crate) fn is_resubscription(&self, action: Action, at: usize) -> bool {
        let depth = (InstrumentId(at as u16), purkinje_feeds::topic::Channel::Depth);
        match action {
            Action::Resubscribe { topic } => self.session.topic_subject(topic) == Some(depth),
            _ => false,
        }
    }
}
