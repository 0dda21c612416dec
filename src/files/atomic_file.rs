//! Files that are whole or absent: what a reader or a crash sees is the old content or the new one.
//!
//! Invariant: the target is only ever changed by a rename of a temporary file in the same folder whose
//! bytes are on the device already; the folder is synced after, so that the rename survives a crash of
//! the host, too. A temporary file that a crash left is `.NAME.tmp`; the next write replaces it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Why a file could not be replaced. The target is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {action}: {source}")]
pub struct AtomicFileError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was tried.
    pub action: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Replaces or creates `path` with these parts, one after the other.
///
/// # Errors
/// The system refuses; a temporary file is removed as well as it can be.
pub fn write_atomically(path: &Path, parts: &[&[u8]]) -> Result<(), AtomicFileError> {
    let temporary = temporary_path(path);
    let renamed = write(&temporary, parts).and_then(|file| rename(&file, &temporary, path));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
        return renamed;
    }
    sync_folder_of(path)
}

/// Gives a file that has been written beside it the name `path`.
///
/// # Errors
/// The system refuses. Before the last step, to sync the folder, the target is as it was.
pub fn put_in_place(file: &File, temporary: &Path, path: &Path) -> Result<(), AtomicFileError> {
    rename(file, temporary, path)?;
    sync_folder_of(path)
}

/// Where the bytes of `path` are written first.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

fn write(path: &Path, parts: &[&[u8]]) -> Result<File, AtomicFileError> {
    let opened = OpenOptions::new().create(true).truncate(true).write(true).open(path);
    let mut file = opened.map_err(|e| error(path, "create", e))?;
    for part in parts {
        file.write_all(part).map_err(|e| error(path, "write", e))?;
    }
    Ok(file)
}

/// The bytes first, so that the name never stands for less.
fn rename(file: &File, temporary: &Path, path: &Path) -> Result<(), AtomicFileError> {
    file.sync_all().map_err(|e| error(temporary, "sync", e))?;
    std::fs::rename(temporary, path).map_err(|e| error(path, "rename to", e))
}

fn sync_folder_of(path: &Path) -> Result<(), AtomicFileError> {
    let folder = folder_of(path);
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| error(folder, "sync", e))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn error(path: &Path, action: &'static str, source: io::Error) -> AtomicFileError {
    AtomicFileError { path: path.to_path_buf(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_no_temporary_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        write_atomically(&path, &[b"first, ", b"longer"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first, longer");
        write_atomically(&path, &[b"second"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_temporary_file_of_a_crash_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        std::fs::write(dir.path().join(".a.bin.tmp"), [7; 100]).unwrap();
        write_atomically(&path, &[b"new"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target");
        std::fs::create_dir_all(path.join("occupied")).unwrap();
        let error = write_atomically(&path, &[b"x"]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: cannot rename to: ", path.display())), "{error}");
        assert!(path.join("occupied").is_dir());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file");
        let absent = dir.path().join("no/such/folder");
        let error = write_atomically(&absent, &[b"x"]).unwrap_err();
        assert_eq!((error.action, error.source.kind()), ("create", io::ErrorKind::NotFound));
    }
}
