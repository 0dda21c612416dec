//! Reads recordings back, as far as they are whole.
//!
//! Invariants: a record is yielded only from a block whose checksum holds, so what comes out was
//! written; records come in file order; no damage to a file makes the reader panic, hold more than
//! two blocks of at most [`MAX_BLOCK_BYTES`](super::MAX_BLOCK_BYTES), or stop before the last file.
//! Damage is told by [`RecordingReader::warnings`]; places where records are missing *between* others are counted in
//! [`ReaderStats::holes`], which a replay compares after every record it takes.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::block_reader::{FileHeader, OpenFile, Stop, read_file_header};
use super::record::{self, DecodeError, Record};
use super::{BlockHeader, FILE_EXTENSION, FORMAT_VERSION, OLDEST_FORMAT_VERSION, parse_file_name};

/// Warnings kept; further ones are counted only.
pub const MAX_WARNINGS: usize = 64;

/// Why a recording cannot be read (on).
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing to read.
    #[error("{path}: no file NAME-000001.pkrec or the like in it")]
    NoFiles {
        /// The directory, or an empty path for an empty list.
        path: PathBuf,
    },
    /// No file given starts like a recording.
    #[error("{path}: not a recording, expected it to start with \"PKREC\"")]
    NotARecording {
        /// The first file.
        path: PathBuf,
    },
    /// The file was written by another version of the format.
    #[error("{path}: format version {found}, expected {OLDEST_FORMAT_VERSION} to {FORMAT_VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// A block's checksum holds and yet its content is against the format: its writer is wrong.
    /// The rest of the file is skipped.
    #[error("{path}: block at offset {offset} is valid but its record at {at} is not: {source}")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Offset of the block in the file.
        offset: u64,
        /// Offset of the record in the decompressed block.
        at: usize,
        /// What is wrong.
        source: DecodeError,
    },
    /// As [`BadRecord`](Self::BadRecord): the file does not begin with a `SessionStart`.
    #[error("{path}: first record is not a SessionStart")]
    NoSessionStart {
        /// The file.
        path: PathBuf,
    },
}

/// Damage that was met and read around.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadWarning {
    /// The file ends within a block: everything before it was read.
    #[error("{path}: torn tail at offset {offset}: {bytes} bytes ignored")]
    TornTail {
        /// The file.
        path: PathBuf,
        /// Where the last whole block ends.
        offset: u64,
        /// Bytes behind it.
        bytes: u64,
    },
    /// A block is not what was written; the rest of the file was skipped.
    #[error("{path}: bad block at offset {offset} ({what}): {bytes} bytes skipped")]
    BadBlock {
        /// The file.
        path: PathBuf,
        /// Offset of the block.
        offset: u64,
        /// Bytes from there to the end of the file.
        bytes: u64,
        /// Which check failed.
        what: &'static str,
    },
    /// One of several files does not start like a recording and was skipped.
    #[error("{path}: not a recording, skipped")]
    BadFileHeader {
        /// The file.
        path: PathBuf,
    },
    /// Files of the session are not there.
    #[error("{path}: files {from} to {to} before it are missing")]
    MissingFiles {
        /// The file after the gap.
        path: PathBuf,
        /// First missing number.
        from: u32,
        /// Last missing number.
        to: u32,
    },
    /// The block numbers of a session jump ahead from one file to the next.
    #[error("{path}: {blocks} blocks before it are missing")]
    MissingBlocks {
        /// The file after the gap.
        path: PathBuf,
        /// How many.
        blocks: u32,
    },
    /// The block numbers of a session go back from one file to the next: a file was given twice or
    /// in the wrong order. It is read all the same.
    #[error("{path}: starts with block {found}, expected {expected}")]
    OutOfOrder {
        /// The file.
        path: PathBuf,
        /// Number of its first block.
        found: u32,
        /// Number that would continue the file before it.
        expected: u32,
    },
}

/// What a reader has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// Records yielded.
    pub records: u64,
    /// Blocks read.
    pub blocks: u64,
    /// Bytes of those blocks decompressed.
    pub raw_bytes: u64,
    /// Bytes of those blocks as they lie in the files.
    pub file_bytes: u64,
    /// Places where records are missing: gaps in the block numbers, and bad blocks after which no
    /// file of the session follows. A torn tail at the very end is not one.
    pub holes: u64,
    /// Warnings over [`MAX_WARNINGS`], which were not kept.
    pub warnings_dropped: u64,
}

