//! A crash-safe JSON-Lines file.
//!
//! Invariants: after [`JournalFile::open`] the file holds whole lines only, and so it does after
//! every [`flush`](JournalFile::flush), whether that succeeded or not; lines reach the file in the
//! order they were appended, each at most once; [`append`](JournalFile::append) does no I/O and
//! allocates nothing. Bounds: memory is [`JournalConfig::buffer_bytes`], allocated once; the disk
//! holds the file and one predecessor `NAME.1` of at most [`JournalConfig::max_bytes`] each plus
//! one buffer, and `NAME.torn` of at most [`MAX_TORN_BYTES`]. What a bound costs is counted.
//!
//! A crash of the process can tear the last line; a crash of the host can leave a last line that is
//! not what was written. Both are cut off when the file is opened again, and kept in `NAME.torn`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

mod error;
mod recovery;

pub use error::JournalError;
use recovery::recover;
pub use recovery::{MAX_TORN_BYTES, Recovery};

/// When written lines are forced to the device. A crash of the process alone loses no flushed line
/// either way; this is about crashes of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalFsync {
    /// Only when [`JournalFile::sync`] is called.
    Never,
    /// At the end of every flush that wrote something.
    EachFlush,
}

/// Bounds and policy of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Bytes after which the file becomes `NAME.1`, replacing the one before, and a new one is
    /// begun. At least 1.
    pub max_bytes: u64,
    /// Bytes of lines kept in memory, between flushes and while the disk refuses them; also the
    /// longest line, its newline included. 4 KiB to 64 MiB.
    pub buffer_bytes: usize,
    /// When lines are forced to the device.
    pub fsync: JournalFsync,
}

impl Default for JournalConfig {
    /// 256 MiB a file, 1 MiB of buffer, synced by the caller.
    fn default() -> Self {
        Self { max_bytes: 256 << 20, buffer_bytes: 1 << 20, fsync: JournalFsync::Never }
    }
}

/// What a journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounters {
    /// Lines on file.
    pub lines_written: u64,
    /// Lines that gave way to newer ones because the buffer was full.
    pub lines_dropped: u64,
    /// Writes, rotations and syncs that failed.
    pub write_errors: u64,
    /// Bytes of the lines on file, newlines included.
    pub bytes: u64,
    /// Times a new file was begun.
    pub rotations: u64,
}

/// One JSON-Lines file being written. See the module for its promises.
#[derive(Debug)]
pub struct JournalFile {
    config: JournalConfig,
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file, which is where the next one goes.
    committed: u64,
    /// A failed write left bytes behind `committed` that could not be cut off yet.
    has_tail: bool,
    /// Lines not on file yet, each with its newline. Never grows: see [`append`](Self::append).
    buffer: VecDeque<u8>,
    counters: JournalCounters,
}

impl JournalFile {
    /// Opens or creates a journal, cutting off a torn last line, and locks it against other
    /// processes. Every line must be one JSON value; this is checked for the last ones only.
    ///
    /// # Errors
    /// On a configuration out of range, a path that is not a journal's, a journal that is locked,
    /// and when the system refuses.
    pub fn open(path: &Path, config: JournalConfig) -> Result<(Self, Recovery), JournalError> {
        validate(&config)?;
        let mut file = open_locked(path, OpenOptions::new().create(true))?;
        let recovery = recover(&mut file, path)?;
        let journal = Self::with_file(file, path, config, recovery.bytes);
        Ok((journal, recovery))
    }

    fn with_file(file: File, path: &Path, config: JournalConfig, committed: u64) -> Self {
        Self {
            buffer: VecDeque::with_capacity(config.buffer_bytes),
            config,
            path: path.to_path_buf(),
            file,
            committed,
            has_tail: false,
            counters: JournalCounters::default(),
        }
    }

    /// Takes one line, given without its newline, to be written by the next flush. When the buffer
    /// is full the oldest lines give way and are counted.
    ///
    /// # Errors
    /// When it is not one line or is longer than the buffer; it was not taken then.
    pub fn append(&mut self, line: &[u8]) -> Result<(), JournalError> {
        let len = line.len();
        let max = self.config.buffer_bytes - 1;
        if len > max {
            let path = self.path.clone();
            return Err(JournalError::LineTooLong { path, len, max });
        }
        if line.is_empty() || line.contains(&b'\n') {
            let path = self.path.clone();
            return Err(JournalError::NotALine { path, len });
        }
        while self.buffer.len() + len + 1 > self.config.buffer_bytes {
            self.drop_oldest();
        }
        self.buffer.extend(line);
        self.buffer.push_back(b'\n');
        Ok(())
    }

