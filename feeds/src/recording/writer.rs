//! Writes records into rotated, block-compressed, crash-safe files.
//!
//! Invariants: a file on disk always starts with a whole prefix of the session's blocks (what a
//! failed write left behind it is cut off); a record is written once, or counted as lost and a
//! [`Record::Hole`] stands in its place; an existing file is never overwritten; memory is bounded
//! by [`WriterConfig::retain_bytes`] and one record. Disk use is bounded by the caller only: files
//! are rotated, never deleted.
//!
//! A disk that is full does not end the recording. The failed block stays in memory and further
//! records are retained with it up to the bound; [`RecordingWriter::flush`] tries again.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::record::{self, DecodeError, MAX_RECORD_BYTES, NO_CONNECTION, Record};
use super::{BlockHeader, FILE_HEADER_BYTES, file_header, file_path};

/// When written blocks are forced to the device. A crash of the process alone loses no block under
/// any policy; this is about crashes of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Never: the kernel decides.
    Never,
    /// When a file is complete, that is on rotation and at the end.
    OnRotate,
    /// After every flush.
    EachFlush,
}

/// Bounds and policies of a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterConfig {
    /// Raw bytes after which a block is written without being asked, 4 KiB to 8 MiB.
    pub block_bytes: usize,
    /// Raw bytes kept in memory while the disk refuses them, `block_bytes` to 32 MiB.
    pub retain_bytes: usize,
    /// Bytes on disk after which a new file is begun, at least 4 KiB.
    pub rotate_bytes: u64,
    /// Span of record times after which a new file is begun, in nanoseconds, at least 1.
    pub rotate_ns: u64,
    /// zstd level, 1 to 3.
    pub level: i32,
    /// When blocks are forced to the device.
    pub fsync: Fsync,
}

impl Default for WriterConfig {
    /// 256 KiB blocks, 4 MiB retained, a new file every 256 MiB or hour, level 1, sync on rotation.
    fn default() -> Self {
        Self {
            block_bytes: 256 << 10,
            retain_bytes: 4 << 20,
            rotate_bytes: 256 << 20,
            rotate_ns: 3_600_000_000_000,
            level: 1,
            fsync: Fsync::OnRotate,
        }
    }
}

/// What a writer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Records accepted, those of the writer itself (repeated session starts, holes) not counted.
    pub records: u64,
    /// Encoded bytes of those records.
    pub raw_bytes: u64,
    /// Blocks on disk.
    pub blocks: u64,
    /// Bytes on disk, all files together.
    pub file_bytes: u64,
    /// Files begun.
    pub files: u64,
    /// Block writes that failed; the block is retried at the next flush.
    pub write_errors: u64,
    /// Rotations that failed; the old file is used until one succeeds.
    pub rotate_errors: u64,
    /// Requests to force data to the device that failed.
    pub sync_errors: u64,
    /// Records lost because the disk refused data for too long.
    pub lost_records: u64,
    /// Encoded bytes of the lost records.
    pub lost_bytes: u64,
}

/// Why a record or a block was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A configuration value is out of its range.
    #[error("recording: {key} = {value}, expected {expected}")]
    Config {
        /// Which field of [`WriterConfig`], or `name`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// There is a recording of that name already.
    #[error("{path}: exists already; a recording never overwrites another")]
    Exists {
        /// The file in the way.
        path: PathBuf,
    },
    /// The disk refused. Nothing is lost yet: what was to be written is kept for the next flush.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The record was dropped: an earlier write failed and the retained bytes are at their bound.
    #[error("{path}: record dropped, {lost_records} so far: the disk refused earlier ones")]
    Lost {
        /// The file that refuses.
        path: PathBuf,
        /// Records lost since the start, this one included.
        lost_records: u64,
    },
    /// Bytes given to [`RecordingWriter::append_encoded`] are no record.
    #[error("{path}: bytes from offset {offset} are no record: {source}")]
    BadRecord {
        /// The file that was being written.
        path: PathBuf,
        /// Offset within the bytes given; the records before it were appended.
        offset: usize,
        /// What is wrong.
        source: DecodeError,
    },
    /// The record is longer than the format allows.
    #[error("{path}: record of {len} bytes, expected at most {MAX_RECORD_BYTES}")]
    TooLong {
        /// The file that was being written.
        path: PathBuf,
        /// Encoded length.
        len: usize,
    },
    /// A session begins with its `SessionStart`, holds no other, and nothing follows its `End`.
    #[error("{path}: {found}, expected {expected}")]
    Order {
        /// The file that was being written.
        path: PathBuf,
        /// What was appended.
        found: &'static str,
        /// What the format wants there.
        expected: &'static str,
    },
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No `SessionStart` yet.
    New,
    /// Between `SessionStart` and `End`.
    Open,
    /// `End` was appended or the writer was finished.
    Ended,
}

