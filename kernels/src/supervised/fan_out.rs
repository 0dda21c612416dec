//! Synapses by presynaptic cell, in compressed rows.
//!
//! Row s lists the targets of source s and what a spike adds to each. Invariants, checked by
//! [`FanOut::check`] before a network runs on it: the rows are in order and cover all synapses, and
//! every target exists.

use std::ops::Range;

use super::real::Real;

/// Who reaches whom, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct FanOut<R> {
    /// Where each row begins, and the end of the last: sources + 1 entries, ascending from 0.
    pub starts: Vec<u32>,
    /// Postsynaptic unit of each synapse.
    pub targets: Vec<u32>,
    /// What a spike adds to its current, thresholds (or in the unit that the projection states).
    pub weights: Vec<R>,
}

impl<R: Real> FanOut<R> {
    /// No synapse from any of so many sources.
    pub fn none(sources: usize) -> Self {
        Self { starts: vec![0; sources + 1], targets: Vec::new(), weights: Vec::new() }
    }

    /// Every source on every target, all with the same weight.
    pub fn all_to_all(sources: usize, targets: usize, weight: R) -> Self {
        Self {
            starts: (0..=sources).map(|s| (s * targets) as u32).collect(),
            targets: (0..sources).flat_map(|_| 0..targets as u32).collect(),
            weights: vec![weight; sources * targets],
        }
    }

    /// One row of (target, weight) a source.
    pub fn from_rows(rows: &[Vec<(u32, R)>]) -> Self {
        let mut fan_out = Self::none(0);
        for row in rows {
            fan_out.targets.extend(row.iter().map(|&(target, _)| target));
            fan_out.weights.extend(row.iter().map(|&(_, weight)| weight));
            fan_out.starts.push(fan_out.targets.len() as u32);
        }
        fan_out
    }

    /// Presynaptic cells.
    pub fn sources(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Synapses.
    pub fn synapses(&self) -> usize {
        self.targets.len()
    }

    /// The synapses of a source.
    #[inline]
    pub(super) fn row(&self, source: usize) -> Range<usize> {
        self.starts[source] as usize..self.starts[source + 1] as usize
    }

    /// Says what does not fit between so many sources and targets.
    pub(super) fn check(&self, sources: usize, targets: usize) -> Result<(), String> {
        if self.sources() != sources || self.starts.is_empty() {
            return Err(format!("{} rows, expected {sources}", self.sources()));
        }
        if self.weights.len() != self.targets.len() {
            let (w, t) = (self.weights.len(), self.targets.len());
            return Err(format!("{w} weights, expected {t}, one a target"));
        }
        let covers = self.starts[0] == 0 && self.starts[sources] as usize == self.synapses();
        if !covers || self.starts.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(format!("row starts are not ascending from 0 to {}", self.synapses()));
        }
        if let Some(target) = self.targets.iter().find(|&&t| t as usize >= targets) {
            return Err(format!("target {target}, expected below {targets}"));
        }
        if let Some(k) = self.weights.iter().position(|w| !w.is_finite()) {
            return Err(format!("weight {k} is {}, expected a finite number", self.weights[k]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_fit_are_named() {
        let good = FanOut::from_rows(&[vec![(0, 1.0_f32), (2, 0.5)], vec![], vec![(1, 2.0)]]);
        assert_eq!(good.check(3, 3), Ok(()));
        assert_eq!((good.row(0), good.row(1), good.row(2)), (0..2, 2..2, 2..3));
        let message = |broken: FanOut<f32>, targets| broken.check(3, targets).unwrap_err();
        assert_eq!(message(good.clone(), 2), "target 2, expected below 2");
        assert_eq!(good.check(4, 3).unwrap_err(), "3 rows, expected 4");
        let starts = vec![0, 3, 2, 3];
        assert!(message(FanOut { starts, ..good.clone() }, 3).contains("not ascending"));
        let weights = vec![1.0, f32::NAN, 1.0];
        assert!(message(FanOut { weights, ..good.clone() }, 3).contains("weight 1 is NaN"));
        assert!(message(FanOut { weights: vec![], ..good }, 3).starts_with("0 weights"));
    }

    #[test]
    fn all_to_all_reaches_every_target_from_every_source() {
        let dense = FanOut::all_to_all(3, 2, 0.5_f64);
        assert_eq!(dense.check(3, 2), Ok(()));
        assert_eq!(dense.targets, [0, 1, 0, 1, 0, 1]);
        assert_eq!(FanOut::<f64>::none(4).check(4, 0), Ok(()));
    }
}
