//! `purkinje export`: histories as three Parquet files, `trades`, `quotes` and `depth`.
//!
//! A number is there twice: exactly, as a mantissa (`int64`) and the decimals it counts, and as a
//! `double` to compute with. A Parquet `DECIMAL` would have one scale for the whole column, where
//! instruments differ, and arrives in pandas as objects; a text would have to be parsed. Times are
//! `TIMESTAMP(NANOS, UTC)`, null where the history has none. Invariants: rows are in the order of the
//! history; memory does not grow with it; a file has its name once it is complete.

use std::path::{Path, PathBuf};

use parquet::data_type::ByteArray;
use purkinje_feeds::{EventBody, Instrument, InstrumentTable, MarketEvent, Side};
use thiserror::Error;

use super::{
    merge::{FileSummary, Merge, MergeConfig, MergeError},
    progress::LateProgress,
    source::Source,
};
use crate::files::sheet::{Cell, Sheet, SheetError};

/// Columns that every file begins with.
const COMMON: &str = "
    optional int64 ts_venue_ns (TIMESTAMP(NANOS,true));
    optional int64 ts_sent_ns (TIMESTAMP(NANOS,true));
    optional int64 ts_recv_ns (TIMESTAMP(NANOS,true));
    required binary venue (STRING);
    required binary symbol (STRING);
    required int64 update_id (INTEGER(64,false));
    required int32 price_decimals (INTEGER(8,false));
    required int32 qty_decimals (INTEGER(8,false));";

const TRADES: &str = "
    required binary side (STRING);
    required int64 price_mantissa;
    required int64 qty_mantissa;
    required double price;
    required double qty;
    required int32 count (INTEGER(32,false));";

const QUOTES: &str = "
    required int64 bid_price_mantissa;
    required int64 bid_qty_mantissa;
    required int64 ask_price_mantissa;
    required int64 ask_qty_mantissa;
    required double bid_price;
    required double bid_qty;
    required double ask_price;
    required double ask_qty;";

const DEPTH: &str = "
    required binary event (STRING);
    optional binary side (STRING);
    optional int64 price_mantissa;
    optional int64 qty_mantissa;
    optional double price;
    optional double qty;
    optional binary reason (STRING);
    required boolean last;";

/// Where `last` stands in a row of `depth`, the last column.
const DEPTH_COLUMNS: usize = 16;

/// Why an export failed.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The histories cannot be read.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A file cannot be written.
    #[error(transparent)]
    Sheet(#[from] SheetError),
}

/// What was exported.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The files and how many rows they have.
    pub written: Vec<(PathBuf, u64)>,
    /// Complete book messages that changed no level, which have no row.
    pub empty_books: u64,
    /// What was found in every file read.
    pub files: Vec<FileSummary>,
}

/// Exports the histories, merged by time, into a folder.
///
/// # Errors
/// See [`ExportError`]. Files that were not completed are removed.
pub fn export(
    sources: &[Source],
    dir: &Path,
    config: &MergeConfig,
) -> Result<Exported, ExportError> {
    let mut merge = Merge::open(sources, config)?;
    std::fs::create_dir_all(dir)
        .map_err(|source| SheetError::Io { path: dir.to_owned(), source })?;
    let mut sheets = Sheets::create(dir, merge.table())?;
    let mut progress = LateProgress::new("export", sources.iter().map(Source::bytes).sum());
    let mut events = Vec::new();
    while merge.next(config, &mut events)? {
        for event in events.drain(..) {
            sheets.take(&event)?;
        }
        progress.tick(|| (merge.bytes_read(), String::new()));
    }
    progress.finish();
    let empty_books = sheets.empty_books;
    Ok(Exported { written: sheets.finish()?, empty_books, files: merge.summaries() })
}

/// The three files.
struct Sheets {
    instruments: Vec<Names>,
    trades: Sheet,
    quotes: Sheet,
    depth: Sheet,
    /// The newest row of `depth`, of which it is not known yet whether it completes a message, and the
    /// instrument it is of.
    pending: Option<(usize, [Cell; DEPTH_COLUMNS])>,
    empty_books: u64,
}

/// An instrument and its names as cells.
struct Names {
    instrument: Instrument,
    venue: ByteArray,
    symbol: ByteArray,
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(text.as_bytes().to_vec())
}

