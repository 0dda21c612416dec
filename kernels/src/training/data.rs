//! Feature rows, their labels, and the windows that are cut from them.
//!
//! Rows come in the order of time. Those of several streams may be mixed; a window holds rows of one stream
//! only, and a feed's gap is told by giving the rows behind it a stream number of their own. Invariants:
//! every number is finite; nothing is copied but the windows of one batch.

use std::ops::Range;

use thiserror::Error;

use crate::rng::Key;

/// Most rows of a data set.
pub const ROWS_MAX: usize = 1 << 31;

/// What followed a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// Probability that it went up, 0 to 1: mostly one of both, between them where a label is smoothed.
    pub up: f32,
    /// How far it went, in a unit of the caller's that should be near 1 in size.
    pub magnitude: f32,
}

/// What a [`Dataset`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Features of a row.
    pub inputs: usize,
    /// `[rows][inputs]`.
    pub features: &'a [f32],
    /// Which stream each row belongs to.
    pub streams: &'a [u32],
    /// What followed each row; none where it is not known, which leaves the row to others' windows.
    pub labels: &'a [Option<Label>],
    /// How much each row counts, 0 or more; empty for 1 each. A row that counts nothing is left out.
    pub weights: &'a [f32],
}

/// Why data were refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DataError {
    /// There is not a single row.
    #[error("the data set is empty: expected at least one row")]
    Empty,
    /// A slice has another length than the others ask for.
    #[error("{what}: {found} numbers, expected {expected}")]
    Shape {
        /// The slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// What was expected.
        expected: String,
    },
    /// A number is out of its range, or none.
    #[error("{what} of row {row} = {value}: expected {expected}")]
    Value {
        /// The slice, and the column where it has some.
        what: String,
        /// The row.
        row: usize,
        /// What it holds.
        value: f32,
        /// What it may hold.
        expected: &'static str,
    },
    /// All labels say the same.
    #[error("labels of rows {rows:?}: all {count} are {class}, expected both classes")]
    OneClass {
        /// The rows asked for.
        rows: Range<usize>,
        /// How many have a label.
        count: usize,
        /// What all of them are.
        class: &'static str,
    },
    /// No row can be learned from.
    #[error(
        "rows {rows:?}: none has a label, a weight and a window of {steps} steps, expected at least \
         {expected}"
    )]
    NoSample {
        /// The rows asked for.
        rows: Range<usize>,
        /// Steps of a window.
        steps: usize,
        /// Fewest that will do.
        expected: usize,
    },
    /// Rows that are not there, or are in two parts at once.
    #[error("rows {rows:?}: expected {expected}")]
    Range {
        /// The rows asked for.
        rows: Range<usize>,
        /// What was expected.
        expected: String,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Dataset<'a> {
    rows: Rows<'a>,
    /// Rows by stream, then by time.
    order: Vec<u32>,
    /// Where in `order` each row is.
    place: Vec<u32>,
}

impl<'a> Dataset<'a> {
    /// Checks lengths and numbers.
    ///
    /// # Errors
    /// [`DataError`] naming what is wrong and in which row.
    pub fn new(rows: Rows<'a>) -> Result<Self, DataError> {
        let count = rows.streams.len();
        if count == 0 {
            return Err(DataError::Empty);
        }
        let shape = |what, found, expected: String| DataError::Shape { what, found, expected };
        if count > ROWS_MAX {
            return Err(shape("streams", count, format!("at most {ROWS_MAX}")));
        }
        if rows.inputs == 0 || Some(rows.features.len()) != count.checked_mul(rows.inputs) {
            let expected = format!("{count} rows of {} features, at least one", rows.inputs);
            return Err(shape("features", rows.features.len(), expected));
        }
        if rows.labels.len() != count {
            return Err(shape("labels", rows.labels.len(), format!("{count}, one a row")));
        }
        if !rows.weights.is_empty() && rows.weights.len() != count {
            let expected = format!("{count}, one a row, or none");
            return Err(shape("weights", rows.weights.len(), expected));
        }
        check_numbers(&rows)?;
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.sort_by_key(|row| rows.streams[*row as usize]);
        let mut place = vec![0; count];
        for (at, row) in (0..).zip(&order) {
            place[*row as usize] = at;
        }
        Ok(Self { rows, order, place })
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.streams.len()
    }

