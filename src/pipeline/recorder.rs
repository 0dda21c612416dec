//! Recording a live run: a tap on every thread that knows something, one thread that writes.
//!
//! A tap never waits: what its ring has no room for is counted and noted in the recording as a hole,
//! because a recording with an unmarked gap would replay to something else without saying so.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use purkinje_feeds::recording::{NO_CONNECTION, Record, RecordingWriter, encode_into};

use super::{
    byte_ring::{ByteReceiver, ByteSender, byte_ring},
    live_settings::MAX_TEXT_BYTES,
    waker::Waker,
};

const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Records taken from one tap before the others have their turn.
const TURN_RECORDS: usize = 4_096;

/// Longest record of the engine: other settings.
const ENGINE_RECORD_BYTES: usize = MAX_TEXT_BYTES + 64;

/// Shared counters of a recording.
#[derive(Debug, Default)]
pub struct RecorderCounts {
    /// Records that reached a file.
    pub records: AtomicU64,
    /// Records that a tap's full ring or the disk lost.
    pub lost: AtomicU64,
}

/// The recording end of one thread.
#[derive(Debug)]
pub struct Tap {
    ring: ByteSender,
    connection: u8,
    scratch: Vec<u8>,
    hole: (u64, u64),
    /// Records missing at the newest hole that is in the recording and was not asked for yet.
    told_hole: Option<u64>,
    counts: Arc<RecorderCounts>,
}