/// One session being recorded. See the module for its promises.
pub struct RecordingWriter {
    config: WriterConfig,
    dir: PathBuf,
    name: String,
    phase: Phase,
    current: CurrentFile,
    compressor: zstd::bulk::Compressor<'static>,
    /// The encoded `SessionStart`, repeated at the start of every file.
    session: Vec<u8>,
    /// Records not on disk yet; whole records only.
    raw: Vec<u8>,
    /// First time of a record in `raw`.
    raw_first_ts_ns: Option<i64>,
    /// Header and payload of the block being written.
    block: Vec<u8>,
    /// Number of the next block.
    sequence: u32,
    /// The last block write failed and `raw` holds its records.
    stalled: bool,
    /// What was lost since the last block, by connection: becomes `Hole` records.
    losses: Box<[Loss; 256]>,
    stats: WriterStats,
}

/// The file that blocks go to.
struct CurrentFile {
    file: File,
    path: PathBuf,
    number: u32,
    /// Bytes of whole blocks (and the header): everything behind is cut off or overwritten.
    committed: u64,
    /// Data blocks, the `SessionStart`'s not counted.
    data_blocks: u64,
    /// First time of a record in this file, or meant for it.
    first_ts_ns: Option<i64>,
    /// Whether that time and the newest one are further apart than the configured span.
    span_reached: bool,
}

#[derive(Clone, Copy, Default)]
struct Loss {
    records: u64,
    bytes: u64,
}

impl std::fmt::Debug for RecordingWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingWriter").finish_non_exhaustive()
    }
}

impl RecordingWriter {
    /// Begins session `name` in `dir`, which is created if needed. The name is part of file names:
    /// 1 to 128 letters, digits, `.`, `_` and `-`, not starting with a `.`.
    ///
    /// # Errors
    /// On a configuration out of range, when files of that name exist, and when the first file
    /// cannot be created.
    pub fn create(dir: &Path, name: &str, config: WriterConfig) -> Result<Self, WriteError> {
        validate(name, &config)?;
        std::fs::create_dir_all(dir).map_err(|e| io_error(dir, "create directory", e))?;
        refuse_existing(dir, name)?;
        let current = CurrentFile::create(dir, name, 1, &file_header())?;
        let compressor = zstd::bulk::Compressor::new(config.level)
            .map_err(|e| io_error(&current.path, "start compression", e))?;
        let stats = WriterStats {
            files: 1,
            file_bytes: FILE_HEADER_BYTES as u64,
            ..WriterStats::default()
        };
        Ok(Self {
            raw: Vec::with_capacity(config.block_bytes),
            dir: dir.to_path_buf(),
            name: name.to_owned(),
            phase: Phase::New,
            current,
            compressor,
            session: Vec::new(),
            raw_first_ts_ns: None,
            block: Vec::new(),
            sequence: 0,
            stalled: false,
            losses: Box::new([Loss::default(); 256]),
            stats,
            config,
        })
    }

