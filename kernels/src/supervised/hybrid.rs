//! The hybrid protocol: epochs of an online rule and epochs of supervised training, blended.
//!
//! A cycle starts both learners from the same parallel-fibre weights w. One runs its online epochs,
//! the other its supervised ones, each from w, and the weights become
//!
//! ```text
//! w ← clip(w + share_online · (w_online - w) + share_supervised · (w_supervised - w))
//! ```
//!
//! for both. Starting both from w makes the blend symmetric: neither learner's change contains the
//! other's. What a learner keeps besides these weights (read-out, gains, traces) is its own.
//! Invariants: after a cycle both learners hold the same weights, within the bounds; weights that
//! are not finite end the cycle with an error and put the old ones back.

use std::error::Error;

use thiserror::Error;

use super::real::Real;
use super::train::{Sample, TrainError, Trainer};

/// Something that learns parallel-fibre weights.
pub trait Learner<R> {
    /// What an epoch may fail with.
    type Error: Error + 'static;

    /// Parallel-fibre weights, in an order that all learners of a protocol share.
    fn weight_count(&self) -> usize;

    /// Writes the weights as they are.
    fn read_weights(&mut self, weights: &mut [R]);

    /// Replaces the weights.
    fn write_weights(&mut self, weights: &[R]);

    /// Learns for one epoch, counted over the whole protocol; returns its loss.
    ///
    /// # Errors
    /// As the learner states.
    fn epoch(&mut self, epoch: u64) -> Result<f64, Self::Error>;
}

/// How the two learners share a cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HybridConfig {
    /// Online epochs a cycle.
    pub online_epochs: u64,
    /// Supervised epochs a cycle.
    pub supervised_epochs: u64,
    /// Share of the online change, 0 to 1.
    pub share_online: f64,
    /// Share of the supervised change, 0 to 1.
    pub share_supervised: f64,
}

impl Default for HybridConfig {
    /// Five online epochs to one supervised, 0.7 to 0.3.
    fn default() -> Self {
        Self { online_epochs: 5, supervised_epochs: 1, share_online: 0.7, share_supervised: 0.3 }
    }
}

/// Why a protocol cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ProtocolError {
    /// A share is out of range.
    #[error("{name} is {value}, expected 0 to 1")]
    Share {
        /// Which.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Bounds that hold nothing.
    #[error("weight bounds are {low} to {high}, expected ascending numbers")]
    Bounds {
        /// Lower.
        low: f64,
        /// Upper.
        high: f64,
    },
}

/// Why a cycle did not complete.
#[derive(Debug, Error)]
pub enum HybridError<A: Error + 'static, B: Error + 'static> {
    /// A learner has other synapses than the protocol.
    #[error("the {learner} learner has {found} weights, expected {expected}")]
    Count {
        /// Which.
        learner: &'static str,
        /// Its weights.
        found: usize,
        /// The protocol's.
        expected: usize,
    },
    /// A learner's weights left the numbers.
    #[error("weight {index} is not finite after the {learner} epochs")]
    Weight {
        /// Whose.
        learner: &'static str,
        /// Which.
        index: usize,
    },
    /// The online learner failed.
    #[error("online epoch: {0}")]
    Online(#[source] A),
    /// The supervised learner failed.
    #[error("supervised epoch: {0}")]
    Supervised(#[source] B),
}

/// What a cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CycleReport {
    /// Loss of the last online epoch; not a number when there was none.
    pub online_loss: f64,
    /// Loss of the last supervised epoch; not a number when there was none.
    pub supervised_loss: f64,
    /// Mean absolute change of a weight that the online epochs asked for.
    pub online_change: f64,
    /// Mean absolute change of a weight that the supervised epochs asked for.
    pub supervised_change: f64,
    /// Weights held at a bound.
    pub clipped: usize,
}

/// The protocol's state: the weights between cycles.
#[derive(Clone, Debug)]
pub struct Hybrid<R> {
    config: HybridConfig,
    bounds: (R, R),
    start: Vec<R>,
    online: Vec<R>,
    supervised: Vec<R>,
    cycles: u64,
}

impl<R: Real> Hybrid<R> {
    /// A protocol over so many weights, held within `bounds`.
    ///
    /// # Errors
    /// [`ProtocolError`] when a share is outside 0 to 1 or the bounds do not ascend.
    pub fn new(
        config: HybridConfig,
        weights: usize,
        bounds: (R, R),
    ) -> Result<Self, ProtocolError> {
        let shares =
            [("share_online", config.share_online), ("share_supervised", config.share_supervised)];
        if let Some(&(name, value)) = shares.iter().find(|(_, s)| !(0.0..=1.0).contains(s)) {
            return Err(ProtocolError::Share { name, value });
        }
        let (low, high) = (bounds.0.wide(), bounds.1.wide());
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(ProtocolError::Bounds { low, high });
        }
        let zeros = || vec![R::zero(); weights];
        let (start, online, supervised) = (zeros(), zeros(), zeros());
        Ok(Self { config, bounds, start, online, supervised, cycles: 0 })
    }

