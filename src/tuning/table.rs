//! The results of a study as a text table, best trial first.
//!
//! Invariant: a function of the trials without their wall time, so equal studies print equal tables.

use std::fmt::Write as _;

use super::study::Study;

/// Most characters of an error that a row shows.
const ERROR_CHARS: usize = 60;

/// At most `rows` trials, best first: rank, trial, state, loss and every parameter.
#[must_use]
pub fn table(study: &Study, rows: usize) -> String {
    let names = study.header().space.parameters().iter().map(|p| p.name.as_str());
    let head: Vec<&str> = ["rank", "trial", "state", "loss"].into_iter().chain(names).collect();
    let mut cells: Vec<Vec<String>> = vec![head.iter().map(|s| (*s).to_owned()).collect()];
    let mut notes: Vec<String> = vec![String::new()];
    for (rank, trial) in (1..).zip(study.ranked()).take(rows) {
        let value = trial.value.map_or("-".to_owned(), |v| format!("{v:.6}"));
        let fixed = [format!("{rank}"), trial.number.to_string(), trial.state.name().into(), value];
        let parameters = head[4..]
            .iter()
            .map(|name| trial.parameters.get(*name).map_or_else(String::new, ToString::to_string));
        cells.push(fixed.into_iter().chain(parameters).collect());
        let error: String = trial.error.iter().flat_map(|e| e.chars()).take(ERROR_CHARS).collect();
        notes.push(error);
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|k| cells.iter().map(|row| row[k].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for (row, note) in cells.iter().zip(&notes) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:>width$}  ");
        }
        line.push_str(note);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let left = study.len().saturating_sub(rows);
    if left > 0 {
        let _ = writeln!(out, "... {left} more");
    }
    out
}
