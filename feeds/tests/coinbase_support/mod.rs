//! The two Coinbase recordings and a session with the books of its consumer.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::Arc;

use purkinje_feeds::book::{Book, Shape};
use purkinje_feeds::recording::capture::{CaptureError, CaptureKind, CaptureReader};
use purkinje_feeds::session::{Action, Outbox, Session, SessionSpec};
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Venue,
};

/// Levels a side of the consumer's books: fewer than the recordings hold, so that evictions happen.
const BOOK_LEVELS: usize = 1_000;

/// One recorded connection.
pub(crate) struct Recording {
    pub(crate) venue: Venue,
    pub(crate) file: &'static str,
    pub(crate) symbols: &'static [&'static str],
    /// Of every instrument: price, quantity.
    pub(crate) decimals: (u8, u8),
}

/// Advanced Trade, August 2026, 24 s.
pub(crate) const ADVANCED: Recording = Recording {
    venue: Venue::CoinbaseAdvanced,
    file: "cryptofeed_v2/COINBASE.jsonl.zst",
    symbols: &["BTC-USD", "ETH-USD"],
    decimals: (2, 8),
};

/// The Pro feed of April 2021, 31 s: the protocol of Exchange before it took that name.
pub(crate) const EXCHANGE: Recording = Recording {
    venue: Venue::CoinbaseExchange,
    file: "cryptofeed_v1/COINBASE.ws.28.0.txt.gz",
    symbols: &[
        "SKL-USD", "SKL-BTC", "BAND-GBP", "NMR-EUR", "BAND-BTC", "YFI-BTC", "DASH-BTC", "NU-GBP",
        "CRV-EUR", "SKL-GBP",
    ],
    decimals: (8, 8),
};

pub(crate) type Frame = (i64, Vec<u8>);

impl Recording {
    /// Its frames with their receive times, ns; `None` where the data set is absent.
    pub(crate) fn frames(&self) -> Option<Vec<Frame>> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ws_captures");
        let path = Path::new(root).join(self.file);
        if !path.exists() {
            eprintln!("skipped: {} is absent", path.display());
            return None;
        }
        let mut reader = CaptureReader::open(&path).unwrap();
        let mut frames = Vec::new();
        loop {
            match reader.next_line() {
                Ok(Some(line)) if line.kind == CaptureKind::Frame => {
                    frames.push((line.ts_recv_ns, line.bytes.to_vec()));
                }
                Ok(Some(_)) => {}
                // The older recording ends with empty lines.
                Err(CaptureError::Malformed { found, .. }) if found.is_empty() => break,
                Ok(None) => break,
                Err(error) => panic!("{error}"),
            }
        }
        Some(frames)
    }

    pub(crate) fn feed(&self) -> Feed {
        let item = |symbol: &&str| Instrument {
            venue: self.venue,
            symbol: (*symbol).into(),
            price_decimals: self.decimals.0,
            qty_decimals: self.decimals.1,
        };
        let table = InstrumentTable::new(self.symbols.iter().map(item).collect()).unwrap();
        let ids: Vec<_> = table.iter().map(|(id, _)| id).collect();
        let books = ids.iter().map(|_| Book::with_depth(BOOK_LEVELS)).collect();
        let mut spec = SessionSpec::new(0, self.venue, ids);
        spec.snapshot_limit = 20_000;
        let mut session = Session::new(spec, Arc::new(table)).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        Feed { session, out, books, desyncs: Vec::new(), not_normal: 0, commits: 0 }
    }
}

/// A session and the books of its consumer.
pub(crate) struct Feed {
    pub(crate) session: Session,
    pub(crate) out: Outbox,
    pub(crate) books: Vec<Book>,
    /// In order; cleared by the test.
    pub(crate) desyncs: Vec<(InstrumentId, DesyncReason)>,
    /// Commits after which a book was crossed, locked or one-sided.
    pub(crate) not_normal: u64,
    pub(crate) commits: u64,
}

impl Feed {
    pub(crate) fn frame(&mut self, frame: &Frame) -> Vec<Action> {
        self.frame_with(frame, |_, _| {})
    }

    /// Feeds a frame; `each` sees every event after it took effect on its book.
    pub(crate) fn frame_with(
        &mut self,
        frame: &Frame,
        mut each: impl FnMut(&MarketEvent, &Book),
    ) -> Vec<Action> {
        self.session.on_frame(frame.0, &frame.1, &mut self.out);
        for event in self.out.events.drain(..) {
            let book = &mut self.books[event.instrument.index()];
            match event.body {
                EventBody::BookBegin => book.clear(),
                EventBody::Level { side, price, qty } => {
                    book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => {
                    self.commits += 1;
                    self.not_normal += u64::from(book.shape() != Shape::Normal);
                }
                EventBody::Desync { reason } => self.desyncs.push((event.instrument, reason)),
                _ => {}
            }
            each(&event, book);
        }
        self.out.topics.clear();
        self.out.actions.drain(..).collect()
    }
}
