//! Features become mossy fibre spikes: the encoders, and the buffer of one cycle that all fill.
//!
//! Every encoder turns a slice of features into the spikes of one decision cycle. Fibres lie by
//! feature: those of feature f are `f * n..(f + 1) * n`, n being the fibres a feature. Invariants: a
//! fibre fires at most once a step and lists are ascending; a draw depends on the key, the fibre and
//! the step alone, so order does not matter; a feature that is not a number is absent, which adds
//! nothing to the background and is counted; no allocation after construction.

mod delta;
mod gaps;
mod latency;
mod population;
mod rate;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::rng::Key;

pub use delta::{DeltaCode, DeltaEncoder};
pub use gaps::fire_at_random;
pub use latency::{LatencyCode, LatencyEncoder};
pub use population::{Firing, PopulationCode, PopulationEncoder};
pub use rate::{RateCode, RateEncoder};

/// Features an encoder takes at most.
const FEATURES_MAX: usize = 4_096;
/// Fibres a feature at most.
const FIBRES_PER_FEATURE_MAX: usize = 4_096;
/// Steps a cycle at most.
const STEPS_MAX: usize = 10_000;
/// Places of a buffer at most: 4 GiB of them.
const PLACES_MAX: usize = 1 << 30;

/// How features become spikes.
pub trait Encode {
    /// Features taken.
    fn features(&self) -> usize;

    /// Fibres that fire.
    fn fibres(&self) -> usize;

    /// Writes the spikes of one cycle for `features`, which replace what `out` held. `key` is that
    /// network's and cycle's own.
    ///
    /// # Panics
    /// When the number of features, or of fibres of `out`, is not the encoder's.
    fn encode(&mut self, features: &[f32], key: Key, out: &mut CycleSpikes);

    /// Features that were absent so far.
    fn absent(&self) -> u64;
}

/// The settings of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Coding {
    /// A Poisson rate that rises with the value.
    Rate(RateCode),
    /// One spike, the earlier the greater the value.
    Latency(LatencyCode),
    /// Gaussian receptive fields.
    Population(PopulationCode),
    /// A spike at every threshold crossed since the last value.
    Delta(DeltaCode),
}

impl Coding {
    /// An encoder of this many features, for one network: cycles of `steps` steps of `step_ms`.
    ///
    /// # Errors
    /// [`EncodeError`] names the setting, its value and what was expected.
    pub fn encoder(
        self,
        features: usize,
        cycle: Cycle,
    ) -> Result<Box<dyn Encode + Send>, EncodeError> {
        Ok(match self {
            Self::Rate(code) => Box::new(RateEncoder::new(code, features, cycle)?),
            Self::Latency(code) => Box::new(LatencyEncoder::new(code, features, cycle)?),
            Self::Population(code) => Box::new(PopulationEncoder::new(code, features, cycle)?),
            Self::Delta(code) => Box::new(DeltaEncoder::new(code, features, cycle)?),
        })
    }
}

/// The steps of a decision cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cycle {
    /// Steps: 1 to 10,000.
    pub steps: usize,
    /// Length of one, ms: 0.01 to 2.
    pub step_ms: f32,
}

impl Cycle {
    /// Spikes a step at a rate.
    fn a_step(self, hz: f32) -> f32 {
        hz * self.step_ms * 1e-3
    }

    fn validate(self) -> Result<(), EncodeError> {
        count("steps", self.steps, 1, STEPS_MAX)?;
        range("step_ms", self.step_ms, 0.01, 2.0)
    }

