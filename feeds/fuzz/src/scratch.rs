//! Files for readers that take paths, in memory where the system has a file system there.
//!
//! Invariant: a folder belongs to one run and is removed with it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder of one run.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Self(made.expect("a temporary folder can be made"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a temporary file can be written");
        path
    }
}