impl Tap {
    /// Notes one record, or that it could not be noted.
    pub fn record(&mut self, record: &Record<'_>) {
        if self.hole != (0, 0) {
            let (records, bytes) = self.hole;
            let hole = Record::Hole { connection: self.connection, records, bytes };
            if self.try_send(&hole) {
                self.hole = (0, 0);
                self.told_hole = Some(records + self.told_hole.unwrap_or(0));
            }
        }
        if self.hole != (0, 0) || !self.try_send(record) {
            self.hole.0 += 1;
            self.hole.1 += record.encoded_len() as u64;
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many records are missing at the holes told in the recording since the last call.
    pub fn take_told_hole(&mut self) -> Option<u64> {
        self.told_hole.take()
    }

    fn try_send(&mut self, record: &Record<'_>) -> bool {
        self.scratch.clear();
        let scratch = &mut self.scratch;
        let encoded = encode_into(record, &mut |bytes| scratch.extend_from_slice(bytes));
        encoded.is_some() && self.ring.try_send(&[&self.scratch])
    }
}

impl Drop for Tap {
    /// A hole that nothing followed is one all the same.
    fn drop(&mut self) {
        let (records, bytes) = self.hole;
        if records > 0 {
            let hole = Record::Hole { connection: self.connection, records, bytes };
            // Should there still be no room, the run's report says what is missing.
            let _ = self.try_send(&hole);
        }
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Recorder {
    writer: RecordingWriter,
    taps: Vec<ByteReceiver>,
    waker: Waker,
    counts: Arc<RecorderCounts>,
    end: Arc<OnceLock<End>>,
}

/// The last record of a recording.
#[derive(Debug)]
struct End {
    ts_ns: i64,
    json: String,
}

/// Ends a recorder that runs.
#[derive(Debug)]
pub struct RecorderEnd {
    end: Arc<OnceLock<End>>,
    waker: Waker,
}

impl RecorderEnd {
    /// Nothing more is to come (a tap whose thread was left behind is never gone): write what is
    /// there, then this summary. The first call counts.
    pub fn end(&self, ts_ns: i64, json: String) {
        let _ = self.end.set(End { ts_ns, json });
        self.waker.wake();
    }
}

impl Recorder {
    /// A recorder that writes to `writer` once it runs.
    #[must_use]
    pub fn new(writer: RecordingWriter) -> Self {
        Self {
            writer,
            taps: Vec::new(),
            waker: Waker::default(),
            counts: Arc::default(),
            end: Arc::default(),
        }
    }

    /// A tap for one thread: a connection's, or with [`NO_CONNECTION`] the engine's.
    pub fn tap(&mut self, connection: u8, ring_bytes: usize) -> Tap {
        let (ring, receiver) = byte_ring(ring_bytes, self.waker.clone());
        self.taps.push(receiver);
        // The engine's records are small and its thread must not allocate.
        let longest = if connection == NO_CONNECTION { ENGINE_RECORD_BYTES } else { 1 << 16 };
        let scratch = Vec::with_capacity(longest);
        Tap {
            ring,
            connection,
            scratch,
            hole: (0, 0),
            told_hole: None,
            counts: self.counts.clone(),
        }
    }

    /// The live counters.
    #[must_use]
    pub fn counts(&self) -> Arc<RecorderCounts> {
        self.counts.clone()
    }

    /// What ends it once it runs.
    #[must_use]
    pub fn end_handle(&self) -> RecorderEnd {
        RecorderEnd { end: self.end.clone(), waker: self.waker.clone() }
    }

    /// Writes until it is ended and nothing is left to write; returns the last error of the disk, if any.
    pub fn run(mut self) -> Option<String> {
        let mut message = Vec::new();
        let mut trouble = None;
        let mut flush_at = Instant::now() + FLUSH_EVERY;
        loop {
            // Looked at before taking: what was sent before the end is still written.
            let end = self.end.get();
            let mut took = false;
            let mut note = |result: Result<(), _>| {
                if let Err(e) = result {
                    trouble = Some(format!("{e}"));
                    false
                } else {
                    true
                }
            };
            for tap in &mut self.taps {
                for _ in 0..TURN_RECORDS {
                    if !tap.try_recv(&mut message) {
                        break;
                    }
                    took = true;
                    let kept = note(self.writer.append_encoded(&message));
                    let counter = if kept { &self.counts.records } else { &self.counts.lost };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
            let last = end.filter(|_| !took);
            if let Some(End { ts_ns, json }) = last {
                note(self.writer.append(&Record::End { ts_ns: *ts_ns, json }));
            }
            let finished = last.is_some();
            if Instant::now() >= flush_at || finished {
                flush_at = Instant::now() + FLUSH_EVERY;
                note(self.writer.flush());
            }
            if finished {
                note(self.writer.finish());
                return trouble;
            }
            let taps = &self.taps;
            let end = &self.end;
            self.waker
                .sleep(FLUSH_EVERY, || taps.iter().any(|t| !t.is_empty()) || end.get().is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_feeds::recording::{RecordingReader, WriterConfig};

    fn frame(bytes: &[u8]) -> Record<'_> {
        Record::Frame { connection: 0, ts_recv_ns: 1, bytes }
    }

    fn recorder(dir: &std::path::Path) -> Recorder {
        let mut writer = RecordingWriter::create(dir, "s", WriterConfig::default()).unwrap();
        writer.append(&Record::SessionStart { json: "{}" }).unwrap();
        Recorder::new(writer)
    }

    #[test]
    fn a_recorder_told_to_stop_writes_what_is_there_and_does_not_wait_for_a_tap_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = recorder(dir.path());
        let mut left_behind = recorder.tap(0, 1 << 20);
        left_behind.record(&frame(b"last words"));
        let counts = recorder.counts();
        recorder.end_handle().end(7, "{}".into());
        assert_eq!(recorder.run(), None);
        let mut reader = RecordingReader::open(dir.path()).unwrap();
        while reader.next().unwrap().is_some() {}
        assert!(reader.saw_end());
        assert_eq!(counts.records.load(Ordering::Relaxed), 1);
        drop(left_behind);
    }

    #[test]
    fn what_a_full_tap_had_no_room_for_is_a_hole_where_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = recorder(dir.path());
        let mut tap = recorder.tap(3, 1 << 10);
        tap.record(&frame(b"before"));
        for _ in 0..2 {
            tap.record(&frame(&[b'x'; 2 << 10]));
        }
        assert_eq!(tap.take_told_hole(), Some(1), "told before the second was tried");
        tap.record(&frame(b"after"));
        assert_eq!((tap.take_told_hole(), tap.take_told_hole()), (Some(1), None));
        drop(tap);
        let counts = recorder.counts();
        recorder.end_handle().end(7, "{}".into());
        assert_eq!(recorder.run(), None);
        let mut reader = RecordingReader::open(dir.path()).unwrap();
        let mut told = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            match record {
                Record::Frame { bytes, .. } => {
                    told.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Record::Hole { connection, records, bytes } => {
                    told.push(format!("hole {connection} {records} {bytes}"));
                }
                _ => {}
            }
        }
        let hole = format!("hole 3 1 {}", frame(&[b'x'; 2 << 10]).encoded_len());
        assert_eq!(told, ["before", &hole, &hole, "after"]);
        assert_eq!(counts.lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_hole_that_nothing_follows_is_in_the_recording_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = recorder(dir.path());
        let mut tap = recorder.tap(0, 1 << 10);
        tap.record(&frame(&[b'x'; 2 << 10]));
        drop(tap);
        recorder.end_handle().end(7, "{}".into());
        assert_eq!(recorder.run(), None);
        let mut reader = RecordingReader::open(dir.path()).unwrap();
        let mut holes = 0;
        while let Some(record) = reader.next().unwrap() {
            holes += u32::from(matches!(record, Record::Hole { records: 1, .. }));
        }
        assert_eq!(holes, 1);
    }
}
