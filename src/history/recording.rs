//! A recording of this program read as a history: the events that its connections made.
//!
//! Frames go through the session that received them, over changes of link, with room for every event;
//! imported events come as they are; what the recorded engine did is passed over. Invariants: events come in the order of the file; damage that
//! the recording's reader read around ends the history with an error, after everything that is whole.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use purkinje_feeds::{
    InstrumentTable, MarketEvent, Venue,
    net::Link,
    recording::{ReadError, Record, RecordingReader, STANDBY, events::events},
    session::SessionCounters,
};

use super::{HistoryError, HistoryReader, Progress};
use crate::pipeline::{
    feed_core::{FeedCore, Outlet, Reading, Received},
    session_header::{Connection, HeaderError, SessionHeader},
};

/// Fewest levels a side of the books that a change of link passes on.
const MIN_LEVELS: usize = 1_000;

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
    Frames(Box<FeedCore>),
    Events,
}

/// Takes every event.
struct Collect<'a>(&'a mut Vec<MarketEvent>);

impl Outlet for Collect<'_> {
    fn free(&mut self, _: u64) -> usize {
        usize::MAX
    }

    fn push(&mut self, event: &MarketEvent) {
        self.0.push(*event);
    }

    fn matters(&mut self, _: Reading) {}
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
        let levels = header.book_levels.max(MIN_LEVELS);
        let mut lines = Vec::new();
        for connection in header.connections().map_err(bad)? {
            lines.push(match connection {
                Connection::Events { .. } => Line::Events,
                Connection::Frames(spec) => {
                    let core = FeedCore::new(spec, table.clone(), levels);
                    Line::Frames(Box::new(core.map_err(|e| damaged(&path, 1, &e))?))
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
            Record::Connected { connection, ts_recv_ns: ts_ns, .. }
            | Record::Disconnected { connection, ts_recv_ns: ts_ns, .. }
            | Record::Frame { connection, ts_recv_ns: ts_ns, .. }
            | Record::Snapshot { connection, ts_recv_ns: ts_ns, .. }
            | Record::Rotated { connection, ts_ns } => {
                let Some(Line::Frames(core)) = lines.get_mut(usize::from(connection & !STANDBY))
                else {
                    return Err(carries(path, row, connection, "frames"));
                };
                let link = if connection & STANDBY == 0 { Link::Active } else { Link::Standby };
                let mut outlet = Collect(out);
                if let Some(received) = received(&record) {
                    core.take(link, ts_ns, &received);
                    core.pass(link, &mut outlet);
                } else if matches!(record, Record::Rotated { .. }) {
                    core.promote(ts_ns, &mut outlet);
                }
                if let Some(outbox) = core.outbox(link) {
                    outbox.actions.clear();
                    outbox.topics.clear();
                }
                core.status().clear();
            }
            Record::Conflation { .. }
            | Record::Consumed { .. }
            | Record::Cut { .. }
            | Record::Control { .. }
            | Record::Settings { .. }
            | Record::Status(_)
            | Record::End { .. } => {}
        }
        Ok(true)
    }
}

/// What a record of a connection means to its session.
fn received<'a>(record: &Record<'a>) -> Option<Received<'a>> {
    Some(match *record {
        Record::Connected { .. } => Received::Connected,
        Record::Disconnected { .. } => Received::Disconnected,
        Record::Frame { bytes, .. } => Received::Frame(bytes),
        Record::Snapshot { generation, instrument, status: 200, bytes, .. } => {
            Received::Snapshot { instrument, generation, body: bytes }
        }
        Record::Snapshot { generation, instrument, .. } => {
            Received::SnapshotFailed { instrument, generation }
        }
        _ => return None,
    })
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
            Line::Frames(core) => Some((core.session(Link::Active)?.spec().venue, core.counters())),
            Line::Events => None,
        });
        sessions.collect()
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
