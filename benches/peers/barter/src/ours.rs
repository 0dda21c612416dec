//! purkinje: a session with its checks, and the consumer's books that its events are applied to.

use std::sync::Arc;

use purkinje_feeds::book::Book;
use purkinje_feeds::session::{Channels, Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::{EventBody, Instrument, InstrumentId, InstrumentTable, Side};

use crate::Reader;
use crate::recordings::{Kind, Line, Recording};

/// See the module.
pub struct Ours {
    session: Session,
    out: Outbox,
    books: Vec<Book>,
    decimals: Vec<(u8, u8)>,
    /// Trades seen.
    pub trades: u64,
}

impl Ours {
    /// Connected, with the books or the trades of all symbols of the recording.
    ///
    /// # Errors
    /// The symbols do not suit a session.
    pub fn new(recording: &Recording, is_books: bool) -> Result<Self, String> {
        let venue = recording.source.venue;
        let item = |(symbol, decimals): (&String, &(u8, u8))| Instrument {
            venue,
            symbol: symbol.clone(),
            price_decimals: decimals.0,
            qty_decimals: decimals.1,
        };
        let items = recording.symbols.iter().zip(&recording.decimals).map(item).collect();
        let table = InstrumentTable::new(items).map_err(|error| error.to_string())?;
        let ids = table.iter().map(|(id, _)| id).collect();
        let mut spec = SessionSpec::new(0, venue, ids);
        spec.channels =
            Channels { depth: is_books, book_ticker: false, trade: !is_books, oracle: false };
        spec.snapshot_limit = recording.source.levels;
        let session = Session::for_replay(spec, Arc::new(table));
        let mut session = session.map_err(|error| error.to_string())?;
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        out.clear();
        let book = |_| Book::with_depth(recording.source.levels);
        let books = recording.symbols.iter().map(book).collect();
        Ok(Self { session, out, books, decimals: recording.decimals.clone(), trades: 0 })
    }

    /// Whether nothing was missing, contradicted a checksum or could not be read.
    ///
    /// # Errors
    /// Something was; the counters.
    pub fn unbroken(&self) -> Result<(), String> {
        let c = self.session.counters();
        let broken = c.gaps + c.checksum_mismatches + c.connection_gaps + c.bad_input.total();
        if broken == 0 { Ok(()) } else { Err(format!("purkinje counted {c:?}")) }
    }
}

impl Reader for Ours {
    fn line(&mut self, line: &Line) -> Result<(), String> {
        let ts_recv_ns = line.ts_recv_ns;
        if let Kind::Rest(symbol) = line.kind {
            let (instrument, generation) = (InstrumentId(symbol as u16), self.session.generation());
            let reply = SnapshotReply { instrument, generation, ts_recv_ns, body: &line.bytes };
            self.session.on_snapshot(reply, &mut self.out);
        } else {
            self.session.on_frame(ts_recv_ns, &line.bytes, &mut self.out);
        }
        let mut desync = None;
        for event in &self.out.events {
            let book = &mut self.books[event.instrument.index()];
            match event.body {
                EventBody::BookBegin => book.clear(),
                EventBody::Level { side, price, qty } => {
                    book.set(side, price, qty);
                }
                EventBody::Desync { reason } => desync = Some(reason.name()),
                EventBody::Trade { .. } => self.trades += 1,
                _ => {}
            }
        }
        self.out.clear();
        desync.map_or(Ok(()), |reason| Err(format!("a book was given up: {reason}")))
    }

    fn best(&self, symbol: usize, side: Side, most: usize) -> Vec<(f64, f64)> {
        let number = |mantissa: i64, decimals: u8| mantissa as f64 / 10f64.powi(decimals.into());
        let levels = self.books[symbol].levels(side).take(most);
        let (price, qty) = self.decimals[symbol];
        levels.map(|l| (number(l.price, price), number(l.qty, qty))).collect()
    }

    fn verified(&self) -> Option<u64> {
        Some(self.session.counters().depth)
    }
}
