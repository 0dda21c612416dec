//! A bounded FIFO of byte records on disk, for signals that the broker cannot take.
//!
//! Records lie in segment files (`spill/format.rs` says how), the oldest first. A record is *taken*, in
//! order, and later *settled*, in any order: a segment whose records are all settled is deleted.
//! Invariants: a record comes out as it was appended or not at all; records come out in order; a record
//! that was refused ([`SpillError`]) leaves nothing behind. Bounds: records not taken have at most
//! [`SpillConfig::max_bytes`], heads included; the disk holds one segment more, headers of 40 bytes,
//! what was put back, and segments with records that are taken and not settled, whose number is the
//! caller's care; open files are at most [`MAX_SEGMENTS`], and of the last two kinds; memory is one
//! window and one record, allocated once. A record costs no allocation; a new segment allocates its path.
//!
//! Crashes: a process killed at any instant loses no appended record before it is settled, for each is
//! handed to the system by one write before [`append`](Spill::append) returns. What was settled but is
//! not yet in a deleted segment comes again (at least once): consumers drop it by its sequence. After
//! [`close`](Spill::close) it does not. Nothing is synced to the device: the records are worth something
//! for seconds, and a crash of the host outlasts them.
//!
//! Damage: bytes that fail their checksum are skipped up to the next whole record, counted, and told by
//! [`next_fault`](Spill::next_fault) with file and offset. Bytes behind the last whole record of a file
//! are what a crash tore: they are cut off at opening and counted. A file that is not a segment, or
//! cannot be read, is told and left alone.

use std::{
    collections::VecDeque,
    fs::{DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::files::lock_folder;

mod error;
mod format;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

pub use error::{SpillError, SpillFault};
use format::{FIRST_SEQUENCE, HEAD_BYTES, HEADER_BYTES, sequence_of};
use scan::Window;
use segment::Segment;

/// Longest record, bytes.
pub const MAX_RECORD_BYTES: usize = 64 << 10;
/// Most segments that records are appended to, each an open file.
pub const MAX_SEGMENTS: usize = 256;
/// Longest segment that is read or put back, bytes.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// Most faults that wait to be told; later ones are only counted.
pub const MAX_FAULTS: usize = 64;

/// Bounds of a spill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillConfig {
    /// Bytes of records not yet taken, 12 bytes of head each included. 1 to 128 segments.
    pub max_bytes: u64,
    /// Bytes after which a new segment is begun. 128 KiB to 1 GiB.
    pub segment_bytes: u64,
}

/// What a spill has done since it was opened, and found then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillCounters {
    /// Records appended.
    pub appended: u64,
    /// Records put back.
    pub put_back: u64,
    /// Records taken.
    pub taken: u64,
    /// Records not taken because a bound was reached.
    pub refused_full: u64,
    /// Records not taken because they are too long.
    pub refused_long: u64,
    /// Writes, and creations and removals of files, that failed.
    pub write_errors: u64,
    /// Segments given up because they could not be read.
    pub read_errors: u64,
    /// Places where damaged bytes were skipped.
    pub damaged_gaps: u64,
    /// Bytes of them.
    pub damaged_bytes: u64,
    /// Records that were whole when counted and could not be read later.
    pub records_lost: u64,
    /// Segments that somebody else deleted while they were written to.
    pub segments_deleted: u64,
    /// Faults that were not told: too many waited.
    pub faults_untold: u64,
}

impl SpillCounters {
    fn count_gap(&mut self, bytes: u64) {
        self.damaged_gaps += 1;
        self.damaged_bytes += bytes;
    }
}

/// What opening a spill found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillRecovery {
    /// Segments with records.
    pub segments: usize,
    /// Whole records in them, not taken yet as far as is known.
    pub records: u64,
    /// Their bytes, heads included.
    pub bytes: u64,
    /// Bytes cut off behind the last whole records.
    pub torn_bytes: u64,
    /// Files that are no segments or cannot be read.
    pub left_alone: u64,
}

/// Faults that wait to be told.
#[derive(Debug, Default)]
struct Faults {
    waiting: VecDeque<SpillFault>,
    untold: u64,
}

impl Faults {
    fn push(&mut self, fault: SpillFault) {
        if self.waiting.len() < MAX_FAULTS {
            self.waiting.push_back(fault);
        } else {
            self.untold += 1;
        }
    }
}

/// A record that was taken: where it lies until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "its segment stays until it is settled"]
pub struct Taken {
    segment: u64,
}

