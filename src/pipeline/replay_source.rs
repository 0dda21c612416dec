//! Replays: recordings and captures become the same ordered inputs that a live engine took.
//!
//! Two ways to know when cycles were cut: a recording of a live run notes what its engine did, and is
//! followed to the letter (`scripted`); captures and recordings of market data alone are merged by
//! receive time (captures) or taken in the order of the file, and cut by the event clock (`timed`). A
//! recording with a hole is followed up to the hole and timed from there on. Either way one thread fills one ring, and waits
//! when it is full: a replay's clock can.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use purkinje_feeds::{
    EventBody, InstrumentTable, MarketEvent,
    net::Link,
    recording::{
        Command, EventsError, Record, RecordingReader, STANDBY,
        capture::{CaptureError, CaptureKind, CaptureReader},
        reader::ReadError,
    },
    session::SessionCounters,
};
use rtrb::Producer;
use thiserror::Error;

use super::{
    event_clock::EventClock,
    event_feed::{EventFeedCounts, Feed},
    feed_core::{Outlet, Reading, Received},
    input::{Cut, Input},
    latency::Stage,
    live_settings::{LiveSettings, SettingsError},
    session_header::EndSummary,
    waker::Waker,
};
use crate::clock::monotonic_ns;

mod imported;

#[cfg(test)]
mod tests;

/// Most engine steps that may wait for the frames they speak of, and most events of a connection that
/// may wait for the step that takes them.
const SCRIPT_BOUND: usize = 4 << 20;

/// Holes told one by one.
const MAX_HOLES_TOLD: u64 = 16;

/// Why a replay ended early.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A recording cannot be read.
    #[error(transparent)]
    Recording(#[from] ReadError),
    /// A record names a connection that the header does not have.
    #[error("the recording speaks of connection {found}, its header has {connections}")]
    Connection {
        /// The connection.
        found: u8,
        /// How many there are.
        connections: usize,
    },
    /// The engine's steps never met their frames.
    #[error(
        "the recording's engine steps and frames do not meet: more than {SCRIPT_BOUND} of them wait"
    )]
    Script,
    /// A record of frames for a connection of events, or the other way round.
    #[error("connection {connection} of the recording has {found}, which its header does not say")]
    Carries {
        /// The connection.
        connection: usize,
        /// What was found.
        found: &'static str,
    },
    /// The events of a record cannot be read.
    #[error("the recording's events: {0}")]
    Events(#[from] EventsError),
    /// An event of an instrument that the header does not have.
    #[error("the recording has an event of instrument {found}, which is not in its header")]
    Instrument {
        /// The instrument's index.
        found: u16,
    },
    /// Settings that the recorded run could not have had.
    #[error("the recording's settings: {0}")]
    Settings(#[from] SettingsError),
    /// A second session begins.
    #[error("another session begins here, expected one session: replay them one at a time")]
    SecondSession,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as possible.
    Max,
    /// This many seconds of the recording per second.
    Times(f64),
}

/// What is replayed.
#[derive(Debug)]
pub enum Material {
    /// Captures, one list of files (in order) per connection.
    Captures(Vec<Vec<PathBuf>>),
    /// A recording, after its header.
    Recording {
        /// The reader.
        reader: Box<RecordingReader>,
        /// Whether it notes what its engine did.
        scripted: bool,
    },
}

/// What the replay noticed about the data.
#[derive(Clone, Debug, Default)]
pub struct SourceNotes {
    /// Per connection: protocol counters.
    pub sessions: Vec<SessionCounters>,
    /// Frames read, or messages of an import.
    pub frames: u64,
    /// What was done to imported events.
    pub imported: EventFeedCounts,
    /// Frames received before the frame before them, by the clock, within a connection.
    pub time_backwards: u64,
    /// Receive time minus the venue's send time, over the frames that have both: count, mean,
    /// smallest, largest, in ns. A negative one says that a clock is wrong.
    pub receive_minus_sent_ns: Option<(u64, f64, i64, i64)>,
    /// Events merged by conflation when the run was recorded, and books passed on whole.
    pub conflated: (u64, u64),
    /// Books given up because they were crossed.
    pub crossed_books: u64,
    /// SHA-256 of the recorded run's signals, where it says so.
    pub recorded_sha256: Option<String>,
    /// Places where the recorder had to drop records.
    pub holes: u64,
    /// Things to tell the user.
    pub warnings: Vec<String>,
    /// Why it ended early, if it did.
    pub error: Option<String>,
}

/// The source thread.
#[derive(Debug)]
pub struct ReplaySource {
    lines: Vec<Line>,
    ring: Producer<Input>,
    engine: Waker,
    stop: Arc<AtomicBool>,
    speed: Speed,
    started: Option<(Instant, i64)>,
    last_cut: Option<Cut>,
    notes: SourceNotes,
    sum_ns: f64,
    decode: Stage,
}

#[derive(Debug)]
struct Line {
    feed: Feed,
    out: Queue,
    /// Of the newest frame of the active and the standby link.
    last_ns: [i64; 2],
    /// A message of imported events is not complete yet.
    is_within: bool,
}

/// Items of one connection that the engine has not taken yet.
#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Input>,
    readings: VecDeque<Reading>,
}

