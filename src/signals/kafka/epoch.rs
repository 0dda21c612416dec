//! The owner epoch: a number that grows with every owner of the stream, kept in one small file.
//!
//! Invariant: each epoch is greater than every one that was stored before it, whatever the clock does,
//! and is on the device before anybody sees it. Consumers drop by (epoch, sequence), so an epoch given
//! twice would cost the signals of the second owner. The file `epoch` holds the newest as decimal text.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::files::atomic_file::{AtomicFileError, write_atomically};

/// Most bytes that are read of the file: more than any number needs.
const MAX_FILE_BYTES: u64 = 64;

/// Why an epoch could not be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The file is there and cannot be read.
    #[error("{path}: cannot read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be stored. Whoever goes on with `epoch` all the same relies on the clock: after a
    /// restart with a clock that stepped back the next epoch may be lower.
    #[error("epoch {epoch} is not stored: {source}")]
    Write {
        /// The epoch that would have been next.
        epoch: u64,
        /// Why.
        source: AtomicFileError,
    },
}

/// What the file held in place of an epoch. It was replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {found:?}, expected a decimal number below {}", u64::MAX)]
pub struct EpochGarbage {
    /// The file.
    pub path: PathBuf,
    /// The first bytes of its content.
    pub found: String,
}

/// A new epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextEpoch {
    /// Greater than every epoch stored before it.
    pub epoch: u64,
    /// What was found in place of the previous one, if that was no number; then only the clock
    /// vouches for the order.
    pub garbage: Option<EpochGarbage>,
}

/// The file that holds the newest epoch.
#[derive(Debug)]
pub struct EpochFile;

impl EpochFile {
    /// Begins a new epoch: `max(stored + 1, now_ms)`, with `now_ms` in milliseconds since 1970. The
    /// folder is created if it is missing. One process at a time may call this for a folder; the lock
    /// of the spill beside it sees to that.
    ///
    /// # Errors
    /// The file cannot be read, or the new epoch not be stored.
    pub fn next(dir: &Path, now_ms: u64) -> Result<NextEpoch, EpochError> {
        let path = dir.join("epoch");
        let (stored, garbage) = match read(&path) {
            Ok(None) => (None, None),
            Ok(Some(found)) => match parse(&found) {
                Some(stored) => (Some(stored), None),
                None => (None, Some(EpochGarbage { path: path.clone(), found })),
            },
            Err(source) => return Err(EpochError::Read { path, source }),
        };
        let epoch = stored.map_or(now_ms, |stored| now_ms.max(stored + 1));
        // What this cannot create, the write below fails at and tells.
        let _ = std::fs::create_dir_all(dir);
        write_atomically(&path, &[format!("{epoch}\n").as_bytes()])
            .map_err(|source| EpochError::Write { epoch, source })?;
        Ok(NextEpoch { epoch, garbage })
    }
}

/// The first bytes of the file, `None` when there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A number with room above it.
fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|&epoch| is_plain && epoch < u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(dir: &Path, now_ms: u64) -> u64 {
        let next = EpochFile::next(dir, now_ms).unwrap();
        assert_eq!(next.garbage, None);
        next.epoch
    }

    #[test]
    fn epochs_grow_whatever_the_clock_does_and_are_stored_as_text() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/on/the/way");
        assert_eq!(next(&dir, 1_000), 1_000);
        assert_eq!(next(&dir, 5_000), 5_000);
        assert_eq!(next(&dir, 5_000), 5_001, "the clock stands still");
        assert_eq!(next(&dir, 10), 5_002, "the clock stepped back");
        assert_eq!(std::fs::read_to_string(dir.join("epoch")).unwrap(), "5002\n");
        assert_eq!(next(&dir, 0), 5_003);
        assert_eq!(next(&dir, 6_000), 6_000);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn what_is_no_epoch_is_named_and_replaced_by_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epoch");
        let long = "1".repeat(1_000);
        let bad: [&[u8]; 8] = [
            b"",
            b"\n",
            b"epoch",
            b"+5",
            b"12 \n",
            &[0, 255, 0],
            b"18446744073709551615\n",
            long.as_bytes(),
        ];
        for bad in bad {
            std::fs::write(&path, bad).unwrap();
            let found = EpochFile::next(dir.path(), 77).unwrap();
            assert_eq!(found.epoch, 77);
            let said = found.garbage.unwrap();
            assert_eq!(said.path, path);
            assert!(said.to_string().contains("expected a decimal number"), "{said}");
            assert_eq!(next(dir.path(), 0), 78, "and is a number from now on");
        }
        std::fs::write(&path, "9").unwrap();
        assert_eq!(next(dir.path(), 0), 10, "the newline may be missing");
    }

    #[test]
    fn an_epoch_that_cannot_be_stored_or_read_is_an_error_that_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        // A folder that cannot be: its path leads through a file.
        let error = EpochFile::next(&file.join("state"), 5).unwrap_err();
        assert!(matches!(error, EpochError::Read { .. }), "{error}");
        // The temporary file cannot be made: a folder has its name.
        std::fs::create_dir(dir.path().join(".epoch.tmp")).unwrap();
        let error = EpochFile::next(dir.path(), 5).unwrap_err();
        assert!(matches!(error, EpochError::Write { epoch: 5, .. }), "{error}");
        assert!(error.to_string().starts_with("epoch 5 is not stored: "), "{error}");
    }
}