/// The FIFO. See the module for its promises.
#[derive(Debug)]
pub struct Spill {
    config: SpillConfig,
    dir: PathBuf,
    /// The folder, held for its lock.
    lock: File,
    /// Oldest first; each has records that were not taken.
    segments: VecDeque<Segment>,
    /// Older than those: everything is taken, and something not settled.
    drained: VecDeque<Segment>,
    /// Offset and length of the front record in the first segment, once it was looked for.
    front: Option<(u64, usize)>,
    window: Window,
    /// One record with its head.
    scratch: Vec<u8>,
    /// Number of the next segment behind all others, and before them. No number is used twice.
    next_back: u64,
    next_front: u64,
    records: u64,
    bytes: u64,
    counters: SpillCounters,
    faults: Faults,
}

impl Spill {
    /// Opens or creates (with mode 0700) the folder, locks it against other processes and finds the
    /// records that are there.
    ///
    /// # Errors
    /// A setting is out of its range, another process has the folder, or the system refuses it. What is
    /// wrong with a file in it is a fault, not an error.
    pub fn open(dir: &Path, config: SpillConfig) -> Result<(Self, SpillRecovery), SpillError> {
        validate(&config)?;
        let lock = make_and_lock(dir)?;
        let mut spill = Self {
            config,
            dir: dir.to_path_buf(),
            lock,
            segments: VecDeque::with_capacity(MAX_SEGMENTS),
            drained: VecDeque::with_capacity(MAX_SEGMENTS),
            front: None,
            window: Window::new(),
            scratch: Vec::with_capacity(MAX_RECORD_BYTES + HEAD_BYTES),
            next_back: FIRST_SEQUENCE,
            next_front: FIRST_SEQUENCE - 1,
            records: 0,
            bytes: 0,
            counters: SpillCounters::default(),
            faults: Faults::default(),
        };
        let recovery = spill.recover()?;
        Ok((spill, recovery))
    }

