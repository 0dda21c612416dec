//! One recording file, block by block.
//!
//! Invariants: a block is given only when its checksum holds and it decompresses to the length it
//! states; nothing is allocated for a length that the file cannot hold.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use super::{BlockHeader, FILE_HEADER_BYTES, FORMAT_VERSION, MAGIC, OLDEST_FORMAT_VERSION};

/// The file being read.
pub(super) struct OpenFile {
    input: BufReader<File>,
    pub(super) path: PathBuf,
    /// Bytes in the file when it was opened.
    len: u64,
    /// Where the current block starts.
    pub(super) offset: u64,
    /// Where the next block starts.
    next_offset: u64,
    /// No block was read yet.
    pub(super) is_fresh: bool,
}

/// What the first bytes of a file say.
pub(super) enum FileHeader {
    Good,
    Torn,
    Foreign,
    Version(u16),
}

/// Why a block was not read.
pub(super) enum Stop {
    End,
    Torn,
    Bad(&'static str),
}

impl OpenFile {
    /// A file of `len` bytes whose header was read from `input` and is good.
    pub(super) fn new(input: BufReader<File>, path: PathBuf, len: u64) -> Self {
        Self { input, path, len, offset: 0, next_offset: FILE_HEADER_BYTES as u64, is_fresh: true }
    }

    /// Bytes from the start of the current block to the end of the file.
    pub(super) fn bytes_left(&self) -> u64 {
        self.len.saturating_sub(self.offset)
    }

    /// Reads the block at `offset` into `raw` and returns its number. The outer error is the
    /// system's, the inner one the file's.
    pub(super) fn read_block(
        &mut self,
        decompressor: &mut zstd::bulk::Decompressor<'static>,
        payload: &mut Vec<u8>,
        raw: &mut Vec<u8>,
    ) -> io::Result<Result<u32, Stop>> {
        self.offset = self.next_offset;
        let mut header = [0; BlockHeader::BYTES];
        match read_up_to(&mut self.input, &mut header)? {
            0 => return Ok(Err(Stop::End)),
            BlockHeader::BYTES => {}
            _ => return Ok(Err(Stop::Torn)),
        }
        let header = BlockHeader::from_bytes(header);
        if !header.is_bounded() {
            return Ok(Err(Stop::Bad("length out of bounds")));
        }
        // Asked before anything is allocated: a length that garbage made up costs nothing.
        let payload_at = self.offset + BlockHeader::BYTES as u64;
        if u64::from(header.payload_len) > self.len.saturating_sub(payload_at) {
            return Ok(Err(Stop::Torn));
        }
        self.next_offset = payload_at + u64::from(header.payload_len);
        payload.resize(header.payload_len as usize, 0);
        if read_up_to(&mut self.input, payload)? < payload.len() {
            return Ok(Err(Stop::Torn));
        }
        if header.checksum(payload) != header.crc32 {
            return Ok(Err(Stop::Bad("checksum")));
        }
        raw.resize(header.raw_len as usize, 0);
        match decompressor.decompress_to_buffer(payload, raw.as_mut_slice()) {
            Ok(len) if len == raw.len() => Ok(Ok(header.sequence)),
            _ => Ok(Err(Stop::Bad("decompression"))),
        }
    }
}

/// Fills `out` as far as the input goes and returns the bytes read.
fn read_up_to(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match input.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads the first bytes of a file.
pub(super) fn read_file_header(input: &mut impl Read) -> io::Result<FileHeader> {
    let mut header = [0; FILE_HEADER_BYTES];
    let filled = read_up_to(input, &mut header)?;
    let magic_len = filled.min(MAGIC.len());
    if header[..magic_len] != MAGIC[..magic_len] {
        return Ok(FileHeader::Foreign);
    }
    if filled < header.len() {
        return Ok(FileHeader::Torn);
    }
    let version = u16::from_le_bytes([header[MAGIC.len()], header[MAGIC.len() + 1]]);
    let is_known = (OLDEST_FORMAT_VERSION..=FORMAT_VERSION).contains(&version);
    Ok(if is_known { FileHeader::Good } else { FileHeader::Version(version) })
}
