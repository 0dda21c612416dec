//! The rows that forecasters are compared on, in the order in which a daemon would meet them.
//!
//! Invariants: rows are ordered by cycle, then by instrument; every row has all features of the live table;
//! a split never lets a baseline learn from a label that became known after the tested span began.

use std::ops::Range;

use purkinje_strategies::{features::N as FEATURES, score::Outcome};
use thiserror::Error;

use crate::training::dataset::RowInfo;

/// Why rows cannot be evaluated on.
#[derive(Debug, Error, PartialEq)]
pub enum RowsError {
    /// There are none.
    #[error("{title}: no rows, expected some")]
    Empty {
        /// The material.
        title: String,
    },
    /// The lists do not belong together.
    #[error("{title}: {features} feature values for {rows} rows, expected {FEATURES} each")]
    Features {
        /// The material.
        title: String,
        /// Values.
        features: usize,
        /// Rows.
        rows: usize,
    },
    /// A feature holds what no daemon shows.
    #[error("{title}: {name} = {value} in row {row}: expected a finite number")]
    NotFinite {
        /// The material.
        title: String,
        /// The feature.
        name: &'static str,
        /// What it holds.
        value: f32,
        /// Which row, counted from 0.
        row: usize,
    },
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
    /// What the material is.
    pub title: String,
    /// Instruments, as venue:symbol; a row's instrument is its place here.
    pub instruments: Vec<String>,
    /// From a row's cycle to its label, ms.
    pub horizon_ms: u64,
    /// From one cycle to the next, ms.
    pub cycle_ms: u64,
    infos: Vec<RowInfo>,
    /// `[rows][FEATURES]`.
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
    /// Takes rows in any order with their features, `[rows][FEATURES]`.
    ///
    /// # Errors
    /// There are none, or a feature is missing or not finite.
    pub fn new(
        title: String,
        instruments: Vec<String>,
        [horizon_ms, cycle_ms]: [u64; 2],
        infos: &[RowInfo],
        features: &[f32],
    ) -> Result<Self, RowsError> {
        if infos.is_empty() {
            return Err(RowsError::Empty { title });
        }
        if features.len() != infos.len() * FEATURES {
            return Err(RowsError::Features { title, features: features.len(), rows: infos.len() });
        }
        if let Some(place) = features.iter().position(|value| !value.is_finite()) {
            let name = purkinje_strategies::features::NAMES[place % FEATURES];
            let (value, row) = (features[place], place / FEATURES);
            return Err(RowsError::NotFinite { title, name, value, row });
        }
        let mut order: Vec<usize> = (0..infos.len()).collect();
        // Stable, so that what a file says twice keeps its order.
        order.sort_by_key(|row| {
            let info = &infos[*row];
            (info.ts_cycle_ns, info.source, info.instrument)
        });
        let sorted = order.iter().flat_map(|row| &features[row * FEATURES..][..FEATURES]);
        let features = sorted.copied().collect();
        let infos = order.iter().map(|row| infos[*row]).collect();
        Ok(Self { title, instruments, horizon_ms, cycle_ms, infos, features })
    }

    /// The rows without their features.
    #[must_use]
    pub fn infos(&self) -> &[RowInfo] {
        &self.infos
    }

    /// The features of a row.
    #[must_use]
    pub fn features_of(&self, row: usize) -> &[f32] {
        &self.features[row * FEATURES..][..FEATURES]
    }

