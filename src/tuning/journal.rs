//! The study file: JSON Lines, first the header, then a line a trial, appended and forced to the disk.
//!
//! Invariants: a line is complete or it is the last and is cut off when the file is next opened; no
//! line is ever changed; one process at a time has the file (an advisory lock); a file holds at most
//! [`MAX_TRIALS`] trials, a line at most [`MAX_LINE_BYTES`]. A journal of another study is refused
//! and left as it is.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::study::{Header, MAX_TRIALS, Study, Trial};

/// Longest line, bytes.
pub const MAX_LINE_BYTES: u64 = 1 << 18;

/// Why a study file cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another process works on it.
    #[error("{path}: another process works on this study; expected one at a time")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A line is not what it should be.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// It is another study.
    #[error("{path} holds another study: {}; expected the same, or another file", differences.join("; "))]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    study: Header,
}

/// A study with its file.
#[derive(Debug)]
pub struct StudyFile {
    path: PathBuf,
    file: File,
    study: Study,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Trials that were there.
    pub trials: usize,
    /// Bytes of a torn last line, which are cut off.
    pub torn_bytes: u64,
}

impl StudyFile {
    /// Opens or creates a study. An existing one must be the one asked for.
    ///
    /// # Errors
    /// See [`JournalError`]; nothing is written then.
    pub fn open(path: &Path, asked: &Header) -> Result<(Self, Opened), JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let (found, whole_bytes, torn_bytes) = read(path, &file)?;
        if let Some(study) = &found {
            let differences = study.header().differences(asked);
            if !differences.is_empty() {
                return Err(JournalError::Other { path: path.to_owned(), differences });
            }
        }
        file.set_len(whole_bytes).map_err(io)?;
        file.seek(SeekFrom::Start(whole_bytes)).map_err(io)?;
        let is_new = found.is_none();
        let study = found.unwrap_or_else(|| Study::new(asked.clone()));
        let opened = Opened { trials: study.len(), torn_bytes };
        let mut this = Self { path: path.to_owned(), file, study };
        if is_new {
            this.append(&HeaderLine { study: asked.clone() })?;
            // The name itself must survive, too.
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(dir.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(io)?;
        }
        Ok((this, opened))
    }