/// All files of one or more sessions, one after the other.
pub struct RecordingReader {
    files: Vec<PathBuf>,
    /// Index in `files` of the next file to open.
    next_file: usize,
    /// All of a directory is read, so that its sessions must begin with file 1 and block 0.
    is_directory: bool,
    open: Option<OpenFile>,
    /// Directory and name of the session being read.
    session_name: Option<(PathBuf, String)>,
    /// Number that the next file of the session should have.
    expected_file: Option<u32>,
    /// Number that the next block of the session should have.
    expected_block: Option<u32>,
    /// A bad block ended the file before, and nothing of the session was read since.
    bad_block_pending: bool,
    /// The encoded `SessionStart` that was yielded last.
    session_start: Vec<u8>,
    decompressor: zstd::bulk::Decompressor<'static>,
    payload: Vec<u8>,
    /// The current block; `raw[at..]` is still to be yielded.
    raw: Vec<u8>,
    at: usize,
    saw_end: bool,
    warnings: Vec<ReadWarning>,
    stats: ReaderStats,
}

impl std::fmt::Debug for RecordingReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingReader").finish_non_exhaustive()
    }
}

impl RecordingReader {
    /// Opens one file, or all recordings of a directory: sessions in the order of their names, the
    /// files of each in the order of their numbers.
    ///
    /// # Errors
    /// When nothing is there, nothing there is a recording, or the system refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|e| io_error(path, "open", e))?;
        if !metadata.is_dir() {
            return Self::with_files(vec![path.to_path_buf()], false);
        }
        let files = list_directory(path)?;
        if files.is_empty() {
            return Err(ReadError::NoFiles { path: path.to_path_buf() });
        }
        Self::with_files(files, true)
    }

    /// Opens the given files, to be read in the given order.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_files(files: Vec<PathBuf>) -> Result<Self, ReadError> {
        if files.is_empty() {
            return Err(ReadError::NoFiles { path: PathBuf::new() });
        }
        Self::with_files(files, false)
    }

    fn with_files(files: Vec<PathBuf>, is_directory: bool) -> Result<Self, ReadError> {
        refuse_foreign(&files)?;
        let decompressor = zstd::bulk::Decompressor::new()
            .map_err(|e| io_error(&files[0], "start decompression of", e))?;
        Ok(Self {
            files,
            next_file: 0,
            is_directory,
            open: None,
            session_name: None,
            expected_file: None,
            expected_block: None,
            bad_block_pending: false,
            session_start: Vec::new(),
            decompressor,
            payload: Vec::new(),
            raw: Vec::new(),
            at: 0,
            saw_end: false,
            warnings: Vec::new(),
            stats: ReaderStats::default(),
        })
    }

    /// The next record, or `None` after the last file. A `SessionStart` that a further file of the
    /// same session repeats is left out.
    ///
    /// # Errors
    /// When the system refuses to read, or a valid block is against the format. The next call goes
    /// on with the next file.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator: Iterator cannot lend")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        while self.at == self.raw.len() {
            if !self.load()? {
                return Ok(None);
            }
        }
        let at = self.at;
        match record::decode(&self.raw[at..]) {
            Ok((record, len)) => {
                self.at += len;
                self.stats.records += 1;
                self.saw_end = matches!(record, Record::End { .. });
                if matches!(record, Record::SessionStart { .. }) {
                    self.session_start.clear();
                    self.session_start.extend_from_slice(&self.raw[at..at + len]);
                }
                Ok(Some(record))
            }
            Err(source) => {
                self.at = self.raw.len();
                let open = self.open.take();
                let (path, offset) = open.map(|o| (o.path, o.offset)).unwrap_or_default();
                Err(ReadError::BadRecord { path, offset, at, source })
            }
        }
    }

    /// Damage met so far, the first [`MAX_WARNINGS`] of it.
    #[must_use]
    pub fn warnings(&self) -> &[ReadWarning] {
        &self.warnings
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> ReaderStats {
        self.stats
    }

    /// Whether the last record yielded was an `End`: the session was closed in order.
    #[must_use]
    pub fn saw_end(&self) -> bool {
        self.saw_end
    }

    /// The files in the order in which they are read.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Makes one step towards a block in `raw`; `false` after the last file.
    fn load(&mut self) -> Result<bool, ReadError> {
        if self.open.is_none() && !self.open_next_file()? {
            return Ok(false);
        }
        let Some(mut open) = self.open.take() else {
            return Ok(true);
        };
        self.raw.clear();
        self.at = 0;
        let block = open.read_block(&mut self.decompressor, &mut self.payload, &mut self.raw);
        match block.map_err(|e| io_error(&open.path, "read", e))? {
            Ok(sequence) => {
                if open.is_fresh {
                    self.begin_file(&open.path, sequence)?;
                } else if self.expected_block != Some(sequence) {
                    // Within a file the numbers have no gap: this is a stale or foreign block.
                    self.stop_file(&open, &Stop::Bad("number out of sequence"));
                    return Ok(true);
                }
                open.is_fresh = false;
                self.expected_block = Some(sequence.wrapping_add(1));
                self.stats.blocks += 1;
                self.stats.raw_bytes += self.raw.len() as u64;
                self.stats.file_bytes += (BlockHeader::BYTES + self.payload.len()) as u64;
                self.open = Some(open);
            }
            Err(stop) => self.stop_file(&open, &stop),
        }
        Ok(true)
    }

    /// Opens the next file and reads its header; `open` stays empty when the file has nothing.
    fn open_next_file(&mut self) -> Result<bool, ReadError> {
        let Some(path) = self.files.get(self.next_file).cloned() else {
            self.close_session();
            return Ok(false);
        };
        self.next_file += 1;
        self.follow_name(&path);
        let (file, len) = open_file(&path)?;
        let mut input = BufReader::with_capacity(64 << 10, file);
        let header = read_file_header(&mut input).map_err(|e| io_error(&path, "read", e))?;
        match header {
            FileHeader::Good => {
                self.open = Some(OpenFile::new(input, path, len));
            }
            FileHeader::Torn => {
                self.warn(ReadWarning::TornTail { path, offset: 0, bytes: len });
            }
            FileHeader::Foreign => {
                self.bad_block_pending = true;
                self.warn(ReadWarning::BadFileHeader { path });
            }
            FileHeader::Version(found) => return Err(ReadError::Version { path, found }),
        }
        Ok(true)
    }

    /// Compares the name of a file with that of the one before.
    fn follow_name(&mut self, path: &Path) {
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let parsed = parse_file_name(path);
        let number = parsed.map(|(_, number)| number);
        let fallback = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = parsed.map_or_else(fallback, |(name, _)| name.to_owned());
        let session_name = Some((directory, name));
        if self.session_name != session_name {
            self.close_session();
            self.session_name = session_name;
            let is_whole = self.is_directory || number == Some(1);
            self.expected_file = self.is_directory.then_some(1);
            self.expected_block = is_whole.then_some(0);
        }
        if let (Some(expected), Some(number)) = (self.expected_file, number)
            && number > expected
        {
            let path = path.to_path_buf();
            self.warn(ReadWarning::MissingFiles { path, from: expected, to: number - 1 });
        }
        self.expected_file = number.map(|number| number.saturating_add(1));
    }

    /// No file of the session follows: what a bad block hid is known to be missing now.
    fn close_session(&mut self) {
        self.stats.holes += u64::from(self.bad_block_pending);
        self.bad_block_pending = false;
    }

    /// The first block of a file is in `raw`: compares its number with the expected one and passes
    /// over a repeated `SessionStart`.
    fn begin_file(&mut self, path: &Path, sequence: u32) -> Result<(), ReadError> {
        if let Some(expected) = self.expected_block
            && sequence != expected
        {
            self.stats.holes += 1;
            let path = path.to_path_buf();
            self.warn(if sequence > expected {
                ReadWarning::MissingBlocks { path, blocks: sequence - expected }
            } else {
                ReadWarning::OutOfOrder { path, found: sequence, expected }
            });
        }
        self.bad_block_pending = false;
        let decoded = record::decode(&self.raw);
        let Ok((Record::SessionStart { .. }, len)) = decoded else {
            self.raw.clear();
            return Err(ReadError::NoSessionStart { path: path.to_path_buf() });
        };
        if sequence != 0 && self.raw[..len] == self.session_start {
            self.at = len;
        }
        Ok(())
    }

    /// Leaves a file, `open` being empty, and notes why if it is not simply at its end.
    fn stop_file(&mut self, file: &OpenFile, stop: &Stop) {
        self.raw.clear();
        self.at = 0;
        let (path, offset) = (file.path.clone(), file.offset);
        let bytes = file.bytes_left();
        match stop {
            Stop::End => {}
            Stop::Torn => self.warn(ReadWarning::TornTail { path, offset, bytes }),
            Stop::Bad(what) => {
                self.bad_block_pending = true;
                self.warn(ReadWarning::BadBlock { path, offset, bytes, what });
            }
        }
    }

    fn warn(&mut self, warning: ReadWarning) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        } else {
            self.stats.warnings_dropped += 1;
        }
    }
}

