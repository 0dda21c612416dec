//! Training material from JSON files, with errors that say where and what.
//!
//! Invariants: a file is taken whole or not at all; every number that comes out is finite or marked as
//! absent; keys that the format does not have are refused, so that a misspelt one is not passed over;
//! sizes are bounded before memory is.

mod examples;
mod json;
mod spike_trains;

use std::fmt;
use std::path::{Path, PathBuf};

pub use examples::{Example, Examples, MAX_EXAMPLES, MAX_FEATURES, read_examples};
pub use spike_trains::{MAX_SPIKES, MAX_TRAINS, SpikeTrain, SpikeTrains, read_spike_trains};

use crate::files::bounded_file::BoundedFileError;

/// Largest file, bytes; parsed, a file of one value takes up to twenty times as much memory.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Longest value told in a message, characters.
const MAX_TOLD_CHARS: usize = 60;

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] BoundedFileError),
    /// The file is not JSON.
    #[error("{path}: line {line}, column {column}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// Where in the line, counted from 1.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// A value is not what the format says.
    #[error("{path}: {at} {found}, expected {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Where: the JSON path, such as `[3].features.bid`, of JSON Lines with `line 7: ` before it.
        at: String,
        /// What it is.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
}

/// A value that is against the format, before the file is known.
#[derive(Debug)]
struct Fault {
    at: String,
    found: String,
    expected: String,
}

impl Fault {
    fn new(at: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { at: at.into(), found: found.into(), expected: expected.into() }
    }

    /// One of a value that is not as expected.
    fn value(at: impl Into<String>, value: impl fmt::Display, expected: impl Into<String>) -> Self {
        Self::new(at, format!("is {}", shortened(&value.to_string())), expected)
    }

    fn in_file(self, path: &Path) -> ImportError {
        let Self { at, found, expected } = self;
        ImportError::Value { path: path.to_owned(), at, found, expected }
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_TOLD_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn syntax(path: &Path, error: &serde_json::Error, line_offset: usize) -> ImportError {
    let said = error.to_string();
    // The parser ends its message with a place, which counts from the start of what it was given.
    let message = said.split(" at line ").next().unwrap_or(&said).to_owned();
    let (line, column) = (error.line() + line_offset, error.column());
    ImportError::Syntax { path: path.to_owned(), line, column, message }
}
