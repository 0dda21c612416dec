//! The checkpoints of one run in one folder: the newest few, and the best.
//!
//! Invariants: the folder holds at most `keep_last` files `step-NNNNNNNNNNNN.pkckpt` after every save,
//! and one `best.pkckpt`; each is written atomically, so that a crash at any moment leaves whole ones;
//! older files go only after the newer one is on the device; one process uses the folder at a time;
//! files of other names are never touched.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, CheckpointError, Topology};
use crate::files::{
    atomic_file::{AtomicFileError, write_atomically},
    lock_folder,
};

/// Most numbered checkpoints a store may be asked to keep.
pub const MAX_KEEP_LAST: usize = 1_000;

/// The extension of checkpoint files.
pub const FILE_EXTENSION: &str = "pkckpt";

/// Why a store cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A setting is out of its range.
    #[error("checkpoints: keep_last = {keep_last}, expected 1 to {MAX_KEEP_LAST}")]
    KeepLast {
        /// The value.
        keep_last: usize,
    },
    /// The system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// Another process uses the folder.
    #[error("{path}: another process keeps its checkpoints here")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has checkpoints of later steps: another run's, or of this one's future.
    #[error(
        "{path}: has a checkpoint of step {newest}, later than {step}: resume from it or name \
         another folder"
    )]
    NotTheNewest {
        /// The folder.
        path: PathBuf,
        /// The newest step there.
        newest: u64,
        /// The step that was to be saved.
        step: u64,
    },
    /// The checkpoint cannot be encoded or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Numbered checkpoints written.
    pub saved: u64,
    /// Times the best was replaced.
    pub best_replaced: u64,
    /// Older checkpoints removed.
    pub removed: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// What a run goes on from.
#[derive(Debug)]
pub struct Resumed {
    /// The newest whole checkpoint.
    pub checkpoint: Checkpoint,
    /// Its file.
    pub path: PathBuf,
    /// Newer files that are damaged, newest first.
    pub skipped: Vec<CheckpointError>,
}

/// The checkpoints of one run.
#[derive(Debug)]
pub struct CheckpointStore {
    dir: PathBuf,
    keep_last: usize,
    counters: StoreCounters,
    /// Held for its lock on the folder.
    _lock: File,
}

impl CheckpointStore {
    /// Opens or creates a folder and locks it against other processes.
    ///
    /// # Errors
    /// `keep_last` is 0 or beyond [`MAX_KEEP_LAST`], another process has the folder, or the system
    /// refuses.
    pub fn open(dir: &Path, keep_last: usize) -> Result<Self, StoreError> {
        if !(1..=MAX_KEEP_LAST).contains(&keep_last) {
            return Err(StoreError::KeepLast { keep_last });
        }
        std::fs::create_dir_all(dir).map_err(|e| io_error(dir, "create", e))?;
        let lock = match lock_folder(dir) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: dir.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(io_error(dir, "lock", error)),
        };
        let counters = StoreCounters::default();
        Ok(Self { dir: dir.to_owned(), keep_last, counters, _lock: lock })
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> StoreCounters {
        self.counters
    }

    /// Where the best checkpoint is, once there is one.
    #[must_use]
    pub fn best_path(&self) -> PathBuf {
        self.dir.join(format!("best.{FILE_EXTENSION}"))
    }

    /// Writes a checkpoint under the number of its step, as the best, too, if it `is_best`, and
    /// removes what is beyond the newest `keep_last`. The same step may be written again.
    ///
    /// # Errors
    /// The folder has later steps, or the system refuses; then older checkpoints are still there.
    pub fn save(&mut self, checkpoint: &Checkpoint, is_best: bool) -> Result<PathBuf, StoreError> {
        let step = checkpoint.header.step;
        if let Some((newest, _)) = self.numbered()?.pop()
            && newest > step
        {
            return Err(StoreError::NotTheNewest { path: self.dir.clone(), newest, step });
        }
        let bytes = checkpoint.encode()?;
        let path = self.dir.join(format!("step-{step:012}.{FILE_EXTENSION}"));
        write_atomically(&path, &[&bytes])?;
        self.counters.saved += 1;
        self.counters.bytes += bytes.len() as u64;
        if is_best {
            write_atomically(&self.best_path(), &[&bytes])?;
            self.counters.best_replaced += 1;
            self.counters.bytes += bytes.len() as u64;
        }
        let mut numbered = self.numbered()?;
        let excess = numbered.len().saturating_sub(self.keep_last);
        for (_, old) in numbered.drain(..excess) {
            std::fs::remove_file(&old).map_err(|e| io_error(&old, "remove", e))?;
            self.counters.removed += 1;
        }
        Ok(path)
    }

