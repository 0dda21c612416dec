//! The bytes of a DBN file on their way to the `dbn` crate, let through record by record.
//!
//! The crate panics on a record that is shorter than its type or breaks the alignment of the next, and
//! takes a file that was cut short for one at its end. Invariants: what is let through is the metadata
//! and then whole records of plausible length; the first byte that is not is an error, after everything
//! before it was given; an end inside a record, or of compressed data, is an error.

use std::io::{self, Chain, Cursor, ErrorKind, Read};
use std::path::Path;

use dbn::{MboMsg, Mbp1Msg, RecordHeader, TradeMsg, rtype};

use super::HistoryError;
use super::input::{Input, read_error};
use super::lines::Place;

/// Magic, version, and the metadata's length as a `u32`.
const PRELUDE_BYTES: usize = 8;

/// Newest version of the format that is read; the next one has another record header.
const MAX_VERSION: u8 = 3;

/// Longest metadata taken; a thousand symbols need under 1 MiB.
const MAX_METADATA_BYTES: u32 = 16 * 1024 * 1024;

/// The length of every record is a multiple of this; metadata may have any length.
const ALIGNMENT: usize = 8;

/// The checked bytes.
pub(super) struct DbnFrames {
    input: Chain<Cursor<[u8; PRELUDE_BYTES]>, Input>,
    /// Bytes to let through before the next record.
    left: usize,
    /// Length of a record whose type is not yet read.
    open_len: Option<usize>,
    /// What stopped the reading.
    problem: Option<String>,
}

impl DbnFrames {
    /// Opens the file and checks the bytes before its metadata.
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        let place = Place { path, row: 1 };
        let mut input = Input::open(path)?;
        let mut prelude = [0; PRELUDE_BYTES];
        input.read_exact(&mut prelude).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => place.damaged("the file ends before its metadata"),
            _ => read_error(path, 1, error),
        })?;
        let [_, _, _, version, length @ ..] = prelude;
        if !(1..=MAX_VERSION).contains(&version) {
            return Err(HistoryError::Unsupported {
                path: path.to_owned(),
                what: format!("DBN of version {version}"),
                why: "versions 1 to 3 are read",
            });
        }
        let length = u32::from_le_bytes(length);
        if length > MAX_METADATA_BYTES {
            let problem = format!("metadata of {length} bytes, at most 16 MiB are taken");
            return Err(place.damaged(problem));
        }
        Ok(Self {
            input: Cursor::new(prelude).chain(input),
            left: PRELUDE_BYTES + length as usize,
            open_len: None,
            problem: None,
        })
    }

    /// The file itself, for its progress.
    pub(super) fn input(&self) -> &Input {
        self.input.get_ref().1
    }

    /// How many of the bytes may pass; notes what is wrong with the next one.
    fn check(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len() - at);
                self.left -= passed;
                at += passed;
                continue;
            }
            match self.open_len.take() {
                None => {
                    let words = usize::from(bytes[at]);
                    self.open_len = Some(words * RecordHeader::LENGTH_MULTIPLIER);
                }
                Some(len) if is_plausible(len, bytes[at]) => self.left = len - 2,
                Some(len) => {
                    self.problem =
                        Some(format!("a record of type {:#04x} of {len} bytes", bytes[at]));
                    return at;
                }
            }
            at += 1;
        }
        at
    }
}

/// Whether a record of that type can have that length (a send time may be appended to any).
fn is_plausible(len: usize, record_type: u8) -> bool {
    let least = match record_type {
        rtype::MBO => size_of::<MboMsg>(),
        rtype::MBP_0 => size_of::<TradeMsg>(),
        rtype::MBP_1 => size_of::<Mbp1Msg>(),
        _ => size_of::<RecordHeader>(),
    };
    len >= least && len.is_multiple_of(ALIGNMENT)
}

impl Read for DbnFrames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Not `UnexpectedEof`, which the decoder would take for the end of the file.
        let damaged = |problem: String| Err(io::Error::new(ErrorKind::InvalidData, problem));
        if let Some(problem) = self.problem.clone() {
            return damaged(problem);
        }
        let count = match self.input.read(into) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return damaged("the compressed data ends too early".to_owned());
            }
            other => other?,
        };
        if count == 0 && !into.is_empty() && (self.left > 0 || self.open_len.is_some()) {
            return damaged("the file ends inside a record".to_owned());
        }
        let passed = self.check(&into[..count]);
        match self.problem.clone() {
            Some(problem) if passed == 0 => damaged(problem),
            _ => Ok(passed),
        }
    }
}
