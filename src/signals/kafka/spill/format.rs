//! What a segment file looks like. Integers are little-endian, checksums CRC-32C.
//!
//! | offset | length | header of the file |
//! |---|---|---|
//! | 0 | 8 | magic `pkspill\n` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | checksum of the twelve bytes above and the sequence |
//! | 16 | 8 | sequence, as in the file's name |
//! | 24 | 8 | mark: offset of the first record not taken when the spill was last closed, or 0 |
//! | 32 | 4 | checksum of sequence and mark, which is not valid before the first closing |
//! | 36 | 4 | zero |
//!
//! | offset | length | record |
//! |---|---|---|
//! | 0 | 4 | length of the bytes |
//! | 4 | 4 | checksum of the bytes |
//! | 8 | 4 | checksum of the sequence, the record's offset in the file and the eight bytes above |
//! | 12 | | bytes |
//!
//! Invariant: the head of a record is valid in one file at one offset only. So a damaged length never
//! leads into the bytes of a record that hold what looks like another one, and the next record can be
//! searched for byte by byte.

use std::path::{Path, PathBuf};

/// Bytes before the first record.
pub(super) const HEADER_BYTES: u64 = 40;
/// Where the mark is.
pub(super) const MARK_OFFSET: u64 = 24;
/// Bytes before those of a record.
pub(super) const HEAD_BYTES: usize = 12;
/// The first segment's number: as many numbers before it as behind.
pub(super) const FIRST_SEQUENCE: u64 = 1 << 63;
/// Numbers that a segment may have. Beyond, there would be no room before or behind it.
const SEQUENCES: std::ops::Range<u64> = (1 << 62)..(3 << 62);

const MAGIC: &[u8; 8] = b"pkspill\n";
const VERSION: u32 = 1;

/// The header of a new file.
pub(super) fn header(sequence: u64) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    let checksum = header_checksum(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Why these are not the first bytes of the segment with this number, if they are not.
pub(super) fn check_header(bytes: &[u8], sequence: u64) -> Result<(), &'static str> {
    if bytes.len() < HEADER_BYTES as usize || &bytes[..8] != MAGIC {
        return Err("not a spill segment");
    }
    if u32_at(bytes, 12) != header_checksum(bytes) {
        return Err("its header is damaged");
    }
    if u32_at(bytes, 8) != VERSION {
        return Err("written by another version, expected version 1");
    }
    if u64_at(bytes, 16) != sequence {
        return Err("its name is another segment's");
    }
    Ok(())
}

/// The mark and its checksum, to be written at [`MARK_OFFSET`].
pub(super) fn mark(sequence: u64, offset: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    let checksum = mark_checksum(sequence, offset);
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The mark in a header, if one was written.
pub(super) fn mark_in(header: &[u8], sequence: u64) -> Option<u64> {
    let offset = u64_at(header, 24);
    (u32_at(header, 32) == mark_checksum(sequence, offset)).then_some(offset)
}

/// The head of a record at `offset`.
pub(super) fn head(sequence: u64, offset: u64, len: u32, body: u32) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[4..8].copy_from_slice(&body.to_le_bytes());
    let checksum = head_checksum(sequence, offset, &bytes);
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Length and checksum of the bytes behind a head, if it is one.
pub(super) fn parse_head(bytes: &[u8], sequence: u64, offset: u64) -> Option<(usize, u32)> {
    let is_head = u32_at(bytes, 8) == head_checksum(sequence, offset, bytes);
    is_head.then(|| (u32_at(bytes, 0) as usize, u32_at(bytes, 4)))
}

/// Where the segment with this number is.
pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("segment-{sequence:020}.spill"))
}

/// The number in a segment's name, `None` if it is not one.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".spill")?;
    let is_plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|sequence| is_plain && SEQUENCES.contains(sequence))
}

fn header_checksum(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..24])
}

fn mark_checksum(sequence: u64, offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sequence.to_le_bytes()), &offset.to_le_bytes())
}

fn head_checksum(sequence: u64, offset: u64, head: &[u8]) -> u32 {
    let mut covered = [0; 24];
    covered[..8].copy_from_slice(&sequence.to_le_bytes());
    covered[8..16].copy_from_slice(&offset.to_le_bytes());
    covered[16..].copy_from_slice(&head[..8]);
    crc32c::crc32c(&covered)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_valid_in_its_file_at_its_offset_only() {
        let bytes = head(7, 40, 5, 6);
        assert_eq!(parse_head(&bytes, 7, 40), Some((5, 6)));
        assert_eq!(parse_head(&bytes, 8, 40), None);
        assert_eq!(parse_head(&bytes, 7, 41), None);
        assert_eq!(parse_head(&[0; HEAD_BYTES], FIRST_SEQUENCE, 40), None);
    }

    #[test]
    fn a_header_with_any_byte_changed_is_refused_or_loses_its_mark() {
        let mut good = header(FIRST_SEQUENCE);
        good[24..36].copy_from_slice(&mark(FIRST_SEQUENCE, 99));
        check_header(&good, FIRST_SEQUENCE).unwrap();
        assert_eq!(mark_in(&good, FIRST_SEQUENCE), Some(99));
        assert_eq!(mark_in(&header(FIRST_SEQUENCE), FIRST_SEQUENCE), None);
        assert!(check_header(&good, FIRST_SEQUENCE + 1).is_err());
        for at in 0..36 {
            let mut bad = good;
            bad[at] ^= 0x10;
            let is_refused = check_header(&bad, FIRST_SEQUENCE).is_err();
            assert!(is_refused == (at < 24), "byte {at}");
            assert!(is_refused || mark_in(&bad, FIRST_SEQUENCE).is_none(), "byte {at}");
        }
    }

    #[test]
    fn names_and_numbers_belong_to_each_other() {
        for sequence in [FIRST_SEQUENCE, 1 << 62, (3 << 62) - 1] {
            let path = path(Path::new("/d"), sequence);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(sequence_of(name), Some(sequence));
        }
        for name in ["segment-1.spill", "segment-00000000000000000001.spill", "a.spill", ""] {
            assert_eq!(sequence_of(name), None);
        }
    }
}
