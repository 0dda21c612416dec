//! What is to be read: files and folders of the command line as histories, each of one or more files.
//!
//! Invariants: a folder is walked in the order of names, to [`MAX_DEPTH`] folders deep, and a link to a
//! folder is not followed; the files of one recorded session are one history; at most [`MAX_SOURCES`]
//! histories are listed.

use std::{
    io,
    path::{Path, PathBuf},
};

use purkinje_feeds::recording::FILE_EXTENSION;
use thiserror::Error;

use super::{HistoryError, HistoryReader, recording::RecordingHistory};

/// Most folders within one another.
pub const MAX_DEPTH: usize = 32;

/// Most histories of one command.
pub const MAX_SOURCES: usize = 65_536;

/// Why the command line cannot be listed.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Folders too deep.
    #[error("{}: more than {MAX_DEPTH} folders within one another", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// Too many files.
    #[error("more than {MAX_SOURCES} files: name fewer")]
    TooMany,
    /// A folder without files.
    #[error("{}: no files in it", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// One history to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    files: Vec<PathBuf>,
}

impl Source {
    /// One file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { files: vec![path.into()] }
    }

    /// The histories that these paths name, in their order.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn list(paths: &[PathBuf]) -> Result<Vec<Self>, SourceError> {
        let mut sources = Vec::new();
        for path in paths {
            let metadata = std::fs::metadata(path).map_err(|e| io_error(path, e))?;
            if metadata.is_dir() {
                let before = sources.len();
                walk(path, 0, &mut sources)?;
                if sources.len() == before {
                    return Err(SourceError::Empty { path: path.clone() });
                }
            } else {
                add(&mut sources, path.clone())?;
            }
        }
        Ok(sources)
    }

    /// Its files, in order.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Its first file, by which it is called.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Bytes of its files together, as far as the system tells.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum()
    }

    /// Opens it.
    ///
    /// # Errors
    /// It cannot be read, or is of no known format.
    pub fn open(&self) -> Result<Box<dyn HistoryReader>, HistoryError> {
        if is_recording(self.path()) {
            return Ok(Box::new(RecordingHistory::open(&self.files)?));
        }
        purkinje_feeds::history::open(self.path())
    }
}

fn is_recording(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == FILE_EXTENSION)
}

/// Directory and session name of a recording's file.
fn session(path: &Path) -> Option<(&Path, &str)> {
    let stem = path.file_stem().filter(|_| is_recording(path))?.to_str()?;
    let (name, number) = stem.rsplit_once('-')?;
    let is_number = number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some((path.parent().unwrap_or(Path::new("")), name))
}

fn add(sources: &mut Vec<Source>, path: PathBuf) -> Result<(), SourceError> {
    if let (Some(last), Some(session_of)) = (sources.last_mut(), session(&path))
        && session(last.path()) == Some(session_of)
    {
        last.files.push(path);
        return Ok(());
    }
    if sources.len() == MAX_SOURCES {
        return Err(SourceError::TooMany);
    }
    sources.push(Source::file(path));
    Ok(())
}

fn walk(folder: &Path, depth: usize, sources: &mut Vec<Source>) -> Result<(), SourceError> {
    if depth == MAX_DEPTH {
        return Err(SourceError::TooDeep { path: folder.to_owned() });
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| io_error(folder, e))? {
        let path = entry.map_err(|e| io_error(folder, e))?.path();
        entries.push(path);
        if entries.len() > MAX_SOURCES {
            return Err(SourceError::TooMany);
        }
    }
    entries.sort();
    for path in entries {
        let kind = std::fs::symlink_metadata(&path).map_err(|e| io_error(&path, e))?;
        if kind.is_dir() {
            walk(&path, depth + 1, sources)?;
        } else if path.is_file() {
            add(sources, path)?;
        }
    }
    Ok(())
}

fn io_error(path: &Path, source: io::Error) -> SourceError {
    SourceError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_walked_by_name_and_the_files_of_a_session_are_one_history() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("b")).unwrap();
        for name in ["c.gz", "a-000002.pkrec", "a-000001.pkrec", "b/x.csv", "a-7.pkrec"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let sources = Source::list(&[dir.path().to_owned()]).unwrap();
        let files: Vec<Vec<PathBuf>> = sources.iter().map(|s| s.files().to_vec()).collect();
        let session = vec![at("a-000001.pkrec"), at("a-000002.pkrec")];
        assert_eq!(files, [session, vec![at("a-7.pkrec")], vec![at("b/x.csv")], vec![at("c.gz")]]);
        assert_eq!(sources[0].bytes(), 2);
    }

    #[test]
    fn what_is_not_there_and_an_empty_folder_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let empty = Source::list(&[dir.path().to_owned()]).unwrap_err();
        assert!(matches!(empty, SourceError::Empty { .. }));
        let absent = Source::list(&[dir.path().join("absent")]).unwrap_err().to_string();
        assert!(absent.contains("absent"), "{absent}");
    }
}
