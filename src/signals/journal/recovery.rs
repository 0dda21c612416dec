//! What a journal does before its first write: cut off what a crash left behind the last whole line.
//!
//! Invariants: nothing is changed in a file that does not look like a journal; what is cut off is on
//! disk in `NAME.torn` before it leaves the file; memory does not depend on the file's length.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{JournalError, io_error, with_suffix};

/// Bytes of a torn tail that are kept; the rest of a longer one is dropped.
pub const MAX_TORN_BYTES: u64 = 1 << 20;

/// Step in which the end of a file is searched for its last line.
const SCAN_BYTES: u64 = 64 << 10;

/// What opening a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of whole lines that the file holds.
    pub bytes: u64,
    /// Bytes cut off its end, 0 when the last line was whole.
    pub torn_bytes: u64,
    /// Where (the first [`MAX_TORN_BYTES`] of) them are now.
    pub torn_path: Option<PathBuf>,
}

/// Cuts off what a crash left behind the last whole line.
pub(super) fn recover(file: &mut File, path: &Path) -> Result<Recovery, JournalError> {
    let read_error = |e| io_error(path, "read", e);
    let len = file.metadata().map_err(read_error)?.len();
    let mut whole = line_start(file, len).map_err(read_error)?;
    // A line with its newline can still not be what was written, but only the last one.
    for may_cut in [true, false] {
        let Some(start) = last_line(file, whole).map_err(read_error)? else {
            break;
        };
        if is_json(file, start, whole).map_err(read_error)? {
            break;
        }
        if !may_cut {
            let path = path.to_path_buf();
            return Err(JournalError::NotAJournal { path, offset: start });
        }
        whole = start;
    }
    let mut recovery = Recovery { bytes: whole, ..Recovery::default() };
    if whole < len {
        let torn_path = with_suffix(path, ".torn");
        keep_torn(file, whole, &torn_path).map_err(|e| io_error(&torn_path, "write", e))?;
        let cut = file.set_len(whole).and_then(|()| file.sync_all());
        cut.map_err(|e| io_error(path, "cut a torn line off", e))?;
        recovery.torn_bytes = len - whole;
        recovery.torn_path = Some(torn_path);
    }
    Ok(recovery)
}

/// Start of the last line of the first `whole` bytes, which end with a newline; `None` when there
/// are none.
fn last_line(file: &mut File, whole: u64) -> io::Result<Option<u64>> {
    match whole.checked_sub(1) {
        None => Ok(None),
        Some(newline) => line_start(file, newline).map(Some),
    }
}

/// Offset behind the last newline before `end`, or 0.
fn line_start(file: &mut File, end: u64) -> io::Result<u64> {
    let mut chunk = vec![0; SCAN_BYTES.min(end) as usize];
    let mut to = end;
    while to > 0 {
        let from = to.saturating_sub(SCAN_BYTES);
        let bytes = &mut chunk[..(to - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(bytes)?;
        if let Some(newline) = bytes.iter().rposition(|&byte| byte == b'\n') {
            return Ok(from + newline as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

/// Whether the bytes are one JSON value. They are streamed: garbage may be long.
fn is_json(file: &mut File, from: u64, to: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(from))?;
    let line = io::BufReader::new(file.take(to - from));
    match serde_json::from_reader::<_, serde::de::IgnoredAny>(line) {
        Ok(_) => Ok(true),
        Err(error) if error.is_io() => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// Copies the file from `from` on to `torn_path`, replacing what an earlier crash left there.
fn keep_torn(file: &mut File, from: u64, torn_path: &Path) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut torn = File::create(torn_path)?;
    io::copy(&mut file.take(MAX_TORN_BYTES), &mut torn)?;
    torn.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, line, sequence};
    use super::super::{JournalError, JournalFile};

    #[test]
    fn a_file_cut_at_any_byte_opens_with_its_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let (path, torn) = (dir.path().join("j"), dir.path().join("j.torn"));
        let whole: Vec<u8> = (0..5).flat_map(|n| [line(n), b"\n".to_vec()].concat()).collect();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let lines_end = whole[..cut].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            let (mut journal, recovery) = JournalFile::open(&path, config(4096)).unwrap();
            assert_eq!(recovery.bytes, lines_end as u64, "cut at {cut}");
            assert_eq!(recovery.torn_bytes, (cut - lines_end) as u64);
            if recovery.torn_bytes > 0 {
                assert_eq!(recovery.torn_path.as_ref(), Some(&torn));
                assert_eq!(std::fs::read(&torn).unwrap(), &whole[lines_end..cut]);
            }
            journal.append(&line(99)).unwrap();
            drop(journal);
            assert_eq!(sequence(&path).last(), Some(&99));
        }
    }

    #[test]
    fn a_last_line_that_is_not_json_is_cut_off_and_a_file_of_them_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let good = "{\"seq\":0}\n";
        let zeros = "\0".repeat(200_000);
        for bad in ["{\"seq\":1\n", "\n", "{} {}\n", "{\"seq\":1\n{\"se", &zeros, "\0\0\n"] {
            std::fs::write(&path, format!("{good}{bad}")).unwrap();
            let (_, recovery) = JournalFile::open(&path, config(4096)).unwrap();
            assert_eq!(recovery.torn_bytes, bad.len() as u64, "{bad:.9?}");
            assert_eq!(sequence(&path), [0]);
        }
        let prose = "not a journal\nat all\n";
        std::fs::write(&path, prose).unwrap();
        let opened = JournalFile::open(&path, config(4096));
        assert!(matches!(opened, Err(JournalError::NotAJournal { offset: 0, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), prose);
    }
}
