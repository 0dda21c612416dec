//! Logistic regressions that differ in how large they expect weights to be, mixed by evidence.
//!
//! How much the weak features say is not known beforehand: in some markets next to nothing beside
//! the queues at the best prices, in others most of what can be known. One wide prior pays for
//! every weight it must first learn to be small; one narrow prior never learns the large ones. The
//! regressions of [`SCALES`] cover both, and each has a say in proportion to the probability that
//! its forecasts gave to what then happened (Bayesian model averaging; for the log loss the mixture
//! is never worse than its best part by more than ln [`PARTS`] over all labels).
//!
//! Invariant: the evidence counts forecasts **as they were made**. Labels that overlap have mostly
//! been seen when one of them is learned; judged afterwards, the prior that remembers best would
//! win over the one that foresees best.
//!
//! Cost: one regression's for each part, over the features that are not [`Expect::Nothing`]. No
//! allocation after construction.

use crate::logistic::{LogisticConfig, LogisticError, OnlineLogistic};

/// Number of regressions.
pub const PARTS: usize = 3;
/// Their prior standard deviations for [`Expect::Weak`] features, as a share of the configured one.
pub const SCALES: [f64; PARTS] = [1.0, 0.3, 0.1];
/// Prior standard deviation of the intercept, in logits: a base rate between 40 and 60 %.
const INTERCEPT_SD: f64 = 0.2;
/// Least probability that evidence counts, so that one certain mistake is not the end of a part.
const LEAST_PROBABILITY: f64 = 1e-3;

/// What is expected of a feature's weight before any label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expect {
    /// It is 0 and stays so: the feature is not looked at.
    Nothing,
    /// It is of the size that the mixture finds out.
    Weak,
    /// It is of this size, in logits, whatever the others turn out to be.
    Strong(f64),
}

/// A forecast and what each part said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinion {
    /// Probability of a 1.
    pub p: f64,
    /// The same by part, in the order of [`SCALES`].
    pub parts: [f64; PARTS],
}

/// The regressions and their evidence.
#[derive(Clone, Debug)]
pub struct ScaleMixture {
    parts: [OnlineLogistic; PARTS],
    /// Log probability that each part gave to what happened; it fades like the labels.
    evidence: [f64; PARTS],
    memory: f64,
    features: usize,
    /// Indices of the features that are looked at.
    seen: Vec<usize>,
    /// Scratch: their values.
    sample: Vec<f32>,
}

impl ScaleMixture {
    /// Builds a mixture with one expectation a feature; `prior_sd` is that of weak features in the
    /// widest part.
    ///
    /// # Errors
    /// [`LogisticError`] names the setting, its value and what was expected; looking at no feature
    /// at all is an error too.
    pub fn new(config: &LogisticConfig, expect: &[Expect]) -> Result<Self, LogisticError> {
        if expect.len() != config.features {
            return Err(LogisticError::Features(expect.len()));
        }
        let seen: Vec<usize> =
            (0..expect.len()).filter(|k| expect[*k] != Expect::Nothing).collect();
        let part = |scale: f64| {
            let sd = |k: &usize| match expect[*k] {
                Expect::Strong(sd) => sd,
                Expect::Weak | Expect::Nothing => scale * config.prior_sd,
            };
            let sds: Vec<f64> = seen.iter().map(sd).chain([INTERCEPT_SD]).collect();
            let config = LogisticConfig { features: seen.len(), ..config.clone() };
            OnlineLogistic::with_prior_sds(config, &sds)
        };
        let [wide, middle, narrow] = SCALES.map(part);
        Ok(Self {
            parts: [wide?, middle?, narrow?],
            evidence: [0.0; PARTS],
            memory: config.memory,
            features: expect.len(),
            sample: vec![0.0; seen.len()],
            seen,
        })
    }

    /// The probability of a 1 given the features `x`; keep it for [`ScaleMixture::learn`].
    ///
    /// # Panics
    /// When `x` does not have one value a feature.
    pub fn predict(&mut self, x: &[f32]) -> Opinion {
        self.look_at(x);
        let parts = self.parts.each_ref().map(|part| part.predict(&self.sample));
        let weights = self.weights();
        let p = parts.iter().zip(weights).map(|(p, w)| p * w).sum();
        Opinion { p, parts }
    }

    /// Learns that `x`, of which `opinion` was given, was followed by `target` (0 or 1); `weight`
    /// as in [`OnlineLogistic::learn`]. What is not finite or out of range is counted there.
    ///
    /// # Panics
    /// When `x` does not have one value a feature.
    pub fn learn(&mut self, x: &[f32], opinion: &Opinion, target: f64, weight: f64) {
        self.look_at(x);
        let known = self.parts[0].labels();
        for part in &mut self.parts {
            part.learn(&self.sample, target, weight);
        }
        if self.parts[0].labels() == known || opinion.parts.iter().any(|p| p.is_nan()) {
            return;
        }
        let keep = (-weight / self.memory).exp();
        for (evidence, p) in self.evidence.iter_mut().zip(opinion.parts) {
            let likelihood = target * p + (1.0 - target) * (1.0 - p);
            *evidence = keep * *evidence + weight * likelihood.max(LEAST_PROBABILITY).ln();
        }
    }

    /// The say of each part, in the order of [`SCALES`]; sums to 1.
    pub fn weights(&self) -> [f64; PARTS] {
        let best = self.evidence.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let weights = self.evidence.map(|evidence| (evidence - best).exp());
        let total: f64 = weights.iter().sum();
        weights.map(|weight| weight / total)
    }

    /// Labels learned.
    pub const fn labels(&self) -> u64 {
        self.parts[0].labels()
    }

