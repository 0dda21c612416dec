//! Online normalisation of feature vectors: robust z-score or min-max, one state per feature.
//!
//! Invariants:
//! * a value is normalised by statistics of the values strictly before it and only then included;
//! * until a learnt scale is known (the first `warm_up_cycles` values, and as long as a feature has
//!   left its usual value fewer than eight times) the output is 0;
//! * outputs are finite and clipped; a NaN or infinite input gives 0, is counted and is not learnt;
//! * no allocation after construction; state is O(1) a feature once the warm-up buffer has served.
//!
//! **Robust z**: (x − m) / (1.4826 s), clipped to ±5, with m and s the running median and median
//! absolute deviation that `spread` describes; 1.4826 makes s a standard deviation for a Gaussian.
//!
//! **Min-max**: the place of x between two running extrema, in [−1, 1]. The extrema decay towards
//! their middle with the memory's time constant; a value counts as no further than five standard
//! deviations (7.4 s) from m, so that one outlier cannot own the range.
//!
//! A centred feature has 0 for m and for the middle of its extrema, always.
//!
//! A scale is never less than a thousandth of the location's magnitude: a spread of one tick is
//! constant although the tick in basis points breathes with the price.

mod spread;

use spread::{Extrema, Spread};

/// How a feature is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Location and scale are learnt online.
    Adaptive,
    /// The scale is learnt online and the location is 0, for values that lean to a side and whose 0
    /// means that they do not: a learnt location would take a lasting imbalance for balance.
    Centred,
    /// Already bounded and centred by its definition: the z-score form is `gain · x`, the min-max form
    /// is x itself, from the first value on. Learning would only move the meaning of its centre.
    Fixed {
        /// What makes its spread about one.
        gain: f32,
    },
}

impl Scale {
    fn is_fixed(self) -> bool {
        matches!(self, Self::Fixed { .. })
    }
}

/// Which normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormaliserKind {
    /// Median and median absolute deviation; output in [−5, 5].
    RobustZ,
    /// Decaying extrema; output in [−1, 1].
    MinMax,
}

/// Time constants of a [`Normaliser`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormaliserConfig {
    /// Values of a feature taken in before any is normalised, 80 to 4,096. Fewer than 80 would let
    /// the location's first steps pass for excursions.
    pub warm_up_cycles: u32,
    /// Time constant of forgetting, in values; at least `warm_up_cycles`.
    pub memory_cycles: u32,
}

impl Default for NormaliserConfig {
    /// 128 and 3,000 cycles: 12.8 s and 5 min at 100 ms.
    fn default() -> Self {
        Self { warm_up_cycles: 128, memory_cycles: 3_000 }
    }
}

/// Why a normaliser cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NormaliserError {
    /// The warm-up is too short to estimate a scale from, or needlessly long.
    #[error("warm_up_cycles is {warm_up_cycles}: expected 80 to 4096")]
    WarmUpOutOfRange {
        /// The value given.
        warm_up_cycles: u32,
    },
    /// The memory is shorter than the warm-up.
    #[error("memory_cycles is {memory_cycles}: expected at least warm_up_cycles, {warm_up_cycles}")]
    MemoryTooShort {
        /// The value given.
        memory_cycles: u32,
        /// What it was compared with.
        warm_up_cycles: u32,
    },
}

/// Bound of a z-score.
const Z_CLIP: f64 = 5.0;

/// Normalises the feature vectors of one instrument.
#[derive(Clone, Debug)]
pub struct Normaliser {
    kind: NormaliserKind,
    warm_up: usize,
    memory: u32,
    scales: Box<[Scale]>,
    /// Values learnt by each feature, up to the memory.
    seen: Box<[u32]>,
    /// The warm-up's values, then the first deviations, `warm_up` slots a feature.
    samples: Box<[f32]>,
    spreads: Box<[Spread]>,
    extrema: Box<[Extrema]>,
    rejected: u64,
}

impl Normaliser {
    /// A normaliser that learns the location and scale of all of `n_features`.
    ///
    /// # Errors
    ///
    /// When a time constant is out of range.
    pub fn new(
        kind: NormaliserKind,
        n_features: usize,
        config: &NormaliserConfig,
    ) -> Result<Self, NormaliserError> {
        Self::build(kind, vec![Scale::Adaptive; n_features], config)
    }

    /// A normaliser for features of which some have a fixed scale, such as
    /// [`SCALES`](crate::features::SCALES).
    ///
    /// # Errors
    ///
    /// When a time constant is out of range.
    pub fn with_scales(
        kind: NormaliserKind,
        scales: &[Scale],
        config: &NormaliserConfig,
    ) -> Result<Self, NormaliserError> {
        Self::build(kind, scales.to_vec(), config)
    }

