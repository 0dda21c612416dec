//! Folds in the order of time: learn from what came before, judge by what came next.
//!
//! A row knows more than its own moment: its window reads earlier rows, its label looks at later ones. Of
//! each fold's boundary, rows before it whose labels look beyond are purged from the training part, and
//! rows behind it whose windows read across it are put under embargo, so that the parts share no row
//! (after López de Prado, Advances in Financial Machine Learning, 2018, chapter 7). Invariant: no row that
//! a training window reads or a training label looks at is read or looked at by a validation row.

use std::ops::Range;

use thiserror::Error;

use super::data::Dataset;

/// Most folds.
pub const FOLDS_MAX: usize = 1_000;

/// The rows that a row's sample knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First that its window reads.
    pub first: usize,
    /// Last that its label looks at.
    pub last: usize,
}

/// How rows are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkForward {
    /// Folds, 1 to [`FOLDS_MAX`]: the rows are cut into one part more, the first of which is only learned
    /// from.
    pub folds: usize,
    /// Most rows of a training part, the newest of those before its boundary; none for all of them.
    pub training_rows_max: Option<usize>,
}

/// Rows to learn from and rows to judge by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Before the boundary.
    pub training: Range<usize>,
    /// Behind it.
    pub validation: Range<usize>,
}

/// Why rows could not be divided.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WalkForwardError {
    /// A number of [`WalkForward`] is out of range.
    #[error("{key} = {value}: expected {expected}")]
    Value {
        /// The field.
        key: &'static str,
        /// What it holds.
        value: usize,
        /// What it may hold.
        expected: String,
    },
    /// A span does not hold its own row.
    #[error("span of row {row} = {first} to {last}: expected one that holds the row")]
    Span {
        /// The row.
        row: usize,
        /// Where its window begins.
        first: usize,
        /// Where its label ends.
        last: usize,
    },
    /// As many numbers as rows are needed.
    #[error("label_ends: {found} numbers, expected {expected}, one a row")]
    Lengths {
        /// How many there are.
        found: usize,
        /// How many rows there are.
        expected: usize,
    },
    /// Nothing is left of a part.
    #[error("fold {fold}, boundary at row {boundary}: {part} rows left, expected at least one")]
    NothingLeft {
        /// Counted from 0.
        fold: usize,
        /// First row behind the boundary.
        boundary: usize,
        /// Which part.
        part: &'static str,
    },
}

/// The span of each row of a data set for windows of `steps` rows, where `label_ends` says for each row the
/// last that its label looks at: itself where it has no label. A row without a window reads itself.
///
/// # Errors
/// [`WalkForwardError::Lengths`].
///
/// # Panics
/// Where `steps` is 0.
pub fn spans(
    data: &Dataset<'_>,
    steps: usize,
    label_ends: &[usize],
) -> Result<Vec<Span>, WalkForwardError> {
    if label_ends.len() != data.len() {
        return Err(WalkForwardError::Lengths { found: label_ends.len(), expected: data.len() });
    }
    let span = |(row, last): (usize, &usize)| Span {
        first: data.window_start(row, steps).unwrap_or(row),
        last: *last,
    };
    Ok(label_ends.iter().enumerate().map(span).collect())
}

