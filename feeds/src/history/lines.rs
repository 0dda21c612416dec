//! The rows of a text file, one at a time, and the errors that name them.
//!
//! Invariants: one row in memory, at most `limit` bytes of it; rows are counted from 1; a file that
//! ends without a line feed has a last row all the same; after an error there is no further row.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::Path;
use std::str::FromStr;

use super::input::{Input, read_error};
use super::number;
use super::{HistoryError, Progress};
use crate::fixed::{self, FixedError};

/// Longest row of a CSV file of fixed columns; the widest (25 levels a side) has under 4 KiB.
pub(super) const MAX_ROW_BYTES: usize = 64 * 1024;

/// How much of a wrong field an error shows.
const SHOWN_CHARS: usize = 60;

/// Reads a file row by row.
pub(super) struct Lines {
    input: BufReader<Input>,
    row: Vec<u8>,
    limit: usize,
    rows: u64,
    is_over: bool,
}

impl Lines {
    /// Opens a file whose rows have at most `limit` bytes.
    pub(super) fn open(path: &Path, limit: usize) -> Result<Self, HistoryError> {
        let input = BufReader::with_capacity(1 << 17, Input::open(path)?);
        Ok(Self { input, row: Vec::new(), limit, rows: 0, is_over: false })
    }

    /// The next row without its line feed; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, HistoryError> {
        self.row.clear();
        if self.is_over {
            return Ok(None);
        }
        self.is_over = true;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(self.path(), self.rows + 1, error)),
            };
            if chunk.is_empty() {
                if self.row.is_empty() {
                    return Ok(None);
                }
                break;
            }
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let taken = newline.unwrap_or(chunk.len());
            if self.row.len() + taken > self.limit {
                let (path, row) = (self.path().to_owned(), self.rows + 1);
                return Err(HistoryError::RowTooLong { path, row, limit: self.limit });
            }
            self.row.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken + usize::from(newline.is_some()));
            if newline.is_some() {
                self.is_over = false;
                break;
            }
        }
        self.rows += 1;
        let bytes = self.row.strip_suffix(b"\r").unwrap_or(&self.row);
        let place = Place { path: self.input.get_ref().path(), row: self.rows };
        Ok(Some(Line { place, bytes }))
    }

    /// Where the reading stands: the row last read.
    pub(super) fn place(&self) -> Place<'_> {
        Place { path: self.path(), row: self.rows }
    }

    pub(super) fn progress(&self) -> Progress {
        self.input.get_ref().progress(self.rows)
    }

    fn path(&self) -> &Path {
        self.input.get_ref().path()
    }
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) place: Place<'a>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Line<'a> {
    /// The `N` fields of a row in which commas do nothing but separate.
    pub(super) fn fields<const N: usize>(
        &self,
        expected: &'static str,
    ) -> Result<[&'a [u8]; N], HistoryError> {
        let mut fields = [&b""[..]; N];
        let mut parts = self.bytes.split(|&byte| byte == b',');
        for field in &mut fields {
            *field = parts.next().ok_or_else(|| self.place.bad("row", self.bytes, expected))?;
        }
        match parts.next() {
            None => Ok(fields),
            Some(_) => Err(self.place.bad("row", self.bytes, expected)),
        }
    }
}

/// A row of a file, for errors: every parser of a field is a method of it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) row: u64,
}

impl Place<'_> {
    /// The error that a field is not what the format says.
    pub(super) fn bad(
        &self,
        field: &'static str,
        found: &[u8],
        expected: &'static str,
    ) -> HistoryError {
        let (path, row, found) = (self.path.to_owned(), self.row, shown(found));
        HistoryError::Row { path, row, field, found, expected }
    }

    /// The error that a number is not what the format says, and why.
    fn bad_number(
        &self,
        field: &'static str,
        text: &[u8],
        error: FixedError,
        expected: &'static str,
    ) -> HistoryError {
        let expected = match error {
            FixedError::NotANumber { .. } => expected,
            FixedError::TooPrecise { .. } => "no more decimals than the head of the file has",
            FixedError::Overflow { .. } => "a number that fits 64 bits with its decimals",
        };
        self.bad(field, text, expected)
    }

    /// A plain decimal number, exactly.
    pub(super) fn fixed(
        &self,
        field: &'static str,
        text: &[u8],
        decimals: u8,
    ) -> Result<i64, HistoryError> {
        fixed::parse(text, decimals)
            .map_err(|error| self.bad_number(field, text, error, "a decimal number"))
    }

    /// A quantity: a decimal number, not negative, perhaps with an exponent.
    pub(super) fn qty(
        &self,
        field: &'static str,
        text: &[u8],
        decimals: u8,
    ) -> Result<i64, HistoryError> {
        let qty = number::exact(text, decimals)
            .map_err(|error| self.bad_number(field, text, error, "a decimal number"))?;
        if qty < 0 { Err(self.bad(field, text, "no negative quantity")) } else { Ok(qty) }
    }

    /// A price: a decimal number, perhaps with an exponent. Spreads and some futures go below zero.
    pub(super) fn price(
        &self,
        field: &'static str,
        text: &[u8],
        decimals: u8,
    ) -> Result<i64, HistoryError> {
        number::exact(text, decimals)
            .map_err(|error| self.bad_number(field, text, error, "a decimal number"))
    }

    /// A number that went through a binary double on its way; see [`number::unprinted`].
    pub(super) fn unprinted(
        &self,
        field: &'static str,
        text: &[u8],
        decimals: u8,
    ) -> Result<number::Unprinted, HistoryError> {
        number::unprinted(text, decimals)
            .map_err(|error| self.bad_number(field, text, error, "a decimal number"))
    }

    /// A whole number of type `T`.
    pub(super) fn integer<T: FromStr>(
        &self,
        field: &'static str,
        text: &[u8],
        expected: &'static str,
    ) -> Result<T, HistoryError> {
        let text_utf8 = std::str::from_utf8(text).ok();
        text_utf8.and_then(|text| text.parse().ok()).ok_or_else(|| self.bad(field, text, expected))
    }

    /// A time whose text has the unit `10^-decimals` ns: seconds 9, milliseconds 6, microseconds 3.
    pub(super) fn time_ns(
        &self,
        field: &'static str,
        text: &[u8],
        decimals: u8,
        expected: &'static str,
    ) -> Result<i64, HistoryError> {
        match fixed::parse(text, decimals) {
            Ok(time) if time >= 0 => Ok(time),
            _ => Err(self.bad(field, text, expected)),
        }
    }

    /// The error of a decoder.
    #[cfg(feature = "databento")]
    pub(super) fn damaged(&self, problem: impl std::fmt::Display) -> HistoryError {
        let (path, row) = (self.path.to_owned(), self.row);
        HistoryError::Damaged { path, row, problem: problem.to_string() }
    }
}