    /// Labels refused by the widest part, because something was not finite or out of range.
    pub const fn rejected(&self) -> u64 {
        self.parts[0].rejected()
    }

    /// Appends everything a prediction or an update depends on, as little-endian bytes in a fixed
    /// order.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        for &k in &self.seen {
            out.extend_from_slice(&(k as u64).to_le_bytes());
        }
        for (part, evidence) in self.parts.iter().zip(&self.evidence) {
            part.write_state(out);
            out.extend_from_slice(&evidence.to_le_bytes());
        }
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        for part in &mut self.parts {
            part.visit_learned(visit);
        }
        self.evidence.iter_mut().for_each(visit);
    }

    fn look_at(&mut self, x: &[f32]) {
        assert_eq!(x.len(), self.features, "one value a feature");
        for (to, &k) in self.sample.iter_mut().zip(&self.seen) {
            *to = x[k];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{logistic::sigmoid, rng::Key};

    const N: usize = 40;

    fn config() -> LogisticConfig {
        LogisticConfig { prior_sd: 0.3, ..LogisticConfig::new(N) }
    }

    fn x(n: u64) -> [f32; N] {
        std::array::from_fn(|k| Key::new(1).fork(n).normal(k as u64))
    }

    /// Log loss of a mixture and of a part alone over labels drawn with `weight` on every feature.
    fn losses(weight: f64, labels: u64) -> (f64, [f64; PARTS], ScaleMixture) {
        let mut model = ScaleMixture::new(&config(), &[Expect::Weak; N]).unwrap();
        let (mut mixed, mut parts) = (0.0, [0.0; PARTS]);
        for n in 0..labels {
            let x = x(n);
            let p = sigmoid(x.iter().map(|x| weight * f64::from(*x)).sum());
            let up = f64::from(Key::new(2).uniform(n)) < p;
            let loss = |p: f64| -(if up { p } else { 1.0 - p }).ln();
            let opinion = model.predict(&x);
            mixed += loss(opinion.p);
            parts.iter_mut().zip(opinion.parts).for_each(|(sum, p)| *sum += loss(p));
            model.learn(&x, &opinion, f64::from(u8::from(up)), 1.0);
        }
        (mixed, parts, model)
    }

    #[test]
    fn it_loses_no_more_than_its_bound_to_the_best_part_whatever_the_weights_are() {
        for (weight, best) in [(0.0, 2), (0.4, 0)] {
            let (mixed, parts, model) = losses(weight, 2_000);
            let least = parts.iter().fold(f64::INFINITY, |a, b| a.min(*b));
            assert_eq!(parts[best], least, "{weight}: {parts:?}");
            // Forgetting moves the bound by little: a tenth of a memory has passed.
            assert!(mixed < least + (PARTS as f64).ln() + 1.0, "{weight}: {mixed} over {parts:?}");
            assert!(parts[2 - best] > least + 10.0, "{weight}: the other extreme must lose");
            assert!(model.weights()[best] > 0.9, "{weight}: {:?}", model.weights());
        }
    }

    #[test]
    fn overlapping_coin_tosses_do_not_make_it_believe_the_widest_prior() {
        // Ten labels in a row are one toss, and are known ten cycles later: whoever is judged after
        // having learned nine of them looks like a prophet.
        let mut model = ScaleMixture::new(&config(), &[Expect::Weak; N]).unwrap();
        let mut held = std::collections::VecDeque::new();
        let drift: Vec<[f32; N]> = (0..2_000).map(x).collect();
        for n in 0..10_000_u64 {
            // The features move slowly as well, so that neighbours resemble each other.
            let x = drift[n as usize / 10];
            held.push_back((x, model.predict(&x)));
            if n >= 10 {
                let (x, opinion) = held.pop_front().unwrap();
                let up = Key::new(3).uniform((n - 10) / 10) < 0.5;
                model.learn(&x, &opinion, f64::from(u8::from(up)), 0.1);
            }
        }
        assert!(model.weights()[0] < 0.01, "{:?}", model.weights());
        let opinion = model.predict(&drift[1_999]);
        assert!((opinion.p - 0.5).abs() < 0.15, "{opinion:?}");
    }

    #[test]
    fn a_feature_of_which_nothing_is_expected_is_not_looked_at() {
        let mut model = ScaleMixture::new(
            &LogisticConfig::new(3),
            &[Expect::Strong(1.0), Expect::Nothing, Expect::Weak],
        )
        .unwrap();
        for n in 0..200 {
            let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
            let x = [0.0, sign, 0.0];
            let opinion = model.predict(&x);
            assert_eq!(model.predict(&[0.0, f32::NAN, 0.0]), opinion);
            model.learn(&x, &opinion, f64::from(u8::from(sign > 0.0)), 1.0);
        }
        assert!((model.predict(&[0.0, 1.0, 0.0]).p - 0.5).abs() < 0.05);
        let refused = ScaleMixture::new(&LogisticConfig::new(1), &[Expect::Nothing]);
        assert_eq!(refused.unwrap_err(), LogisticError::Features(0));
    }

    #[test]
    fn unusable_labels_change_neither_weights_nor_evidence() {
        let mut model = ScaleMixture::new(&config(), &[Expect::Weak; N]).unwrap();
        let opinion = model.predict(&x(1));
        model.learn(&x(1), &opinion, 1.0, 1.0);
        let mut before = Vec::new();
        model.write_state(&mut before);
        for (target, weight) in [(f64::NAN, 1.0), (1.0, 0.0), (1.0, f64::INFINITY), (2.0, 1.0)] {
            model.learn(&x(2), &opinion, target, weight);
        }
        let mut after = Vec::new();
        model.write_state(&mut after);
        assert_eq!((after == before, model.labels(), model.rejected()), (true, 1, 4));
    }
}