    /// Takes one record, given in parts, behind all others.
    ///
    /// # Errors
    /// A bound is reached, the record is too long, or the system refuses. It was not taken then.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<(), SpillError> {
        let len = record_len(parts).inspect_err(|_| self.counters.refused_long += 1)?;
        let record_bytes = (HEAD_BYTES + len) as u64;
        if self.bytes + record_bytes > self.config.max_bytes {
            return Err(self.full());
        }
        self.resume_drained();
        if !self.has_room(record_bytes) {
            if self.segments.len() >= MAX_SEGMENTS {
                return Err(self.full());
            }
            self.next_back += 1;
            let segment = self.create(self.next_back - 1)?;
            self.segments.push_back(segment);
        }
        let Some(segment) = self.segments.back_mut() else { return Err(self.full()) };
        if let Err(error) = segment.write(&mut self.scratch, parts) {
            self.counters.write_errors += 1;
            if segment.records == 0
                && let Some(empty) = self.segments.pop_back()
            {
                self.finish(empty);
            }
            return Err(error);
        }
        self.records += 1;
        self.bytes += record_bytes;
        self.counters.appended += 1;
        Ok(())
    }

    /// The oldest record. Damage before it is skipped.
    pub fn front(&mut self) -> Option<&[u8]> {
        self.find_front();
        let (offset, len) = self.front?;
        let sequence = self.segments.front()?.sequence;
        self.window.record(sequence, offset, len)
    }

    /// Takes the oldest record, which stays on the disk until it is settled; `None` when there is none.
    pub fn take(&mut self) -> Option<Taken> {
        self.find_front();
        let (Some((offset, len)), Some(segment)) = (self.front.take(), self.segments.front_mut())
        else {
            return None;
        };
        let record_bytes = (HEAD_BYTES + len) as u64;
        segment.next = offset + record_bytes;
        segment.records -= 1;
        segment.bytes -= record_bytes;
        segment.unsettled += 1;
        self.records -= 1;
        self.bytes -= record_bytes;
        self.counters.taken += 1;
        let taken = Taken { segment: segment.sequence };
        if segment.records == 0
            && let Some(segment) = self.segments.pop_front()
        {
            self.finish(segment);
        }
        Some(taken)
    }

    /// Forgets a record that was taken: nothing of it is needed after a crash.
    pub fn settle(&mut self, taken: Taken) {
        let is_its = |segment: &Segment| segment.sequence == taken.segment;
        if let Some(at) = self.drained.iter().position(is_its) {
            let segment = &mut self.drained[at];
            segment.unsettled -= 1;
            if segment.unsettled == 0
                && let Some(segment) = self.drained.remove(at)
            {
                self.remove(&segment);
            }
        } else if let Some(segment) = self.segments.iter_mut().find(|segment| is_its(segment)) {
            segment.unsettled -= 1;
        }
        // Else it was given up because it could not be read.
    }

    /// Takes the oldest record and settles it; false when there is none.
    pub fn pop(&mut self) -> bool {
        let taken = self.take();
        if let Some(taken) = taken {
            self.settle(taken);
        }
        taken.is_some()
    }

    /// Puts records, given in order, before all others, whatever the bound: their number is the caller's
    /// care. Returns how many were kept, which are the first ones.
    ///
    /// # Errors
    /// Beside the number: why the rest was not kept.
    pub fn put_back<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> (u64, Result<(), SpillError>) {
        let mut records = records.into_iter().peekable();
        if records.peek().is_none() {
            return (0, Ok(()));
        }
        self.next_front -= 1;
        let mut segment = match self.create(self.next_front + 1) {
            Ok(segment) => segment,
            Err(error) => return (0, Err(error)),
        };
        let mut outcome = Ok(());
        for record in records {
            outcome = self.put_back_one(&mut segment, record);
            if outcome.is_err() {
                break;
            }
        }
        let kept = segment.records;
        self.records += kept;
        self.bytes += segment.bytes;
        self.counters.put_back += kept;
        if kept == 0 {
            self.remove(&segment);
        } else {
            self.segments.push_front(segment);
            self.front = None;
        }
        (kept, outcome)
    }

    /// Notes which records were taken, so that the next opening does not find them again: those of them that
    /// are not settled are to be put back before. A spill that is dropped without this gives back what
    /// was taken of its first segments.
    pub fn close(mut self) -> SpillCounters {
        while let Some(segment) = self.drained.pop_front() {
            self.remove(&segment);
        }
        for segment in self.segments.iter().filter(|segment| segment.next > HEADER_BYTES) {
            if let Err(fault) = segment.write_mark() {
                self.counters.write_errors += 1;
                self.faults.push(fault);
            }
        }
        self.counters()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records not taken yet; some may turn out to be damaged.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.records
    }

    /// Their bytes, heads included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counters since it was opened.
    #[must_use]
    pub fn counters(&self) -> SpillCounters {
        SpillCounters { faults_untold: self.faults.untold, ..self.counters }
    }

    /// The oldest fault that was not told yet.
    pub fn next_fault(&mut self) -> Option<SpillFault> {
        self.faults.waiting.pop_front()
    }

    /// Reads the folder.
    fn recover(&mut self) -> Result<SpillRecovery, SpillError> {
        let mut recovery = SpillRecovery::default();
        let mut sequences = Vec::new();
        let list_error = |e| io_error(&self.dir, "list", e);
        for entry in std::fs::read_dir(&self.dir).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            if let Some(sequence) = entry.file_name().to_str().and_then(sequence_of) {
                sequences.push(sequence);
            } else {
                let why = "not a segment's name";
                recovery.left_alone += 1;
                self.faults.push(SpillFault::Foreign { path: entry.path(), why });
            }
        }
        sequences.sort_unstable();
        if let (Some(first), Some(last)) = (sequences.first(), sequences.last()) {
            self.next_front = first - 1;
            self.next_back = last + 1;
        }
        for sequence in sequences {
            let path = format::path(&self.dir, sequence);
            if self.segments.len() == MAX_SEGMENTS {
                let why = "too many segments";
                recovery.left_alone += 1;
                self.faults.push(SpillFault::Foreign { path, why });
                continue;
            }
            let (window, counters) = (&mut self.window, &mut self.counters);
            let opened =
                segment::open(path, sequence, window, &mut recovery, counters, &mut self.faults);
            if let Some(segment) = opened {
                self.records += segment.records;
                self.bytes += segment.bytes;
                self.segments.push_back(segment);
            }
        }
        recovery.segments = self.segments.len();
        (recovery.records, recovery.bytes) = (self.records, self.bytes);
        Ok(recovery)
    }

    /// Looks for the front record, over damage and segments that turn out to have no more.
    fn find_front(&mut self) {
        while self.front.is_none()
            && let Some(segment) = self.segments.front_mut()
        {
            let (file, end) = (&segment.file, segment.end);
            match self.window.next(file, segment.sequence, segment.next, end) {
                Ok(next) => {
                    if next.gap_bytes > 0 && segment.known_gaps > 0 {
                        segment.known_gaps -= 1;
                    } else if next.gap_bytes > 0 {
                        let (path, offset) = (segment.path.clone(), segment.next);
                        self.counters.count_gap(next.gap_bytes);
                        self.faults.push(SpillFault::Damaged {
                            path,
                            offset,
                            bytes: next.gap_bytes,
                        });
                    }
                    segment.next += next.gap_bytes;
                    self.front = next.record;
                    if next.record.is_none()
                        && let Some(segment) = self.give_up_front()
                    {
                        self.finish(segment);
                    }
                }
                Err(source) => {
                    self.faults.push(segment.fault("read", source));
                    self.counters.read_errors += 1;
                    self.give_up_front();
                }
            }
        }
    }

    /// Goes on without the first segment, and counts what it still had as lost.
    fn give_up_front(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        self.records -= segment.records;
        self.bytes -= segment.bytes;
        self.counters.records_lost += segment.records;
        Some(segment)
    }

    /// Goes on with the newest segment where everything is taken and something not settled: a spill that is
    /// emptied as it fills makes no file a record.
    fn resume_drained(&mut self) {
        let is_newest = |segment: &mut Segment| segment.sequence + 1 == self.next_back;
        if self.segments.is_empty()
            && let Some(segment) = self.drained.pop_back_if(is_newest)
        {
            self.segments.push_back(segment);
        }
    }

    /// Whether the last segment takes a record of this size.
    fn has_room(&mut self, record_bytes: u64) -> bool {
        let Some(segment) = self.segments.back_mut() else { return false };
        // Behind what was put back there may be segments that were taken since.
        if segment.sequence + 1 != self.next_back {
            return false;
        }
        if segment.can_append && segment.is_deleted() {
            segment.can_append = false;
            self.counters.segments_deleted += 1;
            self.faults.push(SpillFault::Deleted { path: segment.path.clone() });
        }
        segment.can_append && segment.end + record_bytes <= self.config.segment_bytes
    }

    fn put_back_one(&mut self, segment: &mut Segment, record: &[u8]) -> Result<(), SpillError> {
        let len = record_len(&[record]).inspect_err(|_| self.counters.refused_long += 1)?;
        if segment.end + (HEAD_BYTES + len) as u64 > MAX_SEGMENT_BYTES {
            return Err(self.full());
        }
        let written = segment.write(&mut self.scratch, &[record]);
        written.inspect_err(|_| self.counters.write_errors += 1)
    }

    /// Makes a segment, and the folder again if somebody deleted it.
    fn create(&mut self, sequence: u64) -> Result<Segment, SpillError> {
        let created = match Segment::create(&self.dir, sequence) {
            Err(SpillError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make_and_lock(&self.dir).and_then(|lock| {
                    self.lock = lock;
                    Segment::create(&self.dir, sequence)
                })
            }
            created => created,
        };
        created.inspect_err(|_| self.counters.write_errors += 1)
    }

    /// Ends a segment without records to take.
    fn finish(&mut self, segment: Segment) {
        if segment.unsettled == 0 {
            self.remove(&segment);
        } else {
            self.drained.push_back(segment);
        }
    }

    fn remove(&mut self, segment: &Segment) {
        if let Err(fault) = segment.remove() {
            self.counters.write_errors += 1;
            self.faults.push(fault);
        }
    }

    fn full(&mut self) -> SpillError {
        self.counters.refused_full += 1;
        SpillError::Full { bytes: self.bytes, segments: self.segments.len() }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Said aloud, because a child process between fork and exec would hold the lock on.
        let _ = self.lock.unlock();
    }
}

fn record_len(parts: &[&[u8]]) -> Result<usize, SpillError> {
    let len = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    if len > MAX_RECORD_BYTES {
        return Err(SpillError::RecordTooLong { len, max: MAX_RECORD_BYTES });
    }
    Ok(len)
}

fn make_and_lock(dir: &Path) -> Result<File, SpillError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| io_error(dir, "create", e))?;
    lock_folder(dir).map_err(|e| match e {
        TryLockError::WouldBlock => SpillError::Locked { path: dir.to_path_buf() },
        TryLockError::Error(source) => io_error(dir, "lock", source),
    })
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> SpillError {
    SpillError::Io { path: path.to_path_buf(), action, source }
}

fn validate(config: &SpillConfig) -> Result<(), SpillError> {
    let refuse = |key, value, expected| Err(SpillError::Config { key, value, expected });
    if !((128 << 10)..=MAX_SEGMENT_BYTES).contains(&config.segment_bytes) {
        return refuse("segment_bytes", config.segment_bytes, "131072 to 1073741824");
    }
    let segments = config.max_bytes.div_ceil(config.segment_bytes);
    if !(1..=128).contains(&segments) {
        return refuse("max_bytes", config.max_bytes, "1 byte to 128 segments");
    }
    Ok(())
}
