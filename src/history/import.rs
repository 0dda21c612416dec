//! `purkinje import`: histories of any known format become one recording of events.
//!
//! The files are read twice: first to learn what the recording's header has to say (which instruments
//! have only quotes, which files have no receive times), and whether they can be read at all, then to
//! write. Invariants: the same files give the same bytes; a file that cannot be read leaves nothing
//! written; the recording is complete when its `End` is there; what the files did not say, and what was done about it, stands in the
//! recording's header, where a replay tells it again.

use std::path::{Path, PathBuf};

use purkinje_feeds::{
    EventBody, InstrumentTable, MarketEvent,
    recording::{EventBatch, Record, RecordingWriter, WriteError, WriterConfig},
};
use thiserror::Error;

use super::{
    ends_message,
    merge::{FileSummary, Merge, MergeConfig, MergeError},
    progress::LateProgress,
    source::Source,
    time_ns,
};
use crate::pipeline::session_header::{FORMAT, HeaderChannels, HeaderInstrument, SessionHeader};

/// Encoded events after which a record is complete, at the end of a message.
const RECORD_BYTES: usize = 64 << 10;

/// Encoded events after which a record is complete, wherever that is.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Why an import failed.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The files cannot be read or merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The recording cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The header cannot be put together.
    #[error("the recording's header: {0}")]
    Header(#[from] serde_json::Error),
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The recording's first file.
    pub path: PathBuf,
    /// The files of the recording.
    pub written_files: u64,
    /// Bytes of the recording.
    pub written_bytes: u64,
    /// The instruments.
    pub instruments: Vec<String>,
    /// Events written.
    pub events: u64,
    /// What was found in every file.
    pub files: Vec<FileSummary>,
}

/// Imports the histories into session `name` in `dir`.
///
/// # Errors
/// See [`ImportError`]. What was written up to there has no end, which its readers tell.
pub fn import(
    sources: &[Source],
    dir: &Path,
    name: &str,
    config: &MergeConfig,
) -> Result<Imported, ImportError> {
    let config = MergeConfig { fill_receive: true, ..config.clone() };
    let bytes: u64 = sources.iter().map(Source::bytes).sum();
    let mut progress = LateProgress::new("import", 2 * bytes);
    let header = survey(sources, &config, &mut progress)?;
    let mut merge = Merge::open(sources, &config)?;
    let mut writer = RecordingWriter::create(dir, name, writer_config())?;
    let path = writer.path().to_owned();
    writer.append(&Record::SessionStart { json: &serde_json::to_string(&header)? })?;
    let mut out =
        Events { writer, batch: EventBatch::default(), first_ns: 0, last_ns: 0, taken: 0 };
    let mut events = Vec::new();
    while merge.next(&config, &mut events)? {
        for event in events.drain(..) {
            out.push(&event)?;
        }
        progress.tick(|| (bytes + merge.bytes_read(), format!("{} events", out.taken)));
    }
    progress.finish();
    let (mut writer, events) = out.finish()?;
    writer.finish()?;
    let stats = writer.stats();
    Ok(Imported {
        path,
        written_files: stats.files,
        written_bytes: stats.file_bytes,
        instruments: merge.table().iter().map(|(_, i)| i.key()).collect(),
        events,
        files: merge.summaries(),
    })
}

/// A history spans days: files are begun by size only.
fn writer_config() -> WriterConfig {
    WriterConfig { rotate_ns: i64::MAX as u64, ..WriterConfig::default() }
}

/// Reads everything and writes nothing: what the header has to say.
fn survey(
    sources: &[Source],
    config: &MergeConfig,
    progress: &mut LateProgress,
) -> Result<SessionHeader, ImportError> {
    let mut merge = Merge::open(sources, config)?;
    let mut has = vec![(false, false); merge.table().len()];
    let mut events = Vec::new();
    while merge.next(config, &mut events)? {
        for event in events.drain(..) {
            if let Some((book, quote)) = has.get_mut(event.instrument.index()) {
                *book |= matches!(event.body, EventBody::BookBegin | EventBody::Level { .. });
                *quote |= matches!(event.body, EventBody::Top { .. });
            }
        }
        progress.tick(|| (merge.bytes_read(), "reading".to_owned()));
    }
    let quotes_only: Vec<bool> = has.iter().map(|(book, quote)| *quote && !*book).collect();
    Ok(header(merge.table(), &quotes_only, &merge.summaries()))
}

