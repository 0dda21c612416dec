//! Every historical file of the shared data set that is no capture of frames, read to its end.
//!
//! Counts are exact, so that a change of a reader shows. What is asserted of a book holds at every
//! commit of the whole file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use purkinje_feeds::book::Shape;
use purkinje_feeds::history::{self, HistoryError};
use purkinje_feeds::{Book, EventBody, MarketEvent, Side};

/// The data set, or `None` with a word on the console where the checkout stands alone.
fn shared(file: &str) -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.is_dir() {
        eprintln!("skipped {file}: no {}", data.display());
        return None;
    }
    Some(data.join(file))
}

/// What a file held.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    rows: u64,
    events: u64,
    begins: u64,
    levels: u64,
    commits: u64,
    tops: u64,
    trades: u64,
    bought_trades: u64,
    desyncs: u64,
    /// Commits or tops at which a book of two sides was crossed, and at how many it became so.
    crossed: u64,
    crossed_spans: u64,
    /// Events earlier than one before them, by venue and by receive time.
    venue_order_violations: u64,
    recv_order_violations: u64,
    /// Trades whose id is not the one after the last.
    id_jumps: u64,
}

/// Reads a file to its end and replays its books.
struct Run {
    tally: Tally,
    format: &'static str,
    key: String,
    decimals: (u8, u8),
    counters: Vec<(&'static str, u64)>,
    books: Vec<Book>,
    first: Option<MarketEvent>,
    last: Option<MarketEvent>,
}

impl Run {
    fn of(path: &Path) -> Result<Self, HistoryError> {
        let mut reader = history::open(path)?;
        let table = std::sync::Arc::clone(reader.table());
        let (_, item) = table.iter().next().unwrap();
        let mut run = Self {
            tally: Tally::default(),
            format: reader.format(),
            key: item.key(),
            decimals: (item.price_decimals, item.qty_decimals),
            counters: Vec::new(),
            books: (0..table.len()).map(|_| Book::with_depth(40_000)).collect(),
            first: None,
            last: None,
        };
        let mut was_crossed = vec![false; table.len()];
        let (mut venue_ns, mut recv_ns, mut last_id) = (0, 0, None);
        let mut batch = Vec::new();
        while reader.next_batch(&mut batch)? {
            assert!(batch.len() <= 8_192, "a batch of {} events", batch.len());
            for event in batch.drain(..) {
                run.take(&event, &mut was_crossed, &mut last_id);
                run.tally.venue_order_violations += u64::from(event.ts_venue_ns < venue_ns);
                run.tally.recv_order_violations += u64::from(event.ts_recv_ns < recv_ns);
                venue_ns = venue_ns.max(event.ts_venue_ns);
                recv_ns = recv_ns.max(event.ts_recv_ns);
                run.first.get_or_insert(event);
                run.last = Some(event);
            }
        }
        assert!(!reader.next_batch(&mut batch)?, "the end stays the end");
        let progress = reader.progress();
        assert_eq!(progress.bytes_read, progress.bytes_total, "{}", path.display());
        run.tally.rows = progress.rows;
        run.counters = reader.counters();
        let name = path.file_name().unwrap().to_string_lossy();
        println!("{name}: {} {} {:?} {:?}", run.format, run.key, run.decimals, run.tally);
        println!("    {:?} {:?}", run.counters, reader.notes());
        Ok(run)
    }

    fn take(&mut self, event: &MarketEvent, was_crossed: &mut [bool], last_id: &mut Option<u64>) {
        let tally = &mut self.tally;
        let at = event.instrument.index();
        tally.events += 1;
        let is_crossed = match event.body {
            EventBody::BookBegin => {
                tally.begins += 1;
                self.books[at].clear();
                return;
            }
            EventBody::Level { side, price, qty } => {
                tally.levels += 1;
                assert!(qty >= 0);
                self.books[at].set(side, price, qty);
                return;
            }
            EventBody::BookCommit { conflated } => {
                assert!(!conflated);
                tally.commits += 1;
                self.books[at].shape() == Shape::Crossed
            }
            EventBody::Top { bid_price, ask_price, .. } => {
                tally.tops += 1;
                bid_price > ask_price
            }
            EventBody::Trade { side, qty, count, .. } => {
                tally.trades += 1;
                tally.bought_trades += u64::from(side == Side::Bid);
                assert!(qty >= 0 && count == 1);
                let last = last_id.replace(event.update_id);
                tally.id_jumps += u64::from(last.is_some_and(|last| last + 1 != event.update_id));
                return;
            }
            EventBody::Desync { .. } => {
                tally.desyncs += 1;
                return;
            }
            EventBody::Oracle { .. } => panic!("no historical file has an oracle"),
        };
        tally.crossed += u64::from(is_crossed);
        tally.crossed_spans += u64::from(is_crossed && !was_crossed[at]);
        was_crossed[at] = is_crossed;
    }

    fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| *known == name).unwrap().1
    }
}

#[test]
fn explore() {
    for folder in ["crypto", "equity", "fx", "futures"] {
        let Some(folder) = shared(folder) else { return };
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { paths.push(path) }
            }
        }
        paths.sort();
        for path in paths {
            if let Err(error) = Run::of(&path) {
                println!("REFUSED {error}");
            }
        }
    }
}