impl Outlet for Queue {
    fn free(&mut self, offer: u64) -> usize {
        match self.readings.front() {
            Some(reading) if reading.offer == offer => {
                self.readings.pop_front().map_or(usize::MAX, |r| r.free)
            }
            _ => usize::MAX,
        }
    }

    fn push(&mut self, event: &MarketEvent) {
        self.items.push_back(Input::Event(*event));
    }

    fn matters(&mut self, _: Reading) {}
}

impl ReplaySource {
    /// A source for these connections. The ring must be read by an engine in replay pace.
    #[must_use]
    pub fn new(
        feeds: Vec<Feed>,
        (ring, engine): (Producer<Input>, Waker),
        speed: Speed,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let line =
            |feed| Line { feed, out: Queue::default(), last_ns: [i64::MIN; 2], is_within: false };
        Self {
            lines: feeds.into_iter().map(line).collect(),
            ring,
            engine,
            stop,
            speed,
            started: None,
            last_cut: None,
            notes: SourceNotes::default(),
            sum_ns: 0.0,
            decode: Stage::new("read→decoded"),
        }
    }

    /// Replays everything and ends the stream.
    #[must_use]
    pub fn run(mut self, material: Material, period_ns: i64) -> (SourceNotes, Stage) {
        let outcome = match material {
            Material::Captures(files) => self.captures(&files, EventClock::new(period_ns)),
            Material::Recording { mut reader, scripted } => {
                let outcome = self.recording(&mut reader, scripted, period_ns);
                self.note_warnings(&reader);
                outcome
            }
        };
        self.notes.error = outcome.err().map(|e| e.to_string());
        self.push(Input::End);
        self.engine.wake();
        for line in &self.lines {
            match &line.feed {
                Feed::Frames(core) => {
                    self.notes.sessions.push(core.counters());
                    let (events, books) = core.conflation_counts();
                    self.notes.conflated.0 += events;
                    self.notes.conflated.1 += books;
                    self.notes.crossed_books += core.crossed_books();
                }
                Feed::Events(feed) => {
                    let counts = feed.counts();
                    self.notes.imported.events += counts.events;
                    self.notes.imported.quotes_as_books += counts.quotes_as_books;
                    self.notes.imported.quotes_without_qty += counts.quotes_without_qty;
                }
            }
        }
        (self.notes, self.decode)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Puts one item into the ring, waiting for room.
    fn push(&mut self, input: Input) {
        while self.ring.is_full() && !self.ring.is_abandoned() {
            self.engine.wake();
            std::thread::sleep(Duration::from_micros(50));
        }
        let _ = self.ring.push(input);
    }

    fn cut(&mut self, cut: Cut) {
        if let Speed::Times(times) = self.speed {
            let now = Instant::now();
            let (start, ts0) = *self.started.get_or_insert((now, cut.ts_cycle_ns));
            let ahead = cut.ts_cycle_ns.saturating_sub(ts0).max(0) as f64 * 1e-9 / times;
            while !self.stopped() && start.elapsed().as_secs_f64() < ahead {
                let left = ahead - start.elapsed().as_secs_f64();
                std::thread::sleep(Duration::from_secs_f64(left.clamp(0.0, 0.05)));
            }
        }
        self.last_cut = Some(cut);
        self.push(Input::Cut(cut));
        self.engine.wake();
    }

    fn receive(
        &mut self,
        (line, link): (usize, Link),
        ts_recv_ns: i64,
        received: &Received<'_>,
    ) -> Result<(), ReplayError> {
        let begin = monotonic_ns();
        // Frames come one after the other off one socket. A snapshot comes another way and may be
        // handed over after frames that were received later: that is no clock running backwards.
        if matches!(received, Received::Frame(_)) {
            self.note_order((line, link), ts_recv_ns);
        }
        let Line { feed: Feed::Frames(core), out, .. } = &mut self.lines[line] else {
            return Err(ReplayError::Carries { connection: line, found: "frames" });
        };
        core.take(link, ts_recv_ns, received);
        let first = core.outbox(link).and_then(|outbox| outbox.events.first());
        let sent = first.filter(|e| !matches!(e.body, EventBody::Oracle { .. }));
        let ts_sent_ns = sent.map_or(0, |e| e.ts_sent_ns);
        let decoded_mono_ns = monotonic_ns();
        core.pass(link, out);
        if let Some(outbox) = core.outbox(link) {
            outbox.actions.clear();
            outbox.topics.clear();
        }
        core.status().clear();
        if matches!(received, Received::Frame(_)) && link == Link::Active {
            self.notes.frames += 1;
            self.decode.record(decoded_mono_ns - begin);
            out.items.push_back(Input::FrameEnd { recv_mono_ns: begin, decoded_mono_ns });
        }
        self.note_latency(ts_recv_ns, ts_sent_ns);
        Ok(())
    }

    /// Notes whether a frame or message was received before the one before it.
    fn note_order(&mut self, (line, link): (usize, Link), ts_recv_ns: i64) {
        let newest_ns = &mut self.lines[line].last_ns[link as usize];
        let last_ns = std::mem::replace(newest_ns, ts_recv_ns);
        self.notes.time_backwards += u64::from(ts_recv_ns < last_ns);
    }

    /// Notes receive minus send time, where the venue says when it sent.
    fn note_latency(&mut self, ts_recv_ns: i64, ts_sent_ns: i64) {
        if ts_sent_ns == 0 {
            return;
        }
        let ns = ts_recv_ns.saturating_sub(ts_sent_ns);
        let before = self.notes.receive_minus_sent_ns;
        let (n, _, min, max) = before.unwrap_or((0, 0.0, i64::MAX, i64::MIN));
        self.sum_ns += ns as f64;
        let mean = self.sum_ns / (n + 1) as f64;
        self.notes.receive_minus_sent_ns = Some((n + 1, mean, min.min(ns), max.max(ns)));
    }

    /// Passes on all that a connection has.
    fn release(&mut self, line: usize) {
        while let Some(item) = self.lines[line].out.items.pop_front() {
            self.push(item);
        }
    }

    fn captures(
        &mut self,
        files: &[Vec<PathBuf>],
        mut clock: EventClock,
    ) -> Result<(), ReplayError> {
        let mut sources = Vec::new();
        for paths in files {
            sources.push(CaptureSource::open(paths.clone(), &mut self.notes.warnings)?);
        }
        let mut generations = vec![false; sources.len()];
        while !self.stopped() {
            let heads = sources.iter().enumerate();
            let next = heads.filter_map(|(i, s)| s.head.map(|(ts, _)| (ts, i))).min();
            let Some((ts, at)) = next else { break };
            while let Some(cut) = clock.due(ts) {
                self.cut(cut);
            }
            if !std::mem::replace(&mut generations[at], true) {
                self.receive((at, Link::Active), ts, &Received::Connected)?;
            }
            let source = &mut sources[at];
            let received = match source.head {
                Some((_, CaptureKind::Snapshot)) => Received::Snapshot {
                    instrument: u16::try_from(at).unwrap_or(u16::MAX),
                    // The one connection that a capture is taken to be.
                    generation: 1,
                    body: &source.bytes,
                },
                _ => Received::Frame(&source.bytes),
            };
            self.receive((at, Link::Active), ts, &received)?;
            self.release(at);
            source.advance(&mut self.notes.warnings)?;
        }
        Ok(())
    }

    /// Follows what the recorded engine did as long as the recording is whole; from the first place
    /// where records are missing (or from the start, where no engine ran) the event clock cuts.
    fn recording(
        &mut self,
        reader: &mut RecordingReader,
        is_scripted: bool,
        period_ns: i64,
    ) -> Result<(), ReplayError> {
        let mut script = is_scripted.then(VecDeque::new);
        let mut clock = EventClock::new(period_ns);
        let mut holes = 0;
        while let Some(record) = reader.next()? {
            if self.stopped() {
                return Ok(());
            }
            if matches!(record, Record::SessionStart { .. }) {
                return Err(ReplayError::SecondSession);
            }
            if let Record::End { json, .. } = record {
                let summary = serde_json::from_str::<EndSummary>(json).ok();
                self.notes.recorded_sha256 = summary.map(|s| s.signals_sha256);
            }
            let mut is_hole = self.note_hole(&record);
            match &mut script {
                Some(script) => self.scripted(&record, script)?,
                None => self.timed(&record, &mut clock)?,
            }
            // The reader tells of a hole with the record after it.
            is_hole |= std::mem::replace(&mut holes, reader.stats().holes) != holes;
            if let Some(script) = script.take_if(|_| is_hole) {
                clock = self.leave_script(&script, period_ns);
            }
        }
        if let Some(script) = script.filter(|script| !script.is_empty()) {
            self.notes.warnings.push(format!(
                "the recording breaks off: {} steps of its engine speak of frames it does not hold",
                script.len()
            ));
        }
        if is_scripted && !reader.saw_end() {
            self.notes.warnings.push(
                "the recording has no end: its run was killed, or files of it are missing".into(),
            );
        }
        Ok(())
    }

    fn timed(&mut self, record: &Record<'_>, clock: &mut EventClock) -> Result<(), ReplayError> {
        if let Record::Control { command, .. } = record {
            self.push(Input::Halt(*command == Command::Halt));
        }
        if let Record::Settings { json, .. } = record {
            self.push(Input::Settings(LiveSettings::parse(json)?));
        }
        if let Record::Events { connection, bytes, .. } = *record {
            let (line, _) = self.line(connection)?;
            return self.imported(line, bytes, clock);
        }
        if let Record::Rotated { connection, ts_ns } = *record {
            let (line, _) = self.line(connection)?;
            self.promote(line, ts_ns)?;
            self.release(line);
        }
        let Some((line, ts, received)) = received(record) else { return Ok(()) };
        let (line, link) = self.line(line)?;
        while let Some(cut) = clock.due(ts) {
            self.cut(cut);
        }
        self.receive((line, link), ts, &received)?;
        self.release(line);
        Ok(())
    }

    fn scripted(
        &mut self,
        record: &Record<'_>,
        script: &mut VecDeque<Step>,
    ) -> Result<(), ReplayError> {
        match *record {
            Record::Consumed { connection, items } => {
                script.push_back(Step::Take { line: self.line(connection)?.0, items });
            }
            Record::Cut { cycle, ts_cycle_ns, missed } => {
                script.push_back(Step::Cut(Cut { cycle, ts_cycle_ns, missed }));
            }
            Record::Control { command, .. } => {
                script.push_back(Step::Halt(command == Command::Halt));
            }
            Record::Settings { json, .. } => {
                script.push_back(Step::Settings(LiveSettings::parse(json)?));
            }
            Record::Rotated { connection, ts_ns } => {
                let (line, _) = self.line(connection)?;
                self.promote(line, ts_ns)?;
            }
            Record::Conflation { connection, idle, offer, free } => {
                let (line, _) = self.line(connection)?;
                let Line { feed, out, .. } = &mut self.lines[line];
                out.readings.push_back(Reading { offer, free: free as usize });
                if let (true, Feed::Frames(core)) = (idle, feed) {
                    core.flush(out);
                }
            }
            // An engine's steps are noted beside frames only.
            Record::Events { connection, .. } => {
                let (connection, _) = self.line(connection)?;
                return Err(ReplayError::Carries { connection, found: "events" });
            }
            ref other => {
                if let Some((connection, ts, received)) = received(other) {
                    let of = self.line(connection)?;
                    self.receive(of, ts, &received)?;
                }
            }
        }
        self.follow(script);
        let waiting = self.lines.iter().map(|line| line.out.items.len()).max().unwrap_or(0);
        if script.len() > SCRIPT_BOUND || waiting > SCRIPT_BOUND {
            return Err(ReplayError::Script);
        }
        Ok(())
    }

    /// Records are missing, so that the script and the frames do not meet any more: everything there
    /// is goes to the engine, and the clock goes on from the last cut.
    fn leave_script(&mut self, script: &VecDeque<Step>, period_ns: i64) -> EventClock {
        self.notes.warnings.push(
            "records are missing: from there on cycles are cut by receive time, and signals are not \
             those of the live run"
                .into(),
        );
        for line in 0..self.lines.len() {
            self.lines[line].out.readings.clear();
            self.release(line);
        }
        for step in script {
            match step {
                Step::Halt(halted) => self.push(Input::Halt(*halted)),
                Step::Settings(settings) => self.push(Input::Settings(*settings)),
                Step::Take { .. } | Step::Cut(_) => {}
            }
        }
        match self.last_cut {
            Some(last) => EventClock::after(period_ns, last),
            None => EventClock::new(period_ns),
        }
    }

    /// Carries out the steps whose events are here.
    fn follow(&mut self, script: &mut VecDeque<Step>) {
        while let Some(step) = script.front_mut() {
            match step {
                Step::Take { line, items } => {
                    let line = *line;
                    while let Some(item) = self.lines[line].out.items.front().copied() {
                        let is_event = matches!(item, Input::Event(_));
                        if is_event && *items == 0 {
                            break;
                        }
                        *items -= u32::from(is_event);
                        self.lines[line].out.items.pop_front();
                        self.push(item);
                    }
                    if *items > 0 {
                        return;
                    }
                }
                Step::Cut(cut) => {
                    let cut = *cut;
                    self.cut(cut);
                }
                Step::Halt(halted) => {
                    let halted = *halted;
                    self.push(Input::Halt(halted));
                }
                Step::Settings(settings) => {
                    let settings = *settings;
                    self.push(Input::Settings(settings));
                }
            }
            script.pop_front();
        }
    }

    /// The standby link took over.
    fn promote(&mut self, line: usize, ts_ns: i64) -> Result<(), ReplayError> {
        let Line { feed: Feed::Frames(core), out, last_ns, .. } = &mut self.lines[line] else {
            return Err(ReplayError::Carries { connection: line, found: "a second link" });
        };
        core.promote(ts_ns, out);
        core.status().clear();
        last_ns[Link::Active as usize] = std::mem::replace(&mut last_ns[1], i64::MIN);
        Ok(())
    }

    /// The line of a connection, and which of its links a record speaks of.
    fn line(&self, connection: u8) -> Result<(usize, Link), ReplayError> {
        let link = if connection & STANDBY == 0 { Link::Active } else { Link::Standby };
        let (line, connections) = (usize::from(connection & !STANDBY), self.lines.len());
        if line < connections {
            Ok((line, link))
        } else {
            Err(ReplayError::Connection { found: connection, connections })
        }
    }

    fn note_hole(&mut self, record: &Record<'_>) -> bool {
        let Record::Hole { records, bytes, .. } = record else { return false };
        self.notes.holes += 1;
        // The recorder's own words, for the first few; the rest is a number.
        if self.notes.holes <= MAX_HOLES_TOLD {
            self.notes
                .warnings
                .push(format!("the recorder had to drop {records} records ({bytes} bytes)"));
        }
        true
    }

    fn note_warnings(&mut self, reader: &RecordingReader) {
        self.notes.warnings.extend(reader.warnings().iter().map(ToString::to_string));
    }
}

#[derive(Debug)]
enum Step {
    Take { line: usize, items: u32 },
    Cut(Cut),
    Halt(bool),
    Settings(LiveSettings),
}

/// What a record of a connection means to its session.
fn received<'a>(record: &Record<'a>) -> Option<(u8, i64, Received<'a>)> {
    Some(match *record {
        Record::Connected { connection, ts_recv_ns, .. } => {
            (connection, ts_recv_ns, Received::Connected)
        }
        Record::Disconnected { connection, ts_recv_ns, .. } => {
            (connection, ts_recv_ns, Received::Disconnected)
        }
        Record::Frame { connection, ts_recv_ns, bytes } => {
            (connection, ts_recv_ns, Received::Frame(bytes))
        }
        Record::Snapshot { connection, generation, instrument, ts_recv_ns, status, bytes } => {
            let received = if status == 200 {
                Received::Snapshot { instrument, generation, body: bytes }
            } else {
                Received::SnapshotFailed { instrument, generation }
            };
            (connection, ts_recv_ns, received)
        }
        _ => return None,
    })
}