    /// Appends one record, writing a block when enough have come together. The first record must be
    /// the `SessionStart`, which is on disk when the call returns.
    ///
    /// # Errors
    /// [`WriteError::Io`]: a block could not be written; the record is kept and the block is tried
    /// again by the next [`flush`](Self::flush), not by appends. [`WriteError::Lost`]: the record
    /// was dropped and counted. Others: the record does not belong here and was not appended.
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), WriteError> {
        let len = record.encoded_len();
        if len > MAX_RECORD_BYTES {
            return Err(WriteError::TooLong { path: self.current.path.clone(), len });
        }
        if let Record::SessionStart { .. } = record {
            return self.start_session(record);
        }
        self.check_order(record)?;
        self.make_room(record, len)?;
        let raw = &mut self.raw;
        record::encode_into(record, &mut |piece| raw.extend_from_slice(piece));
        self.after_append(record, len)
    }

    /// Appends one or more encoded records that stand one after the other in `bytes`.
    ///
    /// # Errors
    /// As [`append`](Self::append), and [`WriteError::BadRecord`]. The records before the one that
    /// failed were appended; after [`WriteError::Io`] the failed one was kept too, and after any
    /// error those behind it were not looked at. Give one record at a time to tell them apart.
    pub fn append_encoded(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let mut offset = 0;
        while offset < bytes.len() {
            let (record, len) = record::decode(&bytes[offset..]).map_err(|source| {
                WriteError::BadRecord { path: self.current.path.clone(), offset, source }
            })?;
            if let Record::SessionStart { .. } = record {
                self.start_session(&record)?;
            } else {
                self.check_order(&record)?;
                self.make_room(&record, len)?;
                self.raw.extend_from_slice(&bytes[offset..offset + len]);
                self.after_append(&record, len)?;
            }
            offset += len;
        }
        Ok(())
    }

    /// Writes all that is buffered as one block, after a rotation if one is due, and retries what
    /// failed before. To be called about once a second, so that a crash costs no more than that.
    ///
    /// # Errors
    /// [`WriteError::Io`] naming the file: when a block could not be written, which keeps it for
    /// the next call; when a rotation failed, in which case the block went to the old file; when
    /// forcing data to the device failed.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let mut outcome = Ok(());
        while !self.raw.is_empty() {
            if self.rotation_is_due() {
                outcome = self.rotate();
            }
            self.write_data_block()?;
            self.note_losses();
        }
        if self.config.fsync == Fsync::EachFlush {
            self.sync()?;
        }
        outcome
    }

    /// Flushes and closes the session; append its `End` before. May be called again after an error.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        if self.config.fsync == Fsync::OnRotate {
            self.sync()?;
        }
        self.phase = Phase::Ended;
        Ok(())
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        self.stats
    }

    /// Whether the last block write failed and its records wait in memory.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// The file that blocks go to at the moment.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.current.path
    }

    /// Writes block 0, whose only record is the `SessionStart`.
    fn start_session(&mut self, record: &Record<'_>) -> Result<(), WriteError> {
        if self.phase != Phase::New {
            return Err(self.order("a second SessionStart", "one per session"));
        }
        self.session.clear();
        let session = &mut self.session;
        record::encode_into(record, &mut |piece| session.extend_from_slice(piece));
        self.seal_session()?;
        if let Err(error) = self.current.write_block(&self.block) {
            self.stats.write_errors += 1;
            return Err(error);
        }
        self.block_written();
        self.stats.records += 1;
        self.stats.raw_bytes += self.session.len() as u64;
        self.phase = Phase::Open;
        if self.config.fsync == Fsync::EachFlush {
            self.sync()?;
        }
        Ok(())
    }

    fn check_order(&self, record: &Record<'_>) -> Result<(), WriteError> {
        match (self.phase, record) {
            (Phase::Open, _) => Ok(()),
            (Phase::New, _) => Err(self.order("another record", "SessionStart first")),
            (Phase::Ended, _) => Err(self.order("a record after the end", "none")),
        }
    }

    fn order(&self, found: &'static str, expected: &'static str) -> WriteError {
        WriteError::Order { path: self.current.path.clone(), found, expected }
    }

    /// While stalled, accepts records up to the bound, and none after the first one lost: so that
    /// the hole stands exactly where the records would have.
    fn make_room(&mut self, record: &Record<'_>, len: usize) -> Result<(), WriteError> {
        let is_full = self.raw.len() + len > self.config.retain_bytes;
        if !self.stalled || !(is_full || self.has_losses()) {
            return Ok(());
        }
        let loss = &mut self.losses[usize::from(record.connection().unwrap_or(NO_CONNECTION))];
        loss.records += 1;
        loss.bytes += len as u64;
        self.stats.lost_records += 1;
        self.stats.lost_bytes += len as u64;
        let path = self.current.path.clone();
        Err(WriteError::Lost { path, lost_records: self.stats.lost_records })
    }

    fn after_append(&mut self, record: &Record<'_>, len: usize) -> Result<(), WriteError> {
        self.stats.records += 1;
        self.stats.raw_bytes += len as u64;
        if let Some(ts_ns) = record.ts_ns() {
            self.raw_first_ts_ns.get_or_insert(ts_ns);
            self.current.note_time(ts_ns, self.config.rotate_ns);
        }
        if let Record::End { .. } = record {
            self.phase = Phase::Ended;
        }
        if self.raw.len() >= self.config.block_bytes && !self.stalled {
            return self.flush_block();
        }
        Ok(())
    }

    /// As [`flush`](Self::flush) without forcing anything to the device.
    fn flush_block(&mut self) -> Result<(), WriteError> {
        let rotated = if self.rotation_is_due() { self.rotate() } else { Ok(()) };
        self.write_data_block()?;
        rotated
    }

    fn has_losses(&self) -> bool {
        self.losses.iter().any(|loss| loss.records > 0)
    }

    /// Puts what was lost, connection by connection, where it would have stood.
    fn note_losses(&mut self) {
        let raw = &mut self.raw;
        for (connection, loss) in self.losses.iter_mut().enumerate() {
            let Loss { records, bytes } = std::mem::take(loss);
            if records > 0 {
                let hole = Record::Hole { connection: connection as u8, records, bytes };
                record::encode_into(&hole, &mut |piece| raw.extend_from_slice(piece));
            }
        }
    }

    /// Writes `raw` as one block and empties it; on an error keeps it and is stalled.
    fn write_data_block(&mut self) -> Result<(), WriteError> {
        let sealed = seal(&mut self.compressor, &self.raw, self.sequence, &mut self.block)
            .map_err(|e| io_error(&self.current.path, "compress a block for", e));
        let written = sealed.and_then(|()| self.current.write_block(&self.block));
        self.stalled = written.is_err();
        if let Err(error) = written {
            self.stats.write_errors += 1;
            return Err(error);
        }
        self.block_written();
        self.current.data_blocks += 1;
        self.raw.clear();
        self.raw_first_ts_ns = None;
        self.raw.shrink_to(2 * self.config.block_bytes);
        Ok(())
    }

    /// Makes `block` the session's first block of a file.
    fn seal_session(&mut self) -> Result<(), WriteError> {
        seal(&mut self.compressor, &self.session, self.sequence, &mut self.block)
            .map_err(|e| io_error(&self.current.path, "compress a block for", e))
    }

    fn block_written(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.stats.blocks += 1;
        self.stats.file_bytes += self.block.len() as u64;
    }

    fn rotation_is_due(&self) -> bool {
        let is_full = self.current.committed >= self.config.rotate_bytes;
        self.current.data_blocks > 0 && (is_full || self.current.span_reached)
    }

    /// Begins the next file. On an error the old one stays in use and nothing is left behind.
    fn rotate(&mut self) -> Result<(), WriteError> {
        let rotated = self.open_next_file();
        if rotated.is_err() {
            self.stats.rotate_errors += 1;
        }
        rotated
    }

    fn open_next_file(&mut self) -> Result<(), WriteError> {
        if self.config.fsync != Fsync::Never {
            self.sync()?;
        }
        self.seal_session()?;
        let mut start = Vec::with_capacity(FILE_HEADER_BYTES + self.block.len());
        start.extend_from_slice(&file_header());
        start.extend_from_slice(&self.block);
        let number = self.current.number.saturating_add(1);
        self.current = CurrentFile::create(&self.dir, &self.name, number, &start)?;
        self.current.first_ts_ns = self.raw_first_ts_ns;
        self.block_written();
        self.stats.files += 1;
        self.stats.file_bytes += FILE_HEADER_BYTES as u64;
        Ok(())
    }

    /// Forces the current file, and the directory's knowledge of it, to the device.
    fn sync(&mut self) -> Result<(), WriteError> {
        let synced = self
            .current
            .file
            .sync_data()
            .map_err(|e| io_error(&self.current.path, "sync", e))
            .and_then(|()| {
                let dir = File::open(&self.dir).and_then(|dir| dir.sync_all());
                dir.map_err(|e| io_error(&self.dir, "sync directory", e))
            });
        if synced.is_err() {
            self.stats.sync_errors += 1;
        }
        synced
    }
}

