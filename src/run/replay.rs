//! `purkinje replay`: recordings and captures through the live daemon's engine, model and sink.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use purkinje_feeds::{
    InstrumentError, InstrumentId, InstrumentTable, Venue,
    recording::{
        FILE_EXTENSION, ReadError, Record, RecordingReader,
        capture::{CaptureError, probe},
    },
    session::{SessionError, SessionSpec},
};
use rtrb::RingBuffer;
use thiserror::Error;

use super::{
    report::{FeedSide, Report},
    spine::{OutletConfig, RunError, Spine, SpineInputs, hex},
};
use crate::{
    clock::Clock,
    config::Loaded,
    learning::loss_probe::LossProbe,
    lifecycle::learned::Learned,
    pipeline::{
        engine_thread::{Pace, Ring},
        event_feed::Feed,
        live_stats::LiveStats,
        replay_source::{Material, ReplaySource, SourceNotes, Speed, capture_table},
        session_header::{Connection, HeaderError, SessionHeader},
        sink::WhenFull,
        threads::{join, spawn},
        waker::Waker,
    },
};

/// Why a replay did not happen.
#[derive(Debug, Error)]
pub enum ReplayRunError {
    /// Nothing to replay.
    #[error(
        "nothing to replay: name recordings (*.{FILE_EXTENSION} or a directory of them) or captures"
    )]
    Nothing,
    /// Recordings and captures together.
    #[error("{recording} is a recording and {capture} is a capture: replay them one at a time")]
    Mixed {
        /// One of the recordings.
        recording: PathBuf,
        /// One of the captures.
        capture: PathBuf,
    },
    /// A capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A capture has several symbols.
    #[error("{path}: holds {found} symbols, expected one per file")]
    Symbols {
        /// The file.
        path: PathBuf,
        /// How many.
        found: usize,
    },
    /// A recording cannot be read.
    #[error(transparent)]
    Recording(#[from] ReadError),
    /// A directory, or a list of files, holds more than one session.
    #[error("{} sessions are given ({}), expected one: name its files", sessions.len(), sessions.join(", "))]
    Sessions {
        /// Their names.
        sessions: Vec<String>,
    },
    /// A recording has no header.
    #[error("{path}: the recording is empty")]
    Empty {
        /// The path.
        path: PathBuf,
    },
    /// A recording's header cannot be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The instruments are not valid.
    #[error(transparent)]
    Instruments(#[from] InstrumentError),
    /// The sessions are not valid.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The threads behind could not be started.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What to replay, opened and understood.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) table: InstrumentTable,
    pub(crate) connections: Vec<Connection>,
    pub(crate) material: Material,
    pub(crate) title: String,
    pub(crate) warnings: Vec<String>,
    /// What the recorded run began with.
    pub(crate) learned: Option<Learned>,
}

/// Replays everything to its end, or until `stop` is set.
///
/// # Errors
/// See [`ReplayRunError`]; trouble in the middle of the material is part of the report instead.
pub fn replay(
    loaded: &Loaded,
    paths: &[PathBuf],
    speed: Speed,
    outlets: &OutletConfig,
    stop: &Arc<AtomicBool>,
) -> Result<Report, ReplayRunError> {
    replay_probed(loaded, paths, speed, outlets, stop, None)
}

/// [`replay`], with somebody who is told a member's loss on the way.
///
/// # Errors
/// As [`replay`].
pub fn replay_probed(
    loaded: &Loaded,
    paths: &[PathBuf],
    speed: Speed,
    outlets: &OutletConfig,
    stop: &Arc<AtomicBool>,
    probe: Option<LossProbe>,
) -> Result<Report, ReplayRunError> {
    let opened = open(loaded, paths)?;
    let table = Arc::new(opened.table);
    let instruments = table.iter().map(|(_, i)| i.key()).collect();
    let levels = loaded.config.pipeline.book_levels;
    let feed = |connection| Feed::new(connection, &table, levels);
    let feeds = opened.connections.into_iter().map(feed).collect::<Result<_, _>>()?;
    let engine = Waker::default();
    let (tx, rx) = RingBuffer::new(loaded.config.pipeline.ring_items);
    let started = Instant::now();
    let spine = Spine::start(
        loaded,
        SpineInputs {
            table,
            pace: Pace::Replay,
            rings: vec![Ring { connection: 0, inputs: rx }],
            commands: None,
            operator: None,
            tap: None,
            engine: engine.clone(),
            clock: Clock::Event,
            when_full: WhenFull::Wait,
            stats: Arc::new(LiveStats::default()),
            probe,
            learned: opened.learned,
            watch: None,
        },
        outlets,
    )?;
    let model_version = spine.model_version.clone();
    let period_ns = i64::from(loaded.config.cycle.period_ms) * 1_000_000;
    let source = ReplaySource::new(feeds, (tx, engine), speed, stop.clone());
    let material = opened.material;
    let source = spawn("pk-feed-0", loaded.config.pipeline.feed_core, move || {
        source.run(material, period_ns)
    })
    .map_err(RunError::from)?;
    while !source.is_finished() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (notes, decode) = join(source).map_err(RunError::from)?;
    let spine = spine.join()?;
    let elapsed_s = started.elapsed().as_secs_f64();
    let recorded = notes.recorded_sha256.clone();
    let mut feeds = feed_side(notes, opened.warnings);
    if let Some(recorded) = recorded {
        let same = recorded == hex(&spine.sink.0.sha256);
        let verdict = if same { "the same" } else { "other" };
        feeds.notes.push(format!("recorded run         {verdict} signals, sha256 {recorded}"));
    }
    feeds.decode = Some(decode);
    if stop.load(Ordering::Relaxed) {
        feeds.warnings.push("stopped before the end".into());
    }
    Ok(Report {
        title: opened.title,
        elapsed_s,
        model_version,
        instruments,
        feeds,
        spine,
        warmup_s: loaded.config.report.warmup_s,
        is_replay: true,
    })
}

/// What the report says of the source.
pub(crate) fn feed_side(notes: SourceNotes, mut warnings: Vec<String>) -> FeedSide {
    let mut lines = Vec::new();
    if notes.holes > 0 {
        lines.push(format!("holes                {} in the recording", notes.holes));
    }
    let imported = notes.imported;
    if imported.events > 0 {
        lines.push(format!(
            "imported             {} events in {} messages, {} quotes taken as books of one level",
            imported.events, notes.frames, imported.quotes_as_books
        ));
    }
    if imported.quotes_without_qty > 0 {
        warnings.push(format!(
            "{} quotes name no quantity: both sides are taken as equal, so that imbalances are 0",
            imported.quotes_without_qty
        ));
    }
    if let Some((n, mean, min, max)) = notes.receive_minus_sent_ns {
        let s = |ns: f64| ns * 1e-9;
        lines.push(format!(
            "receive - send time  mean {:+.4} s, {:+.4} to {:+.4} s over {n} frames",
            s(mean),
            s(min as f64),
            s(max as f64)
        ));
        if mean < 0.0 {
            warnings.push(format!(
                "frames were received {:.3} s before the venue sent them, by the recorder's clock: one \
                 of the two clocks is wrong. Order and ages go by receive time, so forecasts are not \
                 touched; latency against venue time means nothing here",
                -s(mean)
            ));
        }
    }
    if notes.time_backwards > 0 {
        warnings.push(format!("receive times run backwards {} times", notes.time_backwards));
    }
    warnings.extend(notes.warnings);
    let failed = notes.error.is_some();
    warnings.extend(notes.error.map(|e| format!("the replay broke off: {e}")));
    FeedSide {
        sessions: notes.sessions,
        conflated: notes.conflated,
        crossed_books: notes.crossed_books,
        decode: None,
        notes: lines,
        warnings,
        failed,
    }
}

fn is_recording(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|e| e == FILE_EXTENSION)
}

