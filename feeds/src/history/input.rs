//! The bytes of a file behind its compression, and how much of the file they took.
//!
//! Invariants: the compression is told by the first bytes (gzip, zstd, else none), never by the name;
//! several gzip members or zstd frames in a row are one text; nothing is read ahead but fixed buffers.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::{HistoryError, Progress};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes of the file's head that tell its format.
const HEAD_BYTES: usize = 8 * 1024;

/// A file, decompressed.
pub(super) struct Input {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    bytes_read: Arc<AtomicU64>,
    bytes_total: u64,
}

/// Counts what is read from the file itself.
struct Metered {
    file: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Input {
    /// Opens the file and looks at its first bytes.
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        let io = |source| HistoryError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let bytes_total = file.metadata().map_err(io)?.len();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let metered = Metered { file, bytes_read: Arc::clone(&bytes_read) };
        let mut raw = BufReader::with_capacity(1 << 16, metered);
        let magic = raw.fill_buf().map_err(io)?;
        let reader: Box<dyn Read + Send> = if magic.starts_with(&GZIP_MAGIC) {
            Box::new(MultiGzDecoder::new(raw))
        } else if magic.starts_with(&ZSTD_MAGIC) {
            Box::new(zstd::stream::read::Decoder::with_buffer(raw).map_err(io)?)
        } else {
            Box::new(raw)
        };
        Ok(Self { path: path.to_owned(), reader, bytes_read, bytes_total })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How far the reading is, given the rows its reader has made of it.
    pub(super) fn progress(&self, rows: u64) -> Progress {
        let bytes_read = self.bytes_read.load(Ordering::Relaxed);
        Progress { bytes_read, bytes_total: self.bytes_total, rows }
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }
}

/// The first bytes of the text, at most [`HEAD_BYTES`].
pub(super) fn head(path: &Path) -> Result<Vec<u8>, HistoryError> {
    let input = Input::open(path)?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    match input.take(HEAD_BYTES as u64).read_to_end(&mut head) {
        // What came before the damage is enough to tell a format; its reader will meet the damage.
        Err(error) if head.is_empty() => Err(read_error(path, 1, error)),
        _ => Ok(head),
    }
}

/// What a failed read means: the system's errors have a number, the decompressors' have none.
pub(super) fn read_error(path: &Path, row: u64, source: io::Error) -> HistoryError {
    let path = path.to_owned();
    if source.raw_os_error().is_some() {
        return HistoryError::Io { path, source };
    }
    let problem = if source.kind() == ErrorKind::UnexpectedEof {
        "the compressed data ends too early".to_owned()
    } else {
        source.to_string()
    };
    HistoryError::Damaged { path, row, problem }
}