fn side_name(side: Side, names: [&'static str; 2]) -> Cell {
    let [bid, ask] = names;
    Cell::Text(ByteArray::from(match side {
        Side::Bid => bid,
        Side::Ask => ask,
    }))
}

impl Sheets {
    fn create(dir: &Path, table: &InstrumentTable) -> Result<Self, ExportError> {
        let sheet = |name: &str, columns: &str| {
            Sheet::create(dir, name, &format!("message {name} {{{COMMON}{columns}\n}}"), &[])
        };
        let names = |instrument: &Instrument| Names {
            venue: text(instrument.venue.name()),
            symbol: text(&instrument.symbol),
            instrument: instrument.clone(),
        };
        Ok(Self {
            instruments: table.iter().map(|(_, i)| names(i)).collect(),
            trades: sheet("trades", TRADES)?,
            quotes: sheet("quotes", QUOTES)?,
            depth: sheet("depth", DEPTH)?,
            pending: None,
            empty_books: 0,
        })
    }

    fn take(&mut self, event: &MarketEvent) -> Result<(), SheetError> {
        let number = event.instrument.index();
        let Some(names) = self.instruments.get(number) else { return Ok(()) };
        let i = &names.instrument;
        let [venue_ts, sent_ts, recv_ts, venue, symbol, id, price_decimals, qty_decimals] =
            names.common(event);
        match event.body {
            EventBody::Trade { side, price, qty, count } => self.trades.push([
                venue_ts,
                sent_ts,
                recv_ts,
                venue,
                symbol,
                id,
                price_decimals,
                qty_decimals,
                side_name(side, ["buy", "sell"]),
                Cell::I64(price),
                Cell::I64(qty),
                Cell::F64(i.price(price)),
                Cell::F64(i.qty(qty)),
                Cell::I32(count as i32),
            ]),
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => self.quotes.push([
                venue_ts,
                sent_ts,
                recv_ts,
                venue,
                symbol,
                id,
                price_decimals,
                qty_decimals,
                Cell::I64(bid_price),
                Cell::I64(bid_qty),
                Cell::I64(ask_price),
                Cell::I64(ask_qty),
                Cell::F64(i.price(bid_price)),
                Cell::F64(i.qty(bid_qty)),
                Cell::F64(i.price(ask_price)),
                Cell::F64(i.qty(ask_qty)),
            ]),
            EventBody::BookBegin | EventBody::Level { .. } | EventBody::Desync { .. } => {
                let (name, level, reason) = match event.body {
                    EventBody::Level { side, price, qty } => {
                        ("level", Some((side, price, qty)), None)
                    }
                    EventBody::Desync { reason } => ("desync", None, Some(reason)),
                    _ => ("clear", None, None),
                };
                let of = |cell: &dyn Fn((Side, i64, i64)) -> Cell| level.map_or(Cell::Null, cell);
                let row = [
                    venue_ts,
                    sent_ts,
                    recv_ts,
                    venue,
                    symbol,
                    id,
                    price_decimals,
                    qty_decimals,
                    Cell::Text(ByteArray::from(name)),
                    of(&|(side, ..)| side_name(side, ["bid", "ask"])),
                    of(&|(_, price, _)| Cell::I64(price)),
                    of(&|(_, _, qty)| Cell::I64(qty)),
                    of(&|(_, price, _)| Cell::F64(i.price(price))),
                    of(&|(_, _, qty)| Cell::F64(i.qty(qty))),
                    reason.map_or(Cell::Null, |r| Cell::Text(ByteArray::from(r.name()))),
                    Cell::Bool(reason.is_some()),
                ];
                match self.pending.replace((number, row)) {
                    Some((_, before)) => self.depth.push(before),
                    None => Ok(()),
                }
            }
            EventBody::BookCommit { .. } => {
                match &mut self.pending {
                    Some((of, [.., last @ Cell::Bool(false)])) if *of == number => {
                        *last = Cell::Bool(true);
                    }
                    _ => self.empty_books += 1,
                }
                Ok(())
            }
            // The simulator's truth is no market data.
            EventBody::Oracle { .. } => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Vec<(PathBuf, u64)>, ExportError> {
        if let Some((_, row)) = self.pending.take() {
            self.depth.push(row)?;
        }
        Ok(vec![self.trades.finish()?, self.quotes.finish()?, self.depth.finish()?])
    }
}

impl Names {
    /// The columns that every file begins with.
    fn common(&self, event: &MarketEvent) -> [Cell; 8] {
        let time = |ts_ns: i64| if ts_ns == 0 { Cell::Null } else { Cell::I64(ts_ns) };
        [
            time(event.ts_venue_ns),
            time(event.ts_sent_ns),
            time(event.ts_recv_ns),
            Cell::Text(self.venue.clone()),
            Cell::Text(self.symbol.clone()),
            // The column is unsigned; Parquet keeps the bits.
            Cell::I64(event.update_id as i64),
            Cell::I32(i32::from(self.instrument.price_decimals)),
            Cell::I32(i32::from(self.instrument.qty_decimals)),
        ]
    }
}
