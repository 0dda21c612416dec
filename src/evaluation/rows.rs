//! The rows that forecasters are compared on, in the order in which a daemon would meet them.
//!
//! Invariants: rows are in the order of time; every row has all inputs, finite; a split never lets a
//! baseline learn from a label that became known after the tested span began.

use std::ops::Range;

use purkinje_strategies::features::NAMES;
use thiserror::Error;

use crate::training::labelled_rows::{LabelColumn, LabelledRow, LabelledRows};

/// Why rows cannot be evaluated on.
#[derive(Debug, Error, PartialEq)]
pub enum RowsError {
    /// The share that is tested is none.
    #[error("share = {0}: expected a number above 0 and below 1")]
    Share(f64),
    /// The times contain nothing.
    #[error(
        "the span from {from_ns} to {to_ns} ns holds no rows: there are rows from {first_ns} to {last_ns}"
    )]
    Span {
        /// Begin asked for, ns since the epoch.
        from_ns: i64,
        /// End asked for, ns.
        to_ns: i64,
        /// Time of the first row, ns.
        first_ns: i64,
        /// Time of the last row, ns.
        last_ns: i64,
    },
    /// Rows that all went one way tell no forecaster from another.
    #[error(
        "the {part} span has {ups} rises and {downs} falls among {rows} rows: expected at least one of \
         each, a label of one class cannot be forecast"
    )]
    OneClass {
        /// "tested" or "earlier".
        part: &'static str,
        /// Rows labelled as rises.
        ups: usize,
        /// Rows labelled as falls.
        downs: usize,
        /// All rows of the span.
        rows: usize,
    },
}

/// Labelled rows of one data set.
#[derive(Clone, Debug)]
pub struct Rows {
    data: LabelledRows,
    by: LabelColumn,
    /// Where the features stand in the live table.
    inputs: Vec<usize>,
    streams: Vec<u32>,
}

/// Which rows are tested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// The latest share of the rows, above 0 and below 1.
    Share(f64),
    /// Rows whose cycle is from the first time up to the second, ns since the epoch.
    Times {
        /// First.
        from_ns: i64,
        /// End, not included.
        to_ns: i64,
    },
}

/// The tested rows and those from which baselines learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows whose labels were known when the tested span began; what lies between is purged.
    pub earlier: Range<usize>,
    /// Tested rows.
    pub tested: Range<usize>,
}

impl Rows {
    /// The rows of a data set, by one of its labels.
    #[must_use]
    pub fn new(data: LabelledRows, label: LabelColumn) -> Self {
        let known = |name: &&str| NAMES.iter().position(|other| other == name);
        Self {
            by: label,
            // The reader takes names of the table only.
            inputs: data.feature_names().iter().filter_map(known).collect(),
            streams: data.streams(),
            data,
        }
    }

    /// The data set.
    #[must_use]
    pub fn data(&self) -> &LabelledRows {
        &self.data
    }