/// Text for an error, cut.
pub(super) fn shown(text: &[u8]) -> String {
    // Four bytes a character at most, so nothing long is converted.
    let text = &text[..text.len().min(4 * SHOWN_CHARS)];
    String::from_utf8_lossy(text).chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, gzip};
    use super::*;

    fn rows(bytes: &[u8], limit: usize) -> (Vec<Vec<u8>>, Option<HistoryError>) {
        let file = file("rows.csv", bytes);
        let mut lines = Lines::open(file.path(), limit).unwrap();
        let mut rows = Vec::new();
        loop {
            match lines.next() {
                Ok(Some(line)) => rows.push(line.bytes.to_vec()),
                Ok(None) => return (rows, None),
                Err(error) => {
                    assert!(lines.next().unwrap().is_none(), "an error ends the reading");
                    return (rows, Some(error));
                }
            }
        }
    }

    #[test]
    fn rows_are_the_same_whatever_the_compression() {
        let text = b"a,b\r\nc\n\nd";
        let members = [gzip(&text[..3]), gzip(&text[3..])].concat();
        let frames =
            [&text[..4], &text[4..]].map(|part| zstd::bulk::compress(part, 0).unwrap()).concat();
        for bytes in [text.to_vec(), gzip(text), members, frames] {
            let (rows, error) = rows(&bytes, 10);
            assert!(error.is_none(), "{error:?}");
            assert_eq!(rows, [&b"a,b"[..], b"c", b"", b"d"]);
        }
    }

    #[test]
    fn compressed_data_cut_at_any_byte_is_damaged() {
        let text: Vec<u8> = (0..300u64)
            .flat_map(|i| format!("{}\n", i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes())
            .collect();
        for whole in [gzip(&text), zstd::bulk::compress(&text, 0).unwrap()] {
            assert_eq!(rows(&whole, 100).0.len(), 300);
            for end in (5..whole.len()).step_by(37) {
                let error = rows(&whole[..end], 100).1.unwrap();
                assert!(matches!(error, HistoryError::Damaged { .. }), "{end}: {error}");
            }
        }
    }

    #[test]
    fn a_row_over_the_limit_is_refused_and_named() {
        let (rows, error) = rows(b"short\nfar too long\nshort\n", 11);
        assert_eq!(rows, [b"short"]);
        assert!(matches!(error, Some(HistoryError::RowTooLong { row: 2, limit: 11, .. })));
    }

    #[test]
    fn fields_are_counted_and_errors_show_what_was_found() {
        let file = file("rows.csv", b"1,,3\n");
        let mut lines = Lines::open(file.path(), 100).unwrap();
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line.fields::<3>("3 columns").unwrap(), [&b"1"[..], b"", b"3"]);
        for error in [
            line.fields::<2>("2 columns").unwrap_err(),
            line.fields::<4>("4 columns").unwrap_err(),
            line.place.fixed("price", b"1.25", 1).unwrap_err(),
            line.place.qty("qty", b"-1", 1).unwrap_err(),
            line.place.qty("qty", b"99999999999999999999", 1).unwrap_err(),
            line.place.integer::<u8>("kind", b"256", "a kind").unwrap_err(),
            line.place.time_ns("time", b"-5", 9, "seconds").unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(matches!(error, HistoryError::Row { row: 1, .. }), "{text}");
            assert!(text.contains("row 1") && text.contains("expected"), "{text}");
        }
        assert_eq!(shown("é".repeat(1000).as_bytes()).chars().count(), SHOWN_CHARS);
    }
}
