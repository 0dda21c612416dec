//! A data set in memory: the rows of the Parquet file of `purkinje dataset`.
//!
//! Invariants: rows are in the order of time, those of one time as in the file; every feature, move and time is
//! a finite number in its range, every label -1, 0 or 1; memory is bounded by the number of rows asked for; a
//! fault names file, column, row, value and what was expected.

mod file;

use std::{
    io,
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;
use thiserror::Error;

/// Most instruments of a file.
pub const MAX_INSTRUMENTS: usize = 4_096;

/// Why a file is not taken.
#[derive(Debug, Error)]
pub enum LabelledRowsError {
    /// The file cannot be opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a whole Parquet file.
    #[error("{}: not a whole Parquet file: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: ParquetError,
    },
    /// What `purkinje dataset` keeps beside the rows is missing or senseless.
    #[error("{}: metadata {key} is {found}, expected {expected}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value, or that there is none.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A feature that nobody computes.
    #[error("features = {name:?}: expected \"all\" or names of `purkinje dataset --columns`")]
    Feature {
        /// The name asked for.
        name: String,
    },
    /// A column is missing or of another type.
    #[error("{}: column {column} is {found}, expected {expected}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type, or that it is missing.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A value is missing or out of range.
    #[error("{}: {column} of row {row} = {value}: expected {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The row, from 0 in the order of the file.
        row: usize,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: String,
    },
    /// There is not a single row.
    #[error("{}: the data set is empty, expected at least one row", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file has more rows than asked for.
    #[error("{}: {rows} rows, expected at most {max_rows}", path.display())]
    TooManyRows {
        /// The file.
        path: PathBuf,
        /// How many it has.
        rows: i64,
        /// The bound.
        max_rows: usize,
    },
    /// All moves go one way.
    #[error(
        "{}: column {column}: {up} rows up and {down} down, expected both classes",
        path.display()
    )]
    OneClass {
        /// The file.
        path: PathBuf,
        /// The column of labels.
        column: &'static str,
        /// Rows up.
        up: usize,
        /// Rows down.
        down: usize,
    },
}

/// What a row is labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelColumn {
    /// The mid price at the horizon, as the daemon learns it: `label`, `move_bps`.
    Move,
    /// The mean mid price up to the horizon: `mean_label`, `mean_move_bps`.
    Mean,
}

impl LabelColumn {
    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Move => "label",
            Self::Mean => "mean_label",
        }
    }
}

/// One row without its features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelledRow {
    /// Which of [`LabelledRows::instruments`].
    pub instrument: u32,
    /// The cycle, counted from 1 within the material.
    pub cycle: u64,
    /// Its boundary, ns since the epoch.
    pub ts_cycle_ns: i64,
    /// The boundary of the cycle at which the label became known, ns; later than `ts_cycle_ns`.
    pub ts_label_ns: i64,
    /// Best bid plus best offer at the cycle, as mantissas.
    pub mid_x2: i64,
    /// Move of the mid price until the label, basis points.
    pub move_bps: f64,
    /// Move to its mean until the label, basis points.
    pub mean_move_bps: f64,
    /// Down, unchanged, up: -1, 0, 1.
    pub label: i8,
    /// The same of the mean.
    pub mean_label: i8,
    /// The simulator's best achievable P(up | moves); NaN elsewhere.
    pub oracle: f64,
}

impl LabelledRow {
    /// Whether it went up; none where it did not move.
    #[must_use]
    pub fn is_up(&self, by: LabelColumn) -> Option<bool> {
        let label = match by {
            LabelColumn::Move => self.label,
            LabelColumn::Mean => self.mean_label,
        };
        (label != 0).then_some(label > 0)
    }

    /// How far it went, basis points.
    #[must_use]
    pub fn bps(&self, by: LabelColumn) -> f64 {
        match by {
            LabelColumn::Move => self.move_bps,
            LabelColumn::Mean => self.mean_move_bps,
        }
    }
}

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct LabelledRows {
    path: PathBuf,
    /// What the rows are of, in words.
    pub material: String,
    /// Horizon of the labels, ms.
    pub horizon_ms: u64,
    /// Time between two rows of an instrument, ms.
    pub cycle_ms: u64,
    feature_names: Vec<&'static str>,
    instruments: Vec<String>,
    rows: Vec<LabelledRow>,
    features: Vec<f32>,
}

impl LabelledRows {
    /// Rows made for a test, with as many features as each has.
    #[cfg(test)]
    pub(crate) fn of(
        instruments: Vec<String>,
        inputs: usize,
        rows: impl Iterator<Item = (LabelledRow, Vec<f32>)>,
    ) -> Self {
        let (rows, features): (Vec<_>, Vec<_>) = rows.unzip();
        Self {
            path: PathBuf::from("made"),
            material: "made".to_owned(),
            horizon_ms: 1_000,
            cycle_ms: 100,
            feature_names: purkinje_strategies::features::NAMES[..inputs].to_vec(),
            instruments,
            rows,
            features: features.concat(),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the features, in the order of [`features_of`](Self::features_of).
    #[must_use]
    pub fn feature_names(&self) -> &[&'static str] {
        &self.feature_names
    }

    /// The instruments, `venue:symbol`, in the order in which the file names them.
    #[must_use]
    pub fn instruments(&self) -> &[String] {
        &self.instruments
    }

    /// The rows, in the order of time.
    #[must_use]
    pub fn rows(&self) -> &[LabelledRow] {
        &self.rows
    }

    /// All features: `[rows][features]`.
    #[must_use]
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// Features of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn features_of(&self, row: usize) -> &[f32] {
        let inputs = self.feature_names.len();
        &self.features[row * inputs..(row + 1) * inputs]
    }

    /// A number for each row: rows have the same where they are of one instrument and no cycle is missing
    /// between them. The daemon begins a network's stream anew where a book was lost, and so must training.
    #[must_use]
    pub fn streams(&self) -> Vec<u32> {
        let mut count = 0;
        // The newest cycle and the stream of each instrument.
        let mut newest: Vec<Option<(u64, u32)>> = vec![None; self.instruments.len()];
        let stream = |row: &LabelledRow| {
            let newest = &mut newest[row.instrument as usize];
            let stream = match *newest {
                Some((cycle, stream)) if row.cycle == cycle + 1 => stream,
                _ => {
                    count += 1;
                    count - 1
                }
            };
            *newest = Some((row.cycle, stream));
            stream
        };
        self.rows.iter().map(stream).collect()
    }

    /// Whether some labels are up and some down.
    ///
    /// # Errors
    /// [`LabelledRowsError::OneClass`].
    pub fn check_classes(&self, by: LabelColumn) -> Result<(), LabelledRowsError> {
        let count = |way| self.rows.iter().filter(|row| row.is_up(by) == Some(way)).count();
        let (up, down) = (count(true), count(false));
        if up > 0 && down > 0 {
            return Ok(());
        }
        Err(LabelledRowsError::OneClass { path: self.path.clone(), column: by.name(), up, down })
    }
}

#[cfg(test)]
mod tests;
