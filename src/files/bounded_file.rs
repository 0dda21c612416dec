//! Whole files of bounded length, read into memory.
//!
//! Invariants: no more than one byte beyond the bound is ever read, whatever the file is (a device or a pipe
//! has no length and may have no end); what is refused is named by its path.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::Utf8Error,
};

use thiserror::Error;

/// A file that was not read.
#[derive(Debug, Error)]
#[error("{}: {fault}", path.display())]
pub struct BoundedFileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub fault: BoundedFileFault,
}

/// Why a file was not read; the message does not name it.
#[derive(Debug, Error)]
pub enum BoundedFileFault {
    /// The system refuses.
    #[error("{0}")]
    Io(io::Error),
    /// It is too long.
    #[error("{bytes} bytes, expected at most {max_bytes}")]
    TooLong {
        /// Its length, or how much of it was read where it says less.
        bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// It is no text.
    #[error("not UTF-8: {0}")]
    NotUtf8(Utf8Error),
}

impl BoundedFileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(&self.fault, BoundedFileFault::Io(e) if e.kind() == io::ErrorKind::NotFound)
    }
}

/// The bytes of a file of at most `max_bytes`.
///
/// # Errors
/// The system refuses, or the file is longer.
pub fn read_bytes(path: &Path, max_bytes: u64) -> Result<Vec<u8>, BoundedFileError> {
    bytes_of(path, max_bytes).map_err(|fault| BoundedFileError { path: path.to_owned(), fault })
}

/// The text of a file of at most `max_bytes`.
///
/// # Errors
/// The system refuses, or the file is longer or not UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String, BoundedFileError> {
    String::from_utf8(read_bytes(path, max_bytes)?).map_err(|e| BoundedFileError {
        path: path.to_owned(),
        fault: BoundedFileFault::NotUtf8(e.utf8_error()),
    })
}

fn bytes_of(path: &Path, max_bytes: u64) -> Result<Vec<u8>, BoundedFileFault> {
    let file = File::open(path).map_err(BoundedFileFault::Io)?;
    let mut bytes = Vec::new();
    // One more than allowed tells a file that is too long from one that just fits.
    let mut bounded = (&file).take(max_bytes.saturating_add(1));
    let read = bounded.read_to_end(&mut bytes).map_err(BoundedFileFault::Io)? as u64;
    if read > max_bytes {
        let stated = file.metadata().map_or(0, |metadata| metadata.len());
        return Err(BoundedFileFault::TooLong { bytes: stated.max(read), max_bytes });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_refused_beyond_with_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_bytes(&path, 10).unwrap(), b"0123456789");
        assert_eq!(read_text(&path, u64::MAX).unwrap(), "0123456789");
        let told = read_text(&path, 7).unwrap_err().to_string();
        assert_eq!(told, format!("{}: 10 bytes, expected at most 7", path.display()));
    }

    #[test]
    fn a_device_without_end_is_refused_after_one_byte_more_than_allowed() {
        let told = read_bytes(Path::new("/dev/zero"), 1_000).unwrap_err().to_string();
        assert_eq!(told, "/dev/zero: 1001 bytes, expected at most 1000");
    }

    #[test]
    fn what_is_absent_or_no_text_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        let absent = read_text(&path, 7).unwrap_err();
        assert!(absent.is_not_found() && absent.to_string().contains("a.toml: No such file"));
        std::fs::write(&path, b"ab\xff").unwrap();
        let told = read_text(&path, 7).unwrap_err();
        assert!(!told.is_not_found());
        assert!(told.to_string().contains("a.toml: not UTF-8: "), "{told}");
        assert_eq!(read_bytes(&path, 7).unwrap(), b"ab\xff");
        let folder = read_bytes(dir.path(), 7).unwrap_err();
        assert!(matches!(folder.fault, BoundedFileFault::Io(_)), "{folder}");
    }
}