    /// Writes the buffered lines.
    ///
    /// # Errors
    /// When the system refuses. The lines that went to the file whole are on file, a part of a line
    /// is cut off again, and the others stay in the buffer for the next flush. An error of a
    /// rotation comes after the lines were written to the old file.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        let flushed = self.try_flush();
        if flushed.is_err() {
            self.counters.write_errors += 1;
        }
        flushed
    }

    /// Forces the file to the device, which may take long: not for a thread in a hurry.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        let synced = self.try_sync();
        if synced.is_err() {
            self.counters.write_errors += 1;
        }
        synced
    }

    /// Counters since the journal was opened.
    #[must_use]
    pub fn counters(&self) -> JournalCounters {
        self.counters
    }

    /// Bytes that wait for the next flush.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn drop_oldest(&mut self) {
        let line = self.buffer.iter().position(|&byte| byte == b'\n');
        let len = line.map_or(self.buffer.len(), |newline| newline + 1);
        self.buffer.drain(..len);
        self.counters.lines_dropped += 1;
    }

    fn try_flush(&mut self) -> Result<(), JournalError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let is_over = self.committed + self.buffer.len() as u64 > self.config.max_bytes;
        let rotated = if is_over && self.committed > 0 { self.rotate() } else { Ok(()) };
        self.write_lines()?;
        if self.config.fsync == JournalFsync::EachFlush {
            self.try_sync()?;
        }
        rotated
    }

    /// Writes the buffer behind the whole lines, keeps what went there whole and cuts off the rest.
    fn write_lines(&mut self) -> Result<(), JournalError> {
        if self.has_tail {
            let cut = self.file.set_len(self.committed);
            cut.map_err(|e| io_error(&self.path, "cut a torn line off", e))?;
            self.has_tail = false;
        }
        let (written, outcome) = self.write_buffer();
        let lines = self.buffer.range(..written);
        let whole = match lines.rev().position(|&byte| byte == b'\n') {
            Some(torn) => written - torn,
            None => 0,
        };
        let newlines = self.buffer.drain(..whole).filter(|&byte| byte == b'\n');
        self.counters.lines_written += newlines.count() as u64;
        self.counters.bytes += whole as u64;
        self.committed += whole as u64;
        if whole < written {
            self.has_tail = self.file.set_len(self.committed).is_err();
        }
        outcome.map_err(|e| io_error(&self.path, "write", e))
    }

    /// Writes as much of the buffer as the system takes and returns the bytes it took.
    fn write_buffer(&mut self) -> (usize, io::Result<()>) {
        if let Err(error) = self.file.seek(SeekFrom::Start(self.committed)) {
            return (0, Err(error));
        }
        let mut written = 0;
        while written < self.buffer.len() {
            let (front, back) = self.buffer.as_slices();
            let rest = match front.get(written..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => &back[written - front.len()..],
            };
            match self.file.write(rest) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Makes the file `NAME.1` and begins a new one. On an error the old one stays in use, be it
    /// under its old name or its new one.
    fn rotate(&mut self) -> Result<(), JournalError> {
        if self.config.fsync == JournalFsync::EachFlush {
            self.try_sync()?;
        }
        if self.has_tail {
            return Ok(());
        }
        let old = with_suffix(&self.path, ".1");
        std::fs::rename(&self.path, &old).map_err(|e| io_error(&old, "rename to", e))?;
        match open_locked(&self.path, OpenOptions::new().create_new(true)) {
            Ok(file) => {
                self.file = file;
                self.committed = 0;
                self.counters.rotations += 1;
                Ok(())
            }
            Err(error) => {
                // Best effort: failing this, lines go on into the open file, which is `NAME.1` now.
                let _ = std::fs::rename(&old, &self.path);
                Err(error)
            }
        }
    }

    fn try_sync(&mut self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(|e| io_error(&self.path, "sync", e))
    }
}

impl Drop for JournalFile {
    /// Writes what is buffered as well as it can; an error has nowhere to go. Call
    /// [`flush`](JournalFile::flush) to learn of it.
    fn drop(&mut self) {
        let _ = self.flush();
        // Said aloud, because a child process between fork and exec would hold the lock on.
        let _ = self.file.unlock();
    }
}

/// Opens or creates a regular file for one writer.
fn open_locked(path: &Path, options: &mut OpenOptions) -> Result<File, JournalError> {
    // Asked first: opening a pipe would wait for its other end.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let path = path.to_path_buf();
        return Err(JournalError::NotAFile { path });
    }
    let opened = options.read(true).write(true).open(path);
    let file = opened.map_err(|e| io_error(path, "open", e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let path = path.to_path_buf();
            Err(JournalError::Locked { path })
        }
        Err(TryLockError::Error(error)) => Err(io_error(path, "lock", error)),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> JournalError {
    let path = path.to_path_buf();
    JournalError::Io { path, action, source }
}

fn validate(config: &JournalConfig) -> Result<(), JournalError> {
    let refuse = |key, value, expected| Err(JournalError::Config { key, value, expected });
    if config.max_bytes == 0 {
        return refuse("max_bytes", 0, "at least 1");
    }
    if !((4 << 10)..=(64 << 20)).contains(&config.buffer_bytes) {
        let value = config.buffer_bytes as u64;
        return refuse("buffer_bytes", value, "4096 to 67108864");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::child_process::{child_path, limit_file_size, spawn_child};
    use crate::files::fail_writes_beyond_the_size_limit;
    use std::time::Duration;

    pub(super) fn config(buffer_bytes: usize) -> JournalConfig {
        JournalConfig { buffer_bytes, ..JournalConfig::default() }
    }

    pub(super) fn line(number: u64) -> Vec<u8> {
        format!("{{\"seq\":{number},\"text\":\"{}\"}}", "x".repeat(number as usize % 90))
            .into_bytes()
    }

    /// Sequence numbers of the file's lines, all of which must be whole.
    pub(super) fn sequence(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
        let parse = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        text.lines().map(|line| parse(line)["seq"].as_u64().unwrap()).collect()
    }

    #[test]
    fn lines_are_on_file_after_a_flush_and_after_another_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        for opening in 0..3 {
            let (mut journal, recovery) = JournalFile::open(&path, config(4096)).unwrap();
            assert_eq!(recovery.torn_bytes, 0);
            assert_eq!(recovery.bytes, path.metadata().unwrap().len());
            for number in 0..10 {
                journal.append(&line(opening * 10 + number)).unwrap();
            }
            assert_eq!(path.metadata().unwrap().len(), recovery.bytes, "append does no I/O");
            journal.flush().unwrap();
            assert_eq!(journal.counters().lines_written, 10);
            let grown = path.metadata().unwrap().len() - recovery.bytes;
            assert_eq!(journal.counters().bytes, grown);
        }
        assert_eq!(sequence(&path), (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_device_keeps_lines_up_to_the_buffer_and_then_drops_the_oldest() {
        let path = Path::new("/dev/full");
        let Ok(file) = OpenOptions::new().write(true).open(path) else {
            println!("skipped: no /dev/full");
            return;
        };
        let mut journal = JournalFile::with_file(file, path, config(4096), 0);
        let capacity = journal.buffer.capacity();
        for number in 0..500 {
            journal.append(&line(number)).unwrap();
            if number % 100 == 0 {
                let error = journal.flush().unwrap_err().to_string();
                assert!(error.starts_with("/dev/full: cannot write: No space left"), "{error}");
            }
        }
        let counters = journal.counters();
        assert_eq!((counters.write_errors, counters.lines_written, counters.bytes), (5, 0, 0));
        assert!(journal.buffered_bytes() <= 4096);
        assert_eq!(journal.buffer.capacity(), capacity, "the buffer never grows");

        // The newest lines are the ones kept, and they go to a file that takes them.
        let dir = tempfile::tempdir().unwrap();
        journal.file = File::create(dir.path().join("j")).unwrap();
        journal.flush().unwrap();
        let first_kept = journal.counters().lines_dropped;
        assert!(first_kept > 400);
        assert_eq!(sequence(&dir.path().join("j")), (first_kept..500).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_one_line_or_not_a_file_or_not_ours_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut journal, _) = JournalFile::open(&path, config(4096)).unwrap();
        let refused = journal.append(b"{}\n{}");
        assert!(matches!(refused, Err(JournalError::NotALine { len: 5, .. })));
        assert!(matches!(journal.append(b""), Err(JournalError::NotALine { len: 0, .. })));
        let refused = journal.append(&[b'1'; 4096]);
        assert!(matches!(refused, Err(JournalError::LineTooLong { len: 4096, max: 4095, .. })));
        journal.append(&[b'1'; 4095]).unwrap();
        assert_eq!(journal.buffered_bytes(), 4096);

        let second = JournalFile::open(&path, config(4096));
        assert!(matches!(second, Err(JournalError::Locked { .. })));
        for path in [dir.path(), Path::new("/dev/null")] {
            let refused = JournalFile::open(path, config(4096));
            assert!(matches!(refused, Err(JournalError::NotAFile { .. })));
        }
        let refused = JournalFile::open(&path, config(1));
        assert!(matches!(refused, Err(JournalError::Config { key: "buffer_bytes", .. })));
        let refused = JournalFile::open(&path, JournalConfig { max_bytes: 0, ..config(4096) });
        assert!(matches!(refused, Err(JournalError::Config { key: "max_bytes", .. })));
    }

    #[test]
    fn a_file_at_its_bound_becomes_the_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let fsync = JournalFsync::EachFlush;
        let bounded = JournalConfig { max_bytes: 1000, buffer_bytes: 4096, fsync };
        let (mut journal, _) = JournalFile::open(&path, bounded).unwrap();
        for number in 0..100 {
            journal.append(&line(number)).unwrap();
            journal.flush().unwrap();
            assert!(path.metadata().unwrap().len() <= 1000);
        }
        assert!(journal.counters().rotations >= 4);
        assert_eq!(journal.counters().lines_written, 100);
        let kept = [sequence(&dir.path().join("j.1")), sequence(&path)].concat();
        assert_eq!(kept, (100 - kept.len() as u64..100).collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_killed_writer_leaves_whole_lines_in_sequence() {
        let test = "a_killed_writer_leaves_whole_lines_in_sequence";
        if let Some(path) = child_path(test) {
            let (mut journal, _) = JournalFile::open(&path, config(4096)).unwrap();
            for number in 0.. {
                journal.append(&line(number)).unwrap();
                if number % 7 == 0 {
                    journal.flush().unwrap();
                }
            }
        }
        for attempt in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("j");
            let mut child = spawn_child(module_path!(), test, &path);
            // Killed at varied sizes rather than at times: a busy machine changes nothing.
            while path.metadata().map_or(0, |m| m.len()) < 10_000 << (2 * attempt) {
                assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
                std::thread::sleep(Duration::from_millis(1));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let (journal, recovery) = JournalFile::open(&path, config(4096)).unwrap();
            drop(journal);
            let found = sequence(&path);
            assert!(found.len() > 100);
            assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
            println!("killed after {} lines, torn {} bytes", found.len(), recovery.torn_bytes);
        }
    }

    #[test]
    fn a_write_that_fails_half_way_leaves_whole_lines_and_is_taken_up_again() {
        let test = "a_write_that_fails_half_way_leaves_whole_lines_and_is_taken_up_again";
        if let Some(path) = child_path(test) {
            fail_writes_beyond_the_size_limit();
            limit_file_size(Some(1000));
            let (mut journal, _) = JournalFile::open(&path, config(4096)).unwrap();
            for number in 0..50 {
                journal.append(&line(number)).unwrap();
            }
            for attempt in 1..=3 {
                assert!(matches!(journal.flush(), Err(JournalError::Io { .. })));
                assert_eq!(journal.counters().write_errors, attempt);
                let on_file = sequence(&path);
                assert_eq!(journal.counters().lines_written, on_file.len() as u64);
                assert!(on_file.len() > 10, "whole lines of the failed write stay");
                assert_eq!(path.metadata().unwrap().len(), journal.counters().bytes);
            }
            limit_file_size(None);
            journal.flush().unwrap();
            assert_eq!(journal.counters().lines_written, 50);
            assert_eq!(journal.counters().lines_dropped, 0);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        assert!(spawn_child(module_path!(), test, &path).wait().unwrap().success());
        assert_eq!(sequence(&path), (0..50).collect::<Vec<_>>());
    }
}
