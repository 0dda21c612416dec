//! The journal's own thread: lines from the sink's ring into the file, at the disk's pace.

use std::time::{Duration, Instant};

use crate::{
    pipeline::byte_ring::ByteReceiver,
    signals::journal::{JournalCounters, JournalFile},
};

/// Lines are written at least this often.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Written lines are forced to the device at most this often, if at all.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The file, and whether to force it to the device once a second.
#[derive(Debug)]
pub struct Journal {
    /// The file.
    pub file: JournalFile,
    /// Sync once a second.
    pub sync: bool,
}

/// What the journal did.
#[derive(Clone, Debug, Default)]
pub struct JournalOutcome {
    /// Its counters.
    pub counters: JournalCounters,
    /// Lines it would not take (not one line, or too long).
    pub refused: u64,
    /// The last thing the disk said, if it said anything.
    pub trouble: Option<String>,
    /// Lines that were still waiting for the disk at the end, in bytes.
    pub unwritten_bytes: usize,
}

/// Writes until the sink is gone.
#[must_use]
pub fn run_journal(journal: Journal, mut lines: ByteReceiver) -> JournalOutcome {
    let Journal { mut file, sync } = journal;
    let mut outcome = JournalOutcome::default();
    let mut line = Vec::new();
    let mut synced_at = Instant::now();
    loop {
        let finished = lines.is_finished();
        let flush_at = Instant::now() + FLUSH_EVERY;
        // Not more than a buffer between two flushes: what the buffer has no room for is dropped.
        let mut taken = 0;
        while taken < 64 << 10 && lines.try_recv(&mut line) {
            taken += line.len();
            outcome.refused += u64::from(file.append(&line).is_err());
        }
        let mut result = file.flush();
        if sync && synced_at.elapsed() >= SYNC_EVERY {
            synced_at = Instant::now();
            result = result.and_then(|()| file.sync());
        }
        if let Err(e) = result {
            outcome.trouble = Some(e.to_string());
        }
        if finished {
            if sync {
                let _ = file.sync();
            }
            outcome.counters = file.counters();
            outcome.unwritten_bytes = file.buffered_bytes();
            return outcome;
        }
        if lines.is_empty() {
            // Nobody wakes this thread early on purpose: batches are cheaper than lines.
            std::thread::sleep(flush_at.saturating_duration_since(Instant::now()));
        }
    }
}
