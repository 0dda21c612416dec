//! The rows of a data set as training takes them, and their division by time.
//!
//! Each stretch of an instrument without a missing cycle is a stream of its own. A row that did not move
//! has no label: networks learn P(up | moves), as the daemon's members do; it still is part of later rows'
//! windows. Invariant: no label of an earlier part looks beyond the boundary, no window of a later part
//! before it, the running windows of its features included.

use std::ops::Range;

use purkinje_kernels::{
    rng::Key,
    training::{
        data::{DataError, Dataset, Label, Rows},
        walk_forward::Span,
    },
};
use purkinje_strategies::{features::LONGEST_MS, score::Direction};

use crate::{
    evaluation::baselines::{LastMoves, Seen},
    training::{
        labelled_rows::{LabelColumn, LabelledRow, LabelledRows, LabelledRowsError},
        split::{SplitConfig, SplitError, split_by_time},
    },
};

/// Rows with their labels, streams and last moves.
#[derive(Clone, Debug)]
pub struct Samples {
    rows: LabelledRows,
    by: LabelColumn,
    streams: Vec<u32>,
    last_moves: Vec<Option<Direction>>,
    labels: Vec<Option<Label>>,
}

/// Rows by what they are for. Ranges are of rows in the order of time; a row whose weight is 0 is in none
/// of them.
#[derive(Clone, Debug)]
pub struct Parts {
    /// 1 of a row that is used, 0 of one that is purged.
    pub weights: Vec<f32>,
    /// The earliest.
    pub training: Range<usize>,
    /// Those after.
    pub validation: Range<usize>,
    /// The latest.
    pub test: Range<usize>,
    /// How many are purged.
    pub purged: usize,
}

impl Samples {
    /// Rows labelled by a column; magnitudes are moves in units of their mean size.
    #[must_use]
    pub fn new(rows: LabelledRows, by: LabelColumn) -> Self {
        let sizes =
            rows.rows().iter().filter(|row| row.is_up(by).is_some()).map(|r| r.bps(by).abs());
        let (count, sum) = sizes.fold((0.0, 0.0), |(count, sum), size| (count + 1.0, sum + size));
        let mean_bps = if sum > 0.0 { sum / count } else { 1.0 };
        let label = |row: &LabelledRow| {
            let up = row.is_up(by)?;
            let magnitude = (row.bps(by) / mean_bps) as f32;
            Some(Label { up: f32::from(u8::from(up)), magnitude })
        };
        let streams = rows.streams();
        let mut last_moves = LastMoves::new(rows.instruments().len());
        let last_move = |(row, stream): (&LabelledRow, &u32)| {
            last_moves.observe(row.instrument as usize, *stream, row.mid_x2)
        };
        Self {
            by,
            last_moves: rows.rows().iter().zip(&streams).map(last_move).collect(),
            streams,
            labels: rows.rows().iter().map(label).collect(),
            rows,
        }
    }

    /// With the labels dealt out anew to the rows that have one (Fisher and Yates, by Durstenfeld): there is
    /// nothing to learn any more, so that whoever scores better than chance knows what it must not.
    #[must_use]
    pub fn with_shuffled_labels(mut self, seed: u64) -> Self {
        let labelled: Vec<usize> =
            (0..self.labels.len()).filter(|row| self.labels[*row].is_some()).collect();
        let key = Key::new(seed);
        for i in (1..labelled.len()).rev() {
            let other = key.below(i as u64, i as u32 + 1) as usize;
            self.labels.swap(labelled[i], labelled[other]);
        }
        self
    }

    /// The data set.
    #[must_use]
    pub fn rows(&self) -> &LabelledRows {
        &self.rows
    }

    /// The data set alone, as it was read.
    #[must_use]
    pub fn into_rows(self) -> LabelledRows {
        self.rows
    }

    /// Whether a row went up; none where it did not move.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn is_up(&self, row: usize) -> Option<bool> {
        self.labels[row].map(|label| label.up > 0.5)
    }

    /// What baselines know of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn seen(&self, row: usize) -> Seen<'_> {
        Seen {
            instrument: self.rows.rows()[row].instrument as usize,
            last_move: self.last_moves[row],
            features: self.rows.features_of(row),
        }
    }

    /// Whether labels of both classes are there.
    ///
    /// # Errors
    /// [`LabelledRowsError::OneClass`].
    pub fn check_classes(&self) -> Result<(), LabelledRowsError> {
        self.rows.check_classes(self.by)
    }

    /// What a trainer takes; `weights` are one a row, or none.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn data<'a>(&'a self, weights: &'a [f32]) -> Result<Dataset<'a>, DataError> {
        Dataset::new(Rows {
            inputs: self.rows.feature_names().len(),
            features: self.rows.features(),
            streams: &self.streams,
            labels: &self.labels,
            weights,
        })
    }

    /// How far windows of `steps` rows look back, ns, with what is in their features.
    fn window_ns(&self, steps: usize) -> i64 {
        let back_ms = u64::from(LONGEST_MS) + self.rows.cycle_ms * (steps as u64 - 1);
        back_ms as i64 * 1_000_000
    }

    /// Divides the rows for windows of `steps` rows, at least one.
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn parts(&self, steps: usize, validation: f64, test: f64) -> Result<Parts, SplitError> {
        let rows = self.rows.rows();
        let config = SplitConfig { validation, test, window_ns: self.window_ns(steps) };
        let split = split_by_time(rows, &config)?;
        let mut weights = vec![0.0; rows.len()];
        for row in [&split.train, &split.validation, &split.test].into_iter().flatten() {
            weights[*row as usize] = 1.0;
        }
        let [first, second] =
            split.boundaries_ns.map(|at| rows.partition_point(|row| row.ts_cycle_ns < at));
        Ok(Parts {
            weights,
            training: 0..first,
            validation: first..second,
            test: second..rows.len(),
            purged: split.purged,
        })
    }

    /// The rows that each row knows of, by time, for windows of `steps` rows.
    #[must_use]
    pub fn spans(&self, steps: usize) -> Vec<Span> {
        let (rows, window_ns) = (self.rows.rows(), self.window_ns(steps));
        let span = |row: &LabelledRow| {
            let begin_ns = row.ts_cycle_ns.saturating_sub(window_ns);
            let first = rows.partition_point(|other| other.ts_cycle_ns < begin_ns);
            let behind = rows.partition_point(|other| other.ts_cycle_ns <= row.ts_label_ns);
            Span { first, last: behind - 1 }
        };
        rows.iter().map(span).collect()
    }
}

/// The latest share of a range, to stop a training by, and what may be learned from before it.
#[must_use]
pub fn held_out(spans: &[Span], range: Range<usize>, share: f64) -> [Range<usize>; 2] {
    let at = range.end - (range.len() as f64 * share).round() as usize;
    let known = spans[range.start..at].iter().scan(0, |reach, span| {
        *reach = span.last.max(*reach);
        Some(*reach)
    });
    let training_end = range.start + known.take_while(|reach| *reach < at).count();
    let behind = spans[at..range.end].iter().rev().take_while(|span| span.first >= at).count();
    [range.start..training_end, range.end - behind..range.end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_out_shares_no_row_with_what_is_learned_from() {
        let spans: Vec<Span> = (0..200_usize)
            .map(|row| Span { first: row.saturating_sub(7), last: (row + 3).min(199) })
            .collect();
        let [training, stopping] = held_out(&spans, 0..100, 0.2);
        assert_eq!((training, stopping), (0..77, 87..100));
        let [training, stopping] = held_out(&spans, 10..100, 0.0);
        assert_eq!((training, stopping), (10..97, 100..100));
    }
}
