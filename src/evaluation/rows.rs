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

/// One row without its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which of [`Rows::instruments`].
    pub instrument: u32,
    /// The cycle, counted from 1.
    pub cycle: u64,
    /// Its boundary, ns since the epoch.
    pub ts_cycle_ns: i64,
    /// When its label became known, ns.
    pub ts_label_ns: i64,
    /// Best bid plus best offer, as mantissas.
    pub mid_x2: i64,
    /// Whether the price rose; none where it stood still.
    pub rose: Option<bool>,
}

/// Labelled rows of one data set.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What the material is.
    pub title: String,
    /// Column of the labels.
    pub label: &'static str,
    /// Number of instruments.
    pub instruments: usize,
    /// From a row's cycle to its label, ms.
    pub horizon_ms: u64,
    /// From one cycle to the next, ms.
    pub cycle_ms: u64,
    /// Which features of the live table a row has, in the order of [`Rows::features_of`].
    inputs: Vec<usize>,
    all: Vec<Row>,
    /// `[rows][inputs]`.
    features: Vec<f32>,
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
    /// The rows of a data set, by one of its labels. The features, which are most of it, are taken over.
    #[must_use]
    pub fn new(data: LabelledRows, label: LabelColumn) -> Self {
        let row = |row: &LabelledRow| Row {
            instrument: row.instrument,
            cycle: row.cycle,
            ts_cycle_ns: row.ts_cycle_ns,
            ts_label_ns: row.ts_label_ns,
            mid_x2: row.mid_x2,
            rose: row.is_up(label),
        };
        let known = |name: &&str| NAMES.iter().position(|other| other == name);
        Self {
            title: data.material.clone(),
            label: label.name(),
            instruments: data.instruments().len(),
            horizon_ms: data.horizon_ms,
            cycle_ms: data.cycle_ms,
            // The reader takes names of the table only.
            inputs: data.feature_names().iter().filter_map(known).collect(),
            all: data.rows().iter().map(row).collect(),
            features: data.into_features(),
        }
    }

    /// The rows without their features.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.all
    }

    /// Where a row's features stand in the live table.
    #[must_use]
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The features of a row.
    #[must_use]
    pub fn features_of(&self, row: usize) -> &[f32] {
        let width = self.inputs.len();
        &self.features[row * width..][..width]
    }

    /// Whether the price rose after a row; none where it stood still.
    #[must_use]
    pub fn rose(&self, row: usize) -> Option<bool> {
        self.all[row].rose
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
        let at = |row: usize| self.all[row].ts_cycle_ns;
        let last = self.all.len().saturating_sub(1);
        let (from_ns, to_ns) = match span {
            Span::Share(share) if !(share > 0.0 && share < 1.0) => {
                return Err(RowsError::Share(share));
            }
            Span::Share(share) => {
                let first = ((1.0 - share) * self.all.len() as f64).round() as usize;
                (at(first.min(last)), i64::MAX)
            }
            Span::Times { from_ns, to_ns } => (from_ns, to_ns),
        };
        let begin = self.all.partition_point(|row| row.ts_cycle_ns < from_ns);
        let end = self.all.partition_point(|row| row.ts_cycle_ns < to_ns);
        if begin >= end {
            let (first_ns, last_ns) = (at(0), at(last));
            return Err(RowsError::Span { from_ns, to_ns, first_ns, last_ns });
        }
        // Labels become known a little later than in order: the first that is too late ends the part.
        let known = self.all[..begin].iter().take_while(|row| row.ts_label_ns <= at(begin));
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
        let (mut rows, mut features) = (Vec::new(), Vec::new());
        for k in 0..2 * cycles {
            let (cycle, instrument) = (k / 2, k % 2);
            let row: [f32; 3] = [0, 1, 2].map(|input| key.fork(input).normal(k as u64));
            let p_up = 1.0 / (1.0 + (-strength * f64::from(row[0])).exp());
            let up = f64::from(key.fork(1_000).uniform(k as u64)) < p_up;
            let ts_cycle_ns = cycle as i64 * CYCLE_NS;
            rows.push(Row {
                instrument: instrument as u32,
                cycle: cycle as u64 + 1,
                ts_cycle_ns,
                ts_label_ns: ts_cycle_ns + 2 * CYCLE_NS,
                mid_x2: 1_000 + i64::from(up),
                rose: (k % 10 != 9).then_some(up),
            });
            features.extend(row);
        }
        Rows {
            title: "planted".into(),
            label: "label",
            instruments: 2,
            horizon_ms: 200,
            cycle_ms: 100,
            inputs: vec![0, 1, 2],
            all: rows,
            features,
        }
    }

    /// The same with other labels.
    pub(in crate::evaluation) fn relabelled(
        rows: &Rows,
        rose: impl Fn(usize, &Row) -> Option<bool>,
    ) -> Rows {
        let mut rows = rows.clone();
        for (index, row) in rows.all.iter_mut().enumerate() {
            row.rose = rose(index, row);
        }
        rows
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
        let one = relabelled(&rows, |_, row| row.rose.map(|_| true));
        let error = one.split(Span::Share(0.5)).unwrap_err().to_string();
        assert!(error.contains("0 falls") && error.contains("one class"), "{error}");
    }
}