    fn build(
        kind: NormaliserKind,
        scales: Vec<Scale>,
        config: &NormaliserConfig,
    ) -> Result<Self, NormaliserError> {
        let &NormaliserConfig { warm_up_cycles, memory_cycles } = config;
        if !(80..=4_096).contains(&warm_up_cycles) {
            return Err(NormaliserError::WarmUpOutOfRange { warm_up_cycles });
        }
        if memory_cycles < warm_up_cycles {
            return Err(NormaliserError::MemoryTooShort { memory_cycles, warm_up_cycles });
        }
        let n_features = scales.len();
        let warm_up = warm_up_cycles as usize;
        Ok(Self {
            kind,
            warm_up,
            memory: memory_cycles,
            scales: scales.into_boxed_slice(),
            seen: vec![0; n_features].into_boxed_slice(),
            samples: vec![0.0; n_features * warm_up].into_boxed_slice(),
            spreads: vec![Spread::default(); n_features].into_boxed_slice(),
            extrema: vec![Extrema::default(); n_features].into_boxed_slice(),
            rejected: 0,
        })
    }

    /// Number of features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.scales.len()
    }

    /// Normalises `raw` into `out`, both of `n_features` values, and then learns from `raw`. Of slices
    /// of other lengths only the common part is looked at.
    pub fn apply(&mut self, raw: &[f32], out: &mut [f32]) {
        debug_assert_eq!((raw.len(), out.len()), (self.n_features(), self.n_features()));
        for (index, (&value, slot)) in raw.iter().zip(out).take(self.scales.len()).enumerate() {
            *slot = if value.is_finite() {
                self.normalise(index, value) as f32
            } else {
                self.rejected += 1;
                0.0
            };
        }
    }

    /// Whether every feature has been through its warm-up.
    #[must_use]
    pub fn warm(&self) -> bool {
        self.scales
            .iter()
            .zip(&self.seen)
            .all(|(scale, &seen)| scale.is_fixed() || seen as usize >= self.warm_up)
    }

    /// Values that were NaN or infinite: given out as 0 and not learnt.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Estimated median and median absolute deviation of a feature under
    /// [`NormaliserKind::RobustZ`], or middle and half range under [`NormaliserKind::MinMax`]; `None`
    /// during the warm-up and for a fixed scale.
    #[must_use]
    pub fn location_and_scale(&self, feature: usize) -> Option<(f64, f64)> {
        if self.scales.get(feature)?.is_fixed() || (self.seen[feature] as usize) < self.warm_up {
            return None;
        }
        Some(match self.kind {
            NormaliserKind::RobustZ => {
                (self.spreads[feature].location(), self.spreads[feature].median_deviation())
            }
            NormaliserKind::MinMax => {
                (self.extrema[feature].middle(), self.extrema[feature].half_range())
            }
        })
    }

    fn normalise(&mut self, index: usize, raw: f32) -> f64 {
        let value = f64::from(raw);
        if let Scale::Fixed { gain } = self.scales[index] {
            return match self.kind {
                NormaliserKind::RobustZ => (f64::from(gain) * value).clamp(-Z_CLIP, Z_CLIP),
                NormaliserKind::MinMax => value.clamp(-1.0, 1.0),
            };
        }
        let seen = self.seen[index];
        self.seen[index] = seen.saturating_add(1).min(self.memory);
        if (seen as usize) < self.warm_up {
            self.warm_up_with(index, seen as usize, raw);
            return 0.0;
        }
        // `seen` stops at the memory, so the gain falls as 1/n and stays at 1/memory.
        let gain = 1.0 / f64::from(seen);
        let least_gain = 1.0 / f64::from(self.memory);
        let spread = &mut self.spreads[index];
        let normalised = match self.kind {
            NormaliserKind::RobustZ => spread.z(value).clamp(-Z_CLIP, Z_CLIP),
            NormaliserKind::MinMax => {
                let extrema = &mut self.extrema[index];
                let place = extrema.place(value).clamp(-1.0, 1.0);
                extrema.learn(spread.winsorised(value), least_gain);
                if self.scales[index] == Scale::Centred {
                    *extrema = extrema.centred();
                }
                place
            }
        };
        let start = index * self.warm_up;
        spread.learn(value, gain, least_gain, &mut self.samples[start..start + self.warm_up]);
        normalised
    }

    /// Keeps a value of the warm-up; the last one turns the sample into statistics.
    fn warm_up_with(&mut self, index: usize, seen: usize, raw: f32) {
        let sample = &mut self.samples[index * self.warm_up..(index + 1) * self.warm_up];
        sample[seen] = raw;
        if seen + 1 == self.warm_up {
            let (low, high) = spread::extremes(sample);
            let centred = self.scales[index] == Scale::Centred;
            let spread = Spread::of(sample, centred);
            let extrema = Extrema::new(spread.winsorised(low), spread.winsorised(high));
            self.extrema[index] = if centred { extrema.centred() } else { extrema };
            self.spreads[index] = spread;
        }
    }
}

#[cfg(test)]
mod tests;