    /// What a row asks for: whether the price rose; none where it stood still.
    #[must_use]
    pub fn rose(&self, row: usize) -> Option<bool> {
        match self.infos[row].outcome {
            Outcome::Up => Some(true),
            Outcome::Down => Some(false),
            Outcome::Unchanged => None,
        }
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
        let at = |row: usize| self.infos[row].ts_cycle_ns;
        let last = self.infos.len() - 1;
        let (from_ns, to_ns) = match span {
            Span::Share(share) if !(share > 0.0 && share < 1.0) => {
                return Err(RowsError::Share(share));
            }
            Span::Share(share) => {
                let first = ((1.0 - share) * self.infos.len() as f64).round() as usize;
                (at(first.min(last)), i64::MAX)
            }
            Span::Times { from_ns, to_ns } => (from_ns, to_ns),
        };
        let begin = self.infos.partition_point(|info| info.ts_cycle_ns < from_ns);
        let end = self.infos.partition_point(|info| info.ts_cycle_ns < to_ns);
        if begin >= end {
            let (first_ns, last_ns) = (at(0), at(last));
            return Err(RowsError::Span { from_ns, to_ns, first_ns, last_ns });
        }
        // Labels become known a little later than in order: the first that is too late ends the part.
        let known = self.infos[..begin].iter().take_while(|info| info.ts_label_ns <= at(begin));
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

    /// Rows of two instruments, one a cycle each, whose feature 0 says how likely a rise is:
    /// P(up) = 1 / (1 + exp(-strength · feature)); other features are noise.
    pub(in crate::evaluation) fn planted(cycles: usize, strength: f64, seed: u64) -> Rows {
        let key = Key::new(seed);
        let (mut infos, mut features) = (Vec::new(), Vec::new());
        for k in 0..2 * cycles {
            let (cycle, instrument) = (k / 2, k % 2);
            let row: Vec<f32> =
                (0..FEATURES).map(|f| key.fork(f as u64).normal(k as u64)).collect();
            let p_up = 1.0 / (1.0 + (-strength * f64::from(row[0])).exp());
            let up = f64::from(key.fork(1_000).uniform(k as u64)) < p_up;
            let outcome = match (k % 10, up) {
                (9, _) => Outcome::Unchanged,
                (_, true) => Outcome::Up,
                (_, false) => Outcome::Down,
            };
            let ts_cycle_ns = cycle as i64 * CYCLE_NS;
            infos.push(RowInfo {
                source: 0,
                instrument: instrument as u32,
                cycle: cycle as u64 + 1,
                ts_cycle_ns,
                ts_label_ns: ts_cycle_ns + 2 * CYCLE_NS,
                outcome,
                mid_x2: 1_000 + i64::from(up),
                mid_label_x2: 0,
                mid_mean_x2: f64::NAN,
                oracle: f64::NAN,
            });
            features.extend(row);
        }
        let instruments = vec!["sim:A".into(), "sim:B".into()];
        Rows::new("planted".into(), instruments, [200, 100], &infos, &features).unwrap()
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
    fn rows_are_put_in_order_with_their_features() {
        let rows = planted(50, 1.0, 1);
        let backwards: Vec<usize> = (0..100).rev().collect();
        let infos: Vec<_> = backwards.iter().map(|row| rows.infos()[*row]).collect();
        let features: Vec<f32> =
            backwards.iter().flat_map(|row| rows.features_of(*row)).copied().collect();
        let again =
            Rows::new("x".into(), rows.instruments.clone(), [200, 100], &infos, &features).unwrap();
        assert_eq!((again.infos(), &again.features), (rows.infos(), &rows.features));
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
        let all_up: Vec<_> =
            rows.infos().iter().map(|info| RowInfo { outcome: Outcome::Up, ..*info }).collect();
        let one = Rows::new("x".into(), Vec::new(), [200, 100], &all_up, &rows.features).unwrap();
        let error = one.split(Span::Share(0.5)).unwrap_err().to_string();
        assert!(error.contains("0 falls") && error.contains("one class"), "{error}");
        let empty = Rows::new("x".into(), Vec::new(), [200, 100], &[], &[]).unwrap_err();
        assert_eq!(empty.to_string(), "x: no rows, expected some");
        let mut features = rows.features.clone();
        features[FEATURES + 3] = f32::NAN;
        let told = Rows::new("x".into(), Vec::new(), [200, 100], rows.infos(), &features);
        let told = told.unwrap_err().to_string();
        let name = purkinje_strategies::features::NAMES[3];
        assert_eq!(told, format!("x: {name} = NaN in row 1: expected a finite number"));
    }
}
