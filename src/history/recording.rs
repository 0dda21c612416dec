//! A recording of this program read as a history: the events that its connections made.
//!
//! Frames go through the session that received them, imported events come as they are; what the
//! recorded engine did is passed over. The link that was to replace a connection is followed beside it,
//! unseen, until the recording says that it took over: then its books come whole. Invariants: events come in the order of the file; damage that
//! the recording's reader read around ends the history with an error, after everything that is whole.

use std::{
    collections::BTreeMap,
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use purkinje_feeds::{
    Book, EventBody, InstrumentId, InstrumentTable, MarketEvent, Side, Venue,
    book::Level,
    recording::{ReadError, Record, RecordingReader, STANDBY, events::events},
    session::{Outbox, Session, SessionCounters, SnapshotReply},
};

use super::{HistoryError, HistoryReader, Progress};
use crate::pipeline::session_header::{Connection, HeaderError, SessionHeader};

/// A recording as a history.
#[derive(Debug)]
pub struct RecordingHistory {
    path: PathBuf,
    bytes_total: u64,
    reader: RecordingReader,
    table: Arc<InstrumentTable>,
    lines: Vec<Line>,
    rows: u64,
    holes: u64,
    notes: Vec<String>,
    is_finished: bool,
}

/// One connection.
#[derive(Debug)]
enum Line {
    Frames { session: Box<Session>, outbox: Outbox, standby: Option<Box<Standby>> },
    Events,
}

/// Levels a side that a standby link's book holds until it takes over.
const STANDBY_LEVELS: usize = 5_000;

/// The link that is to replace a connection.
#[derive(Debug)]
struct Standby {
    session: Session,
    outbox: Outbox,
    /// Its books as they would be published, with the event that committed each last.
    books: BTreeMap<InstrumentId, (Book, Option<MarketEvent>)>,
}

impl Standby {
    fn new(active: &Session, table: &Arc<InstrumentTable>) -> Option<Self> {
        let session = Session::for_replay(active.spec().clone(), Arc::clone(table)).ok()?;
        let outbox = session.outbox();
        Some(Self { session, outbox, books: BTreeMap::new() })
    }

    fn take(&mut self, record: &Record<'_>) {
        hand_over(record, &mut self.session, &mut self.outbox);
        for event in self.outbox.events.drain(..) {
            let empty = || (Book::with_depth(STANDBY_LEVELS), None);
            let (book, committed) = self.books.entry(event.instrument).or_insert_with(empty);
            match event.body {
                EventBody::BookBegin => book.clear(),
                EventBody::Level { side, price, qty } => drop(book.set(side, price, qty)),
                EventBody::BookCommit { .. } => *committed = Some(event),
                EventBody::Desync { .. } => *committed = None,
                _ => {}
            }
        }
        self.outbox.clear();
    }

    /// Its books, each as one message that was received at `ts_ns`.
    fn hand_out(&self, ts_ns: i64, out: &mut Vec<MarketEvent>) {
        for (book, committed) in self.books.values() {
            let Some(commit) = committed.map(|event| MarketEvent { ts_recv_ns: ts_ns, ..event })
            else {
                continue;
            };
            out.push(MarketEvent { body: EventBody::BookBegin, ..commit });
            for side in [Side::Bid, Side::Ask] {
                out.extend(book.levels(side).map(|Level { price, qty }| MarketEvent {
                    body: EventBody::Level { side, price, qty },
                    ..commit
                }));
            }
            out.push(MarketEvent { body: EventBody::BookCommit { conflated: true }, ..commit });
        }
    }
}

impl RecordingHistory {
    /// Opens the files of one session, in order.
    ///
    /// # Errors
    /// They cannot be read, or their header cannot be used.
    pub fn open(files: &[PathBuf]) -> Result<Self, HistoryError> {
        let path = files.first().cloned().unwrap_or_default();
        let bytes_total = files.iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum();
        let mut reader =
            RecordingReader::open_files(files.to_vec()).map_err(|e| read_error(&path, 0, e))?;
        let json = match reader.next().map_err(|e| read_error(&path, 1, e))? {
            Some(Record::SessionStart { json }) => json.to_owned(),
            _ => return Err(damaged(&path, 1, &"the recording is empty")),
        };
        let bad = |e: HeaderError| damaged(&path, 1, &e);
        let header = SessionHeader::parse(&json).map_err(bad)?;
        let table = Arc::new(header.table().map_err(bad)?);
        let mut lines = Vec::new();
        for connection in header.connections().map_err(bad)? {
            lines.push(match connection {
                Connection::Events { .. } => Line::Events,
                Connection::Frames(spec) => {
                    let session = Session::for_replay(spec, table.clone())
                        .map_err(|e| damaged(&path, 1, &e))?;
                    let outbox = session.outbox();
                    Line::Frames { session: Box::new(session), outbox, standby: None }
                }
            });
        }
        Ok(Self {
            path,
            bytes_total,
            reader,
            table,
            lines,
            rows: 1,
            holes: 0,
            notes: header.notes,
            is_finished: false,
        })
    }

    fn read(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let Self { path, reader, lines, table, rows, holes, .. } = self;
        let record = match reader.next() {
            Ok(Some(record)) => record,
            Ok(None) => {
                // Read around, and yet not the whole history.
                let torn = reader.warnings().first().map(ToString::to_string);
                return torn.map_or(Ok(false), |problem| Err(damaged(path, *rows + 1, &problem)));
            }
            Err(error) => return Err(read_error(path, *rows + 1, error)),
        };
        *rows += 1;
        let (path, row) = (path.as_path(), *rows);
        match record {
            Record::SessionStart { .. } => {
                return Err(damaged(path, row, &"another session begins here"));
            }
            Record::Hole { .. } => *holes += 1,
            Record::Events { connection, bytes, .. } => {
                if !matches!(lines.get(usize::from(connection)), Some(Line::Events)) {
                    return Err(carries(path, row, connection, "events"));
                }
                for event in events(bytes) {
                    let event = event.map_err(|e| damaged(path, row, &e))?;
                    if event.instrument.index() >= table.len() {
                        let id = event.instrument.0;
                        return Err(damaged(
                            path,
                            row,
                            &format!("instrument {id} of {}", table.len()),
                        ));
                    }
                    out.push(event);
                }
            }
            Record::Connected { connection, .. }
            | Record::Disconnected { connection, .. }
            | Record::Frame { connection, .. }
            | Record::Snapshot { connection, .. } => {
                let number = usize::from(connection & !STANDBY);
                let Some(Line::Frames { session, outbox, standby }) = lines.get_mut(number) else {
                    return Err(carries(path, row, connection, "frames"));
                };
                if connection & STANDBY == 0 {
                    hand_over(&record, session, outbox);
                    out.append(&mut outbox.events);
                    outbox.clear();
                } else {
                    if matches!(record, Record::Connected { .. }) {
                        *standby = Standby::new(session, table).map(Box::new);
                    }
                    if let Some(standby) = standby {
                        standby.take(&record);
                    }
                }
            }
            Record::Rotated { connection, ts_ns } => {
                let number = usize::from(connection & !STANDBY);
                let Some(Line::Frames { session, standby, .. }) = lines.get_mut(number) else {
                    return Err(carries(path, row, connection, "links"));
                };
                if let Some(successor) = standby.take() {
                    successor.hand_out(ts_ns, out);
                    **session = successor.session;
                }
            }
            Record::Conflation { .. }
            | Record::Consumed { .. }
            | Record::Cut { .. }
            | Record::Control { .. }
            | Record::Status(_)
            | Record::End { .. } => {}
        }
        Ok(true)
    }
}

/// Gives one record of a connection to its session.
fn hand_over(record: &Record<'_>, session: &mut Session, out: &mut Outbox) {
    match *record {
        Record::Connected { ts_recv_ns, .. } => session.on_connected(ts_recv_ns, out),
        Record::Disconnected { ts_recv_ns, .. } => session.on_disconnected(ts_recv_ns, out),
        Record::Frame { ts_recv_ns, bytes, .. } => session.on_frame(ts_recv_ns, bytes, out),
        Record::Snapshot { generation, instrument, status, ts_recv_ns, bytes, .. } => {
            let instrument = InstrumentId(instrument);
            if status == 200 {
                let reply = SnapshotReply { instrument, generation, ts_recv_ns, body: bytes };
                session.on_snapshot(reply, out);
            } else {
                session.on_snapshot_failed(instrument, generation);
            }
        }
        _ => {}
    }
}

impl HistoryReader for RecordingHistory {
    fn format(&self) -> &'static str {
        "purkinje-recording"
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        if self.is_finished {
            return Ok(false);
        }
        let outcome = self.read(out);
        self.is_finished = !matches!(outcome, Ok(true));
        outcome
    }

    fn progress(&self) -> Progress {
        let bytes_read = self.reader.stats().file_bytes;
        Progress { bytes_read, bytes_total: self.bytes_total, rows: self.rows }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        if self.holes > 0 {
            notes.push(format!("the recorder had to drop records in {} places", self.holes));
        }
        notes
    }

    fn sessions(&self) -> Vec<(Venue, SessionCounters)> {
        let sessions = self.lines.iter().filter_map(|line| match line {
            Line::Frames { session, .. } => Some(session),
            Line::Events => None,
        });
        sessions.map(|session| (session.spec().venue, *session.counters())).collect()
    }
}

fn damaged(path: &Path, row: u64, problem: &dyn Display) -> HistoryError {
    HistoryError::Damaged { path: path.to_owned(), row, problem: problem.to_string() }
}

fn carries(path: &Path, row: u64, connection: u8, found: &str) -> HistoryError {
    damaged(
        path,
        row,
        &format!("connection {connection} has {found}, which the header does not say"),
    )
}

fn read_error(path: &Path, row: u64, error: ReadError) -> HistoryError {
    match error {
        ReadError::Io { path, source, .. } => HistoryError::Io { path, source },
        other => damaged(path, row, &other),
    }
}
