//! Our own recordings: everything needed to replay a live run byte for byte, and imported histories.
//!
//! A recording is one or more files `NAME-000001.pkrec`, `NAME-000002.pkrec`, … of one *session*.
//! This page is the definition of the file format; every integer is little-endian.
//!
//! # File
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 6 | magic `"PKREC\0"` |
//! | 6 | 2 | format version, `u16`, now 2 |
//! | 8 | … | blocks until the end of the file |
//!
//! # Block
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `payload_len`: bytes of the zstd payload, 1 to 64 MiB |
//! | 4 | 4 | `raw_len`: bytes of the payload once decompressed, 1 to 64 MiB |
//! | 8 | 4 | `sequence`: 0 for the first block of a session, then one more per block, across files |
//! | 12 | 4 | `crc32` (IEEE) of the twelve bytes above followed by the payload |
//! | 16 | `payload_len` | one zstd frame holding whole records: no record straddles two blocks |
//!
//! The first block of every file holds exactly one record, the session's `SessionStart`: each file
//! can be understood alone. The reader gives it once per session.
//!
//! # Record
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `len`: bytes after this field, at least 1; a record is at most 16 MiB long |
//! | 4 | 1 | kind |
//! | 5 | … | the fixed fields of the kind in the order below, then its tail: all that is left |
//!
//! | kind | record | fixed fields | tail |
//! |---|---|---|---|
//! | 1 | `SessionStart` | | JSON, UTF-8 |
//! | 2 | `Connected` | connection u8, generation u32, ts_recv_ns i64 | |
//! | 3 | `Disconnected` | connection u8, generation u32, ts_recv_ns i64 | reason, UTF-8 |
//! | 4 | `Frame` | connection u8, ts_recv_ns i64 | the frame's payload |
//! | 5 | `Snapshot` | connection u8, generation u32, instrument u16, status u16, ts_recv_ns i64 | the REST body |
//! | 6 | `Conflation` | connection u8, idle u8 (1 no, 2 yes), offer u64, free u32 | |
//! | 7 | `Consumed` | connection u8, items u32 | |
//! | 8 | `Cut` | cycle u64, ts_cycle_ns i64, missed u32 | |
//! | 9 | `Control` | ts_ns i64, command u8 (1 halt, 2 resume) | |
//! | 10 | `Hole` | connection u8 (255: none in particular), records u64, bytes u64 | |
//! | 11 | `End` | ts_ns i64 | JSON, UTF-8 |
//! | 12 | `Rotated` | connection u8, ts_ns i64 | |
//! | 13 | `Status` | the 24 bytes of a status event, [`crate::status::StatusEvent::to_bytes`] | |
//! | 14 | `Events` | connection u8, ts_recv_ns i64 | events, see [`events`] |
//! | 15 | `Settings` | ts_ns i64 | JSON, UTF-8 |
//!
//! Kinds 12 to 14 came with version 2, which is all that it differs by: version 1 is read as well, and a
//! reader from before refuses version 2 by name. Kind 15 came later and without a version of its own: only a
//! recording of a run whose settings were changed has it, and a reader from before refuses it by its kind.
//!
//! A frame therefore costs 14 bytes beyond its payload, 8 of which are its receive time.
//!
//! # Order
//!
//! Every thread that has something to record (one per connection, and the engine) hands its records
//! to the recorder through a ring of its own. **File order holds per producer only**: two records of
//! one connection stand in the order they were made, and so do `Consumed`, `Cut`, `Control`
//! and `Settings`, which are all the engine's; between producers the order in the file says nothing. A replay
//! demultiplexes: it queues each connection's records and follows the engine's `Consumed` and `Cut`.
//!
//! # Replacement of connections
//!
//! A connection is replaced at its planned age by a link that is followed beside it first. Records off
//! that link carry the connection's number plus 128 ([`STANDBY`]); none of its events reach the engine.
//! `Rotated` stands where it took over: what its books are then is passed on, and its records carry the
//! connection's number from there on.
//!
//! # Damage
//!
//! A file may end anywhere (crash, full disk): all whole blocks before the torn tail are read. A
//! block that fails its checksum ends the reading of its file, and the reader goes on with the next
//! file; block sequence numbers tell exactly whether anything is missing between.

mod block_reader;
pub mod capture;
pub mod events;
pub mod reader;
pub mod record;
mod wire;
pub mod writer;

