//! Generated paths as one Parquet file.
//!
//! The columns are `path`, from 0, `step`, from 0 (the oldest), and those of the features by the names, in
//! the order and in the units of the data set that the generator learned from. Invariants: the same generator,
//! seed and number of paths give the same bytes, and fewer paths are the first of more; memory does not grow
//! with their number; every value is finite; the file has its name once it is complete.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use purkinje_kernels::training::trainer::TrainError;
use thiserror::Error;

use super::folder::{FolderError, Stored};
use crate::{
    files::sheet::{Cell, Sheet, SheetError, place},
    run::spine::hex,
    training::progress::Progress,
};

/// Most rows of a file, which are steps of all paths together: of 56 features some 2 GB.
pub const MAX_ROWS: usize = 10_000_000;

/// Why paths were not written.
#[derive(Debug, Error)]
pub enum PathsError {
    /// More than there is room for, or none.
    #[error("paths = {paths}: expected 1 to {max_paths}: {MAX_ROWS} rows of {steps} steps a path")]
    Paths {
        /// How many were asked for.
        paths: usize,
        /// The bound.
        max_paths: usize,
        /// Steps of a path.
        steps: usize,
    },
    /// The generator cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The generator fails.
    #[error(transparent)]
    Generator(#[from] TrainError),
    /// A number is none.
    #[error("{feature} of path {path}, step {step} = {value}: expected a finite number")]
    Value {
        /// Of which feature.
        feature: String,
        /// From 0.
        path: usize,
        /// From 0.
        step: usize,
        /// What it is.
        value: f32,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// Somebody stopped it.
    #[error("stopped before the last path; nothing was written")]
    Stopped,
}

/// Writes so many paths, 1 to [`MAX_ROWS`] of their steps.
///
/// # Errors
/// See [`PathsError`]. No file is left then.
pub fn write_paths(
    stored: &Stored,
    paths: usize,
    seed: u64,
    path: &Path,
    stop: &AtomicBool,
) -> Result<PathBuf, PathsError> {
    let Stored { description, generator, sha256 } = stored;
    let (steps, features) = (generator.steps(), &description.features);
    let max_paths = MAX_ROWS / steps;
    if !(1..=max_paths).contains(&paths) {
        return Err(PathsError::Paths { paths, max_paths, steps });
    }
    let (folder, name) = place(path)?;
    std::fs::create_dir_all(folder)
        .map_err(|source| SheetError::Io { path: folder.to_owned(), source })?;
    let metadata = [
        ("purkinje.generated_like", description.material.clone()),
        ("purkinje.generator_sha256", hex(sha256)),
        ("purkinje.seed", seed.to_string()),
        ("purkinje.cycle_ms", description.cycle_ms.to_string()),
    ];
    let columns: Vec<_> = features.iter().map(|name| format!("required float {name};")).collect();
    let columns = columns.join(" ");
    let schema = format!("message paths {{ required int64 path; required int32 step; {columns} }}");
    let mut sheet = Sheet::create(folder, name, &schema, &metadata)?;
    let mut progress = Progress::stderr("generate", "paths", paths as u64);
    let mut done = 0;
    for batch in generator.batches(paths, seed) {
        if stop.load(Ordering::Relaxed) {
            return Err(PathsError::Stopped);
        }
        for made in batch?.chunks_exact(steps * features.len()) {
            for (step, row) in made.chunks_exact(features.len()).enumerate() {
                if let Some(at) = row.iter().position(|value| !value.is_finite()) {
                    let (feature, value) = (features[at].clone(), row[at]);
                    return Err(PathsError::Value { feature, path: done, step, value });
                }
                let head = [Cell::I64(done as i64), Cell::I32(step as i32)];
                sheet.push(head.into_iter().chain(row.iter().map(|x| Cell::F32(*x))))?;
            }
            done += 1;
        }
        progress.set(done as u64, "");
    }
    progress.finish();
    Ok(sheet.finish()?.0)
}