/// Divides rows whose spans are given, in the order of time.
///
/// # Errors
/// [`WalkForwardError`].
pub fn folds(spans: &[Span], division: WalkForward) -> Result<Vec<Fold>, WalkForwardError> {
    let WalkForward { folds, training_rows_max } = division;
    if !(1..=FOLDS_MAX).contains(&folds) {
        let expected = format!("1 to {FOLDS_MAX}");
        return Err(WalkForwardError::Value { key: "folds", value: folds, expected });
    }
    if training_rows_max == Some(0) {
        let expected = "at least 1, or none".to_owned();
        return Err(WalkForwardError::Value { key: "training_rows_max", value: 0, expected });
    }
    let mut furthest = 0;
    let mut label_reach = Vec::with_capacity(spans.len());
    for (row, &Span { first, last }) in spans.iter().enumerate() {
        if first > row || last < row {
            return Err(WalkForwardError::Span { row, first, last });
        }
        furthest = last.max(furthest);
        label_reach.push(furthest);
    }
    let boundary =
        |part: usize| (spans.len() as u128 * part as u128 / (folds as u128 + 1)) as usize;
    let fold = |fold: usize| {
        let (at, end) = (boundary(fold + 1), boundary(fold + 2));
        let training_end = label_reach.partition_point(|reach| *reach < at);
        let first = training_rows_max.map_or(0, |most| training_end.saturating_sub(most));
        let behind = spans[at..end].iter().rev().take_while(|span| span.first >= at).count();
        let divided = Fold { training: first..training_end, validation: end - behind..end };
        for (part, rows) in [("training", &divided.training), ("validation", &divided.validation)] {
            if rows.is_empty() {
                return Err(WalkForwardError::NothingLeft { fold, boundary: at, part });
            }
        }
        Ok(divided)
    };
    (0..folds).map(fold).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Windows of `steps` rows and labels that look `horizon` rows ahead, in one stream.
    fn even(rows: usize, steps: usize, horizon: usize) -> Vec<Span> {
        (0..rows)
            .map(|row| Span { first: (row + 1).saturating_sub(steps), last: row + horizon })
            .collect()
    }

    #[test]
    fn a_boundary_costs_one_horizon_before_it_and_one_window_behind_it() {
        let division = WalkForward { folds: 2, training_rows_max: None };
        let divided = folds(&even(300, 10, 5), division).unwrap();
        let fold = |training, validation| Fold { training, validation };
        assert_eq!(divided, [fold(0..95, 109..200), fold(0..195, 209..300)]);
        let division = WalkForward { training_rows_max: Some(50), ..division };
        let divided = folds(&even(300, 10, 5), division).unwrap();
        assert_eq!(divided[1], fold(145..195, 209..300));
    }

    #[test]
    fn what_cannot_be_divided_is_refused_by_name() {
        let refusal = |spans: &[Span], folds_wanted| {
            let division = WalkForward { folds: folds_wanted, training_rows_max: None };
            folds(spans, division).unwrap_err().to_string()
        };
        assert_eq!(refusal(&even(9, 1, 0), 0), "folds = 0: expected 1 to 1000");
        let told = refusal(&even(20, 1, 10), 1);
        assert_eq!(told, "fold 0, boundary at row 10: training rows left, expected at least one");
        let told = refusal(&even(20, 11, 1), 1);
        assert_eq!(told, "fold 0, boundary at row 10: validation rows left, expected at least one");
        assert!(refusal(&[], 1).contains("boundary at row 0"));
        let told = refusal(&[Span { first: 0, last: 0 }, Span { first: 0, last: 0 }], 1);
        assert_eq!(told, "span of row 1 = 0 to 0: expected one that holds the row");
    }

    proptest! {
        #[test]
        fn no_training_sample_knows_a_row_that_a_validation_sample_knows(
            reaches in prop::collection::vec((0_usize..20, 0_usize..20), 30..300),
            folds_wanted in 1_usize..6,
            most in prop::option::of(1_usize..100),
        ) {
            let span = |(row, (back, ahead)): (usize, &(usize, usize))| Span {
                first: row.saturating_sub(*back),
                last: row + ahead,
            };
            let spans: Vec<_> = reaches.iter().enumerate().map(span).collect();
            let division = WalkForward { folds: folds_wanted, training_rows_max: most };
            if let Ok(divided) = folds(&spans, division) {
                prop_assert_eq!(divided.len(), folds_wanted);
                for Fold { training, validation } in divided {
                    let last = spans[training.clone()].iter().map(|span| span.last).max().unwrap();
                    let first = spans[validation.clone()].iter().map(|span| span.first).min().unwrap();
                    prop_assert!(last < first, "{training:?} knows {last}, {validation:?} {first}");
                    prop_assert!(training.end <= validation.start && validation.end <= spans.len());
                    prop_assert!(training.len() <= most.unwrap_or(usize::MAX));
                }
            }
        }

        #[test]
        fn evenly_reaching_rows_lose_no_more_than_they_must(
            rows in 200_usize..400,
            steps in 1_usize..10,
            horizon in 0_usize..10,
            folds_wanted in 1_usize..6,
        ) {
            let division = WalkForward { folds: folds_wanted, training_rows_max: None };
            let divided = folds(&even(rows, steps, horizon), division).unwrap();
            for (n, fold) in divided.iter().enumerate() {
                let boundary = rows * (n + 1) / (folds_wanted + 1);
                prop_assert_eq!(&fold.training, &(0..boundary - horizon));
                prop_assert_eq!(fold.validation.start, boundary + steps - 1);
                prop_assert_eq!(fold.validation.end, rows * (n + 2) / (folds_wanted + 1));
            }
        }
    }
}