/// Refuses a set of files none of which is a recording, before anything is read from it.
fn refuse_foreign(files: &[PathBuf]) -> Result<(), ReadError> {
    let mut all_foreign = true;
    for path in files {
        let (mut file, _) = open_file(path)?;
        match read_file_header(&mut file).map_err(|e| io_error(path, "read", e))? {
            FileHeader::Foreign => {}
            FileHeader::Good | FileHeader::Torn => all_foreign = false,
            FileHeader::Version(found) => {
                return Err(ReadError::Version { path: path.clone(), found });
            }
        }
    }
    if all_foreign {
        return Err(ReadError::NotARecording { path: files[0].clone() });
    }
    Ok(())
}

fn open_file(path: &Path) -> Result<(File, u64), ReadError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let len = file.metadata().map_err(|e| io_error(path, "inspect", e))?.len();
    Ok((file, len))
}

/// The recordings in a directory, by session name and then by number.
fn list_directory(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let entries = std::fs::read_dir(directory).map_err(|e| io_error(directory, "list", e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| io_error(directory, "list", e))?.path();
        if let Some((name, number)) = parse_file_name(&path) {
            debug_assert!(path.extension().is_some_and(|e| e == FILE_EXTENSION));
            found.push((name.to_owned(), number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> ReadError {
    ReadError::Io { path: path.to_path_buf(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{encode, file_header};

    const SESSION: Record<'static> = Record::SessionStart { json: "{}" };

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = vec![0; record.encoded_len()];
        assert!(encode(record, &mut bytes).is_some());
        bytes
    }

    /// A file whose blocks have valid checksums, whatever `raw_blocks` say.
    fn write_blocks(path: &Path, raw_blocks: &[(u32, Vec<u8>)]) {
        let mut bytes = file_header().to_vec();
        for (sequence, raw) in raw_blocks {
            let payload = zstd::bulk::compress(raw, 1).unwrap();
            let header = BlockHeader::seal(&payload, raw.len() as u32, *sequence);
            bytes.extend(header.to_bytes());
            bytes.extend(payload);
        }
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_valid_block_with_a_bad_record_is_an_error_and_the_next_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let mut bad = encoded(&Record::Consumed { connection: 1, items: 1 });
        let good_len = bad.len();
        bad.extend([1, 0, 0, 0, 200]);
        write_blocks(&first, &[(0, encoded(&SESSION)), (1, bad.clone()), (2, bad)]);
        write_blocks(&second, &[(0, encoded(&SESSION))]);
        let mut reader = RecordingReader::open_files(vec![first.clone(), second]).unwrap();
        assert_eq!(reader.next().unwrap(), Some(SESSION));
        assert!(matches!(reader.next(), Ok(Some(Record::Consumed { .. }))));
        match reader.next() {
            Err(ReadError::BadRecord { path, at, source, .. }) => {
                assert_eq!((path, at), (first, good_len));
                assert_eq!(source, DecodeError::UnknownKind { kind: 200 });
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(reader.next().unwrap(), Some(SESSION));
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_recording_of_the_first_version_is_read_and_one_of_the_next_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_blocks(&path, &[(0, encoded(&SESSION))]);
        let with_version = |version: u16| {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[6..8].copy_from_slice(&version.to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
            RecordingReader::open(&path)
        };
        for version in OLDEST_FORMAT_VERSION..=FORMAT_VERSION {
            assert_eq!(with_version(version).unwrap().next().unwrap(), Some(SESSION), "{version}");
        }
        for version in [OLDEST_FORMAT_VERSION - 1, FORMAT_VERSION + 1] {
            let error = with_version(version).unwrap_err();
            assert!(matches!(error, ReadError::Version { found, .. } if found == version));
        }
    }

    #[test]
    fn a_file_without_a_session_start_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_blocks(&path, &[(0, encoded(&Record::Consumed { connection: 1, items: 1 }))]);
        let mut reader = RecordingReader::open(&path).unwrap();
        assert!(matches!(reader.next(), Err(ReadError::NoSessionStart { .. })));
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_block_out_of_sequence_within_a_file_ends_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let cut = encoded(&Record::Cut { cycle: 1, ts_cycle_ns: 1, missed: 0 });
        write_blocks(&path, &[(0, encoded(&SESSION)), (1, cut.clone()), (3, cut)]);
        let mut reader = RecordingReader::open(&path).unwrap();
        while reader.next().unwrap().is_some() {}
        assert_eq!(reader.stats().records, 2);
        assert!(matches!(reader.warnings(), [ReadWarning::BadBlock { .. }]));
        assert_eq!(reader.stats().holes, 1);
    }

    #[test]
    fn warnings_are_bounded_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("torn");
        std::fs::write(&path, b"PKR").unwrap();
        let files = vec![path; MAX_WARNINGS + 5];
        let mut reader = RecordingReader::open_files(files).unwrap();
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.warnings().len(), MAX_WARNINGS);
        assert_eq!(reader.stats().warnings_dropped, 5);
    }
}