    /// Whether there is no row, which there always is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Features of a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.rows.inputs
    }

    /// What followed a row.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn label(&self, row: usize) -> Option<Label> {
        self.rows.labels[row]
    }

    /// How much a row counts.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn weight(&self, row: usize) -> f32 {
        if self.rows.weights.is_empty() { 1.0 } else { self.rows.weights[row] }
    }

    /// The first row of the window that ends with `row`; none where its stream has not had so many.
    ///
    /// # Panics
    /// Where there is no such row, or `steps` is 0.
    #[must_use]
    pub fn window_start(&self, row: usize, steps: usize) -> Option<usize> {
        let last = self.place[row] as usize;
        let first = self.order[(last + 1).checked_sub(steps)?] as usize;
        (self.rows.streams[first] == self.rows.streams[row]).then_some(first)
    }

    /// Appends the window that ends with `row`, oldest step first.
    ///
    /// # Panics
    /// Where there is no such row, or it has no such window.
    pub fn window(&self, row: usize, steps: usize, out: &mut Vec<f32>) {
        let (last, inputs) = (self.place[row] as usize, self.rows.inputs);
        for row in &self.order[last + 1 - steps..=last] {
            out.extend_from_slice(&self.rows.features[*row as usize * inputs..][..inputs]);
        }
    }

    /// The rows of a range that can be learned from: with a window, a weight, and a label if one is needed.
    ///
    /// # Errors
    /// [`DataError::Range`] and [`DataError::NoSample`].
    pub fn samples(
        &self,
        rows: Range<usize>,
        steps: usize,
        is_label_needed: bool,
    ) -> Result<Vec<usize>, DataError> {
        if rows.start > rows.end || rows.end > self.len() {
            let expected = format!("a part of 0..{}", self.len());
            return Err(DataError::Range { rows, expected });
        }
        let is_sample = |row: &usize| {
            self.weight(*row) > 0.0
                && (!is_label_needed || self.label(*row).is_some())
                && self.window_start(*row, steps).is_some()
        };
        let samples: Vec<_> = rows.clone().filter(is_sample).collect();
        if samples.is_empty() {
            return Err(DataError::NoSample { rows, steps, expected: 1 });
        }
        Ok(samples)
    }

    /// Whether both classes are among some rows of a range.
    pub(super) fn check_classes(
        &self,
        rows: &Range<usize>,
        samples: &[usize],
    ) -> Result<(), DataError> {
        let count_of = |is: fn(f32) -> bool| {
            samples.iter().filter(|row| self.label(**row).is_some_and(|l| is(l.up))).count()
        };
        let (up, down) = (count_of(|up| up > 0.5), count_of(|up| up < 0.5));
        if up > 0 && down > 0 {
            return Ok(());
        }
        let class = match (up, down) {
            (0, 0) => "one half",
            (0, _) => "down",
            _ => "up",
        };
        Err(DataError::OneClass { rows: rows.clone(), count: samples.len(), class })
    }

    /// A number that differs where any number of the data does, but for one in 2^64 by chance.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let Rows { inputs, features, streams, labels, weights } = self.rows;
        let bits = |x: &f32| u64::from(x.to_bits());
        let label = |l: &Option<Label>| {
            l.as_ref().map_or(u64::MAX, |l| bits(&l.up) << 32 | bits(&l.magnitude))
        };
        let words = streams.iter().map(|stream| u64::from(*stream));
        let words = words.chain(features.iter().chain(weights).map(bits));
        let words = words.chain(labels.iter().map(label));
        words.fold(Key::new(inputs as u64), Key::fork).word(0)
    }
}

