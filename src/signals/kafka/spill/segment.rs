//! One segment file: made, written to, opened again after a crash, removed.
//!
//! Invariant: `end` is behind the last whole record; what a failed write left there is cut off if the
//! system allows it, is overwritten by the next record, and counts for nothing in between.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    Faults, MAX_SEGMENT_BYTES, SpillCounters, SpillError, SpillFault, SpillRecovery,
    format::{
        self, HEAD_BYTES, HEADER_BYTES, MARK_OFFSET, check_header, head, header, mark, mark_in,
    },
    scan::Window,
};

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Where the next record is written.
    pub(super) end: u64,
    /// Where the next record is read.
    pub(super) next: u64,
    /// Whole records from `next` on.
    pub(super) records: u64,
    /// Their bytes, with their heads.
    pub(super) bytes: u64,
    /// Records before `next` that were taken and not settled since it was opened.
    pub(super) unsettled: u64,
    /// Damaged places from `next` on that were told and counted when the segment was opened.
    pub(super) known_gaps: u64,
    /// False where writing failed for good.
    pub(super) can_append: bool,
}

impl Segment {
    /// Makes a segment without records.
    pub(super) fn create(dir: &Path, sequence: u64) -> Result<Self, SpillError> {
        let path = format::path(dir, sequence);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(source) => return Err(SpillError::Io { path, action: "create", source }),
        };
        if let Err(source) = file.write_all_at(&header(sequence), 0) {
            let _ = std::fs::remove_file(&path);
            return Err(SpillError::Io { path, action: "write", source });
        }
        Ok(Self::new(sequence, path, file))
    }

    fn new(sequence: u64, path: PathBuf, file: File) -> Self {
        let (end, next) = (HEADER_BYTES, HEADER_BYTES);
        let (records, bytes, unsettled, known_gaps, can_append) = (0, 0, 0, 0, true);
        Self { sequence, path, file, end, next, records, bytes, unsettled, known_gaps, can_append }
    }

    /// Writes one record, assembled in `scratch`, behind the last.
    pub(super) fn write(
        &mut self,
        scratch: &mut Vec<u8>,
        parts: &[&[u8]],
    ) -> Result<(), SpillError> {
        scratch.clear();
        scratch.extend_from_slice(&[0; HEAD_BYTES]);
        for part in parts {
            scratch.extend_from_slice(part);
        }
        let body = &scratch[HEAD_BYTES..];
        let head = head(self.sequence, self.end, body.len() as u32, crc32c::crc32c(body));
        scratch[..HEAD_BYTES].copy_from_slice(&head);
        if let Err(source) = self.file.write_all_at(scratch, self.end) {
            let _ = self.file.set_len(self.end);
            // A full disk may have room again; a file at its limit does not.
            self.can_append = source.kind() != io::ErrorKind::FileTooLarge;
            let path = self.path.clone();
            return Err(SpillError::Io { path, action: "write", source });
        }
        self.end += scratch.len() as u64;
        self.bytes += scratch.len() as u64;
        self.records += 1;
        Ok(())
    }

    /// Notes in the file which records were taken.
    pub(super) fn write_mark(&self) -> Result<(), SpillFault> {
        let written = self.file.write_all_at(&mark(self.sequence, self.next), MARK_OFFSET);
        written.map_err(|source| self.fault("write", source))
    }

    /// Whether somebody deleted the file.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Deletes the file. Where that fails it is emptied, so that its records do not come again.
    pub(super) fn remove(&self) -> Result<(), SpillFault> {
        match std::fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let _ = self.file.set_len(0);
                Err(self.fault("remove", source))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn fault(&self, action: &'static str, source: io::Error) -> SpillFault {
        SpillFault::Io { path: self.path.clone(), action, source }
    }
}