    /// The header of the study in a file, if there is a whole one. Changes nothing.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is no study.
    pub fn header_of(path: &Path) -> Result<Option<Header>, JournalError> {
        match File::open(path) {
            Ok(file) => Ok(read(path, &file)?.0.map(|study| study.header().clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(JournalError::Io { path: path.to_owned(), source }),
        }
    }

    /// The study.
    #[must_use]
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// Adds a trial and forces it to the disk.
    ///
    /// # Errors
    /// The trial does not belong to the study, or the disk refuses it.
    pub fn add(&mut self, trial: Trial) -> Result<(), JournalError> {
        let line = self.study.len() as u64 + 2;
        self.append(&trial)?;
        self.study.add(trial).map_err(|reason| JournalError::Line {
            path: self.path.clone(),
            line,
            reason,
        })
    }

    fn append(&mut self, record: &impl Serialize) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(record).map_err(|e| io(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(io)
    }
}

/// The study in a file (`None` if not even its header is whole), the bytes of its whole lines, and
/// the bytes after them.
fn read(path: &Path, file: &File) -> Result<(Option<Study>, u64, u64), JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(file);
    let mut study: Option<Study> = None;
    let mut whole_bytes = 0;
    let mut bytes = Vec::new();
    for line in 1.. {
        let wrong = |reason: String| JournalError::Line { path: path.to_owned(), line, reason };
        bytes.clear();
        let n = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).map_err(io)?;
        if n == 0 {
            break;
        }
        if bytes.last() != Some(&b'\n') {
            if n as u64 == MAX_LINE_BYTES {
                return Err(wrong(format!("a line longer than {MAX_LINE_BYTES} bytes")));
            }
            return Ok((study, whole_bytes, n as u64));
        }
        if line > MAX_TRIALS + 1 {
            return Err(wrong(format!("more than {MAX_TRIALS} trials")));
        }
        match &mut study {
            None => {
                let header: HeaderLine = serde_json::from_slice(&bytes)
                    .map_err(|e| wrong(format!("not the header of a study: {e}")))?;
                study = Some(Study::new(header.study));
            }
            Some(study) => {
                let trial: Trial = serde_json::from_slice(&bytes)
                    .map_err(|e| wrong(format!("not a trial: {e}")))?;
                study.add(trial).map_err(wrong)?;
            }
        }
        whole_bytes += n as u64;
    }
    Ok((study, whole_bytes, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::{
        sampler::random,
        space::Space,
        study::{ObjectiveId, State, VERSION},
    };

    fn header() -> Header {
        Header {
            version: VERSION,
            seed: 3,
            jobs: 1,
            objective: ObjectiveId {
                what: "test".into(),
                data_sha256: String::new(),
                config_sha256: String::new(),
            },
            space: Space::standard(),
        }
    }

    fn trial(number: u64) -> Trial {
        Trial {
            number,
            state: State::Complete,
            // Needs all digits to come back as it was.
            value: Some(0.1 + 0.2 + number as f64 / 3.0),
            parameters: random(&Space::standard(), 1, number),
            steps: vec![(1, 1.0 / 3.0)],
            error: None,
            duration_s: 0.25,
        }
    }

    #[test]
    fn a_study_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        let (mut file, opened) = StudyFile::open(&path, &header()).unwrap();
        assert_eq!(opened, Opened::default());
        (0..5).for_each(|n| file.add(trial(n)).unwrap());
        let before = file.study().clone();
        drop(file);
        let (file, opened) = StudyFile::open(&path, &header()).unwrap();
        assert_eq!(opened, Opened { trials: 5, torn_bytes: 0 });
        assert_eq!(*file.study(), before);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_told_wherever_it_was_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        let (mut file, _) = StudyFile::open(&path, &header()).unwrap();
        file.add(trial(0)).unwrap();
        drop(file);
        let whole = std::fs::read(&path).unwrap();
        let header_bytes = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        for cut in 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (file, opened) = StudyFile::open(&path, &header()).unwrap();
            let kept = if cut < header_bytes { 0 } else { header_bytes };
            assert_eq!((opened.trials, opened.torn_bytes), (0, (cut - kept) as u64), "{cut}");
            drop(file);
            assert_eq!(std::fs::read(&path).unwrap(), whole[..header_bytes], "{cut}");
        }
    }

    #[test]
    fn another_study_is_refused_with_what_differs_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        drop(StudyFile::open(&path, &header()).unwrap());
        let before = std::fs::read(&path).unwrap();
        let space = Space::parse("s", "[range.sparsity]\nlow = 0.1\nhigh = 0.2").unwrap();
        let cases = [
            (Header { seed: 4, ..header() }, "seed is 3 in the study and 4 now"),
            (Header { jobs: 2, ..header() }, "jobs is 1 in the study and 2 now"),
            (Header { space, ..header() }, "the range of sparsity is"),
        ];
        for (asked, message) in cases {
            let error = StudyFile::open(&path, &asked).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }

    #[test]
    fn a_bad_line_is_refused_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        drop(StudyFile::open(&path, &header()).unwrap());
        let head = std::fs::read_to_string(&path).unwrap();
        let line = |t: &Trial| serde_json::to_string(t).unwrap() + "\n";
        let strange = Trial { value: None, ..trial(0) };
        let cases = [
            ("what\n".to_owned(), "s.jsonl:1: not the header of a study"),
            (format!("{head}{{}}\n"), "s.jsonl:2: not a trial"),
            (
                head.clone() + &line(&trial(0)) + &line(&trial(0)),
                "s.jsonl:3: trial 0 stands here a second time",
            ),
            (head + &line(&strange), "s.jsonl:2: trial 0 is complete with value None"),
        ];
        for (text, message) in cases {
            std::fs::write(&path, text).unwrap();
            let error = StudyFile::open(&path, &header()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn two_processes_cannot_work_on_one_study() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        let _held = StudyFile::open(&path, &header()).unwrap();
        let error = StudyFile::open(&path, &header()).unwrap_err();
        assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    }
}