impl Drop for RecordingWriter {
    /// Writes what is buffered as well as it can; an error has nowhere to go. Call
    /// [`finish`](RecordingWriter::finish) to learn of it.
    fn drop(&mut self) {
        if !self.raw.is_empty() {
            let _ = self.flush();
        }
    }
}

impl CurrentFile {
    /// Creates file `number` with `start` as its content, or leaves no file.
    fn create(dir: &Path, name: &str, number: u32, start: &[u8]) -> Result<Self, WriteError> {
        let path = file_path(dir, name, number);
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = opened.map_err(|e| io_error(&path, "create", e))?;
        if let Err(error) = file.write_all(start) {
            // Best effort: a torn file that stays behind is read as an empty one.
            let _ = std::fs::remove_file(&path);
            return Err(io_error(&path, "write", error));
        }
        Ok(Self {
            file,
            path,
            number,
            committed: start.len() as u64,
            data_blocks: 0,
            first_ts_ns: None,
            span_reached: false,
        })
    }

    /// Writes one block behind the others, or cuts off the part that was written.
    fn write_block(&mut self, block: &[u8]) -> Result<(), WriteError> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.committed))
            .and_then(|_| self.file.write_all(block));
        if let Err(error) = written {
            // If this fails too, the tail stays torn until the retry overwrites it.
            let _ = self.file.set_len(self.committed);
            return Err(io_error(&self.path, "write a block to", error));
        }
        self.committed += block.len() as u64;
        Ok(())
    }

    /// Follows the span of record times; a clock that jumped back counts like one that jumped ahead.
    fn note_time(&mut self, ts_ns: i64, rotate_ns: u64) {
        let first = *self.first_ts_ns.get_or_insert(ts_ns);
        self.span_reached |= ts_ns.abs_diff(first) >= rotate_ns;
    }
}

