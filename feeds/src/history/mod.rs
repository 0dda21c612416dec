//! Historical files of other people's making, read into the events a live feed would have made.
//!
//! One reader a format, each behind [`HistoryReader`]; [`open`] tells the format of a file and opens
//! it. Invariants: a reader streams (memory does not grow with the file); events come in the order of
//! the file, nothing is sorted or repaired silently; what a row cannot say stays zero (a missing venue
//! or receive time) and is never made up; a row that cannot be read ends the reading with an error that
//! names file, line and what was expected.

mod aggressor;
mod binance_trades;
mod bitstamp_log;
mod calendar;
pub mod capture;
#[cfg(feature = "databento")]
mod databento;
mod gdax;
mod gdax_export;
mod input;
mod lean;
mod lines;
mod lobster;
mod name;
mod number;
mod open;
mod orders;
mod tardis;
#[cfg(test)]
mod testing;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

pub use open::open;

use crate::session::SessionCounters;
use crate::{Instrument, InstrumentTable, MarketEvent, Venue};

/// How many rows at the head of a file are looked at for what its rows leave out: the instruments and
/// the decimals of their prices and quantities.
pub const HEAD_ROWS: u64 = 65_536;

/// About how many events a batch holds at most; a few more where they belong together.
const MAX_BATCH_EVENTS: usize = 4096;

/// A historical file as a stream of events.
pub trait HistoryReader: Send {
    /// Name of the format, for reports (`tardis-trades`).
    fn format(&self) -> &'static str;

    /// The instruments whose events come, known from the file's name and head before the first event.
    fn table(&self) -> &Arc<InstrumentTable>;

    /// Appends the events of the next row or rows that belong together to `out` (which it does not
    /// clear; a row may have no event) and returns `true`; `false` at the end of the file. A batch holds
    /// at most a few thousand events.
    ///
    /// # Errors
    /// The file cannot be read or a row is not what the format says; the reader is then at its end.
    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError>;

    /// How far the reading is.
    fn progress(&self) -> Progress;

    /// What a user should know about this file that the events do not say: one short sentence each
    /// (`times are ms since midnight ET, read as 2013-10-07 from the file's name`).
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the sessions counted that read the file's frames: one for each connection, none for files
    /// that hold no frames.
    fn sessions(&self) -> Vec<(Venue, SessionCounters)> {
        Vec::new()
    }

    /// What the reader counted so far, by stable names: rows that contradict each other, trades whose
    /// side is a guess, and the like. In notes where they are not 0; here for reports and checks.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// The table of a file's instruments.
fn instruments(path: &Path, items: Vec<Instrument>) -> Result<InstrumentTable, HistoryError> {
    InstrumentTable::new(items)
        .map_err(|source| HistoryError::Instruments { path: path.to_owned(), source })
}

/// How far a reading is, in bytes of the (compressed) file and in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file taken so far.
    pub bytes_read: u64,
    /// Bytes of the file in all.
    pub bytes_total: u64,
    /// Rows (lines, messages, records) read.
    pub rows: u64,
}

/// Why a historical file could not be read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Compressed data or framing is damaged.
    #[error("{} row {row}: damaged data: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Whole rows read before it, plus one.
        row: u64,
        /// What the decompressor or decoder said.
        problem: String,
    },
    /// A row that is not what the format says.
    #[error("{} row {row}: {field} is {found:?}, expected {expected}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1, heading included.
        row: u64,
        /// Which column or field.
        field: &'static str,
        /// What it holds, cut to 60 characters.
        found: String,
        /// What it should.
        expected: &'static str,
    },
    /// A row longer than any of the format can be.
    #[error("{} row {row} is longer than {limit} bytes", path.display())]
    RowTooLong {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1.
        row: u64,
        /// The limit.
        limit: usize,
    },
    /// The file's name does not say what its rows leave out (symbol, date).
    #[error("{}: the file name does not tell {missing}, expected {expected}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
        /// A pattern of names that tell it.
        expected: &'static str,
    },
    /// A format that is recognised and not supported.
    #[error("{}: {what}, which purkinje does not read: {why}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it was recognised as.
        what: String,
        /// Why not.
        why: &'static str,
    },
    /// No reader recognises the file.
    #[error("{}: not a format known here (its head: {head:?})", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// How it begins, decompressed, cut to 60 characters.
        head: String,
    },
    /// The instruments found do not make a table.
    #[error("{}: {source}", path.display())]
    Instruments {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::InstrumentError,
    },
}