/// The files of one connection, one line at a time.
#[derive(Debug)]
struct CaptureSource {
    files: VecDeque<PathBuf>,
    reader: Option<CaptureReader>,
    head: Option<(i64, CaptureKind)>,
    bytes: Vec<u8>,
}

impl CaptureSource {
    fn open(files: Vec<PathBuf>, warnings: &mut Vec<String>) -> Result<Self, CaptureError> {
        let mut source = Self { files: files.into(), reader: None, head: None, bytes: Vec::new() };
        source.advance(warnings)?;
        Ok(source)
    }

    fn advance(&mut self, warnings: &mut Vec<String>) -> Result<(), CaptureError> {
        self.head = None;
        loop {
            if self.reader.is_none() {
                let Some(path) = self.files.pop_front() else { return Ok(()) };
                self.reader = Some(CaptureReader::open(&path)?);
            }
            let Some(reader) = &mut self.reader else { return Ok(()) };
            match reader.next_line() {
                Ok(Some(line)) => {
                    self.bytes.clear();
                    self.bytes.extend_from_slice(line.bytes);
                    self.head = Some((line.ts_recv_ns, line.kind));
                    return Ok(());
                }
                Ok(None) => self.reader = None,
                Err(e) if e.is_warning() => {
                    warnings.push(e.to_string());
                    self.reader = None;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// The table for captures: one instrument, one connection, per list of files.
///
/// # Errors
/// Two lists have the same instrument.
pub fn capture_table(
    probes: &[(purkinje_feeds::Venue, String)],
) -> Result<InstrumentTable, purkinje_feeds::InstrumentError> {
    // Captures do not say what the venue's tick is: eight decimals hold every price Binance has.
    let instrument = |(venue, symbol): &(_, String)| purkinje_feeds::Instrument {
        venue: *venue,
        symbol: symbol.clone(),
        price_decimals: 8,
        qty_decimals: 8,
    };
    InstrumentTable::new(probes.iter().map(instrument).collect())
}