pub use events::{EventBatch, EventsError};
pub use reader::{ReadError, ReadWarning, ReaderStats, RecordingReader};
pub use record::{
    Command, DecodeError, MAX_RECORD_BYTES, NO_CONNECTION, Record, STANDBY, decode, encode,
    encode_into,
};
pub use writer::{Fsync, RecordingWriter, WriteError, WriterConfig, WriterStats};

/// The ending of every recording file's name, without the dot.
pub const FILE_EXTENSION: &str = "pkrec";

/// First bytes of every file.
const MAGIC: [u8; 6] = *b"PKREC\0";

/// Version of the format this module writes.
pub const FORMAT_VERSION: u16 = 2;

/// Oldest version of the format that is read.
pub const OLDEST_FORMAT_VERSION: u16 = 1;

/// Bytes of the file header.
const FILE_HEADER_BYTES: usize = 8;

/// Largest payload and largest decompressed block that a reader accepts.
pub const MAX_BLOCK_BYTES: usize = 64 << 20;

/// The eight bytes at the start of every file.
fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header
}

/// The sixteen bytes before every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockHeader {
    payload_len: u32,
    raw_len: u32,
    sequence: u32,
    crc32: u32,
}

impl BlockHeader {
    /// Bytes of the header.
    const BYTES: usize = 16;

    /// The header of `payload`, checksum included.
    fn seal(payload: &[u8], raw_len: u32, sequence: u32) -> Self {
        let payload_len = payload.len() as u32;
        let mut header = Self { payload_len, raw_len, sequence, crc32: 0 };
        header.crc32 = header.checksum(payload);
        header
    }

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[12..].copy_from_slice(&self.crc32.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self { payload_len: word(0), raw_len: word(4), sequence: word(8), crc32: word(12) }
    }

    /// Whether the two lengths are within the format's bounds.
    fn is_bounded(self) -> bool {
        let bounds = 1..=MAX_BLOCK_BYTES as u32;
        bounds.contains(&self.payload_len) && bounds.contains(&self.raw_len)
    }

    /// The checksum that a block with these lengths, this number and this payload carries.
    fn checksum(self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.to_bytes()[..12]);
        hasher.update(payload);
        hasher.finalize()
    }
}

/// The path of file `number` (from 1) of session `name` in `dir`.
fn file_path(dir: &std::path::Path, name: &str, number: u32) -> std::path::PathBuf {
    dir.join(format!("{name}-{number:06}.{FILE_EXTENSION}"))
}

/// Session name and number of a recording file, from its file name alone.
fn parse_file_name(path: &std::path::Path) -> Option<(&str, u32)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".pkrec")?;
    let (name, digits) = stem.rsplit_once('-')?;
    let is_number = digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit());
    if name.is_empty() || !is_number {
        return None;
    }
    Some((name, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn file_names_are_parsed_back_and_strangers_are_not() {
        let path = file_path(Path::new("/d"), "live-2026", 12);
        assert_eq!(path, Path::new("/d/live-2026-000012.pkrec"));
        assert_eq!(parse_file_name(&path), Some(("live-2026", 12)));
        let path = file_path(Path::new("d"), "x", 1_234_567);
        assert_eq!(parse_file_name(&path), Some(("x", 1_234_567)));
        for stranger in ["x-00001.pkrec", "x-000001.gz", "-000001.pkrec", "x-0000a1.pkrec", "x"] {
            assert_eq!(parse_file_name(Path::new(stranger)), None, "{stranger}");
        }
    }

    #[test]
    fn a_block_header_survives_its_bytes_and_its_checksum_covers_every_field() {
        let header = BlockHeader::seal(b"payload", 70, 9);
        assert_eq!(BlockHeader::from_bytes(header.to_bytes()), header);
        assert_eq!(header.checksum(b"payload"), header.crc32);
        assert_ne!(header.checksum(b"paylaod"), header.crc32);
        for changed in [
            BlockHeader { payload_len: 8, ..header },
            BlockHeader { raw_len: 71, ..header },
            BlockHeader { sequence: 8, ..header },
        ] {
            assert_ne!(changed.checksum(b"payload"), header.crc32);
        }
    }

    #[test]
    fn block_lengths_out_of_bounds_are_refused() {
        let header = BlockHeader::seal(b"p", 1, 0);
        assert!(header.is_bounded());
        assert!(!BlockHeader { raw_len: 0, ..header }.is_bounded());
        assert!(!BlockHeader { payload_len: 0, ..header }.is_bounded());
        let too_long = MAX_BLOCK_BYTES as u32 + 1;
        assert!(!BlockHeader { raw_len: too_long, ..header }.is_bounded());
        assert!(!BlockHeader { payload_len: too_long, ..header }.is_bounded());
    }
}
