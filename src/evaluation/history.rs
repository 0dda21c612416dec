//! The course of a training: `history.csv` in a network's folder, where its training left one.
//!
//! The first line names the columns, of which the first counts epochs; each further line is one epoch.
//! Columns whose name has "loss" in it are drawn; an empty cell is a figure that the epoch does not have.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{
    files::bounded_file::{BoundedFileError, read_text},
    training::plots::{Curve, Curves, MAX_CURVES},
};

/// The file.
pub const HISTORY: &str = "history.csv";
/// Longest file, bytes.
const MAX_BYTES: u64 = 8 << 20;

/// Why a history was refused.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] BoundedFileError),
    /// A cell is no number, or a line has another number of cells than the first.
    #[error("{} line {line}: {found:?}, expected {expected}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}

/// The losses of a training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// A curve for each column of losses, over epochs.
    pub losses: Vec<Curve>,
}

impl History {
    /// Reads that of a folder, if it has one.
    ///
    /// # Errors
    /// It has one that cannot be understood.
    pub fn read(folder: &Path) -> Result<Option<Self>, HistoryError> {
        let path = folder.join(HISTORY);
        let text = match read_text(&path, MAX_BYTES) {
            Err(error) if error.is_not_found() => return Ok(None),
            read => read?,
        };
        let refused = |(line, found, expected)| HistoryError::Line {
            path: path.clone(),
            line,
            found,
            expected,
        };
        Self::parse(&text).map(Some).map_err(refused)
    }

    fn parse(text: &str) -> Result<Self, (usize, String, String)> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map_or("", |(_, line)| line);
        let names: Vec<&str> = header.split(',').map(str::trim).collect();
        let drawn = |name: &str| name.to_ascii_lowercase().contains("loss");
        let places: Vec<usize> = (1..names.len()).filter(|k| drawn(names[*k])).collect();
        if places.is_empty() || places.len() > MAX_CURVES {
            let expected = format!("a column of epochs, then 1 to {MAX_CURVES} with losses");
            return Err((1, header.to_owned(), expected));
        }
        let mut losses: Vec<Curve> =
            places.iter().map(|place| Curve::new(names[*place], Vec::new())).collect();
        for (index, line) in lines {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            if cells.len() != names.len() {
                return Err((index + 1, line.to_owned(), format!("{} cells", names.len())));
            }
            let number = |cell: &str| {
                cell.parse::<f64>().map_err(|_| (index + 1, cell.to_owned(), "a number".to_owned()))
            };
            let epoch = number(cells[0])?;
            for (curve, place) in losses.iter_mut().zip(&places) {
                if !cells[*place].is_empty() {
                    curve.points.push((epoch, number(cells[*place])?));
                }
            }
        }
        Ok(Self { losses })
    }

    /// The picture of it.
    #[must_use]
    pub fn plot(&self) -> Curves {
        Curves {
            title: "Loss by epoch".to_owned(),
            x_label: "epoch".to_owned(),
            y_label: "loss, nat".to_owned(),
            log_y: false,
            curves: self.losses.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_by_the_names_of_their_columns() {
        let text = "epoch,learning_rate,train_loss,validation_loss\n0,1e-3,0.7,\n1,1e-3,0.6,0.65\n";
        let losses = History::parse(text).unwrap().losses;
        assert_eq!(losses[0], Curve::new("train_loss", vec![(0.0, 0.7), (1.0, 0.6)]));
        assert_eq!(losses[1], Curve::new("validation_loss", vec![(1.0, 0.65)]));
        assert_eq!(losses.len(), 2);
    }

    #[test]
    fn what_is_no_history_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(History::read(dir.path()).unwrap(), None);
        for (text, told) in [
            ("", "line 1: \"\", expected a column of epochs"),
            ("epoch,rate\n", "line 1: \"epoch,rate\", expected"),
            ("epoch,loss\n0,0.5\n1\n", "line 3: \"1\", expected 2 cells"),
            ("epoch,loss\n0,low\n", "line 2: \"low\", expected a number"),
        ] {
            std::fs::write(dir.path().join(HISTORY), text).unwrap();
            let error = History::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("history.csv") && error.contains(told), "{error}");
        }
    }
}
