//! What a run has learned, on file: written when it ends in order, taken up by the next.
//!
//! A checkpoint of the format that training has ([`Checkpoint`]: SHA-256 over all bytes, replaced by a rename), the
//! last two of them in a folder that one daemon uses at a time. It holds the cerebellum's weights and every number
//! that members, recalibrations and combinations have learned; scores, forecasts that wait and neurons' states are
//! not part of it. Invariants: it is taken up whole, by learners of the same settings, or not at all; a damaged file
//! is told of and the one before it is used; a run that can take up none begins untaught and says why. A recording of
//! a run that took one up holds a copy, so that it can be replayed.

use std::path::{Path, PathBuf};

use purkinje_feeds::InstrumentTable;
use purkinje_kernels::cerebellum::WeightsError;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    config::Loaded,
    files::atomic_file::{AtomicFileError, write_atomically},
    learning::forecaster::Forecaster,
    run::spine::hex,
    training::{
        checkpoint::{Checkpoint, CheckpointError, Header, Section, Topology},
        checkpoint_store::{CheckpointStore, FILE_EXTENSION, Resumed, StoreError},
    },
};

/// Checkpoints kept.
const GENERATIONS: usize = 2;

/// Version of what the sections mean.
const MEANING: u32 = 1;

const CEREBELLUM: &str = "cerebellum";
const NUMBERS: &str = "numbers";

/// Why a learned state was not taken up or kept.
#[derive(Debug, Error)]
pub enum LearnedError {
    /// The file cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A copy for a recording cannot be written.
    #[error(transparent)]
    Copy(#[from] AtomicFileError),
    /// The cerebellum refuses its part.
    #[error("{path}: {source}")]
    Cerebellum {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WeightsError,
    },
    /// There are more or fewer numbers than the learners have.
    #[error("{path}: {found} learned numbers, expected {expected}")]
    Numbers {
        /// The file.
        path: PathBuf,
        /// In the file.
        found: usize,
        /// In the learners.
        expected: usize,
    },
    /// The file beside a recording is not the one that its run began with.
    #[error("{path}: SHA-256 {found}, expected {expected}")]
    Other {
        /// The file.
        path: PathBuf,
        /// Of the file.
        found: String,
        /// In the recording.
        expected: String,
    },
}

/// A state that was read and belongs to the settings at hand.
#[derive(Clone, Debug)]
pub struct Learned {
    checkpoint: Checkpoint,
    path: PathBuf,
}

/// What a state must have been learned under to be taken up.
fn topology(loaded: &Loaded, table: &InstrumentTable) -> Topology {
    let instruments: Vec<String> = table.iter().map(|(_, instrument)| instrument.key()).collect();
    let first =
        Topology::new().with("meaning", &MEANING).with("instruments", &instruments.join(", "));
    loaded.learned_under().fold(first, |topology, (key, value)| topology.with(key, &value))
}

impl Learned {
    /// The copy beside a recording, if the settings are those it was learned under.
    ///
    /// # Errors
    /// It is absent, damaged, another than was recorded, or of other settings.
    pub fn beside(
        dir: &Path,
        sha256: &str,
        loaded: &Loaded,
        table: &InstrumentTable,
    ) -> Result<Self, LearnedError> {
        let path = copy_path(dir, sha256);
        let checkpoint = Checkpoint::read(&path)?;
        let learned = Self { checkpoint, path };
        let found = learned.sha256()?;
        if found != sha256 {
            let (path, expected) = (learned.path, sha256.to_owned());
            return Err(LearnedError::Other { path, found, expected });
        }
        learned.checkpoint.expect_topology(&topology(loaded, table))?;
        Ok(learned)
    }

    /// SHA-256 of the file, in hex.
    ///
    /// # Errors
    /// The checkpoint exceeds a bound of its format, which one that was read does not.
    pub fn sha256(&self) -> Result<String, LearnedError> {
        Ok(hex(&Sha256::digest(self.checkpoint.encode()?)))
    }

    /// Puts a copy beside a recording, for its replay.
    ///
    /// # Errors
    /// The system refuses.
    pub fn copy_to(&self, dir: &Path) -> Result<(), LearnedError> {
        Ok(write_atomically(&copy_path(dir, &self.sha256()?), &[&self.checkpoint.encode()?])?)
    }