/// Compresses `raw` into `block`, header first.
fn seal(
    compressor: &mut zstd::bulk::Compressor<'static>,
    raw: &[u8],
    sequence: u32,
    block: &mut Vec<u8>,
) -> io::Result<()> {
    let room = BlockHeader::BYTES + zstd::zstd_safe::compress_bound(raw.len());
    block.resize(room, 0);
    let payload_len = compressor.compress_to_buffer(raw, &mut block[BlockHeader::BYTES..])?;
    block.truncate(BlockHeader::BYTES + payload_len);
    let header = BlockHeader::seal(&block[BlockHeader::BYTES..], raw.len() as u32, sequence);
    block[..BlockHeader::BYTES].copy_from_slice(&header.to_bytes());
    Ok(())
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> WriteError {
    WriteError::Io { path: path.to_path_buf(), action, source }
}

fn validate(name: &str, config: &WriterConfig) -> Result<(), WriteError> {
    let refuse = |key, value: String, expected| Err(WriteError::Config { key, value, expected });
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !(1..=128).contains(&name.len()) || name.starts_with('.') || !name.bytes().all(is_plain) {
        let expected = "1 to 128 letters, digits, '.', '_' and '-', not starting with '.'";
        return refuse("name", format!("{name:?}"), expected);
    }
    if !((4 << 10)..=(8 << 20)).contains(&config.block_bytes) {
        return refuse("block_bytes", config.block_bytes.to_string(), "4096 to 8388608");
    }
    if !(config.block_bytes..=(32 << 20)).contains(&config.retain_bytes) {
        return refuse("retain_bytes", config.retain_bytes.to_string(), "block_bytes to 33554432");
    }
    if config.rotate_bytes < 4 << 10 {
        return refuse("rotate_bytes", config.rotate_bytes.to_string(), "at least 4096");
    }
    if config.rotate_ns == 0 {
        return refuse("rotate_ns", "0".to_owned(), "at least 1");
    }
    if !(1..=3).contains(&config.level) {
        return refuse("level", config.level.to_string(), "1 to 3");
    }
    Ok(())
}

/// Refuses a name of which any file is there, so that a rotation cannot run into one later.
fn refuse_existing(dir: &Path, name: &str) -> Result<(), WriteError> {
    let entries = std::fs::read_dir(dir).map_err(|e| io_error(dir, "list", e))?;
    for entry in entries {
        let path = entry.map_err(|e| io_error(dir, "list", e))?.path();
        if super::parse_file_name(&path).is_some_and(|(found, _)| found == name) {
            return Err(WriteError::Exists { path });
        }
    }
    Ok(())
}