/// Opens what an earlier process left: finds its whole records, cuts off what is behind the last, and
/// removes it if there are none. `None` where nothing is to be had of it.
pub(super) fn open(
    path: PathBuf,
    sequence: u64,
    window: &mut Window,
    found: &mut SpillRecovery,
    counters: &mut SpillCounters,
    faults: &mut Faults,
) -> Option<Segment> {
    match try_open(path, sequence, window, found, counters, faults) {
        Ok(segment) => segment,
        Err(fault) => {
            found.left_alone += 1;
            faults.push(fault);
            None
        }
    }
}

fn try_open(
    path: PathBuf,
    sequence: u64,
    window: &mut Window,
    found: &mut SpillRecovery,
    counters: &mut SpillCounters,
    faults: &mut Faults,
) -> Result<Option<Segment>, SpillFault> {
    // Asked first: opening a pipe would wait for its other end.
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(SpillFault::Foreign { path, why: "not a regular file" });
    }
    let writable = OpenOptions::new().read(true).write(true).open(&path);
    let can_write = writable.is_ok();
    let file = match writable.or_else(|_| File::open(&path)) {
        Ok(file) => file,
        Err(source) => return Err(SpillFault::Io { path, action: "open", source }),
    };
    let mut segment = Segment::new(sequence, path, file);
    segment.can_append = can_write;
    let (len, start) = match segment.read_header() {
        Ok(Header::Whole { len, start }) => (len, start),
        Ok(Header::Torn { len }) => {
            found.torn_bytes += len;
            segment.remove()?;
            return Ok(None);
        }
        Ok(Header::Foreign { why }) => {
            return Err(SpillFault::Foreign { path: segment.path, why });
        }
        Err(source) => return Err(segment.fault("read", source)),
    };
    (segment.next, segment.end) = (start, start);
    loop {
        let next = window
            .next(&segment.file, sequence, segment.end, len)
            .map_err(|source| segment.fault("read", source))?;
        let Some((offset, body_len)) = next.record else { break };
        if next.gap_bytes > 0 {
            let (path, offset) = (segment.path.clone(), segment.end);
            segment.known_gaps += 1;
            counters.count_gap(next.gap_bytes);
            faults.push(SpillFault::Damaged { path, offset, bytes: next.gap_bytes });
        }
        let record_bytes = (HEAD_BYTES + body_len) as u64;
        segment.end = offset + record_bytes;
        segment.bytes += record_bytes;
        segment.records += 1;
    }
    // It may have read torn bytes, and records are going to lie in their place.
    window.forget();
    found.torn_bytes += len - segment.end;
    if segment.records == 0 {
        segment.remove()?;
        return Ok(None);
    }
    if segment.end < len
        && let Err(source) = segment.file.set_len(segment.end)
    {
        segment.can_append = false;
        faults.push(segment.fault("cut a torn record off", source));
    }
    Ok(Some(segment))
}

enum Header {
    /// A segment of this length, with its first record not taken at `start`.
    Whole { len: u64, start: u64 },
    /// Its making was cut short.
    Torn { len: u64 },
    /// Something else.
    Foreign { why: &'static str },
}

impl Segment {
    fn read_header(&self) -> io::Result<Header> {
        let len = self.file.metadata()?.len();
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        (&self.file).take(HEADER_BYTES).read_to_end(&mut bytes)?;
        if bytes.len() < HEADER_BYTES as usize && header(self.sequence).starts_with(&bytes) {
            return Ok(Header::Torn { len });
        }
        if let Err(why) = check_header(&bytes, self.sequence) {
            return Ok(Header::Foreign { why });
        }
        if len > MAX_SEGMENT_BYTES {
            return Ok(Header::Foreign { why: "longer than 1 GiB" });
        }
        let is_inside = |mark: &u64| (HEADER_BYTES..=len).contains(mark);
        let start = mark_in(&bytes, self.sequence).filter(is_inside).unwrap_or(HEADER_BYTES);
        Ok(Header::Whole { len, start })
    }
}
