//! The folder of a training by epochs: begun once, gone on with only when asked to, never written over.
//!
//! Checkpoints are in `checkpoints/` beside what the training ends in. Invariants: a folder that has a training
//! is refused unless it is to be gone on with; one that has a result but no training is refused and left as it
//! is; damaged checkpoints that are passed over are told.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{
    checkpoint::{Checkpoint, Topology},
    checkpoint_store::{CheckpointStore, Resumed, StoreError},
    progress::Progress,
};

/// Where checkpoints are, in the folder.
const CHECKPOINTS: &str = "checkpoints";
/// Epochs from one checkpoint to the next, at most.
const MAX_EVERY: u32 = 100_000;

/// What is kept of a training, and whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Numbered checkpoints kept.
    pub keep_last: usize,
    /// Epochs from one checkpoint to the next: 1 to 100,000.
    pub every: u32,
    /// Go on from the newest checkpoint, if there is one.
    pub resume: bool,
}

/// Why a folder takes no training.
#[derive(Debug, Error)]
pub enum RunFolderError {
    /// The distance of checkpoints is out of range.
    #[error("every = {every}: expected 1 to {MAX_EVERY} epochs")]
    Every {
        /// The value.
        every: u32,
    },
    /// The folder has a training already.
    #[error("{}: has a training of {epochs} epochs: resume it or name another folder", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
        /// Its epochs.
        epochs: u64,
    },
    /// The folder has a result already.
    #[error("{}: is there already and is not overwritten: name another folder", path.display())]
    HasResult {
        /// The result.
        path: PathBuf,
    },
    /// Checkpoints cannot be kept or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the module.
#[derive(Debug)]
pub struct RunFolder {
    store: CheckpointStore,
    every: u32,
    found: Option<Resumed>,
}

impl RunFolder {
    /// Opens the folder for a training of `topology`; `results` are the files that it, or another kind of
    /// training, ends in.
    ///
    /// # Errors
    /// See [`RunFolderError`]; checkpoints of another topology among them.
    pub fn open(
        path: &Path,
        keeping: &Keeping,
        topology: &Topology,
        results: &[&str],
    ) -> Result<Self, RunFolderError> {
        let Keeping { keep_last, every, resume } = *keeping;
        if !(1..=MAX_EVERY).contains(&every) {
            return Err(RunFolderError::Every { every });
        }
        let has_no_result =
            || match results.iter().map(|name| path.join(name)).find(|result| result.exists()) {
                Some(path) => Err(RunFolderError::HasResult { path }),
                None => Ok(()),
            };
        let checkpoints = path.join(CHECKPOINTS);
        if !checkpoints.is_dir() {
            // Before anything is made in a folder that is then refused.
            has_no_result()?;
        }
        let store = CheckpointStore::open(&checkpoints, keep_last)?;
        let found = store.resume(topology)?;
        match &found {
            Some(found) if !resume => {
                let epochs = found.checkpoint.header.epoch;
                return Err(RunFolderError::Exists { path: path.to_owned(), epochs });
            }
            Some(_) => {}
            None => has_no_result()?,
        }
        Ok(Self { store, every, found })
    }

    /// What the training goes on from, once; newer checkpoints that are damaged are told.
    pub fn take_found(&mut self, progress: &mut Progress) -> Option<Resumed> {
        let found = self.found.take()?;
        for damage in &found.skipped {
            progress.note(&format!("passed over: {damage}"));
        }
        Some(found)
    }

    /// Whether there is to be a checkpoint after `epochs`.
    #[must_use]
    pub fn is_due(&self, epochs: usize) -> bool {
        epochs.is_multiple_of(self.every as usize)
    }

    /// Writes a checkpoint, as the best, too, if it `is_best`.
    ///
    /// # Errors
    /// See [`CheckpointStore::save`].
    pub fn save(&mut self, checkpoint: &Checkpoint, is_best: bool) -> Result<(), RunFolderError> {
        self.store.save(checkpoint, is_best)?;
        Ok(())
    }

    /// Where the best checkpoint is, once there is one.
    #[must_use]
    pub fn best_path(&self) -> PathBuf {
        self.store.best_path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::checkpoint::{Header, Section};

    const KEEPING: Keeping = Keeping { keep_last: 3, every: 2, resume: false };
    const RESUMED: Keeping = Keeping { resume: true, ..KEEPING };

    fn topology() -> Topology {
        Topology::new().with("rows", &100)
    }

    fn open(path: &Path, keeping: &Keeping) -> Result<RunFolder, RunFolderError> {
        RunFolder::open(path, keeping, &topology(), &["model.toml"])
    }

    fn save(folder: &mut RunFolder, epoch: u64) {
        let header = Header { topology: topology(), epoch, step: epoch, ..Header::default() };
        let mut checkpoint = Checkpoint::new(header);
        checkpoint.put("state", Section::Bytes(vec![epoch as u8]));
        folder.save(&checkpoint, false).unwrap();
    }

    fn quiet() -> Progress {
        Progress::lines("test", "epochs", 1, Box::new(std::io::sink()))
    }

    #[test]
    fn a_training_is_begun_once_and_gone_on_with_when_asked_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lstm");
        let mut first = open(&path, &RESUMED).unwrap();
        assert!(first.take_found(&mut quiet()).is_none(), "there is none to go on from");
        assert_eq!(
            [0, 1, 2, 3, 4].map(|epochs| first.is_due(epochs)),
            [true, false, true, false, true]
        );
        save(&mut first, 2);
        save(&mut first, 4);
        drop(first);
        let error = open(&path, &KEEPING).unwrap_err().to_string();
        assert!(
            error.ends_with("lstm: has a training of 4 epochs: resume it or name another folder")
        );
        let mut resumed = open(&path, &RESUMED).unwrap();
        assert_eq!(resumed.take_found(&mut quiet()).unwrap().checkpoint.header.epoch, 4);
        assert!(resumed.take_found(&mut quiet()).is_none(), "once");
    }

    #[test]
    fn a_result_without_a_training_is_not_written_over_and_its_folder_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model.toml"), "mine").unwrap();
        for keeping in [KEEPING, RESUMED] {
            let error = open(dir.path(), &keeping).unwrap_err();
            assert!(matches!(error, RunFolderError::HasResult { .. }), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::create_dir(dir.path().join(CHECKPOINTS)).unwrap();
        let error = open(dir.path(), &RESUMED).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "model.toml: is there already and is not overwritten: name another folder"
            )
        );
    }

    #[test]
    fn distances_of_checkpoints_have_bounds() {
        let dir = tempfile::tempdir().unwrap();
        for every in [0, MAX_EVERY + 1] {
            let error = open(dir.path(), &Keeping { every, ..KEEPING }).unwrap_err().to_string();
            assert_eq!(error, format!("every = {every}: expected 1 to 100000 epochs"));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