/// Opens recordings of one session, or captures.
pub(crate) fn open(loaded: &Loaded, paths: &[PathBuf]) -> Result<Opened, ReplayRunError> {
    let recording = paths.iter().find(|p| is_recording(p));
    let capture = paths.iter().find(|p| !is_recording(p));
    match (recording, capture) {
        (None, None) => Err(ReplayRunError::Nothing),
        (Some(recording), Some(capture)) => {
            Err(ReplayRunError::Mixed { recording: recording.clone(), capture: capture.clone() })
        }
        (Some(path), None) => open_recording(loaded, paths, path),
        (None, Some(_)) => open_captures(paths),
    }
}

fn open_recording(
    loaded: &Loaded,
    paths: &[PathBuf],
    first: &Path,
) -> Result<Opened, ReplayRunError> {
    let mut reader = match paths {
        [one] => RecordingReader::open(one)?,
        many => RecordingReader::open_files(many.to_vec())?,
    };
    let sessions = session_names(reader.files());
    if sessions.len() > 1 {
        return Err(ReplayRunError::Sessions { sessions });
    }
    let Some(Record::SessionStart { json }) = reader.next()? else {
        return Err(ReplayRunError::Empty { path: first.to_owned() });
    };
    let header = SessionHeader::parse(json)?;
    let mut warnings = Vec::new();
    if header.engine {
        let now = hex(&loaded.hash());
        if header.config_sha256 != now {
            warnings.push(
                "the configuration differs from the recorded run's: its signals will differ, too"
                    .into(),
            );
        }
        if header.book_levels != loaded.config.pipeline.book_levels {
            warnings.push(format!("recorded with pipeline.book_levels = {}", header.book_levels));
        }
    }
    let scripted = header.engine && header.cycle_ms == u64::from(loaded.config.cycle.period_ms);
    if header.engine && !scripted {
        warnings.push(format!(
            "recorded with cycle.period_ms = {}: cycles are cut anew by receive time",
            header.cycle_ms
        ));
    }
    warnings.extend(header.notes.iter().cloned());
    let table = header.table()?;
    let mut learned = None;
    if let Some(sha256) = &header.learned_sha256 {
        let folder = if first.is_dir() { Some(first) } else { first.parent() };
        match Learned::beside(folder.unwrap_or(first), sha256, loaded, &table) {
            Ok(found) => learned = Some(found),
            Err(error) => warnings.push(format!(
                "the recorded run began with what was learned before, which is not at hand: {error}: its \
                 signals will differ"
            )),
        }
    }
    Ok(Opened {
        learned,
        table,
        connections: header.connections()?,
        title: format!("replay of {}, {}", first.display(), header.venue),
        material: Material::Recording { reader: Box::new(reader), scripted },
        warnings,
    })
}