/// Events on their way into records.
struct Events {
    writer: RecordingWriter,
    batch: EventBatch,
    first_ns: i64,
    last_ns: i64,
    taken: u64,
}

impl Events {
    fn push(&mut self, event: &MarketEvent) -> Result<(), WriteError> {
        if self.batch.is_empty() {
            self.first_ns = time_ns(event);
        }
        self.last_ns = time_ns(event);
        self.taken += 1;
        self.batch.push(event);
        let bytes = self.batch.bytes().len();
        if bytes >= MAX_EVENT_BYTES || (bytes >= RECORD_BYTES && ends_message(event.body)) {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), WriteError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let (ts_recv_ns, bytes) = (self.first_ns, self.batch.bytes());
        self.writer.append(&Record::Events { connection: 0, ts_recv_ns, bytes })?;
        self.batch.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(RecordingWriter, u64), WriteError> {
        self.write()?;
        self.writer.append(&Record::End { ts_ns: self.last_ns, json: "{}" })?;
        Ok((self.writer, self.taken))
    }
}

fn header(table: &InstrumentTable, quotes_only: &[bool], files: &[FileSummary]) -> SessionHeader {
    SessionHeader {
        format: FORMAT,
        writer: concat!("purkinje ", env!("CARGO_PKG_VERSION")).into(),
        engine: false,
        cycle_ms: 0,
        book_levels: 0,
        config_sha256: String::new(),
        venue: table.iter().next().map_or_else(String::new, |(_, i)| i.venue.name().into()),
        channels: HeaderChannels {
            depth_interval_ms: 0,
            book_ticker: true,
            trade: true,
            oracle: false,
        },
        snapshot_limit: 1000,
        instruments: table
            .iter()
            .map(|(id, i)| HeaderInstrument {
                symbol: i.symbol.clone(),
                price_decimals: i.price_decimals,
                qty_decimals: i.qty_decimals,
                venue: Some(i.venue.name().into()),
                quotes_only: quotes_only.get(id.index()).copied().unwrap_or(false),
            })
            .collect(),
        connections: vec![(0..table.len() as u16).collect()],
        event_connections: vec![0],
        learned_sha256: None,
        notes: notes(files),
    }
}

/// What a replay should tell of the files: each thing once, with the names of those it holds for.
fn notes(files: &[FileSummary]) -> Vec<String> {
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for file in files {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut tell = |what: String| match told.iter_mut().find(|(known, _)| *known == what) {
            Some((_, names)) => names.push(name.clone()),
            None => told.push((what, vec![name.clone()])),
        };
        tell(format!("imported as {}", file.format));
        file.notes.iter().for_each(|note| tell(note.clone()));
        if file.without_receive_time > 0 {
            tell("no receive times, the venue's times stand in for them".to_owned());
        }
    }
    told.into_iter().map(|(what, names)| format!("{}: {what}", listed(&names))).collect()
}

fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first, .., last] => format!("{} files ({first} to {last})", names.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_told_once_with_the_files_it_holds_for() {
        let file = |name: &str, without_receive_time, note: &str| FileSummary {
            path: name.into(),
            format: "f",
            without_receive_time,
            notes: vec![note.to_owned()],
            ..FileSummary::default()
        };
        let files = [file("d/a", 1, "x"), file("d/b", 0, "y"), file("d/c", 0, "x")];
        assert_eq!(
            notes(&files),
            [
                "3 files (a to c): imported as f",
                "2 files (a to c): x",
                "a: no receive times, the venue's times stand in for them",
                "b: y"
            ]
        );
    }
}