    /// The same, going on after so many cycles: epochs are counted from there.
    #[must_use]
    pub const fn after(mut self, cycles: u64) -> Self {
        self.cycles = cycles;
        self
    }

    /// Cycles completed.
    pub const fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Runs one cycle from the online learner's weights.
    ///
    /// # Errors
    /// [`HybridError`]; both learners then hold the weights that the cycle started from.
    pub fn cycle<A: Learner<R>, B: Learner<R>>(
        &mut self,
        online: &mut A,
        supervised: &mut B,
    ) -> Result<CycleReport, HybridError<A::Error, B::Error>> {
        let expected = self.start.len();
        let counts = [("online", online.weight_count()), ("supervised", supervised.weight_count())];
        if let Some((learner, found)) = counts.into_iter().find(|&(_, n)| n != expected) {
            return Err(HybridError::Count { learner, found, expected });
        }
        online.read_weights(&mut self.start);
        supervised.write_weights(&self.start);
        match self.learn(online, supervised) {
            Ok(mut report) => {
                report.clipped = self.blend();
                online.write_weights(&self.start);
                supervised.write_weights(&self.start);
                self.cycles += 1;
                Ok(report)
            }
            Err(error) => {
                online.write_weights(&self.start);
                supervised.write_weights(&self.start);
                Err(error)
            }
        }
    }

    fn learn<A: Learner<R>, B: Learner<R>>(
        &mut self,
        online: &mut A,
        supervised: &mut B,
    ) -> Result<CycleReport, HybridError<A::Error, B::Error>> {
        let mut report = CycleReport {
            online_loss: f64::NAN,
            supervised_loss: f64::NAN,
            ..CycleReport::default()
        };
        let HybridConfig { online_epochs, supervised_epochs, .. } = self.config;
        for k in 0..online_epochs {
            let epoch = self.cycles * online_epochs + k;
            report.online_loss = online.epoch(epoch).map_err(HybridError::Online)?;
        }
        for k in 0..supervised_epochs {
            let epoch = self.cycles * supervised_epochs + k;
            report.supervised_loss = supervised.epoch(epoch).map_err(HybridError::Supervised)?;
        }
        online.read_weights(&mut self.online);
        supervised.read_weights(&mut self.supervised);
        for (learner, weights) in [("online", &self.online), ("supervised", &self.supervised)] {
            if let Some(index) = weights.iter().position(|w| !w.is_finite()) {
                return Err(HybridError::Weight { learner, index });
            }
        }
        let change = |weights: &[R]| {
            let sum: f64 =
                weights.iter().zip(&self.start).map(|(a, b)| (*a - *b).abs().wide()).sum();
            sum / self.start.len().max(1) as f64
        };
        (report.online_change, report.supervised_change) =
            (change(&self.online), change(&self.supervised));
        Ok(report)
    }

    /// Puts the blend into `start`; returns how many weights met a bound.
    fn blend(&mut self) -> usize {
        let (online, supervised) =
            (R::of(self.config.share_online), R::of(self.config.share_supervised));
        let mut clipped = 0;
        let learned = self.online.iter().zip(&self.supervised);
        for (w, (&a, &b)) in self.start.iter_mut().zip(learned) {
            let free = *w + online * (a - *w) + supervised * (b - *w);
            *w = free.max(self.bounds.0).min(self.bounds.1);
            clipped += usize::from(*w != free);
        }
        clipped
    }
}

/// A [`Trainer`] with its samples, as the supervised learner.
#[derive(Debug)]
pub struct SupervisedLearner<'a, R> {
    /// The trainer.
    pub trainer: Trainer<R>,
    /// Its samples.
    pub samples: &'a [Sample<R>],
}

