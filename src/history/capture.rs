//! A capture of one Binance instrument read as a history: its frames through a session.
//!
//! Invariants: the book is verified by the venue's rules on every update, as live; a gap is a `Desync`
//! in the history, and what follows it up to the next snapshot in the file is not made up.

use std::{path::Path, path::PathBuf, sync::Arc};

use purkinje_feeds::{
    Instrument, InstrumentId, InstrumentTable, MarketEvent,
    recording::capture::{CaptureError, CaptureKind, CaptureReader, probe},
    session::{MAX_SNAPSHOT_LIMIT, Outbox, Session, SessionSpec, SnapshotReply},
};

use super::{HistoryError, HistoryReader, Progress};

/// A capture does not say what the venue's steps are: eight decimals hold every price Binance has.
const DECIMALS: u8 = 8;

/// The only instrument.
const ONE: InstrumentId = InstrumentId(0);

/// A capture as a history.
#[derive(Debug)]
pub struct CaptureHistory {
    path: PathBuf,
    bytes_total: u64,
    reader: CaptureReader,
    table: Arc<InstrumentTable>,
    session: Session,
    outbox: Outbox,
}

impl CaptureHistory {
    /// Opens a capture.
    ///
    /// # Errors
    /// It cannot be read, is none, or holds several instruments.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let found = probe(path).map_err(|e| history_error(path, e))?;
        let [symbol] = &found.symbols[..] else {
            return Err(HistoryError::Unsupported {
                path: path.to_owned(),
                what: format!("a capture of {} instruments", found.symbols.len()),
                why: "a capture holds one",
            });
        };
        let instrument = Instrument {
            venue: found.venue,
            symbol: symbol.clone(),
            price_decimals: DECIMALS,
            qty_decimals: DECIMALS,
        };
        let instruments = |source| HistoryError::Instruments { path: path.to_owned(), source };
        let table = Arc::new(InstrumentTable::new(vec![instrument]).map_err(instruments)?);
        let spec = SessionSpec {
            snapshot_limit: MAX_SNAPSHOT_LIMIT,
            ..SessionSpec::new(0, found.venue, vec![ONE])
        };
        let mut session = Session::new(spec, table.clone()).map_err(|e| {
            let problem = e.to_string();
            HistoryError::Damaged { path: path.to_owned(), row: 1, problem }
        })?;
        let mut outbox = session.outbox();
        session.on_connected(0, &mut outbox);
        Ok(Self {
            path: path.to_owned(),
            bytes_total: path.metadata().map_or(0, |m| m.len()),
            reader: CaptureReader::open(path).map_err(|e| history_error(path, e))?,
            table,
            session,
            outbox,
        })
    }
}

impl HistoryReader for CaptureHistory {
    fn format(&self) -> &'static str {
        "hftbacktest-capture"
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let Self { path, reader, session, outbox, .. } = self;
        let Some(line) = reader.next_line().map_err(|e| history_error(path, e))? else {
            return Ok(false);
        };
        let ts_recv_ns = line.ts_recv_ns;
        match line.kind {
            CaptureKind::Frame => session.on_frame(ts_recv_ns, line.bytes, outbox),
            CaptureKind::Snapshot => {
                let generation = session.generation();
                let body = line.bytes;
                session.on_snapshot(
                    SnapshotReply { instrument: ONE, generation, ts_recv_ns, body },
                    outbox,
                );
            }
        }
        out.append(&mut outbox.events);
        outbox.actions.clear();
        outbox.topics.clear();
        Ok(true)
    }

    fn progress(&self) -> Progress {
        Progress {
            bytes_read: self.reader.bytes_read(),
            bytes_total: self.bytes_total,
            rows: self.reader.lines_read(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let counters = self.session.counters();
        let mut notes = Vec::new();
        if counters.snapshots_applied == 0 {
            notes.push(
                "no snapshot of the book is in the file: its updates cannot be placed".into(),
            );
        }
        let bad = counters.bad_input.total();
        if bad > 0 {
            notes.push(format!("{bad} frames could not be read"));
        }
        notes
    }
}

fn history_error(path: &Path, error: CaptureError) -> HistoryError {
    let path = path.to_owned();
    let problem = error.to_string();
    match error {
        CaptureError::Io { source, .. } => HistoryError::Io { path, source },
        CaptureError::LineTooLong { line, .. } => HistoryError::RowTooLong {
            path,
            row: line,
            limit: purkinje_feeds::recording::capture::MAX_LINE_BYTES,
        },
        CaptureError::Unrecognised { .. } | CaptureError::Malformed { line: 1, .. } => {
            HistoryError::Unrecognised { path, head: String::new() }
        }
        CaptureError::Damaged { line, .. } | CaptureError::Malformed { line, .. } => {
            HistoryError::Damaged { path, row: line, problem }
        }
        CaptureError::TornTail { lines, .. } => {
            HistoryError::Damaged { path, row: lines + 1, problem }
        }
    }
}