/// The names of the sessions that files belong to (`NAME-000001.pkrec`), each once.
fn session_names(files: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| {
        let stem = path.with_extension("").to_string_lossy().into_owned();
        stem.rsplit_once('-').map_or(stem.clone(), |(name, _)| name.to_owned())
    };
    let mut names: Vec<String> = files.iter().map(name).collect();
    names.dedup();
    names
}

fn open_captures(paths: &[PathBuf]) -> Result<Opened, ReplayRunError> {
    // Files of one instrument follow each other in the order of their names; a map keeps the order
    // of instruments independent of the command line.
    let mut by_instrument: BTreeMap<(Venue, String), Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        let found = probe(path)?;
        let [symbol] = &found.symbols[..] else {
            return Err(ReplayRunError::Symbols { path: path.clone(), found: found.symbols.len() });
        };
        by_instrument.entry((found.venue, symbol.clone())).or_default().push(path.clone());
    }
    let mut files = Vec::new();
    let mut probes = Vec::new();
    for (instrument, mut paths) in by_instrument {
        paths.sort();
        files.push(paths);
        probes.push(instrument);
    }
    let table = capture_table(&probes)?;
    let spec = |id: InstrumentId, venue| SessionSpec::new(id.0 as u8, venue, vec![id]);
    let connections = table.iter().map(|(id, i)| Connection::Frames(spec(id, i.venue))).collect();
    let names: Vec<String> = table.iter().map(|(_, i)| i.key()).collect();
    Ok(Opened {
        table,
        connections,
        title: format!("replay of {} captures of {}", paths.len(), names.join(", ")),
        material: Material::Captures(files),
        warnings: Vec::new(),
        learned: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_one_session_are_one_and_those_of_two_are_two() {
        let files = |names: &[&str]| -> Vec<PathBuf> {
            names.iter().map(|n| Path::new("d").join(format!("{n}.pkrec"))).collect()
        };
        assert_eq!(session_names(&files(&["a-1-000001", "a-1-000002"])), ["d/a-1"]);
        assert_eq!(session_names(&files(&["a-1-000001", "a-2-000001"])), ["d/a-1", "d/a-2"]);
    }
}