    /// Column of the labels.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.by.name()
    }

    /// The rows without their features.
    #[must_use]
    pub fn rows(&self) -> &[LabelledRow] {
        self.data.rows()
    }

    /// The stream of each row, as [`LabelledRows::streams`] has it.
    #[must_use]
    pub fn streams(&self) -> &[u32] {
        &self.streams
    }

    /// Where a row's features stand in the live table.
    #[must_use]
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The features of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn features_of(&self, row: usize) -> &[f32] {
        self.data.features_of(row)
    }

    /// Whether the price rose after a row; none where it stood still.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn rose(&self, row: usize) -> Option<bool> {
        self.rows()[row].is_up(self.by)
    }

    /// Rises and falls of some rows.
    #[must_use]
    pub fn classes(&self, rows: Range<usize>) -> [usize; 2] {
        rows.fold([0; 2], |[ups, downs], row| match self.rose(row) {
            Some(true) => [ups + 1, downs],
            Some(false) => [ups, downs + 1],
            None => [ups, downs],
        })
    }

    /// Splits the rows.
    ///
    /// # Errors
    /// The span holds no rows, or one of the parts has rows of one class only.
    pub fn split(&self, span: Span) -> Result<Split, RowsError> {
        let rows = self.rows();
        let at = |row: usize| rows[row].ts_cycle_ns;
        let last = rows.len().saturating_sub(1);
        let (from_ns, to_ns) = match span {
            Span::Share(share) if !(share > 0.0 && share < 1.0) => {
                return Err(RowsError::Share(share));
            }
            Span::Share(share) => {
                let first = ((1.0 - share) * rows.len() as f64).round() as usize;
                (at(first.min(last)), i64::MAX)
            }
            Span::Times { from_ns, to_ns } => (from_ns, to_ns),
        };
        let begin = rows.partition_point(|row| row.ts_cycle_ns < from_ns);
        let end = rows.partition_point(|row| row.ts_cycle_ns < to_ns);
        if begin >= end {
            let (first_ns, last_ns) = (at(0), at(last));
            return Err(RowsError::Span { from_ns, to_ns, first_ns, last_ns });
        }
        // Labels become known a little later than in order: the first that is too late ends the part.
        let known = rows[..begin].iter().take_while(|row| row.ts_label_ns <= at(begin));
        let split = Split { earlier: 0..known.count(), tested: begin..end };
        for (part, range) in [("earlier", &split.earlier), ("tested", &split.tested)] {
            let [ups, downs] = self.classes(range.clone());
            if ups == 0 || downs == 0 {
                return Err(RowsError::OneClass { part, ups, downs, rows: range.len() });
            }
        }
        Ok(split)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use purkinje_kernels::rng::Key;

    pub(in crate::evaluation) const CYCLE_NS: i64 = 100_000_000;

    /// Rows of two instruments, one a cycle each, with three inputs, of which the first says how likely a
    /// rise is, P(up) = 1 / (1 + exp(-strength · input)); the others are noise.
    pub(in crate::evaluation) fn planted(cycles: usize, strength: f64, seed: u64) -> Rows {
        let key = Key::new(seed);
        let rows = (0..2 * cycles as u64).map(|k| {
            let (cycle, instrument) = (k / 2, k % 2);
            let inputs = [0, 1, 2].map(|input| key.fork(input).normal(k));
            let p_up = 1.0 / (1.0 + (-strength * f64::from(inputs[0])).exp());
            let up = f64::from(key.fork(1_000).uniform(k)) < p_up;
            let ts_cycle_ns = cycle as i64 * CYCLE_NS;
            let label = label_of((k % 10 != 9).then_some(up));
            let row = LabelledRow {
                instrument: instrument as u32,
                cycle: cycle + 1,
                ts_cycle_ns,
                ts_label_ns: ts_cycle_ns + 2 * CYCLE_NS,
                mid_x2: 1_000 + i64::from(up),
                move_bps: f64::from(label),
                mean_move_bps: f64::from(label),
                label,
                mean_label: label,
                oracle: f64::NAN,
            };
            (row, inputs.to_vec())
        });
        made(rows)
    }

    fn label_of(rose: Option<bool>) -> i8 {
        rose.map_or(0, |up| if up { 1 } else { -1 })
    }

    fn made(rows: impl Iterator<Item = (LabelledRow, Vec<f32>)>) -> Rows {
        let instruments = ["a", "b"].map(str::to_owned).to_vec();
        let mut data = LabelledRows::of(instruments, 3, rows);
        data.horizon_ms = 200;
        Rows::new(data, LabelColumn::Move)
    }

    /// The same with other labels, given the row and what became of it.
    pub(in crate::evaluation) fn relabelled(
        rows: &Rows,
        rose: impl Fn(usize, Option<bool>) -> Option<bool>,
    ) -> Rows {
        made(rows.rows().iter().enumerate().map(|(index, row)| {
            let label = label_of(rose(index, rows.rose(index)));
            (LabelledRow { label, ..*row }, rows.features_of(index).to_vec())
        }))
    }

    #[test]
    fn the_latest_share_is_tested_and_labels_known_before_it_are_learned_from() {
        let rows = planted(100, 1.0, 1);
        let split = rows.split(Span::Share(0.25)).unwrap();
        assert_eq!(split.tested, 150..200);
        // The labels of cycle 73 are known at cycle 75, at which the test begins; those of 74 are not.
        assert_eq!(split.earlier, 0..148);
        let begin_ns = 40 * CYCLE_NS;
        let times = Span::Times { from_ns: begin_ns, to_ns: 50 * CYCLE_NS };
        assert_eq!(rows.split(times).unwrap(), Split { earlier: 0..78, tested: 80..100 });
    }

    #[test]
    fn what_cannot_be_judged_is_named() {
        let rows = planted(50, 1.0, 1);
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(matches!(rows.split(Span::Share(share)), Err(RowsError::Share(_))));
        }
        let span = Span::Times { from_ns: i64::MAX - 1, to_ns: i64::MAX };
        let error = rows.split(span).unwrap_err().to_string();
        assert!(error.contains("holds no rows: there are rows from 0 to 4900000000"), "{error}");
        let span = Span::Times { from_ns: 0, to_ns: i64::MAX };
        let error = rows.split(span).unwrap_err().to_string();
        assert!(error.starts_with("the earlier span has 0 rises and 0 falls"), "{error}");
        let one = relabelled(&rows, |_, rose| rose.map(|_| true));
        let error = one.split(Span::Share(0.5)).unwrap_err().to_string();
        assert!(error.contains("0 falls") && error.contains("one class"), "{error}");
    }
}