fn check_numbers(rows: &Rows<'_>) -> Result<(), DataError> {
    let refuse = |what: &str, row, value, expected| {
        Err(DataError::Value { what: what.to_owned(), row, value, expected })
    };
    if let Some(at) = rows.features.iter().position(|x| !x.is_finite()) {
        let (row, column) = (at / rows.inputs, at % rows.inputs);
        return refuse(&format!("feature {column}"), row, rows.features[at], "a finite number");
    }
    for (row, label) in rows.labels.iter().enumerate() {
        let Some(Label { up, magnitude }) = *label else { continue };
        if !(0.0..=1.0).contains(&up) {
            return refuse("label", row, up, "a probability, 0 to 1");
        }
        if !magnitude.is_finite() {
            return refuse("magnitude", row, magnitude, "a finite number");
        }
    }
    for (row, weight) in rows.weights.iter().enumerate() {
        if !(weight.is_finite() && *weight >= 0.0) {
            return refuse("weight", row, *weight, "a finite number, 0 or more");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Option<Label> = Some(Label { up: 1.0, magnitude: 1.0 });
    const DOWN: Option<Label> = Some(Label { up: 0.0, magnitude: -1.0 });

    fn rows<'a>(features: &'a [f32], streams: &'a [u32], labels: &'a [Option<Label>]) -> Rows<'a> {
        Rows { inputs: 1, features, streams, labels, weights: &[] }
    }

    #[test]
    fn a_window_holds_rows_of_one_stream_in_the_order_of_time() {
        let features = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let labels = [UP; 6];
        let data = Dataset::new(rows(&features, &[7, 3, 7, 7, 3, 9], &labels)).unwrap();
        let window = |row, steps| {
            let mut out = Vec::new();
            data.window_start(row, steps)?;
            data.window(row, steps, &mut out);
            Some(out)
        };
        assert_eq!(window(3, 3), Some(vec![0.0, 2.0, 3.0]));
        assert_eq!(window(4, 2), Some(vec![1.0, 4.0]));
        assert_eq!(window(4, 3), None);
        assert_eq!(window(2, 3), None);
        assert_eq!(window(5, 1), Some(vec![5.0]));
        assert_eq!(data.samples(0..6, 2, true).unwrap(), [2, 3, 4]);
    }

    #[test]
    fn rows_without_label_or_weight_are_no_samples() {
        let (features, labels) = ([0.0; 4], [UP, None, DOWN, UP]);
        let rows = Rows { weights: &[1.0, 1.0, 0.0, 2.0], ..rows(&features, &[0; 4], &labels) };
        let data = Dataset::new(rows).unwrap();
        assert_eq!(data.samples(0..4, 1, true).unwrap(), [0, 3]);
        assert_eq!(data.samples(0..4, 1, false).unwrap(), [0, 1, 3]);
        let told = data.samples(1..3, 1, true).unwrap_err().to_string();
        assert!(told.starts_with("rows 1..3: none has a label"), "{told}");
        let told = data.samples(1..5, 1, true).unwrap_err().to_string();
        assert_eq!(told, "rows 1..5: expected a part of 0..4");
    }

    #[test]
    fn data_that_cannot_be_learned_from_are_refused_by_name() {
        let refusal = |rows| Dataset::new(rows).unwrap_err().to_string();
        assert!(refusal(rows(&[], &[], &[])).contains("empty"));
        let told = refusal(rows(&[1.0, 2.0], &[0], &[UP]));
        assert_eq!(told, "features: 2 numbers, expected 1 rows of 1 features, at least one");
        let told = refusal(rows(&[1.0, 2.0], &[0; 2], &[UP]));
        assert_eq!(told, "labels: 1 numbers, expected 2, one a row");
        let told = refusal(rows(&[1.0, f32::NAN], &[0; 2], &[UP; 2]));
        assert_eq!(told, "feature 0 of row 1 = NaN: expected a finite number");
        let odd = [UP, Some(Label { up: 1.5, magnitude: 0.0 })];
        let told = refusal(rows(&[1.0, 2.0], &[0; 2], &odd));
        assert_eq!(told, "label of row 1 = 1.5: expected a probability, 0 to 1");
        let odd = [Some(Label { up: 1.0, magnitude: f32::INFINITY })];
        assert!(refusal(rows(&[1.0], &[0], &odd)).starts_with("magnitude of row 0 = inf"));
        let told = refusal(Rows { weights: &[-1.0], ..rows(&[1.0], &[0], &[UP]) });
        assert_eq!(told, "weight of row 0 = -1: expected a finite number, 0 or more");
    }

    #[test]
    fn a_label_column_with_one_class_is_refused() {
        let (features, labels) = ([0.0; 3], [UP, UP, DOWN]);
        let data = Dataset::new(rows(&features, &[0; 3], &labels)).unwrap();
        assert_eq!(data.check_classes(&(0..3), &[0, 2]), Ok(()));
        let told = data.check_classes(&(0..2), &[0, 1]).unwrap_err().to_string();
        assert_eq!(told, "labels of rows 0..2: all 2 are up, expected both classes");
    }

    #[test]
    fn a_fingerprint_tells_any_change() {
        let (features, labels) = ([0.0, 1.0], [UP, DOWN]);
        let of = |rows| Dataset::new(rows).unwrap().fingerprint();
        let base = of(rows(&features, &[0; 2], &labels));
        assert_eq!(of(rows(&features, &[0; 2], &labels)), base);
        for other in [
            of(rows(&[0.0, 1.1], &[0; 2], &labels)),
            of(rows(&features, &[0, 1], &labels)),
            of(rows(&features, &[0; 2], &[UP, None])),
            of(Rows { weights: &[1.0; 2], ..rows(&features, &[0; 2], &labels) }),
        ] {
            assert_ne!(other, base);
        }
    }
}
