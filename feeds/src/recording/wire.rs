//! Fixed fields of a record to little-endian bytes and back: the letters of [`super::record`].
//!
//! Invariants: nothing is allocated; the layouts here are the only place that knows how many bytes
//! the fixed fields of a kind take.

use super::record::{Command, DecodeError};
use crate::status::StatusEvent;

/// Bytes of the length field and the kind, which every record has.
pub(super) const ENVELOPE_BYTES: usize = 5;

/// Room for the longest envelope with its fixed fields (a cut: 5 + 20, a status: 5 + 24).
const HEAD_BYTES: usize = 29;

/// Kind numbers and their layouts.
pub(super) mod kind {
    use crate::status::StatusEvent;

    pub(in super::super) const SESSION_START: u8 = 1;
    pub(in super::super) const CONNECTED: u8 = 2;
    pub(in super::super) const DISCONNECTED: u8 = 3;
    pub(in super::super) const FRAME: u8 = 4;
    pub(in super::super) const SNAPSHOT: u8 = 5;
    pub(in super::super) const CONFLATION: u8 = 6;
    pub(in super::super) const CONSUMED: u8 = 7;
    pub(in super::super) const CUT: u8 = 8;
    pub(in super::super) const CONTROL: u8 = 9;
    pub(in super::super) const HOLE: u8 = 10;
    pub(in super::super) const END: u8 = 11;
    pub(in super::super) const ROTATED: u8 = 12;
    pub(in super::super) const STATUS: u8 = 13;
    pub(in super::super) const EVENTS: u8 = 14;
    pub(in super::super) const SETTINGS: u8 = 15;

    /// Bytes of the fixed fields, and whether a tail follows.
    pub(in super::super) fn layout(kind: u8) -> Option<(usize, bool)> {
        Some(match kind {
            SESSION_START => (0, true),
            CONNECTED => (1 + 4 + 8, false),
            DISCONNECTED => (1 + 4 + 8, true),
            FRAME | EVENTS => (1 + 8, true),
            SNAPSHOT => (1 + 4 + 2 + 2 + 8, true),
            CONFLATION => (1 + 1 + 8 + 4, false),
            CONSUMED => (1 + 4, false),
            CUT => (8 + 8 + 4, false),
            CONTROL | ROTATED => (8 + 1, false),
            HOLE => (1 + 8 + 8, false),
            END | SETTINGS => (8, true),
            STATUS => (StatusEvent::BYTES, false),
            _ => return None,
        })
    }
}

/// Envelope and fixed fields while they are put together.
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES],
    pub(super) len: usize,
}

impl Head {
    pub(super) fn new(kind: u8) -> Self {
        let mut bytes = [0; HEAD_BYTES];
        bytes[4] = kind;
        Self { bytes, len: ENVELOPE_BYTES }
    }

    fn put<const N: usize>(mut self, field: [u8; N]) -> Self {
        self.bytes[self.len..self.len + N].copy_from_slice(&field);
        self.len += N;
        self
    }

    pub(super) fn u8(self, value: u8) -> Self {
        self.put([value])
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.put(value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.put(value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.put(value.to_le_bytes())
    }

    pub(super) fn i64(self, value: i64) -> Self {
        self.put(value.to_le_bytes())
    }

    pub(super) fn status(self, event: &StatusEvent) -> Self {
        self.put(event.to_bytes())
    }

    /// Fills the length field. A tail too long for it is refused by the bound of every caller.
    pub(super) fn sealed(mut self, tail_len: usize) -> Self {
        let len = (self.len - 4 + tail_len) as u32;
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Fixed fields while they are taken apart. The layout has checked that there are enough bytes; a
/// field beyond them would read as zero.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk::<N>() else {
            return [0; N];
        };
        self.0 = rest;
        *field
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    pub(super) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }

    pub(super) fn idle(&mut self) -> Result<bool, DecodeError> {
        match self.u8() {
            1 => Ok(false),
            2 => Ok(true),
            value => Err(DecodeError::BadChoice { field: "idle", value }),
        }
    }

    pub(super) fn status(&mut self) -> Result<StatusEvent, DecodeError> {
        StatusEvent::from_bytes(&self.take()).ok_or(DecodeError::BadStatus)
    }

    pub(super) fn command(&mut self) -> Result<Command, DecodeError> {
        match self.u8() {
            1 => Ok(Command::Halt),
            2 => Ok(Command::Resume),
            value => Err(DecodeError::BadChoice { field: "command", value }),
        }
    }
}
