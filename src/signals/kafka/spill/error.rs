//! What can go wrong with a spill: errors of a call, and faults that a call went on after.

use std::{io, path::PathBuf};

/// Why a call did nothing. A record that was offered was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// A setting is out of its range.
    #[error("spill: {key} = {value}, expected {expected}")]
    Config {
        /// Which field of [`SpillConfig`](super::SpillConfig).
        key: &'static str,
        /// Its value.
        value: u64,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// Another process uses the folder.
    #[error("{path}: another process spills into this folder")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A bound is reached.
    #[error("spill: full with {bytes} bytes in {segments} segments")]
    Full {
        /// Bytes of records not yet taken, with their heads.
        bytes: u64,
        /// Segments in use.
        segments: usize,
    },
    /// The record is too long.
    #[error("spill: record of {len} bytes, expected at most {max}")]
    RecordTooLong {
        /// Its length.
        len: usize,
        /// Longest that is taken.
        max: usize,
    },
}

/// Something that was found or failed, and was passed over.
#[derive(Debug, thiserror::Error)]
pub enum SpillFault {
    /// Bytes between records that are not what was written. They were skipped.
    #[error("{path}: {bytes} damaged bytes at offset {offset} skipped")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// A file in the folder that is not a segment of this spill. It is left alone.
    #[error("{path}: left alone: {why}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A segment cannot be opened, read or cut. If its records cannot be had, it is left alone.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The segment.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file, and perhaps its folder, was deleted by somebody else. This process still has its
    /// records, and goes on in a new file.
    #[error("{path}: deleted by somebody else; its records live as long as this process")]
    Deleted {
        /// The segment.
        path: PathBuf,
    },
}
