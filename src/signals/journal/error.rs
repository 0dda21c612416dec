//! Why a journal could not be opened, or a line not be taken or written.

use std::io;
use std::path::PathBuf;

/// Why a journal could not be opened, or a line not be taken or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A configuration value is out of its range.
    #[error("journal: {key} = {value}, expected {expected}")]
    Config {
        /// Which field of [`JournalConfig`](super::JournalConfig).
        key: &'static str,
        /// Its value.
        value: u64,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// The system refused. Lines that are not on file yet are kept for the next flush.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes this journal.
    #[error("{path}: another process writes this journal")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The path is a directory, a device or a pipe.
    #[error("{path}: not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file ends with several lines that are not JSON: it is something else, and is left alone.
    #[error("{path}: line at offset {offset} is not JSON, expected a JSON-Lines file")]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// Where its last line but the torn one starts.
        offset: u64,
    },
    /// A line is longer than the buffer.
    #[error("{path}: line of {len} bytes, expected at most {max}")]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// Its length, without a newline.
        len: usize,
        /// Longest line that fits.
        max: usize,
    },
    /// A line is empty or holds a newline, and so is not one line.
    #[error("{path}: {len} bytes that are empty or hold a newline, expected one line")]
    NotALine {
        /// The file.
        path: PathBuf,
        /// How many bytes.
        len: usize,
    },
}