    /// Gives a fresh forecaster what was learned. One that refuses it is good for nothing but to be built anew.
    ///
    /// # Errors
    /// The state is not one of such a forecaster.
    pub fn teach(mut self, forecaster: &mut Forecaster) -> Result<(), LearnedError> {
        if let Some(cerebellum) = forecaster.cerebellum_mut() {
            let state = self.checkpoint.take_bytes(CEREBELLUM)?;
            cerebellum
                .read_state(&state)
                .map_err(|source| LearnedError::Cerebellum { path: self.path.clone(), source })?;
        }
        let bytes = self.checkpoint.take_bytes(NUMBERS)?;
        let mut given = bytes.as_chunks::<8>().0.iter();
        let mut expected = 0;
        forecaster.visit_learned(&mut |number| {
            expected += 1;
            if let Some(bytes) = given.next() {
                *number = f64::from_le_bytes(*bytes);
            }
        });
        let found = bytes.len() / 8;
        if found != expected || bytes.len() % 8 != 0 {
            return Err(LearnedError::Numbers { path: self.path, found, expected });
        }
        Ok(())
    }
}

/// Where the copy of a recording is.
fn copy_path(dir: &Path, sha256: &str) -> PathBuf {
    dir.join(format!("learned-{}.{FILE_EXTENSION}", &sha256[..sha256.len().min(16)]))
}

/// The folder of learned states.
#[derive(Debug)]
pub struct LearnedFolder {
    store: CheckpointStore,
    topology: Topology,
    /// Of the next checkpoint.
    step: u64,
}

/// What a run begins with.
#[derive(Debug)]
pub struct Beginning {
    /// What was learned before, if anything can be taken up.
    pub learned: Option<Learned>,
    /// Where it is from, or why there is none.
    pub told: String,
    /// Files that could not be used, and why.
    pub warnings: Vec<String>,
}

impl LearnedFolder {
    /// Opens or makes the folder, and looks for the newest whole state.
    ///
    /// # Errors
    /// The folder cannot be used at all: another daemon has it, or the system refuses.
    pub fn open(
        dir: &Path,
        loaded: &Loaded,
        table: &InstrumentTable,
    ) -> Result<(Self, Beginning), LearnedError> {
        let store = CheckpointStore::open(dir, GENERATIONS)?;
        let topology = topology(loaded, table);
        let next = store.newest_step()?.unwrap_or(0) + 1;
        let (step, beginning) = match store.resume(&topology) {
            Ok(Some(Resumed { checkpoint, path, skipped })) => {
                let told = format!("taken up from {}", path.display());
                // A newer file that is damaged is written over at the end.
                let step = checkpoint.header.step + 1;
                let warnings = skipped.iter().map(ToString::to_string).collect();
                (step, Beginning { learned: Some(Learned { checkpoint, path }), told, warnings })
            }
            Ok(None) => {
                let told = format!("none yet in {}", dir.display());
                (next, Beginning { learned: None, told, warnings: Vec::new() })
            }
            Err(error) => {
                let told = "not taken up: the run began untaught".to_owned();
                (next, Beginning { learned: None, told, warnings: vec![error.to_string()] })
            }
        };
        Ok((Self { store, topology, step }, beginning))
    }

    /// Writes what a forecaster has learned; returns the file.
    ///
    /// # Errors
    /// The system refuses; then the older files are still there.
    pub fn save(&mut self, forecaster: &mut Forecaster) -> Result<PathBuf, LearnedError> {
        let header =
            Header { topology: self.topology.clone(), step: self.step, ..Header::default() };
        let mut checkpoint = Checkpoint::new(header);
        if let Some(cerebellum) = forecaster.cerebellum_mut() {
            // What a device has learned since its last copy is part of it.
            cerebellum.synchronise();
            let mut state = Vec::new();
            cerebellum.write_state(&mut state);
            checkpoint.put(CEREBELLUM, Section::Bytes(state));
        }
        let mut numbers = Vec::new();
        forecaster.visit_learned(&mut |number| numbers.extend_from_slice(&number.to_le_bytes()));
        checkpoint.put(NUMBERS, Section::Bytes(numbers));
        Ok(self.store.save(&checkpoint, false)?)
    }
}
