//! Reading records of a segment through one buffer, past damage.
//!
//! Invariants: only bytes of records that pass both checksums are handed out; memory is one window of
//! [`WINDOW_BYTES`]; every step moves on, so a scan ends whatever the bytes are.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{
    MAX_RECORD_BYTES,
    format::{HEAD_BYTES, parse_head},
};

/// Bytes read at once; the longest record and its head fit.
const WINDOW_BYTES: usize = 256 << 10;
const _: () = assert!(WINDOW_BYTES >= MAX_RECORD_BYTES + HEAD_BYTES);

/// What lies at an offset.
enum Found {
    /// A whole record, whose bytes have this length.
    Record { len: usize },
    /// No record before this offset.
    Damage { until: u64 },
    /// The end.
    End,
}

/// What a segment goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Damaged bytes before the record, or before the end if there is none.
    pub(super) gap_bytes: u64,
    /// Offset of the next whole record and length of its bytes.
    pub(super) record: Option<(u64, usize)>,
}

/// A part of one segment, in memory.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Box<[u8]>,
    sequence: u64,
    start: u64,
    len: usize,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; WINDOW_BYTES].into(), sequence: 0, start: 0, len: 0 }
    }

    /// The next whole record from `offset` on in this segment, of which the first `end` bytes count.
    pub(super) fn next(
        &mut self,
        file: &File,
        sequence: u64,
        offset: u64,
        end: u64,
    ) -> io::Result<Next> {
        let mut at = offset;
        loop {
            let record = match self.find(file, sequence, at, end)? {
                Found::Damage { until } => {
                    at = until;
                    continue;
                }
                Found::Record { len } => Some((at, len)),
                Found::End => None,
            };
            return Ok(Next { gap_bytes: at - offset, record });
        }
    }

    fn find(&mut self, file: &File, sequence: u64, offset: u64, end: u64) -> io::Result<Found> {
        if offset >= end {
            return Ok(Found::End);
        }
        let head = self.get(file, sequence, offset, HEAD_BYTES, end)?;
        if head.len() == HEAD_BYTES
            && let Some((len, checksum)) = parse_head(head, sequence, offset)
        {
            let body_offset = offset + HEAD_BYTES as u64;
            if len <= MAX_RECORD_BYTES && body_offset + len as u64 <= end {
                let body = self.get(file, sequence, body_offset, len, end)?;
                if body.len() == len && crc32c::crc32c(body) == checksum {
                    return Ok(Found::Record { len });
                }
                return Ok(Found::Damage { until: body_offset + len as u64 });
            }
        }
        self.next_head(file, sequence, offset + 1, end).map(|until| Found::Damage { until })
    }

    /// Forgets what was read, for what lies behind the end of the segment is about to change.
    pub(super) fn forget(&mut self) {
        self.len = 0;
    }

    /// The bytes of the record that [`next`](Self::next) found last, from memory.
    pub(super) fn record(&self, sequence: u64, offset: u64, len: usize) -> Option<&[u8]> {
        let at = (offset + HEAD_BYTES as u64).checked_sub(self.start)? as usize;
        let bytes = self.bytes[..self.len].get(at..at + len);
        bytes.filter(|_| self.sequence == sequence)
    }

    /// Offset of the next head from `offset` on, or `end`.
    fn next_head(
        &mut self,
        file: &File,
        sequence: u64,
        mut offset: u64,
        end: u64,
    ) -> io::Result<u64> {
        while offset < end {
            let head = self.get(file, sequence, offset, HEAD_BYTES, end)?;
            if head.len() < HEAD_BYTES {
                break;
            }
            if parse_head(head, sequence, offset).is_some() {
                return Ok(offset);
            }
            offset += 1;
        }
        Ok(end)
    }

    /// `len` bytes from `offset` on; fewer where `end` or the file's own end is nearer.
    fn get(
        &mut self,
        file: &File,
        sequence: u64,
        offset: u64,
        len: usize,
        end: u64,
    ) -> io::Result<&[u8]> {
        let wanted = (len as u64).min(end.saturating_sub(offset)) as usize;
        let is_here = self.sequence == sequence
            && offset >= self.start
            && offset + wanted as u64 <= self.start + self.len as u64;
        if !is_here {
            self.fill(file, sequence, offset, end)?;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..self.len.min(at + wanted)])
    }

    /// Reads as much as fits and counts, from `offset` on.
    fn fill(&mut self, file: &File, sequence: u64, offset: u64, end: u64) -> io::Result<()> {
        let most = (WINDOW_BYTES as u64).min(end.saturating_sub(offset)) as usize;
        (self.sequence, self.start, self.len) = (sequence, offset, 0);
        while self.len < most {
            let to = offset + self.len as u64;
            match file.read_at(&mut self.bytes[self.len..most], to) {
                Ok(0) => break,
                Ok(n) => self.len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