    /// Checks a rate: one spike a step is the most.
    fn rate(self, key: &'static str, hz: f32, low_hz: f32) -> Result<(), EncodeError> {
        range(key, hz, low_hz, 1000.0 / self.step_ms)
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{key} is {value}, expected {expected}")]
pub struct EncodeError {
    /// The setting.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

fn range(key: &'static str, value: f32, low: f32, high: f32) -> Result<(), EncodeError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(EncodeError { key, value: value.to_string(), expected: format!("{low} to {high}") })
}

fn count(key: &'static str, value: usize, low: usize, high: usize) -> Result<(), EncodeError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(EncodeError { key, value: value.to_string(), expected: format!("{low} to {high}") })
}

/// Checks what all encoders have: the number of features, of fibres, and the span of values.
fn validate(
    features: usize,
    fibres_per_feature: usize,
    [low, high]: [f32; 2],
    cycle: Cycle,
) -> Result<(), EncodeError> {
    cycle.validate()?;
    count("features", features, 1, FEATURES_MAX)?;
    count("fibres_per_feature", fibres_per_feature, 1, FIBRES_PER_FEATURE_MAX)?;
    count("features x fibres x steps", features * fibres_per_feature * cycle.steps, 1, PLACES_MAX)?;
    range("low", low, -1e6, 1e6)?;
    range("high", high, -1e6, 1e6)?;
    if high > low {
        return Ok(());
    }
    Err(EncodeError {
        key: "high",
        value: high.to_string(),
        expected: format!("more than low, {low}"),
    })
}

/// Where `value` lies between `low` (0) and `high` (1), held within; none if not a number.
fn place(value: f32, [low, high]: [f32; 2]) -> Option<f32> {
    (!value.is_nan()).then(|| ((value - low) / (high - low)).clamp(0.0, 1.0))
}

/// The spikes of one cycle, by step.
#[derive(Clone, Debug)]
pub struct CycleSpikes {
    /// `fibres` places a step, of which the first `lengths[step]` hold fibres.
    ids: Vec<u32>,
    lengths: Vec<u32>,
    fibres: usize,
}

impl CycleSpikes {
    /// An empty cycle of `steps` steps, with room for one spike a fibre and step.
    pub fn new(fibres: usize, steps: usize) -> Self {
        Self { ids: vec![0; fibres * steps], lengths: vec![0; steps], fibres }
    }

    /// Fibres.
    pub const fn fibres(&self) -> usize {
        self.fibres
    }

    /// Steps.
    pub const fn steps(&self) -> usize {
        self.lengths.len()
    }

    /// Forgets all spikes.
    pub fn clear(&mut self) {
        self.lengths.fill(0);
    }

    /// Adds a spike of `fibre`, which must be above those that the step has.
    ///
    /// # Panics
    /// When the step or fibre does not exist, or the fibre does not ascend.
    #[inline]
    pub fn push(&mut self, step: usize, fibre: u32) {
        let length = self.lengths[step] as usize;
        let first = step * self.fibres;
        assert!((fibre as usize) < self.fibres, "fibre {fibre} of {}", self.fibres);
        assert!(length == 0 || self.ids[first + length - 1] < fibre, "fibres ascend in a step");
        self.ids[first + length] = fibre;
        self.lengths[step] += 1;
    }

    /// The fibres that fire in `step`, in ascending order.
    ///
    /// # Panics
    /// When there is no such step.
    #[inline]
    pub fn at(&self, step: usize) -> &[u32] {
        let first = step * self.fibres;
        &self.ids[first..first + self.lengths[step] as usize]
    }

    /// Spikes of the whole cycle.
    pub fn total(&self) -> u64 {
        self.lengths.iter().map(|&n| u64::from(n)).sum()
    }

    /// Fires a fibre from step `first` on, once each `interval` steps, as long as the cycle lasts.
    fn fire_regularly(&mut self, fibre: u32, first: f32, interval: f32) {
        let mut at = first;
        while (at as usize) < self.steps() {
            self.push(at as usize, fibre);
            at += interval.max(1.0);
        }
    }

    /// Fires a fibre in every step with probability `p`.
    fn fire_at_random(&mut self, fibre: u32, p: f32, key: Key) {
        let steps = self.steps() as u64;
        for step in 0..steps {
            if key.uniform(u64::from(fibre) * steps + step) < p {
                self.push(step as usize, fibre);
            }
        }
    }

    /// Empties the buffer for an encoder of this shape.
    fn begin(&mut self, features: usize, expected: usize, fibres: usize, steps: usize) {
        assert_eq!(features, expected, "features");
        assert_eq!((self.fibres, self.steps()), (fibres, steps), "fibres and steps of the buffer");
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const CYCLE: Cycle = Cycle { steps: 100, step_ms: 1.0 };

    /// Rates of all fibres over many cycles of the same features, Hz.
    pub(super) fn rates_hz(encoder: &mut dyn Encode, features: &[f32], cycles: u64) -> Vec<f32> {
        let mut out = CycleSpikes::new(encoder.fibres(), CYCLE.steps);
        let mut counts = vec![0_u32; encoder.fibres()];
        for cycle in 0..cycles {
            encoder.encode(features, Key::new(1).fork(cycle), &mut out);
            for step in 0..CYCLE.steps {
                out.at(step).iter().for_each(|&f| counts[f as usize] += 1);
            }
        }
        counts.iter().map(|&n| n as f32 / (cycles as f32 * 0.1)).collect()
    }

    fn codings() -> [Coding; 5] {
        let population = PopulationCode { fibres_per_feature: 4, ..PopulationCode::default() };
        [
            Coding::Rate(RateCode { fibres_per_feature: 4, ..RateCode::default() }),
            Coding::Latency(LatencyCode { fibres_per_feature: 4, ..LatencyCode::default() }),
            Coding::Population(population),
            Coding::Population(PopulationCode { firing: Firing::Poisson, ..population }),
            Coding::Delta(DeltaCode::default()),
        ]
    }

    fn spikes(coding: Coding, series: &[[f32; 3]]) -> Vec<Vec<u32>> {
        let mut encoder = coding.encoder(3, CYCLE).unwrap();
        let mut out = CycleSpikes::new(encoder.fibres(), CYCLE.steps);
        let mut all = Vec::new();
        for (k, features) in series.iter().enumerate() {
            encoder.encode(features, Key::new(5).fork(k as u64), &mut out);
            all.extend((0..CYCLE.steps).map(|step| out.at(step).to_vec()));
        }
        all
    }

    #[test]
    fn equal_values_and_keys_give_equal_spikes() {
        let series = [[0.0, 1.0, -0.3], [0.9, 0.2, 0.4], [-2.0, 0.1, 0.5]];
        for coding in codings() {
            assert_eq!(spikes(coding, &series), spikes(coding, &series));
            assert!(spikes(coding, &series).iter().any(|step| !step.is_empty()), "{coding:?}");
        }
    }

    #[test]
    fn what_a_fibre_does_depends_on_its_own_feature_alone() {
        for coding in codings() {
            let a = spikes(coding, &[[0.0, 0.0, 0.0], [0.9, 0.2, 0.4]]);
            let b = spikes(coding, &[[0.0, 0.0, 0.0], [0.9, -1.0, 1.7]]);
            let n = coding.encoder(3, CYCLE).unwrap().fibres() as u32 / 3;
            let first = |all: &[Vec<u32>]| -> Vec<Vec<u32>> {
                all.iter().map(|s| s.iter().copied().filter(|&f| f < n).collect()).collect()
            };
            assert_eq!(first(&a), first(&b), "{coding:?}");
        }
    }

    #[test]
    fn absent_features_are_counted_and_add_nothing_to_the_background() {
        for coding in codings() {
            let mut encoder = coding.encoder(3, CYCLE).unwrap();
            let n = encoder.fibres() / 3;
            let rates = rates_hz(encoder.as_mut(), &[f32::NAN, 0.5, f32::NAN], 400);
            assert_eq!(encoder.absent(), 800);
            let background = match coding {
                Coding::Rate(code) => code.low_hz,
                Coding::Population(code) => code.background_hz,
                Coding::Latency(_) | Coding::Delta(_) => 0.0,
            };
            for f in (0..n).chain(2 * n..3 * n) {
                let apart = (rates[f] - background).abs();
                assert!(apart <= 0.3 * background, "{coding:?} fibre {f}: {} Hz", rates[f]);
            }
        }
    }

    #[test]
    fn infinite_values_are_held_within_the_span_or_absent() {
        for coding in codings() {
            let series = |x| [[0.0; 3], [x; 3], [x; 3]];
            let infinite = spikes(coding, &series(f32::INFINITY));
            if matches!(coding, Coding::Delta(_)) {
                assert!(infinite.iter().all(Vec::is_empty));
            } else {
                assert_eq!(infinite, spikes(coding, &series(1e6)), "{coding:?}");
            }
        }
    }

    #[test]
    fn settings_survive_a_parameter_file_and_faults_name_the_setting() {
        for coding in codings() {
            let text = toml::to_string(&coding).unwrap();
            assert_eq!(toml::from_str::<Coding>(&text), Ok(coding));
        }
        let bad = Coding::Rate(RateCode { high_hz: 2000.0, ..RateCode::default() });
        let message = bad.encoder(1, CYCLE).err().unwrap().to_string();
        assert_eq!(message, "high_hz is 2000, expected 4 to 1000");
        let bad = Coding::Delta(DeltaCode { threshold: f32::NAN });
        let message = bad.encoder(1, CYCLE).err().unwrap().to_string();
        assert!(message.starts_with("threshold is NaN, expected"), "{message}");
        let none = Coding::Delta(DeltaCode::default()).encoder(0, CYCLE).err().unwrap();
        assert_eq!(none.key, "features");
        let span = RateCode { low: 1.0, high: 1.0, ..RateCode::default() };
        let message = Coding::Rate(span).encoder(1, CYCLE).err().unwrap().to_string();
        assert_eq!(message, "high is 1, expected more than low, 1");
    }
}