impl<R: Real> Learner<R> for SupervisedLearner<'_, R> {
    type Error = TrainError;

    fn weight_count(&self) -> usize {
        self.trainer.parameters().parallel().len()
    }

    fn read_weights(&mut self, weights: &mut [R]) {
        weights.copy_from_slice(self.trainer.parameters().parallel());
    }

    fn write_weights(&mut self, weights: &[R]) {
        self.trainer.parameters_mut().parallel_mut().copy_from_slice(weights);
    }

    fn epoch(&mut self, epoch: u64) -> Result<f64, TrainError> {
        self.trainer.epoch(self.samples, epoch).map(|report| report.loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves each weight by the same amount an epoch; fails at epoch `fails`.
    struct Drift {
        weights: Vec<f64>,
        by: f64,
        fails: Option<u64>,
        epochs: Vec<u64>,
    }

    #[derive(Debug, Error)]
    #[error("epoch {0}")]
    struct Failed(u64);

    impl Learner<f64> for Drift {
        type Error = Failed;

        fn weight_count(&self) -> usize {
            self.weights.len()
        }

        fn read_weights(&mut self, weights: &mut [f64]) {
            weights.copy_from_slice(&self.weights);
        }

        fn write_weights(&mut self, weights: &[f64]) {
            self.weights.copy_from_slice(weights);
        }

        fn epoch(&mut self, epoch: u64) -> Result<f64, Failed> {
            self.epochs.push(epoch);
            if self.fails == Some(epoch) {
                return Err(Failed(epoch));
            }
            self.weights.iter_mut().for_each(|w| *w += self.by);
            Ok(epoch as f64)
        }
    }

    fn drift(by: f64) -> Drift {
        Drift { weights: vec![0.5, 0.9], by, fails: None, epochs: Vec::new() }
    }

    fn hybrid(weights: usize) -> Hybrid<f64> {
        Hybrid::<f64>::new(HybridConfig::default(), weights, (0.0, 1.0)).unwrap()
    }

    #[test]
    fn a_cycle_adds_each_learners_change_by_its_share_and_clips() {
        let (mut online, mut supervised) = (drift(0.04), drift(-0.1));
        let mut protocol = hybrid(2);
        let report = protocol.cycle(&mut online, &mut supervised).unwrap();
        // 0.7 · 5 · 0.04 - 0.3 · 0.1 = 0.11.
        assert!((online.weights[0] - 0.61).abs() < 1e-12);
        assert_eq!((online.weights[1], report.clipped), (1.0, 1));
        assert_eq!(online.weights, supervised.weights);
        assert!((report.online_change - 0.2).abs() < 1e-12);
        assert!((report.supervised_change - 0.1).abs() < 1e-12);
        protocol.cycle(&mut online, &mut supervised).unwrap();
        assert_eq!(online.epochs, (0..10).collect::<Vec<_>>());
        assert_eq!((supervised.epochs, protocol.cycles()), (vec![0, 1], 2));
    }

    #[test]
    fn a_cycle_that_fails_leaves_both_learners_where_it_started() {
        let (mut online, mut supervised) = (drift(0.04), drift(0.0));
        supervised.fails = Some(0);
        let error = hybrid(2).cycle(&mut online, &mut supervised).unwrap_err();
        assert_eq!(error.to_string(), "supervised epoch: epoch 0");
        assert_eq!((online.weights, supervised.weights), (vec![0.5, 0.9], vec![0.5, 0.9]));
        let (mut online, mut supervised) = (drift(0.0), drift(f64::NAN));
        let error = hybrid(2).cycle(&mut online, &mut supervised).unwrap_err();
        assert_eq!(error.to_string(), "weight 0 is not finite after the supervised epochs");
        assert_eq!(supervised.weights, [0.5, 0.9]);
    }

    #[test]
    fn learners_and_settings_that_do_not_fit_are_refused() {
        let error = hybrid(3).cycle(&mut drift(0.0), &mut drift(0.0)).unwrap_err();
        assert_eq!(error.to_string(), "the online learner has 2 weights, expected 3");
        let config = HybridConfig { share_online: 1.5, ..HybridConfig::default() };
        let error = Hybrid::<f64>::new(config, 1, (0.0, 1.0)).unwrap_err();
        assert_eq!(error.to_string(), "share_online is 1.5, expected 0 to 1");
        let config = HybridConfig::default();
        assert!(Hybrid::<f64>::new(config, 1, (1.0, 1.0)).is_err());
    }
}