    /// The step of the newest file, whole or not; `None` in a folder without any.
    ///
    /// # Errors
    /// The system refuses.
    pub fn newest_step(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.numbered()?.pop().map(|(step, _)| step))
    }

    /// The newest whole checkpoint, or `None` in a folder without any. Damaged files are skipped and
    /// told; one of another topology is an error, because a run that goes on from an older file beside
    /// it would not be the one that was meant.
    ///
    /// # Errors
    /// All files are damaged (the newest one's trouble is told), the newest whole one is of another
    /// topology or version, or the system refuses.
    pub fn resume(&self, topology: &Topology) -> Result<Option<Resumed>, StoreError> {
        let mut skipped = Vec::new();
        for (_, path) in self.numbered()?.into_iter().rev() {
            match Checkpoint::read(&path) {
                Ok(checkpoint) => {
                    checkpoint.expect_topology(topology)?;
                    return Ok(Some(Resumed { checkpoint, path, skipped }));
                }
                Err(e @ (CheckpointError::Io { .. } | CheckpointError::Version { .. })) => {
                    return Err(e.into());
                }
                Err(damage) => skipped.push(damage),
            }
        }
        match skipped.into_iter().next() {
            Some(damage) => Err(damage.into()),
            None => Ok(None),
        }
    }

    /// The numbered files and their steps, oldest first.
    fn numbered(&self) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let entries = std::fs::read_dir(&self.dir).map_err(|e| io_error(&self.dir, "list", e))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| io_error(&self.dir, "list", e))?;
            if let Some(step) = entry.file_name().to_str().and_then(step_of) {
                found.push((step, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The step in the name of a numbered checkpoint.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?.strip_suffix(FILE_EXTENSION)?.strip_suffix('.')?;
    let is_plain = digits.len() >= 12 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::checkpoint::{Header, Section};

    fn topology() -> Topology {
        Topology::new().with("granule.cells", &100)
    }

    fn at_step(step: u64) -> Checkpoint {
        let topology = topology();
        let mut checkpoint = Checkpoint::new(Header { topology, step, ..Header::default() });
        checkpoint.put("weights", Section::F32(vec![step as f32; 3]));
        checkpoint
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_few_and_the_best_are_kept_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for other in ["notes.txt", "step-1.pkckpt", "step-000000000001.pkckpt.bak"] {
            std::fs::write(dir.path().join(other), "mine").unwrap();
        }
        let mut store = CheckpointStore::open(dir.path(), 2).unwrap();
        assert!(store.resume(&topology()).unwrap().is_none());
        for step in [5, 10, 15, 20] {
            store.save(&at_step(step), step == 10).unwrap();
        }
        assert_eq!(
            names(dir.path()),
            [
                "best.pkckpt",
                "notes.txt",
                "step-000000000001.pkckpt.bak",
                "step-000000000015.pkckpt",
                "step-000000000020.pkckpt",
                "step-1.pkckpt",
            ]
        );
        let best = Checkpoint::read(&store.best_path()).unwrap();
        assert_eq!(best.header.step, 10, "the best outlives its numbered file");
        let counters = store.counters();
        assert_eq!((counters.saved, counters.best_replaced, counters.removed), (4, 1, 2));
    }

    #[test]
    fn a_run_resumes_from_the_newest_whole_checkpoint_and_tells_of_damaged_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = CheckpointStore::open(dir.path(), 3).unwrap();
        let paths = [1, 2, 3].map(|step| store.save(&at_step(step), false).unwrap());
        let mut damaged = std::fs::read(&paths[2]).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&paths[2], damaged).unwrap();
        let resumed = store.resume(&topology()).unwrap().unwrap();
        assert_eq!((resumed.checkpoint.header.step, &resumed.path), (2, &paths[1]));
        assert_eq!(resumed.checkpoint.encode().unwrap(), at_step(2).encode().unwrap());
        assert!(matches!(resumed.skipped[..], [CheckpointError::Hash { .. }]));
        for path in &paths[..2] {
            std::fs::write(path, "").unwrap();
        }
        let error = store.resume(&topology()).unwrap_err().to_string();
        assert!(error.contains("step-000000000003.pkckpt: SHA-256"), "{error}");
    }

    #[test]
    fn a_checkpoint_of_another_topology_is_not_passed_over_for_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = CheckpointStore::open(dir.path(), 3).unwrap();
        store.save(&at_step(1), false).unwrap();
        let mut other = at_step(2);
        other.header.topology = Topology::new().with("granule.cells", &200);
        store.save(&other, false).unwrap();
        let error = store.resume(&topology()).unwrap_err().to_string();
        assert!(error.ends_with("granule.cells is 200, expected 100"), "{error}");
    }

    #[test]
    fn a_step_before_the_newest_is_refused_and_the_same_step_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = CheckpointStore::open(dir.path(), 3).unwrap();
        store.save(&at_step(9), false).unwrap();
        store.save(&at_step(9), false).unwrap();
        let error = store.save(&at_step(8), true).unwrap_err();
        assert!(matches!(error, StoreError::NotTheNewest { newest: 9, step: 8, .. }), "{error}");
        assert_eq!(names(dir.path()), ["step-000000000009.pkckpt"]);
    }

    #[test]
    fn a_folder_has_one_user_and_a_bound_within_its_range() {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path(), 1).unwrap();
        let second = CheckpointStore::open(dir.path(), 1);
        assert!(matches!(second, Err(StoreError::Locked { .. })));
        drop(store);
        CheckpointStore::open(dir.path(), 1).unwrap();
        let error = CheckpointStore::open(dir.path(), 0).unwrap_err().to_string();
        assert_eq!(error, "checkpoints: keep_last = 0, expected 1 to 1000");
    }
}
